//! Standard input, output and error, which this program never closes.

use rustix::fd::BorrowedFd;

/// Standard input. Its uses give EBADF where the program was started without one.
#[must_use]
pub fn input() -> BorrowedFd<'static> {
    // SAFETY: nothing in this program closes descriptor 0 and goes on.
    unsafe { rustix::stdio::stdin() }
}

/// Standard output. See [`input`].
#[must_use]
pub fn output() -> BorrowedFd<'static> {
    // SAFETY: nothing in this program closes descriptor 1 and goes on.
    unsafe { rustix::stdio::stdout() }
}

/// Standard error. See [`input`].
#[must_use]
pub fn error() -> BorrowedFd<'static> {
    // SAFETY: nothing in this program closes descriptor 2 and goes on.
    unsafe { rustix::stdio::stderr() }
}
