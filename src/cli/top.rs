//! `inn top`: the guests, live.
//!
//! A frame is one write: from the top left corner each line is written over the one before and cleared behind its end, so nothing
//! flickers, and no more is asked of a terminal than a VT100 can. Between frames this process sleeps.

use core::cmp::Ordering;
use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};

use super::ask::FAILED;
use super::columns::{Known, Use};
use super::counters::{Counter, Counters};
use super::facts::StateWords;
use super::guests::{self, Room, Rows};
use super::list::tone;
use super::output::{Output, complain};
use super::parse::{Options, Shown};
use super::screen::{self, Screen};
use super::stats::Waits;
use super::table::{Column, Table};
use super::terminal::Keys;
use super::tree;
use super::units::{Bytes, Milli, Millis};
use crate::config::nearest;
use crate::control::wire::GuestInfo;
use crate::fault::ErrnoWords;
use crate::limits;
use crate::sys::clock::now_ms;
use crate::sys::memory::Static;
use crate::sys::signal::{self, Set};
use crate::sys::stdio;
use crate::text;

/// Exit code of a wrong option.
const USAGE: u8 = 2;
/// Where there is no terminal: how long the two looks are apart that rates are made from.
const ONCE_MS: u64 = 500;
/// Lines besides those of guests: the host, the keys, the heading; the last one is left for what may be said at the end.
const OTHER_LINES: usize = 4;

static TABLE: Static<Table> = Static::new(Table::new());
static BEFORE: Static<Samples> = Static::new(Samples::new());

const fn column(heading: &'static str, drop: u8, right: bool) -> Column {
    Column { heading, drop, right }
}

const COLUMNS: [Column; 9] = [
    column("NAME", 0, false),
    column("STATE", 1, false),
    column("CPU%", 0, true),
    column("MEMORY", 2, true),
    column("PROCS", 5, true),
    column("READ/s", 4, true),
    column("WRITE/s", 3, true),
    column("WAITS c/m/d", 6, true),
    column("UPTIME", 7, true),
];

/// What rows are sorted by. Each is chosen by its letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Cpu,
    Memory,
    Processes,
    Disk,
    Name,
    Uptime,
}

const SORTS: [(u8, &str, Sort); 6] = [
    (b'c', "cpu", Sort::Cpu),
    (b'm', "memory", Sort::Memory),
    (b'p', "processes", Sort::Processes),
    (b'd', "disk", Sort::Disk),
    (b'n', "name", Sort::Name),
    (b'u', "uptime", Sort::Uptime),
];

/// What was counted at the look before: rates are made from two.
#[derive(Debug)]
struct Samples {
    at_ms: u64,
    all: heapless::Vec<Sample, { limits::GUESTS }>,
}

/// One guest's. Its first process tells one run from the next.
#[derive(Clone, Copy, Debug)]
struct Sample {
    pid: u32,
    cpu_us: u64,
    read_bytes: u64,
    written_bytes: u64,
}

impl Samples {
    const fn new() -> Samples {
        Samples { at_ms: 0, all: heapless::Vec::new() }
    }
}

/// A guest as it is shown.
#[derive(Debug)]
struct Line<'g> {
    info: &'g GuestInfo<'g>,
    counters: Counters,
    /// Thousandths of a CPU; nothing where there was no look before.
    cpu_milli: Option<u64>,
    /// Bytes in a second.
    read: Option<u64>,
    written: Option<u64>,
}

/// Shows guests until the user has seen enough.
#[inline(never)]
pub fn top(words: &[&'static CStr], options: &Options, out: &mut Output) -> u8 {
    let sort = match options.sort.map(named).transpose() {
        Ok(sort) => sort.unwrap_or(Sort::Cpu),
        Err(code) => return code,
    };
    let (Some(room), Some(table), Some(before)) = (guests::room(), TABLE.take(), BEFORE.take()) else { return FAILED };
    let mut top = Top { words, options, sort, room, table, before, cgroups: tree::cgroups() };
    if screen::is_addressable() { top.live(out) } else { top.once(out) }
}

fn named(word: &'static CStr) -> Result<Sort, u8> {
    let found = SORTS.iter().find(|(_, name, _)| name.as_bytes() == word.to_bytes());
    found.map(|(_, _, sort)| *sort).ok_or_else(|| {
        let near = nearest(word.to_bytes(), SORTS.iter().map(|(_, name, _)| (*name, name.as_bytes())));
        match near {
            Some(near) => complain(format_args!("--sort: {}: did you mean {near}?", Shown(word))),
            None => complain(format_args!("--sort: {}: one of cpu memory processes disk name uptime", Shown(word))),
        }
        USAGE
    })
}

struct Top<'a> {
    words: &'a [&'static CStr],
    options: &'a Options,
    sort: Sort,
    room: &'static mut Room,
    table: &'static mut Table,
    before: &'static mut Samples,
    cgroups: Option<OwnedFd>,
}

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// To go on as it is.
    Nothing,
    /// To see it at once: another order, another size.
    Again,
    /// To end.
    Quit,
}

