//! What is wrong with a config: records of a code and places, without strings; they become words only when printed.

use core::fmt::{self, Write};

use super::key::{Key, section};
use super::lexer::Span;
use super::{Config, Place};
use crate::fault::ErrnoWords;
use crate::limits;
use crate::text::{word, words};

macro_rules! codes {
    ($($variant:ident $words:literal;)+) => {
        /// What is wrong. In the words, `$` stands for the text at the place and `@` for the detail.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Code { $(#[doc = $words] $variant,)+ }

        const WORDS: &str = concat!($($words, "\0",)+);
    };
}

codes! {
    Unreadable "cannot be read: @";
    TooLarge "the config is larger than @";
    TooManyFiles "more than @";
    IncludedTwice "this file is already part of the config";
    NotText "not a text file: a byte that is neither printable nor UTF-8";
    LineTooLong "this line is longer than @";
    SectionSyntax "a section is written `[kind name]`";
    EqualsExpected "`=` is missing: a line is `key = value`";
    KeyExpected "the key is missing: a line is `key = value`";
    QuoteOpen "this quote is not closed";
    UnknownSection "unknown kind of section $";
    SectionUnnamed "[@] needs a name";
    HostNamed "[host] takes no name";
    SectionTwice "$ is already defined at @";
    TooManySections "more than @";
    OutsideSection "$ stands before any section";
    UnknownKey "unknown key $";
    WrongSection "$ does not belong in [@]";
    KeyTwice "$ was already given at @";
    NoValue "$ has no value";
    NotSupported "$ is not supported by this version";
    BadName "$ is not a name: 1 to 63 of a-z A-Z 0-9 - _ . are, with a letter or digit first";
    CgroupName "$ is not a name: control group files are called so";
    BadHostname "$ is not a host name: 1 to 63 of a-z A-Z 0-9 - . are, with a letter or digit first";
    TooMany "more than @";
    OneWord "only one word is expected here";
    WordTooMany "no more words are expected here";
    WordMissing "@ is expected";
    BadWord "$ is not one of @";
    NotNumber "$ is not a number";
    SizeUnit "$ is not a size: a size is a number and K, M, G or T";
    TimeUnit "$ is not a time: a time is a number and ms, s, m or h";
    NotCpus "$ is not a number of CPUs, with up to three decimals";
    OutOfRange "$ is out of range: @";
    NotPath "$ is not an absolute path";
    DotDot "$ has `..` in it";
    HostRoot "`/` is the host's own root: a guest's root is a directory below it";
    ResetRoot "$ is the host's own root: name directories below it";
    Glob "$ has `*` or `?` before its last `/`";
    NotCpuset "$ is not a list of CPUs such as 0-3,7";
    NotUser "$ is not a user: a user is uid or uid:gid, as numbers";
    NotUsers "$ is not a range of users: auto, none or BASE:COUNT and more of these";
    HostUsers "$ holds users of the host itself: those below 65536 are";
    UsersOverlap "$ overlaps the users of @";
    UsersHeld "$ has users of a guest that runs now, of another supervisor or of inn run: see /run/inn/users";
    NoUsersLeft "no range of users is left for $";
    UserOutside "$ is outside the guest's range of users, which has @";
    NotEnv "$ is not NAME=VALUE";
    WordTwice "$ is given twice";
    NotSignal "$ is not a signal, such as SIGTERM or SIGRTMIN+3";
    StopTime "$ must be followed by the time it may take";
    StopAfterKill "nothing can follow SIGKILL";
    NotSysctl "$ is not the name of a kernel setting";
    GuestSysctl "$ is a setting of the whole host: in a guest only net.*, kernel.msg*, kernel.sem, kernel.shm* and fs.mqueue.* are its own";
    HostnameSysctl "$ is set by the key `hostname`";
    NetSysctl "$ would change the host's network: this guest has no network of its own";
    NetworkTwice "the network is given twice";
    BadModule "$ is not the name of a module";
    NotLink "$ is not the name of a link: it has up to 15 letters";
    NotAddress "$ is not an address with its prefix, such as 192.0.2.1/24 or 2001:db8::1/64";
    NotGateway "$ is not an address such as 192.0.2.254 or 2001:db8::1";
    VlanName "$ is no name of a VLAN, which begins with that of the link that it is on: eth0.42";
    UnknownBridge "there is no bridge $";
    GatewayTwice "$ is a second default route: all links together have one of IPv4 and one of IPv6";
    NotMac "$ is not the hardware address of one device, such as 52:54:00:12:34:56";
    NotRlimit "$ is not a limit: a limit is soft or soft:hard, each a number, a size or unlimited";
    SoftAboveHard "the soft limit in $ is above the hard one";
    UnknownGuest "there is no guest or service $";
    UnknownProfile "there is no profile $";
    ProfileKey "profile $ has @, which a service does not take";
    Cycle "these wait for each other: @";
    KindMissing "guest $ has no `kind`: os or app";
    RootMissing "guest $ has no `root`";
    CommandMissing "$ has no `command`";
    LogTwice "$ names the file of another guest's log";
    Contradiction "$ contradicts @";
    AboveMemory "$ is above `memory`, which is @";
    NotCap "$ is not a capability with + or - before it, such as -net_raw";
    NotCall "$ is not a system call that guests are refused, with + before it: `default`, `none` or such as +bpf";
    NfsFeature "no kernel lets a guest mount NFS: mount it on the host, and give it with `bind`";
    Needs "this needs @";
    NotDevice "$ is not a path below /dev";
    OwnDevice "$ is in every guest's /dev in any case";
    NotAccess "$ is not made of r, w and m";
    NotTarget "$ cannot be mounted on: /, /dev, and all of /proc and /sys are the guest's own";
    NotTidy "$ has an empty part or `.` in it";
    TargetTwice "two things are mounted in one place";
    NotIoLimit "$ is not rbps=, wbps=, riops= or wiops=, with a number or max behind it";
    NotHardening "$ is not `on`, `off`, or one of @, with + or - before it";
    OptionForm "$ is not NAME,key=value,key=value";
}

