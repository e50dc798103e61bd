//! The client's end of the control socket: one request, then replies until the final one, each within a time.

use core::cell::Cell;
use core::ffi::CStr;
use core::fmt;
use core::mem::MaybeUninit;
use core::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use super::wire::{Code, Failure, REQUEST_BYTES, Reply, Request, VERSION, Wrong};
use crate::fault::ErrnoWords;
use crate::limits;
use crate::sys;

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// This call failed.
    Call(&'static str, Errno),
    /// The server closed the connection without a final reply.
    Closed,
    /// No reply within the time given.
    TimedOut,
    /// The reply is none that this client knows.
    Wrong(Wrong),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Call(call, errno) => write!(f, "{call}: {}", ErrnoWords(errno.raw_os_error() as u16)),
            Lost::Closed => f.write_str("the server closed the connection"),
            Lost::TimedOut => f.write_str("no answer in time"),
            Lost::Wrong(Wrong::Version(version)) => {
                let age = if *version < VERSION { "older" } else { "newer" };
                write!(
                    f,
                    "the supervisor is {age} than this inn: it speaks version {version} of the protocol, not {VERSION}"
                )
            }
            Lost::Wrong(Wrong::Unknown | Wrong::Malformed) => {
                f.write_str("the supervisor's answer makes no sense to this inn: they are not of one version")
            }
        }
    }
}

/// How long a server is given to send more before it is waited for, nanoseconds: it makes a dozen replies in that time.
const NAP_NS: i64 = 150_000;

/// A connection to the server.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    /// Whether a reply to the last request has come.
    is_amid: Cell<bool>,
}

/// Room for a reply, which borrows from it.
pub type Buffer = [u8; limits::MESSAGE_BYTES];

impl Client {
    /// Connects to the server that listens at `path`.
    ///
    /// # Errors
    /// The call that failed.
    pub fn connect(path: &CStr) -> Result<Client, Lost> {
        let at = |call| move |errno| Lost::Call(call, errno);
        let address = SocketAddrUnix::new(path).map_err(at("connect"))?;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(at("socket"))?;
        // Bounds the wait for a place in the server's backlog, too.
        let stall = Duration::from_millis(limits::CLIENT_STALL_MS);
        set_socket_timeout(&socket, Timeout::Send, Some(stall)).map_err(at("setsockopt"))?;
        loop {
            match rustix::net::connect(&socket, &address) {
                Ok(()) => return Ok(Client { socket, is_amid: Cell::new(false) }),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(Lost::TimedOut),
                Err(errno) => return Err(Lost::Call("connect", errno)),
            }
        }
    }

    /// Asks. A server that has closed the connection may have said why: that is what [`Client::reply`] then returns.
    ///
    /// # Errors
    /// The call that failed.
    pub fn request(&self, request: &Request) -> Result<(), Lost> {
        let mut buffer = [0; REQUEST_BYTES];
        self.is_amid.set(false);
        match rustix::net::send(&self.socket, request.encode(&mut buffer), SendFlags::NOSIGNAL) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(Errno::AGAIN) => Err(Lost::TimedOut),
            Err(errno) => Err(Lost::Call("send", errno)),
        }
    }

    /// The next reply, and the descriptor that came with it. Waits for `timeout_ms` at most, or for ever.
    ///
    /// # Errors
    /// Why there is none.
    pub fn reply<'b>(
        &self,
        buffer: &'b mut Buffer,
        timeout_ms: Option<u64>,
    ) -> Result<(Reply<'b>, Option<OwnedFd>), Lost> {
        self.await_packet(timeout_ms)?;
        let (length, descriptor) = match self.packet(buffer) {
            // The server closed with our request unread; what it said before comes next.
            Err(Errno::CONNRESET) => self.packet(buffer),
            other => other,
        }
        .map_err(|errno| if errno == Errno::CONNRESET { Lost::Closed } else { Lost::Call("recvmsg", errno) })?;
        if length == 0 {
            return Err(Lost::Closed);
        }
        let message = buffer.get(..length).ok_or(Lost::Wrong(Wrong::Malformed))?;
        let version = message.first().copied().unwrap_or(VERSION);
        match Reply::decode(message).map_err(Lost::Wrong)? {
            Reply::Error(Failure { code: Code::Version, .. }) if version != VERSION => {
                Err(Lost::Wrong(Wrong::Version(version)))
            }
            reply => Ok((reply, descriptor)),
        }
    }

    /// The server's process; 0 where it cannot be seen from here.
    #[must_use]
    pub fn server(&self) -> i32 {
        sys::socket::peer(self.socket.as_fd()).map_or(0, |peer| peer.pid)
    }

    /// Waits for a packet. Behind another one more come at once, as many as there are guests: who waits for each of them is
    /// woken for each, which takes the server longer than to make it. So it is not waited for at first.
    fn await_packet(&self, timeout_ms: Option<u64>) -> Result<(), Lost> {
        if self.is_amid.replace(true) && self.wait(Some(0)).is_err() {
            let _ = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 0, tv_nsec: NAP_NS });
        }
        self.wait(timeout_ms)
    }

    fn wait(&self, timeout_ms: Option<u64>) -> Result<(), Lost> {
        let timeout = timeout_ms.map(|ms| Timespec {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: (ms % 1000 * 1_000_000) as _,
        });
        let mut watched = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        loop {
            match rustix::event::poll(&mut watched, timeout.as_ref()) {
                Ok(0) => return Err(Lost::TimedOut),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Lost::Call("poll", errno)),
            }
        }
    }

    fn packet(&self, buffer: &mut Buffer) -> Result<(usize, Option<OwnedFd>), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::TRUNC;
        let received = rustix::net::recvmsg(&self.socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags)?;
        let mut descriptor = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                descriptor = descriptors.last();
            }
        }
        Ok((received.bytes, descriptor))
    }
}
