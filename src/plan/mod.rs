//! `Config` → [`Plan`]: everything decided, everything checked. Pure.
//!
//! | file | noun |
//! | --- | --- |
//! | `build` | the walk over a config's sections; `[host]` |
//! | [`change`] | changes of a guest's limits while the host is up |
//! | `guest` | the keys of a guest, their defaults, and what must agree |
//! | `confinement` | what a guest may do: `caps`, `seccomp`, `features`, `nesting`, `device` |
//! | `capability`, `call` | the capabilities and system calls that can be given and taken, by name |
//! | [`difference`] | what a plan changes that follows another |
//! | `extents` | all the users of a guest |
//! | `files` | what a guest sees besides its root: `bind`, `tmpfs` |
//! | `io` | `io-max` |
//! | `follow` | a plan in place of another that is being carried out |
//! | `hardening` | what is taken from everybody on the host |
//! | [`overcommit`] | what guests are given that a host does not have |
//! | `mounts` | file systems and swap of the host |
//! | [`links`] | the host's network links |
//! | `order` | dependencies and their cycles |
//! | `record` | who has which users, as a text |
//! | [`show`] | values as a config has them |
//! | `users` | ranges of host users |
//! | `value` | what a word can mean |

mod build;
pub mod call;
pub mod capability;
pub mod change;
mod confinement;
pub mod difference;
mod extents;
mod files;
mod follow;
mod guest;
pub mod hardening;
mod io;
pub mod links;
mod mounts;
mod order;
pub mod overcommit;
pub mod record;
pub mod show;
pub mod users;
mod value;

use core::ffi::CStr;

use crate::config::key::Key;
use crate::config::{Config, Diagnostics};
use crate::fault::{Fault, Step};
use crate::limits;
use crate::text::{List, Pool, Strings, Text, word};

use change::Keys;
pub use extents::Extents;
pub use mounts::Mount;
use users::Stock;

/// Where a key stands: file and line, packed; `At::NOWHERE` where no config said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At(u32);

impl At {
    /// A default that nobody wrote.
    pub const NOWHERE: At = At(0);
    /// Said while the host was up: no config is so long that it has this line.
    pub const LIVE: At = At(u32::MAX);

    /// Line `line` (from 1) of file number `file`.
    #[must_use]
    pub fn new(file: u8, line: u32) -> At {
        At(u32::from(file) << 24 | line.min(0x00ff_ffff))
    }

    /// The file's number in [`Plan::files`], and the line; nothing where no config said it.
    #[must_use]
    pub fn place(self) -> Option<(u8, u32)> {
        (!matches!(self, At::NOWHERE | At::LIVE)).then_some(((self.0 >> 24) as u8, self.0 & 0x00ff_ffff))
    }
}

/// A signal's number from its name: `SIGTERM`, `SIGRTMIN+3`; nothing where there is none of that name.
#[must_use]
pub fn signal_number(name: &[u8]) -> Option<u8> {
    value::signal(name).ok()
}

/// A guest's (or service's) place in [`Plan::guests`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestId(pub u16);

