//! How long to wait before a server may be asked again, from what it says: `retry-after-ms`, `retry-after` in seconds
//! or as a date, the delay in the body of Gemini's errors, the words "try again in 6.2s", and the resets of rate limits
//! in their five spellings.
//!
//! A reset is when a bucket is full again, longer than needed; so it counts only where nothing else is said, and only
//! that of a limit that is used up, where the rests are told.

use super::moment::{duration_ms, http_date_ms, rfc3339_ms};
use crate::dialect::json::Value;

/// A number below this in `x-ratelimit-reset` is seconds from now, one above a time since 1970.
const RESET_SECONDS_MAX: f64 = 30.0 * 86_400.0;

/// Headers of resets and, beside them, of what is left.
const RESETS: [(&str, &str); 13] = [
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-remaining"),
    ("anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-tokens-remaining"),
    ("anthropic-ratelimit-input-tokens-reset", "anthropic-ratelimit-input-tokens-remaining"),
    ("anthropic-ratelimit-output-tokens-reset", "anthropic-ratelimit-output-tokens-remaining"),
    ("x-ratelimit-reset-requests-day", "x-ratelimit-remaining-requests-day"),
    ("x-ratelimit-reset-tokens-day", "x-ratelimit-remaining-tokens-day"),
    ("x-ratelimit-reset-requests-minute", "x-ratelimit-remaining-requests-minute"),
    ("x-ratelimit-reset-tokens-minute", "x-ratelimit-remaining-tokens-minute"),
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
    ("ratelimit-reset", "ratelimit-remaining"),
    ("x-rate-limit-reset", "x-rate-limit-remaining"),
];

/// Milliseconds to wait; None where nothing is said. Not bounded.
pub(super) fn wait_ms<'h>(
    header: &dyn Fn(&str) -> Option<&'h str>,
    body: Option<Value<'_>>,
    message: &str,
    now_ms: u64,
) -> Option<u64> {
    let number = |name: &str| header(name).map(str::trim).and_then(|text| text.parse::<f64>().ok());
    let positive =
        |number: f64| (number.is_finite() && number >= 0.0).then(|| number.ceil().min(1e15) as u64);
    let at = |ms: u64| ms.saturating_sub(now_ms);
    number("retry-after-ms")
        .and_then(positive)
        .or_else(|| number("retry-after").map(|seconds| seconds * 1000.0).and_then(positive))
        .or_else(|| header("retry-after").and_then(http_date_ms).map(at))
        .or_else(|| body.and_then(of_details))
        .or_else(|| of_words(message))
        .or_else(|| of_resets(header, now_ms))
}

/// Whether a limit of a day is used up, as the headers say.
pub(super) fn is_day_over<'h>(header: &dyn Fn(&str) -> Option<&'h str>) -> bool {
    let days = RESETS.iter().filter(|(reset, _)| reset.ends_with("-day"));
    days.filter_map(|(_, left)| header(left)).any(|left| left.trim() == "0")
}

/// `retryDelay` of the details of an error of Gemini.
fn of_details(body: Value<'_>) -> Option<u64> {
    let details = body.at(&["error", "details"])?;
    let delay = details.items().find_map(|detail| detail.has("retryDelay"))?;
    duration_ms(&delay.text()?)
}

/// "Please try again in 1m6.2s."
fn of_words(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("ry again in ")?;
    let end =
        rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '\u{b5}').unwrap_or(rest.len());
    let duration = rest[..end].trim_end_matches('.');
    let seconds = duration.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    // "in 3 minutes" is no duration of this form.
    let is_counted = seconds && !rest[end..].trim_start().starts_with("second");
    if is_counted { None } else { duration_ms(duration) }
}

fn of_resets<'h>(header: &dyn Fn(&str) -> Option<&'h str>, now_ms: u64) -> Option<u64> {
    let resets = || {
        RESETS.iter().filter_map(|(reset, left)| {
            let wait = reset_ms(header(reset)?, now_ms)?;
            Some((wait, header(left).and_then(|left| left.trim().parse::<f64>().ok())))
        })
    };
    let used_up =
        resets().filter(|(_, left)| left.is_some_and(|left| left <= 0.0)).map(|(wait, _)| wait).max();
    used_up.or_else(|| resets().map(|(wait, _)| wait).min())
}

