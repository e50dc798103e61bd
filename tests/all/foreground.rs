//! Programs that have the user's input, output and terminal: `inn run` on this host.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::OpenptFlags;
use rustix::termios::{Action, Winsize, tcflow, tcgetattr, tcsetwinsize};

use crate::must::{self, PATIENCE};
use crate::private::{self, Supervisor, busybox};

/// `inn` on a terminal of its own.
pub struct Terminal {
    pub child: Child,
    master: Arc<OwnedFd>,
    slave: OwnedFd,
    shown: Receiver<Vec<u8>>,
    text: String,
    /// Its modes before anybody had it.
    fresh: (u32, u32, u32),
}

impl Terminal {
    pub fn start(words: &[&str]) -> Terminal {
        Terminal::start_program(must::inn(), words)
    }

    /// Another program on a terminal of its own.
    pub fn start_program(program: &Path, words: &[&str]) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = Arc::new(rustix::pty::openpt(flags).unwrap());
        rustix::pty::unlockpt(&*master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&*master, flags).unwrap();
        let path = format!("/proc/self/fd/{}", slave.as_raw_fd());
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        // setsid(1) makes its standard input the controlling terminal.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program).args(words).stdin(open()).stdout(open()).stderr(open());
        let fresh = modes(&slave);
        let child = command.spawn().unwrap();
        let (send, shown) = channel();
        let reader = Arc::clone(&master);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = rustix::io::read(&*reader, &mut buffer) {
                if send.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { child, master, slave, shown, text: String::new(), fresh }
    }

    pub fn types(&self, text: &str) {
        assert_eq!(rustix::io::write(&*self.master, text.as_bytes()), Ok(text.len()));
    }

    pub fn shows(&mut self, expected: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text.contains(expected) {
            let left = deadline.saturating_duration_since(Instant::now());
            let more = self.shown.recv_timeout(left);
            let more = more.unwrap_or_else(|_| panic!("{expected:?} was not shown, but {:?}", self.text));
            self.text.push_str(&String::from_utf8_lossy(&more));
        }
    }

    /// All that it has shown so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&*self.master, size).unwrap();
    }

    #[track_caller]
    pub fn code(&mut self) -> Option<i32> {
        end(&mut self.child)
    }
}

/// Input, output and local modes: what a program with the terminal to itself changes.
fn modes(terminal: &OwnedFd) -> (u32, u32, u32) {
    let now = tcgetattr(terminal).unwrap();
    (now.input_modes.bits(), now.output_modes.bits(), now.local_modes.bits())
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Over already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        private::remove_run(self.child.id());
    }
}

/// The exit code of `child`, which must end in time.
#[track_caller]
pub fn end(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            private::remove_run(child.id());
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn inn(words: &[&str]) -> Output {
    Command::new(must::inn()).args(words).stdin(Stdio::null()).output().unwrap()
}

/// A program on pipes, from which one line has been read.
pub fn started(words: &[&str]) -> Child {
    let mut command = Command::new(must::inn());
    let mut child = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut byte = [0; 1];
    while byte != *b"\n" {
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    }
    child
}

pub fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

/// No cgroup of an `inn run` that is over is left.
fn nothing_is_left(pid: u32) {
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        assert!(!Path::new(root).join(format!("inn-run-{pid}")).exists());
    }
}

#[test]
fn a_program_that_is_run_gives_its_exit_code() {
    if !must::root("a_program_that_is_run_gives_its_exit_code") {
        return;
    }
    for (words, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "sh -c 'kill -9 $$'"], 137),
        (&["/etc/passwd"], 126),
        (&["no-such-program"], 127),
    ] {
        let output = inn(&[&["run", "--"], words].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        let told = String::from_utf8_lossy(&output.stderr).starts_with("inn: run: ");
        assert_eq!(told, matches!(code, 126 | 127), "{output:?}");
    }
    assert_eq!(inn(&["run", "--root", "/no/such", "--", "true"]).status.code(), Some(125));
    assert_eq!(inn(&["run", "--memory", "much", "--", "true"]).status.code(), Some(2));
}

