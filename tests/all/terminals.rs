//! Services on terminals: who controls one, who has it, and what becomes of them when it goes; on this host.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, OptionalActions, OutputModes, tcgetattr, tcsetattr};

use crate::must::{self, PATIENCE};
use crate::private::{Supervisor, closed};

/// A line, as its user has it: what is at its other end is the terminal of a service.
struct Line {
    master: Arc<OwnedFd>,
    shown: Receiver<Vec<u8>>,
    text: String,
    /// What was waited for before.
    past: String,
    /// The name of the terminal.
    path: String,
}

impl Line {
    fn new() -> Line {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = Arc::new(rustix::pty::openpt(flags).unwrap());
        rustix::pty::unlockpt(&*master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&*master, flags).unwrap();
        let path = fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd())).unwrap();
        let path = path.into_os_string().into_string().unwrap();
        let (send, shown) = channel();
        let reader = Arc::downgrade(&master);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Nothing is read, and EIO told, while nobody has the terminal open.
            while let Some(master) = reader.upgrade() {
                let mut fds = [rustix::event::PollFd::new(&*master, rustix::event::PollFlags::IN)];
                let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
                let _ = rustix::event::poll(&mut fds, Some(&moment));
                if !fds[0].revents().contains(rustix::event::PollFlags::IN) {
                    drop(master);
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    continue;
                }
                if let Ok(length @ 1..) = rustix::io::read(&*master, &mut buffer) {
                    let _ = send.send(buffer[..length].to_vec());
                }
            }
        });
        Line { master, shown, text: String::new(), past: String::new(), path }
    }

    fn types(&self, text: &str) {
        assert_eq!(rustix::io::write(&*self.master, text.as_bytes()), Ok(text.len()));
    }

    /// Waits for `expected` behind what was waited for before; all that was shown until then.
    fn shows(&mut self, expected: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text.find(expected) {
                let shown: String = self.text.drain(..at + expected.len()).collect();
                self.past.push_str(&shown);
                return shown;
            }
            let more = self.shown.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let more = more
                .unwrap_or_else(|_| panic!("{expected:?} was not shown, but {:?} behind {:?}", self.text, self.past));
            self.text.push_str(&String::from_utf8_lossy(&more));
        }
    }
}

/// A shell on the terminal `tty`.
fn shell(name: &str, tty: &str, keys: &str) -> String {
    format!("[service {name}]\ncommand = /bin/sh -i\nenv = PS1=@\ntty = {tty}\nrestart-delay = 1ms 1ms\n{keys}\n")
}

fn pid(supervisor: &Supervisor, service: &str) -> u64 {
    supervisor.facts(service)["pid"].as_u64().unwrap_or_default()
}

fn runs(pid: u32, program: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == program)
}

#[test]
fn a_shell_on_a_terminal_has_job_control_and_comes_again_when_it_is_left() {
    if !must::root("a_shell_on_a_terminal_has_job_control_and_comes_again_when_it_is_left") {
        return;
    }
    let mut line = Line::new();
    let supervisor = Supervisor::start("job-control", &shell("login", &line.path, "restart = always"));
    line.shows("@");
    let first = supervisor.await_ready("login")["pid"].as_u64().unwrap();
    line.types("tty\n");
    line.shows(&format!("\n{}\r\n", line.path.clone()));
    line.shows("@");
    // The interrupt key is for what is in the foreground, and for nobody else.
    for (command, program, key) in [("sleep 1000", "sleep", "\x03"), ("tail -f /dev/null", "tail", "\x1a")] {
        line.types(&format!("{command}\n"));
        supervisor.wait_for(program, |this| this.members("login").into_iter().any(|pid| runs(pid, program)));
        line.types(key);
        line.shows("@");
    }
    line.types("jobs; kill -KILL %1; echo $((40 + 2))\n");
    line.shows("Stopped");
    line.shows("42");
    line.shows("@");
    assert_eq!(pid(&supervisor, "login"), first);
    // Somebody leaves it as a program does that was killed; and something behind that hears no hang-up.
    line.types("trap '' HUP; sleep 1000 & stty raw -echo; exit\n");
    line.shows("; exit\r\n");
    // What is typed before its prompt is there may be lost with what was there before.
    line.shows("@");
    supervisor.wait_for("another shell", |this| ![0, first].contains(&pid(this, "login")));
    line.types("echo $((40 + 3))\n");
    line.shows("echo $((40 + 3))\r\n43\r\n@");
    supervisor.wait_for("nothing else", |this| this.members("login").len() == 1);
}

