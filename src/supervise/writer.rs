//! The supervisor's side of the process that writes log files: it is started when there is something for it, again when it
//! has died, and ends when all is written. Nobody waits for it, and what it cannot write is kept in memory as far as that goes.

use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::Pid;

use super::log_files::{self, REPORT_BYTES, Report};
use super::order::Set;
use super::poll::{Interest, Poll, Source};
use super::ring::Ring;
use crate::limits;
use crate::plan::{GuestId, Plan};
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::wait::{self, Which};
use crate::sys::{Errno, signal};

/// The process, or the lack of it.
#[derive(Debug)]
pub struct Writer {
    child: Option<Child>,
    /// There is something for it to do.
    is_wanted: bool,
    /// There is a log that it does not know.
    is_stale: bool,
    /// It is to end; nothing where it goes on.
    end_by_ms: Option<u64>,
    /// When it is started again.
    again_at_ms: Option<u64>,
    delay_ms: u64,
    /// What of a log it is to have written by then.
    expected: Option<(GuestId, u64, u64)>,
    /// The guest that it is late with.
    late: Option<GuestId>,
    /// Those whose files cannot be written.
    failing: Set,
}

#[derive(Debug)]
struct Child {
    process: OwnedFd,
    pid: u32,
    socket: Option<OwnedFd>,
}

impl Child {
    fn watch(&self, poll: &Poll) -> Result<(), Errno> {
        poll.watch(self.process.as_fd(), Source::Writer, Interest::Readable)?;
        let socket = self.socket.as_ref();
        socket.map_or(Ok(()), |socket| poll.watch(socket.as_fd(), Source::WriterReports, Interest::Readable))
    }
}

/// What became of what was expected of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is late with a guest's log for the first time.
    Late(GuestId),
    /// It goes on after it was.
    GoesOn(GuestId),
}

impl Writer {
    /// Nothing to be written.
    #[must_use]
    pub fn new() -> Writer {
        Writer {
            child: None,
            is_wanted: false,
            is_stale: false,
            end_by_ms: None,
            again_at_ms: None,
            delay_ms: 0,
            expected: None,
            late: None,
            failing: Set::EMPTY,
        }
    }

    /// Its number and its socket; 0 and nothing where there is none.
    #[must_use]
    pub fn kept(&self) -> (u32, Option<&OwnedFd>) {
        self.child.as_ref().map_or((0, None), |child| (child.pid, child.socket.as_ref()))
    }

    /// Goes on with one that this process has started before. It writes what it knows, and ends; then another begins.
    pub fn adopt(&mut self, pid: u32, socket: Option<OwnedFd>, poll: &Poll) {
        self.renew();
        let process = Pid::from_raw(pid as i32).and_then(wait::child);
        self.child = process.map(|process| Child { process, pid, socket });
        // Where its end is not heard of no other begins: it is looked at when the supervisor ends.
        let _ = self.child.as_ref().map(|child| child.watch(poll));
    }

    /// There is a log that it does not know.
    pub fn renew(&mut self) {
        (self.is_wanted, self.is_stale) = (true, true);
    }

