//! What standard output is: how wide, and whether in colour.

use core::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::sys::process::Arguments;
use crate::sys::stdio;

/// The width where nobody knows it: a serial console, a file.
pub const WIDTH: usize = 80;

/// The height where nobody knows it.
const HEIGHT: usize = 24;

/// Whether the environment asks for no colour (no-color.org).
static NO_COLOUR: AtomicBool = AtomicBool::new(false);
/// Whether TERM says that the terminal can only be written to, line by line.
static IS_DUMB: AtomicBool = AtomicBool::new(false);

/// Standard output, as far as tables are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Characters in a line.
    pub width: usize,
    /// Lines.
    pub rows: usize,
    /// Whether it shows colours and wants them.
    pub colour: bool,
}

impl Screen {
    /// What it is now.
    #[must_use]
    pub fn new() -> Screen {
        let terminal = rustix::termios::isatty(stdio::output());
        let size = rustix::termios::tcgetwinsize(stdio::output());
        let (columns, rows) = size.map_or((0, 0), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let width = if columns > 0 { columns } else { WIDTH };
        let rows = if rows > 0 { rows } else { HEIGHT };
        Screen { width, rows, colour: terminal && !NO_COLOUR.load(Ordering::Relaxed) }
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes from the environment what concerns the screen.
pub fn read_environment(arguments: &Arguments) {
    // What is not written takes no page.
    if arguments.variable(b"NO_COLOR").is_some_and(|value| !value.is_empty()) {
        NO_COLOUR.store(true, Ordering::Relaxed);
    }
    if arguments.variable(b"TERM").is_some_and(|value| value == c"dumb") {
        IS_DUMB.store(true, Ordering::Relaxed);
    }
}

/// Waits; whether nobody reads standard output any more, and the wait is over for that.
#[must_use]
pub fn is_unread(ms: u64) -> bool {
    let pause = Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 };
    // Nothing is asked for, so only the end of the other side is told.
    let mut watched = [PollFd::from_borrowed_fd(stdio::output(), PollFlags::empty())];
    rustix::event::poll(&mut watched, Some(&pause)).is_ok_and(|count| count > 0)
}

/// Whether standard output is a terminal whose cursor can be moved. Without TERM it is taken for one: every terminal of the last
/// forty years is, and so is every serial console's other end.
#[must_use]
pub fn is_addressable() -> bool {
    rustix::termios::isatty(stdio::output()) && !IS_DUMB.load(Ordering::Relaxed)
}
