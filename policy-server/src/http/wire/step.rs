//! Steps: `POST /v1/step`.

use crate::error::ApiError;
use crate::http::wire::{RouteRequest, VersionOfPolicy};
use routewright_policy::Policy;
use routewright_policy::program::{
    Action, Answer, Budget, Call, Callee, Confidence, Prompt, Reply, Usage, render,
};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// A query, as `/v1/route` takes it, and the answers so far. Nothing is kept between calls: each gives all answers
/// again, with the `seed`, the `episode_id` and, as `name@version`, the policy of the first reply.
#[derive(Debug, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct StepRequest {
    #[schemars(flatten)]
    pub(crate) route: RouteRequest,
    /// id of the first reply; absent at the first step
    pub(crate) episode_id: Option<String>,
    /// one for each sample of each call so far, in any order; a call that failed has `failed`
    pub(crate) answers: Option<Vec<AnswerBody>>,
    /// what all calls may use
    pub(crate) budget: Option<BudgetBody>,
}

impl<'de> Deserialize<'de> for StepRequest {
    // A flattened struct cannot refuse unknown fields: what is not of a step is read as a request of `/v1/route`, which
    // does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut rest = Map::<String, Value>::deserialize(deserializer)?;
        let mut take = |key: &str| rest.remove(key).unwrap_or(Value::Null);
        let [episode_id, answers, budget] = ["episode_id", "answers", "budget"].map(&mut take);
        Ok(Self {
            episode_id: field("episode_id", episode_id)?,
            answers: field("answers", answers)?,
            budget: field("budget", budget)?,
            route: serde_json::from_value(Value::Object(rest)).map_err(D::Error::custom)?,
        })
    }
}

fn field<T: serde::de::DeserializeOwned, E: serde::de::Error>(name: &str, value: Value) -> Result<T, E> {
    serde_json::from_value(value).map_err(|error| E::custom(format!("`{name}`: {error}")))
}

/// What all calls of an episode may use.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Budget")]
pub(crate) struct BudgetBody {
    /// price of all calls, US dollars
    #[serde(default)]
    #[schemars(range(min = 0))]
    usd: Option<f64>,
    /// time from the first call to the reply, milliseconds
    #[serde(default)]
    #[schemars(range(min = 0))]
    deadline_ms: Option<f64>,
}

impl From<BudgetBody> for Budget {
    fn from(body: BudgetBody) -> Self {
        Self { usd: body.usd, deadline_ms: body.deadline_ms }
    }
}

/// An answer to one sample of one call, or its failure.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "StepAnswer")]
pub(crate) struct AnswerBody {
    /// number of the call, as in `action.calls`
    call: usize,
    /// sample of the call, from 0
    sample: u32,
    text: String,
    /// short answer, where one was read out of the text
    answer: Option<String>,
    /// why the text ends, such as `stop` or `length`
    finish: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    /// what was billed, US dollars; the arm's mean price counts where it is absent
    #[schemars(range(min = 0))]
    cost_usd: Option<f64>,
    /// time from call to last token, milliseconds
    #[schemars(range(min = 0))]
    latency_ms: Option<f64>,
    /// mean log-probability of its tokens, nats
    logprob_mean: Option<f32>,
    /// least log-probability of a token, nats
    logprob_min: Option<f32>,
    /// quantiles of the log-probabilities, ascending
    logprob_quantiles: Vec<f32>,
    /// probability of each option of a closed question
    option_probs: Vec<f32>,
    /// share of its self-verifications that found it right
    verifier_rate: Option<f32>,
    /// why there is no answer
    failed: Option<String>,
}

impl AnswerBody {
    /// The answer, of a callee that the machine knows.
    pub(crate) fn into_answer(self) -> Answer {
        let confidence = Confidence {
            logprob_mean: self.logprob_mean,
            logprob_min: self.logprob_min,
            logprob_quantiles: self.logprob_quantiles,
            option_probs: self.option_probs,
            verifier_rate: self.verifier_rate,
        };
        Answer {
            call: self.call,
            arm: None,
            sample: self.sample,
            text: if self.failed.is_some() { String::new() } else { self.text },
            short: self.answer,
            finish: self.finish,
            usage: Usage { input_tokens: self.input_tokens, output_tokens: self.output_tokens },
            cost_usd: self.cost_usd,
            latency_ms: self.latency_ms,
            confidence: (confidence != Confidence::default()).then_some(confidence),
            failed: self.failed,
        }
    }
}

