//! Which arms can answer a request: they speak its API, can what it needs, and have a window that holds it.

use super::Gateway;
use super::outgoing::prepare;
use super::question::{Question, spoken};
use crate::dialect::Dialect;
use crate::dialect::needs::{Able, Needs};
use crate::error::{ApiError, Code};
use crate::live::query::Reachable;
use crate::settings::{Capability, ModelConfig};
use crate::upstream::Upstream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Most candidates of log-probabilities and most choices that an arm which has them is taken to give.
const LOGPROBS_MAX: u64 = 20;
const N_MAX: u64 = 128;

/// What is missing where a request is longer than a window.
const WINDOW: &str = "a window that holds it";

/// How well a request fits the window of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Well,
    /// Our count may be wrong.
    Perhaps,
    Not,
}

/// What the section of an arm says that it can; one that says nothing is taken to read and write text.
fn able(config: &ModelConfig) -> Able {
    let can = |capability| config.can(capability).unwrap_or(false);
    Able {
        tools: can(Capability::Tools),
        custom_tools: can(Capability::Tools),
        vendor_tools: can(Capability::VendorTools),
        schema: can(Capability::JsonSchema),
        vision: can(Capability::Images),
        image_urls: can(Capability::Images),
        audio: can(Capability::Audio),
        files: can(Capability::Files),
        logprobs: can(Capability::Logprobs).then_some(LOGPROBS_MAX),
        n: if can(Capability::N) { N_MAX } else { 1 },
        // What these take differs from server to server, and costs nothing to try.
        prefill: true,
        token_ids: true,
    }
}

/// The word of `capabilities` for a need.
fn word(need: &str) -> &str {
    match need {
        "vision" => "images",
        "schema" => "json_schema",
        "modality" => "audio` or `files",
        other => other,
    }
}

fn fit(config: &ModelConfig, needs: &Needs, api: Dialect) -> Fit {
    let Some(window) = config.context_tokens else { return Fit::Well };
    let output = if api == Dialect::Embeddings { 0 } else { needs.max_output.unwrap_or(0) };
    let tokens = needs.size.tokens();
    let with_margin = tokens.saturating_add(tokens / 10).saturating_add(output);
    if with_margin <= window {
        Fit::Well
    } else if tokens <= window.saturating_mul(2) {
        Fit::Perhaps
    } else {
        Fit::Not
    }
}

/// By our count it is so long that no error of the count can explain it.
fn too_long(question: &Question, window: Option<u64>) -> ApiError {
    let message = format!(
        "the request has about {} tokens, and the largest window that could hold it has {}; shorten it",
        question.needs.size.tokens(),
        window.unwrap_or(0),
    );
    ApiError::new(Code::ContextTooLong, message)
}

/// Refuses what an arm that the caller names says it cannot; where it says nothing, its server shall judge.
///
/// # Errors
/// If it does not speak the API, or lacks what the request needs.
pub(super) fn check(upstream: &Upstream, question: &Question) -> Result<(), ApiError> {
    let model = upstream.name();
    let refuse = |message: String| Err(ApiError::new(Code::NoEligibleCandidate, message).param("model"));
    let Some(api) = spoken(upstream, question.api) else {
        return refuse(format!("`{model}` does not speak this API; call it through the one of its dialect"));
    };
    if api != question.api
        && let Err(refused) = prepare(upstream, question)
    {
        let message = format!("this request cannot be translated for `{model}`: {refused}");
        let code = if refused.is_invalid { Code::InvalidRequest } else { Code::NoEligibleCandidate };
        return Err(ApiError::new(code, message).param(refused.field));
    }
    let config = upstream.config();
    if fit(config, &question.needs, question.api) == Fit::Not {
        return Err(too_long(question, config.context_tokens));
    }
    match question.needs.lacking(&able(config)).filter(|_| config.capabilities.is_some()) {
        Some(need) => refuse(format!(
            "this request needs `{}`, which is not among the `capabilities` of [models.\"{model}\"]",
            word(need)
        )),
        None => Ok(()),
    }
}

impl Gateway {
    /// The models that a policy may send the request to: those that can answer it, do not rest, and have room by our
    /// count; where there is none, also those that may have room, and those that rest.
    ///
    /// # Errors
    /// If the request goes on from what one server keeps: no policy knows which.
    pub(super) fn reachable(&self, question: &Question) -> Result<Reachable, ApiError> {
        if let Some(pinned) = &question.needs.pinned {
            let message = format!(
                "the request goes on from `{}`, which one model's server keeps: name that model instead of a policy",
                pinned.escape_debug()
            );
            return Err(ApiError::new(Code::InvalidRequest, message).param("model"));
        }
        let now = Instant::now();
        let (mut models, mut resting) = (BTreeSet::new(), BTreeSet::new());
        let mut lacking: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for upstream in self.upstreams.iter().filter(|upstream| question.tab.allows(upstream.name())) {
            let config = upstream.config();
            let fit = fit(config, &question.needs, question.api);
            let api = spoken(upstream, question.api);
            let lacks = match question.needs.lacking(&able(config)) {
                _ if api.is_none() => Some("this API".to_owned()),
                Some(need) => Some(word(need).to_owned()),
                None if fit == Fit::Not => Some(WINDOW.to_owned()),
                None if api == Some(question.api) => None,
                None => prepare(upstream, question).err().map(|refused| refused.field),
            };
            if let Some(lacks) = lacks {
                lacking.entry(lacks).or_default().push(upstream.name());
                continue;
            }
            resting.insert(upstream.name().to_owned());
            if fit == Fit::Well && upstream.rests_until(now).is_none() {
                models.insert(upstream.name().to_owned());
            }
        }
        let is_long = |lacks: &String| lacks == WINDOW;
        if resting.is_empty() && !lacking.is_empty() && lacking.keys().all(is_long) {
            let windows = self.upstreams.iter().filter_map(|upstream| upstream.config().context_tokens);
            return Err(too_long(question, windows.max()));
        }
        let lacking = lacking.iter().map(|(lacks, models)| format!("`{lacks}` by {}", models.join(", ")));
        let lacking = lacking.collect::<Vec<_>>().join("; ");
        let why = match lacking.is_empty() {
            true if question.tab.is_restricted() => {
                "no arm of the policy may answer this key, or none has a section [models.NAME]".to_owned()
            }
            true => "no arm of the policy has a section [models.NAME]".to_owned(),
            false => {
                format!("no arm of the policy with a section [models.NAME] can answer; missing is {lacking}")
            }
        };
        Ok(Reachable { models, resting, why })
    }

    /// Takes the arm out that failed, and where the request was too long for it those with no larger window.
    pub(super) fn pass_over(&self, reachable: &mut Reachable, failed: &Arc<Upstream>, is_too_long: bool) {
        let window = |name: &str| self.upstreams.find(name).and_then(|arm| arm.config().context_tokens);
        let own = failed.config().context_tokens;
        let stays = |name: &String| {
            let is_larger = match (window(name), own) {
                (Some(other), Some(own)) => other > own,
                _ => true,
            };
            name != failed.name() && (!is_too_long || is_larger)
        };
        reachable.models.retain(stays);
        reachable.resting.retain(stays);
    }
}
