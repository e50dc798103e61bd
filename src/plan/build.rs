//! The walk over a config's sections, and `[host]`.

use super::guest::{Draft, MEMORY_MAX, TIMES};
use super::users::Stock;
use super::value::{self, Joined, Value, Wrong};
use super::{At, Guest, GuestId, Kind, Plan, Remedy, Sysctl, hardening};
use crate::config::diagnostic::{Code, Detail, Diagnostic, Near, Unit};
use crate::config::key::{Key, section};
use crate::config::lexer::{Form, Span};
use crate::config::{Config, Diagnostics, Section, nearest};
use crate::limits;
use crate::text::{List, Text};

/// Kinds of sections that become guests of a plan.
pub const GUESTS: u8 = section::GUEST | section::SERVICE;

/// What is at hand while a plan is built.
#[derive(Debug)]
pub struct Builder<'a> {
    pub config: &'a Config,
    pub plan: &'a mut Plan,
    pub diagnostics: &'a mut Diagnostics,
    /// The value in hand.
    pub value: Value,
    /// `/`, kept once.
    pub slash: Text,
    /// `log-size` of `[host]`.
    pub log_bytes: u64,
    /// What a guest without `command` runs, once there is one: `/sbin/init`.
    pub init: List<Text>,
}

/// See [`Plan::build`].
pub fn build(config: &Config, plan: &mut Plan, diagnostics: &mut Diagnostics, stock: &Stock<'_>) -> bool {
    plan.clear();
    let mut builder = Builder {
        config,
        plan,
        diagnostics,
        value: Value::new(),
        slash: Text::EMPTY,
        log_bytes: limits::LOG_BYTES_DEFAULT,
        init: List::EMPTY,
    };
    builder.slash = builder.keep_bytes(b"/", Span::default());
    builder.files();
    builder.host();
    builder.links();
    builder.profiles();
    builder.guests();
    builder.order();
    builder.users(stock);
    builder.plan.config_strings = builder.plan.strings.mark();
    builder.diagnostics.sort();
    builder.diagnostics.is_empty()
}

