//! The wall clock: the one place of this crate that reads the time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time in seconds since 1970 as RFC 3339 writes it, in UTC.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days from 0000-03-01; years begin in March, so that the day of leap years is their last.
    let day = days + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let (date, month) = (of_year - (153 * from_march + 2) / 5 + 1, (from_march + 2) % 12 + 1);
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;

/// The day (UTC) of a time: its first millisecond, and that after its last.
pub(crate) fn day_of(at_ms: i64) -> [i64; 2] {
    let starts = at_ms.div_euclid(DAY_MS).saturating_mul(DAY_MS);
    [starts, starts.saturating_add(DAY_MS)]
}

/// The month (UTC) of a time: its first millisecond, and that after its last.
pub(crate) fn month_of(at_ms: i64) -> [i64; 2] {
    // A clock that says less or more is wrong by more than a calendar can mend.
    let days = at_ms.div_euclid(DAY_MS).clamp(0, 50_000_000);
    // As in `rfc3339`: the days of a year counted from March.
    let of_era = (days + 719_468) % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let first = |month: i64| (153 * month + 2) / 5;
    let starts = days - (of_year - first(from_march));
    let length = match from_march {
        // February is the last, as long as its year has it.
        11 => {
            let year = year_of_era + 1;
            28 + i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
        }
        month => first(month + 1) - first(month),
    };
    [starts * DAY_MS, (starts + length) * DAY_MS]
}

/// Seconds since 1970.
pub(crate) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By GNU date, `date -u -d @SECONDS +%FT%TZ`.
    #[test]
    fn times_are_written_as_dates() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_796_096_400, "2026-12-01T03:40:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), date);
        }
    }

    #[test]
    fn months_and_days_end_where_the_next_begin() {
        let date = |ms: i64| rfc3339(u64::try_from(ms / 1000).unwrap());
        for (seconds, day, month, next) in [
            (0, "1970-01-01", "1970-01", "1970-02"),
            (951_782_400, "2000-02-29", "2000-02", "2000-03"),
            (1_709_251_199, "2024-02-29", "2024-02", "2024-03"),
            (1_796_096_400, "2026-12-01", "2026-12", "2027-01"),
            (4_107_542_399, "2100-02-28", "2100-02", "2100-03"),
        ] {
            assert_eq!(date(day_of(seconds * 1000)[0]), format!("{day}T00:00:00Z"));
            let [starts, ends] = month_of(seconds * 1000);
            assert_eq!(date(starts), format!("{month}-01T00:00:00Z"));
            assert_eq!(date(ends), format!("{next}-01T00:00:00Z"));
        }
        // Months follow each other without a gap for 400 years, every calendar there is.
        let (mut at, mut months) = (0, 0);
        while at < 12_622_780_800_000 {
            let [starts, ends] = month_of(at);
            assert_eq!((starts, month_of(ends - 1)), (at, [starts, ends]));
            (at, months) = (ends, months + 1);
        }
        assert_eq!((at, months), (12_622_780_800_000, 4800));
        assert_eq!((month_of(-1)[0], day_of(-1)), (0, [-DAY_MS, 0]));
        for wrong in [i64::MIN, i64::MAX] {
            let [starts, ends] = month_of(wrong);
            assert!(starts < ends && day_of(wrong)[0] <= day_of(wrong)[1]);
        }
    }
}
