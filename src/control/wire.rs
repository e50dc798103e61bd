//! Bytes ↔ [`Request`] and [`Reply`]. Pure.
//!
//! PROTOCOL.md, beside this file, is the page for those who write a client; what it says of the messages is made of this
//! file by `tests/all/protocol.rs`. One message is one packet: the sender's [`VERSION`], the number of the message, then its
//! fields in order. Decoding takes any bytes and answers with a [`Wrong`], never with a panic.

use core::fmt;

use crate::config::key::Key;
use crate::fault::{Fault, Step};
use crate::limits;
use crate::plan::change::{Change, Keys};
use crate::plan::difference::What;
use crate::plan::hardening::Items;
use crate::plan::{Confinement, Extents, Kind, User, Users};

/// The version of this encoding. It is raised by whatever is no addition at the end: PROTOCOL.md, "Versions".
pub const VERSION: u8 = 2;
/// Requests that every version understands: the end of the host, and the version.
const REQUESTS_OF_ALL: &[u8] = &[10, 11];
/// Replies that every version understands: the version, and how a request ended.
const REPLIES_OF_ALL: &[u8] = &[5, 6, 7];
/// Bytes of one text in a reply; a longer one is cut.
pub const TEXT_BYTES: usize = 640;
/// Bytes of one encoded request, at most.
pub const REQUEST_BYTES: usize = limits::MESSAGE_BYTES;
/// Bytes of all changes of one request: what the message has besides them is a number, a name and a length.
pub const CHANGES_BYTES: usize = REQUEST_BYTES - 2 - 1 - limits::NAME_BYTES - 2;

/// Bytes of what a guest waits for.
pub const AWAITS_BYTES: usize = 160;

// A `GuestInfo` is the longest reply: five texts, three short ones, a name, and numbers: 129 bytes of them are ranges of users.
const LINES: usize = 2 + limits::SAID_BYTES + 2 + AWAITS_BYTES;
const _: () = assert!(2 + 5 * (2 + TEXT_BYTES) + LINES + 1 + limits::NAME_BYTES + 440 <= limits::MESSAGE_BYTES);
const _: () = assert!(CHANGES_BYTES <= u16::MAX as usize && limits::NAME_BYTES <= u8::MAX as usize);

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Another version of the encoding: this one.
    Version(u8),
    /// A message that came after this program.
    Unknown,
    /// Not a message.
    Malformed,
}

/// A guest's name: up to [`limits::NAME_BYTES`] of `a-z A-Z 0-9 - _ .`; the empty one means all guests, or the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    len: u8,
    bytes: [u8; limits::NAME_BYTES],
}

impl Name {
    /// No guest in particular.
    pub const ALL: Name = Name { len: 0, bytes: [0; limits::NAME_BYTES] };

    /// `name` where a guest could have that name, or the empty one.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Name> {
        let fits = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let mut bytes = [0; limits::NAME_BYTES];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        name.iter().all(fits).then_some(Name { len: name.len() as u8, bytes })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes.get(..usize::from(self.len)).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Whether no guest in particular is meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Changes of one guest, encoded one behind the other: each is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changes<'a>(&'a [u8]);

/// Room for [`Changes`].
pub type ChangesBuffer = heapless::Vec<u8, CHANGES_BYTES>;

impl<'a> Changes<'a> {
    /// Adds one to those in `buffer`. Whether there was room, and it is one that the server takes.
    #[must_use]
    pub fn push(buffer: &mut ChangesBuffer, change: Change<'_>) -> bool {
        let mut room = [0; TEXT_BYTES + 64];
        let mut writer = Writer { buffer: &mut room, used: 0 };
        change.put(&mut writer);
        let used = writer.used;
        let bytes = room.get(..used).unwrap_or_default();
        // A text that is too long was cut.
        let mut reader = Reader::new(bytes);
        let is_whole = Change::take(&mut reader) == change && !reader.is_wrong;
        is_whole && change.is_valid() && buffer.extend_from_slice(bytes).is_ok()
    }

