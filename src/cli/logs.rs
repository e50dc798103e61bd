//! `inn logs`: what guests wrote, read from their rings and put in order by time, a line at a time.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::ask::{FAILED, PROMPT_MS, ask, guest};
use super::events::Events;
use super::follow::{Follower, Wake};
use super::guests;
use super::json::Json;
use super::lossy::{Base64, Tame};
use super::names::{All, Names};
use super::output::{Output, Plain, complain};
use super::parse::{Options, Since};
use crate::calendar::Stamp;
use crate::control::wire::{Happening, Name, Reply, Request};
use crate::fault::ErrnoWords;
use crate::limits;
use crate::supervise::ring::Reader;
use crate::sys::memory::Static;
use crate::sys::{Errno, clock, stdio};
use crate::text::pattern::is_pattern;

/// Bytes of a line that are printed at once; of a longer one there are several parts.
const LINE_BYTES: usize = 16 << 10;
/// How old the beginning of a line may be before it is printed though its end has not come: of what a guest writes in one
/// go, the supervisor may have read only some.
const PATIENCE_MS: u64 = 200;

/// A guest's log, being printed.
#[derive(Debug)]
pub struct Log {
    name: Name,
    reader: Reader<OwnedFd>,
    tame: Tame,
    /// When what comes next in it was written; nothing where that is not known, or nothing is there.
    next_us: Option<u64>,
    /// The beginning of a line is there, and its end is waited for.
    is_held: bool,
    /// Whether the last byte printed was not the end of a line.
    in_line: bool,
}

/// The logs of several guests.
pub type Logs = heapless::Vec<Log, { limits::GUESTS }>;

static LOGS: Static<Logs> = Static::new(Logs::new());
static LINE: Static<[u8; LINE_BYTES]> = Static::new([0; LINE_BYTES]);

impl Log {
    /// Whether what was printed of it last was not a whole line.
    #[must_use]
    pub fn is_in_line(&self) -> bool {
        self.in_line
    }
}

/// A line, or a part of one.
struct Line<'b> {
    bytes: &'b [u8],
    time_us: u64,
    /// Bytes before it that are lost.
    lost: u64,
    /// Whether it is as much as is printed at once.
    is_whole: bool,
}

/// The rest of a line, as far as it is there.
fn gather<'b>(reader: &mut Reader<OwnedFd>, buffer: &'b mut [u8]) -> Result<Line<'b>, Errno> {
    let (mut used, mut lost, mut time_us) = (0, 0, None);
    let is_whole = loop {
        let Some(room) = buffer.get_mut(used..).filter(|room| !room.is_empty()) else { break true };
        let before = reader.place();
        let chunk = reader.read_line(room)?;
        if chunk.bytes == 0 {
            break false;
        }
        if chunk.lost > 0 && used > 0 {
            // What was read before what is lost is a line of its own.
            reader.go_back(before, 0);
            break true;
        }
        time_us.get_or_insert(chunk.time_us);
        (used, lost) = (used + chunk.bytes, lost + chunk.lost);
        if buffer.get(..used).and_then(<[u8]>::last) == Some(&b'\n') {
            break true;
        }
    };
    let bytes = buffer.get(..used).unwrap_or_default();
    Ok(Line { bytes, time_us: time_us.unwrap_or_default(), lost, is_whole })
}

