//! The init of a host that is not this program's: what it is told (sd_notify(3)), where it asked to be.

use core::fmt::Write;

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::limits;
use crate::sys::Errno;
use crate::sys::process::Arguments;
use crate::text;

/// The longest message.
const MESSAGE_BYTES: usize = 256;
/// After so long what its queue had no room for is told again.
const RETRY_MS: u64 = 200;
/// It is told that a start, or an end, takes so much longer than it may.
const SPARE_MS: u64 = 10_000;

/// What the supervisor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Guests that start with it are starting.
    Starting,
    /// All of them have started, or failed: so many guests and services.
    Supervising(usize),
    /// The config is read again.
    Reloading,
    /// Guests are being stopped, within so many milliseconds.
    Stopping(u64),
}

/// Where and when it is told.
#[derive(Debug)]
pub struct Manager {
    socket: OwnedFd,
    address: SocketAddrUnix,
    told: Option<Doing>,
    retry_at_ms: Option<u64>,
    /// It takes this program for hung when it was not told otherwise for twice as long.
    watchdog_ms: Option<u64>,
    watchdog_at_ms: u64,
}

impl Manager {
    /// The one that the environment names; nothing where it names none.
    ///
    /// # Errors
    /// EINVAL for a name that is none; of socket(2).
    pub fn find(arguments: &Arguments) -> Result<Option<Manager>, Errno> {
        let Some(name) = arguments.variable(b"NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Ok(None) };
        let address = match name.to_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
            [b'/', ..] => SocketAddrUnix::new(name)?,
            _ => return Err(Errno::INVAL),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        let watchdog_ms = watchdog_ms(arguments);
        Ok(Some(Manager { socket, address, told: None, retry_at_ms: None, watchdog_ms, watchdog_at_ms: 0 }))
    }

    /// Tells what is new, and that this program is alive. To be called in each turn of its loop.
    ///
    /// # Errors
    /// Of sendto(2): it can be told nothing any more.
    pub fn tell(&mut self, doing: Doing, now_ms: u64) -> Result<(), Errno> {
        if self.watchdog_ms.is_some() && now_ms >= self.watchdog_at_ms {
            self.send(b"WATCHDOG=1", now_ms)?;
            self.watchdog_at_ms = now_ms.saturating_add(self.watchdog_ms.unwrap_or_default());
        }
        if self.told == Some(doing) || self.retry_at_ms.is_some_and(|at_ms| now_ms < at_ms) {
            return Ok(());
        }
        self.retry_at_ms = None;
        if self.send(message(doing, now_ms).as_bytes(), now_ms)? {
            self.told = Some(doing);
        }
        Ok(())
    }

    /// When [`Manager::tell`] has something to do, if nothing happens before.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        let watchdog = self.watchdog_ms.map(|_| self.watchdog_at_ms);
        [watchdog, self.retry_at_ms].into_iter().flatten().min()
    }

    /// Whether there was room for `message`.
    fn send(&mut self, message: &[u8], now_ms: u64) -> Result<bool, Errno> {
        match rustix::net::sendto(&self.socket, message, SendFlags::NOSIGNAL, &self.address) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::INTR) => {
                self.retry_at_ms = Some(now_ms.saturating_add(RETRY_MS));
                Ok(false)
            }
            Err(errno) => Err(errno),
        }
    }
}

fn message(doing: Doing, now_ms: u64) -> heapless::String<MESSAGE_BYTES> {
    let mut text = heapless::String::new();
    let longer_us = |ms: u64| ms.saturating_add(SPARE_MS).saturating_mul(1000);
    // Each fits.
    let _ = match doing {
        Doing::Starting => {
            write!(text, "STATUS=starting guests\nEXTEND_TIMEOUT_USEC={}", longer_us(limits::UP_TIMEOUT_MS))
        }
        Doing::Supervising(count) => {
            let pid = rustix::process::getpid().as_raw_nonzero();
            write!(text, "READY=1\nMAINPID={pid}\nSTATUS={count} guests and services; `inn list` shows them")
        }
        Doing::Reloading => {
            write!(text, "RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reading the config again", now_ms.saturating_mul(1000))
        }
        Doing::Stopping(ms) => {
            write!(text, "STOPPING=1\nSTATUS=stopping guests\nEXTEND_TIMEOUT_USEC={}", longer_us(ms))
        }
    };
    text
}

/// How often this process is to tell that it is alive: twice as often as it must.
fn watchdog_ms(arguments: &Arguments) -> Option<u64> {
    let number = |name| text::number::<u64>(arguments.variable(name)?.to_bytes());
    let own = rustix::process::getpid().as_raw_nonzero().get() as u64;
    let is_meant = arguments.variable(b"WATCHDOG_PID").is_none() || number(b"WATCHDOG_PID") == Some(own);
    let ms = number(b"WATCHDOG_USEC")? / 2000;
    (is_meant && ms > 0).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_fits_and_is_lines_of_assignments() {
        for doing in [Doing::Starting, Doing::Supervising(usize::MAX), Doing::Reloading, Doing::Stopping(u64::MAX)] {
            let text = message(doing, u64::MAX);
            assert!(text.len() < MESSAGE_BYTES, "{text}");
            assert!(
                text.lines().all(|line| line.split_once('=').is_some_and(|(_, value)| !value.is_empty())),
                "{text}"
            );
        }
    }
}
