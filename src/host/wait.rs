//! Waiting while the host comes up or goes down: for events and a deadline, and the watchdog has its due meanwhile.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;

use crate::host::watchdog::Watchdog;
use crate::sys::clock;

/// Descriptors waited for at once, at most.
pub const MOST: usize = 20;

/// Who waits.
#[derive(Debug)]
pub struct Waiter<'a> {
    /// Petted while waiting. What waits has a deadline, so a host that hangs on its way is not kept alive by it.
    pub watchdog: &'a mut Watchdog,
}

impl Waiter<'_> {
    /// Waits until something happens to one of `fds`, or `deadline_ms` of [`clock::now_ms`] has come. Whether something did.
    pub fn wait(&mut self, fds: &[(BorrowedFd<'_>, PollFlags)], deadline_ms: u64) -> bool {
        loop {
            let now_ms = clock::now_ms();
            self.watchdog.pet(now_ms);
            let due_ms = self.watchdog.due_ms().map_or(deadline_ms, |due_ms| due_ms.min(deadline_ms));
            let left = due_ms.saturating_sub(now_ms);
            let timeout = Timespec { tv_sec: (left / 1000) as i64, tv_nsec: (left % 1000 * 1_000_000) as _ };
            let mut polled = heapless::Vec::<_, MOST>::new();
            for (fd, flags) in fds {
                // More are waited for by their deadline.
                let _ = polled.push(PollFd::from_borrowed_fd(*fd, *flags));
            }
            match poll(&mut polled, Some(&timeout)) {
                Ok(1..) => return true,
                // The watchdog's time has come, or the deadline; ENOMEM counts as the latter.
                Ok(_) | Err(rustix::io::Errno::INTR) if clock::now_ms() < deadline_ms => {}
                Ok(_) | Err(_) => return false,
            }
        }
    }
}
