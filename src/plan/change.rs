//! Changes of a guest's limits while the host is up: what they may be, and a plan that takes all of them or none. Pure.
//!
//! A change is staged ([`Plan::stage`]), tried on the kernel by whoever staged it, and then kept or dropped. Lists and
//! strings that nobody has any more are given up when a change is kept, so that no number of changes fills a pool.

use core::ffi::CStr;
use core::fmt;

use super::confinement::device_path;
use super::files::{TMPFS_BYTES, target};
use super::guest::{MEMORY_MAX, is_set};
use super::io::LIMITS;
pub use super::value::rlimit_name;
use super::{At, Guest, GuestId, IoMax, Kind, Limits, Plan, Rlimit, Tmpfs, value};
use crate::config::diagnostic::{Amount, Unit};
use crate::config::key::Key;
use crate::limits;
use crate::text::{List, Pool, Text};

/// A key of a guest that can be changed while it runs, and its new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// One of [`NUMBERS`]; nothing for what holds where the config does not say.
    Number {
        /// The key.
        key: Key,
        /// In the key's unit.
        value: Option<i64>,
    },
    /// The CPUs it may use; empty for all.
    Cpuset {
        /// In the kernel's list format.
        cpus: &'a str,
    },
    /// Limits of one disk; nothing is what a disk that is not named has.
    IoMax {
        /// Its path on the host.
        device: &'a str,
        /// See [`IoMax::limits`].
        limits: Option<[Option<u64>; 4]>,
    },
    /// A per-process limit, soft and hard; nothing is what a limit that is not named has.
    Rlimit {
        /// RLIMIT_ number.
        resource: u8,
        /// Soft and hard; `u64::MAX` is unlimited.
        limits: Option<(u64, u64)>,
    },
    /// What a file system in memory can hold; nothing is what one that is not named has.
    Tmpfs {
        /// Its path inside.
        target: &'a str,
        /// Bytes.
        bytes: Option<u64>,
    },
}

/// Less cannot hold one process.
const MEMORY_MIN: i64 = 64 << 10;
/// See [`MEMORY_MAX`].
const MEMORY: (i64, i64) = (MEMORY_MIN, MEMORY_MAX as i64);
/// From one millisecond of a tenth of a second (the kernel's least quota) to more CPUs than there are.
const CPUS_MILLI: (i64, i64) = (10, 8_192_000);
/// What the kernel allows (PID_MAX_LIMIT).
const PROCESSES_MAX: i64 = 1 << 22;

/// The keys that are one number: what it counts, and its bounds.
pub const NUMBERS: [(Key, Unit, (i64, i64)); 10] = [
    (Key::Memory, Unit::Bytes, MEMORY),
    (Key::MemoryHigh, Unit::Bytes, MEMORY),
    (Key::MemoryLow, Unit::Bytes, (0, MEMORY.1)),
    (Key::GuestSwap, Unit::Bytes, (0, MEMORY.1)),
    (Key::Cpus, Unit::Milli, CPUS_MILLI),
    (Key::CpuWeight, Unit::Count, (1, 10_000)),
    (Key::IoWeight, Unit::Count, (1, 10_000)),
    (Key::Processes, Unit::Count, (1, PROCESSES_MAX)),
    (Key::OomScore, Unit::Count, (-1000, 1000)),
    (Key::OomGroup, Unit::Count, (0, 1)),
];

/// The file systems in memory that every guest has, and what they hold where nobody says it, bytes.
pub const OWN_TMPFS: [(&CStr, u64); 3] =
    [(c"/run", limits::RUN_BYTES), (c"/tmp", limits::TMP_BYTES), (c"/dev/shm", limits::SHM_BYTES)];

/// Keys, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys(u128);

const _: () = assert!(Key::COUNT < u128::BITS as usize);

impl Keys {
    /// Adds `key`.
    pub fn add(&mut self, key: Key) {
        self.set(key, true);
    }

    /// Adds `key`, or takes it out.
    pub fn set(&mut self, key: Key, is_in: bool) {
        self.0 = self.0 & !(1 << key as u32) | u128::from(is_in) << key as u32;
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As bits: key number N is bit N.
    #[must_use]
    pub fn bits(self) -> u128 {
        self.0
    }

    /// Those of these bits that are keys.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Keys {
        Keys(bits & ((1 << Key::COUNT) - 1))
    }

    /// Each of them.
    pub fn each(self) -> impl Iterator<Item = Key> {
        Key::ALL.iter().copied().filter(move |key| self.has(*key))
    }

    /// Whether `key` is one of them.
    #[must_use]
    pub fn has(self, key: Key) -> bool {
        self.0 >> key as u32 & 1 == 1
    }
}

/// "memory, cpus".
impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.each()
            .enumerate()
            .try_for_each(|(index, key)| write!(f, "{}{}", if index > 0 { ", " } else { "" }, key.name()))
    }
}