/// One reset: a time, a duration, seconds, or seconds or milliseconds since 1970.
fn reset_ms(text: &str, now_ms: u64) -> Option<u64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        let ms = match number {
            _ if !number.is_finite() || number < 0.0 => return None,
            _ if number < RESET_SECONDS_MAX => return duration_ms(text),
            _ if number < 1e11 => number * 1000.0,
            _ => number,
        };
        return Some((ms.min(1e15) as u64).saturating_sub(now_ms));
    }
    rfc3339_ms(text).map(|ms| ms.saturating_sub(now_ms)).or_else(|| duration_ms(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_796_096_400_000;

    fn wait(headers: &[(&str, &'static str)], body: &str, message: &str) -> Option<u64> {
        let header = |name: &str| headers.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        wait_ms(&header, Value::read(body.as_bytes()).ok(), message, NOW)
    }

    #[test]
    fn every_form_of_a_wait() {
        let of = |headers: &[(&str, &'static str)]| wait(headers, "", "");
        assert_eq!(of(&[("retry-after-ms", "1200"), ("retry-after", "60")]), Some(1200));
        assert_eq!(of(&[("retry-after", "0.5")]), Some(500));
        assert_eq!(of(&[("retry-after", "Tue, 01 Dec 2026 03:41:00 GMT")]), Some(60_000));
        assert_eq!(of(&[("retry-after", "Tue, 01 Dec 2020 03:41:00 GMT")]), Some(0), "past");
        assert_eq!(of(&[("retry-after", "soon"), ("x-ratelimit-reset-tokens", "6m0s")]), Some(360_000));
        let gemini = r#"{"error":{"code":429,"details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.07s"}]}}"#;
        assert_eq!(wait(&[], gemini, ""), Some(34_070));
        assert_eq!(wait(&[], "", "Rate limit reached. Please try again in 6.2s. Visit"), Some(6200));
        assert_eq!(wait(&[], "", "Try again in 120ms."), Some(120));
        assert_eq!(wait(&[], "", "try again in 20 seconds"), Some(20_000));
        assert_eq!(wait(&[], "", "try again in 3 minutes"), None);
        assert_eq!(wait(&[], "", "wait"), None);
    }

    #[test]
    fn resets_count_where_the_limit_is_used_up() {
        let of = |headers: &[(&str, &'static str)]| wait(headers, "", "");
        let openai = [
            ("x-ratelimit-remaining-requests", "9"),
            ("x-ratelimit-reset-requests", "1ms"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "1m6s"),
        ];
        assert_eq!(of(&openai), Some(66_000));
        let anthropic = [
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-12-01T03:40:09Z"),
            ("anthropic-ratelimit-requests-remaining", "40"),
            ("anthropic-ratelimit-requests-reset", "2026-12-01T03:40:01Z"),
        ];
        assert_eq!(of(&anthropic), Some(9000));
        assert_eq!(of(&[("x-ratelimit-reset", "30")]), Some(30_000));
        assert_eq!(of(&[("x-ratelimit-reset", "1796096407")]), Some(7000), "seconds since 1970");
        assert_eq!(
            of(&[("x-ratelimit-reset", "1796096407000")]),
            Some(7000),
            "milliseconds, as OpenRouter has it"
        );
        let cerebras =
            [("x-ratelimit-remaining-requests-day", "0"), ("x-ratelimit-reset-requests-day", "33011.382867")];
        assert_eq!(of(&cerebras), Some(33_011_383));
        let header = |name: &str| cerebras.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        assert!(is_day_over(&header));
        for wrong in ["-1", "NaN", "inf", "", "x"] {
            assert_eq!(
                of(&[("x-ratelimit-reset", wrong), ("retry-after", wrong), ("retry-after-ms", wrong)]),
                None
            );
        }
    }
}