    /// Those in `buffer`.
    #[must_use]
    pub fn of(buffer: &'a ChangesBuffer) -> Changes<'a> {
        Changes(buffer)
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Change<'a>> {
        let mut reader = Reader::new(self.0);
        core::iter::from_fn(move || (!reader.rest.is_empty()).then(|| Change::take(&mut reader)))
    }
}

/// What a client asks. `&str` borrows from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Every guest: a [`Reply::Guest`] each.
    List,
    /// One guest: a [`Reply::Guest`], and a [`Reply::Bounds`].
    Status {
        /// Which.
        guest: Name,
    },
    /// Start it.
    Start {
        /// Which.
        guest: Name,
        /// Whether [`Reply::Done`] is to mean that it is ready.
        wait: bool,
    },
    /// Stop it; done when nothing of it is left.
    Stop {
        /// Which.
        guest: Name,
    },
    /// Stop it, then start it.
    Restart {
        /// Which.
        guest: Name,
        /// As in [`Request::Start`].
        wait: bool,
    },
    /// Kill all of it now; done when nothing of it is left.
    Kill {
        /// Which.
        guest: Name,
    },
    /// What a command needs to join it: a [`Reply::Join`] with its pidfd.
    Join {
        /// Which.
        guest: Name,
    },
    /// Its output: a [`Reply::Logs`] with the ring's descriptor; of every guest that has one for [`Name::ALL`].
    Logs {
        /// Which.
        guest: Name,
    },
    /// Its console: a [`Reply::Console`] with the terminal's other side. What comes out of it is in its log.
    Console {
        /// Which.
        guest: Name,
    },
    /// The host itself: a [`Reply::Host`].
    HostStatus,
    /// Take the host down.
    Power {
        /// How.
        how: Power,
    },
    /// A [`Reply::Version`].
    Version,
    /// Change what it is limited to, all of it or nothing: a [`Reply::Was`] each.
    Set {
        /// Which.
        guest: Name,
        /// At least one.
        changes: Changes<'a>,
    },
    /// Begin to do something to it: done when that has begun.
    Begin {
        /// Which.
        guest: Name,
        /// What.
        what: Doing,
    },
    /// Done when it has come to be so, by whatever was begun before; an error when it cannot any more.
    Wait {
        /// Which.
        guest: Name,
        /// How.
        until: Until,
    },
    /// Read the config again: a [`Reply::Report`] for each part of what is wrong with it, or a [`Reply::Difference`] each;
    /// then it is carried out, and a [`Reply::Refused`] comes for each guest whose change is refused.
    Reload {
        /// Only say what it would do.
        dry: bool,
    },
    /// What happened to guests and host: a [`Reply::Events`] with the ring's descriptor.
    Events,
    /// File systems of the host that are not mounted: a [`Reply::Missing`] each.
    Missing,
    /// Become another program, which is asked first whether it could go on with all that there is: done when it does.
    Upgrade {
        /// Where it is.
        path: &'a str,
    },
}

/// The end of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Off.
    PowerOff,
    /// Boot again.
    Reboot,
    /// Stop, power stays on.
    Halt,
    /// Leave the initramfs for the root that `/run/inn/next-root` names: its path and that of its init, each with a NUL behind.
    SwitchRoot,
}

