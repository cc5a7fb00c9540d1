//! What went wrong at a model server, and what to do: ask the same once more, ask another, or tell the caller.
//!
//! Status, headers and body go in; which dialect the server speaks does not matter, since compatible servers mix
//! shapes. A reply of status 200 may be a failure, too ([`of_reply`]), and so may an event of a stream
//! ([`of_event`]). [`Failure::problem`] says it to the caller; [`Problem`] has the shape of the caller's dialect.
//!
//! ```
//! use routewright_policy_server::dialect::{Dialect, failure};
//!
//! let header = |name: &str| (name == "retry-after").then_some("1.5");
//! let body = br#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#;
//! let failure = failure::of_status(429, &header, body, 0);
//! assert_eq!((failure.kind, failure.wait_ms), (failure::Kind::RateLimit, Some(1500)));
//! assert!(failure.retries_here() && failure.falls_back());
//! assert!(failure.problem().body(Dialect::Messages).contains("rate_limit_error"));
//! ```
//!
//! What servers say is shown to the caller only where it is about the caller's own request ([`Kind::Invalid`],
//! [`Kind::Unsupported`]); other texts may name the operator's keys, accounts and models.

mod context;
mod moment;
mod shape;
mod wait;

pub use context::Overflow;
pub use shape::Problem;

use super::Dialect;
use super::json::{Kind as Json, Value};

/// A wait at most, in milliseconds.
pub const WAIT_MAX: u64 = 3_600_000;
/// The wait for a quota at most.
const QUOTA_MAX: u64 = 31 * 86_400_000;
/// A rate limit that is over so soon is waited for.
const WAIT_HERE_MAX: u64 = 2000;
/// Characters kept of a message.
const MESSAGE_MAX: usize = 2000;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No connection, or it broke before a status came.
    Unreachable,
    /// No answer within the time allowed.
    Timeout,
    /// The request is wrong, for every model: 400, 422 and the rest of 4xx.
    Invalid,
    /// This model does not take a field of the request.
    Unsupported,
    /// The server does not know the model: the arm is configured wrongly.
    NoModel,
    /// The request is longer than the window.
    Context,
    /// The body is larger than the server takes.
    TooLarge,
    /// Our key is refused.
    Credential,
    /// The account has no money or its quota of a day is used up.
    Quota,
    /// Too many requests or tokens.
    RateLimit,
    /// The server has too much to do.
    Overloaded,
    /// The server failed: 408, 409, 5xx.
    Server,
    /// A reply that is none: no JSON, no choices, nothing in it.
    Malformed,
    /// The model or a filter refuses to answer.
    Refused,
}

impl Kind {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::NoModel => "no_model",
            Self::Context => "context",
            Self::TooLarge => "too_large",
            Self::Credential => "credential",
            Self::Quota => "quota",
            Self::RateLimit => "rate_limit",
            Self::Overloaded => "overloaded",
            Self::Server => "server",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
        }
    }
}

/// What a failure means for the time to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cooldown {
    /// Nothing.
    None,
    /// It counts for the breaker of arm and key.
    Count,
    /// The arm rests for so many milliseconds.
    Arm(u64),
    /// The arm rests, longer each time: from the first number of milliseconds, doubled up to the second.
    Backoff(u64, u64),
    /// Everything with this key rests for so many milliseconds.
    Key(u64),
}

/// A failure and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: Kind,
    /// The status that came, also where it stands in a body; 0 where none came.
    pub status: u16,
    /// Milliseconds that the server asks to wait, at most [`WAIT_MAX`], for a quota 31 days.
    pub wait_ms: Option<u64>,
    /// The server's `x-should-retry`.
    pub should_retry: Option<bool>,
    /// Of [`Kind::Context`], the figures.
    pub overflow: Option<Overflow>,
    /// The server's code, at most 100 characters; empty where it has none.
    pub code: String,
    /// The server's message, at most 2000 characters. For logs of operators: see the module.
    pub message: String,
}

