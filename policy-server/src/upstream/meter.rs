//! What is measured of the calls to an arm, in the text of Prometheus.

use super::breaker::Breaker;
use crate::exposition::{Durations, escape, family, line};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With an answer.
    Ok,
    /// The arm refused the request for what it holds.
    Refused,
    /// The arm takes no more at present.
    RateLimited,
    /// The arm said that it failed, or answered with what is no answer.
    Failed,
    /// A wait was too long.
    TimedOut,
    /// No connection.
    Unreachable,
    /// The connection broke.
    Broken,
    /// The caller has gone.
    Cancelled,
    /// It was left alone, or too many calls were under way: nothing was sent.
    NotCalled,
}

const OUTCOMES: [(Outcome, &str); 9] = [
    (Outcome::Ok, "ok"),
    (Outcome::Refused, "refused"),
    (Outcome::RateLimited, "rate_limited"),
    (Outcome::Failed, "failed"),
    (Outcome::TimedOut, "timed_out"),
    (Outcome::Unreachable, "unreachable"),
    (Outcome::Broken, "broken"),
    (Outcome::Cancelled, "cancelled"),
    (Outcome::NotCalled, "not_called"),
];

impl Outcome {
    /// Name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        OUTCOMES.iter().find(|(outcome, _)| *outcome == self).map_or("failed", |(_, name)| name)
    }
}

/// What a call took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spent {
    /// Tokens of the prompt that were neither read from the provider's cache nor written to it.
    pub(crate) input: u64,
    /// Tokens read from the provider's cache.
    pub(crate) cache_read: u64,
    /// Tokens written to it.
    pub(crate) cache_write: u64,
    /// Tokens of the answer, reasoning included.
    pub(crate) output: u64,
    /// Price, nano-dollars; `None` where it is not known.
    pub(crate) nano_usd: Option<u64>,
    /// From the request to the first piece of the answer; `None` where none came.
    pub(crate) first: Option<Duration>,
    /// From the request to the end.
    pub(crate) whole: Duration,
}

/// Counters of one arm.
#[derive(Debug, Default)]
pub(super) struct Meter {
    outcomes: [AtomicU64; OUTCOMES.len()],
    tokens: [AtomicU64; TOKENS.len()],
    nano_usd: AtomicU64,
    unpriced: AtomicU64,
    first: Durations,
    whole: Durations,
}

const TOKENS: [&str; 4] = ["input", "cache_read", "cache_write", "output"];

impl Meter {
    pub(super) fn count(&self, outcome: Outcome, spent: &Spent) {
        if let Some(at) = OUTCOMES.iter().position(|(known, _)| *known == outcome) {
            self.outcomes[at].fetch_add(1, Relaxed);
        }
        let tokens = [spent.input, spent.cache_read, spent.cache_write, spent.output];
        for (counter, n) in self.tokens.iter().zip(tokens) {
            counter.fetch_add(n, Relaxed);
        }
        match spent.nano_usd {
            Some(nano) => self.nano_usd.fetch_add(nano, Relaxed),
            None if outcome == Outcome::Ok => self.unpriced.fetch_add(1, Relaxed),
            None => 0,
        };
        if let Some(first) = spent.first {
            self.first.observe(first);
        }
        self.whole.observe(spent.whole);
    }
}

/// The series of every arm.
pub(super) fn render<'a>(arms: impl Iterator<Item = (&'a str, &'a Meter, &'a Breaker)>) -> String {
    let arms: Vec<(String, &Meter, &Breaker)> =
        arms.map(|(name, meter, breaker)| (format!("model=\"{}\"", escape(name)), meter, breaker)).collect();
    let mut out = String::new();
    if arms.is_empty() {
        return out;
    }
    family(&mut out, "upstream_requests_total", "counter", "Calls to models by how they ended.");
    for (arm, meter, _) in &arms {
        for ((_, outcome), count) in OUTCOMES.iter().zip(&meter.outcomes) {
            let series = format!("routewright_upstream_requests_total{{{arm},outcome=\"{outcome}\"}}");
            line(&mut out, &series, count.load(Relaxed));
        }
    }
    family(&mut out, "tokens_total", "counter", "Tokens of calls to models by kind.");
    for (arm, meter, _) in &arms {
        for (kind, count) in TOKENS.iter().zip(&meter.tokens) {
            line(
                &mut out,
                &format!("routewright_tokens_total{{{arm},type=\"{kind}\"}}"),
                count.load(Relaxed),
            );
        }
    }
    family(&mut out, "cost_usd_total", "counter", "Price of calls to models, US dollars.");
    for (arm, meter, _) in &arms {
        let usd = meter.nano_usd.load(Relaxed) as f64 / 1e9;
        line(&mut out, &format!("routewright_cost_usd_total{{{arm}}}"), usd);
    }
    family(&mut out, "upstream_unpriced_total", "counter", "Answers whose price is not known.");
    for (arm, meter, _) in &arms {
        let count = meter.unpriced.load(Relaxed);
        line(&mut out, &format!("routewright_upstream_unpriced_total{{{arm}}}"), count);
    }
    family(&mut out, "upstream_breaker_open", "gauge", "Whether a model is left alone after failures.");
    for (arm, _, breaker) in &arms {
        line(&mut out, &format!("routewright_upstream_breaker_open{{{arm}}}"), u8::from(breaker.is_open()));
    }
    family(&mut out, "time_to_first_token_seconds", "histogram", "Time to the first piece of an answer.");
    for (arm, meter, _) in &arms {
        meter.first.write(&mut out, "routewright_time_to_first_token_seconds", arm);
    }
    family(&mut out, "upstream_duration_seconds", "histogram", "Time of a call to a model.");
    for (arm, meter, _) in &arms {
        meter.whole.write(&mut out, "routewright_upstream_duration_seconds", arm);
    }
    out
}
