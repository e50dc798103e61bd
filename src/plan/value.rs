//! One value: its words as they are meant, and what a word can mean. Knows no keys.

use crate::config::diagnostic::{Code, Detail, Near, Unit};
use crate::config::lexer::{Form, Span, Words, unquote};
use crate::config::nearest;
use crate::limits;
use crate::text::{word, words};

/// What is wrong with a word.
#[derive(Clone, Copy, Debug)]
pub struct Wrong {
    pub code: Code,
    pub detail: Detail,
    pub near: Near,
}

impl From<Code> for Wrong {
    fn from(code: Code) -> Wrong {
        Wrong { code, detail: Detail::None, near: Near::Nothing }
    }
}

impl Wrong {
    /// With a detail.
    pub fn detail(code: Code, detail: Detail) -> Wrong {
        Wrong { code, detail, near: Near::Nothing }
    }
}

/// The words of one value, without quotes.
#[derive(Debug)]
pub struct Value {
    text: heapless::Vec<u8, { limits::LINE_BYTES }>,
    words: heapless::Vec<Unquoted, { limits::VALUE_WORDS }>,
    /// Where all of it stands.
    pub span: Span,
}

#[derive(Clone, Copy, Debug)]
struct Unquoted {
    span: Span,
    end: u16,
}

impl Value {
    /// No words.
    pub const fn new() -> Value {
        Value { text: heapless::Vec::new(), words: heapless::Vec::new(), span: Span { start: 0, end: 0 } }
    }

    /// Takes the words of `value` in `text`; `bound` names how many there may be.
    pub fn set(&mut self, text: &[u8], value: Span, form: Form, bound: &'static str) -> Result<(), (Wrong, Span)> {
        self.text.clear();
        self.words.clear();
        self.span = value;
        for word in Words::new(text, value, form) {
            if !word.closed {
                return Err((Code::QuoteOpen.into(), word.span));
            }
            for byte in unquote(word.span.of(text)) {
                self.text.push(byte).map_err(|_| {
                    let bound = Detail::Bound(limits::LINE_BYTES as u64, "bytes (limits::LINE_BYTES)");
                    (Wrong::detail(Code::LineTooLong, bound), value)
                })?;
            }
            let unquoted = Unquoted { span: word.span, end: self.text.len() as u16 };
            self.words.push(unquoted).map_err(|_| (too_many(bound), word.span))?;
        }
        Ok(())
    }

    /// How many words.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Word number `index`; empty where there is none.
    pub fn word(&self, index: usize) -> &[u8] {
        let end_of = |index: usize| self.words.get(index).map_or(0, |word| usize::from(word.end));
        let start = if index == 0 { 0 } else { end_of(index - 1) };
        self.text.get(start..end_of(index)).unwrap_or_default()
    }

    /// Where word number `index` stands; all of the value where there is none.
    pub fn at(&self, index: usize) -> Span {
        self.words.get(index).map_or(self.span, |word| word.span)
    }

    /// Words from number `first` on, with a blank between each two.
    pub fn join<'b>(&self, first: usize, buffer: &'b mut Joined) -> &'b [u8] {
        buffer.clear();
        for index in first..self.len() {
            // Blanks between words are in the line, so this is never longer than the line was.
            if index > first {
                let _ = buffer.push(b' ');
            }
            let _ = buffer.extend_from_slice(self.word(index));
        }
        buffer
    }
}

/// Room for [`Value::join`].
pub type Joined = heapless::Vec<u8, { limits::LINE_BYTES }>;

fn too_many(words: &'static str) -> Wrong {
    Wrong::detail(Code::TooMany, Detail::Bound(limits::VALUE_WORDS as u64, words))
}

