//! Devices and links that come while the host is up. What they need may hang (storage, a driver), so a child does it, one of
//! each [`Subject`] at a time; it looks at all there is, whatever was said of them, so nothing that was said can be lost.
//!
//! Nothing of this has to outlive a fault of PID 1: whoever goes on begins to watch anew, and has a look at all there is then.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use super::journal::Journal;
use super::poll::{Interest, Poll, Source};
use crate::host::console::{Console, Level};
use crate::host::{links, modules};
use crate::limits;
use crate::netlink::{route, uevent};
use crate::plan::Plan;
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::netlink::{self, About};
use crate::sys::process;
use crate::sys::wait::{self, Which};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Subject {
    /// Devices that modules may be for.
    Modules,
    /// Network links.
    Links,
}

impl Subject {
    /// All of them.
    pub const ALL: [Subject; 2] = [Subject::Modules, Subject::Links];

    /// Whether `plan` has anything to do when they come.
    fn is_of_interest(self, plan: &Plan) -> bool {
        match self {
            Subject::Modules => modules::is_auto(plan) && !modules::are_locked(),
            Subject::Links => !plan.links.is_empty(),
        }
    }

    fn open(self) -> Result<OwnedFd, Errno> {
        match self {
            Subject::Modules => netlink::open(About::Devices, uevent::GROUP),
            Subject::Links => netlink::open(About::Network, route::LINKS),
        }
    }

    /// Whether `message` is about one that something is to be done for.
    fn is_meant(self, plan: &Plan, message: &[u8]) -> bool {
        match self {
            Subject::Modules => uevent::is_wanting(message),
            Subject::Links => links::is_meant(plan, message),
        }
    }

    /// The child's side.
    fn attend(self, plan: &Plan, console: &Console) {
        let mut report = console.lines(Level::Error);
        match self {
            Subject::Modules => modules::load_for_devices(plan, &mut report),
            Subject::Links => links::apply(plan, false, &mut report),
        }
    }
}

/// What is watched, and who sees to it.
#[derive(Debug, Default)]
pub struct Devices([Watch; Subject::ALL.len()]);

#[derive(Debug, Default)]
struct Watch {
    socket: Option<OwnedFd>,
    child: Option<OwnedFd>,
    is_due: bool,
}

impl Devices {
    /// Watches what `plan` has anything to do for, and has a look at what came before.
    pub fn watch(&mut self, plan: &Plan, poll: &Poll, journal: &mut Journal<'_>, now_ms: u64) {
        for (subject, watch) in Subject::ALL.into_iter().zip(&mut self.0) {
            if !subject.is_of_interest(plan) || watch.socket.is_some() {
                continue;
            }
            let opened = subject.open().and_then(|socket| {
                poll.watch(socket.as_fd(), Source::Devices(subject), Interest::Readable)?;
                Ok(socket)
            });
            match opened {
                Ok(socket) => watch.socket = Some(socket),
                Err(errno) => journal.trouble("watch devices", errno, now_ms),
            }
            watch.is_due = true;
        }
    }

    /// Watches `subject` no more.
    pub fn forget(&mut self, subject: Subject, poll: &Poll) {
        if let Some(watch) = self.0.get_mut(subject as usize) {
            watch.is_due = false;
            watch.socket.take().into_iter().for_each(|socket| poll.close(socket));
        }
    }

    /// Whether something is being done for `subject`, or is to be.
    #[must_use]
    pub fn is_busy(&self, subject: Subject) -> bool {
        self.0.get(subject as usize).is_some_and(|watch| watch.is_due || watch.child.is_some())
    }

    /// Hears what the kernel says, so much in a turn.
    pub fn hear(&mut self, subject: Subject, plan: &Plan) {
        let Some(watch) = self.0.get_mut(subject as usize) else { return };
        let Some(socket) = &watch.socket else { return };
        let mut buffer = [0; limits::DEVICE_MESSAGE_BYTES];
        for _ in 0..limits::DEVICE_BATCH {
            match netlink::receive(socket.as_fd(), &mut buffer) {
                Ok(message) => watch.is_due |= subject.is_meant(plan, message),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Some were lost, or one was too long: look at all there is.
                Err(_) => return watch.is_due = true,
            }
        }
    }

    /// Has a child do what is due, where none is at it.
    pub fn attend(&mut self, plan: &Plan, console: &Console, poll: &Poll, journal: &mut Journal<'_>, now_ms: u64) {
        for (subject, watch) in Subject::ALL.into_iter().zip(&mut self.0) {
            if !watch.is_due || watch.child.is_some() {
                continue;
            }
            watch.is_due = false;
            match clone(Flags::NONE, None) {
                Ok(Side::Child) => {
                    subject.attend(plan, console);
                    process::exit(0)
                }
                Ok(Side::Parent(_, pidfd)) => {
                    if let Err(errno) = poll.watch(pidfd.as_fd(), Source::Loader(subject), Interest::Readable) {
                        journal.trouble("epoll_ctl", errno, now_ms);
                    }
                    watch.child = Some(pidfd);
                }
                Err(errno) => {
                    // After the pause that follows.
                    watch.is_due = true;
                    journal.trouble("clone3", errno, now_ms);
                }
            }
        }
    }

    /// Looks whether the child for `subject` has ended.
    pub fn look(&mut self, subject: Subject, poll: &Poll) {
        let Some(watch) = self.0.get_mut(subject as usize) else { return };
        let has_ended = |child: &OwnedFd| !matches!(wait::reap(Which::PidFd(child.as_fd())), Ok(None));
        if watch.child.as_ref().is_some_and(has_ended) {
            watch.child.take().into_iter().for_each(|child| poll.close(child));
        }
    }
}
