//! `inn set` on this host: guests that run, whose kernel has no controllers here; and the files that `--save` writes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::faults::{Injection, trace};
use crate::must;
use crate::private::{Supervisor, busybox};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Exit code, and what was printed on both.
fn said(output: &Output) -> (i32, String) {
    (output.status.code().expect("no signal"), stdout(output) + &stderr(output))
}

fn limit_of(pid: u32, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    line[name.len().min(line.len())..].split_whitespace().take(2).collect::<Vec<_>>().join(":")
}

fn oom_score(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default().trim().to_owned()
}

fn first_pid(supervisor: &Supervisor, guest: &str) -> u32 {
    let text = stdout(&supervisor.inn(&["list", "--plain"]));
    let line = text.lines().find(|line| line.split('\t').next() == Some(guest)).unwrap_or_default();
    line.split('\t').nth(3).and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

fn await_ready(supervisor: &Supervisor, guest: &str) {
    supervisor.wait_for(guest, |this| {
        let text = stdout(&this.inn(&["list", "--plain"]));
        text.lines().any(|line| line.starts_with(&format!("{guest}\tready")))
    });
}

/// The size of what is mounted at `path` inside, bytes.
fn size_inside(pid: u32, path: &str) -> u64 {
    let output = Command::new("stat").args(["-f", "-c", "%b %S"]).arg(format!("/proc/{pid}/root{path}")).output();
    let text = stdout(&output.unwrap());
    text.split_whitespace().map(|word| word.parse::<u64>().unwrap()).product()
}

const SERVICE: &str = "[service web]\ncommand = /bin/sh -c \"sleep 1000 & sleep 1000 & wait\"\nrlimit = core 0:0\n";

fn served(name: &str, config: &str) -> Option<Supervisor> {
    if !must::root(name) {
        return None;
    }
    let supervisor = Supervisor::start(name, config);
    supervisor.await_answer();
    await_ready(&supervisor, "web");
    Some(supervisor)
}

#[test]
fn set_changes_every_process_of_a_guest() {
    let Some(supervisor) = served("set-processes", SERVICE) else { return };
    supervisor.wait_for("its processes", |this| this.members("web").len() == 3);
    let set = supervisor.inn(&["set", "web", "rlimit", "nofile 64:128", "oom-score=500", "rlimit=fsize 1M"]);
    let (code, text) = said(&set);
    assert_eq!(code, 0, "{text}");
    assert_eq!(
        text,
        "web: rlimit nofile default -> 64:128\nweb: oom-score default -> 500\n\
         web: rlimit fsize default -> 1048576:1048576\n\
         until the config is read again; --save keeps it there\n"
    );
    for pid in supervisor.members("web") {
        assert_eq!(limit_of(pid, "Max open files"), "64:128");
        assert_eq!(limit_of(pid, "Max file size"), "1048576:1048576");
        assert_eq!(limit_of(pid, "Max core file size"), "0:0");
        assert_eq!(oom_score(pid), "500");
    }
    // What was set is what it was.
    let (code, text) = said(&supervisor.inn(&["set", "web", "oom-score", "600", "rlimit", "nofile 32:128", "--json"]));
    assert_eq!(code, 0, "{text}");
    let changes: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(changes[0]["from"], "500", "{text}");
    assert_eq!((&changes[1]["key"], &changes[1]["of"]), (&"rlimit".into(), &"nofile".into()), "{text}");
    assert_eq!((&changes[1]["from"], &changes[1]["to"]), (&"64:128".into(), &"32:128".into()), "{text}");
    assert!(supervisor.log().contains("web: changed: rlimit, oom-score"), "{}", supervisor.log());
}

#[test]
fn what_was_set_holds_at_the_next_start() {
    let Some(supervisor) = served("set-restart", SERVICE) else { return };
    assert_eq!(said(&supervisor.inn(&["set", "-q", "web", "rlimit", "nofile 64:128"])), (0, String::new()));
    let before = first_pid(&supervisor, "web");
    assert!(supervisor.inn(&["restart", "--wait", "web"]).status.success());
    let pid = first_pid(&supervisor, "web");
    assert_ne!(pid, before);
    assert_eq!(limit_of(pid, "Max open files"), "64:128");
    assert_eq!(limit_of(pid, "Max core file size"), "0:0");
    // One that is down takes it too.
    assert!(supervisor.inn(&["stop", "web"]).status.success());
    assert_eq!(
        said(&supervisor.inn(&["set", "-q", "web", "rlimit", "nofile 65:66", "oom-score", "7"])),
        (0, String::new())
    );
    assert!(supervisor.inn(&["start", "--wait", "web"]).status.success());
    let pid = first_pid(&supervisor, "web");
    assert_eq!((limit_of(pid, "Max open files"), oom_score(pid)), ("65:66".into(), "7".into()));
}

#[test]
fn a_step_that_fails_leaves_nothing_changed() {
    let Some(supervisor) = served("set-none", SERVICE) else { return };
    let pid = first_pid(&supervisor, "web");
    let before = (limit_of(pid, "Max open files"), oom_score(pid));
    let (code, text) =
        said(&supervisor.inn(&["set", "web", "rlimit", "nofile 64:128", "oom-score", "9", "memory", "1G"]));
    assert_eq!(code, 1);
    assert_eq!(
        text,
        "inn: web: nothing was changed: could not set memory.max: write: ENOENT (no such file or directory) (key memory)\n\
         \x20 this host has no memory controller in cgroup v2\n"
    );
    assert_eq!((limit_of(pid, "Max open files"), oom_score(pid)), before);
    let (_, text) = said(&supervisor.inn(&["set", "web", "oom-score", "10"]));
    assert!(text.starts_with("web: oom-score default -> 10\n"), "{text}");
    // It goes on: it does not stand still.
    let events = fs::read_to_string(supervisor.cgroup("web").join("cgroup.events")).unwrap();
    assert!(events.contains("frozen 0"), "{events}");
}

#[test]
fn what_cannot_be_is_said_as_of_a_config() {
    let Some(supervisor) = served("set-wrong", SERVICE) else { return };
    for (words, code, told) in [
        (
            &["web", "memory", "64Q"][..],
            2,
            "memory:1:1: `64Q` is not a size: a size is a number and K, M, G or T\n64Q\n^^^\n",
        ),
        (&["web", "cpu-weight=0"], 2, "cpu-weight:1:1: `0` is out of range: 1 to 10000\n0\n^\n"),
        (
            &["web", "memory", "1M", "memory-high", "2M"],
            2,
            "memory-high: `memory-high` is above `memory`, which is 1M\n",
        ),
        (&["web", "memory", "1M", "memory=2M"], 2, "inn: memory is given twice\n"),
        (&["web", "memory", "1M", "memory=default"], 2, "inn: memory is given twice\n"),
        (&["web", "rlimit", "default"], 2, "rlimit:1:1: `default` is not one of"),
        (&["web", "root", "/"], 2, "inn: root cannot be changed while a guest runs: edit the config\n"),
        (&["web", "memroy", "1M"], 2, "inn: there is no key `memroy`; did you mean memory?\n"),
        (&["web", "memory", "1M", "cpus"], 2, "inn: cpus needs a value\n"),
        (&["wbe", "oom-score", "1"], 3, "did you mean web?"),
        (
            &["web", "tmpfs", "/tmp 1M"],
            1,
            "inn: web: it has no tmpfs there: one is made when it starts; nothing was changed\n",
        ),
    ] {
        let (exit, text) = said(&supervisor.inn(&[&["set"], words].concat()));
        assert_eq!(exit, code, "{words:?}: {text}");
        assert!(text.contains(told), "{words:?}: {text}");
    }
    // What is there already counts: memory-high of one command, memory of the next.
    supervisor.inn(&["stop", "web"]);
    assert_eq!(said(&supervisor.inn(&["set", "-q", "web", "memory-high", "8M"])), (0, String::new()));
    let (code, text) = said(&supervisor.inn(&["set", "web", "memory", "4M"]));
    assert_eq!((code, &*text), (1, "inn: web: memory-high would be above memory, which is 4M; nothing was changed\n"));
    assert_eq!(
        said(&supervisor.inn(&["set", "-q", "web", "memory-high", "default", "memory", "4M"])),
        (0, String::new())
    );
    let status = stdout(&supervisor.inn(&["status", "web"]));
    assert!(status.contains("4.0M") || status.contains("4M"), "{status}");
}

#[test]
fn a_file_system_in_memory_is_resized_while_the_guest_runs() {
    let root = busybox("set-tmpfs");
    let config = format!("[guest web]\nkind = os\nroot = {}\ncommand = /bin/sleep 1000\n", root.display());
    let Some(supervisor) = served("set-tmpfs", &config) else { return };
    let pid = first_pid(&supervisor, "web");
    assert_eq!(size_inside(pid, "/tmp"), 256 << 20);
    let (code, text) = said(&supervisor.inn(&["set", "-q", "web", "tmpfs", "/tmp 8M", "tmpfs", "/dev/shm 4M"]));
    assert_eq!(code, 0, "{text}");
    assert_eq!((size_inside(pid, "/tmp"), size_inside(pid, "/dev/shm")), (8 << 20, 4 << 20));
    // More is in it than it is to hold.
    let fill = "i=0; while [ $i -lt 2048 ]; do printf %01024d 0; i=$((i+1)); done > /tmp/file";
    assert!(supervisor.inside_of("web", &["/bin/sh", "-c", fill]).status.success());
    let (code, text) = said(&supervisor.inn(&["set", "web", "tmpfs", "/run 1M", "tmpfs", "/tmp 1M"]));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("more than that is in it"), "{text}");
    assert_eq!((size_inside(pid, "/tmp"), size_inside(pid, "/run")), (8 << 20, 64 << 20));
    // A later step that fails takes it back.
    let (code, text) = said(&supervisor.inn(&["set", "web", "tmpfs", "/tmp 16M", "tmpfs", "/run 1M", "memory", "1G"]));
    assert_eq!(code, 1, "{text}");
    assert_eq!((size_inside(pid, "/tmp"), size_inside(pid, "/run")), (8 << 20, 64 << 20));
    let (code, text) = said(&supervisor.inn(&["set", "web", "tmpfs", "/srv 1M"]));
    assert_eq!((code, text.contains("no tmpfs there")), (1, true), "{text}");
}