#[test]
fn a_line_that_is_hung_up_ends_its_shell_and_the_terminal_that_is_gone_is_told_once_and_taken_when_it_is_back() {
    let test =
        "a_line_that_is_hung_up_ends_its_shell_and_the_terminal_that_is_gone_is_told_once_and_taken_when_it_is_back";
    if !must::root(test) {
        return;
    }
    let mut line = Line::new();
    let tty = closed().join(format!("line.{}", std::process::id()));
    let _ = fs::remove_file(&tty);
    symlink(&line.path, &tty).unwrap();
    let config = shell("login", tty.to_str().unwrap(), "restart = always") + "restart-delay = 1ms 20ms\n";
    let config = config.replacen("restart-delay = 1ms 1ms\n", "", 1);
    let supervisor = Supervisor::start("hang-up", &config);
    line.shows("@");
    line.types("(trap '' HUP; echo deaf; exec sleep 1000) &\n");
    line.shows("deaf\r\n");
    let deaf = supervisor.members("login");
    assert!(deaf.len() >= 2, "{deaf:?}");
    fs::remove_file(&tty).unwrap();
    drop(line);
    supervisor.wait_for("the end of all that was there", |this| {
        let now = this.members("login");
        deaf.iter().all(|pid| !now.contains(pid))
    });
    // It is tried again and again, but told once.
    let lacks = "not started: open its terminal: openat: ENOENT (no such file or directory)";
    supervisor.wait_for("some more tries", |this| this.facts("login")["restarts"].as_u64() > Some(8));
    let log = supervisor.log();
    assert_eq!(log.matches(lacks).count(), 1, "{log}");
    assert!(log.contains(&format!("{lacks} ({}, ", tty.display())), "{log}");
    assert!(log.matches("starts again in").count() <= 3, "{log}");
    let status = |this: &Supervisor| String::from_utf8(this.inn(&["status", "login"]).stdout).unwrap();
    let why = "there is no such terminal yet: it is tried again";
    supervisor.wait_for(why, |this| status(this).contains(why));
    let mut line = Line::new();
    symlink(&line.path, &tty).unwrap();
    line.shows("@");
    supervisor.await_ready("login");
    fs::remove_file(&tty).unwrap();
}

#[test]
fn a_terminal_has_one_owner() {
    if !must::root("a_terminal_has_one_owner") {
        return;
    }
    let mut line = Line::new();
    let config = shell("first", &line.path, "restart = always")
        + &shell("second", &line.path, "restart = always\nautostart = no")
        + "[service none]\ncommand = /bin/true\nrestart = never\ntty = /dev/null\n"
        + &format!("[service file]\ncommand = /bin/true\nrestart = never\ntty = {}\n", file("no-terminal").display());
    let supervisor = Supervisor::start("one-owner", &config);
    line.shows("@");
    let _ = supervisor.inn(&["start", "second"]);
    supervisor.wait_for("some tries", |this| this.facts("second")["restarts"].as_u64() > Some(3));
    let log = supervisor.log();
    let other = "service second: not started: make the terminal its session's: ioctl: EPERM (not permitted)";
    assert_eq!(log.matches(other).count(), 1, "{log}");
    assert!(log.contains(&format!("{other} ({}, ", line.path)), "{log}");
    let status = |this: &Supervisor| String::from_utf8(this.inn(&["status", "second"]).stdout).unwrap();
    supervisor.wait_for("the reason", |this| status(this).contains("it has another owner"));
    for name in ["none", "file"] {
        supervisor.wait_for("its end", |this| this.facts(name)["state"] == "failed");
        let log = supervisor.log();
        assert!(log.contains(&format!("service {name}: not started: make the terminal its session's: ioctl: ENOTTY")));
    }
    // The one who is asked is the first, and only the first.
    line.types("echo $$\n");
    line.shows(&format!("\n{}\r\n@", pid(&supervisor, "first")));
    assert!(supervisor.inn(&["stop", "first"]).status.success());
    line.shows("@");
    supervisor.await_ready("second");
    line.types("echo $$\n");
    line.shows(&format!("\n{}\r\n", pid(&supervisor, "second")));
    assert_eq!(fs::read(file("no-terminal")).unwrap(), b"kept\n");
    fs::remove_file(file("no-terminal")).unwrap();
}

