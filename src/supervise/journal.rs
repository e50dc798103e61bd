//! What the supervisor tells the person at the console: one line for each thing that happens to a guest.

use core::fmt::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use crate::fault::ErrnoWords;
use crate::host::console::{Console, Level};

/// Bytes of one line; a longer one is cut.
const LINE_BYTES: usize = 512;
/// Troubles told within one second; more are counted.
const TROUBLES: u32 = 10;

/// Where the lines go.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    /// PID 1's console and the kernel's log.
    Console(&'a Console),
    /// Standard error of a supervisor in the foreground.
    Descriptor(BorrowedFd<'a>),
}

/// Tells, and remembers how many troubles were told lately.
#[derive(Debug)]
pub struct Journal<'a> {
    to: To<'a>,
    second: u64,
    told: u32,
    untold: u32,
    has_trouble: bool,
}

impl<'a> Journal<'a> {
    /// A journal that tells `to`.
    #[must_use]
    pub fn new(to: To<'a>) -> Journal<'a> {
        Journal { to, second: 0, told: 0, untold: 0, has_trouble: false }
    }

    /// Tells what happens. A line that finds no room is lost: nobody who does not read can hold the supervisor up.
    pub fn line(&self, words: fmt::Arguments<'_>) {
        self.tell(Level::Info, words);
    }

    /// Tells what does not work.
    pub fn error(&self, words: fmt::Arguments<'_>) {
        self.tell(Level::Error, words);
    }

    fn tell(&self, level: Level, words: fmt::Arguments<'_>) {
        match self.to {
            To::Console(console) => console.say(level, words),
            To::Descriptor(to) => write_line(to, words),
        }
    }

    /// Whether there was trouble since the last call.
    pub fn take_trouble(&mut self) -> bool {
        core::mem::take(&mut self.has_trouble)
    }

    /// Tells of a call that failed though it should not, and after which the supervisor just goes on.
    pub fn trouble(&mut self, what: &str, errno: Errno, now_ms: u64) {
        self.has_trouble = true;
        if now_ms / 1000 != self.second {
            (self.second, self.told) = (now_ms / 1000, 0);
            let untold = core::mem::take(&mut self.untold);
            if untold > 0 {
                self.line(format_args!("{untold} more troubles like these"));
            }
        }
        if self.told >= TROUBLES {
            self.untold = self.untold.saturating_add(1);
            return;
        }
        self.told += 1;
        self.error(format_args!("trouble: {what}: {}; going on", ErrnoWords(errno.raw_os_error() as u16)));
    }
}

fn write_line(to: BorrowedFd<'_>, words: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LINE_BYTES], used: 0 };
    let _ = write!(line, "inn: {words}");
    let used = line.used.min(LINE_BYTES - 1);
    if let Some(end) = line.bytes.get_mut(used) {
        *end = b'\n';
    }
    // It may be a pipe that nobody reads, and making it non-blocking would change it for others who have it.
    let mut room = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    if rustix::event::poll(&mut room, Some(&at_once)).is_ok_and(|ready| ready > 0) {
        let _ = rustix::io::write(to, line.bytes.get(..=used).unwrap_or_default());
    }
}

struct Line {
    bytes: [u8; LINE_BYTES],
    used: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let Some(place) = self.bytes.get_mut(self.used) else { return Err(fmt::Error) };
            // Names and paths of a config cannot move the reader's cursor.
            *place = if byte.is_ascii_control() { b'?' } else { byte };
            self.used += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::fd::AsFd;

    use super::*;

    #[test]
    fn a_line_is_cut_and_clean_and_nobody_waits_for_the_reader() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut journal = Journal::new(To::Descriptor(write.as_fd()));
        journal.line(format_args!("guest {}", "a\x1b[2Jb"));
        let mut buffer = [0; 1024];
        let length = rustix::io::read(&read, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"inn: guest a?[2Jb\n");
        journal.line(format_args!("{}", "x".repeat(2000)));
        let length = rustix::io::read(&read, &mut buffer).unwrap();
        assert_eq!((length, buffer[length - 1]), (LINE_BYTES, b'\n'));
        // The pipe is full long before that.
        for _ in 0..1000 {
            journal.line(format_args!("{}", "x".repeat(200)));
        }
        for _ in 0..100 {
            journal.trouble("epoll_wait", Errno::NOMEM, 5);
        }
        assert_eq!((journal.told, journal.untold), (TROUBLES, 90));
    }
}