#[test]
fn a_guest_that_moves_its_mounts_reaches_nothing_of_the_host() {
    let root = busybox("set-hostile");
    for program in ["mount", "umount"] {
        must::install(root.join("bin/sh"), root.join("bin").join(program));
    }
    let config = format!(
        "[guest web]\nkind = os\nroot = {}\nready = fd 3\n\
         command = /bin/sh -c \"umount /tmp; mount -o bind /dev /tmp; echo >&3; sleep 1000\"\n",
        root.display()
    );
    let Some(supervisor) = served("set-hostile", &config) else { return };
    let pid = first_pid(&supervisor, "web");
    let before = size_inside(pid, "/dev");
    let (code, text) = said(&supervisor.inn(&["set", "web", "tmpfs", "/tmp 1M"]));
    assert_eq!(code, 1, "{text}");
    assert_eq!(size_inside(pid, "/dev"), before);
}

#[test]
fn changes_of_several_clients_come_one_after_the_other() {
    let Some(supervisor) = served("set-many", SERVICE) else { return };
    let socket = supervisor.directory.join("control");
    let set = |number: usize| {
        let mut command = Command::new(must::inn());
        command.args(["set", "--socket"]).arg(&socket).arg("web").arg(format!("rlimit=fsize {number}:500"));
        command.arg(format!("rlimit=nofile {number}:500")).stdout(Stdio::null()).spawn().expect("inn starts")
    };
    let children: Vec<_> = (100..112).map(set).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let pid = first_pid(&supervisor, "web");
    let files = limit_of(pid, "Max open files");
    assert!(files.starts_with('1') && files.ends_with(":500"), "{files}");
    assert_eq!(limit_of(pid, "Max file size"), files, "both are of the same command");
}

