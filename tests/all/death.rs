//! The death of a supervisor by a fault: it goes on in its own program, and no guest notices.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::machine::{Machine, Recipe};
use crate::must;
use crate::private::Supervisor;

fn send(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn said(supervisor: &Supervisor, words: &str) -> usize {
    supervisor.log().matches(words).count()
}

/// Kills it by `signal`, and waits until it has gone on.
fn kill(supervisor: &Supervisor, signal: &str, words: &str) {
    let before = said(supervisor, words);
    send(supervisor.pid(), signal);
    supervisor.wait_for("its next life", |this| said(this, words) > before);
    supervisor.await_answer();
}

const GOES_ON: &str = "died and goes on";

#[test]
fn a_supervisor_that_faults_goes_on_with_its_guests() {
    if !must::root("a_supervisor_that_faults_goes_on_with_its_guests") {
        return;
    }
    let mut supervisor = Supervisor::start(
        "death",
        "[service steady]\ncommand = /bin/sh -c \"echo one; read x < $0.fifo; echo two; exec sleep 1000\"\n\
         [service ready]\ncommand = /bin/sh -c \"echo >&5; exec sleep 1000\"\nready = fd 5\n\
         [service ended]\ncommand = /bin/sh -c \"exit 3\"\nrestart = never\n\
         [service off]\ncommand = /bin/sleep 1000\nautostart = no\n",
    );
    supervisor.await_answer();
    supervisor.await_ready("steady");
    supervisor.await_ready("ready");
    supervisor.wait_for("an end", |this| this.facts("ended")["state"] == "failed");
    let before = ["steady", "ready", "ended", "off"].map(|name| supervisor.facts(name));
    for signal in ["-SEGV", "-ABRT"] {
        kill(&supervisor, signal, GOES_ON);
        let after = ["steady", "ready", "ended", "off"].map(|name| supervisor.facts(name));
        for (before, after) in before.iter().zip(&after) {
            for key in ["state", "pid", "restarts", "exit_code"] {
                assert_eq!(before[key], after[key], "{key} of {before}\n{}", supervisor.log());
            }
        }
    }
    // Its cgroup is still its own.
    let config = supervisor.directory.join("inn.conf");
    let other = supervisor.directory.join("other");
    let [config, other] = [&config, &other].map(|path| path.to_str().unwrap());
    let output = supervisor.inside(&["supervise", "--config", config, "--socket", other]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("another supervisor has its guests"), "{output:?}");
    assert!(supervisor.inn(&["start", "off"]).status.success());
    assert!(supervisor.inn(&["restart", "steady"]).status.success());
    send(supervisor.pid(), "-TERM");
    assert_eq!(supervisor.wait().code(), Some(0), "{}", supervisor.log());
    assert_eq!(supervisor.processes(), Vec::<u32>::new());
}

/// Puts `file` in its place.
fn upgrade(supervisor: &Supervisor, file: &std::path::Path) -> std::process::Output {
    supervisor.inn(&["upgrade", file.to_str().unwrap()])
}

/// A copy of the program, beside the config.
fn copy(supervisor: &Supervisor) -> std::path::PathBuf {
    let file = supervisor.directory.join("inn-new");
    std::fs::copy(must::inn(), &file).unwrap();
    file
}

fn host(supervisor: &Supervisor) -> serde_json::Value {
    serde_json::from_slice(&supervisor.inn(&["status", "--json"]).stdout).unwrap()
}

#[test]
fn a_program_that_takes_the_supervisors_place_has_its_guests() {
    if !must::root("a_program_that_takes_the_supervisors_place_has_its_guests") {
        return;
    }
    let supervisor = Supervisor::start(
        "upgrade",
        "[service one]\ncommand = /bin/sleep 1000\n\
         [service two]\ncommand = /bin/sh -c \"while read line; do echo $line; done < words\"\ndirectory = /\n\
         [service late]\ncommand = /bin/sh -c \"sleep 0.3; echo >&5; exec sleep 1000\"\nready = fd 5\n",
    );
    supervisor.await_answer();
    let before = supervisor.await_ready("one");
    let file = copy(&supervisor);
    let output = upgrade(&supervisor, &file);
    assert!(output.status.success(), "{output:?}\n{}", supervisor.log());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("the supervisor is innkeep ") && said.contains("inn-new"), "{said}");
    let exe = std::fs::read_link(format!("/proc/{}/exe", supervisor.pid())).unwrap();
    assert_eq!(exe, file);
    let after = supervisor.await_ready("one");
    assert_eq!((&before["pid"], &before["restarts"]), (&after["pid"], &after["restarts"]));
    supervisor.await_ready("late");
    assert_eq!(supervisor.facts("late")["restarts"], 0);
    // Without a name it is what is there now: the same.
    assert!(supervisor.inn(&["upgrade"]).status.success(), "{}", supervisor.log());
    let host = host(&supervisor);
    assert_eq!((&host["replaced"], &host["died"], &host["safe_mode"]), (&2.into(), &0.into(), &false.into()));
    assert_eq!(std::fs::read_to_string(format!("/proc/{}/comm", supervisor.pid())).unwrap(), "inn\n");
    assert!(supervisor.inn(&["restart", "one"]).status.success());
}