impl Failure {
    /// One that came without a reply: [`Kind::Unreachable`], [`Kind::Timeout`] or [`Kind::Malformed`].
    pub fn without_reply(kind: Kind, message: impl Into<String>) -> Self {
        let (overflow, code) = (None, String::new());
        Self { kind, status: 0, wait_ms: None, should_retry: None, overflow, code, message: message.into() }
    }

    /// Whether the same server may be asked once more, after [`Failure::wait_ms`].
    pub fn retries_here(&self) -> bool {
        let by_kind = match self.kind {
            Kind::Unreachable | Kind::Server => true,
            Kind::RateLimit => self.wait_ms.is_some_and(|wait| wait <= WAIT_HERE_MAX),
            _ => false,
        };
        match self.should_retry {
            Some(false) => false,
            Some(true) => by_kind || matches!(self.kind, Kind::Overloaded | Kind::Timeout),
            None => by_kind,
        }
    }

    /// Whether another model may answer. After [`Kind::Context`] one with a larger window; after [`Kind::Refused`]
    /// only where the policy says so.
    pub fn falls_back(&self) -> bool {
        !matches!(self.kind, Kind::Invalid | Kind::Refused)
    }

    /// What it means for the time to come.
    pub fn cooldown(&self) -> Cooldown {
        match self.kind {
            Kind::Unreachable | Kind::Timeout | Kind::Server | Kind::Malformed => Cooldown::Count,
            Kind::NoModel => Cooldown::Arm(300_000),
            Kind::Credential => Cooldown::Key(300_000),
            Kind::Quota => Cooldown::Key(self.wait_ms.unwrap_or(3_600_000)),
            Kind::RateLimit => self.wait_ms.map_or(Cooldown::Backoff(5000, 60_000), Cooldown::Arm),
            Kind::Overloaded => Cooldown::Backoff(10_000, 120_000),
            Kind::Invalid | Kind::Unsupported | Kind::Context | Kind::TooLarge | Kind::Refused => {
                Cooldown::None
            }
        }
    }

    /// Whether the server's own body may go to a caller of its dialect as it is.
    pub fn passes_as_is(&self) -> bool {
        matches!(self.kind, Kind::Invalid | Kind::Unsupported | Kind::Refused) && self.status != 0
    }

    /// What the caller is told, where this was the last that was tried. Of 529, callers of other dialects than
    /// Anthropic's are told 503, by [`Problem::body`]'s caller.
    pub fn problem(&self) -> Problem {
        let own = |status, code, message: &str| Problem::new(status, code, message);
        match self.kind {
            Kind::Unreachable => own(502, "upstream_unreachable", "the model server cannot be reached"),
            Kind::Timeout => {
                own(504, "upstream_timeout", "the model server did not answer within the time allowed")
            }
            Kind::NoModel => {
                own(502, "upstream_misconfigured", "the model server does not know the model configured")
            }
            Kind::Credential => {
                own(502, "upstream_misconfigured", "the model server refuses the key configured")
            }
            Kind::Quota => own(503, "upstream_quota", "the quota at the model server is used up"),
            Kind::RateLimit => {
                own(429, "rate_limit_exceeded", "the model server has too many requests; ask again later")
            }
            Kind::Overloaded => {
                own(529, "upstream_overloaded", "the model server is overloaded; ask again later")
            }
            Kind::Server => {
                let status = match self.status {
                    408 | 504 => 504,
                    503 => 503,
                    _ => 502,
                };
                own(status, "upstream_failed", "the model server failed to answer")
            }
            Kind::Malformed => {
                own(502, "upstream_malformed", "the model server sent a reply that cannot be read")
            }
            Kind::TooLarge => {
                own(413, "request_too_large", "the request is larger than the model server accepts")
            }
            Kind::Context => own(400, "context_length_exceeded", &self.context_message()),
            Kind::Invalid | Kind::Unsupported | Kind::Refused => {
                let status = if (400..500).contains(&self.status) { self.status } else { 400 };
                let code = if self.code.is_empty() { "invalid_request" } else { &self.code };
                let silent = "the model server refuses the request and does not say why";
                own(status, code, if self.message.is_empty() { silent } else { &self.message })
            }
        }
    }

