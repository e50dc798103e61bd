//! The machine's watchdog: who hangs is reset by it.
//!
//! It is petted by PID 1's event loop alone, never by a child, so that a loop that hangs is noticed. A program that takes the
//! place of this one goes on with the same descriptor.

use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};

use super::console::{Console, Level};
use crate::fault::ErrnoWords;
use crate::limits;
use crate::plan::Plan;
use crate::sys::{Errno, clock, watchdog};

/// A watchdog, or none.
#[derive(Debug, Default)]
pub struct Watchdog {
    device: Option<OwnedFd>,
    every_ms: u64,
    due_ms: u64,
    /// Petting fails, which was told.
    fails: bool,
}

impl Watchdog {
    /// None.
    #[must_use]
    pub const fn none() -> Watchdog {
        Watchdog { device: None, every_ms: 0, due_ms: 0, fails: false }
    }

    /// Opens the device at `path`, which starts it, and sets its time-out to `seconds`. What the device has instead is told.
    ///
    /// # Errors
    /// ENOENT where it is not there, EBUSY where somebody else has it; others of open(2).
    pub fn open(console: &Console, path: &CStr, seconds: u32, now_ms: u64) -> Result<Watchdog, Errno> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let device = rustix::fs::open(path, flags, Mode::empty())?;
        let set = watchdog::set_timeout(device.as_fd(), seconds);
        // Where it does not tell, it is taken to have what it was given.
        let has = watchdog::timeout(device.as_fd()).unwrap_or(seconds).max(1);
        let path = path.to_str().unwrap_or("?");
        match set {
            Ok(()) if has == seconds => {}
            Ok(()) => {
                console.say(Level::Warning, format_args!("watchdog {path}: its time-out is {has} s, not {seconds} s"))
            }
            Err(error) => {
                let words = ErrnoWords(error.raw_os_error() as u16);
                console.say(
                    Level::Warning,
                    format_args!("watchdog {path}: its time-out stays {has} s: set to {seconds} s: {words}"),
                );
            }
        }
        let every_ms = u64::from(has) * 1000 / limits::WATCHDOG_SHARE;
        let mut watchdog = Watchdog { device: Some(device), every_ms, due_ms: now_ms, fails: false };
        watchdog.pet(now_ms);
        Ok(watchdog)
    }

    /// Opens the one that `plan` names, where it is there already and none is open: from here on a boot that hangs is noticed.
    /// The event loop looks for it again, and says what stands against it.
    pub fn begin(&mut self, console: &Console, plan: &Plan) {
        let host = &plan.host;
        if !host.watchdog.is_empty()
            && !self.is_open()
            && let Ok(opened) =
                Watchdog::open(console, plan.strings.c_str(host.watchdog), host.watchdog_s, clock::now_ms())
        {
            *self = opened;
        }
    }

    /// The one that the program before had open, petted every so often; none where there is none.
    #[must_use]
    pub fn adopt(device: Option<OwnedFd>, every_ms: u64, now_ms: u64) -> Watchdog {
        Watchdog { device, every_ms, due_ms: now_ms, fails: false }
    }

    /// Its device, for the program that comes after, and how often it is petted.
    #[must_use]
    pub fn kept(&self) -> (Option<&OwnedFd>, u64) {
        (self.device.as_ref(), self.every_ms)
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.device.is_some()
    }

    /// When it is to be petted; nothing where there is none.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.device.as_ref().map(|_| self.due_ms)
    }

    /// Pets it, if it is time. Returns an error where that fails for the first time.
    pub fn pet(&mut self, now_ms: u64) -> Option<Errno> {
        let device = self.device.as_ref().filter(|_| self.due_ms <= now_ms)?;
        self.due_ms = now_ms.saturating_add(self.every_ms);
        let outcome = watchdog::pet(device.as_fd());
        let failed_before = core::mem::replace(&mut self.fails, outcome.is_err());
        outcome.err().filter(|_| !failed_before)
    }

    /// Stops it by its magic character, where the device can be stopped, for a machine that is to stand still or to be off.
    pub fn stop(&mut self) {
        if let Some(device) = self.device.take() {
            // Where it is not taken the time-out goes on, and the kernel says so.
            let _ = rustix::io::write(&device, b"V");
        }
    }

    /// Gives it all of its time once more.
    pub fn renew(&mut self) {
        self.due_ms = 0;
        self.pet(clock::now_ms());
    }

    /// The same, and leaves it running: what comes hangs in vain.
    pub fn leave(&mut self) {
        self.renew();
        // As long as this process is there, so is its descriptor.
        if let Some(device) = self.device.take() {
            core::mem::forget(device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watchdog that is a pipe, which takes no ioctl, and its other end.
    fn pipe() -> (Watchdog, OwnedFd) {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        (Watchdog::adopt(Some(write), 1_000, 0), read)
    }

    #[test]
    fn it_is_stopped_by_its_magic_character_and_left_without() {
        let mut buffer = [0; 8];
        let (mut watchdog, read) = pipe();
        watchdog.stop();
        assert_eq!(rustix::io::read(&read, &mut buffer), Ok(1));
        assert_eq!(buffer[0], b'V');
        assert!(!watchdog.is_open() && watchdog.due_ms().is_none());
        let (mut watchdog, read) = pipe();
        watchdog.leave();
        // It stays open.
        assert_eq!(rustix::io::read(&read, &mut buffer), Err(Errno::AGAIN));
    }

    #[test]
    fn it_is_petted_when_it_is_time_and_trouble_is_told_once() {
        let (mut watchdog, _read) = pipe();
        assert_eq!(watchdog.pet(5), Some(Errno::NOTTY));
        assert_eq!(watchdog.due_ms(), Some(1_005));
        assert_eq!((watchdog.pet(1_000), watchdog.due_ms()), (None, Some(1_005)));
        assert_eq!((watchdog.pet(1_005), watchdog.due_ms()), (None, Some(2_005)));
    }
}