/// What the server answers. `&str` borrows from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one is built at a time, on the stack")]
pub enum Reply<'a> {
    /// A guest as it is now.
    Guest(GuestInfo<'a>),
    /// The host as it is now.
    Host(HostInfo<'a>),
    /// How to join a guest; comes with its pidfd.
    Join(JoinInfo<'a>),
    /// A guest's output; comes with its ring (a memfd, read-only).
    Logs {
        /// Whose.
        guest: &'a str,
        /// The file that it is in too, and what is older; empty for none.
        file: &'a str,
    },
    /// What it may do.
    Bounds(BoundsInfo<'a>),
    /// A guest's console; comes with the master side of its terminal. It is to be written to only: its reader is the server.
    Console {
        /// Whose.
        guest: &'a str,
    },
    /// The version of the program that runs as server.
    Version(&'a str),
    /// What a change replaced, in the order of the request.
    Was(Change<'a>),
    /// A part of what is wrong with a config, for people.
    Report(&'a str),
    /// What is otherwise in a config that was read again.
    Difference(DifferenceInfo<'a>),
    /// What else was asked for is done; this is not.
    Refused(Failure<'a>),
    /// What happened; comes with the ring of it (a memfd, read-only), each record of which is an [`Event`].
    Events,
    /// A file system that is not mounted.
    Missing(MissingInfo<'a>),
    /// All is done. Final.
    Done,
    /// It was not done. Final.
    Error(Failure<'a>),
}

impl Reply<'_> {
    /// Whether nothing follows it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Reply::Done | Reply::Error(_))
    }
}

/// A guest or service, as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub kind: Kind,
    /// What it is doing.
    pub state: State,
    /// Whom it waits for, while it is [`State::Waiting`]; empty for nobody.
    pub waits_for: Name,
    /// It is being killed or cleared, and that takes longer than it may.
    pub is_stuck: bool,
    /// Its first process on the host; 0 for none.
    pub pid: u32,
    /// Milliseconds since that process was made; nothing where there is none.
    pub uptime_ms: Option<u64>,
    /// Memory in use, bytes (memory.current).
    pub memory_bytes: Option<u64>,
    /// The most it may use (memory.max).
    pub memory_limit_bytes: Option<u64>,
    /// The most swap it may use (memory.swap.max).
    pub swap_limit_bytes: Option<u64>,
    /// CPU time used, microseconds.
    pub cpu_us: Option<u64>,
    /// The most CPU it may use, thousandths of a CPU.
    pub cpus_limit_milli: Option<u32>,
    /// Processes and threads (pids.current).
    pub processes: Option<u32>,
    /// The most it may have (pids.max).
    pub processes_limit: Option<u32>,
    /// Processes killed because its memory was full (memory.events, oom_kill).
    pub oom_kills: u32,
    /// Forks refused because it had too many processes (pids.events, max).
    pub processes_refused: u32,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// Milliseconds to its next start, while it is [`State::Delayed`].
    pub next_start_ms: Option<u64>,
    /// How it ended last, or why it did not start.
    pub exit: Option<Exit>,
    /// Where the config has the key that failed (of a failed step).
    pub place: Option<Place<'a>>,
    /// Its users as the host sees them; none: the host's own.
    pub users: Extents,
    /// Whether it starts with the host.
    pub autostart: bool,
    /// The directory that is its root; empty for none of its own.
    pub root: &'a str,
    /// Its cgroup, which holds its limits, below the root of the cgroup v2 file system: `inn/web`.
    pub cgroup: &'a str,
    /// Free text of the config.
    pub description: &'a str,
    /// How often it came to the end of its CPU time (cpu.stat, nr_throttled).
    pub cpu_throttled: u32,
    /// The process that was killed last because memory was full.
    pub victim: Option<VictimInfo<'a>>,
    /// What keeps it from being ready, or whom it waits for, for people: [`AWAITS_BYTES`] at most; empty for nothing.
    pub awaits: &'a str,
    /// The line that it said last of itself: [`limits::SAID_BYTES`] at most.
    pub said: &'a str,
    /// What it says that it is doing.
    pub activity: Activity,
    /// How often it has to say that it is well, milliseconds.
    pub watchdog_ms: Option<u64>,
    /// What it has otherwise from its next start on.
    pub pending: Keys,
    /// The config has it no more: it is forgotten when it is down.
    pub is_removed: bool,
    /// What its health checks found, where it has some.
    pub health: Option<HealthInfo>,
}

/// What the health checks of a guest found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthInfo {
    /// How many in a row have failed.
    pub failures: u16,
    /// With how many it counts as not well.
    pub limit: u16,
    /// Milliseconds since the last one was over; nothing before the first.
    pub ago_ms: Option<u64>,
    /// Why the last one failed, where it did.
    pub fault: Option<Fault>,
}

/// What is otherwise in a config that was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DifferenceInfo<'a> {
    /// The guest; empty for the host.
    pub guest: &'a str,
    /// What becomes of it.
    pub what: What,
    /// The key; nothing where it is the guest as such.
    pub key: Option<Key>,
    /// What that was; empty for nothing. A longer text than [`TEXT_BYTES`] is cut.
    pub from: &'a str,
    /// What it is to be.
    pub to: &'a str,
    /// Where the config says so.
    pub place: Option<Place<'a>>,
}

impl GuestInfo<'_> {
    /// A guest of which nothing is known.
    pub const EMPTY: GuestInfo<'static> = GuestInfo {
        name: "",
        kind: Kind::Os,
        state: State::Down,
        waits_for: Name::ALL,
        is_stuck: false,
        pid: 0,
        uptime_ms: None,
        memory_bytes: None,
        memory_limit_bytes: None,
        swap_limit_bytes: None,
        cpu_us: None,
        cpus_limit_milli: None,
        processes: None,
        processes_limit: None,
        oom_kills: 0,
        processes_refused: 0,
        restarts: 0,
        next_start_ms: None,
        exit: None,
        place: None,
        users: Extents::NONE,
        autostart: false,
        root: "",
        cgroup: "",
        description: "",
        cpu_throttled: 0,
        victim: None,
        awaits: "",
        said: "",
        activity: Activity::None,
        watchdog_ms: None,
        pending: Keys::from_bits(0),
        is_removed: false,
        health: None,
    };
}

/// A process that the kernel killed because memory was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VictimInfo<'a> {
    /// Its name: 16 bytes at most, all of which print.
    pub name: &'a str,
    /// Its number on the host.
    pub pid: u32,
    /// How many milliseconds ago.
    pub ago_ms: u64,
    /// What was full.
    pub full: Full,
}

/// The host, as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostInfo<'a> {
    /// The server's version.
    pub version: &'a str,
    /// Its config file.
    pub config: &'a str,
    /// Its process: 1 where it is the host's init.
    pub pid: u32,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Guests and services of the config.
    pub guests: u32,
    /// Those with a process.
    pub running: u32,
    /// Those that failed.
    pub failed: u32,
    /// Whether the host is going down.
    pub going_down: bool,
    /// What `hardening` of the config takes away; nothing where this is not the host's init.
    pub hardening: Items,
    /// The cgroup below which the guests' are, as in [`GuestInfo::cgroup`].
    pub cgroup: &'a str,
    /// Memory that the config keeps for the host, bytes.
    pub reserve_bytes: Option<u64>,
    /// When each stage of coming up was over, milliseconds since the kernel started: the kernel, what the initramfs did, the
    /// kernel's own file systems, the config, modules, the config's file systems, the host's state, guests.
    pub boot_ms: [Option<u32>; 8],
    /// How often the server has died of a fault, and gone on.
    pub died: u32,
    /// How often another program has taken its place on purpose.
    pub replaced: u32,
    /// It has died too often in too short a time, and starts nothing.
    pub is_safe: bool,
}

/// A file system that is not mounted, or swap that is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingInfo<'a> {
    /// Where it belongs; of swap, its source.
    pub target: &'a str,
    /// Whether the host is well without it.
    pub is_optional: bool,
    /// Why.
    pub fault: Fault,
}

/// What a command needs to join a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub kind: Kind,
    /// What it may do.
    pub confinement: Confinement,
    /// Its users; none: it has no user namespace of its own.
    pub users: Extents,
    /// Whom the command is to run as, inside.
    pub user: User,
    /// Its cgroup, as in [`GuestInfo::cgroup`].
    pub cgroup: &'a str,
}

/// What a guest may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundsInfo<'a> {
    /// What it is.
    pub kind: Kind,
    /// Whether it has users of its own.
    pub is_mapped: bool,
    /// Its capabilities and calls.
    pub confinement: Confinement,
    /// The devices of the host that it was given.
    pub devices: GivenDevices<'a>,
}