    fn context_message(&self) -> String {
        let figures = self.overflow.unwrap_or_default();
        let window = figures.window.map_or_else(String::new, |window| format!(", which is {window} tokens"));
        let asked = figures.asked.map_or_else(String::new, |asked| format!(" of {asked} tokens"));
        format!("the request{asked} is longer than the maximum context length of the model{window}")
    }
}

/// A reply of another status than 2xx. `header` finds a header by its name in lower case; `now_ms` is the time since
/// 1970, for dates.
pub fn of_status<'h>(
    status: u16,
    header: &dyn Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now_ms: u64,
) -> Failure {
    let value = Value::read(body).ok().map(unwrapped);
    let told = Told::read(value, body);
    let kind = kind(status, &told, body);
    let kind = match kind {
        Kind::RateLimit if wait::is_day_over(header) || told.is_of_a_day => Kind::Quota,
        kind => kind,
    };
    let max = if kind == Kind::Quota { QUOTA_MAX } else { WAIT_MAX };
    let wait_ms = wait::wait_ms(header, value, &told.message, now_ms).map(|wait| wait.min(max));
    let should_retry = match header("x-should-retry") {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    // A reset that comes with other failures is not about them.
    let wait_ms = wait_ms.filter(|_| matches!(status, 429 | 503 | 529) || kind == Kind::Quota);
    Failure {
        kind,
        status,
        wait_ms,
        should_retry,
        overflow: told.overflow(kind),
        code: told.code,
        message: told.message,
    }
}

/// The failure that a reply of status 200 is: an error in its body, no JSON, nothing in it, a refusal. None where it is
/// an answer.
pub fn of_reply(dialect: Dialect, body: &[u8]) -> Option<Failure> {
    let Ok(value) = Value::read(body) else {
        return Some(Failure::without_reply(Kind::Malformed, "the reply is no JSON"));
    };
    let value = unwrapped(value);
    if let Some(failure) = of_error(value) {
        return Some(failure);
    }
    let reply = match dialect {
        Dialect::Chat => of_choices(value, "message"),
        Dialect::Completions => {
            value.has("choices").is_some_and(|choices| choices.items().next().is_some()).then_some(false)
        }
        Dialect::Embeddings => is_filled(value.get("data")).then_some(false),
        Dialect::Messages => {
            let refused = value.has("stop_reason").is_some_and(|reason| reason.is_text("refusal"));
            (value.has("content").is_some() && value.has("stop_reason").is_some()
                || is_filled(value.get("content")))
            .then_some(refused)
        }
        Dialect::Responses => value.has("output").map(|_| false),
        Dialect::Gemini => of_candidates(value),
    };
    match reply {
        Some(false) => None,
        Some(true) => Some(Failure::without_reply(Kind::Refused, "the model or a filter refuses to answer")),
        None => Some(Failure::without_reply(Kind::Malformed, "the reply has no answer in it")),
    }
}

/// The failure that an event of a stream tells; [`super::watch::Watch::error`] has its JSON.
pub fn of_event(data: &str) -> Failure {
    let value = Value::read(data.as_bytes()).ok().map(unwrapped);
    value
        .and_then(of_error)
        .unwrap_or_else(|| Failure::without_reply(Kind::Malformed, "the error of the stream is no JSON"))
}

/// An error in the place of an answer.
fn of_error(value: Value<'_>) -> Option<Failure> {
    let is_error = value
        .has("error")
        .is_some_and(|error| !matches!(error.raw(), "false" | "\"\"" | "0" | "{}"))
        || ["type", "object"].iter().any(|name| value.get(name).is_some_and(|kind| kind.is_text("error")))
        || value.at(&["response", "error"]).is_some();
    if !is_error {
        return None;
    }
    let told = Told::read(Some(value), b"");
    let status = told.status.unwrap_or_else(|| told.status_of_type());
    let kind = match kind(status, &told, b"{}") {
        Kind::RateLimit if told.is_of_a_day => Kind::Quota,
        kind => kind,
    };
    Some(Failure {
        kind,
        status,
        wait_ms: wait::wait_ms(&|_| None, Some(value), &told.message, 0).map(|wait| wait.min(WAIT_MAX)),
        should_retry: None,
        overflow: told.overflow(kind),
        code: told.code,
        message: told.message,
    })
}

fn is_filled(value: Option<Value<'_>>) -> bool {
    value.is_some_and(|value| !matches!(value.raw(), "\"\"" | "[]" | "{}" | "null"))
}

/// Of a reply of chat: whether it is a refusal; None where there is nothing in it.
fn of_choices(value: Value<'_>, message: &str) -> Option<bool> {
    let choices: Vec<Value<'_>> = value.has("choices")?.items().collect();
    let first = choices.first()?;
    let finish = first.has("finish_reason").and_then(Value::text);
    let parts = first.has(message);
    let fields =
        ["content", "refusal", "tool_calls", "function_call", "reasoning_content", "reasoning", "audio"];
    let has_content = parts.is_some_and(|parts| fields.iter().any(|field| is_filled(parts.get(field))));
    if !has_content && finish.is_none() {
        return None;
    }
    let refuses = |choice: &Value<'_>| {
        choice.has("finish_reason").is_some_and(|reason| reason.is_text("content_filter"))
            || choice.at(&[message, "refusal"]).is_some_and(|refusal| is_filled(Some(refusal)))
    };
    Some(choices.iter().all(refuses))
}