#[test]
fn a_client_that_is_killed_leaves_all_or_nothing() {
    let Some(supervisor) = served("set-client-killed", SERVICE) else { return };
    let socket = supervisor.directory.join("control");
    for score in 1..40u64 {
        let mut command = Command::new(must::inn());
        command.args(["set", "-q", "--socket"]).arg(&socket).arg("web").arg(format!("oom-score={score}"));
        let mut child = command.arg(format!("rlimit=nofile {}:500", 100 + score)).spawn().expect("inn starts");
        std::thread::sleep(std::time::Duration::from_micros(score * 150));
        let _ = child.kill();
        let _ = child.wait();
    }
    let (code, text) = said(&supervisor.inn(&["set", "-q", "web", "rlimit", "core 0"]));
    assert_eq!((code, &*text), (0, ""));
    let pid = first_pid(&supervisor, "web");
    let score: u64 = oom_score(pid).parse().unwrap();
    let files = limit_of(pid, "Max open files");
    assert!(score == 0 || files == format!("{}:500", 100 + score), "{score} {files}");
}

/// Every call of a change fails once, or the child that makes it is killed there: all is changed, or nothing, and the
/// guest goes on.
#[test]
fn every_call_of_a_change_may_fail() {
    if !must::root("every_call_of_a_change_may_fail") {
        return;
    }
    let ways = [Some(Errno::EPERM), Some(Errno::ENOMEM), None];
    let threads: Vec<_> = ways.map(|error| std::thread::spawn(move || fail_each_call(error))).into();
    for thread in threads {
        thread.join().expect("every change was made or not made");
    }
}