#[test]
fn a_program_that_is_run_has_our_input_and_output() {
    if !must::root("a_program_that_is_run_has_our_input_and_output") {
        return;
    }
    let mut child = started(&["run", "--", "sh", "-c", "echo up; exec cat"]);
    child.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), end(&mut child)), ("through\n", Some(0)));
    nothing_is_left(child.id());
}

#[test]
fn a_signal_reaches_the_program_or_ends_it() {
    if !must::root("a_signal_reaches_the_program_or_ends_it") {
        return;
    }
    // With a handler, without one, and with one that stays: then the second signal ends it.
    for (script, stays, code) in [
        ("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done", false, 3),
        ("echo up; exec sleep 100", false, 143),
        ("trap 'echo no' TERM; echo up; while :; do sleep 0.05; done", true, 143),
    ] {
        let mut child = started(&["run", "--", "sh", "-c", script]);
        send(&child, Signal::TERM);
        if stays {
            // Two signals of a kind that come at once are one: the first has been heard.
            child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
            send(&child, Signal::TERM);
        }
        assert_eq!(end(&mut child), Some(code), "{script}");
        nothing_is_left(child.id());
    }
}

#[test]
fn on_a_terminal_the_program_has_a_terminal_of_its_own() {
    if !must::root("on_a_terminal_the_program_has_a_terminal_of_its_own") {
        return;
    }
    let mut terminal = Terminal::start(&["run", "--", "sh", "-c", "echo u''p; exec sh"]);
    terminal.shows("up");
    assert_ne!(modes(&terminal.slave), terminal.fresh, "keys go to the program as they are");
    terminal.resize(33, 99);
    terminal.types("while [ \"$(stty size)\" != '33 99' ]; do :; done; echo sized-$(tty)-\n");
    terminal.shows("sized-/dev/pts/0-");
    // The interrupt key is for what runs there, not for `inn`.
    terminal.types("trap 'echo caught''-it' INT; echo trap''ped\n");
    terminal.shows("trapped");
    // A shell that was not reading yet runs its trap with the next command.
    terminal.types("\x03:\n");
    terminal.shows("caught-it");
    terminal.types("exit 9\n");
    assert_eq!(terminal.code(), Some(9));
    assert_eq!(modes(&terminal.slave), terminal.fresh, "the terminal is as it was");
}

#[test]
fn the_interrupt_key_ends_a_program_that_does_not_heed_it() {
    if !must::root("the_interrupt_key_ends_a_program_that_does_not_heed_it") {
        return;
    }
    let mut terminal = Terminal::start(&["run", "--", "sh", "-c", "echo u''p; exec sleep 100"]);
    terminal.shows("up");
    // The shell may not have become sleep yet, and hear it: then it is typed again, as anybody would.
    for _ in 0..100 {
        if terminal.child.try_wait().unwrap().is_none() {
            terminal.types("\x03");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    assert_eq!(terminal.code(), Some(130));
    assert_eq!(modes(&terminal.slave), terminal.fresh);
}

#[test]
fn a_signal_to_inn_leaves_the_terminal_as_it_was() {
    if !must::root("a_signal_to_inn_leaves_the_terminal_as_it_was") {
        return;
    }
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131)] {
        let mut terminal = Terminal::start(&["run", "--", "sh", "-c", "echo u''p; exec sleep 100"]);
        terminal.shows("up");
        send(&terminal.child, signal);
        assert_eq!(terminal.code(), Some(code));
        assert_eq!(modes(&terminal.slave), terminal.fresh);
    }
}

