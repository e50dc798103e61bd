//! The process that writes the log files of all guests: a child of the supervisor, which does what may hang.
//!
//! It reads the rings, waits for more as any reader does, and keeps the place up to which it has come in each ring, where
//! another goes on if this one dies. Each line begins with its time; what this program has to say of lost bytes has `!`
//! in place of the space behind that, so that no guest can say it.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::net::{RecvFlags, SendFlags};

use super::ring::{Place, Reader, Ring};
use crate::calendar::Stamp;
use crate::fault::{At, Fault, Step};
use crate::host::files;
use crate::limits;
use crate::plan::{GuestId, LogTo, Plan};
use crate::sys::{Errno, clock, descriptor, process, signal};
use crate::text::Made;

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 16 << 10;
/// Bytes that a file has left when it is full, for the rest of its last line.
const REST_BYTES: usize = 4 << 10;
/// What stands before a line, or is said of lost bytes, at most.
const WORDS_BYTES: usize = 96;
/// What comes for each piece at most: the end of a line, a word on lost bytes, and its time.
const OVERHEAD_BYTES: usize = 2 * WORDS_BYTES;

const _: () = assert!(BUFFER_BYTES + REST_BYTES < limits::LOG_FILE_BYTES.0 as usize && OVERHEAD_BYTES < REST_BYTES);

/// How often a file is tried again that could not be written: at first, and at most.
const RETRY_MS: (u64, u64) = (1_000, 30_000);
/// How often is looked for more where the kernel does not tell.
const LOOK_MS: u64 = 200;

/// Bytes of what this process tells the supervisor.
pub const REPORT_BYTES: usize = 3 + Fault::BYTES;

/// What it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose file.
    pub id: GuestId,
    /// The step that failed; nothing where it is written again.
    pub fault: Option<Fault>,
}

impl Report {
    fn encode(self) -> [u8; REPORT_BYTES] {
        let mut bytes = [0; REPORT_BYTES];
        bytes[..2].copy_from_slice(&self.id.0.to_le_bytes());
        if let Some(fault) = self.fault {
            bytes[2] = 1;
            bytes[3..].copy_from_slice(&fault.encode());
        }
        bytes
    }

    /// From such bytes; nothing where they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Report> {
        let &[low, high, failed, ref fault @ ..] = bytes else { return None };
        let fault = if failed == 0 { None } else { Some(Fault::decode(fault)?) };
        Some(Report { id: GuestId(u16::from_le_bytes([low, high])), fault })
    }
}

/// A guest's log.
struct Log<'p> {
    id: GuestId,
    path: &'p CStr,
    limit: u64,
    count: u8,
    reader: Reader<BorrowedFd<'p>>,
    /// Whether what was written last was not the end of a line; nothing where that is not known yet.
    in_line: Option<bool>,
    /// When it is tried again; 0 for at once.
    retry_at_ms: u64,
    delay_ms: u64,
}

type Buffer = heapless::Vec<u8, BUFFER_BYTES>;

