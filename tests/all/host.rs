//! The program on this very host, as root: `inn run` and `inn check`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::{must, private};

#[test]
fn run_of_id_leaves_nothing_behind() {
    if !must::root("run_of_id_leaves_nothing_behind") {
        return;
    }
    let output = leaving_nothing(&["run", "--", "id"]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("uid=0"), "{}", words(&output));
}

#[test]
fn run_that_fails_to_start_leaves_nothing_behind() {
    if !must::root("run_that_fails_to_start_leaves_nothing_behind") {
        return;
    }
    for (arguments, code) in [
        (&["run", "--", "/no/such/program"][..], 127),
        (&["run", "--", "/etc/passwd"][..], 126),
        (&["run", "--root", "/no/such/root", "--", "true"][..], 125),
    ] {
        let output = leaving_nothing(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", words(&output));
        let named = arguments.iter().find(|word| word.starts_with('/')).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(named) || said.contains("root directory"), "{arguments:?}: {said}");
    }
}

#[test]
fn run_gives_the_programs_own_exit_code() {
    if !must::root("run_gives_the_programs_own_exit_code") {
        return;
    }
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 0), ("sh -c 'kill -9 $$'; exit $?", 137)] {
        let output = inn(&["run", "--", "/bin/sh", "-c", script]);
        // The first process of a pid namespace is not killed by a signal from inside (pid_namespaces(7)).
        assert_eq!(output.status.code(), Some(code), "{script}: {}", words(&output));
    }
}

#[test]
fn run_passes_input_and_output() {
    if !must::root("run_passes_input_and_output") {
        return;
    }
    let mut command = Command::new(must::inn());
    command.args(["run", "--", "/bin/cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("inn starts");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"as it is\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "as it is\n", "{}", words(&output));
}

#[test]
fn a_throwaway_guest_sees_the_hosts_files_and_changes_none() {
    if !must::root("a_throwaway_guest_sees_the_hosts_files_and_changes_none") {
        return;
    }
    let mark = format!("/etc/inn-test-{}", std::process::id());
    let output = inn(&["run", "--", "/bin/sh", "-c", &format!("cat /etc/os-release && touch {mark} && ls {mark}")]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(!PathBuf::from(&mark).exists(), "{mark} is on the host");
}

#[test]
fn check_refuses_wrong_files_with_one_clear_line() {
    let directory = must::target().join("check");
    fs::create_dir_all(&directory).expect("a directory");
    let file = |name: &str, content: &[u8]| {
        fs::write(directory.join(name), content).expect("a file");
        directory.join(name)
    };
    let binary: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let cases = [
        (file("binary", &binary), "binary"),
        (file("ten-mebibytes", &vec![b'#'; 10 << 20]), "10 MiB"),
        (directory.clone(), "a directory"),
        (directory.join("missing"), "missing"),
    ];
    for (path, what) in cases {
        let output = inn(&["check", path.to_str().unwrap()]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{what}: {}", words(&output));
        assert!(error.contains(path.to_str().unwrap()), "{what}: {error}");
    }
    let unended = file("unended", b"[guest web]\nkind = app\nroot = /srv/web\ncommand = /bin/true");
    assert_eq!(inn(&["check", unended.to_str().unwrap()]).status.code(), Some(0), "a file without end of line");
}

#[test]
fn check_reports_every_error_of_a_config() {
    let directory = must::target().join("check");
    fs::create_dir_all(&directory).expect("a directory");
    for count in [1, 2, 60] {
        let path = directory.join(format!("{count}-errors"));
        let mut text = String::from("[guest web]\nkind = app\nroot = /srv/web\ncommand = /bin/true\n");
        for number in 0..count {
            text += &format!("unknown-{number} = 1\n");
        }
        fs::write(&path, text).expect("a file");
        let output = inn(&["check", path.to_str().unwrap()]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}", words(&output));
        for number in 0..count {
            assert!(error.contains(&format!(":{}:1: ", 5 + number)), "error {number} of {count} is missing: {error}");
        }
    }
}

fn inn(arguments: &[&str]) -> Output {
    Command::new(must::inn()).args(arguments).stdin(Stdio::null()).output().expect("inn starts")
}

fn words(output: &Output) -> String {
    let signal = output.status.signal().map(|signal| format!(", signal {signal}")).unwrap_or_default();
    let [out, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("code {:?}{signal}\n{out}{error}", output.status.code())
}

/// Runs `inn`, and sees that nothing of it is left: no mount, link or cgroup, and no process. Other tests have guests of
/// their own meanwhile, so what is looked for is what could only be of this one.
fn leaving_nothing(arguments: &[&str]) -> Output {
    let lines = |path: &str| fs::read_to_string(path).expect(path).lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let links = || fs::read_dir("/sys/class/net").expect("links").flatten().map(|entry| entry.file_name()).collect();
    let (mounts, before): (_, BTreeSet<_>) = (lines("/proc/self/mountinfo"), links());
    let mut command = Command::new(must::inn());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mark = format!("INN_TEST={arguments:?}");
    let (name, value) = mark.split_once('=').unwrap();
    let child = command.env(name, value).spawn().expect("inn starts");
    let own = format!("inn-run-{}", child.id());
    let output = child.wait_with_output().expect("it ends");
    let new: Vec<_> = lines("/proc/self/mountinfo").difference(&mounts).cloned().collect();
    assert!(new.is_empty(), "mounts left behind: {new:?}");
    let new: Vec<_> = links().difference(&before).cloned().collect();
    assert!(new.is_empty(), "links left behind: {new:?}");
    // A guest's processes are all in its cgroup, which could not be removed as long as there are any.
    let left: Vec<_> = cgroups().into_iter().filter(|path| path.ends_with(&own)).collect();
    assert!(left.is_empty(), "cgroups left behind: {left:?}");
    // Its helpers are not, but they have its environment.
    let marked = |path: PathBuf| {
        fs::read(path.join("environ")).is_ok_and(|all| all.split(|byte| *byte == 0).any(|word| word == mark.as_bytes()))
    };
    let left: Vec<_> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| marked(path.clone()))
        .collect();
    assert!(left.is_empty(), "processes left behind: {left:?}");
    output
}

/// Every directory of every cgroup hierarchy.
fn cgroups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
        found.insert(directory);
    }
    found
}

#[test]
fn a_guest_in_the_foreground_ends_with_a_caller_that_is_killed() {
    if !must::root("a_guest_in_the_foreground_ends_with_a_caller_that_is_killed") {
        return;
    }
    let mut command = Command::new(must::inn());
    command.args(["run", "--", "/bin/sh", "-c", "echo up; exec sleep 1000"]).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("inn starts");
    let mut up = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).expect("it is up");
    let cgroup =
        cgroups().into_iter().find(|path| path.ends_with(format!("inn-run-{}", child.id()))).expect("a cgroup");
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    let deadline = std::time::Instant::now() + must::PATIENCE;
    let populated = || fs::read_to_string(cgroup.join("cgroup.events")).is_ok_and(|text| text.contains("populated 1"));
    while populated() {
        assert!(std::time::Instant::now() < deadline, "the guest lives on");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // What is left where nobody could clean up: directories, which the kernel may still be emptying.
    private::remove_run(child.id());
}