impl Builder<'_> {
    fn files(&mut self) {
        for file in self.config.files() {
            let name = self.keep_bytes(file.name.of(self.config.text()), file.name);
            // The config has no more files than the plan has room for.
            let _ = self.plan.files.push(name);
        }
    }

    fn host(&mut self) {
        self.plan.host.shutdown_timeout_ms = limits::SHUTDOWN_TIMEOUT_MS;
        self.plan.host.hardening = hardening::ALL;
        let config = self.config;
        let Some(section) = config.sections().iter().find(|section| section.kind == section::HOST) else { return };
        for entry in config.entries(section) {
            let Some(key) = entry.key else { continue };
            let asked = &mut self.plan.host.asked[key as usize];
            let first = *asked == At::NOWHERE;
            if first {
                *asked = At::new(entry.file, entry.line);
            }
            if key.is_built() && (first || !key.is_list()) && self.take(key, entry.value, Form::Lines) {
                self.host_key(section, key);
            }
        }
        self.state_agrees(section);
    }

    fn host_key(&mut self, section: &Section, key: Key) {
        match key {
            Key::Hostname => {
                let hostname = value::hostname(self.value.word(0));
                if self.one_word(hostname).is_some() {
                    self.plan.host.hostname = self.keep(0);
                }
            }
            Key::LogSize => {
                if let Some(bytes) = self.amount(Unit::Bytes, LOG_SIZES) {
                    self.log_bytes = bytes;
                }
            }
            Key::ShutdownTimeout => {
                if let Some(time_ms) = self.amount(Unit::Time, (1000, 3_600_000)) {
                    self.plan.host.shutdown_timeout_ms = time_ms;
                }
            }
            Key::Emergency => {
                if let Some(command) = self.command() {
                    self.plan.host.emergency = command;
                }
            }
            Key::HostConsole => self.console(),
            Key::Watchdog => self.watchdog(),
            Key::Healthy => self.healthy(),
            Key::MarkBad => self.plan.host.mark_bad = self.command().unwrap_or_default(),
            Key::State => {
                let path = value::path(self.value.word(0));
                if self.one_word(path).is_some() {
                    self.plan.host.state = self.keep(0);
                }
            }
            Key::Reset => self.plan.host.resets = self.resets(section),
            Key::Reserve => self.plan.host.reserve_bytes = self.amount(Unit::Bytes, (0, MEMORY_MAX)),
            Key::Hardening => self.plan.host.hardening = self.hardening(),
            Key::Modules => self.modules(section),
            Key::Mount => self.plan.host.mounts = self.mounts(section),
            Key::Swap => self.plan.host.swaps = self.swaps(section),
            Key::Sysctl => self.plan.host.sysctls = self.sysctls(section, limits::SYSCTLS, |_| Ok(())),
            // `include` was carried out when the config was read; the others are not keys of [host].
            _ => {}
        }
    }

    /// A device, and its speed.
    fn console(&mut self) {
        let path = value::path(self.value.word(0));
        if self.checked(0, path).is_none() {
            return;
        }
        if self.value.len() > 1 {
            let speed = value::amount(self.value.word(1), Unit::Count, CONSOLE_SPEEDS);
            let Some(speed) = self.checked(1, speed) else { return };
            self.plan.host.console_speed = speed as u32;
        }
        if self.has_words(2) {
            self.plan.host.console = self.keep(0);
        }
    }

    /// A device, and its time-out.
    fn watchdog(&mut self) {
        let path = value::path(self.value.word(0));
        if self.checked(0, path).is_none() {
            return;
        }
        let mut time_ms = limits::WATCHDOG_MS;
        if self.value.len() > 1 {
            let time = value::amount(self.value.word(1), Unit::Time, WATCHDOG_TIMES);
            let Some(given_ms) = self.checked(1, time) else { return };
            time_ms = given_ms;
        }
        if self.has_words(2) {
            self.plan.host.watchdog = self.keep(0);
            // Whole seconds are what the kernel takes.
            self.plan.host.watchdog_s = time_ms.div_ceil(1000) as u32;
        }
    }

    /// A command, and at the end `within TIME` and `else REMEDY`.
    fn healthy(&mut self) {
        let mut words = self.value.len();
        let (mut within_ms, mut otherwise) = (limits::HEALTHY_MS, Remedy::Reboot);
        if words > 2 && self.value.word(words - 2) == b"else" {
            let Some(remedy) = self.remedy(words - 1) else { return };
            otherwise = remedy;
            words -= 2;
        }
        if words > 2 && self.value.word(words - 2) == b"within" {
            let within = value::amount(self.value.word(words - 1), Unit::Time, TIMES);
            let Some(given_ms) = self.checked(words - 1, within) else { return };
            within_ms = given_ms;
            words -= 2;
        }
        let Some(command) = self.command_of(0, words) else { return };
        let host = &mut self.plan.host;
        (host.healthy, host.healthy_within_ms, host.healthy_else) = (command, within_ms, otherwise);
    }

    /// Whether `[host]` says how a boot loader is told of a bad boot; it may stand behind what needs it.
    pub fn says_mark_bad(&self) -> bool {
        let host = self.config.sections().iter().find(|section| section.kind == section::HOST);
        host.is_some_and(|host| self.config.entries(host).any(|entry| entry.key == Some(Key::MarkBad)))
    }

    fn resets(&mut self, section: &Section) -> List<Text> {
        let mark = self.plan.words.mark();
        self.each_value(section, Key::Reset, &mut |builder| {
            for index in 0..builder.value.len() {
                let word = builder.value.word(index);
                let path = value::path(word);
                if builder.checked(index, path).is_none() {
                    continue;
                }
                if builder.value.word(index).iter().all(|byte| *byte == b'/') {
                    builder.wrong(Code::ResetRoot.into(), builder.value.at(index));
                } else if builder.plan.words.since(mark).len() == limits::RESETS {
                    return builder.too_many(index, limits::RESETS, "directories (limits::RESETS)");
                } else {
                    let path = builder.keep(index);
                    builder.push_word(path, index);
                }
            }
        });
        self.plan.words.since(mark)
    }

    /// What says that a reset goes on must not be emptied by it.
    fn state_agrees(&mut self, section: &Section) {
        let plan = &*self.plan;
        let mut paths = plan.words.get(plan.host.resets).iter().map(|path| plan.strings.bytes(*path));
        if paths.any(|path| is_below(plan.state().as_bytes(), path)) {
            let at = self.asked_at(section, Key::Reset);
            self.diagnostics.detail(Code::Contradiction, at, Detail::Key(Key::State));
        }
    }

    fn modules(&mut self, section: &Section) {
        let mark = self.plan.words.mark();
        self.each_value(section, Key::Modules, &mut |builder| {
            for index in 0..builder.value.len() {
                let word = builder.value.word(index);
                if !is_module(word) {
                    builder.wrong(Code::BadModule.into(), builder.value.at(index));
                } else if builder.plan.words.since(mark).len() == limits::MODULES {
                    return builder.too_many(index, limits::MODULES, "modules (limits::MODULES)");
                } else {
                    let name = builder.keep(index);
                    builder.push_word(name, index);
                }
            }
        });
        self.plan.host.modules = self.plan.words.since(mark);
    }

    fn profiles(&mut self) {
        let config = self.config;
        for section in config.sections().iter().filter(|section| section.kind == section::PROFILE) {
            let mut draft = Draft::NEW;
            self.draft(section, &mut draft);
            if self.plan.profiles.push(draft).is_err() {
                let bound = Detail::Bound(limits::PROFILES as u64, "profiles (limits::PROFILES)");
                return self.diagnostics.detail(Code::TooMany, section.name, bound);
            }
        }
    }

    fn guests(&mut self) {
        let config = self.config;
        for section in config.sections().iter().filter(|section| section.kind & GUESTS != 0) {
            if self.plan.guests.is_full() {
                let bound = Detail::Bound(limits::GUESTS as u64, "guests and services (limits::GUESTS)");
                return self.diagnostics.detail(Code::TooMany, section.name, bound);
            }
            let mut draft = self.profile_of(section).unwrap_or(Draft::NEW);
            draft.guest.name = self.keep_bytes(section.name.of(config.text()), section.name);
            if section.kind == section::SERVICE {
                draft.kind = Some(Kind::Service);
            }
            self.draft(section, &mut draft);
            let guest: Guest = self.finish(section, draft);
            let _ = self.plan.guests.push(guest);
        }
    }

    /// The section of guest `id`.
    pub fn section(&self, id: GuestId) -> Option<&Section> {
        self.config.sections().iter().find(|section| section.kind & GUESTS != 0 && section.number == id.0)
    }

    /// Where `section` says `key`, itself or by its profile; where its name stands, if nowhere.
    pub fn asked_at(&self, section: &Section, key: Key) -> Span {
        let own = |section: &Section| self.config.entries(section).find(|entry| entry.key == Some(key));
        let entry = own(section).or_else(|| {
            let profile = self.config.profile_of(section)?;
            own(profile)
        });
        entry.map_or(section.name, |entry| entry.name)
    }

    /// Takes a value of `key` in hand; whether it could be.
    pub fn take(&mut self, key: Key, value: Span, form: Form) -> bool {
        let bound = match key {
            Key::Command | Key::Emergency => "words (limits::COMMAND_WORDS)",
            _ => "words (limits::VALUE_WORDS)",
        };
        match self.value.set(self.config.text(), value, form, bound) {
            // Without words it has been reported already.
            Ok(()) => self.value.len() > 0,
            Err((wrong, at)) => {
                self.wrong(wrong, at);
                false
            }
        }
    }

    /// Takes each value of `key` in `section` in hand.
    pub fn each_value(&mut self, section: &Section, key: Key, with: &mut dyn FnMut(&mut Self)) {
        let config = self.config;
        for entry in config.entries(section).filter(|entry| entry.key == Some(key)) {
            if self.take(key, entry.value, config.form(section)) {
                with(self);
            }
        }
    }

    /// Reports what is wrong at `at`.
    pub fn wrong(&mut self, wrong: Wrong, at: Span) {
        let Wrong { code, detail, near } = wrong;
        self.diagnostics.add(Diagnostic { code, at, detail, near });
    }

    /// What a word means; if nothing, that is reported.
    pub fn checked<T>(&mut self, index: usize, meaning: Result<T, Wrong>) -> Option<T> {
        match meaning {
            Ok(meaning) => Some(meaning),
            Err(wrong) => {
                self.wrong(wrong, self.value.at(index));
                None
            }
        }
    }

    /// What the only word means.
    pub fn one_word<T>(&mut self, meaning: Result<T, Wrong>) -> Option<T> {
        let meaning = self.checked(0, meaning)?;
        self.is_one_word().then_some(meaning)
    }

    /// The only word as a number of `unit` within `range`.
    pub fn amount(&mut self, unit: Unit, range: (u64, u64)) -> Option<u64> {
        let amount = value::amount(self.value.word(0), unit, range);
        self.one_word(amount)
    }

    /// Whether the value has one word; more are reported.
    pub fn is_one_word(&mut self) -> bool {
        self.has_words(1)
    }

    /// Whether the value has no more than `count` words; more are reported.
    pub fn has_words(&mut self, count: usize) -> bool {
        if self.value.len() <= count {
            return true;
        }
        let code = if count == 1 { Code::OneWord } else { Code::WordTooMany };
        self.wrong(code.into(), self.value.at(count));
        false
    }

    /// Keeps word number `index`.
    pub fn keep(&mut self, index: usize) -> Text {
        match self.plan.strings.add(self.value.word(index)) {
            Ok(text) => text,
            Err(_) => {
                self.too_many(index, limits::STRINGS_BYTES, "bytes of strings (limits::STRINGS_BYTES)");
                Text::EMPTY
            }
        }
    }

    /// Keeps other bytes.
    pub fn keep_bytes(&mut self, bytes: &[u8], at: Span) -> Text {
        self.plan.strings.add(bytes).unwrap_or_else(|_| {
            let bound = Detail::Bound(limits::STRINGS_BYTES as u64, "bytes of strings (limits::STRINGS_BYTES)");
            self.diagnostics.detail(Code::TooMany, at, bound);
            Text::EMPTY
        })
    }

    /// Keeps `text` as one more of the list that is being gathered.
    pub fn push_word(&mut self, text: Text, index: usize) {
        if self.plan.words.push(text).is_err() {
            self.too_many(index, limits::WORDS, "words in all commands and environments (limits::WORDS)");
        }
    }

    /// Reports that word number `index` is over a bound.
    pub fn too_many(&mut self, index: usize, bound: usize, what: &'static str) {
        self.wrong(Wrong::detail(Code::TooMany, Detail::Bound(bound as u64, what)), self.value.at(index));
    }

    /// The value as a program and its arguments.
    pub fn command(&mut self) -> Option<List<Text>> {
        self.command_of(0, self.value.len())
    }

    /// The words from `first` to before `end` as a program and its arguments.
    pub fn command_of(&mut self, first: usize, end: usize) -> Option<List<Text>> {
        // A name without a slash is looked for in PATH.
        if self.value.word(first).contains(&b'/') || self.value.word(first).is_empty() {
            self.checked(first, value::path(self.value.word(first)))?;
        }
        let mark = self.plan.words.mark();
        for index in first..end {
            let text = self.keep(index);
            self.push_word(text, index);
        }
        Some(self.plan.words.since(mark))
    }

    /// The kernel settings of `section`, at most `bound`, each of which `may` be set there.
    pub fn sysctls(&mut self, section: &Section, bound: usize, may: fn(&[u8]) -> Result<(), Code>) -> List<Sysctl> {
        let mark = self.plan.sysctls.mark();
        self.each_value(section, Key::Sysctl, &mut |builder| {
            let mut path = Joined::new();
            if let Err(code) = sysctl_path(builder.value.word(0), &mut path).and_then(|()| may(&path)) {
                return builder.wrong(code.into(), builder.value.at(0));
            }
            if builder.value.len() < 2 {
                let missing = Wrong::detail(Code::WordMissing, Detail::Words("a name and its value"));
                return builder.wrong(missing, builder.value.at(0));
            }
            let since = builder.plan.sysctls.since(mark);
            let strings = &builder.plan.strings;
            if builder.plan.sysctls.get(since).iter().any(|other| strings.bytes(other.path) == path.as_slice()) {
                return builder.wrong(Code::WordTwice.into(), builder.value.at(0));
            }
            if since.len() == bound {
                return builder.too_many(0, bound, "kernel settings (limits::SYSCTLS)");
            }
            let path = builder.keep_bytes(&path, builder.value.span);
            let value = builder.keep_joined(1);
            if builder.plan.sysctls.push(Sysctl { path, value }).is_err() {
                builder.too_many(0, 2 * limits::GUESTS, "kernel settings in all (twice limits::GUESTS)");
            }
        });
        self.plan.sysctls.since(mark)
    }

    /// Keeps the words from number `first` on as one text.
    pub fn keep_joined(&mut self, first: usize) -> Text {
        let mut joined = Joined::new();
        self.value.join(first, &mut joined);
        self.keep_bytes(&joined, self.value.span)
    }

    /// The guest or service that word number `index` names.
    pub fn reference(&mut self, index: usize) -> Option<GuestId> {
        self.named(index, GUESTS, Code::UnknownGuest).map(GuestId)
    }

    /// The number of the section of one of `kinds` that word number `index` names; if there is none, that is reported.
    pub fn named(&mut self, index: usize, kinds: u8, code: Code) -> Option<u16> {
        let sections = self.config.sections().iter().filter(|section| section.kind & kinds != 0);
        let text = self.config.text();
        let word = self.value.word(index);
        if let Some(section) = sections.clone().find(|section| section.name.of(text) == word) {
            return Some(section.number);
        }
        // It may be in the file that could not be read.
        if !self.config.is_incomplete() {
            let near = nearest(word, sections.map(|section| (section.name, section.name.of(text))));
            let near = near.map_or(Near::Nothing, Near::Text);
            self.wrong(Wrong { near, ..code.into() }, self.value.at(index));
        }
        None
    }
}

