//! The control socket with real clients: whatever a client does, the others are served.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use innkeep::control::client::{Client, Lost};
use innkeep::control::server::{ClientId, Incoming, Sent, Server, Wants};
use innkeep::control::wire::{Code, Failure, REQUEST_BYTES, Reply, Request};
use innkeep::limits;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

const NOW: u64 = 1_000_000;

/// A server in a directory of its own, gone when dropped.
struct Host {
    directory: PathBuf,
    path: CString,
    server: Server,
}

impl Host {
    fn new(name: &str) -> Host {
        let directory = std::env::temp_dir().join(format!("inn-test-{}-{name}", std::process::id()));
        let path = CString::new(directory.join("control").to_str().unwrap()).unwrap();
        let server = Server::bind(&path).unwrap();
        Host { directory, path, server }
    }

    fn connect(&mut self) -> (Client, ClientId) {
        let client = Client::connect(&self.path).unwrap();
        (client, self.server.accept(NOW).expect("accepted"))
    }

    /// A connection that sends what it likes.
    fn connect_raw(&mut self) -> (OwnedFd, ClientId) {
        (raw(&self.path), self.server.accept(NOW).expect("accepted"))
    }

    fn ask(&mut self, client: &Client, id: ClientId, request: Request) {
        client.request(&request).unwrap();
        assert_eq!(self.server.receive(id, &mut [0; REQUEST_BYTES]), Incoming::Request(request));
    }

    /// Whether a fresh client is served.
    fn serves(&mut self) -> bool {
        let (client, id) = self.connect();
        self.ask(&client, id, Request::List);
        assert_eq!(self.server.send(id, &Reply::Done, None, NOW), Sent::Done);
        hears(&client, Reply::Done);
        self.server.close(id);
        true
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn raw(path: &CString) -> OwnedFd {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_c_str()).unwrap()).unwrap();
    socket
}

fn hears(client: &Client, expected: Reply<'_>) {
    let mut buffer = [0; limits::MESSAGE_BYTES];
    let (reply, _) = client.reply(&mut buffer, Some(1000)).unwrap();
    assert_eq!(reply, expected);
}

/// The next packet is an error with this code, and then the connection ends.
fn is_refused(socket: &OwnedFd, expected: Code) {
    let mut buffer = [0u8; limits::MESSAGE_BYTES];
    let mut next = || {
        let flags = rustix::net::RecvFlags::DONTWAIT;
        match rustix::net::recv(socket, &mut buffer[..], flags) {
            Err(Errno::CONNRESET) => rustix::net::recv(socket, &mut buffer[..], flags),
            other => other,
        }
        .map(|(length, _)| buffer[..length].to_vec())
        .unwrap()
    };
    let packet = next();
    assert!(matches!(Reply::decode(&packet), Ok(Reply::Error(Failure { code, .. })) if code == expected), "{packet:?}");
    assert_eq!(next(), Vec::<u8>::new());
}

#[test]
fn a_request_gets_its_replies_and_the_connection_can_be_used_again() {
    let mut host = Host::new("replies");
    let (client, id) = host.connect();
    for _ in 0..3 {
        host.ask(&client, id, Request::HostStatus);
        assert_eq!(host.server.wants(id), Wants::Nothing);
        assert_eq!(host.server.send(id, &Reply::Version("one"), None, NOW), Sent::Done);
        assert_eq!(host.server.send(id, &Reply::Done, None, NOW), Sent::Done);
        assert_eq!(host.server.wants(id), Wants::Request);
        hears(&client, Reply::Version("one"));
        hears(&client, Reply::Done);
    }
    drop(client);
    assert_eq!(host.server.receive(id, &mut [0; REQUEST_BYTES]), Incoming::Gone);
    assert!(host.server.descriptor(id).is_none());
    assert_eq!(host.server.send(id, &Reply::Done, None, NOW), Sent::Gone);
}

