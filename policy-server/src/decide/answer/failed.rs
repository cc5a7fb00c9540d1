//! Why an arm gave no answer, what is done about it, and what the caller is told if nothing helps.

use crate::error::{ApiError, Code};
use crate::upstream::{CallError, Outcome};
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use std::time::{Duration, Instant};

/// A call that brought no answer.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) outcome: Outcome,
    /// For the log: never an address, a key or a body.
    pub(super) why: String,
    /// Whether the same request may go better on the same arm at once.
    pub(super) again: bool,
    /// Whether another arm may answer.
    pub(super) next: bool,
    /// How long the arm is to be left alone, where it said so.
    pub(super) rest: Option<Duration>,
    /// What the arm said, where that is what the caller is told in the end.
    pub(super) said: Option<(StatusCode, HeaderMap, Bytes)>,
    pub(super) code: Code,
}

impl Failed {
    /// A call that brought no reply, or whose reply broke off.
    pub(super) fn of_call(error: &CallError) -> Self {
        let (outcome, code) = match error {
            CallError::Resting { .. } | CallError::Busy { .. } => {
                (Outcome::RateLimited, Code::UpstreamUnavailable)
            }
            CallError::Forbidden | CallError::Connect { .. } => (Outcome::Unreachable, Code::UpstreamFailed),
            CallError::TimedOut { .. } => (Outcome::TimedOut, Code::UpstreamTimedOut),
            _ => (Outcome::Broken, Code::UpstreamFailed),
        };
        let rest = match error {
            CallError::Resting { until } => Some(until.saturating_duration_since(Instant::now())),
            _ => None,
        };
        let (why, again) = (error.to_string(), error.is_passing());
        Self { outcome, why, again, next: true, rest, said: None, code }
    }

    /// A reply that is no answer.
    pub(super) fn garbled(why: &str) -> Self {
        Self {
            outcome: Outcome::Failed,
            why: why.to_owned(),
            again: false,
            next: true,
            rest: None,
            said: None,
            code: Code::UpstreamFailed,
        }
    }

    /// A reply with another status than 200, or an error in one of 200.
    pub(super) fn said(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        let wait = wait(&headers);
        let base = Self { why: format!("it replied with status {}", status.as_u16()), ..Self::garbled("") };
        match status.as_u16() {
            429 => Self {
                outcome: Outcome::RateLimited,
                rest: wait.or(Some(REST)),
                code: Code::UpstreamRateLimited,
                ..base
            },
            402 | 529 => {
                Self { outcome: Outcome::RateLimited, rest: wait, code: Code::UpstreamUnavailable, ..base }
            }
            401 | 403 | 404 => Self { outcome: Outcome::Refused, ..base },
            408 | 409 | 500.. => Self { again: true, rest: wait, ..base },
            400..500 => {
                Self { outcome: Outcome::Refused, next: false, said: Some((status, headers, body)), ..base }
            }
            _ => base,
        }
    }

    /// What the caller is told where no arm is left; `model` is the one that failed last.
    pub(super) fn into_error(self, model: &str) -> ApiError {
        let told = match self.code {
            Code::UpstreamRateLimited => "takes no more requests at present",
            Code::UpstreamTimedOut => "did not answer in time",
            Code::UpstreamUnavailable => "is not available at present",
            _ => "could not be reached or gave no answer",
        };
        let retry_after = self.rest.map(|rest| rest.as_secs_f64().ceil().max(1.0) as u64);
        let inside = Some(format!("`{model}`: {}", self.why));
        let message = format!("`{model}` {told}, and no other model is left to answer");
        ApiError { inside, retry_after, ..ApiError::new(self.code, message) }
    }
}

/// How long an arm that takes no more is left alone where it does not say.
const REST: Duration = Duration::from_secs(5);

fn wait(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    seconds.is_finite().then(|| Duration::from_secs_f64(seconds.clamp(0.0, 3600.0)))
}
