//! `inn init` on this host, as PID 1 of a pid namespace and as an ordinary process: what the tests of tini and dumb-init ask of
//! those, and what is asked of it beyond.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

use crate::foreground::{Terminal, end, inn, started};
use crate::must::{self, PATIENCE};

/// Signals that only stop who has no handler.
const STOPPING: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// A program that prints the signals that it is sent.
fn hear() -> &'static Path {
    static HEAR: OnceLock<PathBuf> = OnceLock::new();
    HEAR.get_or_init(|| {
        let program = must::target().join("hear");
        let mut gcc = Command::new("gcc");
        gcc.args(["-Wall", "-O1", "-o"]).arg(&program).arg(must::project().join("tests/programs/hear.c"));
        assert!(gcc.status().expect("gcc starts").success());
        program
    })
}

/// Something started by `inn init`, whose output is read a line at a time. What it left is killed with it.
struct Heard {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// What else is to be killed.
    others: Vec<i32>,
}

impl Heard {
    fn start(command: &mut Command) -> Heard {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Heard { child, lines, others: Vec::new() }
    }

    /// `inn init` with these words, then the program that prints signals, which is ready.
    fn hearing(words: &[&str]) -> Heard {
        let mut command = Command::new(must::inn());
        let mut heard = Heard::start(command.arg("init").args(words).arg(hear()).env("TINI_VERBOSITY", "0"));
        heard.is_ready();
        heard
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits for one that prints signals to be ready. Returns its number.
    fn is_ready(&mut self) -> i32 {
        let line = self.line();
        let pid = line.strip_prefix("ready ").unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
        self.others.push(pid);
        pid
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    fn send(&self, signal: i32) {
        send(self.pid(), signal);
    }

    fn code(&mut self) -> Option<i32> {
        end(&mut self.child)
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        // Over already, for the most part.
        for pid in &self.others {
            let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(pid: i32, signal: i32) {
    let sent = innkeep::sys::signal::send_to(Pid::from_raw(pid).unwrap(), signal as u8);
    assert_eq!(sent, Ok(()), "{pid} {signal}");
}

/// The fields of /proc/PID/stat behind the program's name: state, parent, group, session.
fn stat(pid: i32) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().unwrap().split_whitespace().map(str::to_owned).collect()
}

fn await_state(pid: i32, states: &[&str]) {
    eventually(
        || stat(pid).first().is_some_and(|state| states.contains(&state.as_str())),
        &format!("{pid} {states:?}"),
    );
}

fn eventually(mut is_so: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `inn init` with these words, as PID 1 of a pid namespace.
fn as_pid_1(words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(must::inn()).arg("init").args(words);
    command
}

/// The children of process `pid`, those that nobody waited for included.
fn children(pid: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| stat(*number).get(1).is_some_and(|parent| *parent == pid.to_string())).collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// Exit codes.

#[test]
fn init_gives_the_exit_code_of_its_command() {
    for (words, code) in [
        (&["sh", "-c", "exit 0"][..], 0),
        (&["sh", "-c", "exit 3"], 3),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["sh", "-c", "kill -INT $$"], 130),
        (&["sh", "-c", "kill -QUIT $$"], 131),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["/etc/passwd"], 126),
        (&["/etc"], 126),
        (&["no-such-program"], 127),
        (&["/no/such/program"], 127),
    ] {
        for options in [&["init", "--"][..], &["init"], &["init", "-c"], &["init", "--setsid", "--"]] {
            assert_eq!(inn(&[options, words].concat()).status.code(), Some(code), "{options:?} {words:?}");
        }
    }
}

#[test]
fn init_says_which_program_could_not_be_executed() {
    let said = errors(&inn(&["init", "/no/such/program"]));
    assert!(said.contains("inn: init: `/no/such/program`: ENOENT"), "{said}");
}

#[test]
fn init_exits_with_0_for_codes_that_were_named_and_no_other() {
    for code in ["0", "1", "63", "64", "143", "255"] {
        let script = format!("exit {code}");
        let named = inn(&["init", "-e", code, "--", "sh", "-c", &script]);
        assert_eq!(named.status.code(), Some(0), "{code}");
        let others: Vec<_> = (0..=255).map(|other| other.to_string()).filter(|other| other != code).collect();
        let options = others.iter().flat_map(|other| ["-e", other]);
        let words: Vec<_> = ["init"].into_iter().chain(options).chain(["sh", "-c", &script]).collect();
        assert_eq!(inn(&words).status.code().map(|code| code.to_string()).as_deref(), Some(code));
    }
    let killed = inn(&["init", "-e", "143", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(killed.status.code(), Some(0));
}

#[test]
fn init_gives_the_exit_code_also_where_sigchld_was_ignored() {
    let script = "trap '' CHLD; exec \"$0\" init -- sh -c 'exit 4'";
    let status =
        Command::new("timeout").args(["60", "bash", "-c", script]).arg(must::inn()).status().expect("bash starts");
    assert_eq!(status.code(), Some(4));
}

#[test]
fn init_without_a_command_is_a_wrong_command_line() {
    for words in [&["init"][..], &["init", "--"], &["init", "-g"], &["init", "-r", "15:3"]] {
        assert_eq!(inn(words).status.code(), Some(2), "{words:?}");
    }
    for words in [&["init", "-r", "TERM", "true"][..], &["init", "-p", "0", "true"], &["init", "-e", "256", "true"]] {
        let output = inn(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(errors(&output).contains("is not one"), "{words:?}");
    }
}

// What the command finds.

#[test]
fn the_command_of_init_finds_signals_as_init_found_them() {
    let mut direct = Command::new(hear());
    let mut through = Command::new(hear());
    let status = ["grep", "-E", "^(Sig(Blk|Ign|Cgt)|ShdPnd)", "/proc/self/status"];
    direct.arg("configured").args(status);
    through.arg("configured").arg(must::inn()).args(["init", "--"]).args(status);
    let [direct, through] = [direct.output().unwrap(), through.output().unwrap()].map(|output| output.stdout);
    assert_eq!(String::from_utf8(through).unwrap(), String::from_utf8(direct).unwrap());
}

#[test]
fn the_command_of_init_keeps_directory_and_descriptors_and_init_does_not() {
    let script = "until [ \"$(readlink /proc/$PPID/cwd)\" = / ]; do :; done; pwd; cat <&9; ls -l /proc/$PPID/fd";
    let script = format!("cd /usr; exec 9<<<nine; exec \"$0\" init -- sh -c '{script}'");
    let output = Command::new("bash").args(["-c", &script]).arg(must::inn()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("/usr\nnine\n"), "{said}");
    // Beside standard input, output and error: the signals and the command. No terminal is here.
    let links: Vec<_> = said.lines().filter(|line| line.contains(" -> ")).skip(3).collect();
    assert!(links.iter().all(|link| link.contains("anon_inode:") || link.contains("/dev/tty")), "{said}");
}

#[test]
fn the_command_of_init_has_a_group_of_its_own_or_a_session() {
    for (option, same_session) in [("-c", true), ("--setsid", false)] {
        let heard = Heard::hearing(&[option]);
        let (own, theirs) = (stat(heard.pid()), stat(heard.others[0]));
        assert_eq!(theirs[2], heard.others[0].to_string(), "its group");
        assert_eq!(own[3] == theirs[3], same_session, "{option}");
    }
}

#[test]
fn the_command_of_init_finds_any_number_of_words_and_variables() {
    let mut command = Command::new(must::inn());
    command.args(["init", "--", "sh", "-c", "echo $# $LAST", "sh"]).args((0..3000).map(|number| number.to_string()));
    command.envs((0..3000).map(|number| (format!("VARIABLE_{number}"), "value"))).env("LAST", "there");
    assert_eq!(String::from_utf8(command.output().unwrap().stdout).unwrap(), "3000 there\n");
}

#[test]
fn descriptors_that_were_passed_to_init_are_passed_to_its_command() {
    let script = "exec \"$0\" init -- sh -c 'echo $LISTEN_PID $$ $LISTEN_FDS'";
    let listening = |pid: &str| {
        let script = format!("export LISTEN_PID={pid} LISTEN_FDS=1; {script}");
        let output = Command::new("sh").args(["-c", &script]).arg(must::inn()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        said.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let ours = listening("$$");
    assert_eq!((&ours[0], ours[2].as_str()), (&ours[1], "1"));
    assert_eq!(listening("1234567")[0], "1234567", "somebody else's");
}

// Signals.

#[test]
fn init_passes_every_signal_on() {
    // Two are the C library's own.
    let heard_by_itself = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, 32, 33];
    for option in ["-c", "-g", "--setsid"] {
        let mut heard = Heard::hearing(&[option]);
        for signal in (1..=64).filter(|signal| !heard_by_itself.contains(signal) && !STOPPING.contains(signal)) {
            heard.send(signal);
            assert_eq!(heard.line(), signal.to_string(), "{option}");
        }
    }
}

#[test]
fn a_signal_that_init_passes_on_ends_its_command() {
    for (pid_1, signal) in [(false, libc::SIGTERM), (false, libc::SIGUSR1), (true, libc::SIGTERM), (true, libc::SIGINT)]
    {
        let words = ["-c", "--", "sh", "-c", "echo up; exec sleep 1000"];
        let mut command = as_pid_1(&words);
        if !pid_1 {
            command = Command::new(must::inn());
            command.arg("init").args(words);
        }
        let mut heard = Heard::start(&mut command);
        assert_eq!(heard.line(), "up");
        let init = if pid_1 { children(heard.pid())[0] } else { heard.pid() };
        send(init, signal);
        assert_eq!(heard.code(), Some(128 + signal), "{pid_1}");
    }
}

#[test]
fn init_rewrites_and_drops_signals() {
    let (term, quit, cont, int) = (libc::SIGTERM, libc::SIGQUIT, libc::SIGCONT, libc::SIGINT);
    for (options, sent, heard_of) in [
        (&["-r", "15:2"][..], &[term, quit, cont, int][..], &[int, quit, cont, int][..]),
        (&["-r", "TERM:INT", "-r", "2:15", "-r", "3:3"], &[term, quit, cont, int], &[int, quit, cont, term]),
        (&["-r", "1:31", "--rewrite=31:1"], &[1, 31], &[31, 1]),
        (&["-r", "TERM:QUIT", "-r", "INT:0", "-r", "WINCH:0"], &[term, int, libc::SIGWINCH, 1], &[quit, 1]),
    ] {
        for mode in ["-c", "--setsid"] {
            let mut heard = Heard::hearing(&[&[mode], options].concat());
            let mut expected = heard_of.iter();
            for signal in sent {
                heard.send(*signal);
                // What is dropped is heard of by the next.
                let is_dropped = [int, libc::SIGWINCH].contains(signal) && options.contains(&"INT:0");
                if !is_dropped {
                    assert_eq!(heard.line(), expected.next().unwrap().to_string(), "{options:?}");
                }
            }
        }
    }
}

#[test]
fn a_signal_to_stop_stops_init_and_its_command_until_they_are_to_go_on() {
    for signal in STOPPING {
        // A session's processes are stopped whatever they think of it.
        let mut heard = Heard::hearing(&["--setsid"]);
        heard.send(signal);
        let (init, command) = (heard.pid(), heard.others[0]);
        await_state(init, &["T"]);
        await_state(command, &["T"]);
        heard.send(libc::SIGCONT);
        assert_eq!(heard.line(), libc::SIGCONT.to_string());
        await_state(init, &["S", "R"]);
        await_state(command, &["S", "R"]);
        // Others may deal with it.
        for (options, told) in [(&["-c"][..], signal), (&["--setsid", "-r", &format!("{signal}:1")], 1)] {
            let mut heard = Heard::hearing(options);
            heard.send(signal);
            assert_eq!(heard.line(), told.to_string());
            await_state(heard.pid(), &["T"]);
            heard.send(libc::SIGCONT);
            assert_eq!(heard.line(), libc::SIGCONT.to_string());
            await_state(heard.pid(), &["S", "R"]);
        }
    }
}

#[test]
fn init_signals_a_whole_group_where_it_is_asked_to() {
    let script = format!("{0} & exec {0}", hear().display());
    let both = |options: &[&str], variable: &str| {
        let mut command = Command::new(must::inn());
        command.arg("init").args(options).args(["sh", "-c", &script]);
        if !variable.is_empty() {
            command.env(variable, "1");
        }
        let mut heard = Heard::start(&mut command);
        heard.is_ready();
        heard.is_ready();
        heard.send(libc::SIGUSR1);
        assert_eq!(heard.line(), "10");
        heard.send(libc::SIGUSR2);
        heard.line()
    };
    for (options, variable) in
        [(&["-g"][..], ""), (&["--setsid"], ""), (&[], "TINI_KILL_PROCESS_GROUP"), (&[], "DUMB_INIT_SETSID")]
    {
        // Four lines come, two of each signal: the second is of the first, or of the other that was quicker.
        assert_ne!(both(options, variable), "", "{options:?} {variable}");
    }
    let mut heard = Heard::start(Command::new(must::inn()).args(["init", "-gs", "sh", "-c", &script]));
    heard.is_ready();
    heard.is_ready();
    heard.send(libc::SIGUSR1);
    assert_eq!([heard.line(), heard.line()], ["10", "10"]);
    // To the command alone, once it is asked for again.
    let mut heard = Heard::start(Command::new(must::inn()).args(["init", "-g", "-c", "sh", "-c", &script]));
    heard.is_ready();
    heard.is_ready();
    heard.send(libc::SIGUSR1);
    heard.send(libc::SIGUSR2);
    assert_eq!([heard.line(), heard.line()], ["10", "12"]);
}

#[test]
fn what_a_command_leaves_in_its_session_is_asked_to_end() {
    let script = format!("{} & read line", hear().display());
    // A signal of the test's own, which also comes where nothing else does: behind SIGTERM, for those that wait are heard
    // in the order of their numbers.
    let own = libc::SIGWINCH;
    for (option, told) in [("--setsid", libc::SIGTERM), ("-c", own)] {
        let mut heard = Heard::start(Command::new(must::inn()).args(["init", option, "sh", "-c", &script]));
        let left = heard.is_ready();
        heard.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert_eq!(heard.code(), Some(0));
        send(left, own);
        assert_eq!(heard.line(), told.to_string(), "{option}");
    }
}

#[test]
fn init_has_a_signal_sent_when_its_parent_ends() {
    let script = format!("\"$0\" init -p SIGUSR1 {} & wait", hear().display());
    let mut heard = Heard::start(Command::new("sh").args(["-c", &script]).arg(must::inn()));
    let command = heard.is_ready();
    let init: i32 = stat(command)[1].parse().unwrap();
    heard.others.push(init);
    heard.child.kill().unwrap();
    assert_eq!(heard.line(), libc::SIGUSR1.to_string());
}

#[test]
fn a_message_that_nobody_reads_is_no_signal_to_the_command() {
    let mut command = Command::new(must::inn());
    command.args(["init", "-vv", "--"]).arg(hear()).stderr(Stdio::piped());
    let mut heard = Heard::start(&mut command);
    heard.is_ready();
    drop(heard.child.stderr.take());
    for signal in [libc::SIGUSR1, libc::SIGUSR2] {
        heard.send(signal);
        assert_eq!(heard.line(), signal.to_string());
    }
}

// Orphans.

#[test]
fn init_reaps_what_is_orphaned() {
    let script = "i=0; while [ $i -lt 100 ]; do (true &); i=$((i+1)); done; echo up; read line; exit 5";
    let words = ["sh", "-c", script];
    let ordinary = |option: &str, variable: Option<&str>| {
        let mut command = Command::new(must::inn());
        command.args(["init", option]).args(words).envs(variable.map(|variable| (variable, "")));
        command
    };
    for (pid_1, mut command) in [
        (true, as_pid_1(&words)),
        (false, ordinary("-s", None)),
        (false, ordinary("-c", Some("TINI_SUBREAPER"))),
        (false, ordinary("-W", None)),
    ] {
        let mut heard = Heard::start(command.stderr(Stdio::piped()));
        assert_eq!(heard.line(), "up");
        let init = if pid_1 { children(heard.pid())[0] } else { heard.pid() };
        eventually(|| children(init).len() == 1, "orphans stay");
        heard.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert_eq!(heard.code(), Some(5));
        let mut said = String::new();
        heard.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "");
    }
}

#[test]
fn init_that_cannot_reap_orphans_warns() {
    let warning = "this is not PID 1";
    assert!(errors(&inn(&["init", "true"])).contains(warning));
    for quiet in [&mut Command::new(must::inn()), as_pid_1(&["true"]).env("A", "B")] {
        let is_pid_1 = quiet.get_program() != must::inn();
        if !is_pid_1 {
            quiet.args(["init", "true"]).env("TINI_VERBOSITY", "0");
        }
        let said = errors(&quiet.output().unwrap());
        assert_eq!(said, "");
    }
    // Who started it has made it one already.
    let nested = inn(&["init", "-s", "--", "sh", "-c", "exec true"]);
    assert_eq!(errors(&nested), "");
}

#[test]
fn init_tells_what_it_reaps_where_it_is_asked_to() {
    // Until it has no child but this shell: what the shell runs by itself is called like the shell.
    let script = "(true &); until [ \"$(pgrep -P $PPID)\" = $$ ]; do :; done";
    let output = as_pid_1(&["-w", "sh", "-c", script]).output().unwrap();
    assert!(errors(&output).contains("inn: init: reaped process "), "{}", errors(&output));
    let output = as_pid_1(&["sh", "-c", script]).output().unwrap();
    assert_eq!(errors(&output), "");
}

#[test]
fn init_waits_for_what_it_adopted_where_it_is_asked_to() {
    // What is adopted is in no group of the command's.
    let adopted = "trap \"echo heard; exit\" TERM; echo up; while :; do sleep 0.02; done";
    let script = format!("setsid sh -c '{adopted}' & exit 7");
    let words = ["-W", "sh", "-c", &script];
    let mut ordinary = Command::new(must::inn());
    ordinary.arg("init").args(words);
    for (pid_1, mut command) in [(true, as_pid_1(&words)), (false, ordinary)] {
        let mut heard = Heard::start(&mut command);
        assert_eq!(heard.line(), "up");
        let init = if pid_1 { children(heard.pid())[0] } else { heard.pid() };
        // The command is gone, and its end has been heard of: what leads a session is the only child.
        let is_adopted = |pid: &i32| stat(*pid).get(3).is_some_and(|session| *session == pid.to_string());
        eventually(|| matches!(&children(init)[..], [pid] if is_adopted(pid)), "it stays");
        send(init, libc::SIGTERM);
        assert_eq!(heard.line(), "heard");
        assert_eq!(heard.code(), Some(7));
    }
    assert_eq!(inn(&["init", "-W", "sh", "-c", "exit 8"]).status.code(), Some(8), "nothing was adopted");
}

#[test]
fn init_that_pauses_reaps_until_it_is_asked_to_end() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut heard = Heard::start(&mut as_pid_1(&["-P"]));
        eventually(|| !children(heard.pid()).is_empty(), "it starts");
        let init = children(heard.pid())[0];
        let namespace = format!("/proc/{init}/ns/pid");
        let enter = |script: &str| {
            let mut command = Command::new("nsenter");
            command.arg(format!("--pid={namespace}")).args(["sh", "-c", script]);
            assert!(command.status().unwrap().success());
        };
        eventually(
            || std::fs::read_link(format!("/proc/{init}/cwd")).is_ok_and(|path| path == Path::new("/")),
            "it runs",
        );
        enter("(true &)");
        eventually(|| children(init).is_empty(), "orphans stay");
        send(init, libc::SIGHUP);
        send(init, signal);
        assert_eq!(heard.code(), Some(0));
    }
}

#[test]
fn init_waits_without_ever_waking_up() {
    let heard = Heard::hearing(&["-s"]);
    // poll(2) without a time-out: its third argument is no place.
    let waits = || {
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", heard.pid())).unwrap();
        let words: Vec<_> = call.split_whitespace().collect();
        words.len() > 4 && words[3] == "0x0"
    };
    eventually(waits, "it waits");
}

// Words.

#[test]
fn init_says_what_it_does_where_it_is_asked_to() {
    let script = "kill -USR1 $PPID; read line";
    let mut command = Command::new(must::inn());
    command.args(["init", "-s", "-vv", "-r", "USR1:0", "sh", "-c", script]).stderr(Stdio::piped());
    let mut heard = Heard::start(&mut command);
    let mut lines = BufReader::new(heard.child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let pid = first.strip_prefix("inn: init: started process ").unwrap_or_else(|| panic!("{first}")).to_owned();
    assert_eq!(lines.next().unwrap(), "inn: init: signal 10: dropped");
    heard.send(libc::SIGTERM);
    assert_eq!(lines.next().unwrap(), "inn: init: signal 15: passing on 15");
    assert_eq!(lines.next().unwrap(), format!("inn: init: process {pid} died of signal 15"));
    assert_eq!(heard.code(), Some(143));
    // Once: the command alone. By the environment too.
    let once = errors(&inn(&["init", "-s", "-v", "true"]));
    assert_eq!(once.lines().count(), 2, "{once}");
    let output = Command::new(must::inn()).args(["init", "-s", "true"]).env("DUMB_INIT_DEBUG", "1").output().unwrap();
    assert_eq!(errors(&output).lines().count(), 2);
}

#[test]
fn init_says_its_license() {
    for words in [&["init", "-l"][..], &["init", "--license"]] {
        let output = inn(words);
        assert_eq!((output.status.code(), output.stdout), (Some(0), b"MIT OR Apache-2.0\n".to_vec()));
    }
}

// Terminals.

#[test]
fn init_on_a_terminal_gives_it_to_its_command() {
    let mut terminal = Terminal::start(&["init", "sh"]);
    terminal.types("trap 'echo caught''-it' INT; echo trap''ped\n");
    terminal.shows("trapped");
    terminal.types("\x03:\n");
    terminal.shows("caught-it");
    terminal.types("(trap - INT; echo sl''eeps; exec sleep 100); echo ended-$?-\n");
    terminal.shows("sleeps");
    terminal.types("\x03");
    terminal.shows("ended-130-");
    terminal.types("exit 6\n");
    assert_eq!(terminal.code(), Some(6));
}

#[test]
fn a_shell_of_init_has_job_control() {
    for option in ["-c", "--setsid"] {
        let mut terminal = Terminal::start(&["init", option, "bash", "--norc", "-m"]);
        terminal.types("echo \"flags: [[$-]]\"; exit 0\n");
        terminal.shows("flags: [[");
        assert_eq!(terminal.code(), Some(0));
        terminal.shows("]]");
        assert!(!terminal.text().contains("no job control"), "{}", terminal.text());
    }
}

#[test]
fn what_comes_of_a_terminal_s_handing_over_is_not_passed_on() {
    let mut terminal = Terminal::start(&["init", "-s", "--setsid", hear().to_str().unwrap()]);
    terminal.shows("\n");
    let command = terminal.text().trim_start_matches("ready ").trim_end().parse().unwrap();
    // The kernel has sent SIGHUP and SIGCONT to who led the session. Of what is sent now nothing is kept back.
    for signal in [libc::SIGHUP, libc::SIGCONT] {
        send(terminal.child.id() as i32, signal);
        terminal.shows(&format!("\n{signal}\r\n"));
    }
    send(command, libc::SIGKILL);
    assert_eq!(terminal.code(), Some(137));
    assert_eq!(terminal.text().lines().count(), 3, "{}", terminal.text());
}

#[test]
fn a_signal_is_passed_on_that_comes_before_init_has_dealt_with_the_handing_over() {
    // It says that the command has started before it hears of any signal: here it has to wait for room to say so.
    let path = must::target().join(format!("tmp/init-errors-{}", std::process::id()));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let errors =
        rustix::fs::open(path.to_str().unwrap(), OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
            .unwrap();
    while rustix::io::write(&errors, &[b'.'; 4096]).is_ok() {}
    let (inn, hear) = (must::inn().display(), hear().display());
    let script = format!("exec {inn} init -s -vv --setsid {hear} 2>{}", path.display());
    let mut terminal = Terminal::start_program(Path::new("sh"), &["-c", &script]);
    terminal.shows("\n");
    let command = terminal.text().trim_start_matches("ready ").trim_end().parse().unwrap();
    send(terminal.child.id() as i32, libc::SIGHUP);
    while rustix::io::read(&errors, &mut [0; 4096]).is_ok() {}
    terminal.shows(&format!("\n{}\r\n", libc::SIGHUP));
    send(command, libc::SIGKILL);
    assert_eq!(terminal.code(), Some(137));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_rest_of_a_script_has_the_terminal_that_init_had() {
    let script = format!("{} init -- true; read line; echo got-$line", must::inn().display());
    let mut terminal = Terminal::start_program(Path::new("sh"), &["-c", &script]);
    terminal.types("it\n");
    terminal.shows("got-it");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn init_in_the_background_takes_no_terminal() {
    let own = format!("{} init -- sh -c 'cut -d\" \" -f5,8 /proc/$$/stat; sleep 0' ", must::inn().display());
    let groups = |script: &str| {
        let mut terminal = Terminal::start_program(Path::new("bash"), &["-mc", script]);
        terminal.shows("over");
        assert_eq!(terminal.code(), Some(0));
        let text = terminal.text().to_owned();
        let line = text.lines().find(|line| line.chars().all(|c| c.is_ascii_digit() || c == ' ')).unwrap_or_default();
        line.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let there = groups(&format!("{own}; echo over"));
    assert_eq!(there[0], there[1], "the command has the foreground");
    let behind = groups(&format!("{own} & wait; echo over"));
    assert_ne!(behind[0], behind[1], "the command has no foreground");
}

#[test]
fn a_command_that_is_suspended_at_its_terminal_goes_on_with_init() {
    let command = format!("{} init -- sh -c 'echo u\"\"p; read line; echo got-$line'\n", must::inn().display());
    let mut terminal = Terminal::start_program(Path::new("bash"), &["--norc", "-i"]);
    terminal.types(&command);
    terminal.shows("up\r\n");
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types("fg\n");
    terminal.types("it\n");
    terminal.shows("got-it");
    terminal.types("exit\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_command_that_nobody_could_let_go_on_is_not_suspended() {
    let mut terminal = Terminal::start(&["init", "sh", "-c", "echo up; read line; echo got-$line"]);
    terminal.shows("up\r\n");
    terminal.types("\x1a");
    terminal.types("it\n");
    terminal.shows("got-it");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_command_on_a_terminal_reads_and_writes_it() {
    let mut terminal = Terminal::start(&["init", "tac"]);
    terminal.types("1\n2\n3\n\x04\x04");
    terminal.shows("3\r\n2\r\n1\r\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn started_by_hand_init_hands_its_input_on() {
    let mut child = started(&["init", "-s", "sh", "-c", "echo up; read line; exit $line"]);
    child.stdin.take().unwrap().write_all(b"9\n").unwrap();
    assert_eq!(end(&mut child), Some(9));
}

#[test]
fn called_by_the_name_of_a_containers_init_it_is_one() {
    let directory = must::target().join(format!("tmp/names-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    // dumb-init alone gives its command a session without being asked.
    let leads = "test $(ps -o sid= -p $$) = $$; echo $?; exit 7";
    for (name, expected) in [("tini", "1\n"), ("docker-init", "1\n"), ("catatonit", "1\n"), ("dumb-init", "0\n")] {
        let program = directory.join(name);
        let _ = std::fs::remove_file(&program);
        std::os::unix::fs::symlink(must::inn(), &program).unwrap();
        let run = |words: &[&str]| {
            let output = Command::new(&program).args(words).stdin(Stdio::null()).output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        for dashes in [&["--"][..], &[]] {
            assert_eq!(run(&[dashes, &["sh", "-c", leads]].concat()), (Some(7), expected.to_owned()), "{name}");
        }
        assert_eq!(run(&["-V"]), run(&["--version"]));
        assert!(run(&["--version"]).1.starts_with("inn "), "{name}");
        assert!(run(&["--help"]).1.contains("inn init"), "{name}");
        // A verb is a program like any other.
        assert_eq!(run(&["list"]).0, Some(127), "{name}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_script_that_does_not_say_whose_it_is_is_the_shells() {
    let directory = must::target().join(format!("tmp/script-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let script = directory.join("script");
    must::script(&script, "echo \"$0 $*\"\n");
    let output =
        Command::new(must::inn()).args(["init", "script", "a b", "c"]).env("PATH", &directory).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{} a b c\n", script.display()));
    assert_eq!(output.status.code(), Some(0));
    std::fs::remove_dir_all(&directory).unwrap();
}
