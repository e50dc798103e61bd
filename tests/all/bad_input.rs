//! What no command should be given, or be started with: each is a clear error with its exit code, and the supervisor serves on.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use innkeep::cli::verb::{Act, OPTIONS, Operands, VERBS, Verb};
use innkeep::control::wire::{Code, Failure, REQUEST_BYTES, Reply, Request};
use innkeep::limits;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, recv, send,
    socket_with,
};

use crate::must;
use crate::private::{Supervisor, busybox};

/// An app that runs, an os that talks on its console, one that is down, and a service.
fn hotel(name: &str) -> Supervisor {
    let root = busybox(&format!("bad-{name}"));
    let root = root.display();
    let supervisor = Supervisor::start(
        &format!("bad-{name}"),
        &format!(
            "[guest web]\nkind = app\nroot = {root}\ncommand = /bin/sleep 100000\nrestart = never\nstop = SIGKILL\n\
             [guest alice]\nkind = os\nroot = {root}\nephemeral = yes\ncommand = /bin/sh\nrestart = never\nstop = SIGKILL\n\
             [guest idle]\nkind = app\nroot = {root}\ncommand = /bin/sleep 100000\nautostart = no\nstop = SIGKILL\n\
             [service clock]\ncommand = /bin/sleep 100000\nautostart = no\nstop = SIGKILL\n"
        ),
    );
    supervisor.await_answer();
    supervisor.await_ready("web");
    supervisor.await_ready("alice");
    supervisor
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `inn VERB` with words that need not be text.
fn inn(supervisor: &Supervisor, verb: &str, words: &[&OsStr]) -> Output {
    supervisor.command(&[verb]).args(words).output().expect("inn starts")
}

/// It ended by itself, with this code, and said why in a line that a terminal takes for nothing else.
fn assert_refused(output: &Output, code: i32, what: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{what}: {said}");
    assert!(said.starts_with("inn: ") && said.ends_with('\n'), "{what}: {said}");
    assert!(!said.chars().any(|char| char.is_control() && char != '\n'), "{what}: {said:?}");
    assert!(said.len() < 2000, "{what}: {said}");
}

fn assert_serves(supervisor: &Supervisor) {
    let output = supervisor.inn(&["list", "--plain", "--timeout", "60s"]);
    assert!(output.status.success(), "{}{}", text(&output.stderr), supervisor.log());
    assert!(text(&output.stdout).contains("web\t"), "{}", text(&output.stdout));
}

/// What follows a guest's name where a verb needs more.
fn behind(verb: &Verb) -> Vec<&'static OsStr> {
    let words: &[&str] = match verb.act {
        Act::Set => &["oom-score", "1"],
        Act::Exec => &["/bin/sh", "-c", ":"],
        _ => &[],
    };
    words.iter().map(OsStr::new).collect()
}

/// The verbs whose first operand is a guest of the supervisor.
fn of_guests() -> impl Iterator<Item = &'static Verb> {
    VERBS.iter().filter(|verb| {
        let first = verb.usage.trim_start_matches('[').split([' ', '.', ']']).next();
        first == Some("GUEST")
    })
}

#[test]
fn names_that_no_guest_has_are_refused() {
    if !must::root("names_that_no_guest_has_are_refused") {
        return;
    }
    let supervisor = hotel("names");
    let long = "x".repeat(300);
    let names: Vec<OsString> =
        ["a/b", "/web", "..", ".", "../web", "two words", " ", "", "web ", "we\x1b[2Jb", "wéb", "a\nb", &long, "wbe"]
            .into_iter()
            .map(OsString::from)
            .chain([OsString::from_vec(b"\xff\xfeweb".to_vec()), OsString::from_vec(vec![0xc3; 300])])
            .collect();
    let mut count = 0;
    for verb in of_guests() {
        for name in &names {
            let mut words = vec![name.as_os_str()];
            words.extend(behind(verb));
            let output = inn(&supervisor, verb.name, &words);
            assert_refused(&output, 3, &format!("{} {name:?}", verb.name));
            assert!(output.stdout.is_empty(), "{} {name:?}: {}", verb.name, text(&output.stdout));
            count += 1;
        }
        // Somebody who is there is meant.
        let mut words = vec![OsStr::new("wbe")];
        words.extend(behind(verb));
        let said = text(&inn(&supervisor, verb.name, &words).stderr);
        assert!(said.contains("did you mean web?"), "{}: {said}", verb.name);
    }
    assert!(count > 100, "{count}");
    // A guest of the config that `run` does not find.
    let config = supervisor.directory.join("inn.conf");
    for name in &names {
        if name.is_empty() || name == " " {
            continue;
        }
        let output =
            Command::new(must::inn()).arg("run").arg("-c").arg(&config).arg(name).stdin(Stdio::null()).output();
        assert_refused(&output.unwrap(), 3, &format!("run {name:?}"));
    }
    assert_serves(&supervisor);
    assert_eq!(supervisor.facts("web")["restarts"], 0);
}

