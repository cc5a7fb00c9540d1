//! Every cap of the server in one place: what it bounds, its default, its range.

use crate::config::ConfigError;
use serde::Deserialize;
use std::time::Duration;

/// Caps on what a request may ask for and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Longest request body, bytes.
    pub body_bytes_max: usize,
    /// Most requests in one `/v1/route/batch`.
    pub batch_max: usize,
    /// Time a request may take from its head to its answer, body included, milliseconds.
    pub request_timeout_ms: u64,
    /// Time after which the default arm answers, milliseconds; 0 waits for the decision.
    pub decision_deadline_ms: u64,
    /// Most open connections; the next one waits to be accepted.
    pub connections_max: usize,
    /// Time a connection may stay silent, milliseconds.
    pub idle_timeout_ms: u64,
    /// Most decisions waiting for a worker.
    pub queue_max: usize,
    /// Most decisions of one micro-batch.
    pub micro_batch_max: usize,
    /// Worker threads; 0 means one a core.
    pub workers: usize,
    /// Longest text decided without a worker, bytes.
    pub inline_text_bytes_max: usize,
    /// Most answers of fused models written at the same time.
    pub fusions_max: usize,
    /// Time in-flight requests are given at shutdown, milliseconds.
    pub shutdown_grace_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 4 << 20,
            batch_max: 256,
            request_timeout_ms: 10_000,
            decision_deadline_ms: 250,
            connections_max: 1024,
            idle_timeout_ms: 60_000,
            queue_max: 4096,
            micro_batch_max: 64,
            workers: 0,
            inline_text_bytes_max: 16 << 10,
            fusions_max: 4,
            shutdown_grace_ms: 10_000,
        }
    }
}

impl Limits {
    /// Refuses caps that would let nothing through.
    ///
    /// # Errors
    /// If a cap is 0 where 0 has no meaning.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let positive = [
            ("body_bytes_max", self.body_bytes_max as u64),
            ("batch_max", self.batch_max as u64),
            ("request_timeout_ms", self.request_timeout_ms),
            ("connections_max", self.connections_max as u64),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("queue_max", self.queue_max as u64),
            ("micro_batch_max", self.micro_batch_max as u64),
            ("fusions_max", self.fusions_max as u64),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(ConfigError::Value {
                key: format!("limits.{key}"),
                value: "0".to_owned(),
                expected: "a number of at least 1".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Number of worker threads, at least 1.
    pub(crate) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }

    /// The decision deadline, where there is one.
    pub(crate) fn decision_deadline(&self) -> Option<Duration> {
        (self.decision_deadline_ms > 0).then(|| Duration::from_millis(self.decision_deadline_ms))
    }
}
