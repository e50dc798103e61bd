//! `inn reload` on this host: guests that are added, removed and changed while a supervisor runs. The kernel has no
//! controllers here, so that some changes are refused.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustix::fs::{CWD, FileType, Mode};

use crate::faults::{Injection, trace};
use crate::must;
use crate::private::{Supervisor, busybox, closed};

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
}

fn service(name: &str, more: &str) -> String {
    format!("[service {name}]\ncommand = /bin/sleep 100000\n{more}")
}

/// A service that does not hear its stop, and ends once the file is there that comes with it.
pub fn slow(test: &str) -> (String, PathBuf) {
    let go = closed().join(format!("reload-{test}-goes"));
    let _ = fs::remove_file(&go);
    let wait = format!("trap '' TERM; echo >&3; until rm {} 2>/dev/null; do sleep 0.05; done", go.display());
    (format!("[service slow]\ncommand = /bin/sh -c \"{wait}\"\nready = fd 3\nstop = SIGTERM 1h SIGKILL\n"), go)
}

fn write(supervisor: &Supervisor, config: &str) {
    // Whole, at once: nobody reads half of it.
    let (new, path) = (supervisor.directory.join("new.conf"), supervisor.directory.join("inn.conf"));
    fs::write(&new, config).and_then(|()| fs::rename(&new, &path)).unwrap();
}

fn started(name: &str, config: &str) -> Option<Supervisor> {
    if !must::root(name) {
        return None;
    }
    let supervisor = Supervisor::start(name, config);
    supervisor.await_answer();
    Some(supervisor)
}

/// Writes `config` and reads it again; what it printed, which must have worked.
fn reload(supervisor: &Supervisor, config: &str) -> String {
    write(supervisor, config);
    let (code, out, err) = said(&supervisor.inn(&["reload"]));
    assert_eq!((code, err.as_str()), (0, ""), "{out}\n{}", supervisor.log());
    out
}