/// All that this host will do. A `Plan` cannot be wrong: only [`crate::plan`] makes one, and it checks everything.
///
/// The small parts stand first: together with the first strings they take one page.
#[derive(Debug)]
#[repr(C)]
pub struct Plan {
    /// The host itself.
    pub host: Host,
    /// Where the strings of the config end.
    config_strings: usize,
    /// The names of the config files; [`At::place`] counts in it.
    pub files: heapless::Vec<Text, { limits::CONFIG_FILES }>,
    /// Every string.
    pub strings: Strings<{ limits::STRINGS_BYTES }>,
    /// What the config says of the host's links, in its order.
    pub links: heapless::Vec<links::Setting, { limits::LINK_SETTINGS }>,
    /// Guests and services, in the order of the config, each as it is or, while it is down, as it starts. After the config
    /// was read again each keeps its place, and there are free ones between them: see [`Plan::guest`].
    pub guests: heapless::Vec<Guest, { limits::GUESTS }>,
    /// What guests are to be from their next start on, where that is something else.
    pub next: heapless::Vec<Next, { limits::GUESTS }>,
    /// The pool of commands, environments and other lists of words.
    pub words: Pool<Text, { limits::WORDS }>,
    /// The pool of dependencies: a guest starts after these are ready.
    pub dependencies: Pool<GuestId, { limits::DEPENDENCIES }>,
    /// The pool of stop steps.
    pub stop_steps: Pool<StopStep, { 2 * limits::GUESTS }>,
    /// The pool of supplementary groups.
    pub groups: Pool<u32, { 2 * limits::GUESTS }>,
    /// The pool of per-process limits.
    pub rlimits: Pool<Rlimit, { 2 * limits::GUESTS }>,
    /// The pool of kernel settings.
    pub sysctls: Pool<Sysctl, { 2 * limits::GUESTS }>,
    /// The pool of ranges of users after a guest's first.
    pub more_users: Pool<Users, { limits::GUESTS }>,
    /// The pool of files and directories of the host that guests see.
    pub binds: Pool<Bind, { 2 * limits::GUESTS }>,
    /// The pool of file systems in memory.
    pub tmpfs: Pool<Tmpfs, { 2 * limits::GUESTS }>,
    /// The pool of devices that guests may use.
    pub devices: Pool<Device, { 2 * limits::GUESTS }>,
    /// The pool of limits of disks.
    pub io_max: Pool<IoMax, { 2 * limits::GUESTS }>,
    /// The pool of hooks.
    pub hooks: Pool<Hook, { 4 * limits::GUESTS }>,
    /// The pool of how guests are seen to be well.
    pub health: Pool<HealthCheck, { limits::GUESTS }>,
    /// The pool of file systems and swap of the host.
    pub mounts: Pool<Mount, { limits::MOUNTS }>,
    /// Profiles, while a plan is built.
    pub(crate) profiles: heapless::Vec<guest::Draft, { limits::PROFILES }>,
    /// References of guests to each other as they were written, while a plan is built.
    references: Pool<GuestId, { limits::DEPENDENCIES }>,
}

impl Plan {
    /// An empty plan; all zero, so that a static one takes no room in the file.
    #[must_use]
    pub const fn new() -> Self {
        Plan {
            strings: Strings::new(),
            files: heapless::Vec::new(),
            host: Host::NEW,
            links: heapless::Vec::new(),
            guests: heapless::Vec::new(),
            next: heapless::Vec::new(),
            words: Pool::new(),
            dependencies: Pool::new(),
            stop_steps: Pool::new(),
            groups: Pool::new(),
            rlimits: Pool::new(),
            sysctls: Pool::new(),
            more_users: Pool::new(),
            binds: Pool::new(),
            tmpfs: Pool::new(),
            devices: Pool::new(),
            io_max: Pool::new(),
            hooks: Pool::new(),
            health: Pool::new(),
            mounts: Pool::new(),
            profiles: heapless::Vec::new(),
            references: Pool::new(),
            config_strings: 0,
        }
    }

    /// Makes this the plan of `config`. Whether it is one: nothing was wrong, here or before; if not, it is not to be
    /// used, and what is wrong is in `diagnostics`.
    #[must_use]
    pub fn build(&mut self, config: &Config, diagnostics: &mut Diagnostics) -> bool {
        self.build_from(config, diagnostics, &Stock::ALL)
    }

    /// The same, with what ranges of users are handed out from.
    #[must_use]
    pub fn build_from(&mut self, config: &Config, diagnostics: &mut Diagnostics, stock: &Stock<'_>) -> bool {
        build::build(config, self, diagnostics, stock)
    }

