//! When a guest counts as ready, and who waits for it: on this host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::must;
use crate::private::{Supervisor, closed};

/// The program that guests run here.
fn say() -> &'static Path {
    static SAY: OnceLock<PathBuf> = OnceLock::new();
    SAY.get_or_init(|| {
        let say = must::target().join(format!("tmp/say.{}", std::process::id()));
        fs::create_dir_all(say.parent().unwrap()).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&say);
        let status = gcc.arg(must::project().join("tests/programs/say.c")).status();
        assert!(status.expect("gcc starts (Debian: gcc libc6-dev)").success(), "gcc failed");
        say
    })
}

/// A root with nothing in it but that program.
pub fn root(name: &str) -> PathBuf {
    let root = closed().join(format!("root-{name}"));
    for folder in ["bin", "dev", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let _ = fs::remove_file(root.join("bin/say"));
    fs::copy(say(), root.join("bin/say")).expect("a copy");
    root
}

/// A guest of kind app that says `words`.
pub fn app(name: &str, root: &Path, words: &str, keys: &str) -> String {
    format!("[guest {name}]\nkind = app\nroot = {}\ncommand = /bin/say {words}\n{keys}\n", root.display())
}

fn state(supervisor: &Supervisor, guest: &str) -> String {
    supervisor.facts(guest)["state"].as_str().unwrap_or_default().to_owned()
}

fn await_state(supervisor: &Supervisor, guest: &str, wanted: &str) {
    supervisor.wait_for(&format!("{guest} to be {wanted}"), |this| state(this, guest) == wanted);
}

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_guest_of_each_kind_says_that_it_is_ready_and_how_it_is() {
    if !must::root("a_guest_of_each_kind_says_that_it_is_ready_and_how_it_is") {
        return;
    }
    let root = root("notify");
    let words = "variable:NOTIFY_SOCKET notify:READY=1;STATUS=all\u{fc}ber;X_SYSTEMD_UNIT=1;FDSTORE=1 wait";
    let ready = "ready = notify\nrestart = never\nstop = SIGKILL";
    // A service runs on the host, where only root can go through the tests' directory.
    let open = PathBuf::from(format!("/var/tmp/inn-test-say-{}", std::process::id()));
    fs::copy(say(), &open).unwrap();
    let config = app("app", &root, words, &format!("user = 1000\n{ready}"))
        + &app("box", &root, words, ready).replace("kind = app", "kind = os")
        + &app("unmapped", &root, words, &format!("userns = none\n{ready}"))
        + &format!("[service daemon]\ncommand = {} {words}\nuser = 1000\n{ready}\n", open.display());
    let supervisor = Supervisor::start("notify", &config);
    supervisor.await_answer();
    for (guest, place) in [
        ("app", "/run/host/notify".to_owned()),
        ("box", "/run/host/notify".to_owned()),
        ("unmapped", "/run/host/notify".to_owned()),
        ("daemon", format!("/run/inn-notify/{}.daemon", supervisor.pid())),
    ] {
        let facts = supervisor.await_ready(guest);
        assert_eq!(facts["said"], "all\u{fc}ber", "{guest}");
        let log = text(&supervisor.inn(&["logs", guest]));
        assert!(log.contains(&format!("NOTIFY_SOCKET is {place}")), "{guest}: {log}");
    }
    assert!(supervisor.log().contains("guest app: ready"));
    let status = text(&supervisor.inn(&["status", "app"]));
    assert!(status.contains("says         all\u{fc}ber"), "{status}");
    fs::remove_file(open).unwrap();
    // Nothing of a service's is left.
    assert!(supervisor.inn(&["stop", "daemon"]).status.success());
    assert_eq!(fs::read_dir(supervisor.directory.join("run/inn-notify")).unwrap().count(), 0);
}

#[test]
fn whatever_is_sent_to_it_the_supervisor_goes_on() {
    if !must::root("whatever_is_sent_to_it_the_supervisor_goes_on") {
        return;
    }
    let root = root("garbage");
    let config = app("garbage", &root, "garbage:2000 notify:READY=1 wait", "ready = notify")
        + &app("big", &root, "big:100000 wait", "ready = notify")
        + &app("main", &root, "notify:MAINPID=1 notify:MAINPID=7;READY=1 barrier wait", "ready = notify")
        + &app("flood", &root, "notify:READY=1 flood", "ready = notify");
    let supervisor = Supervisor::start("garbage", &config);
    supervisor.await_answer();
    for guest in ["garbage", "big", "main", "flood"] {
        supervisor.await_ready(guest);
    }
    let said = supervisor.facts("big")["said"].as_str().unwrap_or_default().to_owned();
    assert!(said.len() == 120 && said.bytes().all(|byte| byte == b'x'), "{said:?}");
    // What came with a descriptor was taken, and that closed.
    supervisor.wait_for("the barrier", |this| text(&this.inn(&["logs", "main"])).contains("the barrier is over"));
    let log = supervisor.log();
    assert_eq!(log.matches("guest main: names another main process").count(), 1, "{log}");
    for _ in 0..20 {
        assert!(supervisor.inn(&["list", "--timeout", "20s"]).status.success(), "the flood holds the others up");
    }
    supervisor.wait_for("the flood", |this| this.facts("flood")["said"] == "a flood");
    assert_eq!(supervisor.log().matches("guest flood: names another main process").count(), 1);
}

#[test]
fn only_the_guests_own_processes_speak_for_it() {
    if !must::root("only_the_guests_own_processes_speak_for_it") {
        return;
    }
    let root = root("stranger");
    let config = app("mapped", &root, "wait", "ready = notify")
        + &app("unmapped", &root, "wait", "ready = notify\nuserns = none\nnetwork = host")
        + &app("family", &root, "child:READY=1 wait", "ready = notify");
    let supervisor = Supervisor::start("stranger", &config);
    supervisor.await_answer();
    supervisor.await_ready("family");
    for guest in ["mapped", "unmapped"] {
        await_state(&supervisor, guest, "running");
        let pid = supervisor.facts(guest)["pid"].clone();
        // From the host, as its root, to the very same socket.
        let place = format!("to:/proc/{pid}/root/run/host/notify");
        let sent = Command::new(say()).arg(place).output().unwrap();
        assert!(sent.status.success(), "{sent:?}");
        let line = format!("guest {guest}: a notification came from a process that is not its own");
        supervisor.wait_for("it to be told", |this| this.log().contains(&line));
        let facts = supervisor.facts(guest);
        assert_eq!((&facts["state"], &facts["said"]), (&"running".into(), &"".into()), "{guest}");
        // One of its own, that entered it.
        let entered = supervisor.inside_of(guest, &["/bin/say", "notify:READY=1;STATUS=its own", "sleep:300"]);
        assert!(entered.status.success(), "{entered:?}");
        assert_eq!(supervisor.await_ready(guest)["said"], "its own");
    }
}

#[test]
fn a_guest_reloads_stops_and_is_restarted_when_its_watchdog_is_not_fed() {
    if !must::root("a_guest_reloads_stops_and_is_restarted_when_its_watchdog_is_not_fed") {
        return;
    }
    let root = root("watchdog");
    let config = app(
        "reloading",
        &root,
        "notify:READY=1 notify:RELOADING=1;MONOTONIC_USEC=1;STATUS=again await:/tmp/go notify:READY=1 await:/tmp/stop \
         notify:STOPPING=1;WATCHDOG_USEC=1000 wait",
        "ready = notify",
    ) + &app(
        "beating",
        &root,
        "notify:READY=1;WATCHDOG_USEC=1000000 beat:60 notify:STATUS=tired term wait",
        "ready = notify\nrestart = always",
    ) + &app("ill", &root, "notify:READY=1;WATCHDOG=trigger term wait", "ready = notify\nrestart = never");
    let supervisor = Supervisor::start("watchdog", &config);
    supervisor.await_answer();
    supervisor.wait_for("it to reload", |this| this.facts("reloading")["activity"] == "reloading");
    assert_eq!(state(&supervisor, "reloading"), "ready");
    assert!(text(&supervisor.inn(&["list"])).contains("ready, reloading"));
    assert!(supervisor.inside_of("reloading", &["/bin/say", "touch:/tmp/go"]).status.success());
    supervisor.wait_for("it to be done", |this| this.facts("reloading")["activity"] == "");
    assert!(supervisor.inside_of("reloading", &["/bin/say", "touch:/tmp/stop"]).status.success());
    supervisor.wait_for("it to stop", |this| this.facts("reloading")["activity"] == "stopping");
    assert_eq!(supervisor.facts("beating")["watchdog_ms"], 1_000);
    let status = text(&supervisor.inn(&["status", "beating"]));
    assert!(status.contains("watchdog     it has to say that it is well every 1.0s"), "{status}");
    supervisor.wait_for("the restart", |this| this.facts("beating")["restarts"] != 0);
    let log = supervisor.log();
    // It was fed longer than it may be silent, and ended as it was asked to.
    let notes = [
        "guest beating: not well, stopping: it has not said WATCHDOG=1 in time",
        "guest beating: exited with code 0",
        "guest beating: starts again in 0.100 s",
    ];
    let places: Vec<_> = notes.iter().map(|note| log.find(note).unwrap_or_else(|| panic!("{note}: {log}"))).collect();
    assert!(places.is_sorted(), "{log}");
    await_state(&supervisor, "ill", "failed");
    let facts = supervisor.facts("ill");
    assert_eq!(
        (&facts["exit"], &facts["exit_reason"]),
        (&"unhealthy".into(), &"unhealthy: said that it is not well".into())
    );
    assert_eq!(state(&supervisor, "reloading"), "ready", "one that stops says nothing more");
}

#[test]
fn who_is_not_ready_in_time_is_stopped_and_who_waits_for_it_is_told_of_whom_and_of_what() {
    if !must::root("who_is_not_ready_in_time_is_stopped_and_who_waits_for_it_is_told_of_whom_and_of_what") {
        return;
    }
    let root = root("late");
    let config = app("store", &root, "term notify:STATUS=thinking wait", "ready = notify within 2s\nrestart = never")
        + &app("middle", &root, "wait", "after = store\nrestart = never")
        + &app("web", &root, "wait", "after = middle\nrestart = never\nautostart = no");
    let supervisor = Supervisor::start("late", &config);
    supervisor.await_answer();
    let why = format!("READY=1 on its notification socket ({}/inn.conf:5)", supervisor.directory.display());
    await_state(&supervisor, "store", "running");
    assert_eq!(supervisor.facts("store")["awaits"], format!("it waits for {why}"));
    let long = format!("store is not ready: it waits for {why}");
    assert_eq!(supervisor.facts("middle")["awaits"], long[..long.len().min(160)]);
    let output = supervisor.inn(&["start", "--wait", "web"]);
    assert_eq!(output.status.code(), Some(1));
    // Told of whom it really waited for.
    let said = text(&output);
    assert!(said.contains(&format!("web: it did not start: {long}")), "{said}");
    for guest in ["middle", "web", "store"] {
        await_state(&supervisor, guest, "failed");
    }
    let log = supervisor.log();
    for line in [
        format!("guest store: not ready in time: it still waits for {why}; stopping"),
        "guest store: exited with code 0".to_owned(),
        format!("guest middle: not started: {long}"),
        format!("guest web: not started: {long}"),
    ] {
        assert!(log.contains(&line), "{line}:\n{log}");
    }
    assert_eq!(supervisor.facts("store")["exit_reason"], "could not become ready in time");
    let output = supervisor.inn(&["start", "--wait", "store"]);
    assert!(
        text(&output).contains(&format!("it ended before it was ready in time: it still waited for {why}")),
        "{output:?}"
    );
}
