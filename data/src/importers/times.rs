//! Times as logs write them, to milliseconds since 1970-01-01 UTC.

/// Numbers below these are seconds, milliseconds and microseconds, above them nanoseconds: as seconds the first is the
/// year 5138, as milliseconds 1973.
const SECONDS_MAX: f64 = 1e11;
const MILLIS_MAX: f64 = 1e14;
const MICROS_MAX: f64 = 1e17;

/// Seconds, milliseconds, microseconds or nanoseconds, told apart by their size.
pub(super) fn of_number(number: f64) -> Option<i64> {
    let size = number.abs();
    let ms = if size < SECONDS_MAX {
        number * 1e3
    } else if size < MILLIS_MAX {
        number
    } else if size < MICROS_MAX {
        number / 1e3
    } else {
        number / 1e6
    };
    (ms.is_finite() && ms.abs() < 9e15).then(|| ms.round() as i64)
}

/// As [`of_number`], of a whole number; parts of a millisecond are cut off.
pub(super) fn of_integer(number: i64) -> i64 {
    match number.unsigned_abs() as f64 {
        size if size < SECONDS_MAX => number * 1000,
        size if size < MILLIS_MAX => number,
        size if size < MICROS_MAX => number.div_euclid(1000),
        _ => number.div_euclid(1_000_000),
    }
}

/// Reads `2026-01-31`, `2026-01-31T12:00:00.25Z`, `2026-01-31 12:00:00+02:00` and the like; without an offset
/// the time is UTC. A text that is a number is read as one. Parts of a millisecond are cut off.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return Some(of_integer(number));
    }
    if let Ok(number) = text.parse::<f64>() {
        return of_number(number);
    }
    let (date, clock) = text.split_at_checked(10)?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    if date.next().is_some() || !(1..=12).contains(&month) || !(1..=days_of_month(year, month)).contains(&day)
    {
        return None;
    }
    let midnight = days_from_epoch(year, month, day) * 86_400_000;
    if clock.is_empty() {
        return Some(midnight);
    }
    let clock = clock.strip_prefix(['T', 't', ' '])?;
    let (clock, offset_minutes) = split_offset(clock)?;
    let mut parts = clock.split(':');
    let (hour, minute) = (parts.next()?.parse::<i64>().ok()?, parts.next()?.parse::<i64>().ok()?);
    let ms = parts.next().map_or(Some(0), ms_of_seconds)?;
    if parts.next().is_some() || !(0..24).contains(&hour) || !(0..60).contains(&minute) {
        return None;
    }
    Some(midnight + (hour * 60 + minute - offset_minutes) * 60_000 + ms)
}

/// Milliseconds of `SS` or `SS.fraction`, digit by digit: as a float, 1.023 s are 1022.99 ms.
fn ms_of_seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 2 || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let seconds = whole.parse::<i64>().ok().filter(|seconds| *seconds <= 60)?;
    let ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(seconds * 1000 + ms)
}

/// The clock without its offset, and the offset in minutes east of UTC.
fn split_offset(clock: &str) -> Option<(&str, i64)> {
    let clock = clock.trim_end();
    if let Some(clock) = clock.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = clock.rfind(['+', '-']) else { return Some((clock, 0)) };
    let digits: String = clock[at + 1..].chars().filter(|c| *c != ':').collect();
    let digits = if digits.len() == 2 { format!("{digits}00") } else { digits };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let minutes = digits[..2].parse::<i64>().ok()? * 60 + digits[2..].parse::<i64>().ok()?;
    Some((clock[..at].trim_end(), if clock.as_bytes()[at] == b'-' { -minutes } else { minutes }))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar: years counted from March put the leap day last.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // (153 m + 2) / 5 is the number of days before month `m`, counted from March.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Milliseconds as `2026-01-31T12:00:00.250Z`, in years 0 to 9999.
pub(super) fn format_time(ms: i64) -> Option<String> {
    if !(-62_167_219_200_000..253_402_300_800_000).contains(&ms) {
        return None;
    }
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // A year has at most 366 days: before 1970 the first guess is one year late at most, and the loop steps back.
    let mut year = 1970 + if days >= 0 { days / 365 } else { days.div_euclid(366) + 1 };
    while days_from_epoch(year, 1, 1) > days {
        year -= 1;
    }
    let mut month = 12;
    while days_from_epoch(year, month, 1) > days {
        month -= 1;
    }
    let day = days - days_from_epoch(year, month, 1) + 1;
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        assert_eq!(format_time(1_709_209_815_250).unwrap(), "2024-02-29T12:30:15.250Z");
        assert_eq!(format_time(-1000).unwrap(), "1969-12-31T23:59:59.000Z");
        let ends = [-62_167_219_200_000, 253_402_300_799_999, -11_644_473_600_000, -1, -2_208_988_800_000];
        let others =
            [0, 951_868_800_123, 1_735_603_200_000, 1_735_689_599_999, 4_107_542_400_000, -86_400_000];
        for ms in ends.into_iter().chain(others) {
            let text = format_time(ms).unwrap();
            assert_eq!(parse_time(&text), Some(ms), "{text}");
        }
        // Made with Python 3.11: datetime(1601, 1, 1, tzinfo=utc).timestamp().
        assert_eq!(format_time(-11_644_473_600_000).unwrap(), "1601-01-01T00:00:00.000Z");
        assert_eq!(format_time(253_402_300_800_000), None);
    }

    #[test]
    fn milliseconds_are_exact_and_the_size_of_a_number_tells_its_unit() {
        for ms in 0..60_000_i64 {
            let text = format!("1970-01-01T00:00:{:02}.{:03}Z", ms / 1000, ms % 1000);
            assert_eq!(parse_time(&text), Some(ms), "{text}");
        }
        assert_eq!(parse_time("2025-03-01 10:00:01.0239999"), parse_time("2025-03-01T10:00:01.023Z"));
        let ms = 1_709_209_815_250_i64;
        for (number, name) in [(ms, "ms"), (ms * 1000, "us"), (ms * 1_000_000, "ns")] {
            assert_eq!((of_integer(number), parse_time(&number.to_string())), (ms, Some(ms)), "{name}");
        }
        assert_eq!(of_integer(1_709_209_815), 1_709_209_815_000);
        assert_eq!(of_number(1_709_209_815.25), Some(ms));
        for bad in
            ["2025-03-01T10:00:1e1", "2025-03-01T10:00:+1", "2025-03-01T10:00:-1", "2025-03-01T10:00:61"]
        {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_of_every_spelling() {
        // Made with Python 3.11 datetime.fromisoformat(..).timestamp() * 1000.
        assert_eq!(parse_time("2024-02-29T12:30:15.25Z"), Some(1_709_209_815_250));
        assert_eq!(parse_time("2024-02-29 14:30:15.250+02:00"), Some(1_709_209_815_250));
        assert_eq!(parse_time("1969-12-31T23:59:59-0000"), Some(-1000));
        assert_eq!(parse_time("2000-03-01"), Some(951_868_800_000));
        assert_eq!(parse_time("1709209815.25"), Some(1_709_209_815_250));
        assert_eq!(of_number(1_709_209_815_250.0), Some(1_709_209_815_250));
        for bad in ["", "yesterday", "2023-02-29", "2023-13-01", "2023-01-01T25:00", "2023-01-01T00:00+1"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