#[test]
fn the_console_of_a_guest_is_shown_and_typed_at_until_the_key_that_detaches() {
    if !must::root("the_console_of_a_guest_is_shown_and_typed_at_until_the_key_that_detaches") {
        return;
    }
    let supervisor = Supervisor::start(
        "console",
        &format!(
            "[guest box]\nkind = os\nroot = {}\nreadonly = yes\nstop = SIGKILL\nrestart = never\n\
             command = /bin/sh -c \"echo before; while read line; do echo got $line; done\"\n",
            busybox("console").display()
        ),
    );
    supervisor.await_answer();
    supervisor.wait_for("it says something", |this| this.inn(&["logs", "box"]).stdout.starts_with(b"before"));
    let socket = supervisor.directory.join("control").display().to_string();
    let attach = || Terminal::start(&["console", "--socket", &socket, "box"]);

    let mut terminal = attach();
    terminal.shows("before\r\n");
    terminal.shows("ctrl-] detaches");
    terminal.types("one\r");
    terminal.shows("got one\r\n");
    // What is typed behind the key is for nobody.
    terminal.types("\x1dtwo\r");
    assert_eq!(terminal.code(), Some(0));
    terminal.shows("box: detached");
    assert_eq!(modes(&terminal.slave), terminal.fresh, "the terminal is as it was");

    let mut terminal = attach();
    terminal.shows("got one\r\n");
    terminal.shows("ctrl-] detaches");
    send(&terminal.child, Signal::TERM);
    assert_eq!(terminal.code(), Some(0));
    assert_eq!(modes(&terminal.slave), terminal.fresh, "the terminal is as it was");

    let mut terminal = attach();
    terminal.types("three\r");
    terminal.shows("got three\r\n");
    assert!(!terminal.text.contains("two"), "{}", terminal.text);
    assert_eq!(supervisor.inn(&["stop", "box"]).status.code(), Some(0));
    terminal.shows("box: ended");
    assert_eq!(terminal.code(), Some(0));
    assert_eq!(modes(&terminal.slave), terminal.fresh, "the terminal is as it was");

    assert_eq!(supervisor.inn(&["console", "box"]).status.code(), Some(4), "it does not run");
}

/// A guest that answers each line, and what attaches to its console.
fn box_with_console(name: &str) -> (Supervisor, String) {
    let supervisor = Supervisor::start(
        name,
        &format!(
            "[guest box]\nkind = os\nroot = {}\nreadonly = yes\nstop = SIGKILL\nrestart = never\n\
             command = /bin/sh -c \"echo u''p; while read line; do echo got $line; done\"\n",
            busybox(name).display()
        ),
    );
    supervisor.await_answer();
    supervisor.await_ready("box");
    let socket = supervisor.directory.join("control").display().to_string();
    (supervisor, socket)
}

#[test]
fn a_console_stays_attached_while_its_guest_starts_again_and_others_watch_it_too() {
    if !must::root("a_console_stays_attached_while_its_guest_starts_again_and_others_watch_it_too") {
        return;
    }
    let (supervisor, socket) = box_with_console("console-again");
    let mut one = Terminal::start(&["console", "--socket", &socket, "box"]);
    let mut other = Terminal::start(&["console", "--socket", &socket, "--escape", "ctrl-a", "box"]);
    other.shows("attached; ctrl-a detaches");
    one.shows("attached; ctrl-] detaches");
    one.types("first\r");
    one.shows("got first");
    other.shows("got first");
    assert_eq!(supervisor.inn(&["restart", "box"]).status.code(), Some(0));
    one.shows("box: ended");
    one.shows("box: started again");
    other.shows("box: started again");
    one.resize(31, 97);
    one.types("second\r");
    other.shows("got second");
    // What types itself where it is typed twice, and detaches where it is not; on the other it is a key like any.
    one.types("\x1d\x1dthird\r");
    one.shows("got \x1dthird");
    other.types("\x1dfourth\r");
    other.shows("got \x1dfourth");
    one.types("\x1d");
    assert_eq!(one.code(), Some(0));
    one.shows("box: detached");
    other.types("\x01");
    assert_eq!(other.code(), Some(0));
    for terminal in [&one, &other] {
        assert_eq!(modes(&terminal.slave), terminal.fresh, "the terminal is as it was");
    }
    for key in ["a", "ctrl-", "ctrl-1", "^ab", ""] {
        let output = supervisor.inn(&["console", "--escape", key, "box"]);
        assert_eq!(output.status.code(), Some(2), "{key:?}");
    }
    // Without a key, and with an input that ends, it is the input's end that detaches.
    assert_eq!(supervisor.inn(&["console", "--escape", "none", "box"]).status.code(), Some(0));
}