/// The devices that a guest was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenDevices<'a> {
    len: u8,
    all: [GivenDevice<'a>; limits::DEVICES],
}

impl<'a> GivenDevices<'a> {
    /// The first of `devices`, as many as a guest can have.
    #[must_use]
    pub fn new(devices: impl Iterator<Item = GivenDevice<'a>>) -> Self {
        let mut given = GivenDevices { len: 0, all: [GivenDevice { path: "", access: 0 }; _] };
        for (slot, device) in given.all.iter_mut().zip(devices) {
            *slot = device;
            given.len += 1;
        }
        given
    }

    /// They.
    #[must_use]
    pub fn list(&self) -> &[GivenDevice<'a>] {
        self.all.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// A device that a guest was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenDevice<'a> {
    /// Its path; cut at [`DEVICE_BYTES`].
    pub path: &'a str,
    /// What is allowed: bits of [`crate::plan::Device`].
    pub access: u8,
}

/// Bytes of a device's path in a reply.
pub const DEVICE_BYTES: usize = 96;
const _: () = assert!(64 + limits::DEVICES * (DEVICE_BYTES + 3) <= limits::MESSAGE_BYTES);

/// A line of a config file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The file.
    pub file: &'a str,
    /// The line, from 1.
    pub line: u32,
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Its program returned this.
    Code(u8),
    /// Its program died of this signal.
    Signal(u8),
    /// Its program was killed because its memory was full.
    OutOfMemory,
    /// This step of its start failed.
    Failed(Fault),
    /// It was stopped because it was not well.
    Unhealthy(Illness),
}

/// Bytes of an encoded [`Event`], at most.
pub const EVENT_BYTES: usize = 256;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its number: one more than that of the event before it, from 1.
    pub sequence: u64,
    /// To whom; [`Name::ALL`] for the host.
    pub guest: Name,
    /// What that is.
    pub kind: Kind,
    /// What.
    pub what: Happening<'a>,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening<'a> {
    /// A supervisor has begun; the first event of each.
    Supervising {
        /// Its process.
        pid: u32,
        /// Its version.
        version: &'a str,
    },
    /// The host, or this supervisor, goes down.
    GoingDown,
    /// A guest is being built.
    Starting,
    /// Its program runs.
    Started {
        /// Its first process on the host.
        pid: u32,
    },
    /// It said that it is ready.
    Ready,
    /// It is asked to stop.
    Stopping,
    /// Its first process ended, or a step of its start failed.
    Ended {
        /// How.
        reason: Reason,
        /// Exit code or signal, where there is one.
        number: u8,
        /// The step that failed, where one did.
        fault: Option<Fault>,
    },
    /// Nothing of it is left.
    Down,
    /// It stays down though it should not be.
    Failed,
    /// It starts again.
    Delayed {
        /// After so many milliseconds.
        ms: u64,
    },
    /// It was killed, and its processes do not go.
    Stuck,
    /// What is left of it cannot be removed or killed; that is tried again.
    Trouble {
        /// The step that failed.
        fault: Fault,
    },
    /// The kernel killed processes for want of memory.
    Killed {
        /// How many.
        count: u32,
        /// One of them, where the kernel said which.
        victim: Option<VictimInfo<'a>>,
        /// How much was full, bytes, where that is a limit of the config.
        limit_bytes: Option<u64>,
    },
    /// Its limits were changed while it ran.
    Changed {
        /// Which.
        keys: Keys,
    },
    /// It is to stand still.
    Frozen,
    /// It goes on.
    Thawed,
    /// It is not well, and is ended for that.
    Unhealthy {
        /// How that is known.
        illness: Illness,
    },
    /// Its health check failed.
    CheckFailed {
        /// How many in a row.
        count: u16,
        /// With how many it counts as not well.
        most: u16,
        /// Why.
        fault: Fault,
    },
    /// Its health check, which had failed, succeeds.
    Well,
    /// The config was read again, and what was otherwise in it was carried out.
    Reloaded {
        /// To how many guests, or the host, it could not be done.
        refused: u16,
    },
    /// The config has it no more, and it is forgotten.
    Removed,
    /// Its log file cannot be written.
    LogTrouble {
        /// The step that failed.
        fault: Fault,
    },
    /// Its log file is written again.
    LogWritten,
    /// A program of the host that is run after its end failed.
    HookFailed {
        /// Which, and how.
        fault: Fault,
    },
    /// It has ended too often, and is not started again.
    GivenUp {
        /// So often.
        count: u16,
        /// Within so many milliseconds.
        within_ms: u64,
        /// What its policy then asks for, as the config has it.
        then: &'a str,
    },
}

impl<'a> Event<'a> {
    /// As a record in `buffer`.
    #[must_use]
    pub fn encode<'b>(&self, buffer: &'b mut [u8; EVENT_BYTES]) -> &'b [u8] {
        message(buffer, self)
    }

    /// From a record, as [`Reply::decode`] has it.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Event<'a>, Wrong> {
        let mut reader = Reader { may_end: true, ..Reader::new(bytes) };
        match u8::take(&mut reader) {
            VERSION => {}
            version => return Err(Wrong::Version(version)),
        }
        let event = Event::take(&mut reader);
        if reader.is_wrong { Err(Wrong::Malformed) } else { Ok(event) }
    }
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The kind of failure: the exit code of the command.
    pub code: Code,
    /// The guest it is about; empty for none.
    pub guest: &'a str,
    /// What went wrong, for people; may be empty where there is a fault.
    pub why: &'a str,
    /// The step that failed, where one did.
    pub fault: Option<Fault>,
    /// Where the config has the key that failed.
    pub place: Option<Place<'a>>,
}