#[test]
fn a_program_that_could_not_go_on_does_not_come() {
    if !must::root("a_program_that_could_not_go_on_does_not_come") {
        return;
    }
    let supervisor = Supervisor::start("upgrade-no", "[service one]\ncommand = /bin/sleep 1000\n");
    supervisor.await_answer();
    let before = supervisor.await_ready("one");
    let file = supervisor.directory.join("other");
    let refused = |what: &str, words: &str| {
        let output = upgrade(&supervisor, &file);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(said.contains(words) && said.contains("nothing"), "{what}: {said}");
        let exe = std::fs::read_link(format!("/proc/{}/exe", supervisor.pid())).unwrap();
        assert_eq!(exe, must::inn(), "{what}");
        assert_eq!(supervisor.facts("one")["pid"], before["pid"], "{what}");
        let _ = std::fs::remove_file(&file);
    };
    refused("nothing", "ENOENT");
    std::fs::write(&file, "#!/bin/sh\nexit 0\n").unwrap();
    refused("not executable", "EACCES");
    std::fs::write(&file, "#!/bin/sh\nexit 0\n").unwrap();
    assert!(Command::new("chmod").arg("755").arg(&file).status().unwrap().success());
    refused("a script", "no program");
    std::fs::copy("/bin/true", &file).unwrap();
    refused("not static", "not static");
    std::fs::copy(crate::private::busybox("upgrade-busybox").join("bin/sleep"), &file).unwrap();
    refused("another program, which exits", "does not answer");
    let mut bytes = std::fs::read(must::inn()).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::copy(must::inn(), &file).unwrap();
    std::fs::write(&file, &bytes).unwrap();
    refused("half of it", "");
    std::fs::create_dir(&file).unwrap();
    let output = upgrade(&supervisor, &file);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    std::fs::remove_dir(&file).unwrap();
    // The config says otherwise, or nothing.
    let config = supervisor.directory.join("inn.conf");
    std::fs::copy(must::inn(), &file).unwrap();
    std::fs::write(&config, "[service one]\ncommand = /bin/sleep 2000\n").unwrap();
    refused("another config", "says otherwise");
    std::fs::copy(must::inn(), &file).unwrap();
    std::fs::write(&config, "[service one\n").unwrap();
    let output = upgrade(&supervisor, &file);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    // Of itself it needs neither.
    kill(&supervisor, "-BUS", GOES_ON);
    std::fs::remove_file(&config).unwrap();
    assert!(supervisor.inn(&["upgrade"]).status.success(), "{}", supervisor.log());
    assert_eq!(supervisor.facts("one")["pid"], before["pid"]);
}

