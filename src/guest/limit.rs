//! What a cgroup is bounded by: a file of the kernel's for each key (Documentation/admin-guide/cgroup-v2.rst).

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::BorrowedFd;

use super::cgroup::{read, write};
use crate::config::key::Key;
use crate::fault::{At, Fault, Step};
use crate::plan::{IoMax, Limits, Plan};
use crate::sys::{Errno, block};
use crate::text::{self, Made, words};

/// How its value is written.
#[derive(Clone, Copy)]
enum Form {
    /// A number; these words for none.
    Number(fn(&Limits) -> Option<u64>, &'static str),
    /// Microseconds of each tenth of a second.
    Cpus,
    /// CPUs in the kernel's list format.
    Cpuset,
    /// A share of a disk's time.
    IoWeight,
    /// Limits of several disks.
    IoMax,
}

macro_rules! limits {
    ($($variant:ident $key:ident $step:ident $file:literal $form:expr;)+) => {
        /// A limit of a cgroup.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Limit { $(#[doc = concat!("What the key ", stringify!($key), " sets.")] $variant,)+ }

        impl Limit {
            /// All of them, in the order in which a start sets them.
            pub const ALL: &'static [Limit] = &[$(Limit::$variant,)+];

            const TABLE: &'static [(Key, Step, &'static CStr, Form)] = &[$((Key::$key, Step::$step, $file, $form),)+];
        }
    };
}

limits! {
    Memory Memory LimitMemory c"memory.max" Form::Number(|limits| limits.memory_bytes, "max");
    MemoryHigh MemoryHigh LimitMemoryHigh c"memory.high" Form::Number(|limits| limits.memory_high_bytes, "max");
    MemoryLow MemoryLow LimitMemoryLow c"memory.low" Form::Number(|limits| limits.memory_low_bytes, "0");
    Swap GuestSwap LimitSwap c"memory.swap.max" Form::Number(|limits| limits.swap_bytes, "max");
    OomGroup OomGroup LimitOomGroup c"memory.oom.group" Form::Number(|limits| limits.oom_group.then_some(1), "0");
    CpuWeight CpuWeight LimitCpuWeight c"cpu.weight" Form::Number(|limits| limits.cpu_weight.map(u64::from), "100");
    Cpus Cpus LimitCpus c"cpu.max" Form::Cpus;
    Cpuset Cpuset LimitCpuset c"cpuset.cpus" Form::Cpuset;
    IoWeight IoWeight LimitIoWeight c"io.weight" Form::IoWeight;
    IoMax IoMax LimitIoMax c"io.max" Form::IoMax;
    Processes Processes LimitProcesses c"pids.max" Form::Number(|limits| Some(limits.processes.into()), "max");
}

impl Limit {
    /// The limit that `key` sets; nothing for a key that sets none.
    #[must_use]
    pub fn of(key: Key) -> Option<Limit> {
        Limit::ALL.iter().copied().find(|limit| limit.key() == key)
    }

    /// The key that sets it.
    #[must_use]
    pub fn key(self) -> Key {
        Limit::TABLE[self as usize].0
    }

    /// Whether `limits` say it. Those of processes always do: `asked` of the guest tells whether the config did.
    #[must_use]
    pub fn is_said(self, limits: &Limits) -> bool {
        match Limit::TABLE[self as usize].3 {
            Form::Number(number, _) => number(limits).is_some(),
            Form::Cpus => limits.cpus_milli.is_some(),
            Form::Cpuset => !limits.cpuset.is_empty(),
            Form::IoWeight => limits.io_weight.is_some(),
            Form::IoMax => !limits.io_max.is_empty(),
        }
    }

    /// Sets it for `cgroup` to what `limits` say, or to no limit where they say nothing. Strings and lists are `plan`'s.
    ///
    /// # Errors
    /// The step that failed, with the index of the disk where there are several. Then the kernel has the value from before,
    /// but for disks before that one.
    pub fn set(self, cgroup: BorrowedFd<'_>, limits: &Limits, plan: &Plan) -> Result<(), Fault> {
        let (_, step, file, form) = Limit::TABLE[self as usize];
        match form {
            Form::Number(number, none) => match number(limits) {
                Some(number) => write_words(cgroup, file, format_args!("{number}")),
                None => write(cgroup, file, none.as_bytes()),
            },
            Form::Cpus => match limits.cpus_milli {
                Some(milli) => write_words(cgroup, file, format_args!("{} 100000", u64::from(milli) * 100)),
                None => write(cgroup, file, b"max 100000"),
            },
            // A write of nothing would not reach the kernel.
            Form::Cpuset if limits.cpuset.is_empty() => match write(cgroup, file, b"\n") {
                Err(Errno::NOSPC) => write_all_cpus(cgroup, file),
                result => result,
            },
            Form::Cpuset => write(cgroup, file, plan.strings.bytes(limits.cpuset)),
            Form::IoWeight => set_io_weight(cgroup, limits.io_weight.unwrap_or(100)),
            Form::IoMax => return set_io_max(cgroup, plan.io_max.get(limits.io_max), plan),
        }
        .at(step)
    }
}

