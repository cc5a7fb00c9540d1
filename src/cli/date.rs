//! The date of today for reports: only the binary reads the clock.

use routewright_data::calendar;
use std::time::{SystemTime, UNIX_EPOCH};

/// The present, milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time in UTC, `yyyy-mm-dd hh:mm:ss`.
pub(super) fn at(ms: i64) -> String {
    let seconds = ms.max(0).unsigned_abs() / 1000;
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{} {hour:02}:{minute:02}:{:02}", calendar::date(seconds / 86_400), seconds % 60)
}

/// Today in UTC, `yyyy-mm-dd`.
pub(super) fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    calendar::date(seconds / 86_400)
}