#[test]
fn every_end_of_a_guest_is_told_at_its_console_however_late_it_is_heard_of() {
    if !must::root("every_end_of_a_guest_is_told_at_its_console_however_late_it_is_heard_of") {
        return;
    }
    let config = format!(
        "[guest box]\nkind = os\nroot = {}\nreadonly = yes\nrestart = always\nrestart-delay = 10m 10m\n\
         command = /bin/sh -c \"while read line; do echo got $line; done\"\n",
        busybox("console-late").display()
    );
    let supervisor = Supervisor::start("console-late", &config);
    supervisor.await_ready("box");
    let socket = supervisor.directory.join("control").display().to_string();
    let mut terminal = Terminal::start(&["console", "--socket", &socket, "box"]);
    terminal.shows("detaches");
    let end = || {
        let pid = supervisor.facts("box")["pid"].as_i64().unwrap();
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
        supervisor.wait_for("its end", |this| this.facts("box")["state"] == "delayed");
    };
    end();
    terminal.shows("box: ended");
    // Held up while it tells of the start, it hears of the next end and the next start together.
    tcflow(&terminal.slave, Action::OOff).unwrap();
    assert!(supervisor.inn(&["start", "--wait", "box"]).status.success());
    let call = format!("/proc/{}/syscall", terminal.child.id());
    let writes = format!("{} 0x2 ", libc::SYS_write);
    supervisor
        .wait_for("it to be held up", |_| std::fs::read_to_string(&call).is_ok_and(|call| call.starts_with(&writes)));
    end();
    assert!(supervisor.inn(&["start", "--wait", "box"]).status.success());
    tcflow(&terminal.slave, Action::OOn).unwrap();
    terminal.types("on\r");
    terminal.shows("got on");
    for told in ["box: ended", "box: started again"] {
        assert_eq!(terminal.text.matches(told).count(), 2, "{}", terminal.text);
    }
    terminal.types("\x1d");
    assert_eq!(terminal.code(), Some(0));
}

/// The processes of `guest` that run sleep(1).
fn sleeping(supervisor: &Supervisor, guest: &str) -> Vec<u32> {
    let is = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    supervisor.members(guest).into_iter().filter(is).collect()
}