    /// Forgets all but how the host is rescued and goes down: of a config that cannot be used that much is.
    pub fn keep_rescue(&mut self) {
        let Host { emergency, shutdown_timeout_ms, .. } = self.host;
        self.host = Host { emergency, shutdown_timeout_ms, ..Host::NEW };
        self.links.clear();
        self.guests.clear();
        self.next.clear();
    }

    /// Forgets everything. Touches no memory that was never used: each page that was is PID 1's for good.
    pub fn clear(&mut self) {
        self.strings.clear();
        self.files.clear();
        self.host = Host::NEW;
        self.links.clear();
        if !self.guests.is_empty() {
            self.guests.clear();
        }
        if !self.next.is_empty() {
            self.next.clear();
        }
        self.words.clear();
        self.dependencies.clear();
        self.stop_steps.clear();
        self.groups.clear();
        self.rlimits.clear();
        self.sysctls.clear();
        self.more_users.clear();
        self.binds.clear();
        self.tmpfs.clear();
        self.devices.clear();
        self.io_max.clear();
        self.hooks.clear();
        self.health.clear();
        self.mounts.clear();
        if !self.profiles.is_empty() {
            self.profiles.clear();
        }
        self.references.clear();
        self.config_strings = 0;
    }

    /// The guest or service called `name`.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<GuestId> {
        let is = |guest: &Guest| !guest.is_free() && self.strings.bytes(guest.name) == name;
        let place = self.guests.iter().position(is)?;
        Some(GuestId(place as u16))
    }

    /// The guest or service with this number; nothing for a free place.
    #[must_use]
    pub fn guest(&self, id: GuestId) -> Option<&Guest> {
        self.guests.get(usize::from(id.0)).filter(|guest| !guest.is_free())
    }

    /// What guest `id` is to be from its next start on, where that is something else.
    #[must_use]
    pub fn next(&self, id: GuestId) -> Option<&Next> {
        self.next.iter().find(|next| next.id == id)
    }

    /// What guest `id` has otherwise at its next start.
    #[must_use]
    pub fn pending(&self, id: GuestId) -> Keys {
        self.next(id).map_or(Keys::default(), |next| next.keys)
    }

    /// All the users of `guest`.
    #[must_use]
    pub fn users(&self, guest: &Guest) -> Extents {
        // It was checked that there are no more.
        Extents::new(self.ranges(guest)).unwrap_or(Extents::NONE)
    }

    /// Every guest that has users or is to have them: once more those that have others from their next start on, as they
    /// are then.
    pub fn all(&self) -> impl Iterator<Item = &Guest> {
        let others = self.next.iter().filter(|next| next.keys.has(Key::Userns)).map(|next| &next.guest);
        others.chain(self.guests.iter().filter(|guest| !guest.is_free()))
    }

    fn ranges(&self, guest: &Guest) -> impl Iterator<Item = Users> {
        guest.users.into_iter().chain(self.more_users.get(guest.more_users).iter().copied())
    }

    /// How `guest` is stopped; what is left after the last step is killed.
    #[must_use]
    pub fn stop(&self, guest: &Guest) -> &[StopStep] {
        match guest.kind {
            _ if !guest.stop.is_empty() => self.stop_steps.get(guest.stop),
            Kind::Os => &STOP_OS,
            Kind::App | Kind::Service => &STOP,
        }
    }

    /// Whether there are services, or programs of the host that are run for guests.
    #[must_use]
    pub fn needs_services(&self) -> bool {
        let is_so = |guest: &Guest| !guest.is_free() && (guest.kind == Kind::Service || guest.has_hooks());
        self.guests.iter().any(is_so) || self.next.iter().any(|next| is_so(&next.guest))
    }

    /// The hooks of `guest` for `moment`, in their order.
    #[must_use]
    pub fn hooks(&self, guest: &Guest, moment: Moment) -> &[Hook] {
        self.hooks.get(guest.hooks[moment as usize])
    }

    /// The hook that `fault` is about.
    #[must_use]
    pub fn hook_of(&self, guest: &Guest, fault: Fault) -> Option<&Hook> {
        let moment = fault.step.key().filter(|_| fault.step.is_hook()).and_then(Moment::of)?;
        self.hooks(guest, moment).get((fault.detail >> 16) as usize)
    }

    /// Where the config has what `fault` of a start of `guest` is about; nothing for a default.
    #[must_use]
    pub fn place_of_fault(&self, guest: &Guest, fault: Fault) -> Option<(&str, u32)> {
        match self.hook_of(guest, fault) {
            Some(hook) => self.place(hook.at),
            None => self.place_of(guest, fault.step.key()?),
        }
    }

    /// How `guest` is seen to be well, where it is.
    #[must_use]
    pub fn health(&self, guest: &Guest) -> Option<&HealthCheck> {
        self.health.get(guest.health).first()
    }

    /// The guests that the host is ill without.
    pub fn critical(&self) -> impl Iterator<Item = GuestId> {
        let each = self.guests.iter().enumerate();
        each.filter(|(_, guest)| guest.critical_within_ms > 0 && !guest.is_free())
            .map(|(index, _)| GuestId(index as u16))
    }

    /// Whether it is kept how each boot ended: where the config has something to do with that.
    #[must_use]
    pub fn keeps_endings(&self) -> bool {
        let keys = [Key::State, Key::Healthy, Key::Reset, Key::Watchdog];
        keys.iter().any(|key| guest::is_set(&self.host.asked, *key))
    }

    /// The directory on storage that stays where the host keeps how each boot ended.
    #[must_use]
    pub fn state_path(&self) -> &CStr {
        if self.host.state.is_empty() { STATE } else { self.strings.c_str(self.host.state) }
    }

    /// The same, as text.
    #[must_use]
    pub fn state(&self) -> &str {
        self.state_path().to_str().unwrap_or_default()
    }

    /// Where `guest`, or the host for all of them, was told `key`; nothing for a default.
    #[must_use]
    pub fn place_of(&self, guest: &Guest, key: Key) -> Option<(&str, u32)> {
        let asked = if key == Key::Reserve { &self.host.asked } else { &guest.asked };
        self.place(*asked.get(key as usize)?)
    }

    /// The file's name and the line of a place; nothing for a default.
    #[must_use]
    pub fn place(&self, at: At) -> Option<(&str, u32)> {
        let (file, line) = at.place()?;
        Some((self.strings.str(*self.files.get(usize::from(file))?), line))
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

/// `state` where the config does not say.
const STATE: &CStr = c"/var/lib/inn";
/// `stop` where the config does not say.
const STOP: [StopStep; 2] = [StopStep { signal: libc::SIGTERM as u8, timeout_ms: limits::STOP_TIMEOUT_MS }, KILL];
/// The same of a distribution: SIGRTMIN+3 is its power-off (systemd.io/CONTAINER_INTERFACE), or it is busybox, which takes
/// no notice of that: its power-off is SIGUSR2.
const STOP_OS: [StopStep; 3] = [
    StopStep { signal: 37, timeout_ms: limits::STOP_TIMEOUT_OS_MS },
    StopStep { signal: libc::SIGUSR2 as u8, timeout_ms: limits::STOP_TIMEOUT_MS },
    KILL,
];
const KILL: StopStep = StopStep { signal: libc::SIGKILL as u8, timeout_ms: 0 };

/// What `[host]` says.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Host name; empty where it stays as it is.
    pub hostname: Text,
    /// Kernel modules to load, in order.
    pub modules: List<Text>,
    /// Kernel settings.
    pub sysctls: List<Sysctl>,
    /// File systems that are mounted at boot, in this order.
    pub mounts: List<Mount>,
    /// What is swapped to.
    pub swaps: List<Mount>,
    /// Bound on the whole power-off, milliseconds.
    pub shutdown_timeout_ms: u64,
    /// Program and arguments of the emergency shell; empty: the first shell found.
    pub emergency: List<Text>,
    /// Where PID 1 and the emergency shell speak; empty for the kernel's console.
    pub console: Text,
    /// Its speed, bits a second; 0 where it stays as it is.
    pub console_speed: u32,
    /// The watchdog's device; empty for none.
    pub watchdog: Text,
    /// Its time-out, seconds.
    pub watchdog_s: u32,
    /// Program and arguments that say whether this boot is a good one; empty for none.
    pub healthy: List<Text>,
    /// How long it may take until they are run and have said yes, milliseconds.
    pub healthy_within_ms: u64,
    /// What is done where they have not.
    pub healthy_else: Remedy,
    /// Program and arguments that tell the boot loader that this boot is a bad one; empty for none.
    pub mark_bad: List<Text>,
    /// See [`Plan::state`].
    state: Text,
    /// Directories that a factory reset empties.
    pub resets: List<Text>,
    /// Memory that guests cannot take from the host, bytes.
    pub reserve_bytes: Option<u64>,
    /// What is taken from everybody: a set of [`hardening::NAMES`].
    pub hardening: hardening::Items,
    /// Where each key was said.
    pub asked: Asked,
}

