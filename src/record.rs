//! The record of users on this host, `/run/inn/users`: read, judged and replaced under one lock.
//!
//! It lives in memory like all of `/run`: after a boot names decide again, and nothing on disk depends on it, for files are
//! not owned by ranges (guest/root.rs maps them).

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::process::Pid;

use crate::fault::ErrnoWords;
use crate::host::files::{self, write_all};
use crate::limits;
use crate::plan::record::{Line, RUN};
use crate::plan::{Plan, Users};
use crate::sys::Errno;
use crate::text::{self, Made};

/// Where the record is.
const DIRECTORY: &CStr = c"/run/inn";
/// The same, for people.
pub const PATH: &str = "/run/inn/users";
const FILE: &CStr = c"users";
const NEW_FILE: &CStr = c"users.new";

/// Bytes of /proc/PID/stat up to the start time: a name of up to 64 and numbers.
const STAT_BYTES: usize = 1024;

/// What a record is read into.
pub type Buffer = [u8; limits::RECORD_BYTES];

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// A supervisor's socket, or [`RUN`].
    pub name: &'a [u8],
    /// The one guest that is meant; empty: all.
    pub only: &'a [u8],
}

/// Why there is no record: the call that failed, and its error number.
#[derive(Clone, Copy, Debug)]
pub struct Unrecorded(&'static str, Errno);

/// "openat: EROFS (read-only file system)"
impl fmt::Display for Unrecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, ErrnoWords(self.1.raw_os_error() as u16))
    }
}

fn at(call: &'static str) -> impl Fn(Errno) -> Unrecorded {
    move |errno| Unrecorded(call, errno)
}

/// The record, locked as long as this lives.
#[derive(Debug)]
pub struct Record<'a> {
    directory: OwnedFd,
    text: &'a mut Buffer,
    len: usize,
    me: Process,
}

/// A process that is not mistaken for a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    start: u64,
}