#[test]
fn numbers_out_of_range_are_refused_by_every_option_that_takes_one() {
    const NUMBERS: [&str; 12] = [
        "",
        " ",
        "-1",
        "18446744073709551616",
        "99999999999999999999999999",
        "99999999999999999h",
        "1e5",
        "0x10",
        "5 s",
        "abc",
        "١",
        "5x",
    ];
    let mut count = 0;
    for verb in VERBS {
        let operands: &[&str] = match verb.operands {
            Operands::Words(0, _) => &[],
            Operands::Words(1, _) if verb.usage.starts_with("PID") => &["1"],
            Operands::Words(1, _) => &["web"],
            Operands::Words(..) => &["web", "oom-score", "1"],
            Operands::Command(0) => &["--", "true"],
            Operands::Command(_) => &["web", "true"],
        };
        for facts in
            OPTIONS.iter().filter(|facts| verb.takes(facts.option) && ["N", "TIME", "WHEN"].contains(&facts.value))
        {
            for number in NUMBERS {
                let mut command = Command::new(must::inn());
                command.arg(verb.name).arg(format!("--{}={number}", facts.long)).args(operands);
                let output = command.stdin(Stdio::null()).output().expect("inn starts");
                let what = format!("{} --{}={number}", verb.name, facts.long);
                assert_refused(&output, 2, &what);
                let said = text(&output.stderr);
                assert!(said.contains(&format!("--{}", facts.long)), "{what}: {said}");
                count += 1;
            }
        }
    }
    assert!(count >= 12 * 10, "{count}");
}

#[test]
fn numbers_of_processes_that_there_cannot_be_are_refused() {
    if !must::root("numbers_of_processes_that_there_cannot_be_are_refused") {
        return;
    }
    let supervisor = hotel("processes");
    for number in ["0", "abc", "", "4294967296", "99999999999999999999999", "1.5", "self", "../1"] {
        assert_refused(&supervisor.inn(&["which", number]), 2, number);
    }
    // One that could be, and is not.
    assert_refused(&supervisor.inn(&["which", "4294967295"]), 1, "no process");
    assert_serves(&supervisor);
}

#[test]
fn values_out_of_range_are_refused_by_run_and_set() {
    if !must::root("values_out_of_range_are_refused_by_run_and_set") {
        return;
    }
    let supervisor = hotel("values");
    for (key, values) in [
        ("memory", &["-1", "0", "63K", "99999999999999999999T", "64", "64m", "x"][..]),
        ("cpus", &["0", "-1", "0.0001", "99999999", "1.2345", "x"]),
        ("processes", &["0", "-5", "99999999999999", "1.5", "x"]),
        ("oom-score", &["-1001", "1001", "99999999999999999999999", "x"]),
        ("cpu-weight", &["0", "10001", "-1"]),
        ("io-weight", &["0", "10001", "-1"]),
        ("rlimit", &["nofile 5:4", "nofile -1", "turnip 1", "nofile", "nofile 99999999999999999999"]),
        ("tmpfs", &["/tmp 1", "/tmp", "/proc 1M", "/tmp 99999999999999999T"]),
        ("cpuset", &["-1", "3-1", "0-", "a", "99999999999999"]),
        ("io-max", &["/dev/x", "/dev/x rbps=0", "/dev/x rbps=-1", "../x rbps=1"]),
    ] {
        for value in values {
            let set = supervisor.inn(&["set", "web", &format!("{key}={value}")]);
            let run =
                Command::new(must::inn()).arg("run").arg(format!("--{key}={value}")).args(["--", "/bin/true"]).output();
            for output in [set, run.unwrap()] {
                let said = text(&output.stderr);
                assert_eq!(output.status.code(), Some(2), "{key}={value}: {said}");
                assert!(said.contains(key) || said.contains(value), "{key}={value}: {said}");
            }
        }
    }
    assert_serves(&supervisor);
}

