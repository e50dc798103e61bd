//! Words of the command line → [`Invocation`].

use core::ffi::CStr;
use core::fmt;

use super::init::{Orders, name_of_init};
use super::output::Plain;
use super::units;
use super::verb::{Act, LATER, OPTIONS, Operands, Opt, OptFacts, VERBS, Verb, guest_keys};
use crate::calendar::moment;
use crate::config::key::Key;
use crate::config::nearest;
use crate::limits;
use crate::sys::clock;
use crate::sys::process::Arguments;
use crate::text::{self, words};

/// Where words come from: number 0 is the program's name.
pub trait Words {
    /// Word number `index`.
    fn word(&self, index: usize) -> Option<&'static CStr>;
}

impl Words for Arguments {
    fn word(&self, index: usize) -> Option<&'static CStr> {
        self.get(index)
    }
}

impl Words for [&'static CStr] {
    fn word(&self, index: usize) -> Option<&'static CStr> {
        self.get(index).copied()
    }
}

/// What the options say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--help`
    pub help: bool,
    /// `--json`
    pub json: bool,
    /// `--plain`
    pub plain: bool,
    /// `--wait`
    pub wait: bool,
    /// `--quiet`
    pub quiet: bool,
    /// `--follow`
    pub follow: bool,
    /// `--config`
    pub config: Option<&'static CStr>,
    /// `--socket`
    pub socket: Option<&'static CStr>,
    /// `--timeout`, milliseconds.
    pub timeout_ms: Option<u64>,
    /// `--lines`
    pub lines: Option<u64>,
    /// `--save`
    pub save: bool,
    /// `--columns`
    pub columns: Option<&'static CStr>,
    /// `--sort`
    pub sort: Option<&'static CStr>,
    /// `--state`
    pub states: Option<&'static CStr>,
    /// `--interval`, milliseconds.
    pub interval_ms: Option<u64>,
    /// `--dry-run`
    pub dry_run: bool,
    /// `--yes`
    pub yes: bool,
    /// `--since`
    pub since: Option<Since>,
    /// `--timestamps`
    pub timestamps: bool,
    /// `--escape`: the key, nothing for none.
    pub escape: Option<Option<u8>>,
    /// `--remove`
    pub remove: bool,
    /// Those of `init`.
    pub init: Orders,
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Behind event number so and so; of logs, so many seconds ago.
    Number(u64),
    /// From a moment on, microseconds since 1970.
    Moment(u64),
}

