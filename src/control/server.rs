//! The server's end of the control socket: clients in a fixed table, one outstanding request each, never blocking.
//!
//! The event loop watches [`Server::listener`], and each client's [`Server::descriptor`] for what [`Server::wants`]
//! says, level-triggered. It calls [`Server::accept`] and [`Server::receive`] once for each event, so that a client that
//! floods gets one turn like any other; [`Server::send`] for each reply, again at the next event where it was
//! [`Sent::Later`]; and [`Server::expire`] at [`Server::next_deadline_ms`]. A hang-up while nothing is wanted means that
//! the client is gone: [`Server::close`]. `now_ms` is the monotonic clock in milliseconds.

use core::ffi::CStr;
use core::fmt;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode};
use rustix::io::{Errno, IoSlice};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use super::wire::{Code, Failure, REQUEST_BYTES, Reply, Request, Wrong};
use crate::fault::ErrnoWords;
use crate::limits;
use crate::sys;

/// Where the socket is, unless `--socket` says otherwise.
pub const PATH: &CStr = c"/run/inn/control";

/// To a client of another version, whose words for it are better: it knows which of both is older.
const ANOTHER_VERSION: &str = concat!(
    "the supervisor is of innkeep ",
    env!("CARGO_PKG_VERSION"),
    ", which speaks another version of the protocol"
);
const UNKNOWN_REQUEST: &str =
    concat!("the supervisor is of innkeep ", env!("CARGO_PKG_VERSION"), ", which does not know this request");

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 64;

/// Why there is no socket: the call that failed, and its error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The system call.
    pub call: &'static str,
    /// errno(3)
    pub errno: Errno,
}

/// "bind: EADDRINUSE (address in use)".
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, ErrnoWords(self.errno.raw_os_error() as u16))
    }
}

/// One connection, never confused with an earlier one in the same place of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(u32);

const SLOT_BITS: u32 = 8;
const _: () = assert!(limits::CLIENTS <= 1 << SLOT_BITS);

impl ClientId {
    /// As a number, for the data of an epoll event.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// Back from such a number. Any number will do: one that no client has is a client that is gone.
    #[must_use]
    pub fn from_number(number: u32) -> ClientId {
        ClientId(number)
    }

    fn slot(self) -> usize {
        self.0 as usize & ((1 << SLOT_BITS) - 1)
    }
}

/// What a client's descriptor is to be watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Its next request (EPOLLIN).
    Request,
    /// Room for a reply (EPOLLOUT).
    Room,
    /// Nothing but its hang-up: its request is being carried out.
    Nothing,
}

/// What was heard from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'b> {
    /// A request, which must be answered: until the final reply no other is read.
    Request(Request<'b>),
    /// Nothing yet.
    Nothing,
    /// It is gone: closed by itself, or here because it sent something else than a request.
    Gone,
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Done,
    /// The client has not taken the earlier ones yet: send it again when there is room.
    Later,
    /// The client is gone.
    Gone,
}

/// The socket and its clients.
#[derive(Debug)]
pub struct Server {
    listener: OwnedFd,
    /// Given up for a moment when descriptors run out, so that a connection can be accepted and refused: left in the
    /// backlog it would wake the event loop for ever.
    spare: Option<OwnedFd>,
    /// Whose requests are heard, besides root's.
    owner: u32,
    generation: u32,
    clients: [Option<Client>; limits::CLIENTS],
}

#[derive(Debug)]
struct Client {
    id: ClientId,
    socket: OwnedFd,
    wants: Wants,
    /// When it is dropped; nothing while its request is being carried out.
    deadline_ms: Option<u64>,
}