/// Whether `word` can stand in `modules`: a module's name, `auto`, `-NAME`, `+PATTERN`.
fn is_module(word: &[u8]) -> bool {
    let named = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let (name, is_good) = match word {
        [b'+', pattern @ ..] => (pattern, pattern.iter().all(u8::is_ascii_graphic)),
        [b'-', name @ ..] | name => (name, name.iter().all(named)),
    };
    is_good && !name.is_empty() && name.len() <= limits::NAME_BYTES
}

/// Whether `path` is `directory` or below it, slashes that are too many left out.
fn is_below(path: &[u8], directory: &[u8]) -> bool {
    let parts = |path| <[u8]>::split(path, |byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let mut path = parts(path);
    parts(directory).all(|part| path.next() == Some(part))
}

/// Speeds of a serial line, bits a second.
const CONSOLE_SPEEDS: (u64, u64) = (50, 4_000_000);
/// Time-outs of a watchdog.
const WATCHDOG_TIMES: (u64, u64) = (1000, 86_400_000);
/// Sizes of a log.
pub const LOG_SIZES: (u64, u64) = (4096, limits::LOG_BYTES_MAX);

/// `net.ipv4.ip_forward` or `net/ipv4/ip_forward` as a path below /proc/sys. Where the first separator is a dot, dots
/// and slashes change places, so that `net.ipv4.conf.eth0/1.forwarding` can be said (sysctl.d(5)).
fn sysctl_path(name: &[u8], path: &mut Joined) -> Result<(), Code> {
    let dotted = name.iter().find(|byte| matches!(byte, b'.' | b'/')) == Some(&b'.');
    for byte in name {
        let byte = match byte {
            b'.' if dotted => b'/',
            b'/' if dotted => b'.',
            byte if byte.is_ascii_graphic() => *byte,
            _ => return Err(Code::NotSysctl),
        };
        path.push(byte).map_err(|_| Code::NotSysctl)?;
    }
    let mut parts = path.split(|byte| *byte == b'/');
    if !path.contains(&b'/') || parts.any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err(Code::NotSysctl);
    }
    Ok(())
}
