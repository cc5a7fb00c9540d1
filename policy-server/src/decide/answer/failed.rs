//! Why an arm gave no answer, what follows, and what the caller gets where no other arm answers either.

use crate::clock::now_ms;
use crate::dialect::failure::{self, Cooldown, Failure, Kind};
use crate::dialect::translate::Refused;
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
    failure: Failure,
    /// How long the arm is left alone already.
    rests: Option<Duration>,
    /// Whether it may have been carried out, so that it is not sent again.
    is_done_maybe: bool,
    /// What the arm said, where the caller may see it.
    pub(super) said: Option<(StatusCode, HeaderMap, Bytes)>,
    /// The error for the caller, where our own rules kept the model from being called.
    pub(super) own: Option<Box<ApiError>>,
}

impl Failed {
    /// A call that was not made because it is not paid for, or that cannot be known.
    pub(super) fn unpaid(error: ApiError) -> Self {
        let failure = Failure { should_retry: Some(false), ..Failure::without_reply(Kind::Overloaded, "") };
        let failed = Self::of(failure, error.message.clone(), None);
        Self { outcome: Outcome::NotCalled, own: Some(Box::new(error)), ..failed }
    }

    /// A call that brought no reply, or whose reply broke off.
    pub(super) fn of_call(error: &CallError) -> Self {
        let (outcome, kind) = match error {
            CallError::Resting { .. } | CallError::Busy { .. } => (Outcome::NotCalled, Kind::Overloaded),
            CallError::Forbidden | CallError::Connect { .. } => (Outcome::Unreachable, Kind::Unreachable),
            CallError::TimedOut { .. } => (Outcome::TimedOut, Kind::Timeout),
            CallError::TooLong { .. } => (Outcome::Broken, Kind::Malformed),
            CallError::Broken { .. } | CallError::Request { .. } => (Outcome::Broken, Kind::Unreachable),
        };
        let rests = match error {
            CallError::Resting { until } => Some(until.saturating_duration_since(Instant::now())),
            _ => None,
        };
        let why = error.to_string();
        let failure = Failure { should_retry: Some(error.is_passing()), ..Failure::without_reply(kind, "") };
        Self { outcome, why, failure, rests, is_done_maybe: false, said: None, own: None }
    }

    /// A request that the arm's dialect cannot express.
    pub(super) fn unfit(refused: &Refused) -> Self {
        let failure =
            Failure { status: 400, ..Failure::without_reply(Kind::Unsupported, refused.to_string()) };
        Self::of(failure, "the request cannot be translated for it".to_owned(), None)
    }

    /// A reply that is no answer.
    pub(super) fn garbled(why: &str) -> Self {
        Self::of(Failure::without_reply(Kind::Malformed, ""), why.to_owned(), None)
    }

    /// A reply under 200, or an event of a stream, that says it failed.
    pub(super) fn within(failure: Failure, what: &str) -> Self {
        let why = format!("{what}: {}", failure.kind.name());
        Self::of(failure, why, None)
    }

    /// A reply with another status than 200.
    pub(super) fn said(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let now_ms = u64::try_from(now_ms()).unwrap_or_default();
        let mut failure = failure::of_status(status.as_u16(), &header, &body, now_ms);
        // A redirect is followed by nobody: whatever it says is not about the request.
        if status.as_u16() < 400 {
            failure.kind = Kind::Malformed;
        }
        let why = format!("it replied with status {}: {}", status.as_u16(), failure.kind.name());
        let said = failure.passes_as_is().then_some((status, headers, body));
        Self::of(failure, why, said)
    }

    fn of(failure: Failure, why: String, said: Option<(StatusCode, HeaderMap, Bytes)>) -> Self {
        let outcome = match failure.kind {
            Kind::RateLimit | Kind::Quota | Kind::Overloaded => Outcome::RateLimited,
            Kind::Unreachable => Outcome::Unreachable,
            Kind::Timeout => Outcome::TimedOut,
            Kind::Server | Kind::Malformed => Outcome::Failed,
            _ => Outcome::Refused,
        };
        Self { outcome, why, failure, rests: None, is_done_maybe: false, said, own: None }
    }

    /// After which pause the same arm may be called once more, where that may help.
    pub(super) fn again_after(&self) -> Option<Duration> {
        let may = self.failure.retries_here() && !self.is_done_maybe && self.own.is_none();
        may.then(|| Duration::from_millis(self.failure.wait_ms.unwrap_or_default()))
    }

    /// Whether another arm may answer.
    pub(super) fn falls_back(&self) -> bool {
        if let Some(own) = &self.own {
            // A cheaper model may be paid for.
            return own.code == Code::BudgetExceeded;
        }
        self.failure.falls_back() && !self.is_done_maybe
    }

    /// Says that the request changes something at the server: where no status came back it may have done so.
    pub(super) fn keeps_state(&mut self) {
        self.is_done_maybe = matches!(self.outcome, Outcome::Broken | Outcome::TimedOut);
    }

    /// Whether the request is longer than the window of the arm.
    pub(super) fn is_too_long(&self) -> bool {
        self.failure.kind == Kind::Context
    }

    /// How long the arm is to be left alone for what it said.
    pub(super) fn rest(&self) -> Option<Duration> {
        if self.own.is_some() {
            return None;
        }
        match self.failure.cooldown() {
            Cooldown::Arm(ms) | Cooldown::Key(ms) => Some(Duration::from_millis(ms)),
            // What fails again and again is for the breaker; this is the pause of the first time.
            Cooldown::Backoff(ms, _) if self.rests.is_none() && self.failure.status != 0 => {
                Some(Duration::from_millis(self.failure.wait_ms.unwrap_or(ms)))
            }
            Cooldown::Backoff(..) | Cooldown::None | Cooldown::Count => None,
        }
    }

    /// What the caller is told where no arm is left; `model` is the one that failed last.
    pub(super) fn into_error(self, model: &str) -> ApiError {
        if let Some(own) = self.own {
            return *own;
        }
        let code = match self.failure.kind {
            Kind::RateLimit => Code::UpstreamRateLimited,
            Kind::Timeout => Code::UpstreamTimedOut,
            Kind::Quota | Kind::Overloaded => Code::UpstreamUnavailable,
            Kind::Context => Code::ContextTooLong,
            Kind::TooLarge => Code::BodyTooLarge,
            Kind::Invalid | Kind::Unsupported | Kind::Refused => Code::InvalidRequest,
            Kind::Unreachable | Kind::NoModel | Kind::Credential | Kind::Server | Kind::Malformed => {
                Code::UpstreamFailed
            }
        };
        let told = self.failure.problem().message;
        let rest = self.rests.or_else(|| self.rest());
        let waits = matches!(code, Code::UpstreamRateLimited | Code::UpstreamUnavailable);
        let retry_after = rest.filter(|_| waits).map(|rest| rest.as_secs_f64().ceil().max(1.0) as u64);
        let inside = Some(format!("`{model}`: {}", self.why));
        let message = format!("{told}; `{model}` was tried last");
        ApiError { inside, retry_after, ..ApiError::new(code, message) }
    }
}
