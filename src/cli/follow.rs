//! Waiting for what the supervisor writes to the rings that it has shared, without its help and without looking again and
//! again: the kernel tells of each write (inotify(7)).

use core::ffi::CStr;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::terminal::Watch;
use crate::control::client::Client;
use crate::control::server;
use crate::sys::stdio;
use crate::text::Made;

/// How often is looked for more where the kernel does not tell.
const LOOK_MS: u64 = 200;

/// Who waits.
#[derive(Debug)]
pub struct Follower {
    told: Option<OwnedFd>,
    /// Something cannot be waited for: there are no more watches.
    must_look: bool,
    supervisor: Option<OwnedFd>,
}

/// Why the waiting is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There may be more.
    More,
    /// Nobody reads standard output any more.
    Unread,
    /// The supervisor has ended: no more will come.
    Ended,
}

impl Follower {
    /// Follows what the supervisor at `socket` writes.
    #[must_use]
    pub fn begin(socket: Option<&'static CStr>) -> Follower {
        let told = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let client = Client::connect(socket.unwrap_or(server::PATH)).ok();
        let server = client.and_then(|client| Pid::from_raw(client.server()));
        let supervisor = server.and_then(|server| pidfd_open(server, PidfdFlags::empty()).ok());
        Follower { must_look: told.is_none(), told, supervisor }
    }

    /// One ring more.
    pub fn add(&mut self, ring: BorrowedFd<'_>) {
        let path = Made::new(format_args!("/proc/self/fd/{}", ring.as_raw_fd()));
        let watched = self.told.as_ref().is_some_and(|told| {
            // The ring has no name but this one.
            inotify::add_watch(told, path.as_c_str(), WatchFlags::MODIFY).is_ok()
        });
        self.must_look |= !watched;
    }

    /// Readable when something was written.
    #[must_use]
    pub fn watch(&self) -> Option<Watch<'_>> {
        Some(Watch { descriptor: self.told.as_ref()?.as_fd(), flags: PollFlags::IN })
    }

    /// Readable when the supervisor has ended.
    #[must_use]
    pub fn watch_supervisor(&self) -> Option<Watch<'_>> {
        Some(Watch { descriptor: self.supervisor.as_ref()?.as_fd(), flags: PollFlags::IN })
    }

    /// When to look even though nothing was told, in milliseconds; nothing for never.
    #[must_use]
    pub fn look_ms(&self) -> Option<u64> {
        self.must_look.then_some(LOOK_MS)
    }

    /// Forgets what was told. To be called before the rings are looked at, so that what comes meanwhile is told again.
    pub fn heard(&self) {
        let Some(told) = &self.told else { return };
        let mut buffer = [0; 4096];
        while rustix::io::read(told, &mut buffer).is_ok_and(|count| count > 0) {}
    }

    /// Waits until there may be more, for `within_ms` at most where that is given.
    #[must_use]
    pub fn wait(&self, within_ms: Option<u64>) -> Wake {
        let nothing = PollFlags::empty();
        // Of the output only the end of its other side is told. It holds the place of what is not waited for.
        let unread = Watch { descriptor: stdio::output(), flags: nothing };
        let watches = [Some(unread), self.watch_supervisor(), self.watch()];
        let mut watched = watches.map(|watch| {
            let Watch { descriptor, flags } = watch.unwrap_or(unread);
            PollFd::from_borrowed_fd(descriptor, flags)
        });
        let timeout = self
            .look_ms()
            .into_iter()
            .chain(within_ms)
            .min()
            .map(|ms| Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 });
        if rustix::event::poll(&mut watched, timeout.as_ref()).is_err() {
            return Wake::More;
        }
        let ready = |index: usize| watched.get(index).is_some_and(|watched| !watched.revents().is_empty());
        let is_more = watches[2].is_some() && ready(2);
        if is_more {
            self.heard();
        }
        match () {
            () if ready(0) => Wake::Unread,
            () if watches[1].is_some() && ready(1) && !is_more => Wake::Ended,
            () => Wake::More,
        }
    }
}