/// A key of a guest given as an option of `run`.
pub type KeyOption = (Key, &'static CStr);

/// A command line that makes sense.
#[derive(Debug)]
pub struct Invocation {
    /// What to do.
    pub verb: &'static Verb,
    /// How.
    pub options: Options,
    /// With what: guests, a file. Without the words of a command.
    pub operands: heapless::Vec<&'static CStr, { limits::GUESTS }>,
    /// Where the words of a command begin: the index of its first word; the number of all words where there is none.
    pub command: usize,
    /// Whether `--` stood before the command.
    pub dashes: bool,
    /// Keys of `run`.
    pub keys: heapless::Vec<KeyOption, { limits::VALUE_WORDS }>,
}

/// A command line that makes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No verb at all.
    NoVerb,
    /// No such verb; the nearest one.
    UnknownVerb(&'static CStr, Option<&'static str>),
    /// A verb that this version does not have.
    NotSupported(&'static str),
    /// A key that this version does not have.
    KeyNotSupported(&'static str),
    /// No such option of this verb; the nearest one.
    UnknownOption(&'static CStr, Option<&'static str>),
    /// An option without its value.
    ValueMissing(&'static str),
    /// An option with a value that it does not take.
    ValueUnwanted(&'static str),
    /// A value that is none.
    BadValue(&'static str, &'static CStr),
    /// Too few words for this verb.
    TooFew(&'static Verb),
    /// Too many words for this verb: the first of them.
    TooMany(&'static Verb, &'static CStr),
}

// Verbs are all in one table.
impl PartialEq for Verb {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for Verb {}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let near = |f: &mut fmt::Formatter<'_>, dashes, near: Option<&str>| match near {
            Some(near) => write!(f, "; did you mean {dashes}{near}?"),
            None => Ok(()),
        };
        match *self {
            Wrong::NoVerb => f.write_str("what to do? `inn --help` lists the verbs"),
            Wrong::UnknownVerb(word, nearest) => {
                write!(f, "there is no verb {}", Shown(word))?;
                near(f, "", nearest)
            }
            Wrong::NotSupported(name) => write!(f, "{name} is not supported by this version"),
            Wrong::KeyNotSupported(name) => write!(f, "--{name} is not supported by this version"),
            Wrong::UnknownOption(word, nearest) => {
                write!(f, "there is no option {}", Shown(word))?;
                near(f, "--", nearest)
            }
            Wrong::ValueMissing(name) => write!(f, "--{name} needs a value"),
            Wrong::ValueUnwanted(name) => write!(f, "--{name} takes no value"),
            Wrong::BadValue(name, word) => write!(f, "--{name}: {} is not one", Shown(word)),
            Wrong::TooFew(verb) => write!(f, "{} needs more: inn {} {}", verb.name, verb.name, verb.usage),
            Wrong::TooMany(verb, word) => write!(f, "{} has no use for {}", verb.name, Shown(word)),
        }
    }
}

/// A word of the command line, for people.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a CStr);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", Plain(self.0.to_str().unwrap_or("(not UTF-8)")))
    }
}

/// Reads a command line.
///
/// # Errors
/// The first thing that makes no sense.
pub fn parse(words: &(impl Words + ?Sized)) -> Result<Invocation, Wrong> {
    let mut parser = Parser { words, next: 1, options: Options::default(), keys: heapless::Vec::new() };
    let verb = parser.verb()?;
    let mut operands = heapless::Vec::new();
    let mut dashes = false;
    let (least, most) = match verb.operands {
        Operands::Words(least, most) => (least, most),
        Operands::Command(before) => (before, before),
    };
    let is_command = matches!(verb.operands, Operands::Command(_));
    while let Some(word) = parser.words.word(parser.next).filter(|_| !parser.options.help) {
        let bytes = word.to_bytes();
        if bytes == b"--" && !dashes {
            dashes = true;
            parser.next += 1;
        } else if bytes.len() > 1 && bytes.starts_with(b"-") && !dashes && !is_number(bytes, verb) {
            parser.option(verb)?;
        } else if is_command && operands.len() >= least {
            break;
        } else if operands.len() >= most || operands.push(word).is_err() {
            return Err(Wrong::TooMany(verb, word));
        } else {
            parser.next += 1;
            // Behind the last operand before a command come the command's own options.
            if is_command && operands.len() == least {
                let more_dashes = parser.words.word(parser.next).is_some_and(|word| word.to_bytes() == b"--");
                parser.next += usize::from(more_dashes);
                break;
            }
        }
    }
    let is_missing = parser.words.word(parser.next).is_none();
    let command_missing = is_command && is_missing && !parser.options.init.needs_no_command();
    if !parser.options.help && (operands.len() < least || command_missing) {
        return Err(Wrong::TooFew(verb));
    }
    Ok(Invocation { verb, options: parser.options, operands, command: parser.next, dashes, keys: parser.keys })
}

/// Why there is no verb `word`: this version has none of that name, or none ever had; then the nearest one.
#[must_use]
pub fn unknown_verb(word: &'static CStr) -> Wrong {
    let bytes = word.to_bytes();
    match words(LATER).find(|name| name.as_bytes() == bytes) {
        Some(name) => Wrong::NotSupported(name),
        None => Wrong::UnknownVerb(word, nearest(bytes, VERBS.iter().map(|verb| (verb.name, verb.name.as_bytes())))),
    }
}

struct Parser<'w, W: ?Sized> {
    words: &'w W,
    next: usize,
    options: Options,
    keys: heapless::Vec<KeyOption, { limits::VALUE_WORDS }>,
}