/// What a guest, of which these are the processes, has of that which is changed.
fn now(pids: &[u32]) -> Vec<(String, String, u64)> {
    let size = size_inside(pids[0], "/tmp");
    let all = pids.iter().map(|pid| (limit_of(*pid, "Max open files"), limit_of(*pid, "Max file size"), size));
    all.collect()
}

fn fail_each_call(error: Option<Errno>) {
    let name = format!("set-{}", error.map_or("killed".into(), |error| format!("{error:?}")));
    let root = busybox(&name);
    let command = "/bin/sh -c \"sleep 1000 & sleep 1000 & wait\"";
    let config = format!(
        "[guest web]\nkind = app\nroot = {}\ncommand = {command}\nrlimit = nofile 100:500\nrlimit = fsize 100:500\n\
         tmpfs = /tmp 10M\n",
        root.display()
    );
    let supervisor = Supervisor::start(&name, &config);
    supervisor.await_answer();
    await_ready(&supervisor, "web");
    // No others: whoever changes them may take a moment to end.
    supervisor.wait_for("its processes", |this| this.members("web").len() == 3);
    let pids = supervisor.members("web");
    let set = |value: u64| -> (i32, String) {
        let (files, size) = (format!("rlimit=nofile {value}:500"), format!("rlimit=fsize {value}:500"));
        said(&supervisor.inn(&["set", "--json", "web", &files, &size, &format!("tmpfs=/tmp {value}M")]))
    };
    // Under a tracer a process may take its time to stand still.
    let patiently = |value: u64| -> (i32, String) {
        let mut told = set(value);
        for _ in 0..3 {
            if told.0 == 1 && told.1.contains("hold it still: write: ETIMEDOUT") {
                must::say(&format!("{name}: it took its time"));
                told = set(value);
            }
        }
        told
    };
    let is = |value: u64| -> bool {
        let soft = format!("{value}:500");
        now(&pids).iter().all(|one| one.0 == soft && one.1 == soft && one.2 == value << 20)
    };
    let (code, text) = set(10);
    assert_eq!(code, 0, "{text}");
    let injection = Arc::new(Injection::default());
    let (ready, begun) = mpsc::channel();
    let tracer = {
        let (injection, root) = (Arc::clone(&injection), Pid::from_raw(supervisor.pid() as i32));
        std::thread::spawn(move || trace(root, error, &injection, &ready))
    };
    begun.recv().expect("it is traced");
    let (mut touched, mut made) = (0, 0);
    for number in 1..1000 {
        let (old, new) = if number % 2 == 0 { (10, 11) } else { (11, 10) };
        let (code, text) = patiently(old);
        assert_eq!((code, is(old)), (0, true), "before call {number}: {text}");
        injection.arm(number);
        let (code, text) = set(new);
        let failed = injection.disarm();
        let what = || format!("{name}: call {number} ({failed}) gave {code} {text}\n{}", supervisor.log());
        // What was not told is found out.
        let there = now(&pids);
        supervisor.wait_for(&format!("one or the other, {} {there:?}", what()), |_| is(old) || is(new));
        assert!(code != 0 || is(new), "it is said to be changed: {}", what());
        assert!(!text.contains("nothing was changed") || is(old), "{}", what());
        assert!(!text.contains("undone"), "{}", what());
        let events = fs::read_to_string(supervisor.cgroup("web").join("cgroup.events")).unwrap();
        assert!(events.contains("frozen 0"), "{}", what());
        // The supervisor knows what there is.
        let there = if is(new) { new } else { old };
        let (code, text) = patiently(there);
        let from = format!("\"of\":\"nofile\",\"from\":\"{there}:500\"");
        assert!(code == 0 && text.contains(&from), "{text} after {}", what());
        made += u32::from(there == new);
        if failed == -1 {
            break;
        }
        touched = number;
    }
    assert!((30..900).contains(&touched), "{touched} calls failed");
    assert!(made > 0 && made < touched, "{made} of {touched}");
    injection.done.store(true, Ordering::SeqCst);
    must::say(&format!("{name}: each of {touched} calls failed, and {made} changes were made all the same"));
    drop(supervisor);
    tracer.join().expect("the tracer ends");
}