impl Top<'_> {
    /// One frame, for what is no screen.
    fn once(&mut self, out: &mut Output) -> u8 {
        let wide = Screen { rows: usize::MAX, ..Screen::new() };
        let first = self.look(None, out);
        let code = match first {
            Ok(_) if screen::is_unread(ONCE_MS) => Ok(0),
            Ok(_) => self.look(Some((wide, false)), out),
            Err(code) => Err(code),
        };
        out.finish(code.unwrap_or_else(|code| code))
    }

    fn live(&mut self, out: &mut Output) -> u8 {
        let signals = signal::block(Set::ALL).and_then(|()| signal::descriptor(Set::ALL));
        let signals = match signals {
            Ok(signals) => signals,
            Err(errno) => {
                complain(format_args!("signalfd4: {}", ErrnoWords(errno.raw_os_error() as u16)));
                return FAILED;
            }
        };
        // Put back when this is dropped, whatever ends it.
        let keys = Keys::begin();
        let result = self.frames(&signals, &keys, out);
        // The cursor is below what was shown.
        let _ = out.write_str("\x1b[?25h\x1b[0m");
        out.flush();
        drop(keys);
        out.finish(result.unwrap_or_else(|code| code))
    }

    fn frames(&mut self, signals: &OwnedFd, keys: &Keys, out: &mut Output) -> Result<u8, u8> {
        let interval_ms = self.options.interval_ms.unwrap_or(limits::INTERVAL_MS);
        // The first look has no rates: the second comes soon.
        let mut next_ms = now_ms().saturating_add(interval_ms.min(ONCE_MS));
        let _ = out.write_str("\x1b[?25l\x1b[2J");
        loop {
            let code = self.look(Some((Screen::new(), true)), out)?;
            out.flush();
            if code != 0 || !out.works() {
                return Ok(code);
            }
            loop {
                match self.wait(signals, keys, next_ms) {
                    Wish::Quit => return Ok(0),
                    Wish::Again => break,
                    Wish::Nothing if now_ms() >= next_ms => {
                        next_ms = now_ms().saturating_add(interval_ms);
                        break;
                    }
                    Wish::Nothing => {}
                }
            }
        }
    }

    /// Waits for a key, a signal, or the time.
    fn wait(&mut self, signals: &OwnedFd, keys: &Keys, until_ms: u64) -> Wish {
        let mut watched = heapless::Vec::<PollFd<'_>, 3>::new();
        // There is room for the three.
        let _ = watched.push(PollFd::new(signals, PollFlags::IN));
        // Nothing is asked for, so only its end is told.
        let _ = watched.push(PollFd::from_borrowed_fd(stdio::output(), PollFlags::empty()));
        if keys.is_open() {
            let _ = watched.push(PollFd::from_borrowed_fd(stdio::input(), PollFlags::IN));
        }
        let left_ms = until_ms.saturating_sub(now_ms());
        let pause = Timespec { tv_sec: (left_ms / 1000) as i64, tv_nsec: (left_ms % 1000 * 1_000_000) as i64 };
        let _ = rustix::event::poll(&mut watched, Some(&pause));
        let has = |index: usize| watched.get(index).is_some_and(|watched| !watched.revents().is_empty());
        let (is_signal, is_gone, is_key) = (has(0), has(1), has(2));
        if is_gone {
            return Wish::Quit;
        }
        let mut wish = Wish::Nothing;
        while is_signal && let Ok(Some(signal)) = signal::next(signals.as_fd()) {
            match i32::from(signal) {
                // Another size; it was stopped, and somebody else had the screen.
                libc::SIGWINCH | libc::SIGCONT => wish = Wish::Again,
                // Nothing that ends a program: stopping would leave the terminal as it is.
                libc::SIGCHLD | libc::SIGURG | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {}
                _ => return Wish::Quit,
            }
        }
        if !is_key {
            return wish;
        }
        match keys.read() {
            Some(b'q' | b'Q' | 0x03 | 0x04) => Wish::Quit,
            Some(b' ') => Wish::Again,
            Some(key) => match SORTS.iter().find(|(letter, ..)| *letter == key.to_ascii_lowercase()) {
                Some((_, _, sort)) => {
                    self.sort = *sort;
                    Wish::Again
                }
                None => wish,
            },
            // The other side of the terminal is gone.
            None if !keys.is_open() => Wish::Quit,
            None => wish,
        }
    }

    /// Asks for the guests, and writes a frame where there is a screen: one that can be addressed, or plain lines.
    fn look(&mut self, screen: Option<(Screen, bool)>, out: &mut Output) -> Result<u8, u8> {
        let at_ms = now_ms();
        let mut rows = Rows::new();
        let code = guests::read(self.room, &mut rows, self.words, self.options)?;
        if code != 0 && rows.is_empty() {
            return Err(code);
        }
        let mut lines = heapless::Vec::<Line<'_>, { limits::GUESTS }>::new();
        let mut samples = heapless::Vec::<Sample, { limits::GUESTS }>::new();
        let passed_ms = at_ms.saturating_sub(self.before.at_ms).max(1);
        for info in &rows {
            let counters = Counters::of(self.cgroups.as_ref(), info);
            let sample = Sample {
                pid: info.pid,
                cpu_us: info.cpu_us.unwrap_or(0),
                read_bytes: counters.get(Counter::ReadBytes).unwrap_or(0),
                written_bytes: counters.get(Counter::WrittenBytes).unwrap_or(0),
            };
            // In the order of the config, which does not change: the same number is the same guest, or another run.
            let before = self.before.all.get(samples.len()).filter(|before| before.pid == info.pid && info.pid != 0);
            let rate = |now: u64, of: fn(&Sample) -> u64| {
                Some(now.saturating_sub(of(before?)).saturating_mul(1000) / passed_ms)
            };
            let disk = counters.get(Counter::ReadBytes).is_some();
            let line = Line {
                info,
                cpu_milli: rate(sample.cpu_us, |sample| sample.cpu_us).map(|us| us / 1000),
                read: rate(sample.read_bytes, |sample| sample.read_bytes).filter(|_| disk),
                written: rate(sample.written_bytes, |sample| sample.written_bytes).filter(|_| disk),
                counters,
            };
            // As many as rows.
            let _ = (samples.push(sample), lines.push(line));
        }
        self.before.at_ms = at_ms;
        self.before.all = samples;
        if let Some((screen, is_addressed)) = screen {
            let sort = self.sort;
            let mut sorted: heapless::Vec<u16, { limits::GUESTS }> = (0..lines.len() as u16).collect();
            text::sort(&mut sorted, &mut |one, other| {
                let lines = lines.get(usize::from(one)).zip(lines.get(usize::from(other)));
                lines.is_some_and(|(one, other)| order(sort, one, other).is_lt())
            });
            let _ = frame(&lines, &sorted, self.table, screen, is_addressed.then_some(sort), out);
        }
        Ok(code)
    }
}