#[test]
fn sockets_that_are_none_of_a_supervisor_are_told_with_their_path() {
    if !must::root("sockets_that_are_none_of_a_supervisor_are_told_with_their_path") {
        return;
    }
    let supervisor = hotel("sockets");
    let directory = &supervisor.directory;
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("file"), "").unwrap();
    let _stream = UnixListener::bind(path("stream")).unwrap();
    let _datagram = UnixDatagram::bind(path("datagram")).unwrap();
    drop(packets(&path("dead")));
    let mute = packets(&path("mute"));
    let long = format!("/{}", "x".repeat(200));
    for (socket, code, words) in [
        (path("missing"), 1, "ENOENT"),
        (path("file"), 1, "ECONNREFUSED"),
        (path("file/below"), 1, "ENOTDIR"),
        (directory.to_str().unwrap().to_owned(), 1, "ECONNREFUSED"),
        (path("stream"), 1, "EPROTOTYPE"),
        (path("datagram"), 1, "EPROTOTYPE"),
        (path("dead"), 1, "ECONNREFUSED"),
        (String::new(), 1, ""),
        (long, 1, "ENAMETOOLONG"),
        (path("mute"), 5, "no answer in time"),
    ] {
        for arguments in [&["list"][..], &["stop", "web"], &["set", "web", "oom-score", "1"], &["freeze", "web"]] {
            let mut command = Command::new(must::inn());
            command.arg(arguments[0]).args(["--socket", &socket, "--timeout", "300ms"]).args(&arguments[1..]);
            let output = command.stdin(Stdio::null()).output().unwrap();
            let said = text(&output.stderr);
            assert_refused(&output, code, &format!("{arguments:?} at {socket}"));
            assert!(
                said.contains(words) && (code == 5 || said.contains(socket.as_str())),
                "{arguments:?} at {socket}: {said}"
            );
        }
    }
    drop(mute);
    // Another user is kept out by the socket's mode; here by its directory.
    let mut stranger = supervisor.command(&["list"]);
    stranger.uid(65_534).gid(65_534);
    // It may not even be able to execute the program where that is.
    if let Ok(output) = stranger.output() {
        assert_refused(&output, 6, "another user");
        assert!(text(&output.stderr).contains("EACCES"), "{}", text(&output.stderr));
    }
    assert_serves(&supervisor);
}

/// A socket that takes connections and never says anything.
fn packets(path: &str) -> OwnedFd {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&socket, 64).unwrap();
    socket
}

/// A client of a supervisor.
fn client(supervisor: &Supervisor) -> OwnedFd {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let path = supervisor.directory.join("control");
    connect(&socket, &SocketAddrUnix::new(path.to_str().unwrap()).unwrap()).expect("it listens");
    socket
}

/// The verbs that are run for what they print, with words that make them print.
fn printing() -> Vec<(&'static Verb, Vec<&'static str>)> {
    let words = |verb: &Verb| -> Option<Vec<&'static str>> {
        Some(match verb.act {
            Act::Run
            | Act::Supervise
            | Act::Init
            | Act::Exec
            | Act::Enter
            | Act::PowerOff
            | Act::Reboot
            | Act::Halt => {
                return None;
            }
            Act::Set => vec!["web", "oom-score", "1"],
            Act::Check => vec!["/dev/null"],
            _ if verb.usage.starts_with("PID") => vec!["self"],
            _ if verb.usage.starts_with("GUEST") => vec!["alice"],
            _ => vec![],
        })
    };
    VERBS.iter().filter_map(|verb| Some((verb, words(verb)?))).collect()
}