impl Server {
    /// Listens at `path`: a socket that only its owner can connect to. The directory is made (mode 0700) where it is
    /// missing, and a socket that nobody listens to is replaced.
    ///
    /// # Errors
    /// The call that failed; `connect: EADDRINUSE` where another server listens there.
    pub fn bind(path: &CStr) -> Result<Server, Refusal> {
        make_directory(path)?;
        let address = SocketAddrUnix::new(path).map_err(at("bind"))?;
        remove_stale(path, &address)?;
        let listener = socket()?;
        // bind(2) gives the file the socket's mode: nobody can connect between bind and a chmod.
        rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR).map_err(at("fchmod"))?;
        rustix::net::bind(&listener, &address).map_err(at("bind"))?;
        rustix::net::listen(&listener, BACKLOG).map_err(at("listen"))?;
        Server::adopt(listener)
    }

    /// The server of a socket on which this process has listened before.
    ///
    /// # Errors
    /// Of fcntl(2).
    pub fn adopt(listener: OwnedFd) -> Result<Server, Refusal> {
        let spare = rustix::io::fcntl_dupfd_cloexec(&listener, 0).map_err(at("fcntl"))?;
        let owner = rustix::process::geteuid().as_raw();
        Ok(Server { listener, spare: Some(spare), owner, generation: 0, clients: [const { None }; limits::CLIENTS] })
    }

    /// The listening socket itself.
    #[must_use]
    pub fn descriptor_of_listener(&self) -> &OwnedFd {
        &self.listener
    }

    /// The listening socket: readable when there is something to accept.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Takes one connection; nothing where there is none, or where it was refused and told so.
    pub fn accept(&mut self, now_ms: u64) -> Option<ClientId> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match rustix::net::accept_with(&self.listener, flags) {
            Ok(socket) => socket,
            Err(Errno::MFILE | Errno::NFILE) => {
                self.spare = None;
                if let Ok(socket) = rustix::net::accept_with(&self.listener, flags) {
                    refuse(&socket, Code::Busy, "too many open files");
                }
                self.spare = rustix::io::fcntl_dupfd_cloexec(&self.listener, 0).ok();
                return None;
            }
            // Anything else concerns a connection that is no more (accept(2)).
            Err(_) => return None,
        };
        // An error of this call leaves the client unknown, and so refused.
        let known = sys::socket::peer(socket.as_fd()).is_ok_and(|peer| peer.uid == 0 || peer.uid == self.owner);
        if !known {
            refuse(&socket, Code::NotPermitted, "only root may ask");
            return None;
        }
        let Some(slot) = self.clients.iter().position(Option::is_none) else {
            refuse(&socket, Code::Busy, "too many clients at once");
            return None;
        };
        self.generation = self.generation.wrapping_add(1);
        let id = ClientId(self.generation << SLOT_BITS | slot as u32);
        let client = Client { id, socket, wants: Wants::Request, deadline_ms: Some(stall(now_ms)) };
        *self.clients.get_mut(slot)? = Some(client);
        Some(id)
    }

    /// The same, to be handed over.
    #[must_use]
    pub fn owned(&self, id: ClientId) -> Option<&OwnedFd> {
        Some(&self.client(id)?.socket)
    }

    /// The client's socket; nothing where it is gone.
    #[must_use]
    pub fn descriptor(&self, id: ClientId) -> Option<BorrowedFd<'_>> {
        Some(self.client(id)?.socket.as_fd())
    }

    /// What the client's socket is to be watched for.
    #[must_use]
    pub fn wants(&self, id: ClientId) -> Wants {
        self.client(id).map_or(Wants::Nothing, |client| client.wants)
    }

    /// Reads one request, where one is wanted, into `buffer`.
    pub fn receive<'b>(&mut self, id: ClientId, buffer: &'b mut [u8; REQUEST_BYTES]) -> Incoming<'b> {
        let Some(client) = self.client_mut(id) else { return Incoming::Gone };
        if client.wants != Wants::Request {
            return Incoming::Nothing;
        }
        // With TRUNC the length is the packet's, also where that is longer than the buffer.
        let packet = rustix::net::recv(&client.socket, &mut buffer[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC);
        let asked = match packet {
            Err(Errno::AGAIN | Errno::INTR) => return Incoming::Nothing,
            Err(_) | Ok((_, 0)) => {
                self.close(id);
                return Incoming::Gone;
            }
            Ok((_, length)) => buffer.get(..length).ok_or(Wrong::Malformed).and_then(Request::decode),
        };
        match asked {
            Ok(request) => {
                client.wants = Wants::Nothing;
                client.deadline_ms = None;
                Incoming::Request(request)
            }
            Err(wrong) => {
                match wrong {
                    Wrong::Version(_) => refuse(&client.socket, Code::Version, ANOTHER_VERSION),
                    Wrong::Unknown => refuse(&client.socket, Code::Version, UNKNOWN_REQUEST),
                    Wrong::Malformed => refuse(&client.socket, Code::Usage, "not a request"),
                }
                self.close(id);
                Incoming::Gone
            }
        }
    }

    /// Sends one reply to the client's request, with a descriptor where the reply comes with one.
    pub fn send(&mut self, id: ClientId, reply: &Reply<'_>, with: Option<BorrowedFd<'_>>, now_ms: u64) -> Sent {
        let Some(client) = self.client_mut(id) else { return Sent::Gone };
        match send(&client.socket, reply, with) {
            Ok(()) if reply.is_final() => {
                client.wants = Wants::Request;
                client.deadline_ms = Some(stall(now_ms));
                Sent::Done
            }
            Ok(()) => {
                client.wants = Wants::Nothing;
                client.deadline_ms = None;
                Sent::Done
            }
            Err(Errno::AGAIN) => {
                client.wants = Wants::Room;
                client.deadline_ms.get_or_insert(stall(now_ms));
                Sent::Later
            }
            Err(_) => {
                self.close(id);
                Sent::Gone
            }
        }
    }

    /// Forgets the client and closes its socket.
    pub fn close(&mut self, id: ClientId) {
        if let Some(client) = self.client(id) {
            // A helper that hangs has a copy of the socket, which would keep the client waiting.
            let _ = rustix::net::shutdown(&client.socket, rustix::net::Shutdown::Both);
            if let Some(slot) = self.clients.get_mut(id.slot()) {
                *slot = None;
            }
        }
    }

    /// When the next client is to be dropped, if nothing happens until then.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.clients.iter().flatten().filter_map(|client| client.deadline_ms).min()
    }

    /// Drops one client that let its time pass: it took no reply, or asked nothing, for [`limits::CLIENT_STALL_MS`].
    /// To be called until it says nothing.
    pub fn expire(&mut self, now_ms: u64) -> Option<ClientId> {
        let late = |client: &&Client| client.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms);
        let id = self.clients.iter().flatten().find(late)?.id;
        self.close(id);
        Some(id)
    }

    fn client(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(id.slot())?.as_ref().filter(|client| client.id == id)
    }

    fn client_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(id.slot())?.as_mut().filter(|client| client.id == id)
    }
}

