//! What the kernel counts for a guest while it runs (Documentation/admin-guide/cgroup-v2.rst, accounting/psi.rst): read from
//! its cgroup, the supervisor is not asked for it.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};

use super::tree;
use crate::control::wire::GuestInfo;
use crate::text::words;

macro_rules! counters {
    ($($variant:ident $name:literal $file:literal $line:literal $label:literal;)+) => {
        /// A number of the kernel's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Counter { $(#[doc = concat!("`", $name, "`: of ", $file)] $variant,)+ }

        impl Counter {
            /// How many there are.
            pub const COUNT: usize = [$(Counter::$variant,)+].len();

            /// The names of all of them.
            pub fn names() -> impl Iterator<Item = &'static str> + Clone {
                words(Counter::TABLE).step_by(4)
            }

            /// Name, file, how its lines begin, and what stands before the number in them.
            const TABLE: &'static str = concat!($($name, "\0", $file, "\0", $line, "\0", $label, "\0",)+);
        }
    };
}

// Those of one file stand together, for it is read once. Where several lines have a number, it is their sum.
counters! {
    MemoryPeak "memory_peak_bytes" "memory.peak" "" "";
    MemoryHigh "memory_high_limit_bytes" "memory.high" "" "";
    MemoryLow "memory_low_bytes" "memory.low" "" "";
    MemoryLowEvents "memory_low_events" "memory.events" "low " "";
    MemoryHighEvents "memory_high_events" "memory.events" "high " "";
    MemoryMaxEvents "memory_max_events" "memory.events" "max " "";
    MemoryOomEvents "memory_oom_events" "memory.events" "oom " "";
    MemoryGroupKills "memory_oom_group_kills" "memory.events" "oom_group_kill " "";
    Swap "swap_bytes" "memory.swap.current" "" "";
    SwapMaxEvents "swap_max_events" "memory.swap.events" "max " "";
    SwapFailEvents "swap_fail_events" "memory.swap.events" "fail " "";
    ProcessesPeak "processes_peak" "pids.peak" "" "";
    CpuWeight "cpu_weight" "cpu.weight" "" "";
    CpuThrottledUs "cpu_throttled_us" "cpu.stat" "throttled_usec " "";
    IoWeight "io_weight" "io.weight" "default " "";
    ReadBytes "io_read_bytes" "io.stat" "" "rbytes=";
    WrittenBytes "io_written_bytes" "io.stat" "" "wbytes=";
    Reads "io_reads" "io.stat" "" "rios=";
    Writes "io_writes" "io.stat" "" "wios=";
    CpuPressure "cpu_pressure_centi" "cpu.pressure" "some " "avg10=";
    CpuPressureUs "cpu_pressure_us" "cpu.pressure" "some " "total=";
    MemoryPressure "memory_pressure_centi" "memory.pressure" "some " "avg10=";
    MemoryPressureUs "memory_pressure_us" "memory.pressure" "some " "total=";
    MemoryPressureFullUs "memory_pressure_full_us" "memory.pressure" "full " "total=";
    IoPressure "io_pressure_centi" "io.pressure" "some " "avg10=";
    IoPressureUs "io_pressure_us" "io.pressure" "some " "total=";
    IoPressureFullUs "io_pressure_full_us" "io.pressure" "full " "total=";
}

/// Those of one guest.
#[derive(Debug)]
pub struct Counters {
    values: [Option<u64>; Counter::COUNT],
}

impl Counters {
    /// Those of the guest with this cgroup, below the root of cgroup v2; nothing known where it does not exist.
    #[must_use]
    pub fn read(cgroups: BorrowedFd<'_>, cgroup: &str) -> Counters {
        let mut counters = Counters { values: [None; Counter::COUNT] };
        let Ok(directory) = tree::open(cgroups, cgroup) else { return counters };
        let mut buffer = [0; 4096];
        let (mut before, mut length) = ("", 0);
        let mut table = words(Counter::TABLE);
        for value in &mut counters.values {
            let _ = table.next();
            let mut next = || table.next().unwrap_or_default();
            let (file, line, label) = (next(), next(), next());
            if file != before {
                before = file;
                length = read(directory.as_fd(), file, &mut buffer);
            }
            *value = sum(buffer.get(..length).unwrap_or_default(), line, label);
        }
        counters
    }

    /// Those of a guest; nothing known where cgroup v2 is not to be found.
    #[must_use]
    pub fn of(cgroups: Option<&OwnedFd>, info: &GuestInfo<'_>) -> Counters {
        match cgroups {
            Some(cgroups) if info.cpu_us.is_some() => Counters::read(cgroups.as_fd(), info.cgroup),
            // Nothing of it exists.
            _ => Counters { values: [None; Counter::COUNT] },
        }
    }

    /// One of them; nothing where the kernel has none.
    #[must_use]
    pub fn get(&self, counter: Counter) -> Option<u64> {
        self.values.get(counter as usize).copied().flatten()
    }

    /// All of them, with their names.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, Option<u64>)> {
        Counter::names().zip(self.values)
    }
}

/// How much of the file there is; nothing where there is no such file, or it says nothing (pressure that was switched off).
fn read(directory: BorrowedFd<'_>, file: &str, buffer: &mut [u8]) -> usize {
    let file = rustix::fs::openat(directory, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    file.and_then(|file| rustix::io::read(file, buffer)).unwrap_or(0)
}

/// The sum of the numbers behind `label` in the lines that begin with `line`; nothing where there is none.
fn sum(text: &[u8], line: &str, label: &str) -> Option<u64> {
    let lines = text.split(|byte| *byte == b'\n').filter_map(|text| text.strip_prefix(line.as_bytes()));
    let numbers = lines.filter_map(|text| {
        let mut words = text.split(|byte| *byte == b' ').filter_map(|word| word.strip_prefix(label.as_bytes()));
        number(words.next()?)
    });
    numbers.reduce(u64::saturating_add)
}

/// "12", or "1.50", which is 150.
fn number(digits: &[u8]) -> Option<u64> {
    let mut number = None;
    for byte in digits.iter().filter(|byte| **byte != b'.') {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number = Some(number.unwrap_or(0u64).checked_mul(10)?.checked_add(digit)?);
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_line_and_label() {
        assert_eq!(sum(b"max\n", "", ""), None);
        assert_eq!(sum(b"4096\n", "", ""), Some(4096));
        assert_eq!(sum(b"low 0\nhigh 3\nmax 12\n", "max ", ""), Some(12));
        assert_eq!(sum(b"low 0\noom 1\noom_kill 2\n", "oom ", ""), Some(1));
        let pressure =
            b"some avg10=1.25 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        assert_eq!(sum(pressure, "some ", "avg10="), Some(125));
        assert_eq!(sum(pressure, "full ", "total="), Some(5));
        let disks = b"254:0 rbytes=10 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n254:16 rbytes=5 wbytes=7 rios=2 wios=1\n";
        assert_eq!(sum(disks, "", "rbytes="), Some(15));
        assert_eq!(sum(b"", "", "rbytes="), None);
        assert_eq!(sum(b"999999999999999999999\n", "", ""), None);
    }

    #[test]
    fn a_guest_that_is_not_there_has_no_counters() {
        let root = rustix::fs::openat(rustix::fs::CWD, "/", OFlags::RDONLY, Mode::empty()).unwrap();
        let counters = Counters::read(root.as_fd(), "no/such");
        assert!(counters.all().all(|(name, value)| !name.is_empty() && value.is_none()));
        assert_eq!(counters.all().count(), Counter::COUNT);
    }
}
