//! Clients and servers of different versions: each gets an answer, or a refusal that says which of both is older.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use innkeep::control::wire::{Code, Failure, Power, REQUEST_BYTES, Reply, Request, VERSION};
use innkeep::limits;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    recv, send, socket_with,
};

use crate::must;
use crate::private::Supervisor;

fn socket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a socket")
}

/// What `inn` with `arguments` does where the server answers any request with `replies`.
fn answered(name: &str, replies: &[Vec<u8>], arguments: &[&str]) -> Output {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("version-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = socket();
    bind(&listener, &SocketAddrUnix::new(path.to_str().unwrap()).unwrap()).expect("a name");
    listen(&listener, 8).expect("it listens");
    let mut command = Command::new(must::inn());
    command.arg(arguments[0]).arg("--socket").arg(&path).args(&arguments[1..]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("inn starts");
    while child.try_wait().expect("it can be asked").is_none() {
        let mut watched = [rustix::event::PollFd::from_borrowed_fd(listener.as_fd(), rustix::event::PollFlags::IN)];
        let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        if rustix::event::poll(&mut watched, Some(&moment)).expect("it can be waited for") == 0 {
            continue;
        }
        let client = accept_with(&listener, SocketFlags::CLOEXEC).expect("a client");
        let (count, _) = recv(&client, &mut [0u8; 4096][..], RecvFlags::empty()).expect("a request");
        assert_ne!(count, 0, "a request");
        for reply in replies {
            // It may have heard enough.
            let _ = send(&client, reply, SendFlags::NOSIGNAL);
        }
    }
    std::fs::remove_file(path).expect("the socket");
    child.wait_with_output().expect("its output")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn encoded(reply: &Reply<'_>) -> Vec<u8> {
    reply.encode(&mut [0; limits::MESSAGE_BYTES]).to_vec()
}

/// As a server of `version` sends it.
fn of(version: u8, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[0] = version;
    bytes
}

/// What version 1 answered to other versions, and every later one does.
fn refusal(version: u8) -> Vec<u8> {
    of(version, encoded(&Reply::Error(Failure::new(Code::Version, "", "this server speaks another version"))))
}

#[test]
fn a_server_of_another_version_is_named_with_its_age_and_its_program() {
    for (version, age) in [(VERSION - 1, "older"), (VERSION + 1, "newer")] {
        for arguments in [&["list"][..], &["stop", "web"], &["status"], &["set", "web", "memory", "1M"], &["logs"]] {
            let output = answered(&format!("refuses-{version}-{}", arguments[0]), &[refusal(version)], arguments);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            let words = format!(
                "the supervisor is {age} than this inn: it speaks version {version} of the protocol, not {VERSION}"
            );
            assert!(said.contains(&words), "{said}");
            // This very process is the server.
            assert!(said.contains(&format!("use its own inn, which is /proc/{}/exe", std::process::id())), "{said}");
            assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
        }
    }
}

#[test]
fn any_server_says_its_version() {
    let answer = |version| {
        [of(version, [encoded(&Reply::Version("7.8.9")), vec![9; 3]].concat()), of(version, encoded(&Reply::Done))]
    };
    let output = answered("says", &answer(VERSION + 3), &["version"]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("\nsupervisor 7.8.9\n"), "{said}");
    assert!(
        said.contains(&format!("the supervisor is newer than this inn: it speaks version {}", VERSION + 3)),
        "{said}"
    );
    let output = answered("json", &answer(VERSION - 1), &["version", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["supervisor"], &json["protocol"]), (&"7.8.9".into(), &VERSION.into()));
    assert_eq!(json["supervisor_protocol"], VERSION - 1);
    // Version 1 refused even that.
    let output = answered("mute", &[refusal(1)], &["version"]);
    let said = text(&output.stdout);
    assert!(
        output.status.success() && said.contains("the supervisor is older than this inn: it speaks version 1"),
        "{said}"
    );
}

#[test]
fn any_server_takes_the_host_down() {
    for version in [VERSION - 1, VERSION + 1] {
        let done = [of(version, [encoded(&Reply::Done), vec![1, 2]].concat())];
        let output = answered(&format!("power-{version}"), &done, &["poweroff"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        // A failure of another version has its code and words.
        let failure = encoded(&Reply::Error(Failure::new(Code::WrongState, "", "not now")));
        let failure = [of(version, [failure, vec![0xee; 9]].concat())];
        let output = answered(&format!("powerless-{version}"), &failure, &["reboot"]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(4), "inn: not now\n".into()));
    }
}

#[test]
fn a_newer_server_may_add_fields_at_the_end_of_its_replies() {
    let guest = crate::protocol::guest_reply();
    let more = [guest, vec![1, 2, 3]].concat();
    let output = answered("more", &[more, [encoded(&Reply::Done), vec![1]].concat()], &["list", "--plain"]);
    assert!(output.status.success() && text(&output.stdout).starts_with("web\t"), "{}", text(&output.stderr));
}

#[test]
fn an_answer_that_came_later_is_refused_with_words() {
    // A state that this program does not know, and a reply that it does not know.
    let mut guest = crate::protocol::guest_reply();
    guest[2 + 2 + 3 + 1] = 0xee;
    for (name, answer) in [("state", guest), ("reply", vec![VERSION, 200])] {
        let output = answered(name, &[answer, encoded(&Reply::Done)], &["list"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("makes no sense to this inn") && said.contains("use its own inn"), "{said}");
        assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    }
    // A request that the server does not know.
    let unknown = [encoded(&Reply::Error(Failure::new(Code::Version, "", "it does not know this request")))];
    let output = answered("request", &unknown, &["list"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("does not know this request") && said.contains("use its own inn"), "{said}");
}

/// The packets that the supervisor answers `request` with, until the final one or the end.
fn asked(supervisor: &Supervisor, request: &[u8]) -> Vec<Vec<u8>> {
    let client = socket();
    let path = supervisor.directory.join("control");
    connect(&client, &SocketAddrUnix::new(path.to_str().unwrap()).unwrap()).expect("it listens");
    send(&client, request, SendFlags::NOSIGNAL).expect("it is sent");
    let mut replies = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        match recv(&client, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => return replies,
            Ok((count, _)) => replies.push(buffer[..count].to_vec()),
            Err(rustix::io::Errno::CONNRESET) => {}
            Err(errno) => panic!("{errno}"),
        }
        if replies.last().is_some_and(|reply| matches!(reply[1], 6 | 7)) {
            return replies;
        }
    }
}

#[test]
fn clients_of_other_versions_are_answered_or_refused_by_the_supervisor() {
    if !must::root("clients_of_other_versions_are_answered_or_refused_by_the_supervisor") {
        return;
    }
    let supervisor = Supervisor::start("versions", "[service idle]\ncommand = /bin/sleep 1000\nautostart = no\n");
    supervisor.await_answer();
    let request = |version, request: &Request<'_>| of(version, request.encode(&mut [0; REQUEST_BYTES]).to_vec());
    for version in [0, VERSION - 1, VERSION + 1, 255] {
        // As version 1 has it: code, guest, words, and nothing of a fault.
        let [refused] = &asked(&supervisor, &request(version, &Request::List))[..] else { panic!("one reply") };
        assert_eq!(refused[..5], [VERSION, 7, Code::Version as u8, 0, 0]);
        assert_eq!(refused[refused.len() - 2..], [0, 0]);
        assert!(text(refused).contains(concat!("innkeep ", env!("CARGO_PKG_VERSION"))), "{}", text(refused));
        let [said, done] = &asked(&supervisor, &request(version, &Request::Version))[..] else { panic!("two replies") };
        assert_eq!(said, &encoded(&Reply::Version(env!("CARGO_PKG_VERSION"))));
        assert_eq!(done[..], [VERSION, 6]);
        // It is not the host's init.
        let [refused] = &asked(&supervisor, &request(version, &Request::Power { how: Power::Halt }))[..] else {
            panic!("one reply")
        };
        assert_eq!(refused[..3], [VERSION, 7, Code::WrongState as u8]);
    }
    let [refused] = &asked(&supervisor, &[VERSION, 250, 1, 2, 3])[..] else { panic!("one reply") };
    assert_eq!(refused[..3], [VERSION, 7, Code::Version as u8]);
    assert!(text(refused).contains("does not know this request"), "{}", text(refused));
    let [refused] = &asked(&supervisor, &[VERSION, 1, 2, 3])[..] else { panic!("one reply") };
    assert_eq!(refused[..3], [VERSION, 7, Code::Usage as u8]);
    supervisor.await_answer();
}
