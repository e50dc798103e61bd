//! When a guest counts as ready, and who waits for it: on this host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::must;
use crate::private::{Supervisor, closed, is_one_tests};

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
    is_one_tests("root", name);
    let root = closed().join(format!("root-{name}"));
    for folder in ["bin", "dev", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    must::install(say(), root.join("bin/say"));
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
    must::install(say(), &open);
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
        // What is written to a terminal comes by another way, which may be slower.
        let line = format!("NOTIFY_SOCKET is {place}");
        supervisor.wait_for(&line, |this| text(&this.inn(&["logs", guest])).contains(&line));
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
    let root = root("says-garbage");
    let config = app("garbage", &root, "garbage:2000 notify:READY=1 wait", "ready = notify")
        + &app("big", &root, "big:100000 wait", "ready = notify")
        + &app("main", &root, "notify:MAINPID=1 notify:MAINPID=7;READY=1 barrier wait", "ready = notify")
        + &app("flood", &root, "notify:READY=1 flood", "ready = notify");
    let supervisor = Supervisor::start("says-garbage", &config);
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
        assert!(supervisor.inn(&["list", "--timeout", "60s"]).status.success(), "the flood holds the others up");
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
        // It is looked at where it is, so it stays until it has been heard.
        let entered = supervisor.inside_of(guest, &["/bin/say", "notify:READY=1;STATUS=its own", "barrier"]);
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
        "term notify:READY=1;WATCHDOG_USEC=1000000 beat:60 notify:STATUS=tired wait",
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
    // It may just be down, and has said nothing yet when it starts again.
    supervisor.wait_for("its watchdog", |this| this.facts("beating")["watchdog_ms"] == 1_000);
    let line = "watchdog     it has to say that it is well every 1.0s";
    supervisor.wait_for(line, |this| text(&this.inn(&["status", "beating"])).contains(line));
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
    let config = app("store", &root, "term notify:STATUS=thinking wait", "ready = notify within 10s\nrestart = never")
        + &app("hasty", &root, "term wait", "ready = notify within 1s\nrestart = never\nautostart = no")
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
    let output = supervisor.inn(&["start", "--wait", "hasty"]);
    let why = why.replace("inn.conf:5", "inn.conf:11");
    assert!(
        text(&output).contains(&format!("it ended before it was ready in time: it still waited for {why}")),
        "{output:?}"
    );
}

#[test]
fn ready_is_who_listens_on_a_port_has_a_file_or_has_a_command_succeed() {
    if !must::root("ready_is_who_listens_on_a_port_has_a_file_or_has_a_command_succeed") {
        return;
    }
    let root = root("looks");
    let config = app("port", &root, "await:/tmp/go listen:8080 wait", "ready = port 8080")
        + &app("file", &root, "await:/tmp/go touch:/tmp/ready wait", "ready = file /tmp/ready")
        + &app("command", &root, "await:/tmp/go wait", "ready = command /bin/say is:/tmp/go")
        + &app("unmapped", &root, "await:/tmp/go wait", "ready = command /bin/say is:/tmp/go\nuserns = none")
        + &app("box", &root, "await:/tmp/go wait", "ready = command /bin/say is:/tmp/go").replace("= app", "= os")
        // What is on the host only is nothing of the guest's, whatever leads there.
        + &app("astray", &root, "link:/etc/passwd wait", "ready = file /tmp/link")
        + &app("around", &root, "link:/tmp/link wait", "ready = file /tmp/link")
        + &app("behind", &root, "wait", "after = port file command unmapped box")
        + "[service host]\ncommand = /bin/sleep 1000\nready = command /bin/sh -c \"test -e /run/go\"\n";
    let supervisor = Supervisor::start("looks", &config);
    supervisor.await_answer();
    let guests = ["port", "file", "command", "unmapped", "box"];
    for guest in guests.iter().chain(&["astray", "around", "host"]) {
        await_state(&supervisor, guest, "running");
    }
    assert_eq!(state(&supervisor, "behind"), "waiting");
    let awaits = supervisor.facts("port")["awaits"].as_str().unwrap().to_owned();
    assert!(awaits.starts_with("it waits for something to listen on port 8080 ("), "{awaits}");
    for guest in guests {
        assert!(supervisor.inside_of(guest, &["/bin/say", "touch:/tmp/go"]).status.success(), "{guest}");
    }
    for guest in guests {
        supervisor.await_ready(guest);
    }
    supervisor.await_ready("behind");
    assert_eq!(state(&supervisor, "host"), "running");
    fs::write(supervisor.directory.join("run/go"), "").unwrap();
    supervisor.await_ready("host");
    for guest in ["astray", "around"] {
        assert_eq!(state(&supervisor, guest), "running", "{guest}");
    }
    assert_eq!(supervisor.log().matches("bug of inn").count(), 0, "{}", supervisor.log());
}