/// What a code says `@` for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    None,
    /// An error number (errno(3)).
    Errno(u16),
    /// A bound of [`limits`], and what it counts, its name included.
    Bound(u64, &'static str),
    /// A word or some.
    Words(&'static str),
    /// The words to choose from: a table of [`words`].
    Choice(&'static str),
    /// A key.
    Key(Key),
    /// A kind of section, a bit of [`section`].
    Section(u8),
    /// What stands elsewhere.
    Text(Span),
    /// Where it stands.
    Place(Span),
    /// From and to.
    Range(u64, u64, Unit),
    /// A size.
    Bytes(u64),
    /// Some of the names kept by [`Diagnostics`].
    Chain(u8, u8),
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nothing in particular.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Time,
    /// Thousandths.
    Milli,
}

/// "did you mean".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Near {
    /// Nothing is near.
    Nothing,
    /// A word of the language.
    Word(&'static str),
    /// A word of this config.
    Text(Span),
}

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What.
    pub code: Code,
    /// Where.
    pub at: Span,
    /// What the words need further.
    pub detail: Detail,
    /// What may have been meant.
    pub near: Near,
}

/// All that is wrong: the first [`limits::DIAGNOSTICS`] of it, and how much there is.
#[derive(Debug)]
pub struct Diagnostics {
    items: heapless::Vec<Diagnostic, { limits::DIAGNOSTICS }>,
    chain: heapless::Vec<Span, CHAIN>,
    count: u32,
}

/// Names kept of all dependency cycles.
const CHAIN: usize = 64;
/// Names printed of one cycle.
const CHAIN_SHOWN: usize = 16;
/// Characters printed of a line, and of those how many before the place.
const SHOWN: usize = 160;
const SHOWN_BEFORE: usize = 80;
/// Bytes printed of a word.
const WORD_SHOWN: usize = 80;

impl Diagnostics {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Diagnostics { items: heapless::Vec::new(), chain: heapless::Vec::new(), count: 0 }
    }

    /// How many there are, those that were not kept included.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Those that were kept.
    #[must_use]
    pub fn kept(&self) -> &[Diagnostic] {
        &self.items
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.items.clear();
        self.chain.clear();
        self.count = 0;
    }

    /// Adds one.
    pub fn add(&mut self, diagnostic: Diagnostic) {
        self.count = self.count.saturating_add(1);
        // Full is fine: the rest is counted.
        let _ = self.items.push(diagnostic);
    }

    /// Adds one without further details.
    pub fn error(&mut self, code: Code, at: Span) {
        self.add(Diagnostic { code, at, detail: Detail::None, near: Near::Nothing });
    }

    /// Adds one with a detail.
    pub fn detail(&mut self, code: Code, at: Span, detail: Detail) {
        self.add(Diagnostic { code, at, detail, near: Near::Nothing });
    }

    /// Keeps names for [`Detail::Chain`], as many as there is room for.
    pub(crate) fn keep_chain(&mut self, names: impl Iterator<Item = Span>) -> Detail {
        let start = self.chain.len();
        for name in names.take(CHAIN_SHOWN) {
            let _ = self.chain.push(name);
        }
        Detail::Chain(start as u8, self.chain.len() as u8)
    }

    /// Puts them in the order of the text.
    pub(crate) fn sort(&mut self) {
        for end in 1..self.items.len() {
            let mut at = end;
            while at > 0 && self.items[at - 1].at.start > self.items[at].at.start {
                self.items.swap(at - 1, at);
                at -= 1;
            }
        }
    }

    /// Writes all of them for people: for each `file:line:column: message`, the line, and a caret below it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, config: &Config, out: &mut dyn Write) -> fmt::Result {
        for diagnostic in &self.items {
            self.write_one(diagnostic, config, out)?;
        }
        let more = (self.count as usize).saturating_sub(self.items.len());
        if more > 0 {
            writeln!(out, "… and {more} more")?;
        }
        Ok(())
    }

    fn write_one(&self, diagnostic: &Diagnostic, config: &Config, out: &mut dyn Write) -> fmt::Result {
        let place = config.place(diagnostic.at);
        write_place(&place, config, out)?;
        out.write_str(": ")?;
        for char in word(WORDS, diagnostic.code as usize).chars() {
            match char {
                '$' => write_quoted(diagnostic.at.of(config.text()), out)?,
                '@' => self.write_detail(diagnostic.detail, config, out)?,
                _ => out.write_char(char)?,
            }
        }
        match diagnostic.near {
            Near::Nothing => {}
            Near::Word(word) => write!(out, ": did you mean `{word}`?")?,
            Near::Text(span) => {
                out.write_str(": did you mean ")?;
                write_quoted(span.of(config.text()), out)?;
                out.write_char('?')?;
            }
        }
        out.write_char('\n')?;
        if place.line > 0 && diagnostic.code != Code::NotText {
            write_line(&place, diagnostic.at, config.text(), out)?;
        }
        Ok(())
    }

    fn write_detail(&self, detail: Detail, config: &Config, out: &mut dyn Write) -> fmt::Result {
        match detail {
            Detail::None => Ok(()),
            Detail::Errno(errno) => write!(out, "{}", ErrnoWords(errno)),
            Detail::Bound(bound, what) => write!(out, "{bound} {what}"),
            Detail::Words(words) => out.write_str(words),
            Detail::Choice(table) => {
                for (index, word) in words(table).enumerate() {
                    write!(out, "{}{word}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Detail::Key(key) => write!(out, "`{}`", key.name()),
            Detail::Section(bit) => out.write_str(section::name(bit)),
            Detail::Text(span) => write_quoted(span.of(config.text()), out),
            Detail::Place(span) => write_place(&config.place(span), config, out),
            Detail::Bytes(bytes) => write_number(bytes, Unit::Bytes, out),
            Detail::Range(from, to, unit) => {
                write_number(from, unit, out)?;
                out.write_str(" to ")?;
                write_number(to, unit, out)
            }
            Detail::Chain(start, end) => {
                let names = self.chain.get(usize::from(start)..usize::from(end)).unwrap_or_default();
                for name in names {
                    write_quoted(name.of(config.text()), out)?;
                    out.write_str(" -> ")?;
                }
                match names.first() {
                    Some(first) if names.len() < CHAIN_SHOWN => write_quoted(first.of(config.text()), out),
                    _ => out.write_str("…"),
                }
            }
        }
    }
}

impl Default for Diagnostics {
    fn default() -> Self {
        Self::new()
    }
}

/// Everything that is wrong with a config, as text.
#[derive(Debug)]
pub struct Report<'a>(pub &'a Config, pub &'a Diagnostics);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.write(self.0, f)
    }
}

