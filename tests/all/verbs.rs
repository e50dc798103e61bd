//! The verbs as a user sees them: the whole program against a supervisor that answers as a test wants.

use std::ffi::CString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use innkeep::cli::facts::GUEST;
use innkeep::control::server::{Incoming, Sent, Server};
use innkeep::control::wire::{
    Activity, Code, Exit, Failure, Full, GuestInfo, HealthInfo, HostInfo, MissingInfo, Name, Place, Reply, Request,
    State, VictimInfo,
};
use innkeep::fault::{Fault, Step};
use innkeep::host::features::Feature;
use innkeep::plan::change::Keys;
use innkeep::plan::{Extents, Kind, Users};
use rustix::event::{PollFd, PollFlags};
use serde_json::Value;

use crate::must;

/// What a supervisor answers to a request; without a final reply it says nothing more.
type Answer = fn(&Request) -> Vec<Reply<'static>>;

/// A supervisor in a thread, which answers until it is dropped.
struct Fake {
    directory: PathBuf,
    stop: Option<rustix::fd::OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    fn new(name: &str, answer: Answer) -> Fake {
        let directory = std::env::temp_dir().join(format!("inn-verbs-{}-{name}", std::process::id()));
        let path = CString::new(directory.join("control").to_str().unwrap()).unwrap();
        let server = Server::bind(&path).unwrap();
        // What another test starts meanwhile must not keep its other end.
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let thread = std::thread::spawn(move || serve(server, &stopped, answer));
        Fake { directory, stop: Some(stop), thread: Some(thread) }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(must::inn());
        command.arg("--socket").arg(self.directory.join("control")).args(words).stdin(Stdio::null());
        command
    }

