//! One value: its words as they are meant, and what a word can mean. Knows no keys.

use crate::config::diagnostic::{Code, Detail, Near, Unit};
use crate::config::lexer::{Form, Span, Words, unquote};
use crate::config::nearest;
use crate::limits;

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

    fn range(from: u64, to: u64, unit: Unit) -> Wrong {
        Wrong::detail(Code::OutOfRange, Detail::Range(from, to, unit))
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

fn within(number: u64, (from, to): (u64, u64), unit: Unit) -> Result<u64, Wrong> {
    if (from..=to).contains(&number) { Ok(number) } else { Err(Wrong::range(from, to, unit)) }
}

/// A plain number.
pub fn number(word: &[u8], range: (u64, u64)) -> Result<u64, Wrong> {
    within(digits(word).ok_or(Code::NotNumber)?, range, Unit::Count)
}

/// A number and its unit.
fn with_unit(word: &[u8]) -> Option<(u64, &[u8])> {
    let (number, unit) = word.split_at(word.iter().take_while(|byte| byte.is_ascii_digit()).count());
    Some((digits(number)?, unit))
}

/// A size in bytes: `64K 256M 2G 1T`, or 0.
pub fn size(word: &[u8], range: (u64, u64)) -> Result<u64, Wrong> {
    let (number, unit) = with_unit(word).ok_or(Code::SizeUnit)?;
    let factor = match unit {
        b"K" => 1 << 10,
        b"M" => 1 << 20,
        b"G" => 1 << 30,
        b"T" => 1u64 << 40,
        b"" if number == 0 => 1,
        _ => return Err(Code::SizeUnit.into()),
    };
    within(number.saturating_mul(factor), range, Unit::Bytes)
}

/// A time in milliseconds: `500ms 10s 2m 1h`, or 0.
pub fn time(word: &[u8], range: (u64, u64)) -> Result<u64, Wrong> {
    let (number, unit) = with_unit(word).ok_or(Code::TimeUnit)?;
    let factor = match unit {
        b"ms" => 1,
        b"s" => 1000,
        b"m" => 60_000,
        b"h" => 3_600_000,
        b"" if number == 0 => 1,
        _ => return Err(Code::TimeUnit.into()),
    };
    within(number.saturating_mul(factor), range, Unit::Time)
}

/// Whether a word begins as a time does.
pub fn is_time(word: &[u8]) -> bool {
    word.first().is_some_and(u8::is_ascii_digit)
}

/// CPUs, as thousandths of one: `2`, `0.5`.
pub fn cpus(word: &[u8], range: (u64, u64)) -> Result<u64, Wrong> {
    let mut parts = word.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().and_then(digits).ok_or(Code::NotCpus)?;
    let fraction = match parts.next() {
        None => 0,
        Some(part) if part.len() <= 3 => {
            let number = digits(part).ok_or(Code::NotCpus)?;
            number * [100, 10, 1].get(part.len() - 1).copied().unwrap_or(1)
        }
        Some(_) => return Err(Code::NotCpus.into()),
    };
    within(whole.saturating_mul(1000).saturating_add(fraction), range, Unit::Milli)
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

/// The place of a word among `words`.
pub fn choice(word: &[u8], words: &'static [&'static str]) -> Result<usize, Wrong> {
    words.iter().position(|choice| choice.as_bytes() == word).ok_or_else(|| {
        let near = nearest(word, words.iter().map(|word| (*word, word.as_bytes())));
        Wrong { code: Code::BadWord, detail: Detail::Choice(words), near: near.map_or(Near::Nothing, Near::Word) }
    })
}

/// `yes` or `no`.
pub fn yes(word: &[u8]) -> Result<bool, Wrong> {
    Ok(choice(word, &["yes", "no"])? == 0)
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
        const SIGNALS: &[&str] = &[$(stringify!($name),)+];
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
        const RLIMITS: &[&str] = &[$($name,)+];
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

/// `soft[:hard]` of a per-process limit: numbers, sizes or `unlimited` (`u64::MAX`).
pub fn rlimit_pair(word: &[u8]) -> Result<(u64, u64), Wrong> {
    let one = |part: &[u8]| match part {
        b"unlimited" => Ok(u64::MAX),
        part => match digits(part) {
            Some(number) => within(number, (0, u64::MAX - 1), Unit::Count),
            None => size(part, (0, u64::MAX - 1)).map_err(|_| Wrong::from(Code::NotRlimit)),
        },
    };
    let mut parts = word.splitn(2, |byte| *byte == b':');
    let soft = one(parts.next().unwrap_or_default())?;
    let hard = parts.next().map_or(Ok(soft), one)?;
    if soft <= hard { Ok((soft, hard)) } else { Err(Code::SoftAboveHard.into()) }
}