    /// When [`Writer::keep`] or [`Writer::look`] is to be called.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        let due = self.expected.map(|(_, _, due_ms)| due_ms);
        [self.end_by_ms.filter(|_| self.child.is_some()), self.again_at_ms, due].into_iter().flatten().min()
    }

    /// Sees to it that there is one, and that it knows all logs.
    ///
    /// # Errors
    /// Why there is none; it is tried again.
    pub fn keep<'p>(
        &mut self,
        plan: &'p Plan,
        mut rings: impl Iterator<Item = (GuestId, &'p Ring)> + Clone,
        poll: &Poll,
        now_ms: u64,
    ) -> Result<(), Errno> {
        if !self.is_wanted || self.end_by_ms.is_some() {
            return Ok(());
        }
        if self.child.is_some() {
            if self.is_stale {
                // It writes what it knows, and ends; then another begins.
                self.say_end(poll);
            }
            return Ok(());
        }
        if self.again_at_ms.is_some_and(|due| due > now_ms) {
            return Ok(());
        }
        self.is_wanted = plan.guests.iter().any(|guest| !guest.log_to.path().is_empty());
        if !self.is_wanted {
            return Ok(());
        }
        self.back_off(now_ms);
        // It knows where each log goes now.
        rings.clone().try_for_each(|(_, ring)| ring.let_on())?;
        self.child = Some(start(plan, &mut rings, poll)?);
        self.is_stale = false;
        self.again_at_ms = None;
        Ok(())
    }

    fn back_off(&mut self, now_ms: u64) {
        self.delay_ms = (3 * self.delay_ms).clamp(limits::LOG_WRITER_DELAY_MS.0, limits::LOG_WRITER_DELAY_MS.1);
        self.again_at_ms = Some(now_ms.saturating_add(self.delay_ms));
    }

    fn say_end(&mut self, poll: &Poll) {
        if let Some(socket) = self.child.as_mut().and_then(|child| child.socket.take()) {
            // A helper that hangs has a copy of it.
            let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Both);
            poll.close(socket);
        }
    }

    /// Takes a report; nothing where there is none.
    pub fn take_report(&mut self) -> Option<Report> {
        let socket = self.child.as_ref()?.socket.as_ref()?;
        let mut bytes = [0; REPORT_BYTES];
        let (length, _) = rustix::net::recv(socket, &mut bytes, RecvFlags::DONTWAIT).ok()?;
        let report = Report::decode(bytes.get(..length)?)?;
        match report.fault {
            Some(_) => drop(self.failing.add(report.id)),
            None => self.failing.remove(report.id),
        }
        Some(report)
    }

    /// Looks whether it has ended. Whether it has, and was not to.
    pub fn look(&mut self, poll: &Poll, now_ms: u64) -> bool {
        let Some(child) = &self.child else { return false };
        if matches!(wait::reap(Which::PidFd(child.process.as_fd())), Ok(None)) {
            return false;
        }
        let was_asked = child.socket.is_none();
        self.say_end(poll);
        if let Some(child) = self.child.take() {
            poll.close(child.process);
        }
        self.expected = None;
        self.failing = Set::EMPTY;
        if was_asked {
            (self.again_at_ms, self.delay_ms) = (None, 0);
        } else {
            self.back_off(now_ms);
        }
        !was_asked
    }

    /// Guest `id` has written `position` bytes: they are to be in its file soon.
    pub fn expect(&mut self, id: GuestId, position: u64, now_ms: u64) {
        if self.expected.is_none() && self.child.is_some() && !self.failing.has(id) {
            self.expected = Some((id, position, now_ms.saturating_add(limits::LOG_LATE_MS)));
        }
    }

    /// Looks how far it has come, where that is due. `passed` says up to which byte of a guest's log.
    pub fn check(&mut self, passed: impl Fn(GuestId) -> Option<u64>, now_ms: u64) -> Option<Progress> {
        let (id, position, _) = self.expected.take_if(|(_, _, due_ms)| *due_ms <= now_ms)?;
        if passed(id).is_none_or(|passed| passed >= position) {
            self.delay_ms = 0;
            return self.late.take().map(Progress::GoesOn);
        }
        // What it has told itself needs no other word.
        if !self.failing.has(id) {
            self.expected = Some((id, position, now_ms.saturating_add(limits::LOG_LATE_MS)));
            if self.late.replace(id).is_none() {
                return Some(Progress::Late(id));
            }
        }
        None
    }

    /// Has it write the rest and end. Whether that is over: by its end, or because it has taken too long.
    pub fn finish(&mut self, poll: &Poll, now_ms: u64) -> bool {
        let end_by_ms = *self.end_by_ms.get_or_insert(now_ms.saturating_add(limits::LOG_FINISH_MS));
        self.say_end(poll);
        let Some(child) = &self.child else { return true };
        if now_ms >= end_by_ms {
            // Where it hangs in the kernel it stays there.
            let _ = signal::send(child.process.as_fd(), libc::SIGKILL as u8);
            return true;
        }
        false
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

fn start<'p>(
    plan: &'p Plan,
    rings: &mut dyn Iterator<Item = (GuestId, &'p Ring)>,
    poll: &Poll,
) -> Result<Child, Errno> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    match clone(Flags::NONE, None)? {
        Side::Child => log_files::run(plan, rings, &theirs),
        Side::Parent(pid, process) => {
            // Where one of them cannot be watched, its end is not heard of, and its reports.
            let child = Child { process, pid: pid.as_raw_nonzero().get() as u32, socket: Some(ours) };
            if let Err(errno) = child.watch(poll) {
                let _ = signal::send(child.process.as_fd(), libc::SIGKILL as u8);
                let _ = wait::reap(Which::PidFd(child.process.as_fd()));
                poll.close(child.process);
                return Err(errno);
            }
            Ok(child)
        }
    }
}