    fn inn(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Exit code and standard error.
    fn fails(&self, words: &[&str]) -> (i32, String) {
        let output = self.inn(words);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Standard output of a success.
    fn prints(&self, words: &[&str]) -> String {
        let output = self.inn(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.prints(words)).expect("JSON")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Serves one client after the other.
fn serve(mut server: Server, stop: &rustix::fd::OwnedFd, answer: Answer) {
    let mut client = None;
    loop {
        let watched = match client.and_then(|id| server.descriptor(id)) {
            Some(descriptor) => descriptor,
            None => server.listener(),
        };
        let mut watched = [PollFd::from_borrowed_fd(watched, PollFlags::IN), PollFd::new(stop, PollFlags::empty())];
        rustix::event::poll(&mut watched, None).unwrap();
        if !watched[1].revents().is_empty() {
            return;
        }
        let Some(id) = client else {
            client = server.accept(0);
            continue;
        };
        match server.receive(id, &mut [0; innkeep::control::wire::REQUEST_BYTES]) {
            Incoming::Nothing => {}
            Incoming::Gone => client = None,
            Incoming::Request(request) => {
                let replies = answer(&request);
                let silent = !replies.last().is_some_and(Reply::is_final);
                assert!(replies.iter().all(|reply| server.send(id, reply, None, 0) == Sent::Done));
                if silent {
                    // Until the client has had enough.
                    let descriptor = server.descriptor(id).unwrap();
                    let mut hung_up = [PollFd::from_borrowed_fd(descriptor, PollFlags::empty())];
                    rustix::event::poll(&mut hung_up, None).unwrap();
                    server.close(id);
                    client = None;
                }
            }
        }
    }
}

const WEB: GuestInfo<'static> = GuestInfo {
    name: "web",
    kind: Kind::App,
    state: State::Ready,
    waits_for: Name::ALL,
    is_stuck: false,
    pid: 1234,
    uptime_ms: Some(200_000),
    memory_bytes: Some(12_900_000),
    memory_limit_bytes: Some(64 << 20),
    swap_limit_bytes: Some(0),
    cpu_us: Some(1_234_567),
    cpus_limit_milli: Some(500),
    processes: Some(3),
    processes_limit: Some(20),
    oom_kills: 1,
    processes_refused: 2,
    restarts: 0,
    next_start_ms: None,
    exit: None,
    place: None,
    users: Extents::one(Users { base: 524_288, count: 65_536 }),
    autostart: true,
    root: "/srv/web",
    cgroup: "inn/web",
    description: "the \"front\" door\x1b[2J",
    cpu_throttled: 7,
    victim: Some(VictimInfo { name: "hog", pid: 77, ago_ms: 65_000, full: Full::Guest }),
    awaits: "",
    said: "serving \x1b[2J",
    activity: Activity::None,
    watchdog_ms: Some(2_000),
    pending: Keys::from_bits(0),
    is_removed: false,
    health: Some(HealthInfo { failures: 0, limit: 3, ago_ms: Some(3_200), fault: None }),
};

const STORE: GuestInfo<'static> = GuestInfo {
    name: "store",
    kind: Kind::Os,
    state: State::Delayed,
    waits_for: Name::ALL,
    is_stuck: false,
    pid: 0,
    uptime_ms: None,
    memory_bytes: None,
    memory_limit_bytes: None,
    swap_limit_bytes: None,
    cpu_us: None,
    cpus_limit_milli: None,
    processes: None,
    processes_limit: Some(1024),
    oom_kills: 0,
    processes_refused: 0,
    restarts: 3,
    next_start_ms: Some(1_600),
    exit: Some(Exit::Failed(Fault { step: Step::OpenRoot, errno: 2, detail: 0 })),
    place: Some(Place { file: "/etc/inn.conf", line: 12 }),
    users: Extents::NONE,
    autostart: false,
    root: "/srv/store",
    cgroup: "inn/store",
    description: "",
    cpu_throttled: 0,
    victim: None,
    awaits: "",
    said: "",
    activity: Activity::None,
    watchdog_ms: None,
    pending: Keys::from_bits(0),
    is_removed: false,
    health: None,
};

/// A host with two guests.
fn host(request: &Request) -> Vec<Reply<'static>> {
    let no_guest = Failure::new(Code::NoGuest, "", "there is no such guest");
    match request {
        Request::List => vec![Reply::Guest(WEB), Reply::Guest(STORE), Reply::Done],
        Request::HostStatus => vec![
            Reply::Host(HostInfo {
                version: "9.9",
                config: "/etc/inn.conf",
                pid: 1,
                uptime_ms: 61_000,
                guests: 2,
                running: 1,
                failed: 0,
                going_down: false,
                hardening: 0,
                cgroup: "inn",
                reserve_bytes: Some(64 << 20),
                boot_ms: [Some(1520), None, Some(1533), Some(1540), None, Some(1900), Some(1910), Some(2410)],
                died: 0,
                replaced: 0,
                is_safe: false,
            }),
            Reply::Done,
        ],
        Request::Missing => {
            let missing = |target, is_optional, detail| {
                Reply::Missing(MissingInfo {
                    target,
                    is_optional,
                    fault: Fault { step: Step::CheckDisk, errno: 0, detail },
                })
            };
            vec![missing("/data", false, 4), missing("/more", true, 8), Reply::Done]
        }
        Request::Logs { .. } => vec![Reply::Done],
        request => match request.guest().as_str() {
            "web" => vec![Reply::Guest(WEB), Reply::Done],
            "store" => vec![Reply::Guest(STORE), Reply::Done],
            _ => vec![Reply::Error(no_guest)],
        },
    }
}

#[test]
fn list_is_a_table_of_eighty_columns_with_reasons_below() {
    let table = Fake::new("table", host).prints(&["list"]);
    let expected = "\
NAME   STATE          PID  UPTIME   CPU     MEMORY   PROCS  RESTARTS     FAILS
web    ready         1234   3m20s  1.2s  12.3M/64M    3/20         0  m1 p2 c7
store  delayed 1.6s     -       -     -          -  -/1024         3         0
store: could not open its root directory: open_tree: ENOENT (no such file or directory) (key root, /etc/inn.conf:12)
";
    assert_eq!(table, expected);
}

#[test]
fn plain_has_the_same_columns_for_every_guest() {
    let text = Fake::new("plain", host).prints(&["list", "--plain"]);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.len() == GUEST));
    assert_eq!(&rows[0][..8], ["web", "ready", "app", "1234", "200000", "1234567", "500", "12900000"]);
    assert_eq!(&rows[1][..8], ["store", "delayed", "os", "-", "-", "-", "-", "-"]);
    assert_eq!(rows[0][27], "the \"front\" door?[2J");
}