#[test]
fn a_standard_output_that_is_full_is_an_error() {
    if !must::root("a_standard_output_that_is_full_is_an_error") {
        return;
    }
    let supervisor = hotel("full");
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let pid = supervisor.facts("web")["pid"].to_string();
    for (verb, words) in printing() {
        let json = OPTIONS.iter().any(|facts| facts.long == "json" && verb.takes(facts.option));
        for form in if json { &[None, Some("--json")][..] } else { &[None] } {
            let mut arguments = vec![verb.name];
            arguments.extend(form);
            arguments.extend(words.iter().map(|word| if *word == "self" { pid.as_str() } else { word }));
            let takes_socket = OPTIONS.iter().any(|facts| facts.long == "socket" && verb.takes(facts.option));
            let run = |out: Stdio| {
                let mut command = Command::new(must::inn());
                command.arg(arguments[0]);
                if takes_socket {
                    command.arg("--socket").arg(supervisor.directory.join("control"));
                }
                let child =
                    command.args(&arguments[1..]).stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).spawn();
                child.unwrap().wait_with_output().unwrap()
            };
            let usual = run(Stdio::piped());
            supervisor.wait_for("the guest to be up again", |this| {
                this.inn(&["start", "--wait", "alice", "web"]).status.success()
            });
            if usual.stdout.is_empty() {
                continue;
            }
            let output = run(full().into());
            let said = text(&output.stderr);
            assert!(output.status.code().is_some_and(|code| code > 0), "{arguments:?}: {:?} {said}", output.status);
            assert!(said.contains("standard output: ENOSPC (no space left)"), "{arguments:?}: {said}");
            supervisor.wait_for("the guest to be up again", |this| {
                this.inn(&["start", "--wait", "alice", "web"]).status.success()
            });
        }
        // Every verb explains itself.
        let output = Command::new(must::inn()).args([verb.name, "--help"]).stdout(full()).output().unwrap();
        assert_refused(&output, 1, verb.name);
    }
    assert_serves(&supervisor);
}

#[test]
fn closed_descriptors_harm_nobody() {
    if !must::root("closed_descriptors_harm_nobody") {
        return;
    }
    let supervisor = hotel("closed");
    let socket = supervisor.directory.join("control");
    let precious = supervisor.directory.join("inn.conf");
    let before = std::fs::read_to_string(&precious).unwrap();
    let alike: &[(&[&str], i32)] = &[
        (&["list"], 0),
        (&["list", "--json"], 0),
        (&["status"], 0),
        (&["status", "web"], 0),
        (&["logs"], 0),
        (&["version"], 0),
        (&["set", "web", "oom-score", "5"], 0),
        (&["set", "web", "oom-score", "6", "--save"], 0),
        (&["restart", "--wait", "idle"], 0),
        (&["stop", "idle"], 0),
        (&["exec", "web", "/bin/sh", "-c", "exit 7"], 7),
        (&["console", "alice"], 0),
        (&["enter", "web"], 0),
        (&["stop", "nobody"], 3),
        (&["list", "--turnip"], 2),
        (&["poweroff"], 4),
    ];
    for (arguments, code) in alike {
        for closed in ["<&-", "</dev/null >&-", "</dev/null 2>&-", "<&- >&- 2>&-"] {
            let mut command = Command::new("timeout");
            command
                .args(["60", "sh", "-c", &format!("exec \"$0\" \"$@\" {closed}")])
                .arg(must::inn())
                .arg(arguments[0]);
            if !arguments.contains(&"--turnip") {
                command.arg("--socket").arg(&socket);
            }
            let output = command.args(&arguments[1..]).output().unwrap();
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(*code), "{arguments:?} {closed}: {said}");
        }
        assert_serves(&supervisor);
    }
    // Nothing was written to what has the numbers of those.
    let after = std::fs::read_to_string(&precious).unwrap();
    assert_eq!(after.replace("oom-score = 6\n", ""), before);
}

#[test]
fn nothing_needs_an_environment() {
    if !must::root("nothing_needs_an_environment") {
        return;
    }
    let supervisor = hotel("environment");
    for arguments in [
        &["list"][..],
        &["status", "web"],
        &["logs", "alice"],
        &["version"],
        &["console", "alice"],
        &["exec", "web", "/bin/sh", "-c", ":"],
        &["enter", "web"],
        &["set", "web", "oom-score", "7"],
        &["restart", "web"],
    ] {
        let output = supervisor.command(arguments).env_clear().output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        // On a terminal too, of which nobody says what it is.
        let mut line = vec![must::inn().to_str().unwrap().to_owned(), arguments[0].to_owned(), "--socket".to_owned()];
        line.push(supervisor.directory.join("control").to_str().unwrap().to_owned());
        line.extend(arguments[1..].iter().map(|word| format!("'{word}'")));
        let mut script = Command::new("script");
        script
            .args(["-q", "-e", "-c", &line.join(" "), "/dev/null"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("SHELL", "/bin/sh");
        // What is typed: a detach, the end of a shell.
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut typed = child.stdin.take().unwrap();
        let done = AtomicBool::new(false);
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                use std::io::Write;
                // Typed twice at once, the key that detaches is one to be passed on.
                let (keys, pause_ms): (&[u8], _) =
                    if arguments[0] == "console" { (b"\x1d", 2000) } else { (b"exit\r", 200) };
                while !done.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(200));
                    let _ = typed.write_all(keys);
                    let next = Instant::now() + Duration::from_millis(pause_ms);
                    while Instant::now() < next && !done.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            });
            let output = child.wait_with_output().unwrap();
            done.store(true, Ordering::SeqCst);
            output
        });
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stdout));
    }
    assert_serves(&supervisor);
}

