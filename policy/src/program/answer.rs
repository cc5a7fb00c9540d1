//! What comes back of a call.

use routewright_data::answers::AnswerRow;
use routewright_data::answers::confidence::{N_FEATURES, QUANTILE_LEVELS, features};

/// An answer, or the failure of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// Call it belongs to, by its place among all calls of the episode.
    pub call: usize,
    /// Arm that was called; `None` for a fused ensemble or a tool.
    pub arm: Option<usize>,
    /// Sample of that call, from 0.
    pub sample: u32,
    /// Full text; empty where the call failed.
    pub text: String,
    /// Short answer (a number, an option), where the host extracted one.
    pub short: Option<String>,
    /// Why the text ends: `stop`, `length`, ...; `None` where unknown.
    pub finish: Option<String>,
    /// Tokens.
    pub usage: Usage,
    /// Price paid for this sample, US dollars; `None` where unknown, then the arm's mean price counts.
    pub cost_usd: Option<f64>,
    /// Time from call to end of answer, milliseconds; `None` where unknown, then the arm's mean latency counts.
    pub latency_ms: Option<f64>,
    /// What the model said of its own certainty; `None` where the host does not know.
    pub confidence: Option<Confidence>,
    /// Why there is no answer: a timeout, a refusal, an error of the upstream.
    pub failed: Option<String>,
}

impl Answer {
    /// Whether there is an answer.
    pub fn is_ok(&self) -> bool {
        self.failed.is_none()
    }

    /// Short answer where there is one, else the text without white space at its ends.
    pub fn brief(&self) -> &str {
        self.short.as_deref().unwrap_or_else(|| self.text.trim())
    }

    /// Features of what the model said of its certainty, as [`routewright_data::answers::confidence`] names them; NaN
    /// where unknown. Quantiles at other levels than a log's are unknown.
    pub fn confidence_features(&self) -> [f32; N_FEATURES] {
        let unknown = Confidence::default();
        let said = self.confidence.as_ref().unwrap_or(&unknown);
        let (quantiles, probs) = (&said.logprob_quantiles, &said.option_probs);
        features(&AnswerRow {
            output_tokens: self.usage.output_tokens.map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
            logprob_mean: said.logprob_mean,
            logprob_min: said.logprob_min,
            logprob_quantiles: (quantiles.len() == QUANTILE_LEVELS.len()).then_some(quantiles),
            option_probs: (!probs.is_empty()).then_some(probs),
            verifier_rate: said.verifier_rate,
            ..AnswerRow::default()
        })
    }
}

/// Tokens of a call, where known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
}

/// What a model said of its own certainty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Confidence {
    /// Mean log-probability of the answer's tokens, nats, at most 0.
    pub logprob_mean: Option<f32>,
    /// Least log-probability of a token, nats, at most 0.
    pub logprob_min: Option<f32>,
    /// Quantiles of the log-probabilities, ascending; levels are the log's.
    pub logprob_quantiles: Vec<f32>,
    /// Probability of each option of a closed question.
    pub option_probs: Vec<f32>,
    /// Share of self-verifications that found the answer right, in [0, 1].
    pub verifier_rate: Option<f32>,
}

/// What a program reads of an answer beside text, price and latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnswerNeed {
    /// [`Answer::short`].
    Short,
    /// Log-probabilities of tokens.
    Logprobs,
    /// Probabilities of options.
    OptionProbs,
    /// [`Confidence::verifier_rate`].
    Verifier,
    /// Several samples of one call.
    Samples,
}

impl AnswerNeed {
    /// Name in listings and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Short => "short answers",
            Self::Logprobs => "log-probabilities",
            Self::OptionProbs => "option probabilities",
            Self::Verifier => "verifier rates",
            Self::Samples => "samples",
        }
    }
}