#[test]
fn json_says_it_all_and_escapes_it() {
    let fake = Fake::new("json", host);
    let list = fake.json(&["list", "--json"]);
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    assert_eq!(list[0]["description"], "the \"front\" door\u{1b}[2J");
    assert_eq!(list[0]["memory_limit_bytes"], 64 << 20);
    assert_eq!(list[1]["pid"], Value::Null);
    assert_eq!(list[1]["exit"], "start-failed");
    assert_eq!(list[1]["config_line"], 12);
    let status = fake.json(&["status", "web", "--json"]);
    assert_eq!(status["users_base"], 524_288);
    assert_eq!(status["users"], "524288:65536");
    assert!(status["process_tree"].is_array());
    assert_eq!((&status["oom_victim"], &status["oom_victim_pid"]), (&"hog".into(), &77.into()));
    // What cannot be read is not 0.
    assert!(status["memory_max_events"].is_null() && status.get("io_pressure_us").is_some());
    assert_eq!(fake.json(&["status", "--json"])["uptime_ms"], 61_000);
    assert_eq!(fake.json(&["version", "--json"])["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn status_tells_limits_use_and_the_last_exit() {
    let fake = Fake::new("status", host);
    let text = fake.prints(&["status", "web"]);
    for line in [
        "web: ready (app), pid 1234, up 3m20s",
        "  memory       12.3M of 64M; processes killed for want of it: 1",
        "  processes    3 of 20; refused: 2",
        "  CPU          1.2s used; at most 0.5 CPUs; held back: 7, for -",
        "  last killed  hog (pid 77), 1m05s ago; full: guest",
        "  users        524288 to 589823",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line} is not in\n{text}");
    }
    let text = fake.prints(&["status", "store"]);
    assert!(text.starts_with("store: delayed 1.6s (os)\n"), "{text}");
    assert!(text.contains("ENOENT (no such file or directory) (key root, /etc/inn.conf:12)"), "{text}");
    assert!(fake.prints(&["status"]).starts_with("supervisor 9.9, pid 1, up 1m01s\n"));
    assert!(fake.prints(&["status", "--plain", "web"]).starts_with("name\tweb\nstate\tready\n"));
}

#[test]
fn a_guest_that_is_not_there_has_a_near_name_and_its_exit_code() {
    let fake = Fake::new("near", host);
    let expected = "inn: wbe: there is no such guest\n  did you mean web?\n";
    assert_eq!(fake.fails(&["status", "wbe"]), (3, expected.into()));
    let (code, words) = fake.fails(&["stop", "no/such"]);
    assert_eq!((code, words.as_str()), (3, "inn: `no/such`: no guest can have that name\n"));
}

#[test]
fn each_kind_of_failure_has_its_exit_code() {
    fn answer(request: &Request) -> Vec<Reply<'static>> {
        let name = request.guest();
        let code = Code::ALL.iter().find(|code| code.word() == name.as_str());
        vec![code.map_or(Reply::Done, |code| Reply::Error(Failure::new(*code, "", "no")))]
    }
    let fake = Fake::new("codes", answer);
    for (guest, code) in [
        ("failed", 1),
        ("usage", 2),
        ("no-guest", 3),
        ("wrong-state", 4),
        ("timed-out", 5),
        ("not-permitted", 6),
        ("busy", 1),
    ] {
        assert_eq!(fake.fails(&["start", guest]).0, code, "{guest}");
    }
    // The others are done all the same; the first failure is what the command returns.
    let output = fake.inn(&["stop", "--json", "a", "wrong-state", "b", "failed"]);
    assert_eq!(output.status.code(), Some(4));
    let lines = String::from_utf8(output.stdout).unwrap();
    let done: Vec<bool> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["done"] == true).collect();
    assert_eq!(done, [true, false, true, false]);
}

#[test]
fn an_answer_that_does_not_come_is_a_time_out() {
    let fake = Fake::new("time-out", |_| vec![Reply::Version("a word that is not the last")]);
    let output = fake.inn(&["start", "--wait", "--timeout", "50ms", "web"]);
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(output.stdout, b"");
    assert_eq!(output.stderr, b"inn: web: no answer in time\n");
}

#[test]
fn where_nobody_listens_the_socket_is_named() {
    let output = Command::new(must::inn()).args(["list", "--json", "--socket", "/no/such"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    let expected = "inn: no supervisor answers at /no/such: connect: ENOENT (no such file or directory)\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}

#[test]
fn output_that_cannot_be_written_is_an_error_that_is_told() {
    let fake = Fake::new("full", host);
    for words in [
        &["list"][..],
        &["list", "--json"],
        &["list", "--plain", "-o", "name"],
        &["status", "web"],
        &["status"],
        &["stats"],
        &["metrics"],
        &["top"],
        &["help"],
        &["version"],
    ] {
        let full = File::create("/dev/full").unwrap();
        let output = fake.command(words).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(words, "inn: write to standard output: ENOSPC (no space left)\n");
    }
    let output = fake.command(&["list"]).stdout(must::unread()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"inn: write to standard output: EPIPE (nobody reads)\n");
}

#[test]
fn the_version_is_told_in_lines_of_eighty_columns() {
    let output = Command::new(must::inn()).args(["version", "--socket", "/nowhere"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(long.is_empty(), "{long:?}");
    let names = |heading: &str| {
        let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("{text}"));
        let list = rest.split("\nlacks:").next().unwrap().replace('\n', " ");
        list.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()
    };
    let told = [names("\nhas:"), names("\nlacks:")].concat();
    for feature in Feature::ALL {
        assert_eq!(told.iter().filter(|name| **name == feature.name()).count(), 1, "{}: {text}", feature.name());
    }
}