impl<W: Words + ?Sized> Parser<'_, W> {
    /// The verb, with options that may stand before it.
    fn verb(&mut self) -> Result<&'static Verb, Wrong> {
        if let Some(name) = self.words.word(0).and_then(name_of_init) {
            if self.words.word(1).is_some_and(|word| matches!(word.to_bytes(), b"--version" | b"-V")) {
                return Ok(self.become_verb(b"version"));
            }
            // The one of them that does so without being asked.
            self.options.init.setsid = name == "dumb-init";
            let verb = self.become_verb(b"init");
            self.next = 1;
            return Ok(verb);
        }
        loop {
            let word = self.words.word(self.next).ok_or(Wrong::NoVerb)?;
            match word.to_bytes() {
                b"--help" | b"-h" => return Ok(self.become_verb(b"help")),
                b"--version" | b"-V" => return Ok(self.become_verb(b"version")),
                bytes if bytes.starts_with(b"-") => self.any_option()?,
                bytes => {
                    self.next += 1;
                    return Verb::named(bytes).ok_or_else(|| unknown_verb(word));
                }
            }
        }
    }

    fn become_verb(&mut self, name: &[u8]) -> &'static Verb {
        self.next += 1;
        // Both names stand in the table; the first verb of it could be no harm either.
        Verb::named(name).unwrap_or(&VERBS[0])
    }

    /// An option before the verb: one that any verb takes.
    fn any_option(&mut self) -> Result<(), Wrong> {
        self.option_of(
            |option| matches!(option, Opt::Json | Opt::Plain | Opt::Config | Opt::Socket | Opt::Quiet),
            false,
        )
    }

    /// An option of `verb`.
    fn option(&mut self, verb: &'static Verb) -> Result<(), Wrong> {
        self.option_of(|option| verb.takes(option), verb.act == Act::Run)
    }

    fn option_of(&mut self, takes: impl Fn(Opt) -> bool, keys: bool) -> Result<(), Wrong> {
        let Some(word) = self.words.word(self.next) else { return Ok(()) };
        self.next += 1;
        let bytes = word.to_bytes();
        let Some(long) = bytes.strip_prefix(b"--") else { return self.short(word, takes) };
        let end = long.iter().position(|&byte| byte == b'=').unwrap_or(long.len());
        let name = &long[..end];
        // The value behind `=` ends where the word does, so it has the word's NUL.
        let attached = CStr::from_bytes_with_nul(word.to_bytes_with_nul().get(2 + end + 1..).unwrap_or_default()).ok();
        let attached = attached.filter(|_| end < long.len());
        if let Some(facts) = OPTIONS.iter().find(|facts| facts.long.as_bytes() == name && takes(facts.option)) {
            return self.set(facts, attached);
        }
        if keys && let Some(key) = guest_key(name) {
            return self.key(key, attached);
        }
        let options = OPTIONS.iter().filter(|facts| takes(facts.option)).map(|facts| facts.long);
        let names = options.chain(guest_keys().filter(|_| keys).map(Key::name));
        Err(Wrong::UnknownOption(word, nearest(name, names.map(|name| (name, name.as_bytes())))))
    }

    /// `-f`, `-n 5`, `-n5`, `-fn5`.
    fn short(&mut self, word: &'static CStr, takes: impl Fn(Opt) -> bool) -> Result<(), Wrong> {
        let bytes = word.to_bytes_with_nul();
        let mut at = 1;
        while let Some(&letter) = bytes.get(at).filter(|&&letter| letter != 0) {
            at += 1;
            let facts = OPTIONS
                .iter()
                .find(|facts| facts.short == Some(letter) && takes(facts.option))
                .ok_or(Wrong::UnknownOption(word, None))?;
            if !facts.value.is_empty() {
                let rest = CStr::from_bytes_with_nul(bytes.get(at..).unwrap_or_default()).ok();
                return self.set(facts, rest.filter(|rest| !rest.is_empty()));
            }
            self.set(facts, None)?;
        }
        Ok(())
    }

    fn set(&mut self, facts: &'static OptFacts, attached: Option<&'static CStr>) -> Result<(), Wrong> {
        if facts.value.is_empty() {
            if attached.is_some() {
                return Err(Wrong::ValueUnwanted(facts.long));
            }
            if self.options.init.set(facts.option) {
                return Ok(());
            }
            let flag = match facts.option {
                Opt::Json => &mut self.options.json,
                Opt::Plain => &mut self.options.plain,
                Opt::Wait => &mut self.options.wait,
                Opt::Quiet => &mut self.options.quiet,
                Opt::Follow => &mut self.options.follow,
                Opt::Save => &mut self.options.save,
                Opt::DryRun => &mut self.options.dry_run,
                Opt::Yes => &mut self.options.yes,
                Opt::Timestamps => &mut self.options.timestamps,
                Opt::Remove => &mut self.options.remove,
                _ => &mut self.options.help,
            };
            *flag = true;
            return Ok(());
        }
        let value = self.value(facts.long, attached)?;
        let bad = Wrong::BadValue(facts.long, value);
        match facts.option {
            Opt::Config => self.options.config = Some(value),
            Opt::Socket => self.options.socket = Some(value),
            Opt::Columns => self.options.columns = Some(value),
            Opt::Sort => self.options.sort = Some(value),
            Opt::State => self.options.states = Some(value),
            Opt::Interval => {
                let ms = units::parse_time_ms(value.to_bytes()).filter(|ms| *ms > 0).ok_or(bad)?;
                self.options.interval_ms = Some(ms.max(limits::INTERVAL_LEAST_MS));
            }
            Opt::Timeout => self.options.timeout_ms = Some(units::parse_time_ms(value.to_bytes()).ok_or(bad)?),
            Opt::Since => self.options.since = Some(since(value.to_bytes()).ok_or(bad)?),
            Opt::Escape => self.options.escape = Some(escape(value.to_bytes()).ok_or(bad)?),
            Opt::Rewrite | Opt::ParentDeath | Opt::ExitOk => {
                self.options.init.set_value(facts.option, value.to_bytes()).ok_or(bad)?;
            }
            _ => self.options.lines = Some(text::number(value.to_bytes()).ok_or(bad)?),
        }
        Ok(())
    }

    fn key(&mut self, key: Key, attached: Option<&'static CStr>) -> Result<(), Wrong> {
        if !key.is_built() {
            return Err(Wrong::KeyNotSupported(key.name()));
        }
        let value = match key {
            // A flag's value is its presence.
            Key::Ephemeral | Key::Readonly => attached.unwrap_or(c"yes"),
            _ => self.value(key.name(), attached)?,
        };
        self.keys.push((key, value)).map_err(|_| Wrong::BadValue(key.name(), value))
    }

    fn value(&mut self, name: &'static str, attached: Option<&'static CStr>) -> Result<&'static CStr, Wrong> {
        if let Some(value) = attached {
            return Ok(value);
        }
        let value = self.words.word(self.next).ok_or(Wrong::ValueMissing(name))?;
        self.next += 1;
        Ok(value)
    }
}

/// Whether a word is a number below zero, where one can stand.
fn is_number(word: &[u8], verb: &Verb) -> bool {
    verb.act == Act::Set && word.get(1).is_some_and(u8::is_ascii_digit)
}

fn since(word: &[u8]) -> Option<Since> {
    let number = text::number(word).map(Since::Number);
    number.or_else(|| Some(Since::Moment(moment(word, clock::real_us())?)))
}

/// "ctrl-a", "^A", "none"
fn escape(word: &[u8]) -> Option<Option<u8>> {
    if word == b"none" {
        return Some(None);
    }
    let key = word.strip_prefix(b"ctrl-").or(word.strip_prefix(b"^"))?;
    let &[key] = key else { return None };
    // Control characters are the 32 codes of `@` to `_`, less 64.
    let key = key.to_ascii_uppercase();
    (b'A'..=b'_').contains(&key).then_some(Some(key - b'@'))
}

fn guest_key(name: &[u8]) -> Option<Key> {
    guest_keys().find(|key| key.name().as_bytes() == name)
}