impl<'a> Failure<'a> {
    /// A failure without a step.
    #[must_use]
    pub fn new(code: Code, guest: &'a str, why: &'a str) -> Failure<'a> {
        Failure { code, guest, why, fault: None, place: None }
    }
}

/// Enums of plain words: their numbers on the wire are their order.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($variant:ident $word:literal $about_variant:literal;)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $(#[doc = $about_variant] $variant,)+ }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The word for it.
            #[must_use]
            pub fn word(self) -> &'static str {
                const WORDS: &[&str] = &[$($word,)+];
                WORDS.get(self as usize).copied().unwrap_or_default()
            }
        }

        impl<'a> Field<'a> for $name {
            fn put(&self, to: &mut Writer<'_>) {
                to.bytes(&[*self as u8]);
            }

            fn take(from: &mut Reader<'a>) -> Self {
                const FIRST: $name = $name::ALL[0];
                from.one_of($name::ALL, FIRST)
            }
        }
    };
}

words! {
    /// What a guest is doing.
    State {
        Down "down" "Nothing of it exists.";
        Waiting "waiting" "It is to start, when those it comes after are ready.";
        Starting "starting" "Its program does not run yet.";
        Running "running" "Its program runs, and has not said that it is ready.";
        Ready "ready" "Its program runs, and is ready.";
        Stopping "stopping" "It was asked to stop.";
        Killing "killing" "What was left of it was killed.";
        Clearing "clearing" "It has no process; its cgroup and the like are being removed.";
        Delayed "delayed" "It ended, and is started again after a pause.";
        Failed "failed" "It did not start, or ended with a failure, and stays down.";
        Frozen "frozen" "Its program is there, and stands still until it is thawed.";
    }
}

words! {
    /// What is done to a guest.
    Doing {
        Start "start" "Start it, and all that it wants.";
        Stop "stop" "Take the steps of its `stop`.";
        Restart "restart" "Stop it, then start it.";
        Kill "kill" "Kill all of it.";
        Freeze "freeze" "Let it stand still.";
        Thaw "thaw" "Let it go on.";
    }
}

words! {
    /// What a guest can be waited for to be.
    Until {
        Started "started" "Its program runs, or it waits for another guest.";
        Ready "ready" "It is ready.";
        Gone "gone" "Nothing of it exists.";
        Frozen "frozen" "All of it stands still.";
    }
}

words! {
    /// What a guest that is up says that it is doing.
    Activity {
        None "" "Nothing in particular.";
        Reloading "reloading" "It reads its config anew.";
        Stopping "stopping" "It is about to end.";
    }
}

words! {
    /// Why a guest counts as not well.
    Illness {
        Watchdog "missed its watchdog" "It has not said in time that it is well.";
        Trigger "said that it is not well" "It said so itself.";
        Check "failed its health check" "Its health check failed too often in a row.";
    }
}

words! {
    /// What was full where a process was killed for want of memory.
    Full {
        Guest "guest" "What the guest may have.";
        Inside "inside" "A limit that the guest set to a part of itself.";
        AllGuests "all-guests" "What all guests together may have.";
        Host "host" "The host's memory.";
    }
}

words! {
    /// How a run of a guest ended.
    Reason {
        Code "code" "Its program returned a number.";
        Signal "signal" "Its program died of a signal.";
        OutOfMemory "out-of-memory" "Its program was killed because its memory was full.";
        StartFailed "start-failed" "A step of its start failed.";
        PowerOff "power-off" "It was powered off from inside.";
        Reboot "reboot" "It was rebooted from inside.";
        Unknown "unknown" "Somebody else took its exit status.";
        Unhealthy "unhealthy" "It was killed because it was not well.";
    }
}

words! {
    /// The kind of a failure.
    Code {
        Failed "failed" "It was tried and failed.";
        Usage "usage" "The request makes no sense.";
        NoGuest "no-guest" "No guest has that name.";
        WrongState "wrong-state" "The guest's state does not allow it.";
        TimedOut "timed-out" "It took too long.";
        NotPermitted "not-permitted" "This client may not ask.";
        Busy "busy" "Too many clients.";
        Version "version" "Client and server are of different versions.";
    }
}

impl Code {
    /// The exit code of a command that got this answer.
    #[must_use]
    pub fn exit(self) -> u8 {
        match self {
            Code::Failed | Code::Busy | Code::Version => 1,
            Code::Usage => 2,
            Code::NoGuest => 3,
            Code::WrongState => 4,
            Code::TimedOut => 5,
            Code::NotPermitted => 6,
        }
    }
}