#[test]
fn a_look_that_hangs_or_cannot_begin_ends_with_its_time_and_leaves_nothing() {
    if !must::root("a_look_that_hangs_or_cannot_begin_ends_with_its_time_and_leaves_nothing") {
        return;
    }
    let root = root("hangs");
    let rest = "within 1s\nrestart = never\nautostart = no";
    let config = app("hangs", &root, "wait", &format!("ready = command /bin/say fork deaf wait {rest}"))
        + &app("missing", &root, "wait", &format!("ready = command /bin/nothing {rest}"))
        + &app("closed", &root, "wait", &format!("ready = port 81 {rest}"))
        + &app("web", &root, "wait", "after = closed\nrestart = never\nautostart = no");
    let supervisor = Supervisor::start("hangs", &config);
    supervisor.await_answer();
    for (guest, awaited) in [
        ("hangs", "/bin/say to exit with 0"),
        ("missing", "/bin/nothing to exit with 0"),
        ("closed", "something to listen on port 81"),
    ] {
        let mut web = supervisor.command(&["start", "--wait", "web"]);
        let web = (guest == "closed").then(|| {
            let web = web.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
            await_state(&supervisor, "web", "waiting");
            web.expect("inn starts")
        });
        let output = supervisor.inn(&["start", "--wait", guest]);
        assert_eq!(output.status.code(), Some(1), "{guest}");
        let said = text(&output);
        assert!(
            said.contains(&format!("it ended before it was ready in time: it still waited for {awaited}")),
            "{said}"
        );
        if let Some(web) = web {
            let said = text(&web.wait_with_output().unwrap());
            assert!(said.contains(&format!("closed is not ready: it waits for {awaited}")), "{said}");
        }
        await_state(&supervisor, guest, "failed");
    }
    assert_eq!((supervisor.processes(), supervisor.cgroups()), (vec![], vec![]));
}

