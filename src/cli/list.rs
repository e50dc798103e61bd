//! `inn list`.

use core::fmt::{self, Write};

use super::ask::{PROMPT_MS, ask};
use super::facts::{self, ExitWords, PlaceWords, StateWords};
use super::json::Json;
use super::output::{Output, Plain};
use super::parse::Options;
use super::screen::Screen;
use super::table::{Column, Table, Tone};
use super::tree;
use super::units::{Bytes, Millis};
use crate::control::wire::{Exit, GuestInfo, Reply, Request, State};
use crate::sys::memory::Static;

static TABLE: Static<Table> = Static::new(Table::new());

const fn column(heading: &'static str, drop: u8, right: bool) -> Column {
    Column { heading, drop, right }
}

const COLUMNS: [Column; 10] = [
    column("NAME", 0, false),
    column("STATE", 0, false),
    column("PID", 6, true),
    column("UPTIME", 3, true),
    column("CPU", 7, true),
    column("MEMORY", 2, true),
    column("PROCS", 4, true),
    column("RESTARTS", 8, true),
    column("FAILS", 5, true),
    column("DESCRIPTION", 9, false),
];

/// Prints all guests; returns the exit code.
#[inline(never)]
pub fn list(options: &Options, out: &mut Output) -> u8 {
    let timeout_ms = options.timeout_ms.or(Some(PROMPT_MS));
    let result = if options.json {
        json(options, timeout_ms, out)
    } else if options.plain {
        plain(options, timeout_ms, out)
    } else {
        table(options, timeout_ms, out)
    };
    if result.is_err() {
        // A heading without a table, half a JSON text.
        out.discard();
    }
    out.finish(result.err().unwrap_or(0))
}

fn json(options: &Options, timeout_ms: Option<u64>, out: &mut Output) -> Result<(), u8> {
    let mut json = Json::new(out);
    json.begin_array();
    let cgroups = tree::cgroups();
    ask(options.socket, &Request::List, timeout_ms, &mut |reply, _| {
        if let Reply::Guest(info) = reply {
            facts::begin_object(&mut json, &facts::guest(info));
            facts::counters(&mut json, cgroups.as_ref(), info);
            json.end_object();
        }
    })?;
    json.end_array();
    json.end_text();
    Ok(())
}

fn plain(options: &Options, timeout_ms: Option<u64>, out: &mut Output) -> Result<(), u8> {
    ask(options.socket, &Request::List, timeout_ms, &mut |reply, _| {
        if let Reply::Guest(info) = reply {
            let mut separator = "";
            for (_, value) in facts::guest(info) {
                let _ = write!(out, "{separator}{value}");
                separator = "\t";
            }
            let _ = out.write_char('\n');
        }
    })
}

fn table(options: &Options, timeout_ms: Option<u64>, out: &mut Output) -> Result<(), u8> {
    // Taken here only, and once: a command lists once.
    let Some(table) = TABLE.take() else { return Ok(()) };
    let screen = Screen::new();
    let mut notes = heapless::String::<{ 32 << 10 }>::new();
    let result = ask(options.socket, &Request::List, timeout_ms, &mut |reply, _| {
        if let Reply::Guest(info) = reply {
            if row(table, info).is_err() {
                let _ = table.print(out, &COLUMNS, screen.width, screen.colour);
                let _ = row(table, info);
            }
            note(&mut notes, info);
        }
    });
    let _ = table.print(out, &COLUMNS, screen.width, screen.colour);
    let _ = out.write_str(&notes);
    result
}

fn row(table: &mut Table, info: &GuestInfo<'_>) -> Result<(), super::table::Full> {
    let tone = match info.state {
        State::Failed | State::Delayed => Tone::Bad,
        _ if info.is_stuck => Tone::Bad,
        State::Down => Tone::Dim,
        _ => Tone::Normal,
    };
    let cells: [&dyn fmt::Display; COLUMNS.len()] = [
        &info.name,
        &StateWords(info),
        &Known((info.pid != 0).then_some(info.pid)),
        &Known(info.uptime_ms.map(Millis)),
        &Known(info.cpu_us.map(|us| Millis(us / 1000))),
        &Use(info.memory_bytes.map(Bytes), info.memory_limit_bytes.map(Bytes)),
        &Use(info.processes, info.processes_limit),
        &info.restarts,
        &Fails(info),
        &info.description,
    ];
    table.row(tone, &cells)
}

/// Why a guest is not up, on a line of its own below the table.
fn note(notes: &mut heapless::String<{ 32 << 10 }>, info: &GuestInfo<'_>) {
    let told = matches!(info.state, State::Failed | State::Delayed);
    let Some(exit) = info.exit.filter(|_| told) else { return };
    let key = if let Exit::Failed(fault) = exit { fault.step.key() } else { None };
    let before = notes.len();
    let place = PlaceWords { key, place: info.place };
    if writeln!(notes, "{}: {}{place}", Plain(info.name), ExitWords(exit)).is_err() {
        // `inn status` tells what found no room here.
        notes.truncate(before);
    }
}

/// "m1 p20 c300": how often it ran into its limits of memory, processes and CPU; "0" where it did not.
struct Fails<'a>(&'a GuestInfo<'a>);

impl fmt::Display for Fails<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blank = "";
        let Fails(info) = self;
        for (letter, count) in [('m', info.oom_kills), ('p', info.processes_refused), ('c', info.cpu_throttled)] {
            if count > 0 {
                write!(f, "{blank}{letter}{count}")?;
                blank = " ";
            }
        }
        f.write_str(if blank.is_empty() { "0" } else { "" })
    }
}

/// A value, or `-`.
pub struct Known<T>(pub Option<T>);

impl<T: fmt::Display> fmt::Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_char('-'),
        }
    }
}

/// "12.3M/64M": what is used, and what may be.
struct Use<T>(Option<T>, Option<T>);

impl<T: fmt::Display + Copy> fmt::Display for Use<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Known(self.0).fmt(f)?;
        self.1.map_or(Ok(()), |limit| write!(f, "/{limit}"))
    }
}