impl<'a> Record<'a> {
    /// Locks and reads the record. What ended `inn run`s had is gone from it, and what ended supervisors
    /// had is marked so.
    ///
    /// # Errors
    /// The call that failed: no record can be kept.
    pub fn open(text: &'a mut Buffer) -> Result<Record<'a>, Unrecorded> {
        Record::open_for(text, rustix::process::getpid())
    }

    /// The same, of process `owner` in place of this one.
    ///
    /// # Errors
    /// See [`Record::open`].
    pub fn open_for(text: &'a mut Buffer, owner: Pid) -> Result<Record<'a>, Unrecorded> {
        match rustix::fs::mkdir(DIRECTORY, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Unrecorded("mkdir", errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, DIRECTORY, flags, Mode::empty()).map_err(at("openat"))?;
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        files::lock_within(directory.as_fd(), exclusive, limits::RECORD_WAIT_MS).map_err(at("flock"))?;
        // Also says whether the directory can be written to, before anything relies on it.
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&directory, NEW_FILE, new, Mode::RUSR | Mode::WUSR).map_err(at("openat"))?;
        let me = process(owner).ok_or(Unrecorded("read /proc/PID/stat", Errno::NOENT))?;
        let len = match files::open_at(directory.as_fd(), FILE) {
            Ok(file) => files::read_whole(file.as_fd(), text).map_err(at("read"))?,
            Err(Errno::NOENT) => 0,
            Err(errno) => return Err(Unrecorded("openat", errno)),
        };
        let mut record = Record { directory, text, len, me };
        record.judge();
        Ok(record)
    }

    /// Its lines.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }

    /// Whether `holder` is another process that lives: that one's guests are not to be given away.
    #[must_use]
    pub fn has(&self, holder: &[u8]) -> bool {
        holder != RUN && Line::all(self.text()).any(|line| line.holder == holder && line.pid != 0)
    }

    /// Adds what the guests of `plan` have, as `holder`'s, in place of what was remembered for them.
    ///
    /// # Errors
    /// The call that failed: the record is as it was.
    pub fn add(self, plan: &Plan, holder: &Holder<'_>) -> Result<(), Unrecorded> {
        let is_meant = |name: &[u8]| holder.only.is_empty() || holder.only == name;
        self.replace(&|writer| {
            for guest in plan.all() {
                let name = plan.strings.bytes(guest.name);
                for users in plan.users(guest).ranges().iter().filter(|_| is_meant(name)) {
                    let Process { pid, start } = self.me;
                    writer.line(&Line { name, users: *users, pid, start, holder: holder.name });
                }
            }
            for line in Line::all(self.text()) {
                let is_replaced = line.pid == 0
                    && (line.holder == holder.name && plan.find(line.name).is_some() || is_given(plan, line.users));
                // What is remembered goes where there is no room; what is had now stays.
                if !is_replaced && (line.pid != 0 || writer.has_room()) {
                    writer.line(&line);
                }
            }
        })
    }

    /// Forgets what this process had.
    ///
    /// # Errors
    /// The call that failed.
    pub fn forget(self) -> Result<(), Unrecorded> {
        self.replace(&|writer| {
            for line in Line::all(self.text()) {
                writer.line(&line);
            }
        })
    }

    fn replace(&self, fill: &dyn Fn(&mut Writer<'_>)) -> Result<(), Unrecorded> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, NEW_FILE, flags, Mode::empty()).map_err(at("openat"))?;
        let mut writer = Writer { file: file.as_fd(), written: 0, failed: None };
        fill(&mut writer);
        match writer {
            Writer { failed: Some(errno), .. } => return Err(Unrecorded("write", errno)),
            // Nobody has any users: no file says the same.
            Writer { written: 0, .. } => {
                for name in [FILE, NEW_FILE] {
                    let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
                }
                return Ok(());
            }
            Writer { .. } => {}
        }
        rustix::fs::renameat(&self.directory, NEW_FILE, &self.directory, FILE).map_err(at("renameat"))
    }

    /// Takes out the lines of this process and of ended `inn run`s, and puts 0 for the process of ended supervisors.
    fn judge(&mut self) {
        let text = self.text.get_mut(..self.len).unwrap_or_default();
        for bytes in text.split_mut(|byte| *byte == b'\n') {
            let Some(line) = Line::parse(bytes) else { continue };
            let owner = Process { pid: line.pid, start: line.start };
            let lives = owner != self.me && is_alive(owner);
            let forgotten = line.holder == RUN;
            match (lives, forgotten) {
                (true, _) => {}
                // Not a line any more.
                (false, true) => bytes.fill(b' '),
                (false, false) => {
                    // The fourth word.
                    if let Some(pid) = bytes.split_mut(|byte| *byte == b' ').nth(3) {
                        pid.fill(b'0');
                    }
                }
            }
        }
    }
}

/// Whether some of `users` belong to a guest of `plan`.
fn is_given(plan: &Plan, users: Users) -> bool {
    plan.all().any(|guest| plan.users(guest).ranges().iter().any(|other| other.overlaps(users)))
}

fn is_alive(owner: Process) -> bool {
    let pid = i32::try_from(owner.pid).ok().and_then(Pid::from_raw);
    pid.and_then(process) == Some(owner)
}

/// Process `pid` as it is now; nothing where there is none.
fn process(pid: Pid) -> Option<Process> {
    let path = Made::new(format_args!("/proc/{}/stat", pid.as_raw_nonzero()));
    let mut buffer = [0; STAT_BYTES];
    let stat = files::read_path(path.as_c_str(), &mut buffer).ok()?;
    // The name, in brackets, may hold anything (proc(5)); the start time is number 22, the state behind the name number 3.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let start = stat.get(end + 2..)?.split(|byte| *byte == b' ').nth(22 - 3)?;
    Some(Process { pid: pid.as_raw_nonzero().get() as u32, start: text::number(start)? })
}

/// Counts what it writes.
struct Writer<'a> {
    file: BorrowedFd<'a>,
    written: usize,
    failed: Option<Errno>,
}

impl Writer<'_> {
    /// Whether another line can be read again.
    fn has_room(&self) -> bool {
        self.written + limits::LINE_BYTES <= limits::RECORD_BYTES
    }

    fn line(&mut self, line: &Line<'_>) {
        let mut text = heapless::String::<{ limits::LINE_BYTES }>::new();
        if self.failed.is_none() && write!(text, "{line}").is_ok() {
            self.failed = write_all(self.file, text.as_bytes()).err();
            self.written += text.len();
        }
    }
}