#[test]
fn sixty_four_clients_at_once_are_all_answered() {
    if !must::root("sixty_four_clients_at_once_are_all_answered") {
        return;
    }
    let supervisor = hotel("many");
    for arguments in [&["list", "--json"][..], &["status", "web"], &["set", "web", "oom-score", "9"], &["start", "web"]]
    {
        let mut children: Vec<_> = (0..64)
            .map(|_| {
                supervisor.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("inn starts")
            })
            .map(|child| std::thread::spawn(move || child.wait_with_output().unwrap()))
            .collect();
        for child in children.drain(..) {
            let output = child.join().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        }
    }
    assert_serves(&supervisor);
}

#[test]
fn a_client_that_never_reads_holds_none_of_63_others_up() {
    if !must::root("a_client_that_never_reads_holds_none_of_63_others_up") {
        return;
    }
    let supervisor = hotel("unread");
    let mut buffer = [0; REQUEST_BYTES];
    let list = Request::List.encode(&mut buffer).to_vec();
    let deaf = client(&supervisor);
    let mut asked = 0;
    // As much as goes in, at first and whenever there is room again.
    let mut ask = |until: Instant| {
        while Instant::now() < until {
            match send(&deaf, &list, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => asked += 1,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    };
    ask(Instant::now() + Duration::from_millis(500));
    let others: Vec<_> = (0..63)
        .map(|number| {
            let arguments: &[&str] = match number % 3 {
                0 => &["list", "--plain"],
                1 => &["status", "web"],
                _ => &["exec", "web", "/bin/sh", "-c", ":"],
            };
            let child = supervisor.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::spawn(move || child.wait_with_output().unwrap())
        })
        .collect();
    ask(Instant::now() + Duration::from_secs(1));
    for other in others {
        let output = other.join().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert!(asked > 100, "only {asked} requests went in");
    assert_serves(&supervisor);
}

#[test]
fn more_clients_than_there_is_room_for_are_told_so() {
    if !must::root("more_clients_than_there_is_room_for_are_told_so") {
        return;
    }
    let config = "[service late]\ncommand = /bin/sleep 100000\nready = fd 3 within 1h\nstop = SIGKILL\n";
    let supervisor = Supervisor::start("bad-crowd", config);
    supervisor.await_answer();
    supervisor.wait_for("a service that is not ready", |this| this.facts("late")["state"] == "running");
    let descriptors = descriptors(&supervisor);
    // Each is being answered, so that none is dropped for saying nothing: it waits for what does not become ready.
    let late = innkeep::control::wire::Name::new(b"late").unwrap();
    let wait = Request::Wait { guest: late, until: innkeep::control::wire::Until::Ready };
    let wait = wait.encode(&mut [0; REQUEST_BYTES]).to_vec();
    let wait_for_it = |_| {
        let client = client(&supervisor);
        send(&client, &wait, SendFlags::NOSIGNAL).expect("it asks");
        client
    };
    let crowd: Vec<OwnedFd> = (0..limits::CLIENTS).map(wait_for_it).collect();
    let refused = supervisor.inn(&["list"]);
    assert_refused(&refused, 1, "one too many");
    assert!(text(&refused.stderr).contains("too many clients at once"), "{}", text(&refused.stderr));
    drop(crowd);
    supervisor.await_answer();
    supervisor.wait_for("the descriptors to be closed", |this| self::descriptors(this) <= descriptors);
}

#[test]
fn packets_that_are_too_long_or_come_in_pieces_are_refused() {
    if !must::root("packets_that_are_too_long_or_come_in_pieces_are_refused") {
        return;
    }
    let supervisor = hotel("packets");
    let mut buffer = [0; REQUEST_BYTES];
    let stop = Request::Stop { guest: innkeep::control::wire::Name::new(b"web").unwrap() }.encode(&mut buffer).to_vec();
    let answer = |client: &OwnedFd| {
        let mut buffer = [0; 8192];
        loop {
            match recv(client, &mut buffer[..], RecvFlags::empty()) {
                Ok((count, _)) => return buffer[..count].to_vec(),
                Err(rustix::io::Errno::CONNRESET) => {}
                Err(errno) => panic!("{errno}"),
            }
        }
    };
    let is_refused =
        |packet: &[u8]| matches!(Reply::decode(packet), Ok(Reply::Error(Failure { code: Code::Usage, .. })));
    for length in [stop.len() + 1, 4096, 4097, 100_000, 200_000] {
        let client = client(&supervisor);
        let mut long = stop.clone();
        long.resize(length, 0);
        // The kernel itself may find it too long.
        if send(&client, &long, SendFlags::NOSIGNAL).is_ok() {
            assert!(is_refused(&answer(&client)), "{length}");
            assert!(answer(&client).is_empty(), "the end");
        }
    }
    // A byte at a time, slowly.
    let slow = client(&supervisor);
    for byte in &stop {
        std::thread::sleep(Duration::from_millis(5));
        if send(&slow, &[*byte], SendFlags::NOSIGNAL).is_err() {
            break;
        }
    }
    assert!(is_refused(&answer(&slow)));
    // Empty packets are none.
    let empty = client(&supervisor);
    let _ = send(&empty, &[], SendFlags::NOSIGNAL);
    assert_eq!(supervisor.facts("web")["state"], "ready", "nothing was stopped");
    assert_serves(&supervisor);
}

// Races ----------------------------------------------------------------------------------------------------------------

#[test]
fn a_guest_that_vanishes_meanwhile_is_told_as_such() {
    if !must::root("a_guest_that_vanishes_meanwhile_is_told_as_such") {
        return;
    }
    let supervisor = hotel("vanishes");
    let verbs: [(&[&str], &[i32]); 8] = [
        (&["exec", "web", "/bin/sh", "-c", "exit 0"], &[0, 4, 137]),
        (&["enter", "web"], &[0, 4, 137]),
        (&["console", "alice"], &[0, 4]),
        (&["status", "web"], &[0]),
        (&["logs", "-n", "1"], &[0]),
        (&["set", "web", "rlimit", "core 0"], &[0, 4]),
        (&["freeze", "--timeout", "60s", "web"], &[0, 1, 4]),
        (&["thaw", "web"], &[0, 4]),
    ];
    meanwhile(&supervisor, &verbs, &|_| {
        assert!(supervisor.inn(&["kill", "web", "alice"]).status.success());
        assert!(supervisor.inn(&["start", "web", "alice"]).status.success());
    });
    // Nothing of all those is left.
    let _ = supervisor.inn(&["thaw", "web"]);
    assert!(supervisor.inn(&["kill", "web", "alice", "idle"]).status.success());
    supervisor.wait_for("nothing to be left", |this| this.processes().is_empty() && this.cgroups().is_empty());
    assert!(supervisor.inn(&["start", "--wait", "web"]).status.success());
}

#[test]
fn a_guest_that_the_config_loses_meanwhile_is_told_as_such() {
    if !must::root("a_guest_that_the_config_loses_meanwhile_is_told_as_such") {
        return;
    }
    let supervisor = hotel("lost");
    let path = supervisor.directory.join("inn.conf");
    let config = std::fs::read_to_string(&path).unwrap();
    let (without, web) = config.split_at(config.find("[guest idle]").unwrap());
    let (idle, rest) = web.split_at(web.find("[service clock]").unwrap());
    let idle = idle.replace("autostart = no\n", "");
    let verbs: [(&[&str], &[i32]); 7] = [
        (&["exec", "idle", "/bin/sh", "-c", "exit 0"], &[0, 3, 4, 137]),
        (&["status", "idle"], &[0, 3]),
        (&["restart", "idle"], &[0, 1, 3, 4]),
        (&["stop", "idle"], &[0, 3, 4]),
        (&["start", "--wait", "idle"], &[0, 1, 3, 4]),
        (&["set", "idle", "oom-score", "3"], &[0, 3, 4]),
        (&["logs", "idle"], &[0, 3, 4]),
    ];
    meanwhile(&supervisor, &verbs, &|round| {
        let idle = if round % 2 == 0 { "" } else { &idle };
        std::fs::write(&path, [without, idle, rest].concat()).unwrap();
        let output = supervisor.inn(&["reload"]);
        // What somebody does to it at that very moment may be in the way; then that is said.
        assert!(matches!(output.status.code(), Some(0 | 1 | 4)), "{}", text(&output.stderr));
    });
    std::fs::write(&path, &config).unwrap();
    assert!(supervisor.inn(&["reload"]).status.success());
    assert!(supervisor.inn(&["start", "--wait", "idle"]).status.success());
    assert_serves(&supervisor);
}

/// How often [`meanwhile`] makes its change at least.
const ROUNDS: u32 = 4;

/// Runs each of `verbs` again and again while `change` is made again and again: each ends with one of its exit codes, and with
/// words where that is a failure.
fn meanwhile(supervisor: &Supervisor, verbs: &[(&[&str], &[i32])], change: &(dyn Fn(u32) + Sync)) {
    let (over, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                change(rounds.load(Ordering::SeqCst));
                rounds.fetch_add(1, Ordering::SeqCst);
            }
        });
        let rounds = &rounds;
        let hands: Vec<_> = verbs
            .iter()
            .map(|&(arguments, codes)| {
                scope.spawn(move || {
                    let begun = Instant::now();
                    // Until enough was changed, however long that takes.
                    let goes_on = || match rounds.load(Ordering::SeqCst) {
                        ..ROUNDS => begun.elapsed() < must::PATIENCE,
                        _ => begun.elapsed() < Duration::from_secs(8),
                    };
                    let mut seen = std::collections::BTreeMap::new();
                    while goes_on() {
                        let output = supervisor.command(arguments).output().unwrap();
                        let (code, said) = (output.status.code(), text(&output.stderr));
                        let what = format!("{arguments:?}: {:?}: {said}", output.status);
                        assert!(code.is_some_and(|code| codes.contains(&code)), "{what}");
                        if let Some(code @ 1..=6) = code {
                            assert_refused(&output, code, &what);
                        }
                        *seen.entry(code).or_insert(0) += 1;
                        // Who finds nobody leaves the others their turn.
                        std::thread::sleep(Duration::from_millis(if code == Some(0) { 0 } else { 10 }));
                    }
                    (arguments, seen)
                })
            })
            .collect();
        let results: Vec<_> = hands.into_iter().map(|hand| hand.join()).collect();
        over.store(true, Ordering::SeqCst);
        let changes = changes.join();
        for result in results {
            must::say(&format!("{:?}", result.expect("a verb went wrong")));
        }
        changes.expect("the change can always be made");
    });
    let rounds = rounds.into_inner();
    must::say(&format!("{rounds} rounds"));
    assert!(rounds >= ROUNDS, "{rounds}");
}

