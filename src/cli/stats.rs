//! `inn stats`: what the kernel counts for each guest.

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::OwnedFd;

use super::ask::FAILED;
use super::columns::{Fails, Known, Use};
use super::counters::{Counter, Counters};
use super::facts::{self, Fact, Value};
use super::guests::{self, Rows};
use super::json::Json;
use super::list::tone;
use super::output::Output;
use super::parse::Options;
use super::screen::{self, Screen};
use super::table::{Column, Table};
use super::tree;
use super::units::{Bytes, Milli, Millis};
use crate::control::wire::GuestInfo;
use crate::limits;
use crate::sys::clock;
use crate::sys::memory::Static;
use crate::text::words;

static TABLE: Static<Table> = Static::new(Table::new());

const fn column(heading: &'static str, drop: u8, right: bool) -> Column {
    Column { heading, drop, right }
}

const COLUMNS: [Column; 11] = [
    column("NAME", 0, false),
    column("CPU", 4, true),
    column("MEMORY", 5, true),
    column("PEAK", 10, true),
    column("SWAP", 8, true),
    column("READ", 2, true),
    column("WRITTEN", 3, true),
    column("OPS", 9, true),
    column("PROCS", 6, true),
    column("WAITS c/m/d", 1, true),
    column("FAILS", 7, true),
];

/// Prints what is counted for the guests that `words` name, or for all, once or again and again.
#[inline(never)]
pub fn stats(words: &[&'static CStr], options: &Options, out: &mut Output) -> u8 {
    let (Some(room), Some(table)) = (guests::room(), TABLE.take()) else { return FAILED };
    let cgroups = tree::cgroups();
    loop {
        let mut rows = Rows::new();
        let code = match guests::read(room, &mut rows, words, options) {
            Ok(code) => code,
            Err(code) => return out.finish(code),
        };
        if code != 0 && rows.is_empty() {
            return out.finish(code);
        }
        if options.json {
            json(&rows, cgroups.as_ref(), options.follow, out);
        } else if options.plain {
            plain(&rows, cgroups.as_ref(), out);
        } else {
            print(&rows, cgroups.as_ref(), table, out);
        }
        out.flush();
        let again = options.follow && code == 0 && out.works();
        if !again || screen::is_unread(options.interval_ms.unwrap_or(limits::INTERVAL_MS)) {
            return out.finish(code);
        }
        if !options.json && !options.plain {
            let _ = out.write_char('\n');
        }
    }
}

/// Those of a guest's facts that change, in the order of `--plain`; what the kernel counts comes behind them.
const FACTS: &str = "name\0state\0uptime_ms\0restarts\0cpu_us\0cpus_limit_milli\0memory_bytes\0memory_limit_bytes\0\
    swap_limit_bytes\0processes\0processes_limit\0oom_kills\0processes_refused\0cpu_throttled";

/// Calls `each` with all that is told of a guest.
fn each_fact(info: &GuestInfo<'_>, cgroups: Option<&OwnedFd>, time_ms: u64, each: &mut dyn FnMut(&Fact<'_>)) {
    each(&("time_ms", Value::Number(time_ms)));
    let facts = facts::guest(info);
    words(FACTS).filter_map(|name| facts.iter().find(|fact| fact.0 == name)).for_each(&mut *each);
    let counters = Counters::of(cgroups, info);
    counters.all().for_each(|(name, value)| each(&(name, Value::from(value))));
}

fn json(rows: &Rows<'_>, cgroups: Option<&OwnedFd>, lines: bool, out: &mut Output) {
    let time_ms = clock::unix_ms();
    let mut json = Json::new(out);
    if !lines {
        json.begin_array();
    }
    for info in rows {
        json.begin_object();
        each_fact(info, cgroups, time_ms, &mut |(name, value)| {
            json.key(name);
            value.json(&mut json);
        });
        json.end_object();
        if lines {
            json.end_text();
        }
    }
    if !lines {
        json.end_array();
        json.end_text();
    }
}

fn plain(rows: &Rows<'_>, cgroups: Option<&OwnedFd>, out: &mut Output) {
    let time_ms = clock::unix_ms();
    for info in rows {
        let mut separator = "";
        each_fact(info, cgroups, time_ms, &mut |(_, value)| {
            let _ = write!(out, "{separator}{value}");
            separator = "\t";
        });
        let _ = out.write_char('\n');
    }
}

fn print(rows: &Rows<'_>, cgroups: Option<&OwnedFd>, table: &mut Table, out: &mut Output) {
    let screen = Screen::new();
    for info in rows {
        let counters = Counters::of(cgroups, info);
        if row(table, info, &counters).is_err() {
            let _ = table.print(out, &COLUMNS, screen.width, screen.colour);
            let _ = row(table, info, &counters);
        }
    }
    let _ = table.print(out, &COLUMNS, screen.width, screen.colour);
}

fn row(table: &mut Table, info: &GuestInfo<'_>, counters: &Counters) -> Result<(), super::table::Full> {
    let bytes = |counter| Known(counters.get(counter).map(Bytes));
    let ops = counters.get(Counter::Reads).zip(counters.get(Counter::Writes));
    let cells: [&dyn fmt::Display; COLUMNS.len()] = [
        &info.name,
        &Known(info.cpu_us.map(|us| Millis(us / 1000))),
        &Use(info.memory_bytes.map(Bytes), info.memory_limit_bytes.map(Bytes)),
        &bytes(Counter::MemoryPeak),
        &bytes(Counter::Swap),
        &bytes(Counter::ReadBytes),
        &bytes(Counter::WrittenBytes),
        &Known(ops.map(|(reads, writes)| reads.saturating_add(writes))),
        &Use(info.processes, info.processes_limit),
        &Waits(counters),
        &Fails(info),
    ];
    table.row(tone(info), &cells)
}

/// "0.5/0/12.25": in how many hundredths of the last ten seconds something of it waited for CPU, memory, disks.
pub struct Waits<'a>(pub &'a Counters);

impl fmt::Display for Waits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for counter in [Counter::CpuPressure, Counter::MemoryPressure, Counter::IoPressure] {
            write!(f, "{separator}{}", Known(self.0.get(counter).map(|centi| Milli(centi.saturating_mul(10)))))?;
            separator = "/";
        }
        Ok(())
    }
}