impl<'a> Request<'a> {
    /// As one message in `buffer`.
    #[must_use]
    pub fn encode<'b>(&self, buffer: &'b mut [u8; REQUEST_BYTES]) -> &'b [u8] {
        message(buffer, self)
    }

    /// From one message.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Request<'a>, Wrong> {
        let mut reader = Reader::new(bytes);
        reader.begin(Request::NUMBERS, REQUESTS_OF_ALL)?;
        let request = Request::take(&mut reader);
        // What stands behind it, the client has asked for, and would not get.
        if reader.is_wrong || !reader.rest.is_empty() { Err(Wrong::Malformed) } else { Ok(request) }
    }

    /// The guest that it is about; [`Name::ALL`] where it is about none.
    #[must_use]
    pub fn guest(&self) -> Name {
        match *self {
            Request::Status { guest }
            | Request::Start { guest, .. }
            | Request::Stop { guest }
            | Request::Restart { guest, .. }
            | Request::Kill { guest }
            | Request::Join { guest }
            | Request::Logs { guest }
            | Request::Console { guest }
            | Request::Set { guest, .. }
            | Request::Begin { guest, .. }
            | Request::Wait { guest, .. } => guest,
            Request::List
            | Request::HostStatus
            | Request::Missing
            | Request::Power { .. }
            | Request::Version
            | Request::Reload { .. }
            | Request::Events
            | Request::Upgrade { .. } => Name::ALL,
        }
    }
}

impl<'a> Reply<'a> {
    /// As one message in `buffer`. Texts are cut at [`TEXT_BYTES`].
    #[must_use]
    pub fn encode<'b>(&self, buffer: &'b mut [u8; limits::MESSAGE_BYTES]) -> &'b [u8] {
        message(buffer, self)
    }

    /// From one message. What a newer server has added at its end is left out; what an older one did not know is zero,
    /// nothing or empty.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Reply<'a>, Wrong> {
        let mut reader = Reader { may_end: true, ..Reader::new(bytes) };
        reader.begin(Reply::NUMBERS, REPLIES_OF_ALL)?;
        let reply = Reply::take(&mut reader);
        if reader.is_wrong { Err(Wrong::Malformed) } else { Ok(reply) }
    }
}

fn message<'b, 'f>(buffer: &'b mut [u8], body: &impl Field<'f>) -> &'b [u8] {
    let mut writer = Writer { buffer, used: 0 };
    writer.bytes(&[VERSION]);
    body.put(&mut writer);
    let used = writer.used;
    buffer.get(..used).unwrap_or_default()
}

/// What stands in a message.
trait Field<'a>: Sized {
    fn put(&self, to: &mut Writer<'_>);
    fn take(from: &mut Reader<'a>) -> Self;
}

struct Writer<'b> {
    buffer: &'b mut [u8],
    used: usize,
}

impl Writer<'_> {
    /// Appends; what does not fit is left out, which the bounds on texts rule out.
    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.used.saturating_add(bytes.len());
        if let Some(room) = self.buffer.get_mut(self.used..end) {
            room.copy_from_slice(bytes);
            self.used = end;
        }
    }
}

/// Reads on after something wrong, and remembers it: so only the end of a message is checked, not every field.
struct Reader<'a> {
    rest: &'a [u8],
    is_wrong: bool,
    /// Whether the message may end before its last fields.
    may_end: bool,
    /// Whether its sender is of another version.
    is_foreign: bool,
}

impl<'a> Reader<'a> {
    fn new(rest: &'a [u8]) -> Reader<'a> {
        Reader { rest, is_wrong: false, may_end: false, is_foreign: false }
    }

    /// Reads the version, and looks at the number behind it: one of `known`, and of `all` where the version is another.
    fn begin(&mut self, known: &[u8], all: &[u8]) -> Result<(), Wrong> {
        let &[version, number, ..] = self.rest else { return Err(Wrong::Malformed) };
        self.bytes(1);
        self.is_foreign = version != VERSION;
        match number {
            number if self.is_foreign && !all.contains(&number) => Err(Wrong::Version(version)),
            number if !known.contains(&number) => Err(Wrong::Unknown),
            _ => Ok(()),
        }
    }

    /// `value` in place of one that is wrong.
    fn wrong<T>(&mut self, value: T) -> T {
        self.is_wrong = true;
        value
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        if self.may_end && self.rest.is_empty() {
            return self.rest;
        }
        let (bytes, rest) = match self.rest.split_at_checked(count) {
            Some(parts) => parts,
            None => self.wrong((&[][..], &[][..])),
        };
        self.rest = rest;
        bytes
    }

    /// The one of `all` whose number comes next.
    fn one_of<T: Copy>(&mut self, all: &[T], otherwise: T) -> T {
        let number = usize::from(u8::take(self));
        all.get(number).copied().unwrap_or_else(|| self.wrong(otherwise))
    }
}

macro_rules! numbers {
    ($($number:ty)+) => {$(
        impl<'a> Field<'a> for $number {
            fn put(&self, to: &mut Writer<'_>) {
                to.bytes(&self.to_le_bytes());
            }

            fn take(from: &mut Reader<'a>) -> Self {
                <$number>::from_le_bytes(from.bytes(size_of::<$number>()).try_into().unwrap_or_default())
            }
        }
    )+};
}
numbers! { u8 u16 u32 u64 u128 i64 }

impl<'a> Field<'a> for bool {
    fn put(&self, to: &mut Writer<'_>) {
        u8::from(*self).put(to);
    }