#[test]
fn two_clients_that_stop_and_start_the_same_guest_at_once_leave_it_well() {
    if !must::root("two_clients_that_stop_and_start_the_same_guest_at_once_leave_it_well") {
        return;
    }
    let supervisor = hotel("both");
    let pairs: [[&[&str]; 2]; 5] = [
        [&["stop", "web"], &["start", "web"]],
        [&["restart", "web"], &["stop", "web"]],
        [&["start", "--wait", "web"], &["kill", "web"]],
        [&["restart", "--wait", "web"], &["restart", "--wait", "web"]],
        [&["stop", "web"], &["stop", "web"]],
    ];
    for round in 0..25 {
        for pair in &pairs {
            let outputs = std::thread::scope(|scope| {
                pair.map(|arguments| scope.spawn(|| supervisor.inn(arguments))).map(|thread| thread.join().unwrap())
            });
            for (arguments, output) in pair.iter().zip(outputs) {
                // Whoever is overtaken is told.
                let code = output.status.code();
                assert!(matches!(code, Some(0 | 1 | 4)), "{round}: {arguments:?}: {}", text(&output.stderr));
                if code != Some(0) {
                    assert_refused(&output, code.unwrap(), &format!("{arguments:?}"));
                }
            }
            // One way or the other, and no more than one of it.
            supervisor.wait_for("it to be up or down", |this| {
                ["ready", "down", "failed"].contains(&this.facts("web")["state"].as_str().unwrap_or_default())
            });
            if supervisor.facts("web")["state"] == "ready" {
                assert_eq!(supervisor.members("web").len(), 1, "{pair:?}");
            }
        }
    }
    assert!(supervisor.inn(&["start", "--wait", "web"]).status.success());
    assert_serves(&supervisor);
}

