//! A request to be answered, and what its `model` names.

use super::Gateway;
use super::tab::Tab;
use crate::caller::Allowance;
use crate::dialect::needs::Needs;
use crate::dialect::{Dialect, translate};
use crate::error::{ApiError, Code};
use crate::live::Live;
use crate::live::query::Query;
use crate::settings::{FUSION_PREFIX, ModelDialect};
use crate::upstream::Upstream;
use axum::body::Bytes;
use axum::http::HeaderMap;
use routewright_data::suggest::near_names;
use routewright_policy::Policy;
use routewright_policy::program::{AnswerNeed, Budget};
use std::sync::Arc;

/// Path of an API under the base URL of an arm.
pub(super) fn path(api: Dialect) -> &'static str {
    match api {
        Dialect::Chat | Dialect::Gemini => "/chat/completions",
        Dialect::Completions => "/completions",
        Dialect::Embeddings => "/embeddings",
        Dialect::Responses => "/responses",
        Dialect::Messages => "/messages",
    }
}

/// The API in which an arm is asked what a caller asks in `api`: the same where its server has it, else one that it is
/// translated to; `None` where neither is so.
pub(super) fn spoken(upstream: &Upstream, api: Dialect) -> Option<Dialect> {
    let (is_anthropic, own) = match upstream.config().dialect {
        ModelDialect::Anthropic => (true, Dialect::Messages),
        ModelDialect::Openai => (false, Dialect::Chat),
    };
    // Fused models answer chats and continue prompts.
    let is_fused = upstream.config().fusion.is_some();
    let has = |api| !is_fused || matches!(api, Dialect::Chat | Dialect::Completions);
    if is_anthropic == (api == Dialect::Messages) && has(api) {
        return Some(api);
    }
    translate::is_possible(api, own).then_some(own)
}

/// A request to be answered.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) api: Dialect,
    /// The body as it came.
    pub(crate) body: Bytes,
    pub(crate) streams: bool,
    /// What it needs of a model.
    pub(crate) needs: Needs,
    /// Headers of the caller; those of a list go out.
    pub(crate) headers: HeaderMap,
    /// What all calls for it may use.
    pub(crate) budget: Budget,
    /// Whether the caller asks for the steps and their bill.
    pub(crate) explains: bool,
    /// What it takes of the limits and budgets of its key.
    pub(crate) tab: Arc<Tab>,
    /// What a policy reads of it, or why it reads nothing.
    pub(crate) query: Result<Query, ApiError>,
}

/// What the `model` of a request names.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A policy, as `name` or `name@version`; `None` is the default one.
    Policy(Option<String>),
    /// One arm.
    Arm(Arc<Upstream>),
}

impl Gateway {
    /// What a name means here, to the holder of a key.
    ///
    /// # Errors
    /// If it is no policy, and no model that is called or that may answer the key.
    pub(crate) fn target(&self, model: &str, key: &Allowance) -> Result<Target, ApiError> {
        if let Some(upstream) = self.upstreams.find(model).filter(|_| key.allows(model)) {
            return Ok(Target::Arm(Arc::clone(upstream)));
        }
        if model == "auto" {
            return Ok(Target::Policy(None));
        }
        let policy = model.strip_prefix("routewright/").or_else(|| model.strip_prefix("router-"));
        match policy {
            Some(policy) => Ok(Target::Policy(Some(policy.to_owned()))),
            None => Err(self.unknown(model, key)),
        }
    }

    /// A model that may not answer the key is as unknown as one that there is not.
    fn unknown(&self, model: &str, key: &Allowance) -> ApiError {
        let live = self.service.live.load();
        let policies = live.policies.keys().map(|name| format!("routewright/{name}"));
        let arms = self.upstreams.iter().map(|upstream| upstream.name().to_owned());
        let known: Vec<String> = policies.chain(arms.filter(|arm| key.allows(arm))).collect();
        let message = if model.starts_with(FUSION_PREFIX) && key.allows(model) && key.counts_tokens() {
            format!(
                "`{model}` has no section [models.\"{model}\"] with its prices, which the limits of this key need"
            )
        } else if is_arm(&live, model) && key.allows(model) {
            format!(
                "`{model}` is an arm, but this server does not call it: it has no section [models.\"{model}\"]; POST \
                 the request to /v1/route or /route/v1/... and call the model named in `action.model` yourself"
            )
        } else {
            let hint = near_names(model, known.iter().map(String::as_str));
            format!("unknown model `{model}`; {hint}")
        };
        ApiError::new(Code::ModelNotFound, message).param("model")
    }
}

fn is_arm(live: &Live, model: &str) -> bool {
    live.policies.values().any(|served| served.policy.arms.iter().any(|arm| arm.model == model))
}

/// Refuses what a program of several calls cannot be asked.
///
/// # Errors
/// If the request is of another API than chats, asks for several choices or for tools where answers are compared, or
/// the program reads what no server of models says.
pub(super) fn unfit(question: &Question, policy: &Policy) -> Result<(), ApiError> {
    let program = &policy.program;
    let refuse =
        |param: &str, message: String| Err(ApiError::new(Code::NoEligibleCandidate, message).param(param));
    if question.api != Dialect::Chat {
        let message =
            format!("a policy of the program `{}` answers /v1/chat/completions only", program.name());
        return refuse("model", message);
    }
    let unknown = [AnswerNeed::OptionProbs, AnswerNeed::Verifier];
    if let Some(need) = program.needs().iter().find(|need| unknown.contains(need)) {
        let message = format!(
            "the policy reads {}, which servers of models do not say: drive it by /v1/step",
            need.name()
        );
        return refuse("model", message);
    }
    if question.needs.n > 1 {
        return refuse(
            "n",
            format!("`n` is {}, expected 1: the policy calls several models", question.needs.n),
        );
    }
    let compares = program.needs().iter().any(|need| matches!(need, AnswerNeed::Short | AnswerNeed::Samples));
    if question.needs.tools && (compares || program.name() == "vote") {
        let message =
            format!("the program `{}` compares texts and cannot compare calls of tools", program.name());
        return refuse("tools", message);
    }
    Ok(())
}