/// Those with the greatest number first; by name where they are the same.
fn order(sort: Sort, one: &Line<'_>, other: &Line<'_>) -> Ordering {
    let number = |line: &Line<'_>| match sort {
        Sort::Cpu => line.cpu_milli,
        Sort::Memory => line.info.memory_bytes,
        Sort::Processes => line.info.processes.map(u64::from),
        Sort::Disk => line.read.zip(line.written).map(|(read, written)| read.saturating_add(written)),
        Sort::Uptime => line.info.uptime_ms,
        Sort::Name => None,
    };
    number(other).cmp(&number(one)).then_with(|| one.info.name.cmp(other.info.name))
}

/// Writes a frame of `lines` in the order of `sorted`; `sort` is there where the screen can be addressed.
fn frame(
    lines: &[Line<'_>],
    sorted: &[u16],
    table: &mut Table,
    screen: Screen,
    sort: Option<Sort>,
    out: &mut Output,
) -> fmt::Result {
    let mut to = Frame { out, is_addressed: sort.is_some(), rows_left: screen.rows.saturating_sub(1) };
    // What is cleared behind the last column would be the letter there.
    let width = if to.is_addressed { screen.width.saturating_sub(1) } else { screen.width };
    if to.is_addressed {
        to.out.write_str("\x1b[H\x1b[0m")?;
    }
    let up = lines.iter().filter(|line| line.info.pid != 0).count();
    let memory = lines.iter().filter_map(|line| line.info.memory_bytes).fold(0, u64::saturating_add);
    let cpu = lines.iter().filter_map(|line| line.cpu_milli).fold(0, u64::saturating_add);
    let mut head = heapless::String::<160>::new();
    let _ = write!(head, "inn: {} guests, {up} up, {}% CPU, {} of memory", lines.len(), Percent(cpu), Bytes(memory));
    writeln!(to, "{}", cut(&head, width))?;
    if let Some(sort) = sort {
        let mut keys = heapless::String::<160>::new();
        let _ = keys.write_str("sort:");
        for (letter, name, one) in SORTS {
            let (open, close) = if one == sort { ("[", "]") } else { ("", "") };
            let _ = write!(keys, " {open}{} {name}{close}", char::from(letter));
        }
        let _ = keys.write_str("  space now  q quit");
        writeln!(to, "{}", cut(&keys, width))?;
    }
    let room = screen.rows.saturating_sub(OTHER_LINES);
    for line in sorted.iter().filter_map(|index| lines.get(usize::from(*index))).take(room) {
        if row(table, line).is_err() {
            break;
        }
    }
    table.print(&mut to, &COLUMNS, width, screen.colour)?;
    if to.is_addressed { to.out.write_str("\x1b[0m\x1b[J") } else { Ok(()) }
}

/// As much of a line as fits.
fn cut(line: &str, width: usize) -> &str {
    line.get(..line.floor_char_boundary(width)).unwrap_or_default()
}

fn row(table: &mut Table, line: &Line<'_>) -> Result<(), super::table::Full> {
    let info = line.info;
    let cells: [&dyn fmt::Display; COLUMNS.len()] = [
        &info.name,
        &StateWords(info),
        &Known(line.cpu_milli.map(Percent)),
        &Use(info.memory_bytes.map(Bytes), info.memory_limit_bytes.map(Bytes)),
        &Use(info.processes, info.processes_limit),
        &Known(line.read.map(Bytes)),
        &Known(line.written.map(Bytes)),
        &Waits(&line.counters),
        &Known(info.uptime_ms.map(Millis)),
    ];
    table.row(tone(info), &cells)
}

/// Thousandths of a CPU: "12.5".
#[derive(Clone, Copy)]
struct Percent(u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Milli(self.0.saturating_mul(100)).fmt(f)
    }
}

