//! `inn top` at a terminal of its own.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::must;
use crate::private::Supervisor;

fn supervisor(name: &str, guests: usize) -> Option<Supervisor> {
    if !must::root(name) {
        return None;
    }
    let config: String =
        (0..guests).map(|n| format!("[service s{n}]\ncommand = /bin/sleep 1000\nautostart = no\n")).collect();
    let supervisor = Supervisor::start(name, &config);
    supervisor.await_answer();
    assert!(supervisor.inn(&["start", "--wait", "s0"]).status.success());
    Some(supervisor)
}

/// `inn top` at a terminal.
struct Top {
    child: Child,
    master: OwnedFd,
    peer: OwnedFd,
    /// The terminal's settings before.
    before: Termios,
    heard: Receiver<Vec<u8>>,
    seen: String,
}

impl Top {
    fn start(supervisor: &Supervisor, rows: u16, columns: u16, term: Option<&str>, words: &[&str]) -> Top {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let peer = ioctl_tiocgptpeer(&master, flags).unwrap();
        resize(&master, rows, columns);
        let before = tcgetattr(&peer).unwrap();
        let inn = supervisor.command(&[&["top"], words].concat());
        // Its terminal is that of a session of its own, so that it hears of its size.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(inn.get_program()).args(inn.get_args());
        command.env_remove("TERM").env_remove("NO_COLOR");
        if let Some(term) = term {
            command.env("TERM", term);
        }
        // The standard library's descriptors are another type; the link leads to the same terminal.
        let path = format!("/proc/self/fd/{}", peer.as_raw_fd());
        let stdio = || Stdio::from(File::options().read(true).write(true).open(&path).unwrap());
        let child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        let (told, heard) = channel();
        let reader = rustix::io::fcntl_dupfd_cloexec(&master, 0).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(count @ 1..) = rustix::io::read(&reader, &mut buffer) {
                if told.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Top { child, master, peer, before, heard, seen: String::new() }
    }

    /// Waits until what was shown since the last call has all of `parts`.
    fn wait_for(&mut self, parts: &[&str]) -> String {
        self.wait_until(|seen| parts.iter().all(|part| seen.contains(part)), &format!("{parts:?}"))
    }

    /// Waits for the second frame, which comes by itself for its rates: until the interval is over there is no other.
    fn wait_for_rates(&mut self) -> String {
        self.wait_until(|seen| seen.matches("\x1b[J").count() == 2, "a second frame")
    }

    fn wait_until(&mut self, is_there: impl Fn(&str) -> bool, what: &str) -> String {
        while !is_there(&self.seen) {
            let more = self.heard.recv_timeout(Duration::from_secs(60));
            self.seen += &String::from_utf8_lossy(&more.unwrap_or_else(|_| panic!("{what} never came: {}", self.seen)));
        }
        std::mem::take(&mut self.seen)
    }

    fn types(&self, keys: &str) {
        rustix::io::write(&self.master, keys.as_bytes()).unwrap();
    }

    fn settings(&self) -> Termios {
        tcgetattr(&self.peer).unwrap()
    }

    /// The process of `inn`.
    fn pid(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(children).unwrap();
        // setsid is the program itself where it need not fork.
        children.split_whitespace().next().map_or(self.child.id(), |pid| pid.parse().unwrap())
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(master: impl AsFd, rows: u16, columns: u16) {
    tcsetwinsize(master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// The lines of the last whole frame in what was shown.
fn last_frame(shown: &str) -> Vec<&str> {
    let frame = shown.split("\x1b[H").filter(|frame| frame.ends_with("\x1b[J")).last().expect("a frame");
    frame.strip_suffix("\x1b[0m\x1b[J").unwrap().strip_prefix("\x1b[0m").unwrap().split("\x1b[K\r\r\n").collect()
}

/// How many characters a terminal shows of it.
fn width(line: &str) -> usize {
    line.replace("\x1b[2m", "").replace("\x1b[0m", "").replace("\x1b[31m", "").chars().count()
}

#[test]
fn top_fits_a_terminal_and_follows_its_size_and_its_keys() {
    let Some(this) = supervisor("top", 40) else { return };
    // A serial console that never heard of a size is of eighty by twenty-four; here it is told so.
    let mut top = Top::start(&this, 24, 80, None, &["--interval", "10m"]);
    let shown = top.wait_for_rates();
    assert!(shown.starts_with("\x1b[?25l\x1b[2J\x1b[H") && shown.contains("s0 "), "{shown:?}");
    assert_ne!(top.before.local_modes, top.settings().local_modes, "keys are read one by one");
    top.types("n");
    let shown = top.wait_for(&["[n name]", "\x1b[J"]);
    // One write: what is cleared is cleared line by line, and the screen never as a whole.
    assert!(!shown.contains("\x1b[2J"), "{shown:?}");
    let lines = last_frame(&shown);
    assert!(lines.len() <= 24 && lines.iter().all(|line| width(line) < 80), "{lines:#?}");
    assert!(lines[0].starts_with("inn: 40 guests, 1 up, "), "{lines:#?}");
    assert!(lines[1].contains("c cpu") && lines[1].ends_with("q quit"), "{lines:#?}");
    assert!(lines[2].starts_with("NAME ") && lines[3].starts_with("s0 "), "{lines:#?}");
    resize(&top.master, 10, 40);
    let shown = top.wait_for(&["\x1b[J"]);
    let lines = last_frame(&shown);
    assert!(lines.len() <= 10 && lines.iter().all(|line| width(line) < 40), "{lines:#?}");
    top.types("u");
    top.wait_for(&["\x1b[J"]);
    // It does nothing until there is something to do.
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", top.pid())).unwrap();
        status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect::<Vec<_>>()
    };
    this.wait_for("it to sleep", |_| {
        let now = switches();
        std::thread::sleep(Duration::from_millis(500));
        now == switches()
    });
    top.types("q");
    top.wait_for(&["\x1b[?25h"]);
    assert_eq!(top.child.wait().unwrap().code(), Some(0));
    assert_eq!(top.before.local_modes, top.settings().local_modes);
}

#[test]
fn every_signal_gives_the_terminal_back() {
    let Some(this) = supervisor("top-signals", 1) else { return };
    for signal in ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "PIPE", "IO", "PWR", "RTMIN", "VTALRM", "XCPU"]
    {
        let mut top = Top::start(&this, 24, 80, Some("vt100"), &["--interval", "60s"]);
        top.wait_for(&["s0 ", "\x1b[J"]);
        let pid = top.pid().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        top.wait_for(&["\x1b[?25h"]);
        assert_eq!(top.child.wait().unwrap().code(), Some(0), "{signal}");
        assert_eq!(top.before.local_modes, top.settings().local_modes, "{signal}");
    }
}

#[test]
fn what_cannot_be_addressed_gets_one_look() {
    let Some(this) = supervisor("top-once", 2) else { return };
    let output = this.inn(&["top", "--sort", "name"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("inn: 2 guests, 1 up") && lines[1].starts_with("NAME") && lines[3].starts_with("s1"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "{text}");
    let mut top = Top::start(&this, 24, 80, Some("dumb"), &[]);
    let shown = top.wait_for(&["s1 "]);
    assert_eq!(top.child.wait().unwrap().code(), Some(0));
    assert!(!shown.contains("\x1b[H") && !shown.contains("\x1b[K"), "{shown:?}");
    for (words, code) in
        [(&["top", "--sort", "menory"][..], 2), (&["top", "nobody"], 3), (&["top", "--interval", "0"], 2)]
    {
        assert_eq!(this.inn(words).status.code(), Some(code), "{words:?}");
    }
}

#[test]
fn top_ends_with_its_terminal_and_without_a_supervisor() {
    let Some(this) = supervisor("top-ends", 1) else { return };
    // It is not in the middle of a look when the supervisor is killed.
    let mut top = Top::start(&this, 24, 80, Some("vt100"), &["--interval", "10m"]);
    top.wait_for_rates();
    let settings = top.settings();
    drop(this);
    top.types(" ");
    let shown = top.wait_for(&["no supervisor answers", "\x1b[?25h"]);
    assert!(shown.contains("inn: "), "{shown:?}");
    assert_eq!(top.child.wait().unwrap().code(), Some(1));
    assert!(!settings.local_modes.contains(rustix::termios::LocalModes::ICANON));
    assert!(top.settings().local_modes.contains(rustix::termios::LocalModes::ICANON));
}
