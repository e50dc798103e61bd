//! What the supervisor waits for: one epoll, and where each of its events comes from.
//!
//! There is no timer descriptor: the earliest deadline is the time-out of epoll_wait(2), which costs no call of its own.

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::devices::Subject;
use crate::control::server::ClientId;
use crate::plan::GuestId;

/// Events taken at once; more come in the next turn.
pub const EVENTS: usize = 64;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The signal descriptor.
    Signals,
    /// The control socket.
    Listener,
    /// A control client.
    Client(ClientId),
    /// A part of a guest.
    Guest(Part, GuestId),
    /// The emergency shell: it has ended.
    Shell,
    /// The child that changes a guest: it has ended.
    Change,
    /// The child that reads the config again, or changes the host: it has ended.
    Reload,
    /// The process that writes log files: it has ended.
    Writer,
    /// What that says.
    WriterReports,
    /// A child that PID 1 has sent: it has ended.
    Errand,
    /// What the kernel says of devices.
    Devices(Subject),
    /// The child that does what is to be done for them: it has ended.
    Loader(Subject),
}

/// What a guest is watched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// The helper that starts it: readable when it has ended.
    Helper,
    /// Reports of helper and guest.
    Reports,
    /// Its first process: readable when it has ended.
    Process,
    /// `cgroup.events`.
    Cgroup,
    /// Its output.
    Output,
    /// The descriptor on which it says that it is ready.
    Ready,
    /// `memory.events`
    Memory,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, for as long as there is.
    Readable,
    /// Something to read, said once each time more comes: for terminals, which hang up without being closed.
    NewlyReadable,
    /// A change of a kernel file, said once each time.
    Changed,
    /// A client's next request, once; then [`Poll::change`] asks again. Its socket may be closed while a helper has a
    /// copy, and such a rest is heard of once and no more.
    Request,
    /// Room for a reply, once.
    Room,
    /// A client's end, once.
    HangUp,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Where.
    pub source: Source,
    /// The other end is gone; there may still be something to read.
    pub hung_up: bool,
}

/// The epoll.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> Result<Poll, Errno> {
        Ok(Poll { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Begins to watch `fd`.
    ///
    /// # Errors
    /// ENOMEM, ENOSPC; EPERM for a kind of file that cannot be watched.
    pub fn watch(&self, fd: BorrowedFd<'_>, source: Source, interest: Interest) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(source.encode()), flags(interest))
    }

    /// Watches `fd`, which is watched already, for something else; what is there now is said again.
    ///
    /// # Errors
    /// ENOMEM; ENOENT where it is not watched.
    pub fn change(&self, fd: BorrowedFd<'_>, source: Source, interest: Interest) -> Result<(), Errno> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(source.encode()), flags(interest))
    }

    /// Closes `fd`, watched or not. Closing alone would not do: a helper that was just cloned has a copy of it, and
    /// as long as that lives the kernel would go on to report it.
    pub fn close(&self, fd: OwnedFd) {
        // It fails for one that was not watched.
        let _ = epoll::delete(&self.epoll, fd.as_fd());
    }

    /// Waits for events, `timeout_ms` at most (nothing: for ever), and returns how many there are.
    ///
    /// # Errors
    /// EINTR; others are not expected.
    pub fn wait(&self, events: &mut [Event; EVENTS], timeout_ms: Option<u64>) -> Result<usize, Errno> {
        // Longer than a day is as good as a day.
        let timeout = timeout_ms
            .map(|ms| ms.min(86_400_000))
            .map(|ms| Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000) as i64 * 1_000_000 });
        epoll::wait(&self.epoll, &mut events[..], timeout.as_ref())
    }
}

/// No events.
#[must_use]
pub fn no_events() -> [Event; EVENTS] {
    [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; EVENTS]
}