#[test]
fn one_that_dies_three_times_within_a_minute_starts_nothing_more_until_it_is_replaced() {
    if !must::root("one_that_dies_three_times_within_a_minute_starts_nothing_more_until_it_is_replaced") {
        return;
    }
    let supervisor = Supervisor::start(
        "safe",
        "[service one]\ncommand = /bin/sleep 1000\n\
         [service two]\ncommand = /bin/sleep 1000\nautostart = no\n\
         [service ends]\ncommand = /bin/sh -c \"sleep 0.2\"\nrestart = always\nrestart-delay = 10ms 10ms\n",
    );
    supervisor.await_answer();
    let before = supervisor.await_ready("one");
    kill(&supervisor, "-FPE", GOES_ON);
    kill(&supervisor, "-ILL", GOES_ON);
    assert_eq!(host(&supervisor)["safe_mode"], false);
    kill(&supervisor, "-SEGV", "safe mode");
    assert_eq!((&host(&supervisor)["safe_mode"], &host(&supervisor)["died"]), (&true.into(), &3.into()));
    let words = String::from_utf8(supervisor.inn(&["status"]).stdout).unwrap();
    assert!(words.contains("safe mode") && words.contains("3 by death"), "{words}");
    let output = supervisor.inn(&["start", "two"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("inn upgrade"), "{output:?}");
    supervisor.wait_for("its end", |this| this.facts("ends")["state"] == "waiting");
    assert_eq!(supervisor.facts("one")["pid"], before["pid"]);
    assert!(supervisor.inn(&["stop", "one"]).status.success());
    kill(&supervisor, "-SEGV", "safe mode");
    assert!(supervisor.inn(&["upgrade"]).status.success(), "{}", supervisor.log());
    assert_eq!(host(&supervisor)["safe_mode"], false);
    assert!(supervisor.inn(&["start", "two"]).status.success());
    supervisor.wait_for("a start", |this| this.facts("ends")["state"] != "waiting");
}

#[test]
fn nothing_that_was_in_a_pipe_or_a_log_is_lost() {
    if !must::root("nothing_that_was_in_a_pipe_or_a_log_is_lost") {
        return;
    }
    let supervisor = Supervisor::start(
        "death-output",
        "[service counts]\nlog = 4M\n\
         command = /bin/sh -c \"i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done; exec sleep 1000\"\n",
    );
    supervisor.await_answer();
    for _ in 0..15 {
        kill(&supervisor, "-SEGV", GOES_ON);
        assert!(supervisor.inn(&["upgrade"]).status.success(), "{}", supervisor.log());
    }
    let lines = || String::from_utf8(supervisor.inn(&["logs", "counts"]).stdout).unwrap();
    supervisor.wait_for("the last line", |_| lines().ends_with("\n20000\n"));
    let found: Vec<u32> = lines().lines().map(|line| line.parse().unwrap()).collect();
    assert!(found.iter().copied().eq(1..=20_000), "{} lines", found.len());
    assert_eq!(supervisor.facts("counts")["restarts"], 0);
}

/// What tracer and test tell each other.
#[derive(Default)]
struct Injection {
    /// Behind which call the fault is to come, counted from 1; 0 for none.
    at: AtomicU32,
    seen: AtomicU32,
    has_come: AtomicBool,
    is_over: AtomicBool,
}

/// Makes the supervisor go on at an address where there is nothing, behind the call that it is to.
fn trace(root: Pid, injection: &Injection, begun: &mpsc::Sender<()>) {
    ptrace::seize(root, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC).expect("it can be traced");
    ptrace::interrupt(root).expect("it stops");
    begun.send(()).expect("the test waits");
    let mut is_inside = false;
    loop {
        match waitpid(root, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::PtraceSyscall(_)) => {
                is_inside = !is_inside;
                let at = injection.at.load(Ordering::SeqCst);
                if !is_inside && at != 0 && injection.seen.fetch_add(1, Ordering::SeqCst) + 1 == at {
                    let mut registers = ptrace::getregs(root).expect("it stands still");
                    registers.rip = 8;
                    ptrace::setregs(root, registers).expect("it stands still");
                    injection.has_come.store(true, Ordering::SeqCst);
                }
                let _ = ptrace::syscall(root, None);
            }
            Ok(WaitStatus::PtraceEvent(..)) => {
                let _ = ptrace::syscall(root, None);
            }
            Ok(WaitStatus::Stopped(_, signal)) => {
                let is_own = signal != Signal::SIGTRAP && signal != Signal::SIGSTOP;
                let _ = ptrace::syscall(root, is_own.then_some(signal));
            }
            Ok(_) => {}
            Err(_) => return,
        }
        if injection.is_over.load(Ordering::SeqCst) && !is_inside {
            let _ = ptrace::detach(root, None);
            return;
        }
    }
}