#[test]
fn a_descriptor_arrives_with_its_reply() {
    let mut host = Host::new("descriptor");
    let (client, id) = host.connect();
    host.ask(&client, id, Request::List);
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    rustix::io::write(&writer, b"hello").unwrap();
    assert_eq!(host.server.send(id, &Reply::Logs { guest: "web", file: "" }, Some(reader.as_fd()), NOW), Sent::Done);
    let mut buffer = [0; limits::MESSAGE_BYTES];
    let (reply, descriptor) = client.reply(&mut buffer, Some(1000)).unwrap();
    assert_eq!(reply, Reply::Logs { guest: "web", file: "" });
    let received = descriptor.expect("a descriptor");
    let mut text = [0; 5];
    assert_eq!(rustix::io::read(&received, &mut text), Ok(5));
    assert_eq!(&text, b"hello");
    assert!(rustix::io::fcntl_getfd(&received).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn the_socket_is_its_owners_alone_and_its_directory_too() {
    let host = Host::new("mode");
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(host.directory.join("control")), 0o600);
    assert_eq!(mode(host.directory.clone()), 0o700);
}

#[test]
fn a_socket_that_nobody_listens_to_is_replaced_and_a_live_one_is_not() {
    let host = Host::new("stale");
    let refusal = Server::bind(&host.path).unwrap_err();
    assert_eq!((refusal.call, refusal.errno), ("connect", Errno::ADDRINUSE));
    let Host { directory, path, server } = &mut *std::mem::ManuallyDrop::new(host);
    // Closing the listener leaves the file behind, as a crash does.
    drop(std::mem::replace(
        server,
        Server::bind(&CString::new(format!("{}2", path.to_str().unwrap())).unwrap()).unwrap(),
    ));
    // A child that another test starts has a copy of it until it executes its program.
    while Client::connect(path).is_ok() {}
    assert!(Server::bind(path).is_ok());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let host = Host::new("file");
    let path = host.directory.join("precious");
    std::fs::write(&path, "data").unwrap();
    let refusal = Server::bind(&CString::new(path.to_str().unwrap()).unwrap()).unwrap_err();
    assert_eq!((refusal.call, refusal.errno), ("bind", Errno::ADDRINUSE));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "data");
}

#[test]
fn garbage_gets_one_error_and_the_end() {
    let mut host = Host::new("garbage");
    let long = vec![b'x'; 100_000];
    let mut half = [0; innkeep::control::wire::REQUEST_BYTES];
    let half = Request::Power { how: innkeep::control::wire::Power::Halt }.encode(&mut half);
    let half = &half[..half.len() - 1];
    for garbage in [&b"GET / HTTP/1.1\r\n"[..], &long, half, &[innkeep::control::wire::VERSION], &[0xff; 66]] {
        let (socket, id) = host.connect_raw();
        rustix::net::send(&socket, garbage, SendFlags::NOSIGNAL).unwrap();
        assert_eq!(host.server.receive(id, &mut [0; REQUEST_BYTES]), Incoming::Gone);
        assert!(host.server.descriptor(id).is_none());
        let version = garbage[0] != innkeep::control::wire::VERSION && garbage.len() < long.len();
        is_refused(&socket, if version { Code::Version } else { Code::Usage });
    }
    assert!(host.serves());
}

#[test]
fn a_message_a_byte_at_a_time_is_no_message() {
    let mut host = Host::new("bytes");
    let (socket, id) = host.connect_raw();
    for byte in Request::List.encode(&mut [0; innkeep::control::wire::REQUEST_BYTES]) {
        rustix::net::send(&socket, &[*byte], SendFlags::NOSIGNAL).unwrap();
    }
    assert_eq!(host.server.receive(id, &mut [0; REQUEST_BYTES]), Incoming::Gone);
    is_refused(&socket, Code::Usage);
    assert!(host.serves());
}

#[test]
fn a_client_that_never_reads_is_dropped_after_its_time() {
    let mut host = Host::new("deaf");
    let (client, id) = host.connect();
    host.ask(&client, id, Request::List);
    assert_eq!(host.server.next_deadline_ms(), None);
    let text = "x".repeat(500);
    let sent = (0..10_000).find(|_| host.server.send(id, &Reply::Version(&text), None, NOW) == Sent::Later);
    assert!(sent.is_some(), "the kernel bounds what is not read");
    assert_eq!(host.server.wants(id), Wants::Room);
    // Trying again and again buys no more time.
    assert_eq!(host.server.send(id, &Reply::Version(&text), None, NOW + 5000), Sent::Later);
    assert_eq!(host.server.next_deadline_ms(), Some(NOW + limits::CLIENT_STALL_MS));
    assert!(host.serves());
    assert_eq!(host.server.expire(NOW + limits::CLIENT_STALL_MS - 1), None);
    assert_eq!(host.server.expire(NOW + limits::CLIENT_STALL_MS), Some(id));
    assert_eq!(host.server.expire(NOW + limits::CLIENT_STALL_MS), None);
    assert_eq!(host.server.send(id, &Reply::Version(&text), None, NOW), Sent::Gone);
}