impl Host {
    const NEW: Host = Host {
        hostname: Text::EMPTY,
        modules: List::EMPTY,
        sysctls: List::EMPTY,
        mounts: List::EMPTY,
        swaps: List::EMPTY,
        shutdown_timeout_ms: 0,
        emergency: List::EMPTY,
        console: Text::EMPTY,
        console_speed: 0,
        watchdog: Text::EMPTY,
        watchdog_s: 0,
        healthy: List::EMPTY,
        healthy_within_ms: 0,
        healthy_else: Remedy::Stop,
        mark_bad: List::EMPTY,
        state: Text::EMPTY,
        resets: List::EMPTY,
        reserve_bytes: None,
        hardening: 0,
        asked: [At::NOWHERE; Key::COUNT],
    };
}

/// Where a guest's output goes, besides memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// Nowhere.
    Nowhere,
    /// The kernel's log.
    Kernel,
    /// Files.
    Files {
        /// The newest; the older ones have `.1`, `.2` and so on behind that.
        path: Text,
        /// KiB of each, at most.
        kib: u32,
        /// How many there are, at most.
        count: u8,
    },
}

impl LogTo {
    /// The newest file; empty where there is none.
    #[must_use]
    pub fn path(self) -> Text {
        if let LogTo::Files { path, .. } = self { path } else { Text::EMPTY }
    }
}

