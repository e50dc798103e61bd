//! `inn supervise` on this host: real services and guests, started, watched, restarted and stopped, apart from everything
//! else that runs here.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::must;
use crate::private::{Supervisor, busybox};

/// The words of one guest's line of `inn list --plain`.
fn row(supervisor: &Supervisor, guest: &str) -> Vec<String> {
    let output = supervisor.inn(&["list", "--plain"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.split('\t').next() == Some(guest)).unwrap_or_default();
    line.split('\t').map(str::to_owned).collect()
}

fn state(supervisor: &Supervisor, guest: &str) -> String {
    row(supervisor, guest).get(1).cloned().unwrap_or_default()
}

fn pid(supervisor: &Supervisor, guest: &str) -> String {
    row(supervisor, guest).get(3).cloned().unwrap_or_default()
}

fn await_state(supervisor: &Supervisor, guest: &str, wanted: &str) {
    supervisor.wait_for(&format!("{guest} to be {wanted}"), |this| state(this, guest).starts_with(wanted));
}

fn code(output: &std::process::Output) -> i32 {
    output.status.code().expect("no signal")
}

fn send(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Where in the log each of `lines` stands for the first time, which must be in this order.
fn in_order(log: &str, lines: &[&str]) {
    let places: Vec<_> = lines.iter().map(|line| (log.find(line), line)).collect();
    for pair in places.windows(2) {
        assert!(pair[0].0.is_some() && pair[0].0 < pair[1].0, "{} before {} in:\n{log}", pair[0].1, pair[1].1);
    }
}

#[test]
fn a_service_that_does_not_stay_up_is_given_up_and_the_host_left_alone() {
    if !must::root("a_service_that_does_not_stay_up_is_given_up_and_the_host_left_alone") {
        return;
    }
    let mut supervisor = Supervisor::start(
        "give-up",
        "[host]\nmark-bad = /bin/false\n\
         [profile short]\nrestart = always\nrestart-delay = 1ms 1ms\n\
         [service brief]\nprofile = short\ncommand = /bin/true\ngive-up = after 3 within 1m then stop\n\
         [service bad]\nprofile = short\ncommand = /bin/false\ngive-up = after 2 within 1m then mark-bad\n",
    );
    supervisor.await_answer();
    for (name, restarts) in [("brief", 2), ("bad", 1)] {
        await_state(&supervisor, name, "failed");
        assert_eq!(supervisor.facts(name)["restarts"], restarts, "{name}");
    }
    let log = supervisor.log();
    assert!(log.contains("service brief: ended 3 times within 1m: given up"), "{log}");
    assert!(log.contains("bad ended 2 times within 1m: mark-bad is for the host's own init; nothing is done"), "{log}");
    let events = supervisor.inn(&["events"]);
    let events = String::from_utf8_lossy(&events.stdout);
    let told = r#""event":"given-up","guest":"bad","kind":"service","ends":2,"within_ms":60000,"then":"mark-bad"}"#;
    assert!(events.contains(told), "{events}");
    send(supervisor.pid(), "-TERM");
    assert!(supervisor.wait().success());
}

#[test]
fn services_start_in_order_and_stop_the_other_way_round() {
    if !must::root("services_start_in_order_and_stop_the_other_way_round") {
        return;
    }
    let mut supervisor = Supervisor::start(
        "order",
        "[service top]\ncommand = /bin/sleep 1000\nafter = middle\n\
         [service middle]\ncommand = /bin/sh -c \"sleep 0.2; echo >&5; exec sleep 1000\"\nready = fd 5\nafter = base\n\
         [service base]\ncommand = /bin/sleep 1000\n",
    );
    supervisor.await_answer();
    await_state(&supervisor, "top", "ready");
    send(supervisor.pid(), "-TERM");
    let status = supervisor.wait();
    assert_eq!(status.code(), Some(0), "{}", supervisor.log());
    let log = supervisor.log();
    in_order(
        &log,
        &[
            "base: started",
            "middle: started",
            "middle: ready",
            "top: started",
            "going down",
            "top: down",
            "middle: down",
            "base: down",
        ],
    );
    assert_eq!(supervisor.cgroups(), Vec::<String>::new());
    assert_eq!(supervisor.processes(), Vec::<u32>::new());
}

#[test]
fn a_service_that_dies_is_started_again_and_all_it_left_is_killed_first() {
    if !must::root("a_service_that_dies_is_started_again_and_all_it_left_is_killed_first") {
        return;
    }
    // Its child is in another session, and ignores what can be ignored.
    let supervisor = Supervisor::start(
        "restart",
        "[service worker]\nrestart = always\n\
         command = /bin/sh -c \"setsid sh -c 'trap : TERM HUP INT; sleep 1000; sleep 1000' & exec sleep 2000\"\n",
    );
    supervisor.await_answer();
    await_state(&supervisor, "worker", "ready");
    supervisor.wait_for("the child", |this| this.processes().len() >= 3);
    let before = supervisor.processes();
    let first = pid(&supervisor, "worker");
    send(first.parse().unwrap(), "-KILL");
    supervisor.wait_for("another process", |this| {
        let now = pid(this, "worker");
        now != first && now.parse::<u32>().is_ok()
    });
    supervisor.wait_for("its child", |this| this.processes().len() >= 3);
    let after = supervisor.processes();
    assert!(before.iter().all(|old| !after.contains(old)), "{before:?} {after:?}");
    // The child's own commands take half an hour: it is not waited for.
    assert_eq!(code(&supervisor.inn(&["stop", "--timeout", "1m", "worker"])), 0);
    assert_eq!(supervisor.processes(), Vec::<u32>::new());
    assert_eq!(state(&supervisor, "worker"), "down");
}

#[test]
fn a_start_that_fails_says_why_and_another_guest_runs_on() {
    if !must::root("a_start_that_fails_says_why_and_another_guest_runs_on") {
        return;
    }
    let supervisor = Supervisor::start(
        "failing",
        "[service missing]\ncommand = /no/such/program\nautostart = no\nrestart = never\n\
         [service flapping]\ncommand = /bin/sh -c \"exit 3\"\nautostart = no\nrestart = always\n\
         [service dependent]\ncommand = /bin/sleep 1000\nafter = missing\n\
         [service steady]\ncommand = /bin/sleep 1000\n",
    );
    supervisor.await_answer();
    await_state(&supervisor, "steady", "ready");
    let steady = pid(&supervisor, "steady");
    let output = supervisor.inn(&["start", "--wait", "missing"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(code(&output), 1);
    assert!(words.contains("ENOENT") && words.contains("command") && words.contains("inn.conf:2"), "{words}");
    assert_eq!(state(&supervisor, "missing"), "failed");
    assert_eq!(state(&supervisor, "dependent"), "waiting");
    let output = supervisor.inn(&["start", "--wait", "flapping"]);
    // Running for a moment counts as ready where nothing else says so; then it is down, and starts again later.
    assert!(matches!(code(&output), 0 | 1));
    await_state(&supervisor, "flapping", "delayed");
    assert_eq!(code(&supervisor.inn(&["stop", "flapping"])), 0);
    assert_eq!(code(&supervisor.inn(&["start", "nobody"])), 3);
    assert_eq!(code(&supervisor.inn(&["poweroff"])), 4);
    assert_eq!(pid(&supervisor, "steady"), steady);
}

#[test]
fn output_is_kept_and_a_flood_harms_nobody() {
    if !must::root("output_is_kept_and_a_flood_harms_nobody") {
        return;
    }
    let supervisor = Supervisor::start(
        "output",
        "[service talker]\ncommand = /bin/sh -c \"echo one; echo two >&2; echo three; exec sleep 1000\"\n\
         [service last-words]\ncommand = /bin/sh -c \"seq 1 5000; echo the end\"\n\
         [service flood]\ncommand = /bin/cat /dev/zero\nautostart = no\n",
    );
    supervisor.await_answer();
    supervisor.wait_for("the output", |this| this.inn(&["logs", "talker"]).stdout == b"one\ntwo\nthree\n");
    assert_eq!(supervisor.inn(&["logs", "-n", "1", "talker"]).stdout, b"three\n");
    await_state(&supervisor, "last-words", "down");
    assert!(supervisor.inn(&["logs", "last-words"]).stdout.ends_with(b"\n5000\nthe end\n"));
    assert_eq!(code(&supervisor.inn(&["start", "flood"])), 0);
    supervisor.wait_for("the flood", |this| this.inn(&["logs", "flood"]).stdout.len() > 60_000);
    for _ in 0..20 {
        assert_eq!(code(&supervisor.inn(&["list"])), 0, "the flood holds the others up");
    }
    assert_eq!(code(&supervisor.inn(&["kill", "flood"])), 0);
    let kept = supervisor.inn(&["logs", "flood"]).stdout.len();
    assert!((64 << 10..=80_000).contains(&kept), "{kept}");
}

#[test]
fn a_guest_that_handles_no_signal_is_stopped_without_waiting() {
    if !must::root("a_guest_that_handles_no_signal_is_stopped_without_waiting") {
        return;
    }
    let root = busybox("deaf");
    let config =
        |kind| format!("kind = {kind}\nroot = {}\ncommand = /bin/sleep 1000\nstop = SIGTERM 1h\n", root.display());
    let supervisor = Supervisor::start("deaf", &format!("[guest deaf]\n{}", config("app")));
    supervisor.await_answer();
    await_state(&supervisor, "deaf", "ready");
    assert_eq!(code(&supervisor.inn(&["stop", "--timeout", "1m", "deaf"])), 0, "not after an hour");
    assert_eq!((supervisor.processes(), supervisor.cgroups()), (vec![], vec![]));
    drop(supervisor);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn an_os_speaks_on_its_console_and_can_end_itself() {
    if !must::root("an_os_speaks_on_its_console_and_can_end_itself") {
        return;
    }
    let root = busybox("os-console");
    let config = format!(
        "[guest os]\nkind = os\nroot = {}\nrestart = never\nstop = SIGUSR2 1h\n\
         command = /bin/sh -c \"trap 'echo asked; reboot -f' USR2; echo first > /dev/console; echo second; \
         while :; do sleep 0.1; done\"\n",
        root.display()
    );
    let supervisor = Supervisor::start("os-console", &config);
    supervisor.await_answer();
    supervisor.wait_for("the output", |this| this.inn(&["logs", "os"]).stdout == b"first\r\nsecond\r\n");
    let first = pid(&supervisor, "os");
    // A reboot from inside is no failure, and nobody asked for a stop.
    send(first.parse().unwrap(), "-USR2");
    supervisor.wait_for("the next life", |this| {
        let now = pid(this, "os");
        now != first && now.parse::<u32>().is_ok()
    });
    supervisor.wait_for("it to listen", |this| {
        this.inn(&["logs", "os"]).stdout == b"first\r\nsecond\r\nasked\r\nfirst\r\nsecond\r\n"
    });
    assert_eq!(code(&supervisor.inn(&["stop", "os"])), 0);
    assert_eq!(state(&supervisor, "os"), "down");
    drop(supervisor);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn exit_codes_are_seen_where_sigchld_was_ignored() {
    if !must::root("exit_codes_are_seen_where_sigchld_was_ignored") {
        return;
    }
    let config = "[service seven]\ncommand = /bin/sh -c \"exit 7\"\nrestart = never\n";
    let supervisor = Supervisor::spawn("ignored", config, |command| {
        // env(1) of coreutils: what it ignores stays ignored across exec.
        let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
        let mut ignoring = Command::new("env");
        ignoring.args(["--ignore-signal=CHLD", "sh"]).args(arguments);
        ignoring.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        *command = ignoring;
    });
    supervisor.await_answer();
    await_state(&supervisor, "seven", "failed");
    assert!(supervisor.inn(&["list", "--json"]).stdout.windows(13).any(|part| part == b"\"exit_code\":7"));
}

#[test]
fn a_second_supervisor_is_refused_and_the_first_lives_on() {
    if !must::root("a_second_supervisor_is_refused_and_the_first_lives_on") {
        return;
    }
    let supervisor = Supervisor::start("second", "[service only]\ncommand = /bin/sleep 1000\n");
    supervisor.await_answer();
    await_state(&supervisor, "only", "ready");
    let before = pid(&supervisor, "only");
    let config = supervisor.directory.join("inn.conf");
    let config = config.to_str().unwrap();
    let output = supervisor.inside(&[
        "supervise",
        "--config",
        config,
        "--socket",
        supervisor.directory.join("control").to_str().unwrap(),
    ]);
    assert_eq!(code(&output), 1);
    let other = supervisor.inside(&[
        "supervise",
        "--config",
        config,
        "--socket",
        supervisor.directory.join("other").to_str().unwrap(),
    ]);
    assert_eq!(code(&other), 1);
    let words = String::from_utf8_lossy(&other.stderr).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("another supervisor"), "{words}");
    assert_eq!(pid(&supervisor, "only"), before);
}

#[test]
fn a_second_demand_to_end_kills_at_once() {
    if !must::root("a_second_demand_to_end_kills_at_once") {
        return;
    }
    let mut supervisor = Supervisor::start(
        "impatient",
        "[service stubborn]\ncommand = /bin/sh -c \"trap '' TERM; echo >&5; while :; do sleep 1000; done\"\n\
         ready = fd 5\nstop = SIGTERM 1h\n",
    );
    supervisor.await_answer();
    await_state(&supervisor, "stubborn", "ready");
    send(supervisor.pid(), "-TERM");
    supervisor.wait_for("the stop", |this| this.log().contains("stubborn: stopping"));
    send(supervisor.pid(), "-INT");
    let status = supervisor.wait();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    assert_eq!(supervisor.processes(), Vec::<u32>::new());
}

/// What a guest and a service were given, and what a command that enters must have too.
const BELONGINGS: &str = "rlimit = nofile 77\noom-score = 300\ngroups = 5 6\nenv = COLOUR=blue\nstop = SIGKILL\n";
/// Prints them, on one line each.
const SHOW: &str = "ulimit -n; read a </proc/self/oom_score_adj; echo $a; echo $COLOUR; while read a b; \
                    do [ $a = Groups: ] && echo $b; done </proc/self/status; :";
const SHOWN: &str = "77\n300\nblue\n5 6\n";

#[test]
fn limits_of_a_process_hold_for_services_guests_and_what_enters_them() {
    if !must::root("limits_of_a_process_hold_for_services_guests_and_what_enters_them") {
        return;
    }
    let root = busybox("belongings");
    let say = format!("command = /bin/sh -c \"{SHOW}; exec sleep 1000\"\n{BELONGINGS}");
    let supervisor = Supervisor::start(
        "belongings",
        &format!("[service host]\n{say}[guest app]\nkind = app\nroot = {}\n{say}", root.display()),
    );
    supervisor.await_answer();
    for guest in ["host", "app"] {
        await_state(&supervisor, guest, "ready");
        supervisor.wait_for(&format!("what {guest} prints"), |this| {
            String::from_utf8_lossy(&this.inn(&["logs", guest]).stdout) == SHOWN
        });
        let output = supervisor.inn(&["exec", guest, "/bin/sh", "-c", SHOW]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), SHOWN, "{guest}: {output:?}");
    }
}

#[test]
fn a_command_in_a_guest_is_in_its_cgroup_and_gives_its_own_exit_code() {
    if !must::root("a_command_in_a_guest_is_in_its_cgroup_and_gives_its_own_exit_code") {
        return;
    }
    let root = busybox("exec");
    let supervisor = Supervisor::start(
        "exec",
        &format!("[guest app]\nkind = app\nroot = {}\ncommand = /bin/sleep 1000\nstop = SIGKILL\n", root.display()),
    );
    supervisor.await_answer();
    await_state(&supervisor, "app", "ready");
    let sh = |script: &str| supervisor.inn(&["exec", "app", "/bin/sh", "-c", script]);
    assert_eq!(code(&sh("exit 42")), 42);
    assert_eq!(code(&sh("kill -9 $$")), 137);
    assert_eq!(code(&supervisor.inn(&["exec", "app", "/no/such"])), 127);
    assert_eq!(code(&supervisor.inn(&["exec", "app", "/proc/self/status"])), 126);
    assert_eq!(code(&supervisor.inn(&["exec", "nobody", "true"])), 3);
    let seen = sh("while read line; do echo $line; done </proc/self/cgroup");
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(seen.lines().any(|line| line == "0::/../exec"), "beside what the guest itself sees as the root: {seen}");
    let seen =
        sh("while read a b; do case $a in Cap*|Seccomp:|NoNewPrivs:) echo $a $b;; esac; done </proc/self/status");
    let none = "0000000000000000";
    let wanted = format!("CapInh: {none}\nCapPrm: {none}\nCapEff: {none}\nCapBnd: {none}\nCapAmb: {none}\n");
    assert_eq!(String::from_utf8_lossy(&seen.stdout), wanted + "NoNewPrivs: 1\nSeccomp: 2\n");
}

#[test]
fn a_guest_that_did_its_work_at_once_has_started() {
    if !must::root("a_guest_that_did_its_work_at_once_has_started") {
        return;
    }
    let supervisor = Supervisor::start(
        "brief",
        "[service brief]\ncommand = /bin/true\nautostart = no\nrestart = never\n\
         [service silent]\ncommand = /bin/true\nautostart = no\nrestart = never\nready = fd 3\n",
    );
    supervisor.await_answer();
    for _ in 0..50 {
        let output = supervisor.inn(&["start", "--wait", "brief"]);
        assert_eq!(code(&output), 0, "{output:?}");
    }
    let output = supervisor.inn(&["start", "--wait", "silent"]);
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("before it was ready"), "{output:?}");
}

#[test]
fn what_a_killed_supervisor_left_is_gone_before_the_next_one_starts_it() {
    if !must::root("what_a_killed_supervisor_left_is_gone_before_the_next_one_starts_it") {
        return;
    }
    let services: String =
        (0..5).map(|n| format!("[service s{n}]\ncommand = /bin/sleep 1000\nrestart = never\n")).collect();
    let mut supervisor = Supervisor::start("again", &services);
    supervisor.await_answer();
    let all_run = |this: &Supervisor| {
        for n in 0..5 {
            await_state(this, &format!("s{n}"), "ready");
        }
        // Who has made them may take a moment to end.
        this.wait_for("nobody else to be there", |this| this.processes().len() == 5);
        this.processes()
    };
    let before = all_run(&supervisor);
    supervisor.start_again();
    let after = all_run(&supervisor);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} and {after:?}");
}

#[test]
fn a_supervisor_waits_until_what_a_killed_one_had_under_way_has_ended() {
    if !must::root("a_supervisor_waits_until_what_a_killed_one_had_under_way_has_ended") {
        return;
    }
    let mut supervisor = Supervisor::start("claim", "[service s]\ncommand = /bin/sleep 1000\n");
    supervisor.await_answer();
    await_state(&supervisor, "s", "ready");
    let services = supervisor.cgroup("s").parent().unwrap().to_owned();
    let base = std::fs::File::open(services.with_file_name("inn")).unwrap();
    let bound = |this: &Supervisor| std::fs::metadata(this.directory.join("control")).unwrap().modified().unwrap();
    let before = bound(&supervisor);
    // As a helper that outlives it would: from its end on, until the next one waits for that.
    supervisor.start_again_after(|| base.lock().unwrap());
    supervisor.wait_for("it to wait", |this| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", this.pid())).unwrap();
        stat.contains("(inn) S ")
    });
    assert_eq!(bound(&supervisor), before, "it does not wait");
    drop(base);
    await_state(&supervisor, "s", "ready");
}

#[test]
fn a_root_whose_directories_are_links_is_refused() {
    if !must::root("a_root_whose_directories_are_links_is_refused") {
        return;
    }
    let root = busybox("links");
    let supervisor = Supervisor::start(
        "links",
        &format!(
            "[guest app]\nkind = app\nroot = {}\ncommand = /bin/sleep 9\nautostart = no\nrestart = never\n",
            root.display()
        ),
    );
    supervisor.await_answer();
    for (name, target) in [("tmp", "../root"), ("run", "/etc"), ("proc", "../proc"), ("dev", "bin"), ("sys", "..")] {
        std::fs::remove_dir(root.join(name)).unwrap();
        std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        let output = supervisor.inn(&["start", "app"]);
        assert_eq!(code(&output), 1, "/{name} -> {target}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("mount /{name}")) && said.contains("symbolic link"), "{said}");
        std::fs::remove_file(root.join(name)).unwrap();
        std::fs::create_dir(root.join(name)).unwrap();
    }
    let output = supervisor.inn(&["start", "app"]);
    assert_eq!(code(&output), 0, "{output:?}");
}

#[test]
fn a_root_that_is_written_to_must_be_out_of_others_reach() {
    use std::os::unix::fs::PermissionsExt;
    if !must::root("a_root_that_is_written_to_must_be_out_of_others_reach") {
        return;
    }
    // Not below a home directory, which may be closed itself.
    let above = std::path::PathBuf::from(format!("/var/tmp/inn-test-reach-{}", std::process::id()));
    std::fs::create_dir(&above).unwrap();
    let root = above.join("root");
    std::fs::rename(busybox("reach"), &root).unwrap();
    let supervisor = Supervisor::start(
        "reach",
        &format!(
            "[guest box]\nkind = os\nroot = {}\ncommand = /bin/sleep 1000\nautostart = no\nrestart = never\n",
            root.display()
        ),
    );
    supervisor.await_answer();
    let start = |mode| {
        std::fs::set_permissions(&above, std::fs::Permissions::from_mode(mode)).unwrap();
        supervisor.inn(&["start", "box"])
    };
    let refused = start(0o755);
    let started = start(0o700);
    drop(supervisor);
    std::fs::remove_dir_all(&above).unwrap();
    assert_eq!(code(&refused), 1);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("chmod 700"), "{refused:?}");
    assert_eq!(code(&started), 0, "{started:?}");
}

#[test]
fn a_command_in_a_guest_has_a_terminal_of_its_own_where_the_caller_has_one() {
    if !must::root("a_command_in_a_guest_has_a_terminal_of_its_own_where_the_caller_has_one") {
        return;
    }
    let root = busybox("terminal");
    let supervisor = Supervisor::start(
        "terminal",
        &format!("[guest app]\nkind = app\nroot = {}\ncommand = /bin/sleep 1000\nstop = SIGKILL\n", root.display()),
    );
    supervisor.await_answer();
    await_state(&supervisor, "app", "ready");
    let inside =
        "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && [ -c /dev/pts/0 ] && [ ! -e /dev/pts/1 ] && echo a ter''minal; exit 7";
    let line = format!(
        "{} exec --socket {} app /bin/sh -c '{}'",
        must::inn().display(),
        supervisor.directory.join("control").display(),
        inside.replace('\'', "'\\''")
    );
    // script(1) gives its command a terminal.
    let output = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null()).output();
    let output = output.expect("script starts");
    // Around it may stand what the terminal echoes of the end of input.
    assert!(String::from_utf8_lossy(&output.stdout).contains("a terminal\r\n"), "{output:?}");
    assert_eq!(code(&output), 7);
}
