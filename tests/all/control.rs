//! The control socket under clients that mean no good: refused or dropped, and the supervisor serves on.

use innkeep::control::wire::{REQUEST_BYTES, Request};
use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};

use crate::must;
use crate::private::Supervisor;

#[test]
fn garbage_is_refused_or_dropped() {
    let Some(supervisor) = Served::start("garbage") else { return };
    let mut noise = 0x2545_f491_4f6c_dd1du64;
    for length in [0, 1, 2, 3, 17, 255, 4095, 4096] {
        for _ in 0..8 {
            let client = supervisor.connect();
            let message: Vec<u8> = (0..length)
                .map(|_| {
                    // xorshift64: any bytes, the same in each run.
                    noise ^= noise << 13;
                    noise ^= noise >> 7;
                    noise ^= noise << 17;
                    noise as u8
                })
                .collect();
            let _ = send(&client, &message, SendFlags::NOSIGNAL);
        }
        supervisor.serves();
    }
}

#[test]
fn a_message_in_parts_is_no_message() {
    let Some(supervisor) = Served::start("parts") else { return };
    for message in [&[1u8][..], &[1, 0], &[1, 1], &[1, 1, 200], &[0xff; 64]] {
        let client = supervisor.connect();
        for byte in message {
            if send(&client, &[*byte], SendFlags::NOSIGNAL).is_err() {
                break;
            }
        }
        supervisor.serves();
    }
}

#[test]
fn clients_that_say_nothing_keep_nobody_out() {
    let Some(supervisor) = Served::start("silent") else { return };
    // Fewer than it takes at once: what more it refuses is another test's business.
    let _silent: Vec<OwnedFd> = (0..50).map(|_| supervisor.connect()).collect();
    supervisor.serves();
}

#[test]
fn a_flood_of_clients_leaves_the_supervisor_well() {
    let Some(supervisor) = Served::start("flood") else { return };
    let clients: Vec<OwnedFd> = (0..500).filter_map(|_| supervisor.try_connect().ok()).collect();
    assert!(!clients.is_empty());
    drop(clients);
    // Some of them may be counted as clients still, and who comes just then is told so.
    supervisor.0.wait_for("room", |this| this.inn(&["list"]).status.success());
    supervisor.serves();
}

#[test]
fn a_client_that_never_reads_stalls_only_itself() {
    let Some(supervisor) = Served::start("unread") else { return };
    let client = supervisor.connect();
    // The list is asked for more often than any buffer holds.
    let mut buffer = [0; REQUEST_BYTES];
    let list = Request::List.encode(&mut buffer);
    for _ in 0..10_000 {
        if send(&client, list, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_err() {
            break;
        }
    }
    supervisor.serves();
}

#[test]
fn a_request_that_is_garbage_has_an_answer_or_an_end() {
    let Some(supervisor) = Served::start("answer") else { return };
    let client = supervisor.connect();
    send(&client, &[0xee; 32], SendFlags::NOSIGNAL).expect("it is sent");
    let mut buffer = [0; 8192];
    // Either ends the wait: an answer, or that the other end is closed.
    let _ = recv(&client, &mut buffer, RecvFlags::empty());
    supervisor.serves();
}

/// A supervisor with one service.
struct Served(Supervisor);

impl Served {
    fn start(name: &str) -> Option<Served> {
        if !must::root(name) {
            return None;
        }
        let supervisor = Supervisor::start(name, "[service idle]\ncommand = /bin/sleep 1000\nautostart = no\n");
        supervisor.await_answer();
        Some(Served(supervisor))
    }

    fn connect(&self) -> OwnedFd {
        self.try_connect().expect("a connection")
    }

    fn try_connect(&self) -> rustix::io::Result<OwnedFd> {
        let path = self.0.directory.join("control");
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(path.to_str().expect("a path in UTF-8"))?)?;
        Ok(socket)
    }

    /// `inn list` works.
    fn serves(&self) {
        let output = self.0.inn(&["list", "--timeout", "60s"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("idle"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    }
}