/// Prints the logs of the guests named, or of all.
#[inline(never)]
pub fn logs(names: &[&'static CStr], options: &Options, out: &mut Output) -> u8 {
    let (Some(logs), Some(line)) = (LOGS.take(), LINE.take()) else { return FAILED };
    let mut followed = match options.follow.then(|| Followed::begin(options)).transpose() {
        Ok(followed) => followed,
        Err(code) => return code,
    };
    let mut code = 0;
    for word in names {
        let opened = if is_pattern(word.to_bytes()) {
            open_like(word, options, logs)
        } else {
            guest(word).and_then(|name| open(name, options, logs))
        };
        code = if code == 0 { opened.err().unwrap_or(0) } else { code };
    }
    if names.is_empty() {
        code = open(Name::ALL, options, logs).err().unwrap_or(0);
    }
    if logs.is_empty() && code != 0 {
        return out.finish(code);
    }
    if let Some(followed) = &mut followed {
        logs.iter().for_each(|log| followed.follower.add(log.reader.memory()));
    }
    let is_one = names.len() == 1 && names.first().is_some_and(|word| !is_pattern(word.to_bytes()));
    let mut printer = Printer::new(!is_one, options);
    loop {
        if let Err(errno) = printer.print(logs, line, out) {
            complain(format_args!("logs: {}", ErrnoWords(errno.raw_os_error() as u16)));
            return out.finish(FAILED);
        }
        out.flush();
        let Some(followed) = followed.as_mut().filter(|_| out.works()) else { return out.finish(code) };
        match followed.follower.wait(printer.has_held.then_some(PATIENCE_MS)) {
            Wake::More => followed.find_new(names, options, logs),
            Wake::Unread => return out.finish(code),
            Wake::Ended => {
                // What it wrote last.
                printer.follows = false;
                let _ = printer.print(logs, line, out);
                out.flush();
                complain(format_args!("the supervisor has ended"));
                return out.finish(FAILED);
            }
        }
    }
}

/// Opens the logs that there are of the guests that a pattern stands for.
fn open_like(word: &'static CStr, options: &Options, logs: &mut Logs) -> Result<(), u8> {
    let before = logs.len();
    request(Name::ALL, options, &|guest| guests::names(word, guest), logs)?;
    if logs.len() > before {
        return Ok(());
    }
    // Nobody of that name, or nobody with a log.
    Names::read(&[word], All::Everything, options)
        .and_then(|names| if names.code == 0 { Ok(()) } else { Err(names.code) })
}

/// What a follower has besides the logs.
struct Followed {
    follower: Follower,
    /// Where guests are heard of that have no log yet.
    events: Events,
}

impl Followed {
    fn begin(options: &Options) -> Result<Followed, u8> {
        let mut follower = Follower::begin(options.socket);
        let mut events = Events::open(options)?;
        // Only what comes.
        let _ = events.skip_all();
        follower.add(events.memory());
        Ok(Followed { follower, events })
    }

    /// Opens the logs of guests that have started meanwhile, and of those that have another log now.
    fn find_new(&mut self, names: &[&'static CStr], options: &Options, logs: &mut Logs) {
        let is_wanted = |guest: &str| names.is_empty() || names.iter().any(|word| guests::names(word, guest));
        let mut is_new = false;
        while let Ok(Some(record)) = self.events.read() {
            let starting = record.event().filter(|event| matches!(event.what, Happening::Starting));
            is_new |= starting.is_some_and(|event| is_wanted(event.guest.as_str()));
        }
        if is_new {
            let before = logs.len();
            // All of a new one is new.
            let options = Options { lines: None, since: None, ..*options };
            let _ = request(Name::ALL, &options, &is_wanted, logs);
            logs.iter().skip(before).for_each(|log| self.follower.add(log.reader.memory()));
        }
    }
}

/// Asks for the rings and goes to the lines that are wanted.
///
/// # Errors
/// The exit code; the user has been told.
pub fn open(guest: Name, options: &Options, logs: &mut Logs) -> Result<(), u8> {
    request(guest, options, &|_| true, logs)
}

fn request(guest: Name, options: &Options, is_wanted: &dyn Fn(&str) -> bool, logs: &mut Logs) -> Result<(), u8> {
    let timeout_ms = options.timeout_ms.or(Some(PROMPT_MS));
    let mut failed = None;
    ask(options.socket, &Request::Logs { guest }, timeout_ms, &mut |reply, descriptor| {
        if let (&Reply::Logs { guest, file }, Some(ring)) = (reply, descriptor)
            && is_wanted(guest)
        {
            failed = add((guest, file), ring, options, logs).err().or(failed);
        }
    })?;
    match failed {
        None => Ok(()),
        Some(errno) => {
            complain(format_args!("{}: read its log: {}", guest.as_str(), ErrnoWords(errno.raw_os_error() as u16)));
            Err(FAILED)
        }
    }
}

fn add((guest, file): (&str, &str), ring: OwnedFd, options: &Options, logs: &mut Logs) -> Result<(), Errno> {
    let name = Name::new(guest.as_bytes()).unwrap_or(Name::ALL);
    // One that is followed may have another log after its next start.
    if logs.iter().any(|log| log.name == name && (!options.follow || is_same(log.reader.memory(), ring.as_fd()))) {
        return Ok(());
    }
    let reader = Reader::open(ring)?;
    let mut reader = if options.follow { reader } else { reader.of_copy()? };
    if let Some(since) = options.since {
        let since_us = match since {
            Since::Number(seconds) => clock::boot_us().saturating_sub(seconds.saturating_mul(1_000_000)),
            Since::Moment(real_us) => (real_us as i64).wrapping_sub(clock::wall_us() as i64).max(0) as u64,
        };
        reader.skip_to(reader.since(since_us)?);
    }
    if let Some(lines) = options.lines {
        reader.skip_to(reader.last_lines(lines)?);
    }
    // Where it stands in a file it is not lost.
    if !file.is_empty() && reader.begin()? > 0 {
        complain(format_args!("{guest}: what is older is in {}", Plain(file)));
    }
    let log = Log { name, reader, tame: Tame::default(), next_us: None, is_held: false, in_line: false };
    logs.push(log).map_err(|_| Errno::NOBUFS)
}

fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let inode = |fd| rustix::fs::fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino));
    inode(one) == inode(other)
}

/// How logs are printed.
#[derive(Debug)]
pub struct Printer {
    /// Whether each line begins with the guest's name.
    named: bool,
    /// Whether each line begins with its time.
    timed: bool,
    /// Whether each line is a JSON object.
    json: bool,
    /// Whether a terminal is to be protected.
    tame: bool,
    /// What stands before the first line, if there is one.
    pub heading: &'static str,
    /// Whether more may come of a line that has begun.
    follows: bool,
    /// What is to be added to the time of a line for that on the wall.
    real_us: u64,
    /// The log that was printed last.
    last: Option<usize>,
    /// Whether the end of a line is waited for.
    has_held: bool,
}

