//! The death of a supervisor by a fault: it goes on in its own program, and no guest notices.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use object::{Object, ObjectSegment, ObjectSymbol};

use crate::elf::unstripped;
use crate::machine::{Machine, Recipe};
use crate::must;
use crate::private::Supervisor;

pub fn send(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

pub fn said(supervisor: &Supervisor, words: &str) -> usize {
    supervisor.log().matches(words).count()
}

/// Kills it by `signal`, and waits until it has gone on.
pub fn kill(supervisor: &Supervisor, signal: &str, words: &str) {
    let before = said(supervisor, words);
    send(supervisor.pid(), signal);
    supervisor.wait_for("its next life", |this| said(this, words) > before);
    supervisor.await_answer();
}

pub const GOES_ON: &str = "died and goes on";

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

/// A program that has another one fault by itself: see `tests/programs/fault.c`.
fn fault(directory: &Path) -> PathBuf {
    let program = directory.join("fault");
    let source = must::project().join("tests/programs/fault.c");
    let words = ["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o"];
    let compiled = Command::new("gcc").args(words).arg(&program).arg(source).status();
    assert!(compiled.expect("gcc starts (Debian: gcc libc6-dev)").success(), "gcc failed");
    program
}

/// Where the first function whose name has `part` in it begins in the unstripped program, and where that is in the file.
fn function(part: &str) -> (u64, u64) {
    let data = std::fs::read(unstripped()).expect("the unstripped program");
    let file = object::File::parse(data.as_slice()).expect("an ELF file");
    let found = file.symbols().find(|symbol| symbol.name().is_ok_and(|name| name.contains(part)));
    let address = found.unwrap_or_else(|| panic!("it has no function {part}")).address();
    let mut segments =
        file.segments().filter(|segment| (segment.address()..segment.address() + segment.size()).contains(&address));
    let segment = segments.next().expect("it is in a segment");
    (address, address - segment.address() + segment.file_range().0)
}

#[test]
fn a_panic_a_full_stack_and_faults_of_its_own_are_told_and_no_guest_notices() {
    if !must::root("a_panic_a_full_stack_and_faults_of_its_own_are_told_and_no_guest_notices") {
        return;
    }
    let supervisor = Supervisor::start("death-own", "[service one]\ncommand = /bin/sleep 1000\n");
    supervisor.await_answer();
    let before = supervisor.await_ready("one");
    let fault = fault(&supervisor.directory);
    // The same program, of which it is known where a panic begins.
    let output = upgrade(&supervisor, &unstripped());
    assert!(output.status.success(), "{output:?}\n{}", supervisor.log());
    let panic = format!("{:#x}", function("panic_const_div_by_zero").0);
    let ways = [
        (&["overflow"][..], "inn: fault: signal 11 at address 0x7f", ": the stack is full\n"),
        (&["read"], "inn: fault: signal 11 at address 0x8\n", ""),
        (&["illegal"], "inn: fault: signal 4 at address 0x", ""),
        (&["go", &panic], "inn: panic at ", "inn: panic: attempt to divide by zero\n"),
    ];
    for (number, (how, words, more)) in ways.into_iter().enumerate() {
        let lives = said(&supervisor, GOES_ON);
        let faulted = Command::new(&fault).arg(supervisor.pid().to_string()).args(how).output().unwrap();
        assert!(faulted.status.success(), "{how:?}: {faulted:?}");
        supervisor.wait_for("its next life", |this| said(this, GOES_ON) > lives);
        supervisor.await_answer();
        let log = supervisor.log();
        assert!(log.contains(words) && log.contains(more), "{how:?}: {log}");
        assert_eq!(log.matches("the stack is full").count(), 1, "{log}");
        let after = supervisor.facts("one");
        assert_eq!((&before["pid"], &after["restarts"]), (&after["pid"], &0.into()), "{how:?}");
        if number == 1 {
            assert!(supervisor.inn(&["upgrade", "--quiet"]).status.success(), "{}", supervisor.log());
        }
    }
    assert_eq!(host(&supervisor)["died"], 4);
    assert!(supervisor.inn(&["restart", "one"]).status.success());
}

/// `ud2`.
const FAULT: &[u8] = &[0x0f, 0x0b];
/// `pause()` without end: mov $34,%eax; syscall; jmp.
const HANG: &[u8] = &[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];

/// The program, otherwise from `at` on.
fn patched(file: &Path, at: u64, instructions: &[u8]) {
    let mut bytes = std::fs::read(unstripped()).unwrap();
    bytes[at as usize..][..instructions.len()].copy_from_slice(instructions);
    let other = file.with_extension("bytes");
    std::fs::write(&other, &bytes).unwrap();
    must::install(&other, file);
}

/// An upgrade to `file` says these words, and changes nothing: neither the program nor guest `one`, which is process `pid`.
fn is_refused(supervisor: &Supervisor, (file, pid): (&Path, &serde_json::Value), what: &str, words: &str) -> String {
    let output = upgrade(supervisor, file);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{what}: {said}");
    assert!(said.contains(words) && said.contains("nothing "), "{what}: {said}");
    assert_eq!(std::fs::read_link(format!("/proc/{}/exe", supervisor.pid())).unwrap(), must::inn(), "{what}");
    assert_eq!(supervisor.facts("one")["pid"], *pid, "{what}");
    said
}

#[test]
fn a_new_program_that_cannot_answer_or_read_what_is_kept_does_not_come() {
    if !must::root("a_new_program_that_cannot_answer_or_read_what_is_kept_does_not_come") {
        return;
    }
    let supervisor = Supervisor::start("upgrade-asked", "[service one]\ncommand = /bin/sleep 1000\n");
    supervisor.await_answer();
    let before = supervisor.await_ready("one");
    let file = supervisor.directory.join("inn-bad");
    let refused = |what: &str, words: &str| {
        let said = is_refused(&supervisor, (&file, &before["pid"]), what, words);
        assert_eq!(said.lines().count(), 1, "{what}: {said}");
    };
    let asked = function("9supervise7upgrade13try_to_answer17h").1;
    patched(&file, asked, FAULT);
    refused("one that crashes", "it does not answer as an inn does");
    patched(&file, asked, HANG);
    refused("one that hangs", "the new program does not answer in time");
    // It is killed then, and no other is asked until it is waited for.
    let children = format!("/proc/{0}/task/{0}/children", supervisor.pid());
    supervisor.wait_for("its end", |_| std::fs::read_to_string(&children).unwrap().split_whitespace().count() == 1);
    // The machine in its header, as of aarch64.
    patched(&file, 18, &[183, 0]);
    refused("another machine", "it is a program of another machine");
    // What is kept, as a version would keep it that this one does not know.
    patched(&file, 0, &[]);
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", supervisor.pid())).unwrap();
    let is_kept =
        |path: &PathBuf| std::fs::read_link(path).is_ok_and(|name| name.to_string_lossy().contains("memfd:inn-kept"));
    let kept = descriptors.map(|entry| entry.unwrap().path()).find(is_kept).expect("it keeps something");
    let kept = std::fs::File::options().read(true).write(true).open(kept).unwrap();
    let mut version = [0];
    kept.read_exact_at(&mut version, 8).unwrap();
    kept.write_all_at(&[version[0] + 1], 8).unwrap();
    refused("another version", "it cannot read what this version keeps");
    kept.write_all_at(&version, 8).unwrap();
    let output = upgrade(&supervisor, &file);
    assert!(output.status.success(), "{output:?}\n{}", supervisor.log());
    assert_eq!(supervisor.facts("one")["pid"], before["pid"]);
}

#[test]
fn a_new_program_that_dies_before_it_has_taken_over_is_followed_by_the_one_before() {
    if !must::root("a_new_program_that_dies_before_it_has_taken_over_is_followed_by_the_one_before") {
        return;
    }
    let supervisor = Supervisor::start(
        "upgrade-back",
        "[service one]\ncommand = /bin/sleep 1000\n[service two]\ncommand = /bin/sleep 1000\nautostart = no\n",
    );
    supervisor.await_answer();
    let before = supervisor.await_ready("one");
    let file = supervisor.directory.join("inn-bad");
    // Before it knows its guests, and when it knows some: none of this happens when it is asked.
    for (number, part) in ["5serve14try_foreground", "recall_guest", "kill_strangers"].into_iter().enumerate() {
        patched(&file, function(part).1, FAULT);
        let output = upgrade(&supervisor, &file);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{part}: {output:?}\n{}", supervisor.log());
        assert!(said.contains("has died before it had taken over; the one before goes on"), "{part}: {said}");
        supervisor.await_answer();
        assert_eq!(std::fs::read_link(format!("/proc/{}/exe", supervisor.pid())).unwrap(), must::inn(), "{part}");
        let (after, host) = (supervisor.facts("one"), host(&supervisor));
        assert_eq!((&after["state"], &after["pid"]), (&"ready".into(), &before["pid"]), "{part}");
        assert_eq!((&host["replaced"], &host["safe_mode"]), (&(2 * number).into(), &false.into()), "{part}");
        assert!(supervisor.inn(&["start", "--wait", "two"]).status.success(), "{part}: {}", supervisor.log());
        assert!(supervisor.inn(&["stop", "two"]).status.success(), "{part}");
        // One that is well does come, and stays when it dies.
        assert!(supervisor.inn(&["upgrade", "--quiet"]).status.success(), "{}", supervisor.log());
        kill(&supervisor, "-SEGV", GOES_ON);
        assert!(supervisor.inn(&["upgrade", "--quiet"]).status.success(), "{}", supervisor.log());
    }
}

/// Puts `file` in its place.
fn upgrade(supervisor: &Supervisor, file: &std::path::Path) -> std::process::Output {
    supervisor.inn(&["upgrade", file.to_str().unwrap()])
}

/// A copy of the program, beside the config.
fn copy(supervisor: &Supervisor) -> std::path::PathBuf {
    let file = supervisor.directory.join("inn-new");
    must::install(must::inn(), &file);
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
        is_refused(&supervisor, (&file, &before["pid"]), what, words);
        let _ = std::fs::remove_file(&file);
    };
    refused("nothing", "ENOENT");
    std::fs::write(&file, "#!/bin/sh\nexit 0\n").unwrap();
    refused("not executable", "EACCES");
    must::script(&file, "#!/bin/sh\nexit 0\n");
    refused("a script", "no program");
    must::install("/bin/true", &file);
    refused("not static", "not static");
    must::install(crate::private::busybox("upgrade-busybox").join("bin/sleep"), &file);
    refused("another program, which exits", "does not answer");
    let mut bytes = std::fs::read(must::inn()).unwrap();
    bytes.truncate(bytes.len() / 2);
    must::install(must::inn(), &file);
    std::fs::write(&file, &bytes).unwrap();
    refused("half of it", "");
    std::fs::create_dir(&file).unwrap();
    let output = upgrade(&supervisor, &file);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    std::fs::remove_dir(&file).unwrap();
    // The config says otherwise, or nothing.
    let config = supervisor.directory.join("inn.conf");
    must::install(must::inn(), &file);
    std::fs::write(&config, "[service one]\ncommand = /bin/sleep 2000\n").unwrap();
    refused("another config", "says otherwise");
    must::install(must::inn(), &file);
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

#[test]
fn a_fault_behind_any_call_of_a_change_leaves_a_guest_that_can_be_changed() {
    if !must::root("a_fault_behind_any_call_of_a_change_leaves_a_guest_that_can_be_changed") {
        return;
    }
    let supervisor = Supervisor::start("death-set", "[service victim]\ncommand = /bin/sleep 1000\n");
    supervisor.await_answer();
    let pid = supervisor.await_ready("victim")["pid"].as_u64().unwrap() as u32;
    let (injection, (ready, begun)) = (Arc::new(Injection::default()), mpsc::channel());
    let root = Pid::from_raw(supervisor.pid() as i32);
    let tracer = {
        let injection = Arc::clone(&injection);
        std::thread::spawn(move || trace(root, &injection, &ready))
    };
    begun.recv().expect("it is traced");
    let score = || std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().to_owned();
    let mut faults = 0;
    for number in 1.. {
        injection.has_come.store(false, Ordering::SeqCst);
        injection.seen.store(0, Ordering::SeqCst);
        injection.at.store(number, Ordering::SeqCst);
        let first = supervisor.inn(&["set", "-q", "victim", &format!("oom-score={}", number % 2 * 100)]);
        injection.at.store(0, Ordering::SeqCst);
        assert!(first.status.success() || injection.has_come.load(Ordering::SeqCst), "{number}: {first:?}");
        supervisor.await_answer();
        // What follows holds, whatever became of that.
        let wanted = (number % 500).to_string();
        let second = supervisor.inn(&["set", "-q", "victim", &format!("oom-score={wanted}")]);
        assert!(second.status.success(), "fault {number}: {second:?}\n{}", supervisor.log());
        let facts = supervisor.facts("victim");
        assert_eq!((facts["pid"].as_u64(), &facts["state"]), (Some(pid.into()), &"ready".into()), "fault {number}");
        assert_eq!(score(), wanted, "fault {number}\n{}", supervisor.log());
        supervisor.wait_for("the child to be gone", |this| this.processes() == [pid]);
        if !injection.has_come.load(Ordering::SeqCst) {
            break;
        }
        faults += 1;
        if number % 2 == 0 {
            assert!(supervisor.inn(&["upgrade", "--quiet"]).status.success(), "{}", supervisor.log());
        }
    }
    injection.is_over.store(true, Ordering::SeqCst);
    supervisor.await_answer();
    tracer.join().expect("the tracer ends");
    must::say(&format!("{faults} faults, each behind a call of a change, and the next one was made"));
    assert!(faults > 15, "only {faults}: is it traced at all?");
}

/// Those that nothing is done to.
const STILL: &str = "inn list --plain 's[0-9]*' first system counts floods agent | cut -f 1,4";

#[test]
fn a_hundred_deaths_of_pid_1_under_load_lose_nobody() {
    let recipe = Recipe { name: "death", kernel: "6.1", folder: "death", command_line: "" };
    if !must::qemu("death") {
        return;
    }
    let tree = must::target().join("programs-death");
    std::fs::create_dir_all(tree.join("bin")).expect("a directory");
    fault(&tree.join("bin"));
    // One that dies when it knows some of its guests; the file that it was made of is not wanted there.
    patched(&tree.join("bin/inn-bad"), function("recall_guest").1, FAULT);
    std::fs::remove_file(tree.join("bin/inn-bad.bytes")).expect("it was made");
    let more = ["--tree", tree.to_str().expect("a path of text")];
    let Some(mut machine) = Machine::boot_with_devices(recipe, &[], &more) else { return };
    machine.until("inn list --plain | cut -f 2 | grep -vcE 'ready|down'", |output| output.text.trim() == "0");
    let before = machine.ok(STILL);
    assert!(before.lines().count() >= 50, "{before}");
    machine.check("PID 1 is killed a hundred times, at random moments, and nobody notices", |machine| {
        machine.ok("(while [ ! -e /tmp/over ]; do inn restart restarted; inn start stopped; inn exec first true; \
             inn stop stopped; done >/tmp/load 2>&1; touch /tmp/load-over) &");
        machine
            .ok("(while [ ! -e /tmp/over ]; do inn list; inn logs -n 1 floods; usleep 50000; done >/dev/null 2>&1 &)");
        // In parts, for the agent gives none of its commands longer than it must.
        for _ in 0..10 {
            let output = machine.run(
                "i=0; while [ $i -lt 10 ]; do i=$((i+1)); set -- SEGV BUS ILL FPE ABRT; shift $((i % 5)); \
                 usleep $((RANDOM * 2)); kill -$1 1; inn upgrade --quiet || echo \"upgrade $i\"; done",
            );
            assert_eq!(output.text.trim(), "", "{}", machine.console.all());
        }
        let host: serde_json::Value = serde_json::from_str(&machine.ok("inn status --json")).unwrap();
        assert_eq!((&host["died"], &host["replaced"]), (&100.into(), &100.into()));
        assert_eq!(machine.ok(STILL), before);
    });
    machine.check("another program takes its place under all of them, and nobody notices", |machine| {
        machine.ok("cp /bin/inn /tmp/inn-new && inn upgrade --quiet /tmp/inn-new");
        assert_eq!(machine.ok("readlink /proc/1/exe"), "/tmp/inn-new");
        assert_eq!(machine.ok(STILL), before);
    });
    machine.check("one that dies before it has taken over is followed by the one before", |machine| {
        let output = machine.run("inn upgrade /bin/inn-bad 2>&1");
        assert_eq!(output.code, 1, "{}", output.text);
        let words = "has died before it had taken over; the one before goes on";
        assert!(output.text.contains(words), "{}", output.text);
        assert_eq!(machine.ok("readlink /proc/1/exe"), "/tmp/inn-new");
        let host: serde_json::Value = serde_json::from_str(&machine.ok("inn status --json")).unwrap();
        assert_eq!((&host["died"], &host["safe_mode"]), (&101.into(), &false.into()), "{host}");
        assert_eq!(machine.ok(STILL), before);
    });
    machine.check("no line of its output is lost", |machine| {
        // How many they are is the machine's affair.
        machine.ok("touch /tmp/counted");
        let last = machine.until("inn logs counts | tail -n 1", |output| output.text.starts_with("over "));
        let count = last.text.trim().trim_start_matches("over ");
        assert_eq!(machine.ok("inn logs counts | grep -v over | sort -n -u | wc -l").trim(), count);
    });
    machine.check("it faults by itself, wherever it is, and nobody notices", |machine| {
        let output = machine.run(
            "i=0; while [ $i -lt 12 ]; do i=$((i+1)); set -- read illegal overflow; shift $((i % 3)); \
             usleep $((RANDOM * 2)); fault 1 $1 || echo \"fault $i\"; inn upgrade --quiet || echo \"upgrade $i\"; done; touch /tmp/over",
        );
        assert_eq!(output.text.trim(), "", "{}", machine.console.all());
        let host: serde_json::Value = serde_json::from_str(&machine.ok("inn status --json")).unwrap();
        assert_eq!(host["died"], 113);
        assert_eq!(machine.ok(STILL), before);
        let told = machine.console.all();
        for words in ["the stack is full", "fault: signal 4 at", "fault: signal 11 at address 0x8"] {
            assert!(told.contains(words), "{words:?} is not told");
        }
    });
    machine.check("no process is left that nobody waits for", |machine| {
        machine.until("cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '", |output| output.text.trim() == "0");
    });
    machine.check("those that started and stopped meanwhile do", |machine| {
        machine.until("test -e /tmp/load-over", |output| output.code == 0);
        machine.ok("inn start --wait restarted stopped; inn stop stopped restarted");
        machine.until("ls /sys/fs/cgroup/inn | grep -cE 'restarted|stopped'", |output| output.text.trim() == "0");
    });
    machine.end();
}