/// Where each key of a section was said.
pub type Asked = [At; Key::COUNT];

/// What a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An unmodified distribution with its own init.
    Os,
    /// One program, tighter defaults.
    App,
    /// A process of the host itself: own cgroup and limits, no namespaces.
    Service,
}

/// A guest or service.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// Its name: one to [`limits::NAME_BYTES`] of `a-z A-Z 0-9 - _ .`, first a letter or digit.
    pub name: Text,
    /// What it is.
    pub kind: Kind,
    /// Free text.
    pub description: Text,
    /// The directory that is its root; empty for a service, for one with an image, and for `inn run` without a root (the
    /// host's own, read-only).
    pub root: Text,
    /// The squashfs, erofs or ext4 file that is its root; empty for a directory.
    pub image: Text,
    /// What it may do to its root.
    pub layer: Layer,
    /// Program and arguments, at least one word.
    pub command: List<Text>,
    /// `NAME=VALUE` words; nothing else is in its environment but what `guest` adds for every guest.
    pub env: List<Text>,
    /// Whom it runs as, inside.
    pub user: User,
    /// Supplementary groups, inside.
    pub groups: List<u32>,
    /// Working directory, inside; `/` where not given.
    pub directory: Text,
    /// Host name inside.
    pub hostname: Text,
    /// A service's terminal; empty for none.
    pub tty: Text,
    /// Resource limits.
    pub limits: Limits,
    /// Per-process limits.
    pub rlimits: List<Rlimit>,
    /// Kernel settings inside.
    pub sysctls: List<Sysctl>,
    /// Its users as the host sees them; nothing: the host's own (`userns = none`, services).
    pub users: Option<Users>,
    /// Further ranges: inside, each begins where the one before ends.
    pub more_users: List<Users>,
    /// What it may do.
    pub confinement: Confinement,
    /// Devices of the host that it may use.
    pub devices: List<Device>,
    /// Files and directories of the host that it sees.
    pub binds: List<Bind>,
    /// File systems in memory, those that every guest has included where a size was given.
    pub tmpfs: List<Tmpfs>,
    /// Its network.
    pub network: Network,
    /// It starts when these are ready (`after`, `wants`, and `before` turned round).
    pub after: List<GuestId>,
    /// Starting it starts these too.
    pub wants: List<GuestId>,
    /// Starts with the host.
    pub autostart: bool,
    /// What happens when it ends by itself.
    pub restart: Restart,
    /// Back-off: first and greatest delay, milliseconds.
    pub restart_delay_ms: (u64, u64),
    /// When it is no longer started again.
    pub give_up: GiveUp,
    /// How long it may not be ready before the host counts as ill, milliseconds; 0 where that is no matter.
    pub critical_within_ms: u32,
    /// When it counts as ready.
    pub ready: Ready,
    /// The path or the command that [`Guest::ready`] is about.
    pub ready_words: List<Text>,
    /// What is run on the host at each [`Moment`] of its life.
    pub hooks: [List<Hook>; Moment::COUNT],
    /// Whether it is well, one or none.
    pub health: List<HealthCheck>,
    /// How long it may take to be ready once its program runs, milliseconds.
    pub ready_within_ms: u32,
    /// How it is stopped, where the config says; see [`Plan::stop`].
    pub stop: List<StopStep>,
    /// Bytes of its output kept in memory; 0 for none.
    pub log_bytes: u64,
    /// Where its output goes besides.
    pub log_to: LogTo,
    /// Whether it has a terminal, which is its standard input, output and error.
    pub has_console: bool,
    /// Where each key was said, profiles included.
    pub asked: Asked,
    /// What `features` names, a bit each.
    features: confinement::Features,
    /// The config has it no more: it is there until it is down.
    pub is_removed: bool,
    /// Those that start after it, as it says itself; of use only while a plan is built.
    before: List<GuestId>,
    /// Whether `users` was given as numbers; of use only while a plan is built.
    users_given: bool,
}