impl Printer {
    /// As the options say; `named` where several guests are meant.
    #[must_use]
    pub fn new(named: bool, options: &Options) -> Printer {
        Printer {
            named,
            timed: options.timestamps,
            json: options.json,
            tame: rustix::termios::isatty(stdio::output()),
            heading: "",
            follows: options.follow,
            real_us: clock::wall_us(),
            last: None,
            has_held: false,
        }
    }

    /// Prints what is new, the oldest first.
    ///
    /// # Errors
    /// As pread(2).
    pub fn print(&mut self, logs: &mut Logs, buffer: &mut [u8], out: &mut Output) -> Result<(), Errno> {
        self.has_held = false;
        let now_us = clock::boot_us();
        for log in logs.iter_mut() {
            log.is_held = false;
            log.next_us = log.reader.next_time_us()?;
        }
        while let Some(index) = self.next(logs) {
            let Some(log) = logs.get_mut(index) else { break };
            let before = log.reader.place();
            let line = gather(&mut log.reader, buffer)?;
            let is_young = now_us.saturating_sub(line.time_us) < PATIENCE_MS * 1000;
            // A program that asks for something ends no line; where nobody else writes, that is shown at once.
            let waits = self.follows && (self.named || self.json) && is_young;
            if waits && !line.is_whole {
                log.reader.go_back(before, line.lost);
                (log.is_held, self.has_held) = (true, true);
                continue;
            }
            log.next_us = log.reader.next_time_us()?;
            self.line(logs, index, &line, out);
        }
        Ok(())
    }

    /// The log whose next line is printed next: one whose line goes on, or the one with the oldest.
    fn next(&self, logs: &Logs) -> Option<usize> {
        let is_there = |log: &&Log| log.next_us.is_some() && !log.is_held;
        if let Some(last) = self.last
            && logs.get(last).filter(is_there).is_some_and(Log::is_in_line)
        {
            return Some(last);
        }
        let there = logs.iter().enumerate().filter(|(_, log)| is_there(log));
        Some(there.min_by_key(|(_, log)| log.next_us)?.0)
    }

    fn line(&mut self, logs: &mut Logs, index: usize, line: &Line<'_>, out: &mut Output) {
        if self.last.is_none() {
            out.bytes(self.heading.as_bytes());
        }
        let before = self.last.replace(index).filter(|before| *before != index);
        // Another guest's line is not gone on with.
        if let Some(before) = before.and_then(|before| logs.get_mut(before))
            && core::mem::take(&mut before.in_line)
            && !self.json
        {
            out.bytes(b"\n");
        }
        let Some(log) = logs.get_mut(index) else { return };
        let stamp = Stamp(line.time_us.wrapping_add(self.real_us));
        if self.json {
            json(log, stamp, line, out);
        } else {
            self.text(log, stamp, line, out);
        }
        log.in_line = line.bytes.last() != Some(&b'\n');
    }

    fn text(&self, log: &mut Log, stamp: Stamp, line: &Line<'_>, out: &mut Output) {
        if line.lost > 0 {
            // Between what was before it and what comes behind.
            out.flush();
            complain(format_args!("{}: {} bytes of its log were lost", log.name.as_str(), line.lost));
        }
        if !log.in_line {
            if self.named {
                let _ = write!(out, "{} | ", log.name.as_str());
            }
            if self.timed {
                let _ = write!(out, "{stamp} ");
            }
        }
        if self.tame {
            log.tame.filter(line.bytes, |part| out.bytes(part));
        } else {
            out.bytes(line.bytes);
        }
    }
}

/// `{"time":"…","guest":"web","text":"…"}`: text without the newline; what is not UTF-8 as base64, and "partial" where no
/// newline ends it yet. Before it, where bytes were lost, `{…,"lost":17}`.
fn json(log: &Log, stamp: Stamp, line: &Line<'_>, out: &mut Output) {
    let mut object = |key: &str, member: &mut dyn FnMut(&mut Json<'_, Output>)| {
        let mut json = Json::new(out);
        json.begin_object();
        json.key("time");
        json.display(stamp);
        json.key("guest");
        json.string(log.name.as_str());
        json.key(key);
        member(&mut json);
        json.end_object();
        json.end_text();
    };
    if line.lost > 0 {
        object("lost", &mut |json| json.number(line.lost));
    }
    let ended = line.bytes.strip_suffix(b"\n");
    let bytes = ended.unwrap_or(line.bytes);
    let text = core::str::from_utf8(bytes);
    object(if text.is_ok() { "text" } else { "base64" }, &mut |json| {
        match text {
            Ok(text) => json.string(text),
            Err(_) => json.display(Base64(bytes)),
        }
        if ended.is_none() {
            json.key("partial");
            json.boolean(true);
        }
    });
}
