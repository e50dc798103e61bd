//! `inn metrics`: OpenMetrics text (OpenMetrics 1.0, RFC-to-be; Prometheus text format 0.0.4), printed or served ([`scrape`]).
//!
//! The two formats name the family of a counter differently: `x` and `x_total`. Who says which one it wants gets that; what is
//! printed is both at once, for which counters have no type.
//!
//! [`scrape`]: super::scrape

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::OwnedFd;

use super::ask::{FAILED, PROMPT_MS, ask};
use super::counters::Counters;
use super::facts::{self, Value};
use super::guests::{self, Room, Rows};
use super::output::Output;
use super::parse::Options;
use super::{scrape, tree, version};
use crate::control::wire::{GuestInfo, HostInfo, Reply, Request, State};
use crate::limits;
use crate::sys::memory::Static;
use crate::text::words;

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Right in both.
    Both,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
    /// `text/plain; version=0.0.4`
    Text,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Gauge,
    Counter,
}

macro_rules! families {
    ($($type:ident $name:literal $unit:literal $source:literal $divisor:literal $help:literal;)+) => {
        /// Type, and what the source is divided by.
        const TYPES: &[(Type, u32)] = &[$((Type::$type, $divisor),)+];
        /// Name without `inn_guest_` and the unit, unit, the fact or counter that it is made from, help.
        const FAMILIES: &str = concat!($($name, "\0", $unit, "\0", $source, "\0", $help, "\0",)+);
    };
}

// Those of a guest that are numbers of its facts and counters.
families! {
    Gauge "uptime" "seconds" "uptime_ms" 1000 "Time since its first process was made.";
    Counter "restarts" "" "restarts" 1 "How often it was started again after it ended by itself.";
    Counter "cpu" "seconds" "cpu_us" 1_000_000 "CPU time used.";
    Gauge "cpu_limit" "cpus" "cpus_limit_milli" 1000 "The most CPUs it may use.";
    Gauge "cpu_weight" "" "cpu_weight" 1 "Its share of the CPUs.";
    Counter "cpu_throttled_periods" "" "cpu_throttled" 1 "Tenths of a second in which it came to the end of its CPU time.";
    Counter "cpu_throttled" "seconds" "cpu_throttled_us" 1_000_000 "Time for which it was held back.";
    Gauge "memory" "bytes" "memory_bytes" 1 "Memory in use.";
    Gauge "memory_peak" "bytes" "memory_peak_bytes" 1 "The most memory that was in use.";
    Gauge "memory_limit" "bytes" "memory_limit_bytes" 1 "The most memory it may use.";
    Gauge "memory_high_limit" "bytes" "memory_high_limit_bytes" 1 "Memory above which it is slowed down.";
    Gauge "memory_low" "bytes" "memory_low_bytes" 1 "Memory that is not taken from it.";
    Counter "memory_low_events" "" "memory_low_events" 1 "How often that was taken all the same.";
    Counter "memory_high_events" "" "memory_high_events" 1 "How often it was slowed down for memory.";
    Counter "memory_max_events" "" "memory_max_events" 1 "How often it came to its limit of memory.";
    Counter "memory_oom_events" "" "memory_oom_events" 1 "How often it was out of memory.";
    Counter "oom_kills" "" "oom_kills" 1 "Processes killed because memory was full.";
    Counter "oom_group_kills" "" "memory_oom_group_kills" 1 "How often all of it was killed for that.";
    Gauge "swap" "bytes" "swap_bytes" 1 "Swap in use.";
    Gauge "swap_limit" "bytes" "swap_limit_bytes" 1 "The most swap it may use.";
    Counter "swap_max_events" "" "swap_max_events" 1 "How often it came to its limit of swap.";
    Counter "swap_fail_events" "" "swap_fail_events" 1 "How often there was no swap to be had.";
    Gauge "processes" "" "processes" 1 "Processes and threads.";
    Gauge "processes_peak" "" "processes_peak" 1 "The most processes and threads there were.";
    Gauge "processes_limit" "" "processes_limit" 1 "The most it may have.";
    Counter "processes_refused" "" "processes_refused" 1 "Forks refused because it had too many.";
    Gauge "io_weight" "" "io_weight" 1 "Its share of the disks.";
    Counter "io_read" "bytes" "io_read_bytes" 1 "Read from disks.";
    Counter "io_written" "bytes" "io_written_bytes" 1 "Written to disks.";
    Counter "io_reads" "" "io_reads" 1 "Reads of disks.";
    Counter "io_writes" "" "io_writes" 1 "Writes of disks.";
    Counter "cpu_pressure" "seconds" "cpu_pressure_us" 1_000_000 "Time in which something of it waited for CPU.";
    Counter "memory_pressure" "seconds" "memory_pressure_us" 1_000_000 "Time in which something of it waited for memory.";
    Counter "memory_pressure_full" "seconds" "memory_pressure_full_us" 1_000_000 "Time in which all of it waited for memory.";
    Counter "io_pressure" "seconds" "io_pressure_us" 1_000_000 "Time in which something of it waited for disks.";
    Counter "io_pressure_full" "seconds" "io_pressure_full_us" 1_000_000 "Time in which all of it waited for disks.";
}