    fn take(from: &mut Reader<'a>) -> Self {
        from.one_of(&[false, true], false)
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    fn put(&self, to: &mut Writer<'_>) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut Reader<'a>) -> Self {
        bool::take(from).then(|| T::take(from))
    }
}

impl<'a> Field<'a> for &'a str {
    fn put(&self, to: &mut Writer<'_>) {
        let text = self.get(..self.floor_char_boundary(TEXT_BYTES)).unwrap_or_default();
        (text.len() as u16).put(to);
        to.bytes(text.as_bytes());
    }

    fn take(from: &mut Reader<'a>) -> Self {
        let len = usize::from(u16::take(from));
        let text = core::str::from_utf8(from.bytes(len)).ok();
        text.filter(|text| text.len() == len && len <= TEXT_BYTES).unwrap_or_else(|| from.wrong(""))
    }
}

impl<'a> Field<'a> for Name {
    fn put(&self, to: &mut Writer<'_>) {
        self.len.put(to);
        to.bytes(self.as_str().as_bytes());
    }

    fn take(from: &mut Reader<'a>) -> Self {
        let len = u8::take(from);
        let name = Name::new(from.bytes(usize::from(len))).filter(|name| name.len == len);
        name.unwrap_or_else(|| from.wrong(Name::ALL))
    }
}

impl<'a> Field<'a> for Extents {
    fn put(&self, to: &mut Writer<'_>) {
        (self.ranges().len() as u8).put(to);
        self.ranges().iter().for_each(|users| users.put(to));
    }

    fn take(from: &mut Reader<'a>) -> Self {
        let count = u8::take(from);
        let ranges = Extents::new((0..count).map(|_| Users::take(from)));
        ranges.unwrap_or_else(|| from.wrong(Extents::NONE))
    }
}

impl<'a> Field<'a> for Key {
    fn put(&self, to: &mut Writer<'_>) {
        to.bytes(&[*self as u8]);
    }

    fn take(from: &mut Reader<'a>) -> Self {
        from.one_of(Key::ALL, Key::Memory)
    }
}

impl<'a> Field<'a> for Keys {
    fn put(&self, to: &mut Writer<'_>) {
        self.bits().put(to);
    }

    fn take(from: &mut Reader<'a>) -> Self {
        let bits = u128::take(from);
        let keys = Keys::from_bits(bits);
        if keys.bits() == bits { keys } else { from.wrong(keys) }
    }
}

impl<'a> Field<'a> for (u64, u64) {
    fn put(&self, to: &mut Writer<'_>) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &mut Reader<'a>) -> Self {
        (u64::take(from), u64::take(from))
    }
}

impl<'a> Field<'a> for [Option<u64>; 4] {
    fn put(&self, to: &mut Writer<'_>) {
        self.iter().for_each(|number| number.put(to));
    }

    fn take(from: &mut Reader<'a>) -> Self {
        [(); 4].map(|()| Field::take(from))
    }
}

impl<'a> Field<'a> for [Option<u32>; 8] {
    fn put(&self, to: &mut Writer<'_>) {
        self.iter().for_each(|number| number.put(to));
    }

    fn take(from: &mut Reader<'a>) -> Self {
        [(); 8].map(|()| Field::take(from))
    }
}

impl<'a> Field<'a> for Changes<'a> {
    fn put(&self, to: &mut Writer<'_>) {
        (self.0.len() as u16).put(to);
        to.bytes(self.0);
    }

    fn take(from: &mut Reader<'a>) -> Self {
        let len = usize::from(u16::take(from));
        let changes = Changes(from.bytes(len));
        let mut reader = Reader::new(changes.0);
        reader.is_wrong = len == 0;
        while !reader.rest.is_empty() {
            reader.is_wrong |= !Change::take(&mut reader).is_valid();
        }
        from.is_wrong |= reader.is_wrong;
        changes
    }
}

impl<'a> Field<'a> for Fault {
    fn put(&self, to: &mut Writer<'_>) {
        to.bytes(&self.encode());
    }

    fn take(from: &mut Reader<'a>) -> Self {
        let nothing = Fault { step: Step::Helper, errno: 0, detail: 0 };
        Fault::decode(from.bytes(Fault::BYTES)).unwrap_or_else(|| from.wrong(nothing))
    }
}

impl<'a> Field<'a> for GivenDevices<'a> {
    fn put(&self, to: &mut Writer<'_>) {
        self.len.put(to);
        self.list().iter().for_each(|device| device.put(to));
    }

    fn take(from: &mut Reader<'a>) -> Self {
        let len = u8::take(from);
        let devices = GivenDevices::new((0..len).map(|_| GivenDevice::take(from)));
        from.is_wrong |= devices.len != len;
        devices
    }
}

/// What stands before the fault is the same in every version, and what comes behind that is its version's.
impl<'a> Field<'a> for Failure<'a> {
    fn put(&self, to: &mut Writer<'_>) {
        (self.code as u8).put(to);
        self.guest.put(to);
        self.why.put(to);
        self.fault.put(to);
        self.place.put(to);
    }

    fn take(from: &mut Reader<'a>) -> Self {
        let code = Code::ALL.get(usize::from(u8::take(from))).copied().unwrap_or(Code::Failed);
        let (guest, why) = (Field::take(from), Field::take(from));
        if from.is_foreign {
            from.rest = &[];
        }
        Failure { code, guest, why, fault: Field::take(from), place: Field::take(from) }
    }
}