/// What is written of a frame: each line clears what stood behind it, and none comes that would scroll the screen.
struct Frame<'o> {
    out: &'o mut Output,
    is_addressed: bool,
    rows_left: usize,
}

impl Write for Frame<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.is_addressed {
            return self.out.write_str(text);
        }
        for part in text.split_inclusive('\n') {
            let (line, is_end) = part.strip_suffix('\n').map_or((part, false), |line| (line, true));
            if self.rows_left > 0 {
                self.out.write_str(line)?;
            }
            if is_end && self.rows_left > 0 {
                self.rows_left -= 1;
                self.out.write_str("\x1b[K\r\n")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'g>(info: &'g GuestInfo<'g>, cpu_milli: Option<u64>) -> Line<'g> {
        Line { info, counters: Counters::of(None, info), cpu_milli, read: None, written: None }
    }

    #[test]
    fn the_greatest_comes_first_then_the_first_by_name() {
        let info = |name, memory_bytes| GuestInfo { name, memory_bytes, ..GuestInfo::EMPTY };
        let (a, b, c) = (info("a", Some(1)), info("b", Some(2)), info("c", None));
        let mut lines = [line(&c, Some(5)), line(&b, None), line(&a, Some(5))];
        lines.sort_by(|one, other| order(Sort::Cpu, one, other));
        assert_eq!(lines.each_ref().map(|line| line.info.name), ["a", "c", "b"]);
        lines.sort_by(|one, other| order(Sort::Memory, one, other));
        assert_eq!(lines.each_ref().map(|line| line.info.name), ["b", "a", "c"]);
        lines.sort_by(|one, other| order(Sort::Name, one, other));
        assert_eq!(lines.each_ref().map(|line| line.info.name), ["a", "b", "c"]);
    }

    #[test]
    fn each_letter_is_that_of_its_name_and_none_means_two_things() {
        for (index, (letter, name, _)) in SORTS.iter().enumerate() {
            assert_eq!(name.as_bytes()[0], *letter);
            assert!(SORTS[..index].iter().all(|(other, ..)| other != letter) && *letter != b'q');
        }
    }
}
