//! Programs of the host that are run at moments of a guest's life: on this host.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::foreground::{children_of, end};
use crate::must;
use crate::private::{Supervisor, closed};
use crate::ready::{app, root};

/// A hook: a script of the host's shell.
fn script(folder: &Path, name: &str, lines: &str) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    must::script(&path, &format!("#!/bin/sh\n{lines}\n"));
    path
}

/// A new directory for what hooks write.
fn folder(name: &str) -> PathBuf {
    let folder = closed().join(format!("hooks-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn state(supervisor: &Supervisor, guest: &str) -> String {
    supervisor.facts(guest)["state"].as_str().unwrap_or_default().to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// What every hook notes of itself: one line.
const NOTE: &str = r#"
seen=
[ -n "$INN_CGROUP" ] && [ -d "$INN_CGROUP" ] && seen="$seen populated=$(sed -n 's/populated //p' "$INN_CGROUP/cgroup.events")"
echo "$INN_HOOK $INN_GUEST $INN_KIND ${INN_ROOT##*/} ${INN_CGROUP##*/inn/} pid=${INN_PID:+some} $INN_EXIT $INN_EXIT_STATUS$seen" >>"$1/notes"
"#;

#[test]
fn each_hook_is_run_at_its_moment_with_what_there_is_to_know() {
    if !must::root("each_hook_is_run_at_its_moment_with_what_there_is_to_know") {
        return;
    }
    let (folder, root) = (folder("moments"), root("hook-moments"));
    let note = script(&folder, "note", NOTE);
    // What it makes of the guest's network is there when its program begins.
    let start = script(
        &folder,
        "start",
        &format!(
            "{NOTE}\n[ $(readlink /proc/$INN_PID/ns/net) != $(readlink /proc/self/ns/net) ] || exit 1\n\
                  nsenter --target $INN_PID --net sh -c 'echo 77 >/proc/sys/net/ipv4/ip_default_ttl' || exit 2\n\
                  echo the hook has spoken; echo and complained >&2"
        ),
    );
    let (note, start, at) = (note.display(), start.display(), folder.display());
    let keys = format!(
        "hook-create = {note} {at}\nhook-start = {start} {at}\nhook-start = /bin/true\nhook-stop = {note} {at}\n\
         hook-destroy = {note} {at}\nrestart = never"
    );
    let config = app("web", &root, "await:/tmp/go exit:3", &keys)
        + &app("box", &root, "term wait", &keys).replace("= app", "= os");
    let supervisor = Supervisor::start("hook-moments", &config);
    supervisor.await_answer();
    for guest in ["web", "box"] {
        supervisor.await_ready(guest);
        let pid = supervisor.facts(guest)["pid"].to_string();
        let mut ttl = Command::new("nsenter");
        ttl.args(["--target", &pid, "--net", "cat", "/proc/sys/net/ipv4/ip_default_ttl"]);
        assert_eq!(text(&ttl.output().unwrap()), "77\n", "{guest}");
        let log = text(&supervisor.inn(&["logs", guest]));
        assert!(log.contains("the hook has spoken") && log.contains("and complained"), "{log}");
    }
    assert!(supervisor.inside_of("web", &["/bin/say", "touch:/tmp/go"]).status.success());
    supervisor.wait_for("its end", |this| state(this, "web") == "failed");
    assert!(supervisor.inn(&["stop", "box"]).status.success());
    let notes = read(&folder.join("notes"));
    for (guest, kind, exit) in [("web", "app", "code 3"), ("box", "os", "signal 9")] {
        let own: Vec<_> = notes.lines().filter(|line| line.contains(&format!(" {guest} "))).collect();
        let wanted = [
            format!("create {guest} {kind} root-hook-moments {guest} pid=   populated=0"),
            format!("start {guest} {kind} root-hook-moments {guest} pid=some   populated=1"),
            format!("stop {guest} {kind} root-hook-moments {guest} pid= {exit} populated=0"),
            format!("destroy {guest} {kind} root-hook-moments  pid= {exit}"),
        ];
        assert_eq!(own, wanted, "{notes}");
    }
    assert_eq!((supervisor.processes(), supervisor.cgroups()), (vec![], vec![]));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_manual_names_all_that_a_hook_is_told() {
    let names = |text: &str| -> std::collections::BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        words.filter(|word| word.starts_with("INN_")).map(str::to_owned).collect()
    };
    let told = names(&read(&must::project().join("src/guest/hook.rs")));
    assert!(told.len() > 7, "{told:?}");
    assert_eq!(names(&read(&must::project().join("src/manual/inn.conf.5.in"))), told);
}

#[test]
fn a_hook_is_a_program_of_the_host_with_nothing_of_the_supervisor_or_the_guest() {
    if !must::root("a_hook_is_a_program_of_the_host_with_nothing_of_the_supervisor_or_the_guest") {
        return;
    }
    let (folder, root) = (folder("own"), root("hook-own"));
    let look = script(
        &folder,
        "look",
        "{ pwd; umask; ulimit -n; \
         grep -E '^(SigBlk|SigIgn|Uid|CapEff|NoNewPrivs|Seccomp):' /proc/self/status; \
         for n in mnt net pid time ipc uts user; do readlink /proc/self/ns/$n; done; \
         sed -n 's/^0:://p' /proc/self/cgroup; env | grep -v '^INN_' | sort | tr '\\n' ' '; } >\"$1/$INN_HOOK\"",
    );
    let line = format!("{} {}", look.display(), folder.display());
    let keys = format!(
        "hook-create = {line}\nhook-create = /bin/ls /proc/self/fd\nhook-start = {line}\nhook-stop = {line}\nhook-destroy = {line}"
    );
    let bind = format!("{keys}\nephemeral = yes\nbind = /etc /tmp/etc ro");
    let config = app("web", &root, "wait", &bind);
    let supervisor = Supervisor::start("hook-own", &config);
    supervisor.await_answer();
    supervisor.await_ready("web");
    assert!(supervisor.inn(&["stop", "web"]).status.success());
    // ls(1) has the directory that it lists open.
    assert_eq!(text(&supervisor.inn(&["logs", "web"])), "0\n1\n2\n3\n");
    let namespaces: String = ["mnt", "net", "pid", "time", "ipc", "uts", "user"]
        .iter()
        .map(|name| format!("{}\n", fs::read_link(format!("/proc/{}/ns/{name}", supervisor.pid())).unwrap().display()))
        .collect();
    for hook in ["create", "start", "stop", "destroy"] {
        let seen = read(&folder.join(hook));
        assert!(seen.starts_with("/\n0022\n1024\n"), "{seen}");
        for line in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "Uid:\t0\t0\t0\t0", "Seccomp:\t0"] {
            assert!(seen.lines().any(|other| other == line), "{line}: {seen}");
        }
        assert!(seen.contains(&namespaces), "{hook}: {seen}\n{namespaces}");
        assert!(seen.contains("/inn.services/web+hooks\n"), "{seen}");
        assert!(seen.contains("PATH=/usr/local/sbin:") && !seen.contains("NOTIFY"), "{seen}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_hook_that_fails_stops_the_start_and_is_named_with_its_last_words() {
    if !must::root("a_hook_that_fails_stops_the_start_and_is_named_with_its_last_words") {
        return;
    }
    let (folder, root) = (folder("fails"), root("hook-fails"));
    let note = script(&folder, "note", NOTE);
    let fails = script(&folder, "fails", "echo first words; printf 'no \\033[2Jlink\\n\\n' >&2; exit 3");
    let dies = script(&folder, "dies", "kill -9 $$");
    let plain = folder.join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    let (at, note) = (folder.display(), note.display());
    let rest = format!("hook-stop = {note} {at}\nhook-destroy = {note} {at}\nautostart = no\nrestart = never");
    let guest = |name: &str, hook: &str| app(name, &root, "wait", &format!("{hook}\n{rest}"));
    let config = guest("create", &format!("hook-create = /bin/true\nhook-create = {} now", fails.display()))
        + &guest("start", &format!("hook-start = {}\nhook-start = {note} {at}", fails.display()))
        + &guest("dies", &format!("hook-start = {}", dies.display()))
        + &guest("missing", "hook-create = /no/such/hook")
        + &guest("plain", &format!("hook-start = {}", plain.display()));
    let supervisor = Supervisor::start("hook-fails", &config);
    supervisor.await_answer();
    let line = |words: &str| {
        let line = config.lines().position(|line| line.contains(words)).unwrap() + 1;
        format!("{}/inn.conf:{line}", supervisor.directory.display())
    };
    let fails = fails.display().to_string();
    for (guest, key, how, program, place, last) in [
        ("create", "hook-create", "it exited with code 3", fails.as_str(), line(" now"), "no ?[2Jlink"),
        ("start", "hook-start", "it exited with code 3", &fails, line("hook-start = "), "no ?[2Jlink"),
        ("dies", "hook-start", "it was killed by signal 9", &dies.display().to_string(), line("/dies"), ""),
        ("missing", "hook-create", "ENOENT (no such file or directory)", "/no/such/hook", line("/no/such"), ""),
        ("plain", "hook-start", "EACCES (permission denied)", &plain.display().to_string(), line("/plain"), ""),
    ] {
        let output = supervisor.inn(&["start", guest]);
        assert_eq!(output.status.code(), Some(1), "{guest}");
        let said = text(&output);
        let why = if last.is_empty() { program.to_owned() } else { format!("{program} said: {last}") };
        let wanted = format!("{guest}: it did not start ({why}): could not run {key}: {how} (key {key}, {place})");
        assert!(said.contains(&wanted), "{wanted}\n{said}");
        supervisor.wait_for("its end", |this| state(this, guest) == "failed");
        let after = if last.is_empty() { String::new() } else { format!(": {last}") };
        let told = format!("guest {guest}: not started: run {key}: {how} ({program}, {place}){after}\n");
        assert!(supervisor.log().contains(&told), "{told}\n{}", supervisor.log());
        let facts = supervisor.facts(guest);
        assert_eq!((&facts["exit"], &facts["said"]), (&"start-failed".into(), &last.into()), "{guest}");
    }
    let notes = read(&folder.join("notes"));
    let of = |guest: &str| -> Vec<String> {
        let own = notes.lines().filter(|line| line.contains(&format!(" {guest} ")));
        own.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    // A guest that never was has no end; what was made for it is taken back.
    assert_eq!((of("create"), of("missing")), (vec!["destroy".to_owned()], vec!["destroy".to_owned()]));
    assert_eq!(of("start"), ["stop", "destroy"]);
    assert_eq!((supervisor.processes(), supervisor.cgroups()), (vec![], vec![]));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_hook_that_fails_at_the_end_is_told_of_and_all_others_run() {
    if !must::root("a_hook_that_fails_at_the_end_is_told_of_and_all_others_run") {
        return;
    }
    let (folder, root) = (folder("end"), root("hook-end"));
    let note = script(&folder, "note", NOTE);
    let fails = script(&folder, "fails", "echo it is stuck; exit 4");
    let (at, note, fails) = (folder.display(), note.display(), fails.display());
    let keys =
        format!("hook-stop = {fails}\nhook-stop = {note} {at}\nhook-destroy = /no/such\nhook-destroy = {note} {at}");
    let supervisor = Supervisor::start("hook-end", &app("web", &root, "wait", &keys));
    supervisor.await_answer();
    supervisor.await_ready("web");
    assert!(supervisor.inn(&["restart", "web"]).status.success());
    supervisor.await_ready("web");
    assert!(supervisor.inn(&["stop", "web"]).status.success());
    assert_eq!(state(&supervisor, "web"), "down");
    let notes: Vec<_> =
        read(&folder.join("notes")).lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(notes, ["stop", "destroy", "stop", "destroy"]);
    let log = supervisor.log();
    let place = format!("{}/inn.conf", supervisor.directory.display());
    for line in [
        format!("guest web: run hook-stop: it exited with code 4 ({fails}, {place}:5): it is stuck; going on"),
        format!("guest web: run hook-destroy: ENOENT (no such file or directory) (/no/such, {place}:7); going on"),
    ] {
        assert_eq!(log.matches(&line).count(), 2, "{line}\n{log}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nothing_that_a_hook_starts_is_left_and_a_flood_of_words_is_cut() {
    if !must::root("nothing_that_a_hook_starts_is_left_and_a_flood_of_words_is_cut") {
        return;
    }
    let (folder, root) = (folder("daemons"), root("hook-daemons"));
    // It keeps the pipe of its output, in a session of its own.
    let daemon = script(
        &folder,
        "daemon",
        "setsid sh -c \"trap '' TERM HUP; while :; do sleep 1000; done\" & setsid yes & exit 0",
    );
    let flood = script(&folder, "flood", "head -c 1000000 /dev/zero | tr '\\0' x");
    let (daemon, flood) = (daemon.display(), flood.display());
    let keys = format!(
        "hook-create = {daemon}\nhook-start = {flood}\nhook-stop = {daemon}\nhook-destroy = {daemon}\nlog = 1M"
    );
    let supervisor = Supervisor::start("hook-daemons", &app("web", &root, "wait", &keys));
    supervisor.await_answer();
    supervisor.await_ready("web");
    // The guest's own: none of the others would end by itself, but who started it may be on its way out.
    supervisor.wait_for("nothing else", |this| this.processes().len() == 1);
    let log = supervisor.inn(&["logs", "web"]).stdout.len();
    assert!((16_000..200_000).contains(&log), "{log}");
    assert!(supervisor.inn(&["stop", "web"]).status.success());
    assert_eq!((supervisor.processes(), supervisor.cgroups()), (vec![], vec![]));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_hook_that_hangs_holds_up_its_guest_alone_and_goes_when_it_is_killed_or_its_time_is_over() {
    if !must::root("a_hook_that_hangs_holds_up_its_guest_alone_and_goes_when_it_is_killed_or_its_time_is_over") {
        return;
    }
    let (folder, root) = (folder("hangs"), root("hook-hangs"));
    let hangs =
        script(&folder, "hangs", "echo waiting; touch \"$1/$INN_GUEST\"; trap '' TERM; while :; do sleep 1000; done");
    let line = format!("{} {}", hangs.display(), folder.display());
    let config = app("create", &root, "wait", &format!("hook-create = {line}\nautostart = no\nrestart = never"))
        + &app("start", &root, "wait", &format!("hook-start = {line}\nautostart = no\nrestart = never"))
        + &app("stop", &root, "wait", &format!("hook-stop = {line}\nautostart = no"))
        + &app("late", &root, "wait", &format!("hook-start = {line}\nautostart = no\nrestart = never"))
        + &app("other", &root, "wait", "");
    let mut supervisor = Supervisor::start("hook-hangs", &config);
    supervisor.await_answer();
    let mut late = supervisor.command(&["start", "late"]);
    let late = late.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    for guest in ["create", "start"] {
        let mut waiting = supervisor.command(&["start", guest]).spawn().unwrap();
        supervisor.wait_for("the hook", |_| folder.join(guest).exists());
        assert_eq!(state(&supervisor, guest), "starting");
        assert!(supervisor.inn(&["restart", "other"]).status.success(), "others go on");
        assert!(supervisor.inn(&["kill", guest]).status.success(), "{guest}");
        assert_eq!(state(&supervisor, guest), "down");
        waiting.wait().unwrap();
    }
    assert!(supervisor.inn(&["start", "stop"]).status.success());
    let mut stopping = supervisor.command(&["stop", "stop"]).spawn().unwrap();
    supervisor.wait_for("the hook", |_| folder.join("stop").exists());
    assert_eq!(state(&supervisor, "stop"), "clearing");
    assert_eq!(supervisor.facts("stop")["awaits"], "its hook-stop runs");
    assert!(supervisor.inn(&["kill", "stop"]).status.success());
    assert!(stopping.wait().unwrap().success());
    let output = late.wait_with_output().unwrap();
    assert!(text(&output).contains("could not run hook-start: it took too long (key hook-start, "), "{output:?}");
    supervisor.wait_for("its end", |this| state(this, "late") == "failed");
    // What one that is killed leaves is gone when the next begins.
    fs::remove_file(folder.join("create")).unwrap();
    let mut waiting = supervisor.command(&["start", "create"]).spawn().unwrap();
    supervisor.wait_for("the hook", |_| folder.join("create").exists());
    supervisor.start_again();
    waiting.wait().unwrap();
    supervisor.await_ready("other");
    supervisor.wait_for("nothing else", |this| this.processes().len() == 1);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn inn_run_runs_the_hooks_of_its_guest() {
    if !must::root("inn_run_runs_the_hooks_of_its_guest") {
        return;
    }
    let (folder, root) = (folder("run"), root("hook-run"));
    let note = script(&folder, "note", NOTE);
    let fails = script(&folder, "fails", "echo no; exit 3");
    let (at, note) = (folder.display(), note.display());
    let keys = format!(
        "hook-create = {note} {at}\nhook-start = {note} {at}\nhook-stop = {note} {at}\nhook-destroy = {note} {at}"
    );
    let config = app("web", &root, "exit:5", &keys)
        + &app("ill", &root, "exit:0", &format!("{keys}\nhook-start = {}", fails.display()));
    fs::write(folder.join("inn.conf"), config).unwrap();
    let run = |guest: &str| {
        let mut inn = Command::new(must::inn());
        inn.args(["run", "--config"]).arg(folder.join("inn.conf")).arg(guest).output().expect("inn starts")
    };
    let output = run("web");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let output = run("ill");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let said = text(&output);
    let wanted = format!("could not run hook-start: it exited with code 3 (key hook-start, {at}/inn.conf:17)");
    assert!(said.contains("no\n") && said.contains(&wanted) && said.contains(&fails.display().to_string()), "{said}");
    let notes: Vec<_> =
        read(&folder.join("notes")).lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(notes, ["create web", "start web", "stop web", "destroy web", "create ill", "start ill", "destroy ill"]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn inn_run_hears_of_a_start_whose_hooks_have_much_to_say_however_late_that_is() {
    if !must::root("inn_run_hears_of_a_start_whose_hooks_have_much_to_say_however_late_that_is") {
        return;
    }
    let (folder, root) = (folder("late"), root("hook-late"));
    let talks = script(&folder, "talks", "head -c 10000 /dev/zero | tr '\\0' x; touch $0.$1; exit $1");
    let guest = |name: &str, code: u8| app(name, &root, "exit:5", &format!("hook-create = {} {code}", talks.display()));
    fs::write(folder.join("inn.conf"), guest("well", 0) + &guest("ill", 3)).unwrap();
    for (guest, hooks, code, last) in [("well", 0, 5, "x"), ("ill", 3, 125, "it exited with code 3")] {
        // It is held up while it prints, and hears of all the rest at once.
        let (mut errors, mut write) = std::io::pipe().unwrap();
        write.write_all(&[b'.'; 60 << 10]).unwrap();
        let mut inn = Command::new(must::inn());
        inn.args(["run", "--config"]).arg(folder.join("inn.conf")).arg(guest).stderr(write);
        let mut child = inn.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        drop(inn);
        let has_ended = |pid: &u32| read(Path::new(&format!("/proc/{pid}/stat"))).contains(") Z ");
        let deadline = Instant::now() + must::PATIENCE;
        // Its helper ends behind the hook, and may have been waited for.
        let has_talked = || folder.join(format!("talks.{hooks}")).exists();
        while !(has_talked() && children_of(child.id()).iter().all(has_ended)) {
            assert!(Instant::now() < deadline, "{guest}: its start is not over");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut said = String::new();
        errors.read_to_string(&mut said).unwrap();
        assert_eq!(end(&mut child), Some(code), "{guest}: {said}");
        assert!(said.matches('x').count() >= 10_000 && said.contains(last), "{said}");
    }
    fs::remove_dir_all(folder).unwrap();
}
