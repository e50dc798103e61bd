//! Numbers as people read them: sizes, times, percentages; without floating point.

use core::fmt;

use crate::text::{self, words};

/// A size in bytes: "512", "1.5K", "64M".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 0;
        while unit < 6 && self.0 >> (10 * (unit + 1)) > 0 {
            unit += 1;
        }
        let Some(letter) = [None, Some('K'), Some('M'), Some('G'), Some('T'), Some('P'), Some('E')][unit] else {
            return write!(f, "{}", self.0);
        };
        let whole = self.0 >> (10 * unit);
        let rest = self.0 & ((1 << (10 * unit)) - 1);
        // The next smaller unit is exact enough, and ten of it cannot overflow.
        let tenth = ((rest >> (10 * (unit - 1))) * 10) >> 10;
        if rest == 0 || whole >= 100 { write!(f, "{whole}{letter}") } else { write!(f, "{whole}.{tenth}{letter}") }
    }
}

/// A time in milliseconds: "350ms", "3.2s", "42s", "3m20s", "5h07m", "12d4h".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, s) = (self.0, self.0 / 1000);
        let (m, h, d) = (s / 60, s / 3600, s / 86_400);
        match () {
            () if ms < 1000 => write!(f, "{ms}ms"),
            () if s < 10 => write!(f, "{s}.{}s", ms % 1000 / 100),
            () if s < 60 => write!(f, "{s}s"),
            () if m < 60 => write!(f, "{m}m{:02}s", s % 60),
            () if h < 24 => write!(f, "{h}h{:02}m", m % 60),
            () => write!(f, "{d}d{}h", h % 24),
        }
    }
}

/// Thousandths: "0.5", "2", "1.25".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milli(pub u64);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        match rest {
            0 => write!(f, "{whole}"),
            rest if rest % 100 == 0 => write!(f, "{whole}.{}", rest / 100),
            rest if rest % 10 == 0 => write!(f, "{whole}.{:02}", rest / 10),
            rest => write!(f, "{whole}.{rest:03}"),
        }
    }
}

/// The name of a signal: "SIGTERM", "SIGRTMIN+3".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub u8);

/// signal(7), in the order of the numbers that all our architectures share.
const SIGNALS: &str = "HUP\0INT\0QUIT\0ILL\0TRAP\0ABRT\0BUS\0FPE\0KILL\0USR1\0SEGV\0USR2\0PIPE\0ALRM\0TERM\0\
    STKFLT\0CHLD\0CONT\0STOP\0TSTP\0TTIN\0TTOU\0URG\0XCPU\0XFSZ\0VTALRM\0PROF\0WINCH\0IO\0PWR\0SYS";

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.checked_sub(1).and_then(|index| words(SIGNALS).nth(usize::from(index))) {
            Some(name) => write!(f, "SIG{name}"),
            None if (34..=64).contains(&self.0) => write!(f, "SIGRTMIN+{}", u32::from(self.0) - 34),
            None => write!(f, "signal {}", u32::from(self.0)),
        }
    }
}

/// A time with its unit, as in the config ("500ms", "10s", "2m", "1h"), in milliseconds; seconds where it has no unit.
#[must_use]
pub fn parse_time_ms(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = word.split_at_checked(digits)?;
    let scale = match unit {
        b"ms" => 1,
        b"" | b"s" => 1000,
        b"m" => 60_000,
        b"h" => 3_600_000,
        _ => return None,
    };
    text::number::<u64>(number)?.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_and_one_decimal_at_most() {
        let sizes = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1K"),
            (1536, "1.5K"),
            (12 * 1024 * 1024 + (400 << 10), "12.3M"),
            (64 << 20, "64M"),
            (100 * 1024 + 1, "100K"),
            (1023 * 1024 + 1023, "1023K"),
            (u64::MAX, "15.9E"),
        ];
        for (bytes, words) in sizes {
            assert_eq!(Bytes(bytes).to_string(), words);
        }
    }

    #[test]
    fn times_have_two_units_at_most() {
        let times = [
            (0, "0ms"),
            (999, "999ms"),
            (3_250, "3.2s"),
            (42_999, "42s"),
            (200_000, "3m20s"),
            (3_600_000, "1h00m"),
            (18_420_000, "5h07m"),
            (86_400_000, "1d0h"),
            (u64::MAX, "213503982334d14h"),
        ];
        for (ms, words) in times {
            assert_eq!(Millis(ms).to_string(), words);
        }
    }

    #[test]
    fn thousandths_lose_their_last_zeros() {
        for (milli, words) in [(0, "0"), (500, "0.5"), (1250, "1.25"), (2000, "2"), (33, "0.033")] {
            assert_eq!(Milli(milli).to_string(), words);
        }
    }

    #[test]
    fn signals_have_their_names() {
        for (signal, words) in [(1, "SIGHUP"), (9, "SIGKILL"), (15, "SIGTERM"), (31, "SIGSYS"), (37, "SIGRTMIN+3")] {
            assert_eq!(Signal(signal).to_string(), words);
        }
        assert_eq!(Signal(0).to_string(), "signal 0");
        assert_eq!(Signal(200).to_string(), "signal 200");
    }

    #[test]
    fn times_are_read_with_and_without_a_unit() {
        for (word, ms) in [("5", 5000), ("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(parse_time_ms(word.as_bytes()), Some(ms));
        }
        for word in ["", "s", "-1", "1d", "1.5s", "99999999999999999999", "9999999999999999h"] {
            assert_eq!(parse_time_ms(word.as_bytes()), None, "{word}");
        }
    }
}