/// A step of an episode.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Step", deny_unknown_fields)]
pub(crate) struct StepBody<'a> {
    #[schemars(extend("const" = "routing.step"))]
    pub(crate) object: &'static str,
    /// id of the episode, and of its first decision
    pub(crate) episode_id: &'a str,
    /// id of this step in the log, for feedback
    pub(crate) id: &'a str,
    /// number of the step, from 0
    pub(crate) step: u32,
    /// seconds since 1970
    pub(crate) created: u64,
    pub(crate) policy: VersionOfPolicy<'a>,
    /// program of the policy
    pub(crate) program: &'static str,
    pub(crate) action: StepAction<'a>,
    /// probability the action was drawn with
    #[schemars(range(min = 0, max = 1))]
    pub(crate) propensity: f32,
    /// why this action
    pub(crate) reason: &'static str,
    /// whether the reply will be the answer of this one call, so that it may be streamed
    pub(crate) certain: bool,
    /// seed of every draw
    pub(crate) seed: u64,
    /// price of the answers so far, US dollars
    pub(crate) spent_usd: f64,
    /// time so far: the slowest call of each step, milliseconds
    pub(crate) elapsed_ms: f64,
    pub(crate) dry_run: bool,
}

/// What to do next.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(rename = "StepAction")]
pub(crate) enum StepAction<'a> {
    /// calls that run at the same time
    Call {
        /// each is answered before the next step
        calls: Vec<CallBody<'a>>,
    },
    /// the end
    Return {
        /// call whose answer is the reply
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<usize>,
        /// its sample
        #[serde(skip_serializing_if = "Option::is_none")]
        sample: Option<u32>,
        /// its model
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<&'a str>,
        /// the reply; absent where the policy abstains
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<&'a str>,
        /// whether there is no reply
        abstained: bool,
    },
}

/// A call to make.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StepCall", deny_unknown_fields)]
pub(crate) struct CallBody<'a> {
    /// number of the call in the episode
    call: usize,
    /// model, fused ensemble or tool to call
    model: &'a str,
    /// `model`, `fusion` or `tool`
    callee: &'static str,
    /// text to send in place of the query; absent where the query is sent as it is
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    /// answers to draw
    samples: u32,
    /// longest answer, tokens
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
}

impl<'a> StepAction<'a> {
    /// The action as it is replied; `first` is the number of its first call.
    ///
    /// # Errors
    /// If the policy lacks a prompt it sends.
    pub(crate) fn of(
        action: &'a Action,
        policy: &'a Policy,
        query: &str,
        first: usize,
        answers: &'a [Answer],
    ) -> Result<Self, ApiError> {
        let arm = |arm: usize| policy.arms.get(arm).map_or("", |arm| arm.model.as_str());
        Ok(match action {
            Action::Call(calls) => {
                let texts = policy.program.prompts();
                let call = |(at, call): (usize, &'a Call)| -> Result<CallBody<'a>, ApiError> {
                    let (callee, model) = match &call.callee {
                        Callee::Arm(at) => ("model", arm(*at)),
                        Callee::Fusion(name) => ("fusion", name.as_str()),
                        Callee::Tool(name) => ("tool", *name),
                    };
                    let prompt = match &call.prompt {
                        Prompt::Query => None,
                        template => Some(
                            render(template, query, &texts)
                                .map_err(|error| ApiError::internal(error.to_string()))?,
                        ),
                    };
                    Ok(CallBody {
                        call: first + at,
                        model,
                        callee,
                        prompt,
                        samples: call.samples,
                        max_tokens: call.max_tokens,
                        temperature: call.temperature,
                    })
                };
                Self::Call { calls: calls.iter().enumerate().map(call).collect::<Result<_, ApiError>>()? }
            }
            Action::Return(Reply::Answer(at)) => {
                let answer = answers.get(*at);
                Self::Return {
                    call: answer.map(|answer| answer.call),
                    sample: answer.map(|answer| answer.sample),
                    model: answer.and_then(|answer| answer.arm).map(arm),
                    text: answer.map(|answer| answer.text.as_str()),
                    abstained: false,
                }
            }
            Action::Return(Reply::Text(text)) => {
                Self::Return { call: None, sample: None, model: None, text: Some(text), abstained: false }
            }
            Action::Return(Reply::Abstain) => {
                Self::Return { call: None, sample: None, model: None, text: None, abstained: true }
            }
        })
    }
}