#[test]
fn a_guest_whose_health_check_fails_too_often_in_a_row_is_restarted() {
    if !must::root("a_guest_whose_health_check_fails_too_often_in_a_row_is_restarted") {
        return;
    }
    let root = root("health");
    let check = "health = /bin/say is:/tmp/well every 100ms timeout 10s failures";
    let config = app("flaps", &root, "touch:/tmp/well term wait", &format!("{check} 1000"))
        + &app("ends", &root, "touch:/tmp/well term wait", &format!("{check} 2\nready = file /tmp/well"))
        + &app("box", &root, "touch:/tmp/well term wait", &format!("{check} 2\nready = file /tmp/well"))
            .replace("= app", "= os")
        + "[service host]\ncommand = /bin/sleep 1000\nrestart = never\nhealth = /bin/sh -c \"exit 3\" every 100ms failures 2\n";
    let supervisor = Supervisor::start("health", &config);
    supervisor.await_answer();
    let inside = |guest: &str, word: &str| {
        assert!(supervisor.inside_of(guest, &["/bin/say", word]).status.success(), "{guest}: {word}");
    };
    supervisor.wait_for("a look", |this| this.facts("flaps")["health"] == "well");
    let pid = supervisor.facts("flaps")["pid"].clone();
    for _ in 0..2 {
        inside("flaps", "remove:/tmp/well");
        supervisor.wait_for("failures", |this| this.facts("flaps")["health_failures"].as_u64() > Some(1));
        let list = text(&supervisor.inn(&["list"]));
        assert!(list.contains("ready, failing "), "{list}");
        let reason = supervisor.facts("flaps")["health_reason"].clone();
        assert_eq!(reason, "could not have its check succeed: it exited with code 1");
        let status = text(&supervisor.inn(&["status", "flaps"]));
        assert!(status.contains("  health       failing, ") && status.contains(" of 1000 in a row"), "{status}");
        inside("flaps", "touch:/tmp/well");
        supervisor.wait_for("it to be well", |this| this.facts("flaps")["health_failures"] == 0);
    }
    let facts = supervisor.facts("flaps");
    assert_eq!((&facts["pid"], &facts["restarts"]), (&pid, &0.into()));
    for guest in ["ends", "box"] {
        supervisor.wait_for("a look", |this| this.facts(guest)["health"] == "well");
        inside(guest, "remove:/tmp/well");
        supervisor.wait_for("the restart", |this| this.facts(guest)["restarts"] == 1);
        supervisor.wait_for("it to be well", |this| this.facts(guest)["health"] == "well");
        assert_eq!(supervisor.facts(guest)["exit_reason"], "unhealthy: failed its health check");
    }
    await_state(&supervisor, "host", "failed");
    let log = supervisor.log();
    for line in [
        "guest flaps: well again",
        "guest ends: health check failed, 1 of 2 in a row: could not have its check succeed: it exited with code 1",
        "guest ends: not well, stopping: its health check failed too often in a row",
        "guest ends: exited with code 0",
        "service host: health check failed, 2 of 2 in a row: could not have its check succeed: it exited with code 3",
    ] {
        assert!(log.contains(line), "{line}:\n{log}");
    }
}

#[test]
fn a_health_check_that_hangs_is_killed_with_all_it_started_and_one_that_cannot_start_has_failed() {
    if !must::root("a_health_check_that_hangs_is_killed_with_all_it_started_and_one_that_cannot_start_has_failed") {
        return;
    }
    let root = root("sick");
    let rest = "every 100ms timeout 10s failures 2\nrestart = never";
    let short = rest.replace("10s", "300ms");
    let config = app("hangs", &root, "term wait", &format!("health = /bin/say fork fork deaf wait {short}"))
        + &app("leaves", &root, "term wait", "health = /bin/say fork fork every 100ms")
        + &app("missing", &root, "term wait", &format!("health = /bin/nothing {rest}"))
        + &app("full", &root, "fork term wait", &format!("processes = 2\nhealth = /bin/say {rest}"));
    let supervisor = Supervisor::start("sick", &config);
    supervisor.await_answer();
    for (guest, why) in [
        ("hangs", "could not have its check succeed: it took too long"),
        ("missing", "could not find its command: execve: ENOENT"),
    ] {
        await_state(&supervisor, guest, "failed");
        let line = format!("guest {guest}: health check failed, 2 of 2 in a row: {why}");
        assert!(supervisor.log().contains(&line), "{line}:\n{}", supervisor.log());
        assert_eq!(supervisor.facts(guest)["exit_reason"], "unhealthy: failed its health check");
    }
    // What a check leaves behind is killed after it, again and again.
    for _ in 0..3 {
        supervisor.wait_for("a look", |this| this.facts("leaves")["health_checked_ago_ms"].as_u64() < Some(50));
        supervisor.wait_for("nothing left", |this| this.members("leaves").len() == 1);
    }
    // Where there is no controller nothing is limited.
    if supervisor.facts("full")["processes_limit"].is_u64() {
        await_state(&supervisor, "full", "failed");
    }
    assert_eq!(supervisor.facts("leaves")["restarts"], 0);
}