/// The same of a reply of Gemini.
fn of_candidates(value: Value<'_>) -> Option<bool> {
    if value.at(&["promptFeedback", "blockReason"]).is_some() {
        return Some(true);
    }
    let first = value.has("candidates")?.items().next()?;
    let finish = first.has("finishReason").and_then(Value::text);
    let has_parts = is_filled(first.at(&["content", "parts"]));
    let refusals = ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"];
    let refused = finish.as_ref().is_some_and(|finish| refusals.contains(&&**finish));
    (has_parts || finish.is_some()).then_some(refused && !has_parts)
}

/// The object within a list of one, as Gemini wraps its errors.
fn unwrapped(value: Value<'_>) -> Value<'_> {
    if value.kind() == Json::List { value.items().next().unwrap_or(value) } else { value }
}

/// What an error says, whichever shape it has.
#[derive(Debug, Default)]
struct Told {
    message: String,
    code: String,
    /// Everything that names the kind, in lower case: type, code, status.
    names: String,
    status: Option<u16>,
    is_of_a_day: bool,
}

impl Told {
    fn read(value: Option<Value<'_>>, body: &[u8]) -> Self {
        let Some(value) = value else {
            // A page of a proxy, or plain words.
            let text = String::from_utf8_lossy(&body[..body.len().min(4 * MESSAGE_MAX)]);
            return Self { message: text.chars().take(MESSAGE_MAX).collect(), ..Self::default() };
        };
        let error = value.has("error").or(value.at(&["response", "error"])).unwrap_or(value);
        let text = |value: Option<Value<'_>>| value.and_then(Value::text).map(|text| text.into_owned());
        let message = text(error.has("message"))
            .or_else(|| text(Some(error)))
            .or_else(|| text(value.has("message")))
            .or_else(|| text(value.has("detail")))
            .or_else(|| text(value.at(&["detail", "0", "msg"])))
            .or_else(|| text(value.at(&["errors", "0", "message"])))
            .unwrap_or_default();
        let fields =
            [error.has("code"), error.has("type"), error.has("status"), value.has("code"), value.has("type")];
        let names: Vec<String> = fields.into_iter().filter_map(text).collect();
        let numbers = [error.has("code"), value.has("code"), error.has("status"), value.has("status")];
        let status = numbers.into_iter().flatten().find_map(Value::integer);
        let is_of_a_day = error.has("details").is_some_and(|details| details.raw().contains("PerDay"));
        Self {
            message: message.chars().take(MESSAGE_MAX).collect(),
            code: names.first().map(|name| name.chars().take(100).collect()).unwrap_or_default(),
            names: names.join(" ").to_lowercase(),
            status: status
                .filter(|status| (400..600).contains(status))
                .and_then(|status| u16::try_from(status).ok()),
            is_of_a_day,
        }
    }

    fn is_named(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.names.contains(name))
    }

    fn says(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| message.contains(word))
    }

    /// The status that the type of an error would have had.
    fn status_of_type(&self) -> u16 {
        let known: [(&[&str], u16); 9] = [
            (&["overloaded"], 529),
            (&["rate_limit", "resource_exhausted", "too_many_requests"], 429),
            (&["authentication", "invalid_api_key", "unauthenticated"], 401),
            (&["permission"], 403),
            (&["not_found"], 404),
            (&["timeout", "deadline_exceeded"], 504),
            (&["unavailable"], 503),
            (&["invalid_request", "invalid_argument", "badrequest", "invalid_prompt"], 400),
            (&["billing", "insufficient_quota"], 402),
        ];
        known.iter().find(|(names, _)| self.is_named(names)).map_or(500, |(_, status)| *status)
    }

    fn overflow(&self, kind: Kind) -> Option<Overflow> {
        (kind == Kind::Context).then(|| context::overflow(&self.names, &self.message).unwrap_or_default())
    }
}