#[test]
fn no_signal_to_a_client_leaves_the_terminal_changed() {
    if !must::root("no_signal_to_a_client_leaves_the_terminal_changed") {
        return;
    }
    let (supervisor, socket) = box_with_console("signals");
    // Those that end nobody, or stop him.
    let harmless = [17, 18, 19, 20, 21, 22, 23, 28];
    let console = ["console", "--socket", &socket, "box"];
    let exec = ["exec", "--socket", &socket, "box", "/bin/sh", "-c", "echo up; exec sleep 1000"];
    for (words, started) in [(&console[..], "detaches"), (&exec[..], "up")] {
        for signal in (1..=64).filter(|signal| !harmless.contains(signal)) {
            // A few of each kind: of a command in a guest each takes a start.
            if words[0] == "exec" && ![1, 2, 3, 6, 9, 11, 13, 14, 15, 30, 34, 64].contains(&signal) {
                continue;
            }
            println!("signal {signal} to {words:?}");
            let before = sleeping(&supervisor, "box");
            let mut terminal = Terminal::start(words);
            terminal.shows(started);
            if words[0] == "exec" {
                // The shell that becomes it does not heed every signal. Those before it may still be on their way out.
                let is_new = |pid: &u32| !before.contains(pid);
                supervisor.wait_for("the command", |this| sleeping(this, "box").iter().any(is_new));
            }
            assert_ne!(modes(&terminal.slave), terminal.fresh, "it has the terminal");
            let sent = Command::new("kill").arg(format!("-{signal}")).arg(terminal.child.id().to_string()).status();
            assert!(sent.unwrap().success());
            if signal == 13 {
                // Nobody listens to it; a closed pipe is told otherwise.
                let _ = terminal.child.kill();
            }
            let code = terminal.code();
            let is_killed = matches!(signal, 9 | 13);
            assert_eq!(code.is_none(), is_killed, "signal {signal}: {code:?}");
            // The child that puts it back after a kill is on its way.
            let deadline = Instant::now() + PATIENCE;
            while modes(&terminal.slave) != terminal.fresh {
                assert!(is_killed && Instant::now() < deadline, "signal {signal} leaves the terminal as it was");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    assert_eq!(supervisor.facts("box")["state"], "ready", "the guest has not noticed");
}

#[test]
fn a_client_that_is_stopped_gives_the_terminal_back_until_it_goes_on() {
    if !must::root("a_client_that_is_stopped_gives_the_terminal_back_until_it_goes_on") {
        return;
    }
    let (_supervisor, socket) = box_with_console("stopped");
    let mut terminal = Terminal::start(&["console", "--socket", &socket, "box"]);
    terminal.shows("detaches");
    send(&terminal.child, Signal::TSTP);
    let deadline = Instant::now() + PATIENCE;
    while modes(&terminal.slave) != terminal.fresh {
        assert!(Instant::now() < deadline, "it is given back");
        std::thread::sleep(Duration::from_millis(5));
    }
    // It gives it back before it stops, and what is to let it go on must come after that.
    let stat = format!("/proc/{}/stat", terminal.child.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
        assert!(Instant::now() < deadline, "it stops");
        std::thread::sleep(Duration::from_millis(5));
    }
    send(&terminal.child, Signal::CONT);
    terminal.types("on\r");
    terminal.shows("got on");
    assert_ne!(modes(&terminal.slave), terminal.fresh, "it has the terminal again");
    send(&terminal.child, Signal::TERM);
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_console_ends_with_its_terminal_and_with_the_supervisor() {
    if !must::root("a_console_ends_with_its_terminal_and_with_the_supervisor") {
        return;
    }
    let (mut supervisor, socket) = box_with_console("console-end");
    // script(1) closes its side when it is killed.
    let line = format!("exec {} console --socket {socket} box", must::inn().display());
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let mut shown = String::new();
    while !shown.contains("detaches") {
        let mut byte = [0; 1];
        script.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        shown.push(byte[0].into());
    }
    let clients = children_of(script.id());
    assert!(!clients.is_empty());
    script.kill().unwrap();
    script.wait().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while clients.iter().any(|pid| is_alive(*pid)) {
        assert!(Instant::now() < deadline, "it stays without a terminal");
        std::thread::sleep(Duration::from_millis(5));
    }

    let mut terminal = Terminal::start(&["console", "--socket", &socket, "box"]);
    terminal.shows("detaches");
    kill_process(Pid::from_raw(supervisor.pid() as i32).unwrap(), Signal::KILL).unwrap();
    supervisor.wait();
    terminal.shows("box: the supervisor has ended");
    assert_eq!(terminal.code(), Some(1));
    assert_eq!(modes(&terminal.slave), terminal.fresh, "the terminal is as it was");
}

pub fn children_of(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

#[test]
fn what_a_guest_makes_the_terminal_answer_is_not_left_for_the_caller() {
    if !must::root("what_a_guest_makes_the_terminal_answer_is_not_left_for_the_caller") {
        return;
    }
    let (_supervisor, socket) = box_with_console("answers");
    // The other screen, reports of the mouse, and "who are you?", to which this terminal answers many times.
    let asks = "printf '\\033[?1049h\\033[?1003h\\033[c'; echo as''ked; exec sleep 1000";
    for words in
        [&["exec", "--socket", &socket, "box", "/bin/sh", "-c", asks][..], &["console", "--socket", &socket, "box"][..]]
    {
        let mut terminal = Terminal::start(words);
        if words[0] == "console" {
            terminal.shows("detaches");
            // It echoes what is typed: ESC comes back as it is.
            terminal.types("\x1b[c\r");
            terminal.shows("got \x1b[c");
        } else {
            terminal.shows("asked");
        }
        for _ in 0..50 {
            terminal.types("\x1b[?62;1;6c");
        }
        send(&terminal.child, Signal::TERM);
        terminal.code().expect("it ends by itself");
        terminal.shows("\x1b[?1047l");
        terminal.shows("\x1b[?1003l");
        assert_eq!(rustix::io::ioctl_fionread(&terminal.slave), Ok(0), "no answer is left to be read");
        assert_eq!(modes(&terminal.slave), terminal.fresh, "the terminal is as it was");
    }
}

#[test]
fn an_app_has_a_console_where_the_config_says_so_and_an_os_none_where_it_does() {
    if !must::root("an_app_has_a_console_where_the_config_says_so_and_an_os_none_where_it_does") {
        return;
    }
    let root = busybox("app-console");
    let tests =
        "[ -t 0 ] && [ -t 1 ] && echo a ter''minal || echo no ter''minal; read line; echo got $line; exec sleep 1000";
    let config = format!(
        "[guest app]\nkind = app\nconsole = pty\nlog = off\nroot = {root}\ncommand = /bin/sh -c \"{tests}\"\nuser = 1000\n\
         [guest os]\nkind = os\nreadonly = yes\nconsole = none\nroot = {root}\ncommand = /bin/sh -c \"{tests}\"\n\
         [guest plain]\nkind = app\nroot = {root}\ncommand = /bin/sleep 1000\n",
        root = root.display()
    );
    let supervisor = Supervisor::start("app-console", &config);
    supervisor.await_answer();
    for guest in ["app", "os", "plain"] {
        supervisor.await_ready(guest);
    }
    supervisor.wait_for("output", |this| this.inn(&["logs", "os"]).stdout == b"no terminal\ngot\n");
    for guest in ["os", "plain"] {
        assert_eq!(supervisor.inn(&["console", guest]).status.code(), Some(4), "{guest}");
    }
    // Of one whose log is off, what it writes from now on.
    assert_eq!(supervisor.inn(&["logs", "app"]).status.code(), Some(4));
    let socket = supervisor.directory.join("control").display().to_string();
    let mut terminal = Terminal::start(&["console", "--socket", &socket, "app"]);
    terminal.shows("detaches");
    terminal.types("it\r");
    terminal.shows("got it");
    // It is its controlling terminal: the interrupt key is for it, and it does not heed it as the init that it is.
    terminal.types("\x03");
    terminal.shows("^C");
    terminal.types("\x1d");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_console_sleeps_while_nothing_comes() {
    if !must::root("a_console_sleeps_while_nothing_comes") {
        return;
    }
    let (supervisor, socket) = box_with_console("console-idle");
    let mut terminal = Terminal::start(&["console", "--socket", &socket, "box"]);
    terminal.shows("detaches");
    let switches = || -> Vec<u64> {
        let count = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
            lines.map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap()).sum()
        };
        [terminal.child.id(), supervisor.pid()].map(count).to_vec()
    };
    supervisor.wait_for("sleep", |_| {
        let before = switches();
        std::thread::sleep(Duration::from_millis(500));
        before == switches()
    });
    terminal.types("one\r");
    terminal.shows("got one");
    terminal.types("\x1d");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_client_that_is_killed_at_any_moment_harms_neither_terminal_nor_supervisor() {
    if !must::root("a_client_that_is_killed_at_any_moment_harms_neither_terminal_nor_supervisor") {
        return;
    }
    let (supervisor, socket) = box_with_console("any-moment");
    let console = ["console", "--socket", &socket, "box"];
    let exec = ["exec", "--socket", &socket, "box", "/bin/sh", "-c", "echo up"];
    for moment in 0..40 {
        let mut terminal = Terminal::start(if moment % 2 == 0 { &console[..] } else { &exec[..] });
        std::thread::sleep(Duration::from_micros(700 * moment));
        let _ = terminal.child.kill();
        terminal.child.wait().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while modes(&terminal.slave) != terminal.fresh {
            assert!(Instant::now() < deadline, "moment {moment}: the terminal is as it was");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(supervisor.inn(&["list"]).status.code(), Some(0));
    let mut terminal = Terminal::start(&console);
    terminal.types("still\r");
    terminal.shows("got still");
    send(&terminal.child, Signal::TERM);
    assert_eq!(terminal.code(), Some(0));
}