#[test]
fn a_frozen_guest_is_neither_well_nor_ill() {
    if !must::root("a_frozen_guest_is_neither_well_nor_ill") {
        return;
    }
    let root = root("frozen");
    // Looked at once; that look ends when it is let.
    let look = "health = /bin/say await:/tmp/go every 100ms timeout 10s failures 1\nrestart = never\nautostart = no";
    let config = app("checked", &root, "wait", look)
        + &app(
            "fed",
            &root,
            "notify:READY=1 beat:1000000",
            "ready = notify\nhealth = notify every 8s\nrestart = never",
        );
    let supervisor = Supervisor::start("frozen", &config);
    supervisor.await_answer();
    supervisor.wait_for("it to be ready", |this| this.facts("fed")["watchdog_ms"] == 8_000);
    let environment = supervisor.inside_of("fed", &["/bin/say", "variable:WATCHDOG_USEC"]);
    assert!(text(&environment).contains("WATCHDOG_USEC is 8000000"), "{environment:?}");
    assert!(supervisor.inn(&["start", "--wait", "checked"]).status.success());
    let looks = supervisor.cgroup("checked").join("check/cgroup.procs");
    supervisor.wait_for("a look", |_| fs::read_to_string(&looks).is_ok_and(|looks| !looks.is_empty()));
    assert!(supervisor.inn(&["freeze", "checked", "fed"]).status.success());
    // Longer than a look may take, and than the other may be silent: the look is ended, and nobody is blamed for it.
    supervisor.wait_for("the look's end", |_| fs::read_to_string(&looks).is_ok_and(|looks| looks.is_empty()));
    assert!(supervisor.inn(&["thaw", "checked", "fed"]).status.success());
    assert!(supervisor.inside_of("checked", &["/bin/say", "touch:/tmp/go"]).status.success());
    supervisor.wait_for("another look", |this| this.facts("checked")["health"] == "well");
    for guest in ["checked", "fed"] {
        let facts = supervisor.facts(guest);
        assert_eq!((&facts["state"], &facts["restarts"]), (&"ready".into(), &0.into()), "{}", supervisor.log());
    }
    let log = supervisor.log();
    assert!(!log.contains("health check failed") && !log.contains("not well"), "{log}");
}

#[test]
fn a_step_that_is_done_once_lets_those_behind_it_start_when_it_has_ended_with_0() {
    if !must::root("a_step_that_is_done_once_lets_those_behind_it_start_when_it_has_ended_with_0") {
        return;
    }
    let root = root("step");
    let mark = closed().join("step-goes");
    let _ = fs::remove_file(&mark);
    let wait = format!("until test -e {}; do sleep 0.02; done", mark.display());
    let config = format!(
        "[service step]\ncommand = /bin/sh -c \"{wait}\"\nready = exit within 1m\n\
         [service fails]\ncommand = /bin/sh -c \"exit 3\"\nready = exit\nrestart = never\n\
         [service behind-fails]\ncommand = /bin/true\nafter = fails\nrestart = never\n{}",
        app("behind", &root, "wait", "after = step\nstop = SIGKILL")
    );
    let supervisor = Supervisor::start("step", &config);
    await_state(&supervisor, "step", "running");
    assert_eq!(state(&supervisor, "behind"), "waiting");
    let waits = text(&supervisor.inn(&["status", "step"]));
    assert!(waits.contains("its program to end with 0"), "{waits}");
    fs::write(&mark, "").unwrap();
    await_state(&supervisor, "behind", "ready");
    assert_eq!(state(&supervisor, "step"), "down");
    await_state(&supervisor, "fails", "failed");
    assert_eq!(state(&supervisor, "behind-fails"), "waiting");
    let again = supervisor.inn(&["start", "--wait", "step"]);
    assert!(again.status.success(), "a step that is done is what --wait waits for: {}", text(&again));
    fs::remove_file(&mark).unwrap();
    drop(supervisor);
}
