//! The control socket under clients that mean no good: refused or dropped, and the supervisor serves on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};

use crate::must;

/// A bound against hanging, not an expectation.
const TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn garbage_is_refused_or_dropped() {
    let Some(supervisor) = Supervisor::start("garbage") else { return };
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
    let Some(supervisor) = Supervisor::start("parts") else { return };
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
    let Some(supervisor) = Supervisor::start("silent") else { return };
    // Fewer than it takes at once: what more it refuses is another test's business.
    let _silent: Vec<OwnedFd> = (0..50).map(|_| supervisor.connect()).collect();
    supervisor.serves();
}

#[test]
fn a_flood_of_clients_leaves_the_supervisor_well() {
    let Some(supervisor) = Supervisor::start("flood") else { return };
    let clients: Vec<OwnedFd> = (0..500).filter_map(|_| supervisor.try_connect().ok()).collect();
    assert!(!clients.is_empty());
    drop(clients);
    supervisor.serves();
}

#[test]
fn a_client_that_never_reads_stalls_only_itself() {
    let Some(supervisor) = Supervisor::start("unread") else { return };
    let client = supervisor.connect();
    // Version 1, request 0: the list (control::wire). It is asked for more often than any buffer holds.
    for _ in 0..10_000 {
        if send(&client, &[1, 0], SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_err() {
            break;
        }
    }
    supervisor.serves();
}

#[test]
fn a_request_that_is_garbage_has_an_answer_or_an_end() {
    let Some(supervisor) = Supervisor::start("answer") else { return };
    let client = supervisor.connect();
    send(&client, &[0xee; 32], SendFlags::NOSIGNAL).expect("it is sent");
    let mut buffer = [0; 8192];
    // Either ends the wait: an answer, or that the other end is closed.
    let _ = recv(&client, &mut buffer, RecvFlags::empty());
    supervisor.serves();
}

/// An `inn supervise` with one service, and its socket.
struct Supervisor {
    child: Child,
    directory: PathBuf,
}

impl Supervisor {
    fn start(name: &str) -> Option<Supervisor> {
        if !must::root(name) {
            return None;
        }
        let directory = std::env::temp_dir().join(format!("inn-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let config = directory.join("inn.conf");
        fs::write(&config, "[service idle]\ncommand = /bin/sleep 1000\nautostart = no\n").expect("a config");
        let mut command = Command::new(must::inn());
        command.args(["supervise", "--config"]).arg(&config).arg("--socket").arg(directory.join("control"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().expect("inn starts");
        let mut supervisor = Supervisor { child, directory };
        let deadline = Instant::now() + TIMEOUT;
        while supervisor.try_connect().is_err() {
            let ended = supervisor.child.try_wait().expect("it can be waited for");
            assert!(ended.is_none(), "inn supervise ended at once: {ended:?}");
            assert!(Instant::now() < deadline, "inn supervise does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        Some(supervisor)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("control")
    }

    fn connect(&self) -> OwnedFd {
        self.try_connect().expect("a connection")
    }

    fn try_connect(&self) -> rustix::io::Result<OwnedFd> {
        connect_to(&self.socket())
    }

    /// `inn list` works.
    fn serves(&self) {
        let mut list = Command::new("timeout");
        list.arg(TIMEOUT.as_secs().to_string()).arg(must::inn()).arg("list").arg("--socket").arg(self.socket());
        let output = list.output().expect("inn starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("idle"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + TIMEOUT;
        let status = loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                other => break other,
            }
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
        if !thread::panicking() {
            let status = status.expect("it can be waited for").expect("it ends when it is told to");
            assert!(status.success(), "inn supervise ended with {status}");
        }
    }
}

fn connect_to(path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path.to_str().expect("a path in UTF-8"))?)?;
    Ok(socket)
}
