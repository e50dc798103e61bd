//! The keys of a guest, their defaults, and what must agree.

use super::build::{Builder, LOG_SIZES};
use super::change::number;
use super::confinement::Changes;
use super::value::{self, Wrong};
use super::{
    Asked, At, Confinement, GiveUp, Guest, GuestId, HealthCheck, Hook, Kind, Layer, Limits, LogTo, Moment, Network,
    Ready, Remedy, Restart, Rlimit, StopStep, User, Users,
};
use crate::config::Section;
use crate::config::diagnostic::{Code, Detail, Unit};
use crate::config::key::{Key, section};
use crate::config::lexer::Span;
use crate::limits;
use crate::text::{List, Text, words};

/// A guest as far as its keys say; a profile is one too.
#[derive(Clone, Copy, Debug)]
pub struct Draft {
    pub guest: Guest,
    pub kind: Option<Kind>,
    pub changes: Changes,
    ephemeral: Option<bool>,
    console: Option<bool>,
    readonly: Option<bool>,
}

impl Draft {
    /// Nothing said.
    pub const NEW: Draft = Draft {
        guest: Guest {
            name: Text::EMPTY,
            kind: Kind::App,
            description: Text::EMPTY,
            root: Text::EMPTY,
            image: Text::EMPTY,
            layer: Layer::Shared,
            command: List::EMPTY,
            env: List::EMPTY,
            user: User { uid: 0, gid: 0 },
            groups: List::EMPTY,
            directory: Text::EMPTY,
            hostname: Text::EMPTY,
            tty: Text::EMPTY,
            limits: Limits {
                memory_bytes: None,
                memory_high_bytes: None,
                memory_low_bytes: None,
                swap_bytes: None,
                cpus_milli: None,
                cpu_weight: None,
                cpuset: Text::EMPTY,
                io_weight: None,
                io_max: List::EMPTY,
                processes: limits::PROCESSES_DEFAULT,
                oom_score: 0,
                oom_group: false,
            },
            rlimits: List::EMPTY,
            sysctls: List::EMPTY,
            users: Some(AUTO),
            more_users: List::EMPTY,
            confinement: Confinement { capabilities: 0, given: 0, filter: true, opened: 0, nesting: false },
            devices: List::EMPTY,
            binds: List::EMPTY,
            tmpfs: List::EMPTY,
            network: Network::None,
            after: List::EMPTY,
            wants: List::EMPTY,
            autostart: true,
            restart: Restart::OnFailure,
            restart_delay_ms: limits::RESTART_DELAY_MS,
            give_up: GiveUp::NEVER,
            critical_within_ms: 0,
            ready: Ready::Exec,
            ready_words: List::EMPTY,
            hooks: [List::EMPTY; Moment::COUNT],
            health: List::EMPTY,
            ready_within_ms: limits::READY_TIMEOUT_MS,
            stop: List::EMPTY,
            log_bytes: 0,
            log_to: LogTo::Nowhere,
            has_console: false,
            asked: [At::NOWHERE; Key::COUNT],
            features: 0,
            is_removed: false,
            before: List::EMPTY,
            users_given: false,
        },
        kind: None,
        changes: Changes::NONE,
        ephemeral: None,
        console: None,
        readonly: None,
    };
}

/// A range of users that is still to be chosen.
pub const AUTO: Users = Users { base: 0, count: limits::USER_RANGE };

/// The greatest user number; the one above it means "none" (setresuid(2)).
pub const USER_MAX: u64 = u32::MAX as u64 - 1;

/// The kernel counts in a long; whole T, so that the bound reads well.
pub const MEMORY_MAX: u64 = (i64::MAX as u64) >> 40 << 40;
/// How often a guest may end before it is given up.
const GIVE_UP_COUNTS: (u64, u64) = (1, 1000);
/// Times that a config may ask for.
pub const TIMES: (u64, u64) = (1, 86_400_000);
/// Descriptors that `ready = fd N` may name: those above standard error.
const READY_FDS: (u64, u64) = (3, 255);

/// TCP ports.
const PORTS: (u64, u64) = (1, 65_535);
/// What may stand behind the command of `health`.
const HEALTH_OPTIONS: &str = "every\0timeout\0failures";
/// Times in `health`.
const HEALTH_TIMES: (u64, u64) = (100, 86_400_000);
/// Failures in a row, in `health`.
const HEALTH_FAILURES: (u64, u64) = (1, 1000);