fn names(supervisor: &Supervisor) -> Vec<String> {
    let (_, out, _) = said(&supervisor.inn(&["list", "--plain"]));
    out.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

fn pid(supervisor: &Supervisor, guest: &str) -> u64 {
    supervisor.facts(guest)["pid"].as_u64().unwrap_or(0)
}

fn pending(supervisor: &Supervisor, guest: &str) -> String {
    let facts = supervisor.facts(guest);
    let keys: Vec<_> = facts["pending"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    keys.join(" ")
}

fn oom_score(pid: u64) -> String {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default().trim().to_owned()
}

#[test]
fn what_is_new_starts_what_is_gone_stops_and_what_is_as_it_was_runs_on() {
    let name = "reload-adds";
    let Some(supervisor) = started(name, &[service("a", ""), service("b", "")].concat()) else { return };
    supervisor.await_ready("a");
    supervisor.await_ready("b");
    let (a, b) = (pid(&supervisor, "a"), pid(&supervisor, "b"));
    let config = supervisor.directory.join("inn.conf");
    let again = [service("c", ""), service("a", "description = still\n"), service("d", "autostart = no\n")].concat();
    let text = reload(&supervisor, &again);
    let expected = format!(
        "~ a: description: (none) -> still ({}:5)\n- b: stops\n+ c: starts\n+ d: does not start by itself\n",
        config.display()
    );
    assert_eq!(text, expected);
    supervisor.await_ready("c");
    assert_eq!(names(&supervisor), ["a", "c", "d"]);
    assert_eq!(pid(&supervisor, "a"), a);
    assert_eq!(supervisor.facts("d")["state"], "down");
    assert!(!fs::exists(format!("/proc/{b}")).unwrap());
    assert_eq!(said(&supervisor.inn(&["status", "b"])).0, 3);
    assert!(supervisor.log().contains("inn: b: removed\n"), "{}", supervisor.log());
    assert!(supervisor.log().contains("inn: the config was read again: 2 added, 1 removed, 1 changed\n"));
    // A place that was free is used again, and nothing is left of who had it.
    reload(&supervisor, &[&again, &service("e", "")[..]].concat());
    supervisor.await_ready("e");
    assert_eq!(names(&supervisor), ["a", "e", "c", "d"]);
    assert_eq!(supervisor.facts("e")["restarts"], 0);
    let host: serde_json::Value = serde_json::from_slice(&supervisor.inn(&["status", "--json"]).stdout).unwrap();
    assert_eq!((&host["guests"], &host["running"]), (&4.into(), &3.into()));
    assert_eq!(reload(&supervisor, &[&again, &service("e", "")[..]].concat()), "nothing changed\n");
}

#[test]
fn what_has_failed_starts_once_it_is_otherwise_and_nothing_else_that_is_down() {
    let bad = "command = /no/such/program\nrestart = never\n";
    let config = |repaired: &str, stopped: &str| {
        format!("[service repaired]\n{repaired}[service broken]\n{bad}")
            + &service("stopped", stopped)
            + &format!("[service by-hand]\n{repaired}autostart = no\n")
    };
    let Some(supervisor) = started("reload-failed", &config(bad, "")) else { return };
    let _ = supervisor.inn(&["start", "by-hand"]);
    let state = |guest: &str| supervisor.facts(guest)["state"].as_str().unwrap_or_default().to_owned();
    for name in ["repaired", "broken", "by-hand"] {
        supervisor.wait_for(name, |_| state(name) == "failed");
    }
    supervisor.await_ready("stopped");
    assert!(supervisor.inn(&["stop", "stopped"]).status.success());
    let good = "command = /bin/sleep 100000\nrestart = never\n";
    let told = reload(&supervisor, &config(good, "env = A=1\n"));
    assert!(told.contains("repaired: command: /no/such/program -> "), "{told}");
    supervisor.await_ready("repaired");
    assert_eq!([state("broken"), state("stopped"), state("by-hand")], ["failed", "down", "failed"]);
    let log = supervisor.log();
    assert_eq!(log.matches("service broken: not started").count(), 1, "{log}");
}

#[test]
fn a_dry_run_says_the_same_and_does_nothing() {
    let Some(supervisor) = started("reload-dry", &[service("a", ""), service("b", "")].concat()) else { return };
    supervisor.await_ready("a");
    supervisor.await_ready("b");
    let before = (names(&supervisor), pid(&supervisor, "a"), pid(&supervisor, "b"), supervisor.log());
    let again = [service("a", "oom-score = 7\nuser = 1:1\n"), service("c", "")].concat();
    write(&supervisor, &again);
    let (code, dry, err) = said(&supervisor.inn(&["reload", "--dry-run"]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(dry.contains("- b: stops\n+ c: starts\n") && dry.contains("! a: user: 0:0 -> 1:1 ("), "{dry}");
    assert!(dry.contains("  a runs on as it is until it is restarted: user\n"), "{dry}");
    assert_eq!((names(&supervisor), pid(&supervisor, "a"), pid(&supervisor, "b"), supervisor.log()), before);
    assert_eq!(reload(&supervisor, &again), dry);
    assert_eq!(oom_score(before.1), "7");
}

#[test]
fn a_config_with_errors_changes_nothing_and_all_of_them_are_told() {
    let Some(supervisor) = started("reload-wrong", &service("a", "")) else { return };
    supervisor.await_ready("a");
    let before = (names(&supervisor), pid(&supervisor, "a"), supervisor.log());
    write(
        &supervisor,
        &[service("b", "memry = 5\n"), service("c", "cpus = x\n"), service("a", "oom-score = 3\n")].concat(),
    );
    let config = supervisor.directory.join("inn.conf");
    let check = said(&Command::new(must::inn()).arg("check").arg(&config).output().unwrap());
    let (code, out, err) = said(&supervisor.inn(&["reload"]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(err, check.2.clone() + "inn: the config cannot be used; nothing was changed\n");
    assert!(err.contains(":3:1: unknown key `memry`: did you mean `memory`?\nmemry = 5\n^^^^^\n"), "{err}");
    assert_eq!((names(&supervisor), pid(&supervisor, "a"), supervisor.log()), before);
    let (code, out, _) = said(&supervisor.inn(&["reload", "--json"]));
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    crate::schemas::is_valid("reload", out.as_bytes());
    assert_eq!((code, &object["what"], object["why"].as_str().unwrap()), (2, &"wrong".into(), check.2.as_str()));
    // More of them than fit into one message.
    write(&supervisor, &(0..150).map(|n| service(&format!("x{n}"), "cpus = x\n")).collect::<String>());
    let check = said(&Command::new(must::inn()).arg("check").arg(&config).output().unwrap());
    let (code, _, err) = said(&supervisor.inn(&["reload"]));
    assert_eq!((code, err), (2, check.2 + "inn: the config cannot be used; nothing was changed\n"));
    // A config that is not there is one too.
    fs::remove_file(&config).unwrap();
    let (code, _, err) = said(&supervisor.inn(&["reload"]));
    assert!(code == 2 && err.contains("cannot be read: ENOENT"), "{err}");
    assert_eq!(names(&supervisor), before.0);
}

#[test]
fn what_the_kernel_takes_changes_at_once_and_what_inn_set_changed_goes_back() {
    let Some(supervisor) = started("reload-live", &service("a", "oom-score = 5\nrlimit = nofile 50:60\n")) else {
        return;
    };
    supervisor.await_ready("a");
    let a = pid(&supervisor, "a");
    reload(&supervisor, &service("a", "oom-score = 9\nrlimit = nofile 30:40\n"));
    let files = || {
        let limits = fs::read_to_string(format!("/proc/{a}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
        line.split_whitespace().skip(3).take(2).collect::<Vec<_>>().join(":")
    };
    assert_eq!((oom_score(a), files()), ("9".into(), "30:40".into()));
    assert_eq!((pid(&supervisor, "a"), pending(&supervisor, "a")), (a, String::new()));
    assert_eq!(said(&supervisor.inn(&["set", "-q", "a", "oom-score", "100"])).0, 0);
    assert_eq!(oom_score(a), "100");
    let text = reload(&supervisor, &service("a", "oom-score = 9\nrlimit = nofile 30:40\n"));
    assert!(text.starts_with("~ a: oom-score: 100 -> 9 (") && text.lines().count() == 1, "{text}");
    assert_eq!(oom_score(a), "9");
}

#[test]
fn a_change_that_is_refused_leaves_that_guest_as_it_was_and_the_others_change() {
    let config = [service("a", ""), service("b", ""), service("c", "")].concat();
    let Some(supervisor) = started("reload-refused", &config) else { return };
    ["a", "b", "c"].iter().for_each(|name| drop(supervisor.await_ready(name)));
    let again = [
        service("a", "oom-score = 1\n"),
        service("b", "oom-score = 2\nmemory = 32M\n"),
        service("c", "oom-score = 3\n"),
    ];
    write(&supervisor, &again.concat());
    let (code, out, err) = said(&supervisor.inn(&["reload"]));
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains("inn: b: it stays as it was: could not set memory.max: write: ENOENT"), "{err}");
    assert!(err.contains("inn.conf:7)") && err.contains("no memory controller"), "{err}");
    assert!(err.ends_with("inn: not all of it could be changed; the rest holds\n"), "{err}");
    let scores = ["a", "b", "c"].map(|name| oom_score(pid(&supervisor, name)));
    assert_eq!(scores, ["1", "0", "3"]);
    assert_eq!(pending(&supervisor, "b"), "memory oom-score");
    // It is tried again, and told again.
    let (code, out, _) = said(&supervisor.inn(&["reload", "--json"]));
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len()), (1, 3), "{out}");
    assert_eq!(
        (&lines[2]["what"], &lines[2]["guest"], &lines[2]["key"]),
        (&"refused".into(), &"b".into(), &"memory".into())
    );
    crate::schemas::is_valid("reload", out.as_bytes());
    // Back to what runs: nothing is left of it.
    reload(&supervisor, &[service("a", "oom-score = 1\n"), service("b", ""), service("c", "oom-score = 3\n")].concat());
    assert_eq!(pending(&supervisor, "b"), "");
}

fn os(root: &std::path::Path, more: &str) -> String {
    format!("[guest web]\nkind = os\nroot = {}\ncommand = /bin/sleep 1000\n{more}", root.display())
}

#[test]
fn a_guest_that_cannot_change_runs_on_as_it_was_in_all_and_is_the_new_one_from_its_next_start_on() {
    let root = busybox("reload-pending");
    let Some(supervisor) = started("reload-pending", &os(&root, "env = A=old\n")) else { return };
    supervisor.await_ready("web");
    let first = pid(&supervisor, "web");
    let text =
        reload(&supervisor, &os(&root, "env = A=new\nhostname = other\nuser = 5\ncaps = -sys_chroot\noom-score = 9\n"));
    assert!(text.contains("! web: env: A=old -> A=new (") && text.contains("), needs a restart\n"), "{text}");
    assert!(text.contains("web runs on as it is until it is restarted: hostname, env, user, caps\n"), "{text}");
    assert_eq!((pid(&supervisor, "web"), oom_score(first)), (first, "9".into()));
    assert_eq!(pending(&supervisor, "web"), "hostname env user caps");
    let (_, list, _) = said(&supervisor.inn(&["list"]));
    assert!(list.contains("web: restart pending: hostname, env, user, caps\n"), "{list}");
    let (_, status, _) = said(&supervisor.inn(&["status", "web"]));
    assert!(status.contains("pending      hostname, env, user, caps (from its next start on)"), "{status}");
    // What enters is as the guest is now.
    let inside = |script: &str| {
        let output = supervisor.inside_of("web", &["/bin/sh", "-c", script]);
        let (_, out, err) = said(&output);
        out + &err
    };
    let facts = "echo $A; read n < /proc/sys/kernel/hostname; echo $n; while read k v; do case $k in Uid:|CapBnd:) \
        echo $k $v;; esac; done < /proc/self/status";
    let before = inside(facts);
    assert!(before.starts_with("old\nweb\nUid: 0 0 0 0\n"), "{before}");
    assert!(supervisor.inn(&["restart", "--wait", "web"]).status.success());
    assert_ne!(pid(&supervisor, "web"), first);
    assert_eq!(pending(&supervisor, "web"), "");
    let after = inside(facts);
    assert!(after.starts_with("new\nother\nUid: 5 5 5 5\n"), "{after}");
    let bounds = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("CapBnd: ")).unwrap_or_default().to_owned();
        u64::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("{text}"))
    };
    assert_eq!(bounds(&before) & !bounds(&after), 1 << 18, "{before}{after}");
    let _ = fs::remove_dir_all(root);
}

#[test]
fn a_guest_that_ends_by_itself_starts_again_as_the_new_one() {
    let config = |arguments: &str| format!("[service a]\ncommand = /bin/sleep {arguments}\nrestart = always\n");
    let Some(supervisor) = started("reload-again", &config("100000")) else { return };
    supervisor.await_ready("a");
    let first = pid(&supervisor, "a");
    reload(&supervisor, &config("200000"));
    assert_eq!(pid(&supervisor, "a"), first);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    supervisor.wait_for("its next run", |this| ![0, first].contains(&pid(this, "a")));
    supervisor.await_ready("a");
    let line = fs::read_to_string(format!("/proc/{}/cmdline", pid(&supervisor, "a"))).unwrap();
    assert_eq!(line, "/bin/sleep\x00200000\0");
}

#[test]
fn a_signal_does_the_same_and_tells_the_journal() {
    let Some(supervisor) = started("reload-signal", &service("a", "")) else { return };
    supervisor.await_ready("a");
    let first = pid(&supervisor, "a");
    let hang_up = || {
        let pid = nix::unistd::Pid::from_raw(supervisor.pid() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    };
    write(&supervisor, &[service("a", ""), service("b", "")].concat());
    hang_up();
    supervisor.await_ready("b");
    write(&supervisor, &service("a", "memry = 5\n"));
    hang_up();
    supervisor.wait_for("the error", |this| this.log().contains("the config cannot be used; nothing is changed\n"));
    assert!(supervisor.log().contains("inn.conf:3:1: unknown key `memry`"), "{}", supervisor.log());
    assert_eq!(names(&supervisor), ["a", "b"]);
    // Right behind another, which has just been answered: nothing else happens that would bring it to mind.
    for round in 0..5 {
        reload(&supervisor, &service("a", &format!("oom-score = {round}\n")));
        write(&supervisor, &service("a", &format!("oom-score = 5{round}\n")));
        hang_up();
        supervisor.wait_for("the change", |_| oom_score(first) == format!("5{round}"));
    }
    write(&supervisor, &[service("a", ""), service("b", "")].concat());
    hang_up();
    supervisor.wait_for("b to be back", |this| names(this) == ["a", "b"]);
    // As often as one likes.
    write(&supervisor, &service("a", ""));
    (0..200).for_each(|_| hang_up());
    supervisor.wait_for("b to be gone", |this| names(this) == ["a"]);
}

#[test]
fn a_log_goes_elsewhere_from_the_next_start_on() {
    let Some(supervisor) = started("reload-log", "") else { return };
    let path = |name: &str| supervisor.directory.join(name);
    let text = |name: &str| fs::read_to_string(path(name)).unwrap_or_default();
    let to = |name: &str| format!("log = {} 64K 2", path(name).display());
    let service =
        |name: &str, log: &str| format!("[service {name}]\ncommand = /bin/sh -c \"echo hello; sleep 1000\"\n{log}\n");
    let with = |log: &str| service("a", log) + &service("b", &to("b-one"));
    reload(&supervisor, &with(&to("one")));
    supervisor.wait_for("the first file", |_| text("one").contains("hello") && text("b-one").contains("hello"));
    let told = reload(&supervisor, &with(&to("two")));
    assert!(told.contains("! a: log: ") && told.contains("a runs on as it is until it is restarted: log\n"), "{told}");
    // Who writes the first file finds all of it at once: its end, and what is not for it.
    let is = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "inn-log\n");
    let writer = supervisor.processes().into_iter().find(is).expect("it writes").to_string();
    assert!(Command::new("kill").args(["-STOP", &writer]).status().unwrap().success());
    let hellos = |count| {
        let logs = |this: &Supervisor| said(&this.inn(&["logs", "a"])).1;
        supervisor.wait_for("its line", |this| logs(this).matches("hello").count() == count);
    };
    assert!(supervisor.inn(&["restart", "--wait", "a"]).status.success());
    hellos(2);
    // It has been asked to end by now.
    reload(&supervisor, &(service("a", &to("two")) + &service("b", &to("b-two"))));
    assert!(supervisor.inn(&["restart", "--wait", "b"]).status.success());
    let logs = |this: &Supervisor| said(&this.inn(&["logs", "b"])).1;
    supervisor.wait_for("its other line", |this| logs(this).matches("hello").count() == 2);
    assert!(Command::new("kill").args(["-CONT", &writer]).status().unwrap().success());
    supervisor.wait_for("the second files", |_| text("two").contains("hello") && text("b-two").contains("hello"));
    for name in ["one", "b-one"] {
        assert_eq!(text(name).matches("hello").count(), 1, "{name}: {}", text(name));
    }
    reload(&supervisor, &with("log = 4K"));
    assert!(supervisor.inn(&["restart", "--wait", "a"]).status.success());
    supervisor.wait_for("its log", |this| said(&this.inn(&["logs", "a"])).1.contains("hello"));
    assert_eq!(text("two").matches("hello").count(), 1, "{}", text("two"));
}

#[test]
fn what_is_removed_goes_in_order_by_its_own_steps_whatever_it_is_doing() {
    let (slow, go) = slow("removes");
    let failing = "[service failing]\ncommand = /bin/false\nrestart = always\nrestart-delay = 1h\n";
    let waiting =
        service("waiting", "after = never\n") + "[service never]\ncommand = /bin/sleep 100000\nready = fd 5\n";
    let config = [
        &slow[..],
        failing,
        &waiting,
        &service("stay", ""),
        &service("user", "after = store\n"),
        &service("store", ""),
    ];
    let Some(supervisor) = started("reload-removes", &config.concat()) else { return };
    ["slow", "stay", "user", "store"].iter().for_each(|name| drop(supervisor.await_ready(name)));
    supervisor.wait_for("a back-off", |this| this.facts("failing")["state"] == "delayed");
    assert_eq!(supervisor.facts("waiting")["state"], "waiting");
    write(&supervisor, &service("stay", ""));
    let mut client = supervisor.command(&["reload"]).stdout(Stdio::piped()).spawn().unwrap();
    supervisor.wait_for("the stop", |this| this.facts("slow")["removed"] == true);
    let (code, _, err) = said(&supervisor.inn(&["start", "slow"]));
    assert!(code == 4 && err.contains("the config has it no more"), "{err}");
    fs::write(go, "").unwrap();
    let mut text = String::new();
    client.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(client.wait().unwrap().success());
    assert_eq!(text.lines().filter(|line| line.starts_with("- ")).count(), 6, "{text}");
    assert_eq!(names(&supervisor), ["stay"]);
    let log = supervisor.log();
    let at = |line: &str| log.find(line).unwrap_or_else(|| panic!("{line}: {log}"));
    assert!(at("service user: down") < at("service store: stopping"), "{log}");
}

#[test]
fn one_that_comes_back_before_it_is_gone_starts_again() {
    let (slow, go) = slow("back");
    let Some(supervisor) = started("reload-back", &[&*slow, &service("stay", "")].concat()) else { return };
    supervisor.await_ready("slow");
    let first = pid(&supervisor, "slow");
    write(&supervisor, &service("stay", ""));
    let mut client = supervisor.command(&["reload"]).stdout(Stdio::null()).spawn().unwrap();
    supervisor.wait_for("the stop", |this| this.facts("slow")["state"] == "stopping");
    let text = reload(&supervisor, &[&*slow, &service("stay", "")].concat());
    assert_eq!(text, "+ slow: starts\n");
    fs::write(go, "").unwrap();
    supervisor.wait_for("a new run", |this| ![0, first].contains(&pid(this, "slow")));
    assert!(client.wait().unwrap().success());
    assert_eq!(supervisor.facts("slow")["removed"], false);
}

#[test]
fn clients_take_turns_and_one_that_is_killed_holds_nobody_up() {
    let Some(supervisor) = started("reload-clients", &service("a", "")) else { return };
    supervisor.await_ready("a");
    let mut clients = Vec::new();
    for round in 0..24 {
        write(
            &supervisor,
            &[service("a", &format!("oom-score = {round}\n")), service("b", &format!("env = R={round}\n"))].concat(),
        );
        let verb: &[&str] = if round % 3 == 2 { &["set", "a", "oom-score", "500"] } else { &["reload"] };
        let mut client = supervisor.command(verb).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        if round % 4 == 1 {
            std::thread::sleep(Duration::from_millis(round));
            client.kill().unwrap();
            client.wait().unwrap();
        } else {
            clients.push(client);
        }
    }
    for client in clients {
        let (code, _, err) = said(&client.wait_with_output().unwrap());
        assert_eq!(code, 0, "{err}");
    }
    reload(&supervisor, &[service("a", "oom-score = 77\n"), service("b", "")].concat());
    assert_eq!(oom_score(pid(&supervisor, "a")), "77");
    assert_eq!(names(&supervisor), ["a", "b"]);
}

#[test]
fn a_hundred_reloads_in_a_storm_of_starts_lose_nobody() {
    let many = |round: usize| -> String {
        (0..60)
            .filter(|n| !(n + round).is_multiple_of(3))
            .map(|n| service(&format!("s{n}"), &format!("oom-score = {round}\n")))
            .collect()
    };
    let Some(supervisor) = started("reload-storm", &many(0)) else { return };
    for round in 1..20 {
        write(&supervisor, &many(round));
        let (code, out, err) = said(&supervisor.inn(&["reload"]));
        assert_eq!((code, err.as_str()), (0, ""), "{out}\n{}", supervisor.log());
        if round % 2 == 1 {
            supervisor.inn(&["restart", &format!("s{}", 3 + round % 2)]);
        }
    }
    let expected: std::collections::BTreeSet<_> =
        (0..60usize).filter(|n| !(n + 19).is_multiple_of(3)).map(|n| format!("s{n}")).collect();
    assert_eq!(names(&supervisor).into_iter().collect::<std::collections::BTreeSet<_>>(), expected);
    for name in &expected {
        supervisor.await_ready(name);
        assert_eq!(oom_score(pid(&supervisor, name)), "19", "{name}");
        assert_eq!(pending(&supervisor, name), "", "{name}");
    }
}

#[test]
fn two_hundred_guests_change_and_the_memory_of_the_old_plan_is_given_back() {
    let many = |command: &str| -> String {
        (0..200)
            .map(|n| format!("[service s{n}]\ncommand = /bin/sleep {command}\nautostart = no\nenv = A=1 B=2\n"))
            .collect()
    };
    let Some(supervisor) = started("reload-many", &many("1")) else { return };
    let dirty = || {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", supervisor.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap().to_owned();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    supervisor.inn(&["list"]);
    let before = dirty();
    for round in 2..8 {
        let text = reload(&supervisor, &many(&round.to_string()));
        assert_eq!(text.lines().count(), 200);
        assert!(text.lines().all(|line| line.ends_with("when it starts")), "{text}");
    }
    supervisor.inn(&["list"]);
    let after = dirty();
    // A page here and there is another; a second plan would be more than two hundred KiB.
    assert!(after < before + 64, "{before} KiB before, {after} KiB after");
}

/// Keeps whoever reads the config from going on, as storage that hangs does, as long as this lives.
pub struct Held {
    /// What is written when all is read: a pipe that nobody reads, whose opening waits for that.
    pipe: File,
    file: PathBuf,
}

impl Held {
    pub fn new(supervisor: &Supervisor) -> Held {
        let file = supervisor.directory.join("run/inn/users.new");
        let _ = fs::remove_file(&file);
        let path = file.to_str().unwrap();
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let pipe = File::options().read(true).custom_flags(nix::libc::O_PATH).open(&file).unwrap();
        Held { pipe, file }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Who comes from now on finds a file, and who waits a reader.
        let other = self.file.with_extension("other");
        let _ = fs::write(&other, "").and_then(|()| fs::rename(&other, &self.file));
        let pipe = format!("/proc/self/fd/{}", self.pipe.as_raw_fd());
        let _ = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(pipe);
    }
}

/// The child of the supervisor that reads the config, once it is held.
pub fn reader(supervisor: &Supervisor) -> u32 {
    let open = format!("{} ", nix::libc::SYS_openat);
    let is = |pid: &u32| {
        let text = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        text("comm") == "inn\n" && text("syscall").starts_with(&open)
    };
    let find = |this: &Supervisor| this.processes().into_iter().find(is);
    supervisor.wait_for("the child", |this| find(this).is_some());
    find(supervisor).expect("it waits")
}

#[test]
fn storage_that_hangs_is_told_and_the_supervisor_serves_on() {
    let Some(supervisor) = started("reload-hangs", &service("a", "")) else { return };
    supervisor.await_ready("a");
    write(&supervisor, &[service("a", ""), service("b", "")].concat());
    let held = Held::new(&supervisor);
    let mut client = supervisor.command(&["reload"]).stderr(Stdio::piped()).spawn().unwrap();
    let child = reader(&supervisor);
    let begun = Instant::now();
    while client.try_wait().unwrap().is_none() {
        assert!(supervisor.inn(&["list"]).status.success());
        assert!(begun.elapsed() < must::PATIENCE, "it is never told");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (code, _, err) = said(&client.wait_with_output().unwrap());
    assert!(code == 5 && err.contains("its storage hangs; nothing was changed"), "{code} {err}");
    assert_eq!(names(&supervisor), ["a"]);
    supervisor.wait_for("its end", |_| !fs::exists(format!("/proc/{child}")).unwrap());
    drop(held);
    assert_eq!(said(&supervisor.inn(&["reload"])).0, 0);
    supervisor.await_ready("b");
}

#[test]
fn what_goes_on_while_the_config_is_read_is_not_forgotten() {
    let config = |time: u32, more: &str| format!("[service a]\ncommand = /bin/sleep {time}\n{more}");
    let Some(supervisor) = started("reload-meanwhile", &(config(100_000, "") + &service("gone", ""))) else { return };
    supervisor.await_ready("a");
    supervisor.await_ready("gone");
    let line = || fs::read_to_string(format!("/proc/{}/cmdline", pid(&supervisor, "a"))).unwrap_or_default();
    reload(&supervisor, &(config(200_000, "") + &service("gone", "")));
    assert_eq!((line().as_str(), pending(&supervisor, "a").as_str()), ("/bin/sleep\x00100000\0", "command"));
    write(&supervisor, &config(300_000, "oom-score = 3\n"));
    let held = Held::new(&supervisor);
    let mut client = supervisor.command(&["reload"]).stdout(Stdio::null()).spawn().unwrap();
    reader(&supervisor);
    // It becomes what it was to be, which the child does not know; and one is down that it takes for running.
    assert!(supervisor.inn(&["restart", "--wait", "a"]).status.success());
    assert!(supervisor.inn(&["stop", "gone"]).status.success());
    assert_eq!(line(), "/bin/sleep\x00200000\0");
    let mut busy = supervisor.command(&["set", "-q", "a", "oom-score", "9"]).spawn().unwrap();
    drop(held);
    assert!(client.wait().unwrap().success());
    // What was asked for meanwhile comes behind it.
    assert!(busy.wait().unwrap().success());
    assert_eq!((line().as_str(), pending(&supervisor, "a").as_str()), ("/bin/sleep\x00200000\0", "command"));
    assert_eq!((oom_score(pid(&supervisor, "a")).as_str(), names(&supervisor)), ("9", vec!["a".to_owned()]));
    assert!(supervisor.inn(&["restart", "--wait", "a"]).status.success());
    assert_eq!(line(), "/bin/sleep\x00300000\0");
}

/// Every call of a reload fails once, or the child that makes it is killed there: what is told is what is so, and the next
/// attempt works.
#[test]
fn every_call_of_a_reload_may_fail() {
    if !must::root("every_call_of_a_reload_may_fail") {
        return;
    }
    let ways = [Some(Errno::EPERM), Some(Errno::ENOMEM), None];
    let threads: Vec<_> = ways.map(|error| std::thread::spawn(move || fail_each_call(error))).into();
    for thread in threads {
        thread.join().expect("every reload was made or not made");
    }
}

fn fail_each_call(error: Option<Errno>) {
    let name = format!("reload-{}", error.map_or("killed".into(), |error| format!("{error:?}")));
    let config = |odd: bool| match odd {
        true => service("a", "oom-score = 1\nuser = 1\n") + &service("b", "autostart = no\n"),
        false => service("a", "oom-score = 2\nuser = 2\n"),
    };
    let supervisor = Supervisor::start(&name, &service("a", ""));
    supervisor.await_answer();
    let first = supervisor.await_ready("a")["pid"].as_u64().unwrap();
    let is = |odd: bool| {
        oom_score(first) == if odd { "1" } else { "2" } && names(&supervisor).len() == if odd { 2 } else { 1 }
    };
    reload(&supervisor, &config(false));
    let injection = Arc::new(Injection::default());
    let (ready, begun) = mpsc::channel();
    let tracer = {
        let (injection, root) = (Arc::clone(&injection), nix::unistd::Pid::from_raw(supervisor.pid() as i32));
        std::thread::spawn(move || trace(root, error, &injection, &ready))
    };
    begun.recv().expect("it is traced");
    let (mut odd, mut made, mut touched) = (true, 0, 0);
    for number in 1..1000 {
        write(&supervisor, &config(odd));
        injection.arm(number);
        let (code, _, err) = said(&supervisor.inn(&["reload", "-q"]));
        let failed = injection.disarm();
        let what = || format!("{name}: call {number} ({failed}) gave {code} {err}\n{}", supervisor.log());
        assert!(code != 0 || is(odd), "it is said to be changed: {}", what());
        assert!(!err.contains("nothing was changed") || is(!odd), "{}", what());
        made += u32::from(is(odd));
        // Whatever came of it, the next one comes through; under a tracer a process may take its time to stand still.
        let mut again = said(&supervisor.inn(&["reload", "-q"]));
        for _ in 0..3 {
            if again.0 == 1 && again.2.contains("hold it still: write: ETIMEDOUT") {
                must::say(&format!("{name}: after call {number} it took its time"));
                again = said(&supervisor.inn(&["reload", "-q"]));
            }
        }
        let (code, _, err) = again;
        assert!(code == 0 && is(odd), "{code} {err} after {}", what());
        let facts = supervisor.facts("a");
        assert_eq!((&facts["pid"], &facts["state"]), (&first.into(), &"ready".into()), "{}", what());
        assert_eq!(pending(&supervisor, "a"), "user", "{}", what());
        if failed == -1 {
            break;
        }
        touched = number;
        odd = !odd;
    }
    assert!((60..990).contains(&touched), "{touched} calls failed");
    assert!(made > 0, "none of them was made");
    injection.done.store(true, Ordering::SeqCst);
    must::say(&format!("{name}: each of {touched} calls failed, and {made} reloads were made all the same"));
    drop(supervisor);
    tracer.join().expect("the tracer ends");
}

#[test]
fn a_first_service_has_a_cgroup_of_its_own_and_guests_keep_their_users() {
    let root = busybox("reload-users");
    let Some(supervisor) = started("reload-users", &os(&root, "")) else { return };
    let users = supervisor.await_ready("web")["users"].clone();
    let record = || fs::read_to_string(supervisor.directory.join("run/inn/users")).unwrap();
    let text = record();
    reload(&supervisor, &(service("first", "") + &os(&root, "")));
    let first = supervisor.await_ready("first");
    assert!(first["cgroup"].as_str().unwrap().ends_with(".services/first"), "{first}");
    assert_eq!(supervisor.facts("web")["users"], users);
    assert_eq!(record(), text);
    // What waits is no reason to record it twice.
    reload(&supervisor, &(service("first", "") + &os(&root, "env = A=1\n")));
    assert_eq!(record(), text);
    // The range that it is to have is recorded beside the one that it has.
    reload(&supervisor, &(service("first", "") + &os(&root, "userns = 200000:65536\n")));
    assert!(record().contains(&format!("web 200000 65536 {} ", supervisor.pid())), "{}", record());
    assert!(record().contains(text.trim_end()), "{}", record());
    assert_eq!(supervisor.facts("web")["users"], users);
    let _ = fs::remove_dir_all(root);
}

#[test]
fn while_the_host_goes_down_nothing_is_read() {
    let (slow, go) = slow("end");
    let Some(mut supervisor) = started("reload-end", &slow) else { return };
    supervisor.await_ready("slow");
    write(&supervisor, &[&*slow, &service("new", "")].concat());
    let pid = nix::unistd::Pid::from_raw(supervisor.pid() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    supervisor.wait_for("the stop", |this| this.facts("slow")["state"] == "stopping");
    let (code, _, err) = said(&supervisor.inn(&["reload"]));
    assert!(code == 4 && err.contains("the host is going down"), "{code} {err}");
    fs::write(go, "").unwrap();
    assert!(supervisor.wait().success());
    assert!(!supervisor.log().contains("service new"), "{}", supervisor.log());
}