/// The descriptors that the supervisor has.
fn descriptors(supervisor: &Supervisor) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", supervisor.pid())).expect("it runs").count()
}

/// Runs `inn` with `arguments`, and kills it when it begins its call number `at`. Whether it came so far.
#[allow(clippy::zombie_processes, reason = "waitpid waits for it")]
fn killed_at(supervisor: &Supervisor, arguments: &[&str], at: u32) -> bool {
    // It waits until it is traced, and then becomes the program.
    let mut command = Command::new("sh");
    command.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(must::inn()).arg(arguments[0]).arg("--socket");
    command.arg(supervisor.directory.join("control")).args(&arguments[1..]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let pid = Pid::from_raw(child.id() as i32);
    let stopped = || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "));
    while !stopped() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(pid, options).expect("it can be traced");
    nix::sys::signal::kill(pid, Signal::SIGCONT).expect("it is there");
    // Whether it is the program, and how often it has begun or ended a call since.
    let (mut is_inn, mut stops) = (false, 0);
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).expect("it is ours") {
            WaitStatus::PtraceEvent(_, _, event) => is_inn |= event == ptrace::Event::PTRACE_EVENT_EXEC as i32,
            WaitStatus::PtraceSyscall(_) if is_inn => {
                stops += 1;
                // The first is the end of exec itself.
                if stops == 2 * at {
                    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
                }
            }
            WaitStatus::Exited(..) => return false,
            WaitStatus::Signaled(..) => return true,
            WaitStatus::Stopped(_, signal) if is_inn && signal != Signal::SIGTRAP => {
                let _ = ptrace::syscall(pid, signal);
                continue;
            }
            _ => {}
        }
        let _ = ptrace::syscall(pid, None);
    }
}