/// Whether a key was said.
pub fn is_set(asked: &Asked, key: Key) -> bool {
    asked[key as usize] != At::NOWHERE
}

impl Builder<'_> {
    /// The profile that a guest takes, as a draft to go on with.
    pub fn profile_of(&mut self, section: &Section) -> Option<Draft> {
        let config = self.config;
        let entry = config.entries(section).find(|entry| entry.key == Some(Key::Profile))?;
        if !self.take(Key::Profile, entry.value, config.form(section)) || !self.is_one_word() {
            return None;
        }
        let number = self.named(0, section::PROFILE, Code::UnknownProfile)?;
        let draft = self.plan.profiles.get(usize::from(number)).copied()?;
        if section.kind == section::SERVICE {
            let alien = |key: &&Key| is_set(&draft.guest.asked, **key) && key.sections() & section::SERVICE == 0;
            for key in Key::ALL.iter().filter(alien) {
                self.wrong(Wrong::detail(Code::ProfileKey, Detail::Key(*key)), self.value.at(0));
            }
        }
        Some(draft)
    }

    /// Takes the keys of `section` over into `draft`. A list replaces that of the profile.
    pub fn draft(&mut self, section: &Section, draft: &mut Draft) {
        let config = self.config;
        let mut seen = [false; Key::COUNT];
        for entry in config.entries(section) {
            let Some(key) = entry.key else { continue };
            let first = !core::mem::replace(&mut seen[key as usize], true);
            if first {
                draft.guest.asked[key as usize] = At::new(entry.file, entry.line);
            }
            if !key.is_built() || key.is_list() && !first {
                continue;
            }
            if key.is_list() {
                self.list(section, key, draft);
            } else if self.take(key, entry.value, config.form(section)) {
                self.key(key, draft);
            }
        }
    }

    fn key(&mut self, key: Key, draft: &mut Draft) {
        let guest = &mut draft.guest;
        match key {
            Key::Kind => {
                let kind = value::choice(self.value.word(0), "os\0app");
                if let Some(kind) = self.one_word(kind) {
                    draft.kind = Some(if kind == 0 { Kind::Os } else { Kind::App });
                }
            }
            Key::Ephemeral => draft.ephemeral = self.yes(),
            Key::Readonly => draft.readonly = self.yes(),
            Key::OomGroup => guest.limits.oom_group = self.yes().unwrap_or_default(),
            Key::Autostart => guest.autostart = self.yes().unwrap_or_default(),
            Key::Root => {
                guest.root = self.path();
                if self.value.word(0).iter().all(|byte| *byte == b'/') {
                    self.wrong(Code::HostRoot.into(), self.value.at(0));
                }
            }
            Key::Directory => guest.directory = self.path(),
            Key::Image => guest.image = self.path(),
            Key::Tty => guest.tty = self.path(),
            Key::Command => guest.command = self.command().unwrap_or_default(),
            Key::Description => guest.description = self.keep_joined(0),
            Key::Hostname => {
                let hostname = value::hostname(self.value.word(0));
                if self.one_word(hostname).is_some() {
                    guest.hostname = self.keep(0);
                }
            }
            Key::Cpuset => {
                let cpuset = value::cpuset(self.value.word(0));
                if self.one_word(cpuset).is_some() {
                    guest.limits.cpuset = self.keep(0);
                }
            }
            Key::User => guest.user = self.user().unwrap_or_default(),
            Key::OomScore => {
                let score = value::signed(self.value.word(0), 1000);
                guest.limits.oom_score = self.one_word(score).unwrap_or_default() as i16;
            }
            Key::Nesting => draft.changes.nesting = self.yes().unwrap_or_default(),
            Key::Seccomp => draft.changes.seccomp = self.seccomp(),
            Key::Userns => {
                (guest.users, guest.more_users) = self.userns();
                guest.users_given = guest.users.is_some_and(|users| users != AUTO);
            }
            Key::Restart => {
                let choice = value::choice(self.value.word(0), "never\0on-failure\0always");
                guest.restart = match self.one_word(choice) {
                    Some(0) => Restart::Never,
                    Some(2) => Restart::Always,
                    _ => Restart::OnFailure,
                };
            }
            Key::RestartDelay => {
                if let Some(delay_ms) = self.restart_delay() {
                    guest.restart_delay_ms = delay_ms;
                }
            }
            Key::GiveUp => guest.give_up = self.give_up().unwrap_or(GiveUp::NEVER),
            Key::Critical => guest.critical_within_ms = self.critical().unwrap_or_default(),
            Key::Ready => self.ready(guest),
            Key::Health => guest.health = self.health().unwrap_or_default(),
            Key::Stop => guest.stop = self.stop(),
            Key::Log => (guest.log_bytes, guest.log_to) = self.log().unwrap_or((0, LogTo::Nowhere)),
            Key::Console => {
                let console = value::choice(self.value.word(0), "pty\0none");
                draft.console = self.one_word(console).map(|choice| choice == 0);
            }
            // `profile` was taken before; the others are numbers, lists, or not keys of a guest.
            _ => {
                if let Some((unit, (from, to))) = number(key) {
                    let amount = self.amount(unit, (from as u64, to as u64));
                    guest.limits.set_number(key, amount.map(|amount| amount as i64));
                }
            }
        }
    }

    fn yes(&mut self) -> Option<bool> {
        let yes = value::yes(self.value.word(0));
        self.one_word(yes)
    }

    fn path(&mut self) -> Text {
        let path = value::path(self.value.word(0));
        if self.one_word(path).is_some() { self.keep(0) } else { Text::EMPTY }
    }

    fn user(&mut self) -> Option<User> {
        let user = match value::pair(self.value.word(0)) {
            Some((uid, gid)) => {
                let gid = gid.unwrap_or(uid);
                let fits = uid <= USER_MAX && gid <= USER_MAX;
                let range = Detail::Range(0, USER_MAX, Unit::Count);
                fits.then_some(User { uid: uid as u32, gid: gid as u32 }).ok_or(Wrong::detail(Code::OutOfRange, range))
            }
            None => Err(Code::NotUser.into()),
        };
        self.one_word(user)
    }

    fn restart_delay(&mut self) -> Option<(u64, u64)> {
        let from = value::amount(self.value.word(0), Unit::Time, TIMES);
        let from = self.checked(0, from)?;
        let to = match self.value.len() {
            1 => from.max(limits::RESTART_DELAY_MS.1),
            _ => {
                let to = value::amount(self.value.word(1), Unit::Time, (from, TIMES.1));
                self.checked(1, to)?
            }
        };
        self.has_words(2).then_some((from, to))
    }

    /// `never`, or `after N within TIME then REMEDY`.
    fn give_up(&mut self) -> Option<GiveUp> {
        if self.value.word(0) == b"never" {
            return self.is_one_word().then_some(GiveUp::NEVER);
        }
        let words = [(0, "after"), (2, "within"), (4, "then")];
        if self.value.len() < 6 || words.iter().any(|(index, word)| self.value.word(*index) != word.as_bytes()) {
            let words = "never, or after N within TIME then stop, rescue, reboot or mark-bad";
            self.wrong(Wrong::detail(Code::WordMissing, Detail::Words(words)), self.value.at(0));
            return None;
        }
        let count = value::amount(self.value.word(1), Unit::Count, GIVE_UP_COUNTS);
        let within_ms = value::amount(self.value.word(3), Unit::Time, TIMES);
        let (count, within_ms) = (self.checked(1, count)?, self.checked(3, within_ms)?);
        let then = self.remedy(5)?;
        self.has_words(6).then_some(GiveUp { count: count as u16, then, within_ms: within_ms as u32 })
    }

    /// What word number `index` says is to be done.
    pub fn remedy(&mut self, index: usize) -> Option<Remedy> {
        let choice = value::choice(self.value.word(index), Remedy::WORDS);
        let remedy = Remedy::ALL.get(self.checked(index, choice)?).copied()?;
        if remedy == Remedy::MarkBad && !self.says_mark_bad() {
            self.wrong(Wrong::detail(Code::Needs, Detail::Words("`mark-bad` in [host]")), self.value.at(index));
        }
        Some(remedy)
    }

    /// How long it may be missed; 0 where it is not critical.
    fn critical(&mut self) -> Option<u32> {
        let yes = value::yes(self.value.word(0));
        let is_critical = self.checked(0, yes)?;
        if !is_critical || self.value.len() == 1 {
            return self.is_one_word().then_some(if is_critical { limits::CRITICAL_MS } else { 0 });
        }
        if self.value.word(1) != b"within" || self.value.len() < 3 {
            self.wrong(Wrong::detail(Code::WordMissing, Detail::Words("within and a time")), self.value.at(1));
            return None;
        }
        let within_ms = value::amount(self.value.word(2), Unit::Time, TIMES);
        let within_ms = self.checked(2, within_ms)?;
        self.has_words(3).then_some(within_ms as u32)
    }

    /// A way, what belongs to it, and at the end `within TIME`.
    fn ready(&mut self, guest: &mut Guest) {
        let way = value::choice(self.value.word(0), "exec\0fd\0notify\0port\0file\0command\0exit");
        let Some(way) = self.checked(0, way) else { return };
        guest.ready_within_ms = limits::READY_TIMEOUT_MS;
        guest.ready_words = List::EMPTY;
        let mut words = self.value.len();
        if words > 2 && self.value.word(words - 2) == b"within" {
            let within = value::amount(self.value.word(words - 1), Unit::Time, TIMES);
            words -= 2;
            guest.ready_within_ms = self.checked(words + 1, within).unwrap_or_default() as u32;
        }
        guest.ready = match way {
            0 => {
                self.is_one_word();
                Ready::Exec
            }
            1 | 3..=5 if words < 2 => {
                let what = ["fd and its number", "port and its number", "file and its path", "command and its words"];
                let what = what.get(if way == 1 { 0 } else { way - 2 }).copied().unwrap_or_default();
                return self.wrong(Wrong::detail(Code::WordMissing, Detail::Words(what)), self.value.at(0));
            }
            1 => {
                let number = value::amount(self.value.word(1), Unit::Count, READY_FDS);
                self.ends_at(2, words);
                Ready::Fd(self.checked(1, number).unwrap_or_default() as u8)
            }
            2 => {
                self.ends_at(1, words);
                Ready::Notify
            }
            3 => {
                let number = value::amount(self.value.word(1), Unit::Count, PORTS);
                self.ends_at(2, words);
                Ready::Port(self.checked(1, number).unwrap_or_default() as u16)
            }
            4 => {
                self.checked(1, value::path(self.value.word(1)));
                self.ends_at(2, words);
                guest.ready_words = self.words(1, 2);
                Ready::File
            }
            6 => {
                self.ends_at(1, words);
                Ready::Exit
            }
            _ => {
                guest.ready_words = self.command_of(1, words).unwrap_or_default();
                Ready::Command
            }
        };
    }

    /// A command, or `notify`; at the end `every TIME`, `timeout TIME` and `failures N`, in any order.
    fn health(&mut self) -> Option<List<HealthCheck>> {
        let mut check = HealthCheck {
            command: List::EMPTY,
            every_ms: limits::HEALTH_EVERY_MS,
            timeout_ms: limits::HEALTH_TIMEOUT_MS,
            failures: limits::HEALTH_FAILURES,
        };
        let option = |word: &[u8]| words(HEALTH_OPTIONS).position(|option| option.as_bytes() == word);
        let mut seen = [false; 3];
        let mut words = self.value.len();
        while words > 2
            && let Some(index) = option(self.value.word(words - 2))
        {
            let (name, at) = (words - 2, words - 1);
            if core::mem::replace(seen.get_mut(index)?, true) {
                self.wrong(Code::WordTwice.into(), self.value.at(name));
            }
            let (unit, range) = if index == 2 { (Unit::Count, HEALTH_FAILURES) } else { (Unit::Time, HEALTH_TIMES) };
            let amount = value::amount(self.value.word(at), unit, range);
            let amount = self.checked(at, amount).unwrap_or_default() as u32;
            match index {
                0 => check.every_ms = amount,
                1 => check.timeout_ms = amount,
                _ => check.failures = amount as u16,
            }
            words -= 2;
        }
        if option(self.value.word(0)).is_some() {
            self.wrong(Wrong::detail(Code::WordMissing, Detail::Words("a command, or notify")), self.value.at(0));
            return None;
        }
        if self.value.word(0) == b"notify" {
            self.ends_at(1, words);
            if let [_, timeout, failures] = seen
                && (timeout || failures)
            {
                // A guest says in time that it is well, or it is not.
                self.wrong(Code::WordTooMany.into(), self.value.at(words));
            }
        } else {
            check.command = self.command_of(0, words)?;
        }
        let list = self.plan.health.add(&[check]);
        if list.is_err() {
            self.too_many(0, limits::GUESTS, "values of health in all (limits::GUESTS)");
        }
        list.ok()
    }

    /// Keeps some of the words.
    fn words(&mut self, first: usize, end: usize) -> List<Text> {
        let mark = self.plan.words.mark();
        for index in first..end {
            let text = self.keep(index);
            self.push_word(text, index);
        }
        self.plan.words.since(mark)
    }

    /// Reports a word too many: there should be `count`, before what stands at the end of any value of this key.
    fn ends_at(&mut self, count: usize, words: usize) {
        if words > count {
            self.wrong(Code::WordTooMany.into(), self.value.at(count));
        }
    }

    fn log(&mut self) -> Option<(u64, LogTo)> {
        match self.value.word(0) {
            b"off" => self.is_one_word().then_some((0, LogTo::Nowhere)),
            b"kmsg" => self.is_one_word().then_some((0, LogTo::Kernel)),
            // What is kept in memory besides is said for all guests.
            [b'/', ..] => Some((0, self.log_files()?)),
            _ => Some((self.amount(Unit::Bytes, LOG_SIZES)?, LogTo::Nowhere)),
        }
    }

    /// "/data/web.log 1M 4"
    fn log_files(&mut self) -> Option<LogTo> {
        let path = value::path(self.value.word(0));
        self.checked(0, path)?;
        if self.value.len() < 3 {
            let words = "a size and how many files, such as /var/log/web.log 1M 4";
            self.wrong(Wrong::detail(Code::WordMissing, Detail::Words(words)), self.value.at(0));
            return None;
        }
        let bytes = value::amount(self.value.word(1), Unit::Bytes, limits::LOG_FILE_BYTES);
        let count = value::amount(self.value.word(2), Unit::Count, limits::LOG_FILES);
        let (bytes, count) = (self.checked(1, bytes)?, self.checked(2, count)?);
        let path = self.keep(0);
        self.has_words(3).then_some(LogTo::Files { path, kib: (bytes >> 10) as u32, count: count as u8 })
    }

    fn stop(&mut self) -> List<StopStep> {
        let mark = self.plan.stop_steps.mark();
        let mut index = 0;
        while index < self.value.len() {
            let signal = value::signal(self.value.word(index));
            let Some(signal) = self.checked(index, signal) else { break };
            let kill = i32::from(signal) == libc::SIGKILL;
            let mut timeout_ms = if kill { 0 } else { limits::STOP_TIMEOUT_MS };
            let named_at = index;
            index += 1;
            if value::is_time(self.value.word(index)) {
                let time = value::amount(self.value.word(index), Unit::Time, TIMES);
                timeout_ms = self.checked(index, time).unwrap_or_default();
                index += 1;
            } else if !kill && index < self.value.len() {
                self.wrong(Code::StopTime.into(), self.value.at(named_at));
            }
            if kill && index < self.value.len() {
                self.wrong(Code::StopAfterKill.into(), self.value.at(index));
                break;
            }
            if self.plan.stop_steps.since(mark).len() == limits::STOP_STEPS {
                self.too_many(named_at, limits::STOP_STEPS, "steps (limits::STOP_STEPS)");
                break;
            }
            self.push_stop_step(StopStep { signal, timeout_ms }, self.value.at(named_at));
        }
        self.plan.stop_steps.since(mark)
    }

    fn push_stop_step(&mut self, step: StopStep, at: Span) {
        if self.plan.stop_steps.push(step).is_err() {
            let bound = Detail::Bound(2 * limits::GUESTS as u64, "steps of stop in all (twice limits::GUESTS)");
            self.diagnostics.detail(Code::TooMany, at, bound);
        }
    }

    fn list(&mut self, section: &Section, key: Key, draft: &mut Draft) {
        let guest = &mut draft.guest;
        match key {
            Key::Caps => draft.changes.caps = self.caps(section),
            Key::Features => draft.changes.features = self.features(section),
            Key::Device => guest.devices = self.devices(section),
            Key::Bind => guest.binds = self.binds(section),
            Key::Tmpfs => guest.tmpfs = self.tmpfs(section),
            Key::IoMax => guest.limits.io_max = self.io_max(section),
            Key::Env => guest.env = self.env(section),
            Key::HookCreate | Key::HookStart | Key::HookStop | Key::HookDestroy => {
                if let Some(moment) = Moment::of(key) {
                    guest.hooks[moment as usize] = self.hooks(section, key);
                }
            }
            Key::Groups => guest.groups = self.groups(section),
            Key::Rlimit => guest.rlimits = self.rlimits(section),
            Key::Sysctl => guest.sysctls = self.sysctls(section, limits::SYSCTLS, guest_may_set),
            Key::After => guest.after = self.references(section, key),
            Key::Before => guest.before = self.references(section, key),
            Key::Wants => guest.wants = self.references(section, key),
            Key::Network => guest.network = self.network(section),
            // The other lists are not keys of a guest.
            _ => {}
        }
    }

    fn env(&mut self, section: &Section) -> List<Text> {
        let mark = self.plan.words.mark();
        self.each_value(section, Key::Env, &mut |builder| {
            for index in 0..builder.value.len() {
                let word = builder.value.word(index);
                let name = word.split(|byte| *byte == b'=').next().unwrap_or_default();
                let since = builder.plan.words.since(mark);
                let strings = &builder.plan.strings;
                let has_name = |other: &Text| {
                    strings.bytes(*other).strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'='))
                };
                if name.is_empty() || name.len() == word.len() {
                    builder.wrong(Code::NotEnv.into(), builder.value.at(index));
                } else if builder.plan.words.get(since).iter().any(has_name) {
                    builder.wrong(Code::WordTwice.into(), builder.value.at(index));
                } else if since.len() == limits::COMMAND_WORDS {
                    return builder.too_many(index, limits::COMMAND_WORDS, "words (limits::COMMAND_WORDS)");
                } else {
                    let text = builder.keep(index);
                    builder.push_word(text, index);
                }
            }
        });
        self.plan.words.since(mark)
    }

    fn hooks(&mut self, section: &Section, key: Key) -> List<Hook> {
        let config = self.config;
        let mark = self.plan.hooks.mark();
        for entry in config.entries(section).filter(|entry| entry.key == Some(key)) {
            if !self.take(key, entry.value, config.form(section)) {
                continue;
            }
            let Some(command) = self.command() else { continue };
            if self.plan.hooks.since(mark).len() == limits::HOOKS {
                self.too_many(0, limits::HOOKS, "hooks for one moment (limits::HOOKS)");
                break;
            }
            if self.plan.hooks.push(Hook { command, at: At::new(entry.file, entry.line) }).is_err() {
                self.too_many(0, 4 * limits::GUESTS, "hooks in all (four times limits::GUESTS)");
                break;
            }
        }
        self.plan.hooks.since(mark)
    }

    fn groups(&mut self, section: &Section) -> List<u32> {
        let mark = self.plan.groups.mark();
        self.each_value(section, Key::Groups, &mut |builder| {
            for index in 0..builder.value.len() {
                let number = value::amount(builder.value.word(index), Unit::Count, (0, USER_MAX));
                let Some(group) = builder.checked(index, number) else { continue };
                if builder.plan.groups.since(mark).len() == limits::GROUPS {
                    return builder.too_many(index, limits::GROUPS, "groups (limits::GROUPS)");
                }
                if builder.plan.groups.push(group as u32).is_err() {
                    return builder.too_many(index, 2 * limits::GUESTS, "groups in all (twice limits::GUESTS)");
                }
            }
        });
        self.plan.groups.since(mark)
    }

    fn rlimits(&mut self, section: &Section) -> List<Rlimit> {
        let mark = self.plan.rlimits.mark();
        self.each_value(section, Key::Rlimit, &mut |builder| {
            let resource = value::rlimit(builder.value.word(0));
            let Some(resource) = builder.checked(0, resource) else { return };
            if builder.value.len() < 2 {
                let missing = Wrong::detail(Code::WordMissing, Detail::Words("a name and soft[:hard]"));
                return builder.wrong(missing, builder.value.at(0));
            }
            let pair = value::rlimit_pair(builder.value.word(1));
            let Some((soft, hard)) = builder.checked(1, pair) else { return };
            if !builder.has_words(2) {
                return;
            }
            let since = builder.plan.rlimits.since(mark);
            if builder.plan.rlimits.get(since).iter().any(|other| other.resource == resource) {
                return builder.wrong(Code::WordTwice.into(), builder.value.at(0));
            }
            if builder.plan.rlimits.push(Rlimit { resource, soft, hard }).is_err() {
                builder.too_many(0, 2 * limits::GUESTS, "per-process limits in all (twice limits::GUESTS)");
            }
        });
        self.plan.rlimits.since(mark)
    }

    fn references(&mut self, section: &Section, key: Key) -> List<GuestId> {
        let mark = self.plan.references.mark();
        self.each_value(section, key, &mut |builder| {
            for index in 0..builder.value.len() {
                let Some(id) = builder.reference(index) else { continue };
                if builder.plan.references.push(id).is_err() {
                    return builder.too_many(index, limits::DEPENDENCIES, "dependencies (limits::DEPENDENCIES)");
                }
            }
        });
        self.plan.references.since(mark)
    }

    fn network(&mut self, section: &Section) -> Network {
        let mut network = None;
        self.each_value(section, Key::Network, &mut |builder| {
            let choice = value::choice(builder.value.word(0), "none\0host");
            match choice {
                Ok(_) if network.is_some() => {
                    builder.wrong(Code::NetworkTwice.into(), builder.value.at(0));
                }
                Ok(index) => {
                    builder.has_words(1);
                    network = Some(if index == 0 { Network::None } else { Network::Host });
                }
                Err(wrong) if builder.value.len() == 1 && wrong.near != crate::config::diagnostic::Near::Nothing => {
                    builder.wrong(wrong, builder.value.at(0));
                }
                Err(_) => builder.wrong(Code::NotSupported.into(), builder.value.at(0)),
            }
        });
        network.unwrap_or(Network::None)
    }

    /// What was not said, and what must agree.
    pub fn finish(&mut self, section: &Section, draft: Draft) -> Guest {
        let Draft { mut guest, kind, changes, ephemeral, readonly, console } = draft;
        let run = self.config.is_run(section);
        guest.kind = match kind {
            Some(kind) => kind,
            None => {
                if !run && !is_set(&guest.asked, Key::Kind) {
                    self.diagnostics.error(Code::KindMissing, section.name);
                }
                Kind::App
            }
        };
        guest.has_console = guest.kind != Kind::Service && console.unwrap_or(guest.kind == Kind::Os);
        self.root(section, &mut guest, ephemeral, readonly);
        self.defaults(section, &mut guest, run);
        if self.plan.health(&guest).is_some_and(|check| check.command.is_empty()) && guest.ready != Ready::Notify {
            let at = self.asked_at(section, Key::Health);
            self.diagnostics.detail(Code::Needs, at, Detail::Words("`ready = notify`"));
        }
        if guest.critical_within_ms > 0 && self.plan.critical().count() == limits::CRITICAL {
            let at = self.asked_at(section, Key::Critical);
            let bound = Detail::Bound(limits::CRITICAL as u64, "critical guests (limits::CRITICAL)");
            self.diagnostics.detail(Code::TooMany, at, bound);
        }
        self.limits_agree(section, &guest);
        self.users_agree(section, &guest);
        self.confinement(section, &mut guest, changes);
        self.targets_agree(section, &guest);
        if guest.network == Network::Host && guest.kind != Kind::Service {
            let strings = &self.plan.strings;
            if self.plan.sysctls.get(guest.sysctls).iter().any(|sysctl| strings.bytes(sysctl.path).starts_with(b"net/"))
            {
                let at = self.asked_at(section, Key::Sysctl);
                self.diagnostics.error(Code::NetSysctl, at);
            }
        }
        guest
    }

    fn root(&mut self, section: &Section, guest: &mut Guest, ephemeral: Option<bool>, readonly: Option<bool>) {
        if guest.kind == Kind::Service {
            return;
        }
        if ephemeral == Some(true) && readonly == Some(true) {
            let at = self.asked_at(section, Key::Readonly);
            self.diagnostics.detail(Code::Contradiction, at, Detail::Key(Key::Ephemeral));
        }
        if is_set(&guest.asked, Key::Root) && is_set(&guest.asked, Key::Image) {
            let at = self.asked_at(section, Key::Image);
            self.diagnostics.detail(Code::Contradiction, at, Detail::Key(Key::Root));
        }
        let own_root = [Key::Root, Key::Template, Key::Image].iter().any(|key| is_set(&guest.asked, *key));
        let run = self.config.is_run(section);
        if !own_root && !run {
            self.diagnostics.error(Code::RootMissing, section.name);
        }
        guest.layer = match (ephemeral, readonly) {
            (Some(true), _) => Layer::Memory,
            (_, Some(true)) => Layer::ReadOnly,
            // The host's own root is never written to.
            _ if !own_root => Layer::Memory,
            (_, Some(false)) => Layer::Shared,
            // Most images cannot be written at all.
            _ if guest.kind == Kind::Os && is_set(&guest.asked, Key::Image) => Layer::Memory,
            _ if guest.kind == Kind::Os => Layer::Shared,
            _ => Layer::ReadOnly,
        };
    }

    fn defaults(&mut self, section: &Section, guest: &mut Guest, run: bool) {
        let asked = guest.asked;
        if guest.directory.is_empty() {
            guest.directory = self.slash;
        }
        if guest.kind == Kind::Service {
            guest.users = None;
        } else if guest.hostname.is_empty() {
            guest.hostname = guest.name;
        }
        if !is_set(&asked, Key::Command) {
            if guest.kind == Kind::Os {
                guest.command = self.init();
            } else {
                self.diagnostics.error(Code::CommandMissing, section.name);
            }
        }
        if run && !is_set(&asked, Key::Restart) {
            guest.restart = Restart::Never;
        }
        if !guest.tty.is_empty() {
            if guest.log_bytes > 0 || guest.log_to != LogTo::Nowhere {
                let at = self.asked_at(section, Key::Log);
                self.diagnostics.detail(Code::Contradiction, at, Detail::Key(Key::Tty));
            }
        } else if !is_set(&asked, Key::Log) || !guest.log_to.path().is_empty() {
            guest.log_bytes = self.log_bytes;
        }
        let (strings, path) = (&self.plan.strings, guest.log_to.path());
        let is_same = |other: &Guest| strings.bytes(other.log_to.path()) == strings.bytes(path);
        if !path.is_empty() && self.plan.guests.iter().any(is_same) {
            let at = self.asked_at(section, Key::Log);
            self.diagnostics.error(Code::LogTwice, at);
        }
    }

    fn init(&mut self) -> List<Text> {
        if self.init.is_empty() {
            let text = self.keep_bytes(b"/sbin/init", Span::default());
            self.init = self.plan.words.add(&[text]).unwrap_or_default();
        }
        self.init
    }

    fn limits_agree(&mut self, section: &Section, guest: &Guest) {
        for key in guest.limits.above_memory().into_iter().flatten() {
            let at = self.asked_at(section, key);
            let memory = guest.limits.memory_bytes.unwrap_or_default();
            self.diagnostics.detail(Code::AboveMemory, at, Detail::Bytes(memory));
        }
    }

    fn users_agree(&mut self, section: &Section, guest: &Guest) {
        let Some(users) = guest.users else { return };
        let more = self.plan.more_users.get(guest.more_users).iter();
        let count = more.map(|users| u64::from(users.count)).sum::<u64>() + u64::from(users.count);
        let outside = Detail::Bound(count, "users");
        if u64::from(guest.user.uid) >= count || u64::from(guest.user.gid) >= count {
            let at = self.asked_at(section, Key::User);
            self.diagnostics.detail(Code::UserOutside, at, outside);
        }
        if self.plan.groups.get(guest.groups).iter().any(|group| u64::from(*group) >= count) {
            let at = self.asked_at(section, Key::Groups);
            self.diagnostics.detail(Code::UserOutside, at, outside);
        }
    }
}

/// Whether a guest has its own of this kernel setting: those of a network, IPC or mount namespace (sysctl(8),
/// ipc_namespaces(7), mq_overview(7)).
fn guest_may_set(path: &[u8]) -> Result<(), Code> {
    const OWN: &[&[u8]] = &[b"net/", b"kernel/msg", b"kernel/shm", b"fs/mqueue/"];
    if path == b"kernel/hostname" {
        return Err(Code::HostnameSysctl);
    }
    if path == b"kernel/sem" || OWN.iter().any(|prefix| path.starts_with(prefix)) {
        return Ok(());
    }
    Err(Code::GuestSysctl)
}