#[test]
fn a_client_that_reads_at_last_is_served_on() {
    let mut host = Host::new("slow");
    let (client, id) = host.connect();
    host.ask(&client, id, Request::List);
    let text = "x".repeat(500);
    let count = (0..10_000).find(|_| host.server.send(id, &Reply::Version(&text), None, NOW) == Sent::Later).unwrap();
    for _ in 0..count {
        hears(&client, Reply::Version(&text));
    }
    assert_eq!(host.server.send(id, &Reply::Done, None, NOW), Sent::Done);
    hears(&client, Reply::Done);
    assert_eq!(host.server.wants(id), Wants::Request);
}

#[test]
fn a_client_that_asks_nothing_is_dropped_after_its_time() {
    let mut host = Host::new("mute");
    let (_client, id) = host.connect();
    assert_eq!(host.server.next_deadline_ms(), Some(NOW + limits::CLIENT_STALL_MS));
    assert_eq!(host.server.expire(NOW + limits::CLIENT_STALL_MS), Some(id));
}

#[test]
fn a_flood_gets_one_turn_at_a_time() {
    let mut host = Host::new("flood");
    let (flood, flooding) = host.connect();
    for _ in 0..50 {
        flood.request(&Request::List).unwrap();
    }
    for _ in 0..50 {
        assert_eq!(host.server.receive(flooding, &mut [0; REQUEST_BYTES]), Incoming::Request(Request::List));
        // The next one is not read before the final reply.
        assert_eq!(host.server.receive(flooding, &mut [0; REQUEST_BYTES]), Incoming::Nothing);
        assert_eq!(host.server.send(flooding, &Reply::Done, None, NOW), Sent::Done);
    }
    assert!(host.serves());
}

#[test]
fn one_client_too_many_is_told_so_and_the_others_stay() {
    let mut host = Host::new("full");
    let mut clients: Vec<_> = (0..limits::CLIENTS).map(|_| host.connect()).collect();
    let late = Client::connect(&host.path).unwrap();
    late.request(&Request::List).unwrap();
    assert_eq!(host.server.accept(NOW), None);
    let mut buffer = [0; limits::MESSAGE_BYTES];
    let (reply, _) = late.reply(&mut buffer, Some(1000)).unwrap();
    assert!(matches!(reply, Reply::Error(Failure { code: Code::Busy, .. })), "{reply:?}");
    assert_eq!(late.reply(&mut buffer, Some(1000)).unwrap_err(), Lost::Closed);
    for (client, id) in &clients {
        host.ask(client, *id, Request::List);
    }
    let (_, left) = clients.pop().unwrap();
    host.server.close(left);
    assert!(host.serves());
    // The place is another client's now: the old name of it reaches nobody.
    assert_eq!(host.server.send(left, &Reply::Done, None, NOW), Sent::Gone);
}

#[test]
fn descriptors_that_a_client_sends_are_not_kept() {
    let mut host = Host::new("gift");
    let (socket, id) = host.connect_raw();
    // What another test starts meanwhile must not keep it.
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
    let gift = [writer.as_fd()];
    ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&gift));
    let mut buffer = [0; innkeep::control::wire::REQUEST_BYTES];
    let message = Request::List.encode(&mut buffer);
    rustix::net::sendmsg(&socket, &[rustix::io::IoSlice::new(message)], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
    assert_eq!(host.server.receive(id, &mut [0; REQUEST_BYTES]), Incoming::Request(Request::List));
    drop(writer);
    // Nobody holds the other end any more.
    assert_eq!(rustix::io::read(&reader, &mut [0u8; 1]), Ok(0));
}

#[test]
fn another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can connect as another user");
        return;
    }
    let mut host = Host::new("user");
    // Let the stranger through the file permissions, so that only the credentials are left to refuse it.
    std::fs::set_permissions(&host.directory, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(host.directory.join("control"), PermissionsExt::from_mode(0o666)).unwrap();
    let path = host.path.clone();
    let stranger = std::thread::spawn(move || {
        // Of this thread alone: that is how the system call is.
        let user = rustix::process::Uid::from_raw(12345);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        raw(&path)
    });
    let socket = stranger.join().unwrap();
    assert_eq!(host.server.accept(NOW), None);
    is_refused(&socket, Code::NotPermitted);
    assert!(host.serves());
}
