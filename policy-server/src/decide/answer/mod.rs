//! Answering: a policy decides, the arm it chose is called, and where that fails the next one is.
//!
//! A decision is in the log before its arm is called, and marked as one that counts only once it was acted upon: the
//! report of the call (`report.rs`) says so, with price, time and end. Where an arm fails before anything of its answer
//! was passed on, the policy decides again without it, so that every call made is a logged draw from a stated
//! distribution, and an arm that failed gets no bad score.
//!
//! Bodies pass through byte for byte, but for the name of the model, where the arm speaks the dialect of the caller,
//! and are translated where it does not. Of a stream nothing is passed on before its first content: until then a
//! failure is a plain status, and another arm may answer.

mod able;
mod attempt;
mod commit;
mod episode;
mod failed;
mod flow;
mod kept;
mod outgoing;
mod program;
mod question;
mod ranked;
mod recording;
mod report;
mod say;
mod tab;
mod whole;

pub(crate) use flow::Flow;
pub(crate) use question::{Question, Target};
pub(crate) use recording::Source;
pub(crate) use tab::account;

use crate::decide::Service;
use crate::live::cache::Cache;
use crate::live::metrics::PolicyMetrics;
use crate::live::quota::Quotas;
use crate::log::Log;
use crate::serve_error::ServeError;
use crate::settings::ServerConfig;
use crate::upstream::{Local, Upstreams};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use std::sync::Arc;

/// Answers for every caller there is.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) service: Arc<Service>,
    pub(crate) upstreams: Arc<Upstreams>,
    /// Requests and tokens a minute of each key.
    pub(crate) quotas: Arc<Quotas>,
    /// Answers for requests that come again.
    pub(crate) cache: Arc<Cache>,
    pub(crate) log: Log,
}

impl Gateway {
    /// Answers by the models of a configuration; `local` by those that are fused models of this server.
    ///
    /// # Errors
    /// If one cannot be called as its section says.
    pub(crate) fn new(
        service: &Arc<Service>,
        config: &ServerConfig,
        local: Router,
        log: &Log,
    ) -> Result<Self, ServeError> {
        let refuse = |(name, reason)| ServeError::Model { name, reason };
        let upstreams = Upstreams::open(&config.models, &Arc::new(Local::new(local))).map_err(refuse)?;
        let upstreams = Arc::new(upstreams);
        let (service, quotas) = (Arc::clone(service), Arc::default());
        let cache = Arc::new(Cache::new(config.limits.cache_bytes_max));
        Ok(Self { service, upstreams, quotas, cache, log: log.clone() })
    }
}

/// An answer, or what an arm says instead of one.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    /// What of the arm's headers the caller gets.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Said,
    pub(crate) by: By,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Said {
    Whole(Bytes),
    Stream(Box<Flow>),
    /// The pieces of a stream that was kept.
    Kept(Vec<Bytes>),
}

/// Who answers, and how that came about.
#[derive(Debug, Clone, Default)]
pub(crate) struct By {
    pub(crate) model: String,
    /// The decision; `None` where the caller named the model.
    pub(crate) decision: Option<Chosen>,
    /// Models that failed before, in order.
    pub(crate) passed_over: Vec<String>,
    /// Models that a program called, in order, each as often as it was; empty where the answer is of one call.
    pub(crate) called: Vec<String>,
    /// Price of a whole answer, nano-dollars; `None` where it is not known, or not yet.
    pub(crate) nano_usd: Option<u64>,
    /// Fields of the request that a translation left out or changed.
    pub(crate) dropped: Vec<String>,
    /// What the cache has to do with it; `None` where the key has none.
    pub(crate) cache: Option<Source>,
    /// The steps of a program and their bill, JSON.
    pub(crate) detail: Option<String>,
}

/// A decision that was acted upon.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) policy: String,
    pub(crate) id: String,
    pub(crate) reason: &'static str,
    /// What the reply is booked on.
    pub(crate) metrics: Arc<PolicyMetrics>,
}