/// Changes of one guest that are in no guest yet.
#[derive(Clone, Copy, Debug)]
pub struct Staged {
    /// What it is limited to, with the changes.
    pub limits: Limits,
    /// Its per-process limits.
    pub rlimits: List<Rlimit>,
    /// Its file systems in memory.
    pub tmpfs: List<Tmpfs>,
    /// What was changed.
    pub keys: Keys,
    /// Of these, what holds again as if nobody had said it.
    unsaid: Keys,
    /// They are what waited for the guest's next start.
    is_next: bool,
    marks: [usize; 4],
}

/// Why a plan does not take changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This key would be above `memory`, which is so many bytes.
    AboveMemory(Key, u64),
    /// No file system in memory is mounted there.
    NoTmpfs,
    /// There is no room for more of these.
    Full(Key),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::AboveMemory(key, memory) => {
                write!(f, "{} would be above memory, which is {}", key.name(), Amount(*memory, Unit::Bytes))
            }
            Refused::NoTmpfs => f.write_str("it has no tmpfs there: one is made when it starts"),
            Refused::Full(key) => write!(f, "there is no room for one more {}", key.name()),
        }
    }
}

impl<'a> Change<'a> {
    /// The key.
    #[must_use]
    pub fn key(self) -> Key {
        match self {
            Change::Number { key, .. } => key,
            Change::Cpuset { .. } => Key::Cpuset,
            Change::IoMax { .. } => Key::IoMax,
            Change::Rlimit { .. } => Key::Rlimit,
            Change::Tmpfs { .. } => Key::Tmpfs,
        }
    }

    /// Whether `key` can be changed while a guest runs.
    #[must_use]
    pub fn is_of(key: Key) -> bool {
        matches!(key, Key::Cpuset | Key::IoMax | Key::Rlimit | Key::Tmpfs) || number(key).is_some()
    }

    /// Whether a config could say it: everything that can be known without a guest.
    #[must_use]
    pub fn is_valid(self) -> bool {
        let text = match self {
            Change::Cpuset { cpus: text } | Change::IoMax { device: text, .. } | Change::Tmpfs { target: text, .. } => {
                text
            }
            Change::Number { .. } | Change::Rlimit { .. } => "",
        };
        let within = |number: u64, (from, to): (u64, u64)| (from..=to).contains(&number);
        !text.contains(char::is_control)
            && match self {
                Change::Number { key, value } => {
                    let bounds = number(key).map(|(_, bounds)| bounds);
                    bounds.is_some_and(|(from, to)| value.is_none_or(|value| (from..=to).contains(&value)))
                }
                Change::Cpuset { cpus } => cpus.is_empty() || value::cpuset(cpus.as_bytes()).is_ok(),
                Change::IoMax { device, limits } => {
                    let good = |limit: u64| limit == u64::MAX || within(limit, LIMITS);
                    device_path(device.as_bytes()).is_ok()
                        && limits.is_some_and(|limits| {
                            limits.iter().any(Option::is_some) && limits.into_iter().flatten().all(good)
                        })
                }
                Change::Rlimit { resource, limits } => {
                    value::rlimit_name(resource).is_some() && limits.is_some_and(|(soft, hard)| soft <= hard)
                }
                Change::Tmpfs { target: path, bytes } => {
                    target(path.as_bytes()).is_ok() && bytes.is_some_and(|bytes| within(bytes, TMPFS_BYTES))
                }
            }
    }
}

/// What the number of `key` counts, and its bounds; nothing for a key that is none.
#[must_use]
pub fn number(key: Key) -> Option<(Unit, (i64, i64))> {
    NUMBERS.iter().find(|(other, ..)| *other == key).map(|(_, unit, bounds)| (*unit, *bounds))
}

