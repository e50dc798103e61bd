//! Every system call of a start fails once, in the supervisor, in its helper and in the guest: the supervisor lives on,
//! nothing is left of the start, and the next one succeeds.
//!
//! The supervisor and all that it makes are traced (ptrace(2)). From the request to start on, call number N is replaced by
//! one that does not exist, and its result by the error; N grows until a start comes through without having been touched.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::private::{Supervisor, busybox};
use crate::{images, must};

/// ROOT stands for a directory with busybox in it.
const CONFIG: &str = "
[guest victim]
kind = KIND
root = ROOT
bind = /etc /tmp/etc ro
ephemeral = yes
command = /bin/sleep 1000
autostart = no
restart = never
network = none
ready = fd 7
env = SHELL=/bin/sh
rlimit = nofile 100:200
groups = 5 6
stop = SIGKILL

[guest bystander]
kind = app
root = ROOT
command = /bin/sleep 1000
restart = always
stop = SIGKILL
";

const ERRORS: [Errno; 5] = [Errno::EMFILE, Errno::ENOMEM, Errno::EAGAIN, Errno::ENOSYS, Errno::EPERM];

/// Far above what a start takes: an injection that never ends is a failure.
const CALLS_MAX: u32 = 2_000;

#[test]
fn every_call_of_a_start_may_fail() {
    if !must::root("every_call_of_a_start_may_fail") {
        return;
    }
    let app = ERRORS.map(|error| (error, "app"));
    // Its masks are made by the helper, from what it hands over.
    let os = [(Errno::EPERM, "os"), (Errno::EMFILE, "os")];
    // Each mostly waits.
    let start = |(error, kind)| std::thread::spawn(move || fail_each_call(error, kind, None));
    let faults: Vec<_> = app.into_iter().chain(os).map(start).collect();
    for thread in faults {
        thread.join().expect("no start went wrong");
    }
}

#[test]
fn every_call_of_a_stop_may_fail() {
    if !must::root("every_call_of_a_stop_may_fail") {
        return;
    }
    let stop = |error| std::thread::spawn(move || fail_each_call_of_a_stop(error));
    for thread in [Errno::ENOMEM, Errno::EPERM].map(stop) {
        thread.join().expect("no stop went wrong");
    }
}

/// The victim is there or gone after that, and another attempt ends it.
fn fail_each_call_of_a_stop(error: Errno) {
    let injection = Arc::new(Injection::default());
    let name = format!("fault-stop-{error:?}");
    let config = CONFIG
        .replace("KIND", "app")
        .replace("ready = fd 7\n", "")
        .replace("stop = SIGKILL", "stop = SIGTERM 1s SIGKILL");
    let supervisor = Supervisor::start(&name, &config.replace("ROOT", busybox(&name).to_str().expect("UTF-8")));
    supervisor.await_answer();
    running(&supervisor, "bystander");
    let bystander = pid(&supervisor, "bystander");
    let root = Pid::from_raw(supervisor.pid() as i32);
    let (ready, begun) = mpsc::channel();
    let tracer = {
        let injection = Arc::clone(&injection);
        std::thread::spawn(move || trace(root, Some(error), &injection, &ready))
    };
    begun.recv().expect("it is traced");
    let mut touched = 0;
    for number in 1..CALLS_MAX {
        let started = supervisor.inn(&["start", "--wait", "victim"]);
        assert!(started.status.success(), "before call {number}: {started:?}");
        // Its program may be told to run before the tracer hears of it: that would be the end of what is to fail.
        supervisor.wait_for("the tracer to hear of it", |_| injection.executed.swap(false, Ordering::SeqCst));
        injection.arm(number);
        let what = || format!("{error:?} at call {number} ({})", injection.failed.load(Ordering::SeqCst));
        // It may be the answer that fails.
        let _ = supervisor.inn(&["stop", "victim"]);
        let missed = injection.disarm() == -1;
        let again = supervisor.inn(&["stop", "victim"]);
        assert!(again.status.success(), "{}: {again:?}", what());
        gone(&supervisor, &what, bystander);
        if missed {
            break;
        }
        touched = number;
    }
    assert!((10..CALLS_MAX - 1).contains(&touched), "{touched} calls failed");
    injection.done.store(true, Ordering::SeqCst);
    must::say(&format!("each of {touched} calls of a stop failed with {error:?}, and nothing was left"));
    drop(supervisor);
    tracer.join().expect("the tracer ends");
}

