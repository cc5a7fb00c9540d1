//! How the limits of its key stand, beside each reply: in the names that the clients of the API know.

use crate::caller::Allowance;
use crate::clock::{now_seconds, rfc3339};
use crate::dialect::Dialect;
use crate::live::quota::{Quotas, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::time::{Duration, Instant};

/// What is limited, in the order of [`Quotas::states`].
const KINDS: [&str; 2] = ["requests", "tokens"];

/// Adds the headers of the limits that a key has.
pub(crate) fn mark(headers: &mut HeaderMap, quotas: &Quotas, key: &Allowance, shape: Dialect) {
    let states = quotas.states(key, Instant::now());
    for (kind, state) in KINDS.into_iter().zip(states) {
        let Some(state) = state else { continue };
        for (name, value) in named(kind, state, shape) {
            let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
                continue;
            };
            headers.insert(name, value);
        }
    }
}

fn named(kind: &str, State { limit, remaining, reset }: State, shape: Dialect) -> [(String, String); 3] {
    let (limit, remaining) = (limit.to_string(), remaining.to_string());
    if shape == Dialect::Messages {
        let name = |what: &str| format!("anthropic-ratelimit-{kind}-{what}");
        let at = now_seconds().saturating_add(reset.as_secs_f64().ceil() as u64);
        return [(name("limit"), limit), (name("remaining"), remaining), (name("reset"), rfc3339(at))];
    }
    let name = |what: &str| format!("x-ratelimit-{what}-{kind}");
    [(name("limit"), limit), (name("remaining"), remaining), (name("reset"), span(reset))]
}

/// A time as OpenAI writes it: `250ms`, `12s`, `6m0s`.
fn span(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{}ms", time.as_nanos().div_ceil(1_000_000));
    }
    match time.as_nanos().div_ceil(1_000_000_000) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_clients_read_them() {
        let written = [0, 1, 250_000, 999_999_999, 1_000_000_000, 59_000_000_001, 360_000_000_000]
            .map(|ns| span(Duration::from_nanos(ns)));
        assert_eq!(written, ["0ms", "1ms", "1ms", "1000ms", "1s", "1m0s", "6m0s"]);
    }
}