/// Structs: their fields in order.
macro_rules! structs {
    ($($name:ident $(<$life:lifetime>)? { $($field:ident)+ })+) => {$(
        impl<'a> Field<'a> for $name $(<$life>)? {
            fn put(&self, to: &mut Writer<'_>) {
                $(self.$field.put(to);)+
            }

            fn take(from: &mut Reader<'a>) -> Self {
                $name { $($field: Field::take(from),)+ }
            }
        }
    )+};
}
structs! {
    Users { base count }
    User { uid gid }
    Place<'a> { file line }
    HostInfo<'a> {
        version config pid uptime_ms guests running failed going_down hardening cgroup reserve_bytes boot_ms died replaced
        is_safe
    }
    MissingInfo<'a> { target is_optional fault }
    Confinement { capabilities given filter opened nesting }
    JoinInfo<'a> { name kind confinement users user cgroup }
    GuestInfo<'a> {
        name kind state waits_for is_stuck pid uptime_ms memory_bytes memory_limit_bytes swap_limit_bytes cpu_us cpus_limit_milli
        processes processes_limit oom_kills processes_refused restarts next_start_ms exit place users autostart
        root cgroup description cpu_throttled victim awaits said activity watchdog_ms pending is_removed health
    }
    VictimInfo<'a> { name pid ago_ms full }
    HealthInfo { failures limit ago_ms fault }
    GivenDevice<'a> { path access }
    BoundsInfo<'a> { kind is_mapped confinement devices }
    DifferenceInfo<'a> { guest what key from to place }
    Event<'a> { sequence guest kind what }
}

/// Enums: a number, then the fields of that variant in order; what stands in for a number that is none.
macro_rules! enums {
    ($($name:ident $(<$life:lifetime>)? or $otherwise:expr => {
        $($number:literal $variant:ident $(($inner:ident))? $({ $($field:ident)+ })?;)+
    })+) => {$(
        impl $(<$life>)? $name $(<$life>)? {
            /// The number of each.
            pub const NUMBERS: &'static [u8] = &[$($number),+];
        }

        impl<'a> Field<'a> for $name $(<$life>)? {
            fn put(&self, to: &mut Writer<'_>) {
                match self {
                    $($name::$variant $(($inner))? $({ $($field),+ })? => {
                        to.bytes(&[$number]);
                        $($inner.put(to);)?
                        $($($field.put(to);)+)?
                    })+
                }
            }

            fn take(from: &mut Reader<'a>) -> Self {
                match u8::take(from) {
                    $($number => $name::$variant
                        $(({ let $inner = Field::take(from); $inner }))?
                        $({ $($field: Field::take(from)),+ })?,)+
                    _ => from.wrong($otherwise),
                }
            }
        }
    )+};
}
enums! {
    Kind or Kind::Os => { 0 Os; 1 App; 2 Service; }
    What or What::Now => {
        0 Starts; 1 Added; 2 Stops; 3 Removed; 4 Now; 5 Restart; 6 Start; 7 Boot; 8 Other;
    }
    Power or Power::PowerOff => { 0 PowerOff; 1 Reboot; 2 Halt; 3 SwitchRoot; }
    Exit or Exit::OutOfMemory => { 0 Code(code); 1 Signal(signal); 2 OutOfMemory; 3 Failed(fault); 4 Unhealthy(illness); }
    Change<'a> or Change::Cpuset { cpus: "" } => {
        0 Number { key value };
        1 Cpuset { cpus };
        2 IoMax { device limits };
        3 Rlimit { resource limits };
        4 Tmpfs { target bytes };
    }
    Request<'a> or Request::List => {
        1 List;
        2 Status { guest };
        3 Start { guest wait };
        4 Stop { guest };
        5 Restart { guest wait };
        6 Kill { guest };
        7 Join { guest };
        8 Logs { guest };
        9 HostStatus;
        10 Power { how };
        11 Version;
        12 Console { guest };
        13 Set { guest changes };
        14 Begin { guest what };
        15 Wait { guest until };
        16 Reload { dry };
        17 Events;
        18 Missing;
        19 Upgrade { path };
    }
    Reply<'a> or Reply::Done => {
        1 Guest(guest);
        2 Host(host);
        3 Join(join);
        4 Logs { guest file };
        5 Version(version);
        6 Done;
        7 Error(failure);
        8 Console { guest };
        9 Was(change);
        10 Bounds(bounds);
        11 Report(text);
        12 Difference(difference);
        13 Refused(failure);
        14 Events;
        15 Missing(missing);
    }
    Happening<'a> or Happening::GoingDown => {
        0 Supervising { pid version };
        1 GoingDown;
        2 Starting;
        3 Started { pid };
        4 Ready;
        5 Stopping;
        6 Ended { reason number fault };
        7 Down;
        8 Failed;
        9 Delayed { ms };
        10 Stuck;
        11 Trouble { fault };
        12 Killed { count victim limit_bytes };
        13 Changed { keys };
        14 Frozen;
        15 Thawed;
        16 Unhealthy { illness };
        17 CheckFailed { count most fault };
        18 Well;
        19 Reloaded { refused };
        20 Removed;
        21 LogTrouble { fault };
        22 LogWritten;
        23 HookFailed { fault };
        24 GivenUp { count within_ms then };
    }
}