/// Writes the files of `plan` whose rings these are, until `socket` says so or its other end is gone.
pub fn run<'p>(plan: &'p Plan, rings: &mut dyn Iterator<Item = (GuestId, &'p Ring)>, socket: &OwnedFd) -> ! {
    let _ = signal::block(signal::Set::ALL);
    let _ = rustix::thread::set_name(c"inn-log");
    let mut logs = heapless::Vec::<Log<'p>, { limits::GUESTS }>::new();
    let mut keep = heapless::Vec::<RawFd, { limits::GUESTS + 1 }>::new();
    let _ = keep.push(socket.as_raw_fd());
    for (id, ring) in rings {
        if let Some(log) = Log::new(plan, id, ring) {
            // There is room for all guests.
            let _ = keep.push(ring.memory().as_raw_fd());
            let _ = logs.push(log);
        }
    }
    // Above all its end of the socket by which the supervisor would be told of its own end.
    let _ = descriptor::close_all_but(&mut keep);
    let told = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
    let mut must_look = told.is_none();
    for log in &logs {
        let path = Made::new(format_args!("/proc/self/fd/{}", log.reader.memory().as_raw_fd()));
        let watch = |told| inotify::add_watch(told, path.as_c_str(), WatchFlags::MODIFY).is_ok();
        must_look |= !told.as_ref().is_some_and(watch);
    }
    let mut buffer = Buffer::new();
    let mut is_last = false;
    loop {
        let now_ms = clock::now_ms();
        let mut is_more = false;
        for log in logs.iter_mut().filter(|log| is_last || log.retry_at_ms <= now_ms) {
            let had_failed = log.retry_at_ms != 0;
            let written = log.write_some(&mut buffer);
            is_more |= written == Ok(true);
            let fault = written.err();
            log.delay_ms = if fault.is_some() { (2 * log.delay_ms).clamp(RETRY_MS.0, RETRY_MS.1) } else { 0 };
            log.retry_at_ms = fault.map_or(0, |_| now_ms.saturating_add(log.delay_ms));
            if fault.is_some() != had_failed {
                let report = Report { id: log.id, fault }.encode();
                let _ = rustix::net::send(socket, &report, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
        }
        if is_last && !is_more {
            process::exit(0);
        }
        let retry = logs.iter().map(|log| log.retry_at_ms).filter(|at_ms| *at_ms != 0).min();
        let retry_ms = retry.map(|at_ms| at_ms.saturating_sub(clock::now_ms()));
        let look_ms = if is_more { Some(0) } else { must_look.then_some(LOOK_MS) };
        wait(socket, told.as_ref(), retry_ms.into_iter().chain(look_ms).min());
        is_last |= is_over(socket);
    }
}

/// Waits for more to be written, for `within_ms` at most.
fn wait(socket: &OwnedFd, told: Option<&OwnedFd>, within_ms: Option<u64>) {
    let told = told.unwrap_or(socket);
    let timeout = within_ms.map(|ms| Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 });
    let mut watched = [told, socket].map(|fd| PollFd::new(fd, PollFlags::IN));
    let _ = rustix::event::poll(&mut watched, timeout.as_ref());
    if told.as_raw_fd() != socket.as_raw_fd() {
        let mut buffer = [0; 4096];
        while rustix::io::read(told, &mut buffer).is_ok_and(|count| count > 0) {}
    }
}

/// Whether the supervisor is gone, or has said that this is all.
fn is_over(socket: &OwnedFd) -> bool {
    let heard = rustix::net::recv(socket, &mut [0; 8], RecvFlags::DONTWAIT);
    !matches!(heard, Err(Errno::AGAIN | Errno::INTR))
}

impl<'p> Log<'p> {
    fn new(plan: &'p Plan, id: GuestId, ring: &'p Ring) -> Option<Log<'p>> {
        let LogTo::Files { path, kib, count } = plan.guest(id)?.log_to else { return None };
        let mut reader = Reader::open(ring.memory()).ok()?;
        reader.resume().ok()?;
        let (path, limit) = (plan.strings.c_str(path), u64::from(kib) << 10);
        Some(Log { id, path, limit, count, reader, in_line: None, retry_at_ms: 0, delay_ms: 0 })
    }

    /// Writes what there is, a buffer of it at most. Whether there may be more.
    fn write_some(&mut self, buffer: &mut Buffer) -> Result<bool, Fault> {
        self.reader.heed_stop().at(Step::WriteLogFile)?;
        let before = self.reader.place();
        if self.reader.next_time_us().at(Step::WriteLogFile)?.is_none() {
            // It may have gone on over what is empty.
            self.reader.go_back(before, 0);
            return Ok(false);
        }
        let result = self.write_from(before, buffer);
        if result.is_err() {
            // What is written over meanwhile is counted then.
            self.reader.go_back(before, 0);
        }
        result.map(|()| true)
    }

    fn write_from(&mut self, before: Place, buffer: &mut Buffer) -> Result<(), Fault> {
        let (mut file, mut size) = self.open()?;
        let mut in_line = size > 0 && last_byte(&file, size) != b'\n';
        let mut room = BUFFER_BYTES;
        let is_full = size.saturating_add((BUFFER_BYTES + REST_BYTES) as u64) > self.limit;
        if is_full {
            room = usize::try_from(self.limit.saturating_sub(size)).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        }
        // A line that this guest has not begun is ended. A full file has the rest of its last line, as far as there is room for it.
        let is_begun = self.in_line.unwrap_or(before != Place::default());
        let only_line = is_full && in_line && is_begun && room > OVERHEAD_BYTES;
        if in_line && !only_line && (is_full || !is_begun) {
            append(&file, b"\n", size)?;
            (size, in_line) = (size + 1, false);
        }
        if is_full && !only_line {
            self.rotate(&file)?;
            (file, size) = self.open()?;
            room = BUFFER_BYTES;
        }
        buffer.clear();
        self.gather(buffer, room, only_line, &mut in_line)?;
        // That some of it is for another file was said before it came.
        if self.reader.heed_stop().at(Step::WriteLogFile)? {
            self.reader.go_back(before, 0);
            return Ok(());
        }
        append(&file, buffer, size)?;
        self.in_line = Some(in_line);
        // Where this fails, what comes next stands there twice if this process dies now.
        let _ = self.reader.keep(self.reader.place());
        Ok(())
    }

    /// Opens the newest file, and says how large it is.
    fn open(&self) -> Result<(OwnedFd, u64), Fault> {
        // Neither a link, which may lead anywhere, nor a pipe, which would hang.
        let flags = OFlags::RDWR
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, self.path, flags, Mode::RUSR | Mode::WUSR).at(Step::OpenLogFile)?;
        let stat = rustix::fs::fstat(&file).at(Step::OpenLogFile)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file, u64::try_from(stat.st_size).unwrap_or_default())),
            _ => Err(Errno::INVAL).at(Step::OpenLogFile),
        }
    }

    /// Makes room: the newest file becomes the first of the older ones, and the oldest goes.
    fn rotate(&self, newest: &OwnedFd) -> Result<(), Fault> {
        if self.count < 2 {
            return rustix::fs::ftruncate(newest, 0).at(Step::RotateLogFile);
        }
        for number in (1..self.count).rev() {
            let (from, to) =
                (self.name(number - 1).at(Step::RotateLogFile)?, self.name(number).at(Step::RotateLogFile)?);
            match rustix::fs::rename(name(&from), name(&to)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).at(Step::RotateLogFile),
            }
        }
        Ok(())
    }

    /// Of the newest file number 0 the path itself.
    fn name(&self, number: u8) -> Result<heapless::Vec<u8, { libc::PATH_MAX as usize }>, Errno> {
        let mut name = heapless::Vec::new();
        let number = Made::new(format_args!(".{}", u32::from(number)));
        let behind = if number.as_bytes() == b".0" { b"" } else { number.as_bytes() };
        let parts = [self.path.to_bytes(), behind, b"\0"];
        if parts.iter().any(|part| name.extend_from_slice(part).is_err()) {
            return Err(Errno::NAMETOOLONG);
        }
        Ok(name)
    }

    /// Fills `buffer` with lines, `room` bytes at most; or with the rest of the one that it is in, where that is `only_line`.
    fn gather(&mut self, buffer: &mut Buffer, room: usize, only_line: bool, in_line: &mut bool) -> Result<(), Fault> {
        let mut piece = [0; 4096];
        let wall_us = clock::wall_us();
        while let Some(room @ 1..) = room.checked_sub(buffer.len() + OVERHEAD_BYTES) {
            let room = room.min(piece.len());
            let chunk = self.reader.read_line(piece.get_mut(..room).unwrap_or_default()).at(Step::WriteLogFile)?;
            let bytes = piece.get(..chunk.bytes).unwrap_or_default();
            let Some(last) = bytes.last() else { break };
            let stamp = Stamp(chunk.time_us.wrapping_add(wall_us));
            // All of it fits.
            if chunk.lost > 0 {
                let end = if core::mem::take(in_line) { "\n" } else { "" };
                let _ = writeln!(buffer, "{end}{stamp}! {} bytes lost", chunk.lost);
            }
            if !*in_line {
                let _ = write!(buffer, "{stamp} ");
            }
            let _ = buffer.extend_from_slice(bytes);
            *in_line = *last != b'\n';
            if only_line && !*in_line {
                break;
            }
        }
        Ok(())
    }
}

fn name(bytes: &[u8]) -> &CStr {
    CStr::from_bytes_with_nul(bytes).unwrap_or_default()
}

fn last_byte(file: &OwnedFd, size: u64) -> u8 {
    let mut last = [b'\n'];
    let _ = rustix::io::pread(file, &mut last, size.saturating_sub(1));
    last[0]
}

/// Writes all of `bytes` behind what is there, or nothing.
fn append(file: &OwnedFd, bytes: &[u8], size: u64) -> Result<(), Fault> {
    files::write_all(file.as_fd(), bytes).at(Step::WriteLogFile).inspect_err(|_| {
        let _ = rustix::fs::ftruncate(file, size);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_its_record() {
        let fault = Fault { step: Step::OpenLogFile, errno: 40, detail: 0 };
        for fault in [None, Some(fault)] {
            let report = Report { id: GuestId(1023), fault };
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(&[1, 2]), None);
        assert_eq!(Report::decode(&[1, 2, 1, 255, 0, 0, 0, 0, 0, 0]), None);
    }
}
