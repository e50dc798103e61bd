//! What is under way when a supervisor dies, or comes while nobody is there: it goes on, and nothing of it is lost.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Output, Stdio};

use crate::death::{GOES_ON, kill, said, send};
use crate::foreground::Terminal;
use crate::must;
use crate::private::{Supervisor, busybox};
use crate::ready::{app, root};

/// Kills the supervisor when it does nothing, and has `meanwhile` happen before its program is there again.
fn in_the_gap(supervisor: &Supervisor, meanwhile: impl FnOnce()) {
    let lives = said(supervisor, GOES_ON);
    let is = |state: &str| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", supervisor.pid())).unwrap();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(state))
    };
    supervisor.wait_for("it to be idle", |_| is("S"));
    send(supervisor.pid(), "-STOP");
    supervisor.wait_for("it to stand still", |_| is("T"));
    meanwhile();
    send(supervisor.pid(), "-SEGV");
    send(supervisor.pid(), "-CONT");
    supervisor.wait_for("its next life", |this| said(this, GOES_ON) > lives);
    supervisor.await_answer();
}

fn start(name: &str, config: &str) -> Option<Supervisor> {
    let supervisor = must::root(name).then(|| Supervisor::start(name, config))?;
    supervisor.await_answer();
    Some(supervisor)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn await_state(supervisor: &Supervisor, guest: &str, wanted: &str) {
    supervisor.wait_for(&format!("{guest} to be {wanted}"), |this| this.facts(guest)["state"] == wanted);
}

fn touch(root: &Path, name: &str) {
    fs::write(root.join("tmp").join(name), "").unwrap();
}

fn await_file(supervisor: &Supervisor, root: &Path, name: &str) {
    supervisor.wait_for(name, |_| root.join("tmp").join(name).exists());
}

/// A root whose `/tmp` is the host's to look at.
fn shared(name: &str) -> (std::path::PathBuf, String) {
    let root = root(name);
    let shared = root.join("tmp");
    for entry in fs::read_dir(&shared).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let keys = format!("bind = {} /tmp/shared rw\nuserns = none\nstop = SIGKILL\n", shared.display());
    (root, keys)
}

#[test]
fn what_guests_say_and_how_they_end_while_nobody_is_there_is_heard() {
    if !must::root("what_guests_say_and_how_they_end_while_nobody_is_there_is_heard") {
        return;
    }
    let (root, keys) = shared("gap");
    let ready = format!("{keys}ready = notify\n");
    let go = "await:/tmp/shared/go";
    let config = app("notifies", &root, &format!("{go} notify:READY=1;STATUS=hello touch:/tmp/shared/notified wait"), &ready)
        + &app("prints", &root, &format!("{go} print:meanwhile touch:/tmp/shared/printed wait"), &keys)
        + &app("ends", &root, &format!("{go} touch:/tmp/shared/ends exit:3"), &format!("{keys}restart = never\n"))
        + &app("again", &root, "await:/tmp/shared/go exit:4", &format!("{keys}restart-delay = 1h 1h\n"))
        + &app("trigger", &root, &format!("notify:READY=1 {go} notify:WATCHDOG=trigger touch:/tmp/shared/trigger wait"), &format!("{ready}restart = never\n"))
        + "[service fd]\nready = fd 5\ncommand = /bin/sh -c \"until test -e ROOT/tmp/go; do sleep 0.01; done; echo >&5; echo > ROOT/tmp/fd; exec sleep 1000\"\n"
            .replace("ROOT", root.to_str().unwrap()).as_str();
    let Some(supervisor) = start("gap", &config) else { return };
    for guest in ["notifies", "prints", "ends", "again", "fd"] {
        supervisor.wait_for("its program", |this| this.facts(guest)["pid"].as_u64().is_some_and(|pid| pid > 0));
    }
    supervisor.await_ready("prints");
    supervisor.await_ready("trigger");
    in_the_gap(&supervisor, || {
        touch(&root, "go");
        for name in ["notified", "printed", "ends", "trigger", "fd"] {
            await_file(&supervisor, &root, name);
        }
    });
    assert_eq!(supervisor.await_ready("notifies")["said"], "hello");
    supervisor.await_ready("fd");
    supervisor.wait_for("its line", |this| this.inn(&["logs", "prints"]).stdout == b"meanwhile\n");
    await_state(&supervisor, "ends", "failed");
    assert_eq!(supervisor.facts("ends")["exit_code"], 3);
    await_state(&supervisor, "again", "delayed");
    await_state(&supervisor, "trigger", "failed");
    assert!(supervisor.log().contains("guest trigger: not well"), "{}", supervisor.log());
    // The pause before the next start goes on too.
    let facts = supervisor.facts("again");
    kill(&supervisor, "-SEGV", GOES_ON);
    let after = supervisor.facts("again");
    assert_eq!(
        (&after["state"], &after["exit_code"], &after["restarts"]),
        (&"delayed".into(), &4.into(), &facts["restarts"])
    );
    assert!(after["next_start_ms"].as_u64() <= facts["next_start_ms"].as_u64(), "{facts} {after}");
}

#[test]
fn every_time_that_runs_runs_on() {
    if !must::root("every_time_that_runs_runs_on") {
        return;
    }
    let root = root("times");
    let config = app("deaf", &root, "deaf notify:READY=1 wait", "ready = notify\nstop = SIGTERM 2s SIGKILL")
        + &app("late", &root, "wait", "ready = notify within 3s\nrestart = never\nstop = SIGKILL")
        + &app(
            "silent",
            &root,
            "notify:READY=1;WATCHDOG_USEC=2500000 wait",
            "ready = notify\nrestart = never\nstop = SIGKILL",
        )
        + &app("often", &root, "exit:1", "restart-delay = 1s 1s\ngive-up = after 3 within 1m then stop")
        + "[service slow]\ncommand = /bin/sleep 1000\nready = command /bin/sleep 1000 within 3s\nrestart = never\n";
    let Some(supervisor) = start("times", &config) else { return };
    supervisor.await_ready("deaf");
    // What is on its way is waited for by what stays so: each of these times may be over before it is looked at.
    let told = |words: &str| supervisor.wait_for(words, |this| said(this, words) > 0);
    told("guest silent: ready");
    let stop = supervisor.command(&["stop", "deaf"]).stderr(Stdio::piped()).spawn().unwrap();
    told("guest deaf: stopping");
    supervisor.wait_for("its first end", |this| this.facts("often")["exit_code"] == 1);
    kill(&supervisor, "-SEGV", GOES_ON);
    supervisor.wait_for("its second start", |this| this.facts("often")["restarts"].as_u64() > Some(0));
    kill(&supervisor, "-SEGV", GOES_ON);
    // Who waited has asked once more.
    let stopped = stop.wait_with_output().unwrap();
    assert!(stopped.status.success() || text(&stopped).contains("ask again"), "{stopped:?}");
    await_state(&supervisor, "deaf", "down");
    assert_eq!(supervisor.facts("deaf")["exit_signal"], 9, "{}", supervisor.facts("deaf"));
    for guest in ["late", "slow", "silent", "often"] {
        await_state(&supervisor, guest, "failed");
    }
    let log = supervisor.log();
    assert!(log.contains("guest often: ended 3 times within"), "{log}");
    assert!(log.contains("guest silent: not well, stopping: it has not said WATCHDOG=1 in time"), "{log}");
    assert_eq!(supervisor.facts("often")["restarts"], 2);
}

#[test]
fn a_supervisor_that_ends_dies_and_ends() {
    let (slow, go) = crate::reload::slow("dies-ending");
    let config = slow + "[service other]\ncommand = /bin/sleep 1000\n";
    let Some(mut supervisor) = start("dies-ending", &config) else { return };
    supervisor.await_ready("slow");
    send(supervisor.pid(), "-TERM");
    await_state(&supervisor, "slow", "stopping");
    let lives = said(&supervisor, GOES_ON);
    send(supervisor.pid(), "-SEGV");
    supervisor.wait_for("its next life", |this| said(this, GOES_ON) > lives);
    fs::write(go, "").unwrap();
    assert_eq!(supervisor.wait().code(), Some(0), "{}", supervisor.log());
    assert_eq!(supervisor.processes(), Vec::<u32>::new());
    assert!(supervisor.cgroups().is_empty());
}

/// A client whose lines are read.
struct Lines {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Lines {
    fn of(supervisor: &Supervisor, arguments: &[&str]) -> Lines {
        let mut child = supervisor.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Lines { child, lines }
    }

    fn until(&mut self, words: &str) {
        assert!(self.lines.any(|line| line.is_ok_and(|line| line.contains(words))), "{words:?} never came");
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn consoles_followers_and_commands_inside_stay() {
    if !must::root("consoles_followers_and_commands_inside_stay") {
        return;
    }
    let config = format!(
        "[guest box]\nkind = os\nroot = {0}\nreadonly = yes\nstop = SIGKILL\nrestart = always\nrestart-delay = 10ms 10ms\n\
         command = /bin/sh -c \"echo u''p; while read line; do echo got $line; done\"\n\
         [guest app]\nkind = app\nroot = {0}\ncommand = /bin/sh -c \"exec sleep 1000\"\n",
        busybox("stay").display()
    );
    let Some(supervisor) = start("stay", &config) else { return };
    supervisor.await_ready("box");
    supervisor.await_ready("app");
    let socket = supervisor.directory.join("control").display().to_string();
    let mut terminal = Terminal::start(&["console", "--socket", &socket, "box"]);
    terminal.shows("detaches");
    let mut logs = Lines::of(&supervisor, &["logs", "-f", "box"]);
    let mut events = Lines::of(&supervisor, &["events", "-f"]);
    let (inside, done) = (supervisor.directory.join("inside"), supervisor.directory.join("done"));
    let mut exec = supervisor
        .command(&["exec", "app", "/bin/sh", "-c", "echo in; read x; exit $x"])
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&inside).unwrap())
        .stderr(fs::File::create(&done).unwrap())
        .spawn()
        .unwrap();
    supervisor.wait_for("it to be inside", |_| fs::read(&inside).unwrap() == b"in\n");
    for (number, signal) in ["-SEGV", "-ABRT"].into_iter().enumerate() {
        terminal.types(&format!("before {number}\r"));
        terminal.shows(&format!("got before {number}\r\n"));
        in_the_gap(&supervisor, || terminal.types(&format!("meanwhile {number}\r")));
        terminal.shows(&format!("got meanwhile {number}\r\n"));
        logs.until(&format!("got meanwhile {number}"));
        if number == 0 {
            assert!(supervisor.inn(&["upgrade", "--quiet"]).status.success());
            terminal.types("upgraded\r");
            terminal.shows("got upgraded\r\n");
        } else {
            send(supervisor.pid(), signal);
        }
    }
    // Its end, and its next terminal, are told to who watches since before.
    send(supervisor.facts("box")["pid"].as_u64().unwrap() as u32, "-KILL");
    terminal.shows("box: started again");
    terminal.types("new\r");
    terminal.shows("got new\r\n");
    events.until("\"box\"");
    use std::io::Write;
    exec.stdin.take().unwrap().write_all(b"7\n").unwrap();
    assert_eq!(exec.wait().unwrap().code(), Some(7), "{}", fs::read_to_string(&done).unwrap());
    terminal.types("\x1d");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_question_is_asked_once_more_and_who_changed_something_is_told_to_look() {
    let Some(supervisor) = start("ask-again", "[service one]\ncommand = /bin/sleep 1000\n") else { return };
    supervisor.await_ready("one");
    let mut clients = Vec::new();
    in_the_gap(&supervisor, || {
        let words: [&[&str]; 5] =
            [&["list", "--plain"], &["status", "one"], &["version"], &["start", "--wait", "one"], &["restart", "one"]];
        for arguments in words {
            let mut command = supervisor.command(arguments);
            clients.push((arguments, command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()));
        }
        // Each has asked: it is asleep, and the connection waits to be taken.
        for (arguments, client) in &clients {
            let wchan = || fs::read_to_string(format!("/proc/{}/stat", client.id())).unwrap();
            supervisor.wait_for(&format!("{arguments:?} to wait"), |_| {
                wchan().rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
            });
        }
    });
    // Nobody had taken these connections, so none of them was lost.
    for (arguments, client) in clients {
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_change_under_way_is_told_as_cut_off_and_a_reload_is_done() {
    let config = "[service one]\ncommand = /bin/sleep 1000\n";
    let Some(supervisor) = start("change-cut", config) else { return };
    let pid = supervisor.await_ready("one")["pid"].clone();
    fs::write(supervisor.directory.join("inn.conf"), format!("{config}[service two]\ncommand = /bin/sleep 1000\n"))
        .unwrap();
    let held = crate::reload::Held::new(&supervisor);
    send(supervisor.pid(), "-HUP");
    // It stands still while the supervisor dies.
    let reader = crate::reload::reader(&supervisor);
    let lives = said(&supervisor, GOES_ON);
    send(supervisor.pid(), "-SEGV");
    supervisor.wait_for("it to be gone", |this| !this.processes().contains(&reader));
    drop(held);
    supervisor.wait_for("its next life", |this| said(this, GOES_ON) > lives);
    supervisor.await_ready("two");
    assert_eq!(supervisor.facts("one")["pid"], pid);
    assert!(supervisor.inn(&["upgrade", "--quiet"]).status.success());
    // A client that changes something is told that nobody knows whether it is done.
    let held = crate::reload::Held::new(&supervisor);
    let client = supervisor.command(&["reload"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    crate::reload::reader(&supervisor);
    kill(&supervisor, "-SEGV", GOES_ON);
    drop(held);
    let output = client.wait_with_output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the server closed the connection\n  one that dies or is replaced goes on"), "{said}");
    let set = supervisor.inn(&["set", "one", "oom-score", "7"]);
    assert!(set.status.success(), "{set:?}");
}

#[test]
fn log_files_have_every_line_once_across_deaths() {
    if !must::root("log_files_have_every_line_once_across_deaths") {
        return;
    }
    let directory = crate::private::closed().join(format!("inn-test-death-files-{}", std::process::id()));
    let config = format!(
        "[host]\nlog-size = 4M\n[service counts]\nlog = {}/counts.log 64K 20\n\
         command = /bin/sh -c \"i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done; exec sleep 1000\"\n",
        directory.display()
    );
    let Some(supervisor) = start("death-files", &config) else { return };
    let writer = || {
        let is = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "inn-log\n");
        supervisor.processes().into_iter().filter(is).collect::<Vec<_>>()
    };
    supervisor.wait_for("who writes", |_| writer().len() == 1);
    for _ in 0..8 {
        kill(&supervisor, "-SEGV", GOES_ON);
        assert!(supervisor.inn(&["upgrade", "--quiet"]).status.success(), "{}", supervisor.log());
    }
    let all = || {
        let name = |number: u32| match number {
            0 => directory.join("counts.log"),
            number => directory.join(format!("counts.log.{number}")),
        };
        let read = |number| fs::read_to_string(name(number)).unwrap_or_default();
        (0..20).rev().map(read).collect::<String>()
    };
    supervisor.wait_for("the last line", |_| all().ends_with(" 20000\n"));
    let text = all();
    let found: Vec<u32> = text.lines().map(|line| line[28..].parse().unwrap_or_else(|_| panic!("{line}"))).collect();
    let right = found.iter().zip(1..).take_while(|&(found, line)| *found == line).count();
    assert_eq!((right, found.get(right)), (20_000, None), "as many lines are right, and then comes another");
}