impl Guest {
    /// A place in a plan that no guest has.
    pub const FREE: Guest = Guest { users: None, ..guest::Draft::NEW.guest };

    /// Whether this is no guest.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.name.is_empty()
    }

    /// Whether commands are run inside to see whether it is ready, or well.
    #[must_use]
    pub fn runs_checks(&self) -> bool {
        self.ready == Ready::Command || !self.health.is_empty()
    }

    /// Whether something is known of how it is besides its state.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        !matches!(self.ready, Ready::Exec | Ready::Exit | Ready::Fd(_)) || !self.health.is_empty() || self.has_hooks()
    }

    /// Whether anything is run on the host at a moment of its life.
    #[must_use]
    pub fn has_hooks(&self) -> bool {
        self.hooks.iter().any(|hooks| !hooks.is_empty())
    }

    /// Whether only a program of the kernel keeps it from devices. No mount of an app's lets it use any but the harmless
    /// ones in its `/dev`, and it mounts nothing; a distribution may take that from a mount.
    #[must_use]
    pub fn needs_device_guard(&self) -> bool {
        self.kind == Kind::Os || self.kind == Kind::App && (self.users.is_none() || !self.devices.is_empty())
    }
}

/// A guest from its next start on.
#[derive(Clone, Copy, Debug)]
pub struct Next {
    /// Which guest.
    pub id: GuestId,
    /// What it is to be.
    pub guest: Guest,
    /// What is otherwise now.
    pub keys: Keys,
    /// What of this can be changed while it runs.
    pub live: Keys,
}