/// `file:line:column`, or the file alone where the place is the file as such.
fn write_place(place: &Place, config: &Config, out: &mut dyn Write) -> fmt::Result {
    write_bytes(place.file.of(config.text()), out)?;
    if place.line > 0 {
        write!(out, ":{}:{}", place.line, place.column)?;
    }
    Ok(())
}

/// The line of the place, and below it a caret under each character of `at`.
fn write_line(place: &Place, at: Span, text: &[u8], out: &mut dyn Write) -> fmt::Result {
    let line = place.text.of(text);
    let offset = (at.start.saturating_sub(place.text.start) as usize).min(line.len());
    let (before, rest) = line.split_at(offset);
    let marked = (at.end.saturating_sub(at.start) as usize).min(rest.len());

    // Of a long line only what is around the place.
    let cut = before.len().saturating_sub(SHOWN_BEFORE);
    let before = cut_start(before, cut);
    let whole = rest.len();
    let rest = cut_end(rest, SHOWN);
    let more = if rest.len() < whole { "…\n" } else { "\n" };
    let marked = marked.min(rest.len());
    let dots = if cut > 0 { "…" } else { "" };

    out.write_str(dots)?;
    write_bytes(before, out)?;
    write_bytes(rest, out)?;
    out.write_str(more)?;
    out.write_str(if cut > 0 { " " } else { "" })?;
    for char in chars(before) {
        match char {
            '\t' => out.write_char('\t')?,
            _ => (0..width(char)).try_for_each(|_| out.write_char(' '))?,
        }
    }
    let carets: usize = chars(&rest[..marked]).map(width).sum();
    (0..carets.max(1)).try_for_each(|_| out.write_char('^'))?;
    out.write_char('\n')
}

