//! Moments as people write them: "2026-11-23T06:49:47.123456Z", "10m", "14:30". Always UTC, for the program knows of no
//! other zone.

use core::fmt;

use crate::text::number;
use crate::units::parse_time_ms;

const SECOND_US: u64 = 1_000_000;
const DAY_US: u64 = 86_400 * SECOND_US;

/// A moment, microseconds since 1970, as RFC 3339 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(pub u64);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0 / DAY_US);
        let (second, us) = (self.0 % DAY_US / SECOND_US, self.0 % SECOND_US);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{us:06}Z")
    }
}

/// The moment that a word means: so long ago ("10m", "2h"), a time of this day or, where that is still to come, of the day
/// before ("14:30", "14:30:05"), a date ("2026-11-23"), or both ("2026-11-23T14:30:05Z").
#[must_use]
pub fn moment(word: &[u8], now_us: u64) -> Option<u64> {
    if let Some(ago_ms) = parse_time_ms(word) {
        return Some(now_us.saturating_sub(ago_ms.saturating_mul(1000)));
    }
    let word = word.strip_suffix(b"Z").unwrap_or(word);
    match word.iter().position(|byte| matches!(byte, b'T' | b' ')) {
        Some(at) => {
            let (date, time) = word.split_at(at);
            midnight(date)?.checked_add(time_of_day(time.get(1..)?)?)
        }
        None if word.contains(&b':') => {
            let time = time_of_day(word)?;
            let today = now_us - now_us % DAY_US + time;
            if today > now_us { today.checked_sub(DAY_US) } else { Some(today) }
        }
        None => midnight(word),
    }
}

/// "2026-11-23"
fn midnight(word: &[u8]) -> Option<u64> {
    let mut parts = word.splitn(3, |byte| *byte == b'-');
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    let days = days(year, month, day);
    ((1970..=9999).contains(&year) && date(days) == (year, month, day)).then_some(days * DAY_US)
}

/// "14:30", "14:30:05", "14:30:05.25"
fn time_of_day(word: &[u8]) -> Option<u64> {
    let mut parts = word.splitn(3, |byte| *byte == b':');
    let (hour, minute) = (number::<u64>(parts.next()?)?, number::<u64>(parts.next()?)?);
    let mut second = parts.next().unwrap_or(b"0").splitn(2, |byte| *byte == b'.');
    let (whole, fraction) = (number::<u64>(second.next()?)?, second.next().unwrap_or(b"0"));
    if hour > 23 || minute > 59 || whole > 59 || fraction.len() > 6 {
        return None;
    }
    let us = number::<u64>(fraction)? * 10_u64.pow(6 - fraction.len() as u32);
    Some((hour * 3600 + minute * 60 + whole) * SECOND_US + us)
}

/// Year, month and day of a day since 1970. Years are counted from March, so that the day that comes every four years is
/// the last of one.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let january = u64::from(month >= 10);
    (era * 400 + year + january, month + 3 - 12 * january, day)
}

/// The other way round; any answer for what is no date.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = (year.clamp(1970, 9999), month.clamp(1, 12));
    let january = u64::from(month <= 2);
    let (year, month) = (year - january, month + 12 * january - 3);
    let era = year / 400 * 146_097;
    let year = year % 400;
    (era + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day.clamp(1, 31)).saturating_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_416_587_123_456;

    #[test]
    fn a_moment_is_written_as_rfc_3339_has_it() {
        for (us, words) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (NOW, "2026-11-23T06:49:47.123456Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z"),
        ] {
            assert_eq!(Stamp(us).to_string(), words);
            assert_eq!(moment(words.as_bytes(), NOW), Some(us), "{words}");
        }
    }

    #[test]
    fn every_day_is_found_again() {
        for day in 0..100_000 {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn a_moment_is_so_long_ago_or_a_time_of_this_day_or_the_day_before() {
        for (word, meant) in [
            ("10m", "2026-11-23T06:39:47.123456Z"),
            ("2h", "2026-11-23T04:49:47.123456Z"),
            ("06:30", "2026-11-23T06:30:00.000000Z"),
            ("06:49:47.1", "2026-11-23T06:49:47.100000Z"),
            ("23:00", "2026-11-22T23:00:00.000000Z"),
            ("2026-11-01", "2026-11-01T00:00:00.000000Z"),
            ("2026-11-01 07:08", "2026-11-01T07:08:00.000000Z"),
        ] {
            assert_eq!(moment(word.as_bytes(), NOW).map(|us| Stamp(us).to_string()).as_deref(), Some(meant), "{word}");
        }
        for word in [
            "",
            "yesterday",
            "25:00",
            "12:60",
            "2026-02-29",
            "2026-13-01",
            "1969-01-01",
            "10",
            "-5m",
            "T",
            ":",
            "1:2:3:4",
        ] {
            let is_seconds = word == "10";
            assert_eq!(moment(word.as_bytes(), NOW).is_some(), is_seconds, "{word}");
        }
    }
}