#[test]
fn every_call_of_a_start_from_an_image_may_fail() {
    if !images::can("every_call_of_a_start_from_an_image_may_fail") {
        return;
    }
    let [squashfs, ..] = images::images("faults");
    fail_each_call(Errno::ENOMEM, "app", Some(&squashfs));
}

/// What tracer and client tell each other.
#[derive(Default)]
pub struct Injection {
    /// Which call is to fail, counted from 1; 0 for none.
    at: AtomicU32,
    /// How many there have been.
    seen: AtomicU32,
    /// The call number of the one that failed, for people.
    failed: AtomicI32,
    /// The guest's program runs: the start is over.
    executed: AtomicBool,
    /// The test is over.
    pub done: AtomicBool,
}

impl Injection {
    /// Lets call `number` from now on fail.
    pub fn arm(&self, number: u32) {
        self.executed.store(false, Ordering::SeqCst);
        self.failed.store(-1, Ordering::SeqCst);
        self.seen.store(0, Ordering::SeqCst);
        self.at.store(number, Ordering::SeqCst);
    }

    /// Lets no call fail; the number of the one that has, -1 for none.
    pub fn disarm(&self) -> i32 {
        self.at.store(0, Ordering::SeqCst);
        self.failed.load(Ordering::SeqCst)
    }
}

/// The victim is of this kind, and its root is `image`, where there is one.
fn fail_each_call(error: Errno, kind: &'static str, image: Option<&Path>) {
    let injection = Arc::new(Injection::default());
    let name = format!("fault-{kind}-{error:?}{}", if image.is_some() { "-image" } else { "" });
    let mut config = CONFIG.replace("KIND", kind).replace("ROOT", busybox(&name).to_str().expect("UTF-8"));
    if let Some(image) = image {
        let root = format!("root = {}\nbind = /etc /tmp/etc ro\nephemeral = yes", busybox(&name).display());
        config = config.replace(&root, &format!("image = {}", image.display()));
        assert!(config.contains("image = "), "the victim has another root");
    }
    let supervisor = Supervisor::start(&name, &config);
    supervisor.await_answer();
    running(&supervisor, "bystander");
    let bystander = pid(&supervisor, "bystander");
    let root = Pid::from_raw(supervisor.pid() as i32);
    let (ready, begun) = mpsc::channel();
    let tracer = {
        let injection = Arc::clone(&injection);
        std::thread::spawn(move || trace(root, Some(error), &injection, &ready))
    };
    begun.recv().expect("it is traced");
    let mut touched = 0;
    for number in 1..CALLS_MAX {
        injection.arm(number);
        let what = || format!("{error:?} at call {number} ({})", injection.failed.load(Ordering::SeqCst));
        // Its answer may be the very call that fails; what counts is what is there afterwards.
        let _ = supervisor.inn(&["start", "victim"]);
        settled(&supervisor, &what);
        let missed = injection.disarm() == -1;
        let _ = supervisor.inn(&["kill", "victim"]);
        gone(&supervisor, &what, bystander);
        supervisor.wait_for("the image to be let go", |_| image.is_none_or(|image| !images::is_attached(image)));
        if missed {
            break;
        }
        touched = number;
    }
    assert!(touched > 100, "only {touched} calls failed: is the start traced at all?");
    assert!(touched < CALLS_MAX - 1, "a start never came through");
    injection.done.store(true, Ordering::SeqCst);
    must::say(&format!("{kind}: each of {touched} calls failed with {error:?}, and nothing was left"));
    drop(supervisor);
    tracer.join().expect("the tracer ends");
}

/// Waits until the victim is neither starting nor about to be.
fn settled(supervisor: &Supervisor, what: &impl Fn() -> String) {
    supervisor.wait_for(&format!("an end of the start, {}", what()), |this| {
        ["running", "ready", "failed", "down"].contains(&state(this, "victim").as_str())
    });
}