/// A regular file.
fn file(name: &str) -> std::path::PathBuf {
    let path = closed().join(format!("{name}.{}", std::process::id()));
    if !path.exists() {
        fs::write(&path, "kept\n").unwrap();
    }
    path
}

#[test]
fn a_getty_opens_its_terminal_by_itself_and_a_step_is_done_on_one_before_it() {
    let test = "a_getty_opens_its_terminal_by_itself_and_a_step_is_done_on_one_before_it";
    let getty = ["/sbin/agetty", "/usr/sbin/agetty"].into_iter().find(|path| Path::new(path).exists());
    if !must::root(test) || !must::may_run(test, getty.is_some(), "it needs agetty (Debian: util-linux)") {
        return;
    }
    let mut line = Line::new();
    let name = line.path.strip_prefix("/dev/").unwrap().to_owned();
    let wizard = format!(
        "[service wizard]\ncommand = /bin/sh -c \"echo your name; read name; test $name = alice\"\n\
         tty = {}\nready = exit within 5m\n",
        line.path
    );
    // What follows the name is a program in the place of login, which says who it would let in, and where.
    let getty = format!(
        "[service getty]\ncommand = {} --noclear --noissue --nohostname --hangup --login-program /bin/echo {name} vt100\n\
         after = wizard\nrestart = always\nrestart-delay = 1ms 1ms\n",
        getty.unwrap()
    );
    let supervisor = Supervisor::start("getty", &(wizard + &getty));
    line.shows("your name");
    line.types("bob\n");
    line.shows("your name");
    assert_eq!(supervisor.facts("getty")["state"], "waiting");
    line.types("alice\n");
    for user in ["carol", "dave"] {
        line.shows("login: ");
        line.types(&format!("{user}\n"));
        line.shows(&format!("-- {user}\r\n"));
    }
    line.shows("login: ");
    let session = fs::read_to_string(format!("/proc/{}/stat", pid(&supervisor, "getty"))).unwrap();
    let words: Vec<_> = session.rsplit(") ").next().unwrap().split(' ').collect();
    assert_ne!(words[4], "0", "it has a controlling terminal: {session}");
}

#[test]
fn modes_that_a_program_has_left_are_not_those_of_the_next() {
    if !must::root("modes_that_a_program_has_left_are_not_those_of_the_next") {
        return;
    }
    let mut line = Line::new();
    let mut modes = tcgetattr(&*line.master).unwrap();
    modes.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    modes.output_modes.remove(OutputModes::OPOST);
    modes.set_speed(9600).unwrap();
    tcsetattr(&*line.master, OptionalActions::Now, &modes).unwrap();
    let config = format!("[service stty]\ncommand = /bin/stty -a\ntty = {}\nready = exit\n", line.path);
    let _supervisor = Supervisor::start("modes", &config);
    line.shows("speed 9600 baud");
    let shown = line.shows(" echoke ");
    for mode in ["icrnl", "ixon", "opost", "onlcr", "isig", "icanon", "iexten", "echo"] {
        assert!(shown.split_whitespace().any(|word| word == mode), "{mode} is not in {shown}");
    }
}