fn stall(now_ms: u64) -> u64 {
    now_ms.saturating_add(limits::CLIENT_STALL_MS)
}

fn at(call: &'static str) -> impl FnOnce(Errno) -> Refusal {
    move |errno| Refusal { call, errno }
}

fn socket() -> Result<OwnedFd, Refusal> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(at("socket"))
}

/// Makes the directory of `path`, where it is missing.
fn make_directory(path: &CStr) -> Result<(), Refusal> {
    let bytes = path.to_bytes();
    match bytes.iter().rposition(|&byte| byte == b'/') {
        None | Some(0) => Ok(()),
        Some(end) => match rustix::fs::mkdir(&bytes[..end], Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Refusal { call: "mkdir", errno }),
        },
    }
}

/// Removes a socket that nobody listens to any more.
fn remove_stale(path: &CStr, address: &SocketAddrUnix) -> Result<(), Refusal> {
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(Refusal { call: "stat", errno }),
        // bind(2) will say that there is something.
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Socket => return Ok(()),
        Ok(_) => {}
    }
    match rustix::net::connect(&socket()?, address) {
        Err(Errno::CONNREFUSED) => rustix::fs::unlink(path).map_err(at("unlink")),
        Err(Errno::NOENT) => Ok(()),
        // A full backlog (EAGAIN) or another kind of socket is somebody's too.
        Ok(()) | Err(_) => Err(Refusal { call: "connect", errno: Errno::ADDRINUSE }),
    }
}

/// Tells a client of the program before that what it has asked for is done; lost where it does not listen.
pub fn tell_done(socket: &OwnedFd) {
    let _ = send(socket, &Reply::Done, None);
}

/// What is told where a program that was to take the supervisor's place has died too early.
pub const CAME_BACK: &str = "the new program has died before it had taken over; the one before goes on";

/// Tells a client of the program before that what it has asked for has failed; lost where it does not listen.
pub fn tell_failed(socket: &OwnedFd, why: &str) {
    refuse(socket, Code::Failed, why);
}

/// The last word to a connection that is about to be closed; lost where the other end does not listen.
fn refuse(socket: &OwnedFd, code: Code, why: &str) {
    let _ = send(socket, &Reply::Error(Failure::new(code, "", why)), None);
}

fn send(socket: &OwnedFd, reply: &Reply<'_>, with: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut buffer = [0; limits::MESSAGE_BYTES];
    let message = reply.encode(&mut buffer);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = with.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut ancillary, flags).map(|_| ())
}
