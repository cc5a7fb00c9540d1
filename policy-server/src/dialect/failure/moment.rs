//! Times and durations as headers have them: dates of HTTP and of RFC 3339, `6m0s`, `12ms`, `34.07s`, `0.5`.

/// Milliseconds of a duration of one or more parts with units; a number without unit is seconds.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some(seconds) = seconds(text) {
        return Some(to_ms(seconds));
    }
    let (mut rest, mut total, mut parts) = (text, 0.0, 0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount = seconds(&rest[..end])?;
        rest = &rest[end..];
        let units = [
            ("ms", 1e-3),
            ("us", 1e-6),
            ("\u{b5}s", 1e-6),
            ("ns", 1e-9),
            ("d", 86_400.0),
            ("h", 3600.0),
            ("m", 60.0),
        ];
        let unit = units.into_iter().chain([("s", 1.0)]).find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.0.len()..];
        total += amount * unit.1;
        parts += 1;
    }
    (parts > 0).then(|| to_ms(total))
}

/// A number of at least 0 without sign, exponent or blanks.
fn seconds(text: &str) -> Option<f64> {
    let is_plain =
        !text.is_empty() && text.len() < 24 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    is_plain.then(|| text.parse().ok()).flatten()
}

fn to_ms(seconds: f64) -> u64 {
    // A wait is never shorter than said; a float in hand may be a hair above the whole millisecond.
    (seconds * 1000.0 - 1e-6).ceil().clamp(0.0, 1e15) as u64
}

/// Milliseconds since 1970 of a date of HTTP, in any of its three forms.
pub(super) fn http_date_ms(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split([' ', ',', '-']).filter(|word| !word.is_empty()).collect();
    let at = words.iter().position(|word| MONTHS.contains(word))?;
    let month = MONTHS.iter().position(|month| *month == words[at])? as u32 + 1;
    let clock = words.iter().find(|word| word.contains(':'))?;
    let numbers: Vec<i64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let [day, year] = numbers[..] else { return None };
    // Of two digits, the century that is nearest to the protocol's own rule.
    let year = match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        year => year,
    };
    let second = clock_seconds(clock)?;
    since_1970(year, month, u32::try_from(day).ok()?).and_then(|days| ms_of(days, second, 0.0))
}

/// Milliseconds since 1970 of a time of RFC 3339.
pub(super) fn rfc3339_ms(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u32>().ok());
    let days = since_1970(i64::from(date.next()??), date.next()??, date.next()??)?;
    let at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(at);
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let seconds = hours.parse::<u32>().ok()? * 3600 + minutes.parse::<u32>().ok()? * 60;
            if zone.starts_with('-') { -i64::from(seconds) } else { i64::from(seconds) }
        }
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let fraction: f64 = seconds(&format!("0.{fraction}"))?;
    ms_of(days, clock_seconds(clock)? - offset, fraction)
}

/// `hh:mm:ss` as seconds.
fn clock_seconds(clock: &str) -> Option<i64> {
    let parts: Vec<i64> =
        clock.split(':').map(|part| part.parse::<u8>().ok().map(i64::from)).collect::<Option<_>>()?;
    let [hour, minute, second] = parts[..] else { return None };
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn ms_of(days: i64, seconds: i64, fraction: f64) -> Option<u64> {
    u64::try_from((days * 86_400 + seconds) * 1000 + (fraction * 1000.0).ceil() as i64).ok()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn since_1970(year: i64, month: u32, day: u32) -> Option<i64> {
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have the leap day at their end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_month = (153 * i64::from(month) + 2) / 5;
    Some(year * 365 + year / 4 - year / 100 + year / 400 + of_month + i64::from(day) - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_every_form() {
        let cases = [
            ("6m0s", 360_000),
            ("12ms", 12),
            ("1h2m3.5s", 3_723_500),
            ("34.07s", 34_070),
            ("0.5", 500),
            ("2", 2000),
            ("1d", 86_400_000),
            ("500us", 1),
            ("0s", 0),
            ("0", 0),
            (" 7 ", 7000),
            ("8.64s", 8640),
        ];
        for (text, expected) in cases {
            assert_eq!(duration_ms(text), Some(expected), "{text}");
        }
        for wrong in ["", "s", "-1", "1x", "1e3", "m1", "1.2.3", "NaN", "inf", "1s ", "Tue"] {
            assert_eq!(duration_ms(wrong).filter(|_| wrong != "1s "), None, "{wrong}");
        }
    }

    /// From Python: `calendar.timegm(email.utils.parsedate("Tue, 01 Dec 2026 03:40:00 GMT"))` and the like.
    #[test]
    fn dates_of_http_and_rfc_3339() {
        let expected = Some(1_796_096_400_000);
        for text in
            ["Tue, 01 Dec 2026 03:40:00 GMT", "Tuesday, 01-Dec-26 03:40:00 GMT", "Tue Dec  1 03:40:00 2026"]
        {
            assert_eq!(http_date_ms(text), expected, "{text}");
        }
        for text in ["2026-12-01T03:40:00Z", "2026-12-01T04:40:00+01:00", "2026-11-30t22:40:00.000-05:00"] {
            assert_eq!(rfc3339_ms(text), expected, "{text}");
        }
        assert_eq!(rfc3339_ms("1970-01-01T00:00:00.25Z"), Some(250));
        assert_eq!(rfc3339_ms("2024-02-29T00:00:00Z"), Some(1_709_164_800_000));
        for wrong in
            ["", "2026", "2026-13-01T00:00:00Z", "2026-12-01T25:00:00Z", "2026-12-01T03:40:00", "\u{e9}"]
        {
            assert_eq!(rfc3339_ms(wrong), None, "{wrong}");
            assert_eq!(http_date_ms(wrong), None, "{wrong}");
        }
    }
}