/// What a guest may do to its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Writes go to the directory itself.
    Shared,
    /// Nothing can be written.
    ReadOnly,
    /// Writes go to memory, and are gone when it stops.
    Memory,
}

/// What a guest may do: the bounds of its programs, from its kind and from what the config adds and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// The capabilities it can ever have, a bit each: see [`capability`].
    pub capabilities: u64,
    /// Those of them that were given by word: its program has them whoever it runs as.
    pub given: u64,
    /// Whether its system calls are filtered.
    pub filter: bool,
    /// Calls of [`call`] that the filter lets through all the same.
    pub opened: call::Calls,
    /// Whether it may have guests of its own: namespaces of users within its own.
    pub nesting: bool,
}

/// A device of the host that a guest may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its path on the host and inside, below `/dev`.
    pub path: Text,
    /// What is allowed: bits of [`Device::READ`], [`Device::WRITE`], [`Device::MAKE`].
    pub access: u8,
}

impl Device {
    /// `r`
    pub const READ: u8 = 1;
    /// `w`
    pub const WRITE: u8 = 2;
    /// `m`: to make device files of it.
    pub const MAKE: u8 = 4;
}

/// A file or directory of the host that a guest sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Its path on the host.
    pub source: Text,
    /// Its path inside.
    pub target: Text,
    /// What is forbidden there: bits of [`Bind::READ_ONLY`] and others. Device files never work there.
    pub flags: u8,
}

impl Bind {
    /// `ro`
    pub const READ_ONLY: u8 = 1;
    /// `nosuid`
    pub const NO_SUID: u8 = 2;
    /// `nodev`
    pub const NO_DEV: u8 = 4;
    /// `noexec`
    pub const NO_EXEC: u8 = 8;
}

/// A file system in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Its path inside.
    pub target: Text,
    /// What it can hold.
    pub bytes: u64,
}

/// Limits of one disk (io.max); nothing where the config names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoMax {
    /// The disk's path on the host, below `/dev`.
    pub device: Text,
    /// rbps, wbps: bytes a second read and written; riops, wiops: operations a second. In the order of [`IoMax::NAMES`];
    /// `u64::MAX` is no limit, said.
    pub limits: [Option<u64>; 4],
}

impl IoMax {
    /// What the kernel calls the limits.
    pub const NAMES: &str = "rbps\0wbps\0riops\0wiops";
}

/// A user and its group, as numbers inside the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A range of host users: inside they are `0..count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Users {
    /// The host's number of the guest's root.
    pub base: u32,
    /// How many.
    pub count: u32,
}

impl Users {
    /// Whether some user is in both.
    #[must_use]
    pub fn overlaps(self, other: Users) -> bool {
        let end = |users: Users| u64::from(users.base) + u64::from(users.count);
        u64::from(self.base) < end(other) && u64::from(other.base) < end(self)
    }
}

/// Resource limits; nothing where the config names none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// memory.max, bytes.
    pub memory_bytes: Option<u64>,
    /// memory.high, bytes.
    pub memory_high_bytes: Option<u64>,
    /// memory.low, bytes.
    pub memory_low_bytes: Option<u64>,
    /// memory.swap.max, bytes.
    pub swap_bytes: Option<u64>,
    /// cpu.max, thousandths of a CPU.
    pub cpus_milli: Option<u32>,
    /// cpu.weight.
    pub cpu_weight: Option<u16>,
    /// cpuset.cpus, in the kernel's list format; empty for all.
    pub cpuset: Text,
    /// io.weight.
    pub io_weight: Option<u16>,
    /// io.max.
    pub io_max: List<IoMax>,
    /// pids.max; `limits::PROCESSES_DEFAULT` where not asked for (then the key's `asked` is nowhere).
    pub processes: u32,
    /// oom_score_adj.
    pub oom_score: i16,
    /// memory.oom.group.
    pub oom_group: bool,
}