/// `bytes` without its first `count`, and without the rest of a character that this cuts.
fn cut_start(bytes: &[u8], count: usize) -> &[u8] {
    let mut rest = bytes.get(count..).unwrap_or_default();
    while let [0x80..=0xbf, tail @ ..] = rest {
        rest = tail;
    }
    rest
}

/// At most the first `count` of `bytes`, without a part of a character at the end.
fn cut_end(bytes: &[u8], count: usize) -> &[u8] {
    let mut end = count.min(bytes.len());
    while end > 0 && end < bytes.len() && matches!(bytes[end], 0x80..=0xbf) {
        end -= 1;
    }
    &bytes[..end]
}

fn write_quoted(bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    let shown = cut_end(bytes, WORD_SHOWN);
    out.write_char('`')?;
    write_bytes(shown, out)?;
    out.write_str(if shown.len() < bytes.len() { "…`" } else { "`" })
}

/// `bytes` as text that a terminal takes for nothing else.
fn write_bytes(bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    chars(bytes).try_for_each(|char| out.write_char(char))
}

/// The characters of `bytes`; what is none, or is a control character, is `?`.
fn chars(bytes: &[u8]) -> impl Iterator<Item = char> {
    let clean = |char: char| if char.is_control() && char != '\t' { '?' } else { char };
    bytes
        .utf8_chunks()
        .flat_map(move |chunk| chunk.valid().chars().map(clean).chain((!chunk.invalid().is_empty()).then_some('?')))
}

/// Columns of a character on a terminal: combining marks take none, those of East Asia and pictures take two.
fn width(char: char) -> usize {
    const NONE: &[(u32, u32)] = &[(0x300, 0x36f), (0x200b, 0x200f), (0xfe00, 0xfe0f), (0xfeff, 0xfeff)];
    const TWO: &[(u32, u32)] = &[
        (0x1100, 0x115f),
        (0x2e80, 0xa4cf),
        (0xac00, 0xd7a3),
        (0xf900, 0xfaff),
        (0xfe30, 0xfe6f),
        (0xff00, 0xff60),
        (0xffe0, 0xffe6),
        (0x1f300, 0x1faff),
        (0x20000, 0x3fffd),
    ];
    let within = |ranges: &[(u32, u32)]| ranges.iter().any(|&(from, to)| (from..=to).contains(&u32::from(char)));
    if within(NONE) {
        0
    } else if within(TWO) {
        2
    } else {
        1
    }
}

/// A number in the largest unit that divides it, as a config says it.
#[derive(Clone, Copy, Debug)]
pub struct Amount(pub u64, pub Unit);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_number(self.0, self.1, f)
    }
}

fn write_number(number: u64, unit: Unit, out: &mut dyn Write) -> fmt::Result {
    let units: &[(u64, &str)] = match unit {
        Unit::Count => &[],
        Unit::Bytes => &[(1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")],
        Unit::Time => &[(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")],
        Unit::Milli => &[(1000, "")],
    };
    if unit == Unit::Milli && !number.is_multiple_of(1000) {
        return write!(out, "{}.{:03}", number / 1000, number % 1000);
    }
    match units.iter().find(|(size, _)| number > 0 && number.is_multiple_of(*size)) {
        Some((size, name)) => write!(out, "{}{name}", number / size),
        None => write!(out, "{number}"),
    }
}