impl Limits {
    /// What the number of `key` is; nothing where there is no limit.
    #[must_use]
    pub fn number(&self, key: Key) -> Option<i64> {
        let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as i64);
        match key {
            Key::Memory => bytes(self.memory_bytes),
            Key::MemoryHigh => bytes(self.memory_high_bytes),
            Key::MemoryLow => bytes(self.memory_low_bytes),
            Key::GuestSwap => bytes(self.swap_bytes),
            Key::Cpus => self.cpus_milli.map(i64::from),
            Key::CpuWeight => self.cpu_weight.map(i64::from),
            Key::IoWeight => self.io_weight.map(i64::from),
            Key::Processes => Some(self.processes.into()),
            Key::OomScore => Some(self.oom_score.into()),
            Key::OomGroup => Some(self.oom_group.into()),
            _ => None,
        }
    }

    /// Makes the number of `key` this, which is within its bounds; nothing: as where nobody says it.
    pub fn set_number(&mut self, key: Key, value: Option<i64>) {
        let bytes = value.map(|value| value as u64);
        match key {
            Key::Memory => self.memory_bytes = bytes,
            Key::MemoryHigh => self.memory_high_bytes = bytes,
            Key::MemoryLow => self.memory_low_bytes = bytes,
            Key::GuestSwap => self.swap_bytes = bytes,
            Key::Cpus => self.cpus_milli = value.map(|value| value as u32),
            Key::CpuWeight => self.cpu_weight = value.map(|value| value as u16),
            Key::IoWeight => self.io_weight = value.map(|value| value as u16),
            Key::Processes => self.processes = value.map_or(limits::PROCESSES_DEFAULT, |value| value as u32),
            Key::OomScore => self.oom_score = value.unwrap_or_default() as i16,
            Key::OomGroup => self.oom_group = value == Some(1),
            _ => {}
        }
    }

    /// The first key behind `after` that is above `memory`, which it may not be.
    #[must_use]
    pub fn above_memory(&self) -> [Option<Key>; 2] {
        let is_above = |bytes: Option<u64>| bytes.zip(self.memory_bytes).is_some_and(|(bytes, memory)| bytes > memory);
        [
            is_above(self.memory_high_bytes).then_some(Key::MemoryHigh),
            is_above(self.memory_low_bytes).then_some(Key::MemoryLow),
        ]
    }
}

impl Plan {
    /// What `guest` is limited to now, of the same kind as `change`.
    #[must_use]
    pub fn present<'p>(&'p self, guest: &Guest, change: Change<'p>) -> Change<'p> {
        let is = |text: Text, other: &str| self.strings.bytes(text) == other.as_bytes();
        match change {
            Change::Number { key, .. } => {
                let value = guest.limits.number(key).filter(|_| is_set(&guest.asked, key));
                Change::Number { key, value }
            }
            Change::Cpuset { .. } => Change::Cpuset { cpus: self.strings.str(guest.limits.cpuset) },
            Change::IoMax { device, .. } => {
                let disks = self.io_max.get(guest.limits.io_max);
                let limits = disks.iter().find(|disk| is(disk.device, device)).map(|disk| disk.limits);
                Change::IoMax { device, limits }
            }
            Change::Rlimit { resource, .. } => {
                let all = self.rlimits.get(guest.rlimits);
                let found = all.iter().find(|limit| limit.resource == resource);
                Change::Rlimit { resource, limits: found.map(|limit| (limit.soft, limit.hard)) }
            }
            Change::Tmpfs { target, .. } => {
                let all = self.tmpfs.get(guest.tmpfs);
                let bytes = all.iter().find(|tmpfs| is(tmpfs.target, target)).map(|tmpfs| tmpfs.bytes);
                Change::Tmpfs { target, bytes }
            }
        }
    }