// What `--save` writes.

const SAVED: &str = "# the host\n[host]\nhostname = box   # its name\n\n\
    [profile small]\n  memory = 32M\n  io-max = /dev/a rbps=1M\n  io-max = /dev/b \\\n     wbps=2M\n\n\
    # the web\n[service web]\n  profile    = small\n  command    = /bin/sleep 1000 # for long\n  cpus       = 0.5  # half\n\
    \x20 rlimit     = nofile 64:128\n  rlimit     = core \\\n               0\n\n# last\n[service other]\ncommand = /bin/sleep 1000";

/// Runs `inn set` on a guest that is down, for the file is what it is about.
fn saved(supervisor: &Supervisor, words: &[&str]) -> (i32, String) {
    said(&supervisor.inn(&[&["set", "-q", "--save"], words].concat()))
}

fn config(supervisor: &Supervisor) -> String {
    fs::read_to_string(supervisor.directory.join("inn.conf")).unwrap()
}

fn left_beside(supervisor: &Supervisor) -> Vec<String> {
    let entries = fs::read_dir(&supervisor.directory).unwrap().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).filter(|name| name.ends_with(".set")).collect()
}

fn down(name: &str, text: &str) -> Option<Supervisor> {
    if !must::root(name) {
        return None;
    }
    // The kernel here has no controllers.
    let supervisor = Supervisor::start(name, &text.replace("[service web]", "[service web]\n  autostart  = no"));
    supervisor.await_answer();
    Some(supervisor)
}

#[test]
fn save_changes_the_lines_and_nothing_else() {
    let Some(supervisor) = down("save-lines", SAVED) else { return };
    let before = config(&supervisor);
    assert_eq!(saved(&supervisor, &["web", "cpus", "0.25"]), (0, String::new()));
    let now = before.replace("= 0.5  # half", "= 0.25  # half");
    assert_eq!(config(&supervisor), now);
    // A key that was nowhere, one of the profile, one of a list, one more of a list.
    let words = ["web", "swap", "0", "memory=64M", "rlimit", "core 5", "rlimit", "nproc 7:8"];
    assert_eq!(saved(&supervisor, &words), (0, String::new()));
    let now = now.replace(
        "core \\\n               0\n",
        "core \\\n               5\n  swap       = 0\n  memory     = 64M\n  rlimit     = nproc 7:8\n",
    );
    assert_eq!(config(&supervisor), now);
    // A list of the profile comes along.
    assert_eq!(saved(&supervisor, &["web", "io-max", "/dev/b rbps=3M", "swap", "default"]), (0, String::new()));
    let now = now.replace("  swap       = 0\n", "").replace(
        "  rlimit     = nproc 7:8\n",
        "  rlimit     = nproc 7:8\n  io-max     = /dev/a rbps=1M\n  io-max     = /dev/b rbps=3M\n",
    );
    assert_eq!(config(&supervisor), now);
    let (code, text) = saved(&supervisor, &["web", "memory-low", "default"]);
    assert_eq!((code, &*text), (0, ""));
    assert_eq!(config(&supervisor), now);
    let (code, text) = saved(&supervisor, &["other", "oom-score", "3"]);
    assert_eq!((code, &*text), (0, ""), "the last line has no end");
    assert_eq!(config(&supervisor), now + "\noom-score = 3");
    assert_eq!(left_beside(&supervisor), [""; 0]);
}