/// Words of a field that this model does not take.
const UNSUPPORTED: [&str; 11] = [
    "unsupported parameter",
    "unsupported value",
    "unsupported_parameter",
    "unrecognized request argument",
    "unrecognized field",
    "extra inputs are not permitted",
    "unknown name",
    "not supported with this model",
    "is not supported by this model",
    "does not support",
    "doesn't support",
];

/// Words of an account without money.
const NO_MONEY: [&str; 5] = [
    "credit balance is too low",
    "exceeded your current quota",
    "insufficient credits",
    "insufficient balance",
    "billing hard limit",
];

fn kind(status: u16, told: &Told, body: &[u8]) -> Kind {
    let is_quota =
        told.is_named(&["insufficient_quota", "billing_error", "billing_hard_limit", "quota_exceeded"]);
    if status == 402 || is_quota || told.says(&NO_MONEY) {
        return Kind::Quota;
    }
    // A limit of tokens a minute may be worded as a request that is too large.
    if status == 429 || (status == 413 && told.is_named(&["rate_limit"])) {
        return Kind::RateLimit;
    }
    if context::overflow(&told.names, &told.message).is_some() {
        return Kind::Context;
    }
    // Servers that say nothing where the window is too small.
    let is_silent = body.iter().all(u8::is_ascii_whitespace);
    match status {
        400 | 413 if is_silent => Kind::Context,
        401 | 403 => Kind::Credential,
        413 => Kind::TooLarge,
        529 => Kind::Overloaded,
        503 if told.is_named(&["overloaded"]) || told.says(&["overloaded"]) => Kind::Overloaded,
        404 => Kind::NoModel,
        400 | 422 if told.is_named(&["model_not_found"]) => Kind::NoModel,
        400 | 422 if told.is_named(&["unsupported"]) || told.says(&UNSUPPORTED) => Kind::Unsupported,
        408 | 409 | 500.. => Kind::Server,
        _ if told.is_named(&["overloaded"]) => Kind::Overloaded,
        _ => Kind::Invalid,
    }
}

#[cfg(test)]
mod tests;