/// A per-process limit (getrlimit(2)); `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// RLIMIT_ number.
    pub resource: u8,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// A kernel setting: path below /proc/sys, and what is written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// With slashes, without the leading one: `net/ipv4/ip_forward`.
    pub path: Text,
    /// Its value.
    pub value: Text,
}

/// A guest's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// What happens when a guest ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It stays down.
    Never,
    /// It is started again unless it exited with 0.
    OnFailure,
    /// It is started again.
    Always,
}

/// What is done where a guest or the host does not come to be as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Remedy {
    /// It stays as it is.
    Stop,
    /// There is a shell on the console.
    Rescue,
    /// The host starts again.
    Reboot,
    /// The same, and the boot loader is told before.
    MarkBad,
}

impl Remedy {
    /// All of them.
    pub const ALL: [Remedy; 4] = [Remedy::Stop, Remedy::Rescue, Remedy::Reboot, Remedy::MarkBad];
    const WORDS: &str = "stop\0rescue\0reboot\0mark-bad";

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        word(Remedy::WORDS, self as usize)
    }
}

/// When a guest that ends by itself is no longer started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveUp {
    /// When it has ended so often; 0: never.
    pub count: u16,
    /// What is done then.
    pub then: Remedy,
    /// So often in so many milliseconds, counted from the first of them.
    pub within_ms: u32,
}

impl GiveUp {
    /// It is always started again.
    pub const NEVER: GiveUp = GiveUp { count: 0, then: Remedy::Stop, within_ms: 0 };
}

/// When a guest counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// When its program runs.
    Exec,
    /// When its program has ended with 0: a step that others come after, done once.
    Exit,
    /// When it writes a newline to this descriptor (3 or above).
    Fd(u8),
    /// When it says so on its notification socket (sd_notify(3)).
    Notify,
    /// When something in its network listens on this TCP port.
    Port(u16),
    /// When there is something at the path that is the only one of [`Guest::ready_words`].
    File,
    /// When the command of [`Guest::ready_words`] exits with 0, inside.
    Command,
}

/// A host program that is run at a moment of a guest's life.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Program and arguments.
    pub command: List<Text>,
    /// Where the config says so.
    pub at: At,
}

/// The moments of a guest's life at which hooks are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Moment {
    /// Nothing of it exists yet but its cgroup.
    Create,
    /// It exists, with all its namespaces, and its program does not run yet.
    Start,
    /// None of its processes is left; its cgroup is.
    Stop,
    /// Nothing of it is left.
    Destroy,
}

impl Moment {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// All of them, in the order of a life.
    pub const ALL: [Moment; Moment::COUNT] = [Moment::Create, Moment::Start, Moment::Stop, Moment::Destroy];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        ["create", "start", "stop", "destroy"][self as usize]
    }

    /// The step that runs its hooks.
    #[must_use]
    pub fn step(self) -> Step {
        [Step::HookCreate, Step::HookStart, Step::HookStop, Step::HookDestroy][self as usize]
    }

    /// The moment whose hooks `key` says.
    #[must_use]
    pub fn of(key: Key) -> Option<Moment> {
        Moment::ALL.into_iter().find(|moment| moment.step().key() == Some(key))
    }
}

/// How it is seen whether a guest that is ready is well.
#[derive(Clone, Copy, Debug)]
pub struct HealthCheck {
    /// Program and arguments, run inside; well is who exits with 0. None: the guest says it on its notification socket.
    pub command: List<Text>,
    /// How often, milliseconds.
    pub every_ms: u32,
    /// What takes longer has failed, milliseconds.
    pub timeout_ms: u32,
    /// After so many failures in a row it is stopped, and `restart` says what follows.
    pub failures: u16,
}

/// One step of a stop: this signal, then so long for it to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopStep {
    /// Signal number; SIGKILL means all of it (`cgroup.kill`).
    pub signal: u8,
    /// Milliseconds before the next step.
    pub timeout_ms: u64,
}