#[test]
fn what_is_saved_holds_for_the_next_supervisor() {
    let Some(mut supervisor) = served("save-restart", SERVICE) else { return };
    assert_eq!(saved(&supervisor, &["web", "rlimit", "nofile 64:128", "oom-score=12"]), (0, String::new()));
    supervisor.start_again();
    supervisor.await_answer();
    await_ready(&supervisor, "web");
    let pid = first_pid(&supervisor, "web");
    assert_eq!((limit_of(pid, "Max open files"), oom_score(pid)), ("64:128".into(), "12".into()));
}

#[test]
fn what_cannot_be_set_is_not_saved_and_what_cannot_be_saved_is_not_set() {
    let Some(supervisor) = served("save-neither", SERVICE) else { return };
    let before = config(&supervisor);
    let (code, text) = saved(&supervisor, &["web", "memory", "1G"]);
    assert_eq!(code, 1, "{text}");
    assert_eq!((config(&supervisor), left_beside(&supervisor).len()), (before.clone(), 0));
    // A config that has become wrong since.
    fs::write(supervisor.directory.join("inn.conf"), before.clone() + "[guest x]\n").unwrap();
    let (code, text) = saved(&supervisor, &["web", "oom-score", "5"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("guest `x` has no `kind`"), "{text}");
    // One that would be.
    fs::write(supervisor.directory.join("inn.conf"), before.clone() + "memory = 1M\n").unwrap();
    let (code, text) = saved(&supervisor, &["web", "memory-low", "2M"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("is above `memory`"), "{text}");
    assert_eq!(config(&supervisor), before + "memory = 1M\n");
    let pid = first_pid(&supervisor, "web");
    assert_eq!(oom_score(pid), "0");
    // One that has it no more.
    fs::write(supervisor.directory.join("inn.conf"), "").unwrap();
    let (code, text) = saved(&supervisor, &["web", "oom-score", "5"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("web is not in "), "{text}");
    assert_eq!(left_beside(&supervisor), [""; 0]);
}

#[test]
fn save_keeps_links_modes_owners_and_line_ends() {
    let Some(supervisor) = down("save-file", &SAVED.replace('\n', "\r\n")) else { return };
    let directory = &supervisor.directory;
    fs::create_dir(directory.join("real")).unwrap();
    let real = directory.join("real/the.conf");
    fs::rename(directory.join("inn.conf"), &real).unwrap();
    std::os::unix::fs::symlink("real/the.conf", directory.join("inn.conf")).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&real, Some(12), Some(34)).unwrap();
    let before = config(&supervisor);
    assert_eq!(saved(&supervisor, &["web", "cpus", "2", "swap", "1M"]), (0, String::new()));
    let now = before
        .replace("= 0.5  # half", "= 2  # half")
        .replace("core \\\r\n               0\r\n", "core \\\r\n               0\r\n  swap       = 1M\r\n");
    assert_eq!(config(&supervisor), now);
    assert!(fs::symlink_metadata(directory.join("inn.conf")).unwrap().is_symlink());
    let real = fs::metadata(&real).unwrap();
    assert_eq!((real.mode() & 0o7777, real.uid(), real.gid()), (0o640, 12, 34));
}

#[test]
fn save_finds_the_file_that_has_the_guest() {
    if !must::root("save_finds_the_file_that_has_the_guest") {
        return;
    }
    let more = must::target().join(format!("private/save-more-{}", std::process::id()));
    fs::create_dir_all(&more).unwrap();
    fs::write(more.join("a.conf"), "# a\n[service web]\ncommand = /bin/sleep 1\nautostart = no\n").unwrap();
    // What was left by one that was killed is in nobody's way.
    fs::write(more.join(".a.conf.set"), "garbage").unwrap();
    let main = format!("[host]\ninclude = {}/*.conf\n", more.display());
    let supervisor = Supervisor::start("save-more", &main);
    supervisor.await_answer();
    assert_eq!(saved(&supervisor, &["web", "memory", "5M"]), (0, String::new()));
    assert_eq!(config(&supervisor), main);
    let text = fs::read_to_string(more.join("a.conf")).unwrap();
    assert_eq!(text, "# a\n[service web]\ncommand = /bin/sleep 1\nautostart = no\nmemory = 5M\n");
    assert!(!more.join(".a.conf.set").exists());
    fs::remove_dir_all(more).unwrap();
}

/// `inn set --save` where `mount` was mounted over the directory of the config.
fn saved_on(supervisor: &Supervisor, prepare: &str) -> (i32, String) {
    let script = format!(
        "cd / && {prepare} && exec \"$0\" set -q --save --socket \"$1/control\" --config \"$1/fs/inn.conf\" web cpus 2"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).arg(must::inn()).arg(&supervisor.directory);
    said(&command.output().expect("unshare starts"))
}

#[test]
fn a_disk_that_is_full_or_read_only_loses_nothing() {
    let Some(supervisor) = down("save-full", SAVED) else { return };
    let directory = &supervisor.directory;
    fs::create_dir(directory.join("fs")).unwrap();
    let copy = |options: &str, then: &str| {
        format!("mount -t tmpfs -o {options} none \"$1/fs\" && cp \"$1/inn.conf\" \"$1/fs/\" && {then}")
    };
    let (code, text) = saved_on(&supervisor, &copy("size=1m", "mount -o remount,ro \"$1/fs\""));
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("cannot be saved: open a file beside it: EROFS (read-only file system); nothing was changed"),
        "{text}"
    );
    let (code, text) =
        saved_on(&supervisor, &copy("size=8k", "{ dd if=/dev/zero of=\"$1/fs/fill\" 2>/dev/null; true; }"));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("cannot be saved: write: ENOSPC (no space left); nothing was changed"), "{text}");
    let (code, text) = saved_on(&supervisor, &copy("size=1m,nr_inodes=2", "true"));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("ENOSPC"), "{text}");
    let status = stdout(&supervisor.inn(&["status", "web"]));
    assert!(status.contains("0.5") && config(&supervisor).contains("0.5"), "{status}");
}