static COUNTERS: Static<heapless::Vec<Counters, { limits::GUESTS }>> = Static::new(heapless::Vec::new());

/// What metrics are made in, taken once.
pub struct Maker {
    room: &'static mut Room,
    counters: &'static mut heapless::Vec<Counters, { limits::GUESTS }>,
}

impl Maker {
    /// The one that there is.
    pub fn take() -> Option<Maker> {
        Some(Maker { room: guests::room()?, counters: COUNTERS.take()? })
    }

    /// Writes all metrics to `out`.
    ///
    /// # Errors
    /// The exit code; the user has been told.
    pub fn write(&mut self, options: &Options, format: Format, out: &mut dyn Write) -> Result<(), u8> {
        let mut rows = Rows::new();
        guests::read(self.room, &mut rows, &[], options)?;
        let cgroups = tree::cgroups();
        read_counters(self.counters, &rows, cgroups.as_ref());
        let timeout_ms = Some(options.timeout_ms.unwrap_or(PROMPT_MS));
        let mut text = Text { out, format, failed: false };
        ask(options.socket, &Request::HostStatus, timeout_ms, &mut |reply, _| {
            if let Reply::Host(info) = reply {
                text.host(info);
            }
        })?;
        text.states(&rows);
        text.numbers(&rows, self.counters);
        text.put(format_args!("# EOF\n"));
        if text.failed { Err(FAILED) } else { Ok(()) }
    }
}

fn read_counters(
    counters: &mut heapless::Vec<Counters, { limits::GUESTS }>,
    rows: &Rows<'_>,
    cgroups: Option<&OwnedFd>,
) {
    counters.clear();
    for info in rows {
        // As many as rows.
        let _ = counters.push(Counters::of(cgroups, info));
    }
}

/// Prints metrics once, or serves them at `address`.
#[inline(never)]
pub fn metrics(address: Option<&'static CStr>, options: &Options, out: &mut Output) -> u8 {
    let Some(mut maker) = Maker::take() else { return FAILED };
    match address {
        Some(address) => scrape::serve(address, &mut maker, options, out),
        None => {
            let result = maker.write(options, Format::Both, out);
            if result.is_err() {
                // Half of them are none.
                out.discard();
            }
            out.finish(result.err().unwrap_or(0))
        }
    }
}

/// Metrics as they are written.
struct Text<'w> {
    out: &'w mut dyn Write,
    format: Format,
    failed: bool,
}