#[test]
fn a_fault_behind_any_call_of_a_transition_loses_nothing() {
    if !must::root("a_fault_behind_any_call_of_a_transition_loses_nothing") {
        return;
    }
    let supervisor = Supervisor::start(
        "death-calls",
        "[service victim]\ncommand = /bin/sh -c \"echo >&5; exec sleep 1000\"\nready = fd 5\n\
         [service bystander]\ncommand = /bin/sleep 1000\n",
    );
    supervisor.await_answer();
    let bystander = supervisor.await_ready("bystander")["pid"].as_u64().unwrap();
    supervisor.await_ready("victim");
    let (injection, (ready, begun)) = (Arc::new(Injection::default()), mpsc::channel());
    let root = Pid::from_raw(supervisor.pid() as i32);
    let tracer = {
        let injection = Arc::clone(&injection);
        std::thread::spawn(move || trace(root, &injection, &ready))
    };
    begun.recv().expect("it is traced");
    let mut faults = 0;
    for number in 1.. {
        injection.has_come.store(false, Ordering::SeqCst);
        injection.seen.store(0, Ordering::SeqCst);
        injection.at.store(number, Ordering::SeqCst);
        // Its answer may be what is lost; what counts is what is there afterwards.
        let _ = supervisor.inn(&["restart", "--wait", "victim"]);
        injection.at.store(0, Ordering::SeqCst);
        supervisor.await_answer();
        let settled = ["ready", "down"];
        supervisor.wait_for(&format!("an end, fault {number}"), |this| {
            this.facts("victim")["state"].as_str().is_some_and(|state| settled.contains(&state))
        });
        let output = supervisor.inn(&["start", "--wait", "victim"]);
        assert!(output.status.success(), "fault {number}: {output:?}\n{}", supervisor.log());
        assert_eq!(supervisor.facts("bystander")["pid"], bystander, "fault {number}");
        let victim = supervisor.facts("victim");
        let failures = victim["restarts"].as_u64();
        assert_eq!(failures, Some(0), "fault {number}: {victim}\n{}", supervisor.log());
        supervisor.wait_for(&format!("nobody else to be there, fault {number}"), |this| this.processes().len() == 2);
        if !injection.has_come.load(Ordering::SeqCst) {
            break;
        }
        faults += 1;
        if number % 2 == 0 {
            // Two within a minute are as many as there may be.
            assert!(supervisor.inn(&["upgrade", "--quiet"]).status.success(), "{}", supervisor.log());
        }
    }
    injection.is_over.store(true, Ordering::SeqCst);
    supervisor.await_answer();
    tracer.join().expect("the tracer ends");
    must::say(&format!("{faults} faults, each behind a call of a restart, and nothing was lost"));
    assert!(faults > 60, "only {faults}: is it traced at all?");
    assert!(supervisor.inn(&["stop", "victim"]).status.success());
    assert_eq!(supervisor.processes(), [bystander as u32]);
}

/// Those that nothing is done to.
const STILL: &str = "inn list --plain 's[0-9]*' first system counts agent | cut -f 1,4";

#[test]
fn a_hundred_deaths_of_pid_1_under_load_lose_nobody() {
    let recipe = Recipe { name: "death", kernel: "6.1", folder: "death", command_line: "" };
    let Some(mut machine) = Machine::boot(recipe) else { return };
    machine.until("inn list --plain | cut -f 2 | grep -vcE 'ready|down'", |output| output.text.trim() == "0");
    let before = machine.ok(STILL);
    machine.check("PID 1 is killed a hundred times, at random moments, and nobody notices", |machine| {
        machine.ok("(while [ ! -e /tmp/over ]; do inn restart restarted; inn start stopped; inn exec first true; \
             inn stop stopped; done >/tmp/load 2>&1 &)");
        let output = machine.run(
            "i=0; while [ $i -lt 100 ]; do i=$((i+1)); set -- SEGV BUS ILL FPE ABRT; shift $((i % 5)); \
             usleep $((RANDOM * 2)); kill -$1 1; inn upgrade --quiet || echo \"upgrade $i\"; done; touch /tmp/over",
        );
        assert_eq!(output.text.trim(), "", "{}", machine.console.all());
        let host: serde_json::Value = serde_json::from_str(&machine.ok("inn status --json")).unwrap();
        assert_eq!((&host["died"], &host["replaced"]), (&100.into(), &100.into()));
        assert_eq!(machine.ok(STILL), before);
    });
    machine.check("no process is left that nobody waits for", |machine| {
        machine.until("cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '", |output| output.text.trim() == "0");
    });
    machine.check("those that started and stopped meanwhile do", |machine| {
        machine.ok("inn start --wait restarted stopped; inn stop stopped restarted");
        machine.until("ls /sys/fs/cgroup/inn | grep -cE 'restarted|stopped'", |output| output.text.trim() == "0");
    });
    machine.check("no line of its output is lost", |machine| {
        machine.until("inn logs counts | tail -n 1", |output| output.text.trim() == "3000");
        assert_eq!(machine.ok("inn logs counts | sort -n -u | wc -l").trim(), "3000");
    });
    machine.end();
}