#[test]
fn two_that_save_at_once_lose_nothing_of_each_other() {
    let Some(supervisor) = down("save-both", SAVED) else { return };
    let socket = supervisor.directory.join("control");
    let words = ["cpus=3", "memory=77M", "swap=7M", "oom-score=7", "processes=77", "cpu-weight=7", "rlimit=nproc 7"];
    let set = |word: &&str| {
        let mut command = Command::new(must::inn());
        command.args(["set", "-q", "--save", "--socket"]).arg(&socket).args(["web", word]);
        command.spawn().expect("inn starts")
    };
    let children: Vec<_> = words.iter().map(set).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let text = config(&supervisor);
    for line in ["= 3  # half", "= 77M", "= 7M", "oom-score  = 7", "= 77\n", "cpu-weight = 7", "= nproc 7"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_client_that_is_killed_leaves_a_whole_config() {
    let Some(supervisor) = down("save-killed", SAVED) else { return };
    let socket = supervisor.directory.join("control");
    let whole =
        |text: &str| (0..60).any(|n| text.contains(&format!("= {n}.5  # half"))) && text.ends_with("sleep 1000");
    for n in 1..60u64 {
        let mut command = Command::new(must::inn());
        command.args(["set", "-q", "--save", "--socket"]).arg(&socket).args(["web", "cpus", &format!("{n}.5")]);
        let mut child = command.spawn().expect("inn starts");
        std::thread::sleep(std::time::Duration::from_micros(n * 100));
        let _ = child.kill();
        let _ = child.wait();
        let text = config(&supervisor);
        assert!(whole(&text), "{text}");
    }
    assert_eq!(saved(&supervisor, &["web", "cpus", "1.5"]), (0, String::new()));
    assert_eq!(left_beside(&supervisor), [""; 0]);
}

#[test]
fn a_config_by_a_relative_name_has_to_be_said() {
    if !must::root("a_config_by_a_relative_name_has_to_be_said") {
        return;
    }
    let absolute = Path::new("/nonexistent/inn.conf");
    let output = Command::new(must::inn())
        .args(["set", "--save", "--config"])
        .arg(absolute)
        .args(["web", "cpus", "1"])
        .output()
        .unwrap();
    let (code, text) = said(&output);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("/nonexistent/inn.conf cannot be saved: open: ENOENT"), "{text}");
}