/// Where processes run, the kernel does not go back to none of its own: all that there are then.
fn write_all_cpus(cgroup: BorrowedFd<'_>, file: &CStr) -> Result<(), Errno> {
    let mut buffer = [0; 4096];
    let all = read(cgroup, c"../cpuset.cpus.effective", &mut buffer)?;
    write(cgroup, file, all)
}

/// Both schedulers of a disk that know shares take theirs: iocost and BFQ. Neither there: ENOENT.
fn set_io_weight(cgroup: BorrowedFd<'_>, weight: u16) -> Result<(), Errno> {
    let cost = write_words(cgroup, c"io.weight", format_args!("{weight}"));
    // BFQ counts from 1 to 1000, and both begin with 100 (bfq-iosched.rst): the same below that, a tenth above.
    let bfq = if weight <= 100 { weight } else { 100 + (weight - 100) / 11 };
    match write_words(cgroup, c"io.bfq.weight", format_args!("{bfq}")) {
        Err(Errno::NOENT) => cost,
        result if cost == Err(Errno::NOENT) => result,
        result => cost.and(result),
    }
}

/// What was limited before and is no more has no limit afterwards.
fn set_io_max(cgroup: BorrowedFd<'_>, disks: &[IoMax], plan: &Plan) -> Result<(), Fault> {
    let mut numbers = heapless::Vec::<(u32, u32), { crate::limits::DISKS }>::new();
    for (index, disk) in disks.iter().enumerate() {
        let found = block::disk(plan.strings.c_str(disk.device)).at_item(Step::FindDisk, index)?;
        // Twice the same disk, by two names: neither may take the other's place.
        let is_new = !numbers.contains(&found.number);
        is_new.then_some(()).ok_or(Errno::EXIST).at_item(Step::FindDisk, index)?;
        numbers.push(found.number).map_err(|_| Errno::NOSPC).at_item(Step::FindDisk, index)?;
    }
    for (index, (number, disk)) in numbers.iter().zip(disks).enumerate() {
        write_disk(cgroup, *number, &disk.limits).at_item(Step::LimitIoMax, index)?;
    }
    let mut buffer = [0; 4096];
    let before = read(cgroup, c"io.max", &mut buffer).at(Step::LimitIoMax)?;
    for line in before.split(|byte| *byte == b'\n') {
        let Some(number) = disk_number(line) else { continue };
        if !numbers.contains(&number) {
            write_disk(cgroup, number, &[None; 4]).at(Step::LimitIoMax)?;
        }
    }
    Ok(())
}

/// "254:0 rbps=max ..."
fn disk_number(line: &[u8]) -> Option<(u32, u32)> {
    text::device_number(line.split(|byte| *byte == b' ').next()?)
}

fn write_disk(cgroup: BorrowedFd<'_>, (major, minor): (u32, u32), limits: &[Option<u64>; 4]) -> Result<(), Errno> {
    let mut line = heapless::String::<160>::new();
    let _ = write!(line, "{major}:{minor}");
    for (name, limit) in words(IoMax::NAMES).zip(limits) {
        let _ = match limit {
            Some(limit) if *limit != u64::MAX => write!(line, " {name}={limit}"),
            _ => write!(line, " {name}=max"),
        };
    }
    write(cgroup, c"io.max", line.as_bytes())
}

fn write_words(cgroup: BorrowedFd<'_>, file: &CStr, words: fmt::Arguments<'_>) -> Result<(), Errno> {
    write(cgroup, file, Made::new(words).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_found_by_its_key() {
        for limit in Limit::ALL {
            assert_eq!(Limit::of(limit.key()), Some(*limit));
        }
        assert_eq!(Limit::of(Key::Root), None);
    }

    #[test]
    fn a_disk_is_read_from_its_line() {
        assert_eq!(disk_number(b"254:16 rbps=1 wbps=max riops=max wiops=max"), Some((254, 16)));
        assert_eq!(disk_number(b""), None);
        assert_eq!(disk_number(b"x:1 rbps=1"), None);
    }
}
