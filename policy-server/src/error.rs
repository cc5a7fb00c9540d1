//! One error type of the API: a stable code, a message for the caller, a note for the log. How it crosses HTTP is in
//! `http::error`.

use routewright_policy::DecideError;

/// What went wrong, as callers may rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidJson,
    InvalidRequest,
    UnknownCandidate,
    InvalidApiKey,
    ForeignOrigin,
    ModelNotFound,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    BodyTooLarge,
    MediaType,
    InvalidHttp,
    UriTooLong,
    HeadTooLarge,
    RateLimited,
    BudgetExceeded,
    BatchTooLarge,
    NoEligibleCandidate,
    ReloadFailed,
    PromotionRefused,
    DecisionNotFound,
    DecisionExpired,
    ForeignDecision,
    DecisionConflict,
    FeedbackConflict,
    UnknownMetric,
    UnknownSource,
    UnknownModel,
    ValueOutOfRange,
    NoStore,
    StoreUnavailable,
    FusionFailed,
    ContextTooLong,
    UpstreamFailed,
    UpstreamTimedOut,
    UpstreamRateLimited,
    UpstreamUnavailable,
    Overloaded,
    ShuttingDown,
    Internal,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub(crate) const ALL: [Self; 40] = [
        Self::InvalidJson,
        Self::InvalidRequest,
        Self::UnknownCandidate,
        Self::InvalidApiKey,
        Self::ForeignOrigin,
        Self::ModelNotFound,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::MediaType,
        Self::InvalidHttp,
        Self::UriTooLong,
        Self::HeadTooLarge,
        Self::RateLimited,
        Self::BudgetExceeded,
        Self::BatchTooLarge,
        Self::NoEligibleCandidate,
        Self::ReloadFailed,
        Self::PromotionRefused,
        Self::DecisionNotFound,
        Self::DecisionExpired,
        Self::ForeignDecision,
        Self::DecisionConflict,
        Self::FeedbackConflict,
        Self::UnknownMetric,
        Self::UnknownSource,
        Self::UnknownModel,
        Self::ValueOutOfRange,
        Self::NoStore,
        Self::StoreUnavailable,
        Self::FusionFailed,
        Self::ContextTooLong,
        Self::UpstreamFailed,
        Self::UpstreamTimedOut,
        Self::UpstreamRateLimited,
        Self::UpstreamUnavailable,
        Self::Overloaded,
        Self::ShuttingDown,
        Self::Internal,
    ];

    /// HTTP status, `error.type` and `error.code`.
    pub(crate) fn row(self) -> (u16, &'static str, &'static str) {
        const REQUEST: &str = "invalid_request_error";
        const SERVER: &str = "server_error";
        match self {
            Self::InvalidJson => (400, REQUEST, "invalid_json"),
            Self::InvalidRequest => (400, REQUEST, "invalid_request"),
            Self::UnknownCandidate => (400, REQUEST, "unknown_candidate"),
            Self::InvalidApiKey => (401, "authentication_error", "invalid_api_key"),
            Self::ForeignOrigin => (403, REQUEST, "foreign_origin"),
            Self::ModelNotFound => (404, REQUEST, "model_not_found"),
            Self::NotFound => (404, REQUEST, "not_found"),
            Self::MethodNotAllowed => (405, REQUEST, "method_not_allowed"),
            Self::RequestTimeout => (408, REQUEST, "request_timeout"),
            Self::BodyTooLarge => (413, REQUEST, "body_too_large"),
            Self::MediaType => (415, REQUEST, "unsupported_media_type"),
            Self::InvalidHttp => (400, REQUEST, "invalid_http"),
            Self::UriTooLong => (414, REQUEST, "uri_too_long"),
            Self::HeadTooLarge => (431, REQUEST, "head_too_large"),
            Self::RateLimited => (429, REQUEST, "rate_limited"),
            Self::BudgetExceeded => (402, "insufficient_quota", "budget_exceeded"),
            Self::BatchTooLarge => (422, REQUEST, "batch_too_large"),
            Self::NoEligibleCandidate => (422, REQUEST, "no_eligible_candidate"),
            Self::ReloadFailed => (422, REQUEST, "reload_failed"),
            Self::PromotionRefused => (409, REQUEST, "promotion_refused"),
            Self::DecisionNotFound => (404, REQUEST, "decision_not_found"),
            Self::DecisionExpired => (410, REQUEST, "decision_expired"),
            Self::ForeignDecision => (403, REQUEST, "foreign_decision"),
            Self::DecisionConflict => (409, REQUEST, "decision_conflict"),
            Self::FeedbackConflict => (409, REQUEST, "feedback_conflict"),
            Self::UnknownMetric => (422, REQUEST, "unknown_metric"),
            Self::UnknownSource => (422, REQUEST, "unknown_source"),
            Self::UnknownModel => (422, REQUEST, "unknown_model"),
            Self::ValueOutOfRange => (422, REQUEST, "value_out_of_range"),
            Self::NoStore => (501, SERVER, "no_store"),
            Self::StoreUnavailable => (503, SERVER, "store_unavailable"),
            Self::FusionFailed => (502, SERVER, "fusion_failed"),
            Self::ContextTooLong => (400, REQUEST, "context_length_exceeded"),
            Self::UpstreamFailed => (502, SERVER, "upstream_failed"),
            Self::UpstreamTimedOut => (504, SERVER, "upstream_timed_out"),
            Self::UpstreamRateLimited => (429, SERVER, "upstream_rate_limited"),
            Self::UpstreamUnavailable => (503, SERVER, "upstream_unavailable"),
            Self::Overloaded => (503, SERVER, "overloaded"),
            Self::ShuttingDown => (503, SERVER, "shutting_down"),
            Self::Internal => (500, SERVER, "internal_error"),
        }
    }

    /// HTTP status.
    pub(crate) fn status(self) -> u16 {
        self.row().0
    }

    /// `error.code`, also the `outcome` label of the request counter.
    pub(crate) fn label(self) -> &'static str {
        self.row().2
    }
}

/// An error on its way to the caller.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    /// Stable code.
    pub(crate) code: Code,
    /// For the caller.
    pub(crate) message: String,
    /// Field at fault, where there is one.
    pub(crate) param: Option<String>,
    /// For the log alone.
    pub(crate) inside: Option<String>,
    /// Seconds after which it may go better, where that is known.
    pub(crate) retry_after: Option<u64>,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, inside: None, retry_after: None }
    }

    #[must_use]
    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// A fault of ours: the caller learns that, the log learns what.
    pub(crate) fn internal(inside: impl Into<String>) -> Self {
        let message = "the server failed to answer this request; its log says why";
        Self { inside: Some(inside.into()), ..Self::new(Code::Internal, message) }
    }
}

impl From<DecideError> for ApiError {
    fn from(error: DecideError) -> Self {
        let message = error.to_string();
        match error {
            DecideError::Feature(_) => Self::new(Code::InvalidRequest, message),
            DecideError::UnknownCandidate { .. } => {
                Self::new(Code::UnknownCandidate, message).param("candidates")
            }
            DecideError::Number { field, .. } => Self::new(Code::InvalidRequest, message).param(field),
            DecideError::NoEligible { .. } => Self::new(Code::NoEligibleCandidate, message),
            DecideError::Steps { .. } => Self::new(Code::InvalidRequest, message).param("policy"),
            _ => Self::internal(message),
        }
    }
}