    /// What guest `id` would be limited to with `changes`, which are valid. No guest is changed: it is kept
    /// ([`Plan::keep`]) or dropped ([`Plan::abandon`]), before anything else is staged.
    ///
    /// # Errors
    /// Why they cannot be; then nothing is staged.
    pub fn stage<'c>(
        &mut self,
        id: GuestId,
        changes: impl Iterator<Item = Change<'c>>,
    ) -> Result<Option<Staged>, Refused> {
        let Some(guest) = self.guest(id).copied() else { return Ok(None) };
        let mut staged = Staged { is_next: false, ..self.staged(&guest, Keys::default()) };
        let mut result = Ok(());
        for change in changes {
            staged.keys.add(change.key());
            result = result.and_then(|()| self.stage_one(&guest, change, &mut staged));
        }
        let above = staged.limits.above_memory().into_iter().flatten().next();
        if let Some((key, memory)) = above.zip(staged.limits.memory_bytes) {
            result = result.and(Err(Refused::AboveMemory(key, memory)));
        }
        match result {
            Ok(()) => Ok(Some(staged)),
            Err(refused) => {
                self.abandon(&staged);
                Err(refused)
            }
        }
    }

    /// What `to` is limited to, as a change of `keys` that waited for it.
    pub(super) fn staged(&self, to: &Guest, keys: Keys) -> Staged {
        let marks = [self.strings.mark(), self.io_max.mark(), self.rlimits.mark(), self.tmpfs.mark()];
        let (limits, rlimits, tmpfs) = (to.limits, to.rlimits, to.tmpfs);
        Staged { limits, rlimits, tmpfs, keys, unsaid: Keys::default(), is_next: true, marks }
    }

    fn stage_one(&mut self, guest: &Guest, change: Change<'_>, staged: &mut Staged) -> Result<(), Refused> {
        let full = Refused::Full(change.key());
        match change {
            Change::Number { key, value } => {
                staged.limits.set_number(key, value);
                staged.unsaid.set(key, value.is_none());
            }
            Change::Cpuset { cpus } => {
                staged.limits.cpuset = self.strings.add(cpus.as_bytes()).map_err(|_| full)?;
                staged.unsaid.set(Key::Cpuset, cpus.is_empty());
            }
            Change::IoMax { device, limits } => {
                let list = staged.limits.io_max;
                let disks = self.io_max.get(list).iter();
                let place = disks.clone().position(|disk| self.strings.bytes(disk.device) == device.as_bytes());
                let device = self.strings.add(device.as_bytes()).map_err(|_| full)?;
                let disk = IoMax { device, limits: limits.unwrap_or_default() };
                staged.limits.io_max = with(&mut self.io_max, list, place, disk, limits::DISKS).ok_or(full)?;
            }
            Change::Rlimit { resource, limits } => {
                let list = staged.rlimits;
                let place = self.rlimits.get(list).iter().position(|limit| limit.resource == resource);
                let (soft, hard) = limits.unwrap_or_default();
                let limit = Rlimit { resource, soft, hard };
                staged.rlimits = with(&mut self.rlimits, list, place, limit, usize::MAX).ok_or(full)?;
            }
            Change::Tmpfs { target, bytes } => {
                let (list, strings) = (staged.tmpfs, &self.strings);
                let is = |text: Text| strings.bytes(text) == target.as_bytes();
                let place = self.tmpfs.get(list).iter().position(|tmpfs| is(tmpfs.target));
                let is_bound = self.binds.get(guest.binds).iter().any(|bind| is(bind.target));
                let is_own = OWN_TMPFS.iter().any(|(own, _)| own.to_bytes() == target.as_bytes())
                    && guest.kind != Kind::Service
                    && !is_bound;
                if place.is_none() && !is_own {
                    return Err(Refused::NoTmpfs);
                }
                let target = self.strings.add(target.as_bytes()).map_err(|_| full)?;
                let tmpfs = Tmpfs { target, bytes: bytes.unwrap_or_default() };
                staged.tmpfs = with(&mut self.tmpfs, list, place, tmpfs, limits::BINDS).ok_or(full)?;
            }
        }
        Ok(())
    }

    /// Makes what was staged what guest `id` is limited to.
    pub fn keep(&mut self, id: GuestId, staged: &Staged) {
        let Some(guest) = self.guests.get_mut(usize::from(id.0)) else { return };
        guest.limits = staged.limits;
        guest.rlimits = staged.rlimits;
        guest.tmpfs = staged.tmpfs;
        for key in staged.keys.each() {
            // Where the config says it is not where it was said now.
            let at = if staged.unsaid.has(key) { At::NOWHERE } else { At::LIVE };
            if let Some(asked) = guest.asked.get_mut(key as usize) {
                *asked = at;
            }
        }
        self.settle(id, staged.keys, staged.is_next);
        self.compact();
    }

    /// Forgets what was staged.
    pub fn abandon(&mut self, staged: &Staged) {
        let [strings, io_max, rlimits, tmpfs] = staged.marks;
        self.strings.truncate(strings);
        self.io_max.truncate(io_max);
        self.rlimits.truncate(rlimits);
        self.tmpfs.truncate(tmpfs);
    }

    /// Gives up what no guest has any more.
    fn compact(&mut self) {
        let Plan { guests, next, strings, io_max, rlimits, tmpfs, config_strings, .. } = self;
        let mut each = |visit: &mut dyn FnMut(&mut Guest)| {
            guests.iter_mut().chain(next.iter_mut().map(|next| &mut next.guest)).for_each(visit);
        };
        io_max.compact(&mut |visit| each(&mut |guest| visit(&mut guest.limits.io_max)));
        rlimits.compact(&mut |visit| each(&mut |guest| visit(&mut guest.rlimits)));
        tmpfs.compact(&mut |visit| each(&mut |guest| visit(&mut guest.tmpfs)));
        strings.compact(*config_strings, &mut |visit| {
            each(&mut |guest| visit(&mut guest.limits.cpuset));
            io_max.items_mut().iter_mut().for_each(|disk| visit(&mut disk.device));
            tmpfs.items_mut().iter_mut().for_each(|tmpfs| visit(&mut tmpfs.target));
        });
    }
}

/// A copy of `list` with `item` in the place of number `place`, or behind it; nothing where there is no room for it.
fn with<T: Copy, const N: usize>(
    pool: &mut Pool<T, N>,
    list: List<T>,
    place: Option<usize>,
    item: T,
    bound: usize,
) -> Option<List<T>> {
    let mark = pool.mark();
    let count = list.len() + usize::from(place.is_none());
    for index in 0..count {
        let other = pool.get(list).get(index).copied().filter(|_| place != Some(index));
        pool.push(other.unwrap_or(item)).ok()?;
    }
    (count <= bound).then(|| pool.since(mark))
}