/// Waits until nothing is left of the victim; the bystander has not noticed.
fn gone(supervisor: &Supervisor, what: &impl Fn() -> String, bystander: u64) {
    supervisor.wait_for(&format!("nothing to be left, {}", what()), |this| {
        this.cgroups() == ["bystander"] && this.processes() == [bystander as u32]
    });
    assert_eq!(pid(supervisor, "bystander"), bystander, "{}: the other guest was restarted", what());
}

fn running(supervisor: &Supervisor, guest: &str) {
    supervisor.wait_for(guest, |this| ["running", "ready"].contains(&state(this, guest).as_str()));
}

fn state(supervisor: &Supervisor, guest: &str) -> String {
    field(supervisor, guest, "state").and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn pid(supervisor: &Supervisor, guest: &str) -> u64 {
    field(supervisor, guest, "pid").and_then(|value| value.as_u64()).unwrap_or_default()
}

fn field(supervisor: &Supervisor, guest: &str, name: &str) -> Option<serde_json::Value> {
    let output = supervisor.inn(&["list", "--json"]);
    let guests: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let list = guests.as_array().or_else(|| guests["guests"].as_array())?;
    list.iter().find(|entry| entry["name"] == guest).map(|entry| entry[name].clone())
}

/// Follows `root` and all its descendants until the test is over: a call fails with `error`, or without one the process that
/// makes it is killed, if it is not `root` itself.
pub fn trace(root: Pid, error: Option<Errno>, injection: &Injection, ready: &mpsc::Sender<()>) {
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(root, options).expect("it can be traced");
    ptrace::interrupt(root).expect("it stops");
    ready.send(()).expect("the test waits");
    // By tracee: whether it is inside a call, and whether that call is to fail.
    let mut inside: HashMap<Pid, bool> = HashMap::new();
    loop {
        // Only this thread's: the test's other children are others' to wait for.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        match waitpid(None, Some(flags)) {
            Ok(WaitStatus::PtraceSyscall(pid)) => {
                match inside.remove(&pid) {
                    None => {
                        let may = error.is_some() || pid != root;
                        let fails = may && entered(pid, injection);
                        if fails && error.is_none() {
                            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
                        }
                        inside.insert(pid, fails);
                    }
                    Some(true) => set_result(pid, error.unwrap_or(Errno::ENOSYS)),
                    Some(false) => {}
                }
                resume(pid, None);
            }
            Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                if event == Event::PTRACE_EVENT_EXEC as i32 {
                    injection.executed.store(true, Ordering::SeqCst);
                }
                resume(pid, None);
            }
            Ok(WaitStatus::Stopped(pid, signal)) => {
                resume(pid, (signal != Signal::SIGTRAP && signal != Signal::SIGSTOP).then_some(signal));
            }
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => {
                inside.remove(&pid);
            }
            Ok(_) => {}
            Err(Errno::ECHILD) => return,
            Err(error) => panic!("waitpid: {error}"),
        }
        if injection.done.load(Ordering::SeqCst) && inside.is_empty() {
            return;
        }
    }
}

/// Counts a call, and replaces it if it is the one. After exec the program is the guest's own.
fn entered(pid: Pid, injection: &Injection) -> bool {
    let at = injection.at.load(Ordering::SeqCst);
    if at == 0 || injection.executed.load(Ordering::SeqCst) || injection.failed.load(Ordering::SeqCst) != -1 {
        return false;
    }
    let Ok(mut registers) = ptrace::getregs(pid) else { return false };
    let number = registers.orig_rax as i64;
    // Waiting is no part of a start, an end cannot fail, and close(2) closes whatever it says.
    if [libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_exit_group, libc::SYS_close].contains(&number) {
        return false;
    }
    if injection.seen.fetch_add(1, Ordering::SeqCst) + 1 != at {
        return false;
    }
    registers.orig_rax = u64::MAX;
    injection.failed.store(number as i32, Ordering::SeqCst);
    ptrace::setregs(pid, registers).is_ok()
}

fn set_result(pid: Pid, error: Errno) {
    if let Ok(mut registers) = ptrace::getregs(pid) {
        registers.rax = -(error as i64) as u64;
        let _ = ptrace::setregs(pid, registers);
    }
}

/// Lets a tracee go on to its next call. It may have been killed meanwhile.
fn resume(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(pid, signal);
}