/// What an event says; nothing for one that this program did not ask for.
#[must_use]
pub fn decode(event: Event) -> Option<Happened> {
    let (number, flags) = (event.data, event.flags);
    let source = Source::decode(number.u64())?;
    Some(Happened { source, hung_up: flags.intersects(EventFlags::HUP | EventFlags::ERR) })
}

impl Source {
    fn encode(self) -> u64 {
        let (kind, number) = match self {
            Source::Signals => (1, 0),
            Source::Listener => (2, 0),
            Source::Client(client) => (3, client.number()),
            Source::Shell => (4, 0),
            Source::Change => (5, 0),
            Source::Reload => (6, 0),
            Source::Writer => (7, 0),
            Source::WriterReports => (30, 0),
            Source::Errand => (29, 0),
            Source::Devices(subject) => (31, subject as u32),
            Source::Loader(subject) => (32, subject as u32),
            Source::Guest(part, id) => (8 + part as u64, u32::from(id.0)),
        };
        kind << 32 | u64::from(number)
    }

    fn decode(data: u64) -> Option<Source> {
        let number = data as u32;
        let guest = |part| Source::Guest(part, GuestId(number as u16));
        Some(match data >> 32 {
            1 => Source::Signals,
            2 => Source::Listener,
            3 => Source::Client(ClientId::from_number(number)),
            4 => Source::Shell,
            5 => Source::Change,
            6 => Source::Reload,
            7 => Source::Writer,
            30 => Source::WriterReports,
            29 => Source::Errand,
            31 => Source::Devices(*Subject::ALL.get(number as usize)?),
            32 => Source::Loader(*Subject::ALL.get(number as usize)?),
            8 => guest(Part::Helper),
            9 => guest(Part::Reports),
            10 => guest(Part::Process),
            11 => guest(Part::Cgroup),
            12 => guest(Part::Output),
            13 => guest(Part::Ready),
            14 => guest(Part::Memory),
            _ => return None,
        })
    }
}

fn flags(interest: Interest) -> EventFlags {
    match interest {
        Interest::Readable => EventFlags::IN,
        Interest::NewlyReadable => EventFlags::IN | EventFlags::ET,
        Interest::Changed => EventFlags::PRI | EventFlags::ET,
        Interest::Request => EventFlags::IN | EventFlags::ONESHOT,
        Interest::Room => EventFlags::OUT | EventFlags::ONESHOT,
        Interest::HangUp => EventFlags::ONESHOT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_survives_the_kernel() {
        let parts = [Part::Helper, Part::Reports, Part::Process, Part::Cgroup, Part::Output, Part::Ready, Part::Memory];
        let guests = parts.map(|part| Source::Guest(part, GuestId(1023)));
        let others = [
            Source::Signals,
            Source::Listener,
            Source::Shell,
            Source::Change,
            Source::Reload,
            Source::Writer,
            Source::WriterReports,
            Source::Errand,
            Source::Devices(Subject::Modules),
            Source::Loader(Subject::Links),
            Source::Client(ClientId::from_number(u32::MAX)),
        ];
        for source in guests.into_iter().chain(others) {
            assert_eq!(Source::decode(source.encode()), Some(source));
        }
        assert_eq!(Source::decode(0), None);
    }

    #[test]
    fn a_descriptor_is_reported_until_it_is_closed() {
        let poll = Poll::new().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let copy = rustix::io::dup(&read).unwrap();
        let source = Source::Guest(Part::Output, GuestId(3));
        poll.watch(read.as_fd(), source, Interest::Readable).unwrap();
        let mut events = no_events();
        assert_eq!(poll.wait(&mut events, Some(0)), Ok(0));
        rustix::io::write(&write, b"x").unwrap();
        assert_eq!(poll.wait(&mut events, None), Ok(1));
        assert_eq!(decode(events[0]), Some(Happened { source, hung_up: false }));
        poll.close(read);
        assert_eq!(poll.wait(&mut events, Some(0)), Ok(0), "a copy of it is still open");
        drop(copy);
    }
}