impl Text<'_> {
    fn put(&mut self, words: fmt::Arguments<'_>) {
        self.failed |= self.out.write_fmt(words).is_err();
    }

    /// What stands before the samples of a family, `name` without `_total`.
    fn family(&mut self, kind: Type, name: &dyn fmt::Display, unit: &str, help: &str) {
        let counts = kind == Type::Counter;
        let total = if counts && self.format != Format::OpenMetrics { "_total" } else { "" };
        if !(counts && self.format == Format::Both) {
            let kind = if counts { "counter" } else { "gauge" };
            self.put(format_args!("# TYPE {name}{total} {kind}\n"));
            // A unit is no more than a remark in the other format.
            if !unit.is_empty() && total.is_empty() {
                self.put(format_args!("# UNIT {name}{total} {unit}\n"));
            }
        }
        self.put(format_args!("# HELP {name}{total} {help}\n"));
    }

    fn host(&mut self, info: &HostInfo<'_>) {
        self.family(Type::Gauge, &"inn_info", "", "The supervisor: its version, and the commit of this program.");
        let (version, commit) = (Label(info.version), Label(version::COMMIT));
        self.put(format_args!("inn_info{{version=\"{version}\",commit=\"{commit}\"}} 1\n"));
        self.family(Type::Gauge, &"inn_uptime_seconds", "seconds", "Time since the supervisor started.");
        self.put(format_args!("inn_uptime_seconds {}\n", Divided(info.uptime_ms, 1000)));
        for (name, help, number) in [
            ("inn_guests", "Guests and services of the config.", info.guests),
            ("inn_guests_running", "Those with a program that runs.", info.running),
            ("inn_guests_failed", "Those that failed.", info.failed),
        ] {
            self.family(Type::Gauge, &name, "", help);
            self.put(format_args!("{name} {number}\n"));
        }
    }

    /// What of guests is no number.
    fn states(&mut self, rows: &Rows<'_>) {
        self.family(Type::Gauge, &"inn_guest_info", "", "A guest or service: its kind and description.");
        for info in rows {
            let (name, kind, about) = (Label(info.name), facts::kind(info.kind), Label(info.description));
            self.put(format_args!("inn_guest_info{{guest=\"{name}\",kind=\"{kind}\",description=\"{about}\"}} 1\n"));
        }
        self.family(Type::Gauge, &"inn_guest_state", "", "The state that it is in.");
        for info in rows {
            let (name, state) = (Label(info.name), info.state.word());
            self.put(format_args!("inn_guest_state{{guest=\"{name}\",state=\"{state}\"}} 1\n"));
        }
        for (name, help, is) in [
            ("inn_guest_up", "Whether its program runs.", is_up as fn(State) -> bool),
            ("inn_guest_ready", "Whether it is ready.", |state| state == State::Ready),
        ] {
            self.family(Type::Gauge, &name, "", help);
            for info in rows {
                let number = u8::from(is(info.state));
                self.put(format_args!("{name}{{guest=\"{}\"}} {number}\n", Label(info.name)));
            }
        }
    }

    fn numbers(&mut self, rows: &Rows<'_>, counters: &[Counters]) {
        let mut table = words(FAMILIES);
        for (kind, divisor) in TYPES {
            let mut next = || table.next().unwrap_or_default();
            let (name, unit, source, help) = (next(), next(), next(), next());
            let name = Family { name, unit };
            self.family(*kind, &name, unit, help);
            let total = if *kind == Type::Counter { "_total" } else { "" };
            for (info, counters) in rows.iter().zip(counters) {
                if let Some(number) = number(info, counters, source) {
                    let (guest, number) = (Label(info.name), Divided(number, *divisor));
                    self.put(format_args!("{name}{total}{{guest=\"{guest}\"}} {number}\n"));
                }
            }
        }
    }
}

fn is_up(state: State) -> bool {
    matches!(state, State::Running | State::Ready | State::Stopping | State::Frozen)
}

/// A number of a guest's facts, or of its counters; nothing where it is not known.
fn number(info: &GuestInfo<'_>, counters: &Counters, source: &str) -> Option<u64> {
    let fact = facts::guest(info).into_iter().find(|(name, _)| *name == source);
    match fact {
        Some((_, Value::Number(number))) => Some(number),
        Some(_) => None,
        None => counters.all().find(|(name, _)| *name == source)?.1,
    }
}

/// "inn_guest_cpu_seconds"
struct Family {
    name: &'static str,
    unit: &'static str,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.unit.is_empty() { "" } else { "_" };
        write!(f, "inn_guest_{}{separator}{}", self.name, self.unit)
    }
}

/// The value of a label. Besides what must be escaped, controls become `?`: what is scraped is shown on terminals too.
struct Label<'a>(&'a str);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' | '\\' => write!(f, "\\{c}"),
            '\n' => f.write_str("\\n"),
            c => f.write_char(if c.is_control() { '?' } else { c }),
        })
    }
}

/// A number divided by a power of ten: "1.234", "12".
struct Divided(u64, u32);

impl fmt::Display for Divided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divisor = u64::from(self.1.max(1));
        write!(f, "{}", self.0 / divisor)?;
        let digits = divisor.ilog10() as usize;
        if digits > 0 { write!(f, ".{:0digits$}", self.0 % divisor) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::counters::Counter;

    #[test]
    fn each_family_is_made_from_something_that_there_is() {
        let table: Vec<_> = words(FAMILIES).collect();
        assert_eq!(table.len(), 4 * TYPES.len());
        for (index, family) in table.chunks(4).enumerate() {
            let is_there = facts::names().chain(Counter::names()).any(|name| name == family[2]);
            assert!(
                is_there && family[3].ends_with('.') && 10u32.pow(TYPES[index].1.ilog10()) == TYPES[index].1,
                "{family:?}"
            );
        }
    }

    #[test]
    fn labels_are_escaped_and_numbers_divided() {
        assert_eq!(Label("a\"b\\c\nd\x1be").to_string(), "a\\\"b\\\\c\\nd?e");
        assert_eq!(Divided(1_234_567, 1_000_000).to_string(), "1.234567");
        assert_eq!(Divided(7, 1000).to_string(), "0.007");
        assert_eq!(Divided(u64::MAX, 1).to_string(), "18446744073709551615");
    }
}