/// A number of digits only; `None` where it is none; more than fits is the greatest.
fn digits(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

/// A number within `range`: plain, with a unit of size (`64K 256M 2G 1T`) or time (`500ms 10s 2m 1h`), or in thousandths
/// (`0.5`). 0 needs no unit.
#[inline(never)]
pub fn amount(word: &[u8], unit: Unit, range: (u64, u64)) -> Result<u64, Wrong> {
    let (code, units): (_, &[(&[u8], u64)]) = match unit {
        Unit::Count => (Code::NotNumber, &[(b"", 1)]),
        Unit::Bytes => (Code::SizeUnit, &[(b"K", 1 << 10), (b"M", 1 << 20), (b"G", 1 << 30), (b"T", 1 << 40)]),
        Unit::Time => (Code::TimeUnit, &[(b"ms", 1), (b"s", 1000), (b"m", 60_000), (b"h", 3_600_000)]),
        Unit::Milli => (Code::NotCpus, &[(b"", 1000)]),
    };
    let (number, rest) = word.split_at(word.iter().take_while(|byte| byte.is_ascii_digit()).count());
    let number = digits(number).ok_or(code)?;
    let amount = if let (Unit::Milli, [b'.', fraction @ ..]) = (unit, rest) {
        number.saturating_mul(1000).saturating_add(thousandths(fraction).ok_or(code)?)
    } else if number == 0 && rest.is_empty() {
        0
    } else {
        let (_, factor) = units.iter().find(|(name, _)| *name == rest).ok_or(code)?;
        number.saturating_mul(*factor)
    };
    let (from, to) = range;
    if (from..=to).contains(&amount) {
        return Ok(amount);
    }
    Err(Wrong::detail(Code::OutOfRange, Detail::Range(from, to, unit)))
}

/// What stands behind the point: one to three digits.
fn thousandths(fraction: &[u8]) -> Option<u64> {
    let factor = [100, 10, 1].get(fraction.len().checked_sub(1)?)?;
    Some(digits(fraction)? * factor)
}

/// Whether a word begins as a time does.
pub fn is_time(word: &[u8]) -> bool {
    word.first().is_some_and(u8::is_ascii_digit)
}

/// A number with a sign.
pub fn signed(word: &[u8], limit: u64) -> Result<i64, Wrong> {
    let (sign, rest) = match word {
        [b'-', rest @ ..] => (-1, rest),
        _ => (1, word),
    };
    let number = digits(rest).ok_or(Code::NotNumber)?;
    if number > limit {
        return Err(Wrong::detail(Code::OutOfRange, Detail::Words("-1000 to 1000")));
    }
    Ok(sign * number as i64)
}

/// The place of a word in a table.
pub fn choice(word: &[u8], table: &'static str) -> Result<usize, Wrong> {
    words(table).position(|choice| choice.as_bytes() == word).ok_or_else(|| {
        let near = nearest(word, words(table).map(|word| (word, word.as_bytes())));
        Wrong { code: Code::BadWord, detail: Detail::Choice(table), near: near.map_or(Near::Nothing, Near::Word) }
    })
}

/// `yes` or `no`.
pub fn yes(word: &[u8]) -> Result<bool, Wrong> {
    Ok(choice(word, "yes\0no")? == 0)
}

/// An absolute path without `..`.
pub fn path(word: &[u8]) -> Result<(), Wrong> {
    if word.first() != Some(&b'/') {
        return Err(Code::NotPath.into());
    }
    if word.split(|byte| *byte == b'/').any(|part| part == b"..") {
        return Err(Code::DotDot.into());
    }
    Ok(())
}

/// A host name (RFC 1123, dots allowed).
pub fn hostname(word: &[u8]) -> Result<(), Wrong> {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let first = word.first().is_some_and(u8::is_ascii_alphanumeric);
    let good = first && word.len() <= limits::NAME_BYTES && word.iter().all(inner);
    if good { Ok(()) } else { Err(Code::BadHostname.into()) }
}

/// A list of CPUs in the kernel's format: `0-3,7` (cpuset(7)).
pub fn cpuset(word: &[u8]) -> Result<(), Wrong> {
    /// More than any kernel is built for (NR_CPUS).
    const CPUS: u64 = 8192;
    let good = word.split(|byte| *byte == b',').all(|part| {
        let mut ends = part.splitn(2, |byte| *byte == b'-').map(digits);
        let first = ends.next().flatten();
        let last = ends.next().unwrap_or(first);
        matches!((first, last), (Some(first), Some(last)) if first <= last && last < CPUS)
    });
    if good { Ok(()) } else { Err(Code::NotCpuset.into()) }
}

/// Two numbers with a colon between them; the second may be left out.
pub fn pair(word: &[u8]) -> Option<(u64, Option<u64>)> {
    let mut parts = word.splitn(2, |byte| *byte == b':');
    let first = digits(parts.next()?)?;
    match parts.next() {
        None => Some((first, None)),
        Some(second) => Some((first, Some(digits(second)?))),
    }
}

macro_rules! signals {
    ($($name:ident)+) => {
        const SIGNALS: &str = concat!($(stringify!($name), "\0",)+);
        const SIGNAL_NUMBERS: &[u8] = &[$(libc::$name as u8,)+];
    };
}

// signal(7)
signals! {
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM
    SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO
    SIGPWR SIGSYS
}

macro_rules! rlimits {
    ($($name:literal $number:ident;)+) => {
        const RLIMITS: &str = concat!($($name, "\0",)+);
        const RLIMIT_NUMBERS: &[u8] = &[$(libc::$number as u8,)+];
    };
}

// getrlimit(2)
rlimits! {
    "as" RLIMIT_AS; "core" RLIMIT_CORE; "cpu" RLIMIT_CPU; "data" RLIMIT_DATA; "fsize" RLIMIT_FSIZE;
    "locks" RLIMIT_LOCKS; "memlock" RLIMIT_MEMLOCK; "msgqueue" RLIMIT_MSGQUEUE; "nice" RLIMIT_NICE;
    "nofile" RLIMIT_NOFILE; "nproc" RLIMIT_NPROC; "rss" RLIMIT_RSS; "rtprio" RLIMIT_RTPRIO; "rttime" RLIMIT_RTTIME;
    "sigpending" RLIMIT_SIGPENDING; "stack" RLIMIT_STACK;
}

/// The real-time signals as the C libraries' documents count them: the kernel's first two are glibc's own, and
/// "SIGRTMIN+3" is 37 to every init (systemd.io/CONTAINER_INTERFACE).
const REAL_TIME: (u64, u64) = (34, 64);

/// A signal's number from its name: `SIGTERM`, `SIGRTMIN+3`, `SIGRTMAX-1`.
pub fn signal(word: &[u8]) -> Result<u8, Wrong> {
    let (first, last) = REAL_TIME;
    let offset = |rest: &[u8], sign: u8| match rest {
        [] => Some(0),
        [byte, number @ ..] if *byte == sign => digits(number).filter(|number| *number <= last - first),
        _ => None,
    };
    let real_time = if let Some(rest) = word.strip_prefix(b"SIGRTMIN") {
        offset(rest, b'+').map(|offset| first + offset)
    } else if let Some(rest) = word.strip_prefix(b"SIGRTMAX") {
        offset(rest, b'-').map(|offset| last - offset)
    } else {
        None
    };
    if let Some(number) = real_time {
        return Ok(number as u8);
    }
    let named = choice(word, SIGNALS).map_err(|wrong| Wrong { near: wrong.near, ..Code::NotSignal.into() })?;
    Ok(SIGNAL_NUMBERS.get(named).copied().unwrap_or_default())
}

/// A per-process limit's number from its name: `nofile`.
pub fn rlimit(word: &[u8]) -> Result<u8, Wrong> {
    Ok(RLIMIT_NUMBERS.get(choice(word, RLIMITS)?).copied().unwrap_or_default())
}

/// The name of a per-process limit; nothing for a number that is none.
pub fn rlimit_name(number: u8) -> Option<&'static str> {
    let index = RLIMIT_NUMBERS.iter().position(|known| *known == number)?;
    Some(word(RLIMITS, index))
}

/// `soft[:hard]` of a per-process limit: numbers, sizes or `unlimited` (`u64::MAX`).
pub fn rlimit_pair(word: &[u8]) -> Result<(u64, u64), Wrong> {
    let one = |part: &[u8]| match part {
        b"unlimited" => Ok(u64::MAX),
        part => match digits(part) {
            Some(u64::MAX) => Err(Code::NotRlimit.into()),
            Some(number) => Ok(number),
            None => amount(part, Unit::Bytes, (0, u64::MAX - 1)).map_err(|_| Wrong::from(Code::NotRlimit)),
        },
    };
    let mut parts = word.splitn(2, |byte| *byte == b':');
    let soft = one(parts.next().unwrap_or_default())?;
    let hard = parts.next().map_or(Ok(soft), one)?;
    if soft <= hard { Ok((soft, hard)) } else { Err(Code::SoftAboveHard.into()) }
}
