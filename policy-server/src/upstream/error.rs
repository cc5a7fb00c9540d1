//! Why a call brought no reply.

use std::time::{Duration, Instant};

/// Why a call brought no reply, or its reply broke off. Never names an address: callers are told of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CallError {
    /// It is left alone for a while.
    #[error("it is left alone after failures")]
    Resting {
        /// Until when.
        until: Instant,
    },
    /// So many calls are under way already as its section allows.
    #[error("{max} calls to it are under way already, the most allowed")]
    Busy {
        /// `concurrent_max`.
        max: usize,
    },
    /// Its host has no address that it may be called at.
    #[error("its host resolves to no address that may be called; name its network in `networks`")]
    Forbidden,
    /// No connection.
    #[error("no connection: {reason}")]
    Connect {
        /// What the system or TLS said.
        reason: String,
    },
    /// A wait was too long.
    #[error("{what} took longer than {} ms", limit.as_millis())]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("the connection broke: {reason}")]
    Broken {
        /// What the library said.
        reason: String,
    },
    /// The answer is longer than its section allows.
    #[error("the answer is longer than {max} bytes")]
    TooLong {
        /// `answer_bytes_max`.
        max: usize,
    },
    /// The request could not be made.
    #[error("the request could not be made: {reason}")]
    Request {
        /// What the library said.
        reason: String,
    },
}

impl CallError {
    /// Whether its server is to blame, so that the failure counts against it.
    pub(crate) fn counts(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::TimedOut { .. } | Self::Broken { .. } | Self::TooLong { .. } => true,
            Self::Resting { .. } | Self::Busy { .. } | Self::Forbidden | Self::Request { .. } => false,
        }
    }

    /// Whether the same request may go better at once.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Broken { .. })
    }
}

/// The text of an error and its causes, without what may name an address.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}