#[test]
fn a_client_that_is_killed_at_any_call_leaves_nothing_behind() {
    if !must::root("a_client_that_is_killed_at_any_call_leaves_nothing_behind") {
        return;
    }
    let verbs: [(&str, &[&str]); 5] = [
        ("exec", &["exec", "web", "/bin/sh", "-c", ":"]),
        ("console", &["console", "alice"]),
        ("set", &["set", "web", "oom-score", "11", "rlimit", "core 0:1"]),
        ("save", &["set", "web", "oom-score", "12", "--save"]),
        ("enter", &["enter", "web"]),
    ];
    let threads = verbs.map(|(name, arguments)| std::thread::spawn(move || kill_at_each_call(name, arguments)));
    for thread in threads {
        thread.join().expect("nothing was left");
    }
}

fn kill_at_each_call(name: &str, arguments: &[&str]) {
    let supervisor = hotel(&format!("killed-{name}"));
    // What the first one makes stays for the next ones.
    assert!(supervisor.inn(arguments).status.success());
    assert!(supervisor.inn(&["exec", "web", "/bin/sh", "-c", ":"]).status.success());
    supervisor.wait_for("only the guests' own processes", |this| this.processes().len() == 2);
    let (members, cgroups, open) = (supervisor.processes(), supervisor.cgroups(), descriptors(&supervisor));
    let web = supervisor.facts("web")["pid"].clone();
    let below = || {
        let list = |guest: &str| {
            let mut names: Vec<_> = std::fs::read_dir(supervisor.cgroup(guest)).unwrap().flatten().collect();
            names.retain(|entry| entry.path().is_dir());
            names.into_iter().map(|entry| entry.file_name()).collect::<Vec<_>>()
        };
        (list("web"), list("alice"))
    };
    let nested = below();
    let mut touched = 0;
    for at in 1..2000 {
        let killed = killed_at(&supervisor, arguments, at);
        let what = format!("{name} was killed at call {at}");
        // What had begun inside ends by itself.
        supervisor.wait_for(&format!("nothing to be left: {what}"), |this| {
            this.processes() == members && this.cgroups() == cgroups && descriptors(this) <= open
        });
        let answers = supervisor.inn(&["exec", "web", "/bin/sh", "-c", "exit 3"]);
        assert_eq!(answers.status.code(), Some(3), "{what}: {}", text(&answers.stderr));
        let changes = supervisor.inn(&["set", "web", "oom-score", "13"]);
        assert!(changes.status.success(), "{what}: {}", text(&changes.stderr));
        assert_eq!(supervisor.facts("web")["pid"], web, "{what}");
        if !killed {
            break;
        }
        touched = at;
    }
    assert_eq!(below(), nested, "cgroups of the guests");
    let config = std::fs::read_to_string(supervisor.directory.join("inn.conf")).unwrap();
    assert!(config.contains("[guest web]\nkind = app\n"), "the config is whole: {config}");
    let left: Vec<_> =
        std::fs::read_dir(&supervisor.directory).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(touched > 20, "{name} makes {touched} calls: is it traced at all?");
    must::say(&format!("{name}: killed at each of {touched} calls; beside the config is {left:?}"));
}
