//! Every cap of the server in one place: what it bounds, its default, its range.

use crate::settings::ConfigError;
use serde::Deserialize;
use std::time::Duration;

/// Caps on what a request may ask for and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Longest request body, bytes.
    pub body_bytes_max: usize,
    /// Longest body of a request that is answered by a model, bytes.
    pub answer_body_bytes_max: usize,
    /// Time such a request may take from its head to the end of its answer, milliseconds; each model has limits of its
    /// own beside it.
    pub answer_timeout_ms: u64,
    /// Memory for answers that are kept for requests that come again, bytes; 0 keeps none.
    pub cache_bytes_max: usize,
    /// Tokens of an answer that are held against the budget of a key where the request does not say how long it may be.
    pub reserve_output_tokens: u64,
    /// Most requests in one `/v1/route/batch`.
    pub batch_max: usize,
    /// Most reports in one NDJSON body of `/v1/feedback`.
    pub feedback_batch_max: usize,
    /// Time the head of a request may take from its first byte, milliseconds.
    pub head_timeout_ms: u64,
    /// Time a request may take from its head to its answer, body included, milliseconds. Answers of fused models
    /// have the deadline of their ensemble instead.
    pub request_timeout_ms: u64,
    /// Time a client may take nothing of a reply, milliseconds.
    pub write_timeout_ms: u64,
    /// Time after which the default arm answers, milliseconds; 0 waits for the decision.
    pub decision_deadline_ms: u64,
    /// Most open connections. The next one takes the place of one that is waited for, or waits for its turn.
    pub connections_max: usize,
    /// Most open connections of one address; 0 sets no limit of its own.
    pub connections_per_address_max: usize,
    /// Time a connection may stay silent between requests, milliseconds.
    pub idle_timeout_ms: u64,
    /// Most requests a second of one key, or of one address where no keys are set; each entry of a batch and each
    /// line of NDJSON counts. 0 sets no limit.
    pub rate_per_second: u64,
    /// Requests a key or address may make at once before the rate counts; 0 means those of one second.
    pub rate_burst: u64,
    /// Most decisions waiting for a worker.
    pub queue_max: usize,
    /// Most decisions of one micro-batch.
    pub micro_batch_max: usize,
    /// Worker threads, at most 1024; 0 means one a core.
    pub workers: usize,
    /// Longest text decided without a worker, bytes.
    pub inline_text_bytes_max: usize,
    /// Most answers of fused models written at the same time.
    pub fusions_max: usize,
    /// Time between the signal to stop and the end of accepting, milliseconds; `/ready` says 503 meanwhile.
    pub shutdown_delay_ms: u64,
    /// Time in-flight requests are given at shutdown, milliseconds.
    pub shutdown_grace_ms: u64,
}

/// Most worker threads.
const WORKERS_MAX: usize = 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 4 << 20,
            answer_body_bytes_max: 32 << 20,
            answer_timeout_ms: 600_000,
            reserve_output_tokens: 4096,
            cache_bytes_max: 64 << 20,
            batch_max: 256,
            feedback_batch_max: 10_000,
            head_timeout_ms: 10_000,
            request_timeout_ms: 10_000,
            write_timeout_ms: 30_000,
            decision_deadline_ms: 250,
            connections_max: 1024,
            connections_per_address_max: 0,
            idle_timeout_ms: 60_000,
            rate_per_second: 0,
            rate_burst: 0,
            queue_max: 4096,
            micro_batch_max: 64,
            workers: 0,
            // A decision that takes 250 us on an ordinary text takes a few milliseconds on this.
            inline_text_bytes_max: 2 << 10,
            fusions_max: 4,
            shutdown_delay_ms: 0,
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
            ("answer_body_bytes_max", self.answer_body_bytes_max as u64),
            ("answer_timeout_ms", self.answer_timeout_ms),
            ("reserve_output_tokens", self.reserve_output_tokens),
            ("batch_max", self.batch_max as u64),
            ("feedback_batch_max", self.feedback_batch_max as u64),
            ("head_timeout_ms", self.head_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
            ("write_timeout_ms", self.write_timeout_ms),
            ("connections_max", self.connections_max as u64),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("queue_max", self.queue_max as u64),
            ("micro_batch_max", self.micro_batch_max as u64),
            ("fusions_max", self.fusions_max as u64),
        ];
        let refuse = |key: &str, value: usize, expected: String| {
            Err(ConfigError::Value { key: format!("limits.{key}"), value: value.to_string(), expected })
        };
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return refuse(key, 0, "a number of at least 1".to_owned());
        }
        // The system would be asked for thread after thread until it has no more.
        match self.workers > WORKERS_MAX {
            true => refuse("workers", self.workers, format!("a number from 0 to {WORKERS_MAX}")),
            false => Ok(()),
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

    /// The deadline of a batch: that of one decision for every entry, within nine tenths of the time of the request.
    pub(crate) fn batch_deadline(&self, n_entries: usize) -> Option<Duration> {
        let within = Duration::from_millis(self.request_timeout_ms.saturating_mul(9) / 10);
        let entries = u32::try_from(n_entries.max(1)).unwrap_or(u32::MAX);
        let one = self.decision_deadline()?;
        Some(one.saturating_mul(entries).min(within).max(one))
    }
}
