//! What goes into a guest with a command that enters it: nothing of its caller's. And what those inside can do to it.

use rustix::process::{Pid, Signal};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use innkeep::limits;

use crate::confinement::{root, told};
use crate::must;
use crate::private::Supervisor;

fn guest(name: &str, lines: &str) -> String {
    let root = root(&format!("enter-{name}"));
    format!("[guest {name}]\nroot = {}\nreadonly = yes\ncommand = /bin/probe\n{lines}\n", root.display())
}

/// The words behind `label` on each line that begins with it.
fn all<'t>(text: &'t str, label: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.strip_prefix(label)?.strip_prefix(' ')).collect()
}

#[test]
fn nothing_of_the_caller_goes_in() {
    if !must::root("nothing_of_the_caller_goes_in") {
        return;
    }
    let config = guest("os", "kind = os\nenv = COLOUR=green\noom-score = 300\nrlimit = core 0:7")
        + &guest("app", "kind = app\nuser = 1000\nenv = COLOUR=green\noom-score = 300\nrlimit = core 0:7");
    let supervisor = Supervisor::start("enter", &config);
    supervisor.await_answer();
    let outside = File::open("/etc/passwd").unwrap();
    for name in ["os", "app"] {
        supervisor.await_ready(name);
        // A caller that is unlike the guest in all that a process hands down.
        let caller = "umask 077; ulimit -c 5; ulimit -n 512; trap '' INT HUP; exec 7<&0; \
                      exec setarch -R nice -n 7 chrt --fifo 10 taskset 1 ionice -c 1 -n 2 \"$0\" \"$@\" </dev/null";
        let mut command = Command::new("sh");
        command
            .args(["-c", caller])
            .arg(must::inn())
            .args(["exec", "--socket"])
            .arg(supervisor.directory.join("control"));
        command.args([name, "/bin/probe", "look"]).current_dir("/etc").env("SECRET", "of the caller");
        let output = command.stdin(outside.try_clone().unwrap()).output().expect("sh starts");
        let text = told(&output);
        assert!(output.status.success(), "{text}");
        let descriptors = all(&text, "fd");
        assert_eq!(descriptors.len(), 3, "{text}");
        assert_eq!(descriptors[0], "0 /dev/null");
        assert!(descriptors[1].starts_with("1 pipe:") && descriptors[2].starts_with("2 pipe:"), "{text}");
        for (label, expected) in [
            ("directory", "/"),
            ("root", "0"),
            ("parent", "0"),
            ("session", "1"),
            ("group", "1"),
            ("tty", "ENXIO"),
            ("umask", "22"),
            ("policy", "0"),
            ("io", "0"),
            ("personality", "0"),
            ("slack", "50000"),
            ("oom", "300"),
        ] {
            assert_eq!(all(&text, label), [expected], "{name}: {label}\n{text}");
        }
        let first = supervisor.facts(name)["pid"].as_u64().unwrap();
        // proc(5): behind the name, niceness is the seventeenth.
        let stat = fs::read_to_string(format!("/proc/{first}/stat")).unwrap();
        assert_eq!(all(&text, "nice"), [stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap()]);
        let status = fs::read_to_string(format!("/proc/{first}/status")).unwrap();
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:\t")).unwrap();
        let cpus: u32 = cpus.split(',').map(|word| u32::from_str_radix(word, 16).unwrap().count_ones()).sum();
        assert_eq!(all(&text, "cpus"), [cpus.to_string()]);
        assert!(all(&text, "rlimit").contains(&"4 0 7"), "{text}");
        assert!(all(&text, "ignored").is_empty() && all(&text, "blocked").is_empty(), "{text}");
        let environment = all(&text, "environment");
        assert!(environment.contains(&"COLOUR=green") && !text.contains("SECRET"), "{text}");
        let known = ["PATH=", "HOME=", "TERM=", "container=", "COLOUR="];
        assert!(environment.iter().all(|word| known.iter().any(|name| word.starts_with(name))), "{text}");
    }
}

#[test]
fn a_command_that_enters_has_an_empty_keyring_of_its_own() {
    if !must::root("a_command_that_enters_has_an_empty_keyring_of_its_own") {
        return;
    }
    // keyctl(2): what the caller has in its session keyring is searched for from inside.
    let supervisor = Supervisor::start("keyring", &guest("keys", "kind = os\nseccomp = +keyctl +request_key"));
    supervisor.await_answer();
    supervisor.await_ready("keys");
    let mut inside = supervisor.command(&["exec", "keys", "/bin/probe", "key", "inn-test-key"]);
    let words: Vec<_> = inside.get_args().map(ToOwned::to_owned).collect();
    inside.output().expect("inn starts");
    // The same probe outside finds the key that it has put there.
    let output = Command::new(crate::confinement::probe())
        .args(["with-key", "inn-test-key"])
        .arg(must::inn())
        .args(words)
        .output();
    assert_eq!(told(&output.unwrap()), "outside ok\ninside ENOKEY\n");
}

#[test]
fn a_directory_is_not_passed_on() {
    if !must::root("a_directory_is_not_passed_on") {
        return;
    }
    let supervisor = Supervisor::start("folder", &guest("folder", "kind = os"));
    supervisor.await_answer();
    supervisor.await_ready("folder");
    let into = ["exec", "folder", "/bin/sh", "-c", "cd /proc/self/fd/0/ && echo entered"];
    let output = supervisor.command(&into).stdin(File::open("/etc").unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    assert!(told(&output).contains("EISDIR") && !told(&output).contains("entered"));
    let mut run = Command::new(must::inn());
    run.args(["run", "--root"]).arg(root("enter-folder")).args(["--kind", "app", "--", "/bin/probe", "look"]);
    let output = run.stdin(File::open("/etc").unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", told(&output));
}

#[test]
fn a_guest_that_makes_all_the_cgroups_it_may_keeps_nobody_out() {
    if !must::root("a_guest_that_makes_all_the_cgroups_it_may_keeps_nobody_out") {
        return;
    }
    let fill = "command = /bin/sh -c \"n=0; while (exec -a mkdir /bin/sh /sys/fs/cgroup/$n); do n=$((n + 1)); done; \
                echo $n cgroups; exec sleep 1000\"";
    for (users, more) in [("auto", ""), ("none", ""), ("none", "\nhealth = /bin/sh -c : every 100ms")] {
        let config = guest("full", &format!("kind = os\nuserns = {users}{more}")).replace("command = /bin/probe", fill);
        let supervisor = Supervisor::start(&format!("full-{users}"), &config);
        supervisor.await_answer();
        let printed = |this: &Supervisor| told(&this.inn(&["logs", "full"]));
        supervisor.wait_for("all cgroups", |this| printed(this).contains(" cgroups"));
        let all = format!("{} cgroups", limits::CGROUP_DESCENDANTS);
        assert!(printed(&supervisor).contains(&all), "{}", printed(&supervisor));
        // The bound stays, whoever's root its root is.
        let raise = "echo max > /sys/fs/cgroup/cgroup.max.descendants; exec -a mkdir /bin/sh /sys/fs/cgroup/more";
        let output = supervisor.inn(&["exec", "full", "/bin/sh", "-c", raise]);
        assert_eq!(output.status.code(), Some(1), "{users}: {}", told(&output));
        let output = supervisor.inn(&["exec", "full", "/bin/sh", "-c", "echo inside"]);
        assert_eq!(told(&output), "inside\n", "{users}");
        supervisor.wait_for("a look", |this| more.is_empty() || this.facts("full")["health"] == "well");
    }
}

#[test]
fn what_the_caller_closed_is_nothing_inside() {
    if !must::root("what_the_caller_closed_is_nothing_inside") {
        return;
    }
    let supervisor = Supervisor::start("closed", &guest("closed", "kind = os"));
    supervisor.await_answer();
    supervisor.await_ready("closed");
    for (closed, open) in [("<&-", 0), ("2>&-", 2), ("<&- 2>&-", 0)] {
        let script = format!("exec \"$0\" \"$@\" {closed}");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .arg(must::inn())
            .args(["exec", "--socket"])
            .arg(supervisor.directory.join("control"));
        let text = told(&command.args(["closed", "/bin/probe", "look"]).output().unwrap());
        assert_eq!(all(&text, "fd").len(), 3, "{closed}: {text}");
        assert!(all(&text, "fd").contains(&format!("{open} /dev/null").as_str()), "{closed}: {text}");
    }
}

/// Runs `script` on a terminal, and returns what `inn` and those beside it wrote to the file `$OUT`, and to the terminal.
fn on_terminal(supervisor: &Supervisor, script: &str) -> (String, String) {
    let out = supervisor.directory.join("out");
    let _ = fs::remove_file(&out);
    let mut command = Command::new("script");
    command.args(["-qec", script, "/dev/null"]).env("OUT", &out).env("INN", must::inn());
    command.env("SOCKET", supervisor.directory.join("control")).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("script starts (Debian: bsdutils)");
    // It would type an end-of-file.
    let input = child.stdin.take();
    let output = child.wait_with_output().expect("it ends");
    drop(input);
    (fs::read_to_string(out).unwrap_or_default(), told(&output))
}

#[test]
fn the_hosts_terminal_never_goes_in_whatever_is_redirected() {
    if !must::root("the_hosts_terminal_never_goes_in_whatever_is_redirected") {
        return;
    }
    let supervisor = Supervisor::start("terminals", &guest("terminals", "kind = os"));
    supervisor.await_answer();
    supervisor.await_ready("terminals");
    // As the guest sees each of its three: a terminal of its own, or what it was redirected to.
    for (redirected, own) in [
        ("", [true, true, true]),
        ("| cat", [true, false, true]),
        ("2>&1 | cat", [true, false, false]),
        ("</dev/zero", [false, true, true]),
        ("</dev/zero | cat", [false, false, true]),
        ("</dev/zero 2>&1 | cat", [false, false, false]),
    ] {
        let script = format!("$INN exec --socket $SOCKET terminals /bin/probe terminals $$ {redirected} >$OUT");
        let script = if redirected.is_empty() || redirected == "</dev/zero" {
            // Standard output is the terminal there.
            format!("$INN exec --socket $SOCKET terminals /bin/probe terminals {redirected}")
        } else {
            script
        };
        let (file, shown) = on_terminal(&supervisor, &script);
        let text = file + &shown;
        let expected: Vec<String> = own
            .iter()
            .enumerate()
            .map(|(number, own)| format!("{number} {}", if *own { "own" } else { "none" }))
            .collect();
        let got: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| line.ends_with("own") || line.ends_with("none") || line.ends_with("host"))
            .collect();
        assert_eq!(got, expected, "{redirected}: {text}");
    }
}

#[test]
fn those_inside_cannot_change_the_program_that_enters_or_starts_them() {
    if !must::root("those_inside_cannot_change_the_program_that_enters_or_starts_them") {
        return;
    }
    // `inn` in the guest is to stay for a while, which takes a call that it makes.
    let more = "seccomp = +clone3";
    let config = guest("own", &format!("kind = os\n{more}"))
        + &guest("none", &format!("kind = os\nuserns = none\n{more}"))
        + &guest("bound", &format!("kind = app\nuserns = none\n{more}"));
    let supervisor = Supervisor::start("runtime", &config);
    supervisor.await_answer();
    // A copy, for it would be this machine's.
    let copy = supervisor.directory.join("inn");
    must::install(must::inn(), &copy);
    let mode = || fs::metadata(&copy).unwrap().permissions().mode() & 0o7777;
    let before = mode();
    for (name, expected) in [("own", "change EPERM\n"), ("none", "change EROFS\n"), ("bound", "change EROFS\n")] {
        supervisor.await_ready(name);
        let hunt =
            supervisor.command(&["exec", name, "/bin/probe", "hunt", "exe"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut enter = Command::new(&copy);
        enter.args(["exec", "--socket"]).arg(supervisor.directory.join("control"));
        enter.args([name, "/proc/self/exe", "init", "--", "/bin/sleep", "1000"]).stdin(Stdio::null());
        let mut entered = enter.spawn().unwrap();
        assert_eq!(told(&hunt.wait_with_output().unwrap()), expected, "{name}");
        assert_eq!(mode(), before, "{name}");
        supervisor.inn(&["kill", name]);
        entered.wait().unwrap();
    }
    // As the first process, before anybody can hunt: it makes the hunter.
    for (options, expected) in [
        (&["--kind", "os", "--readonly"][..], "change EPERM\n"),
        (&["--kind", "os", "--readonly", "--userns", "none"], "change EROFS\n"),
        (&["--kind", "app", "--userns", "none"], "change EROFS\n"),
    ] {
        let mut run = Command::new(&copy);
        run.args(["run", "--root"]).arg(root("enter-runtime")).args(options).args(["--seccomp", "+clone3", "--"]);
        run.args(["/proc/self/exe", "init", "--", "/bin/probe", "hunt", "exe"]);
        assert_eq!(told(&run.output().unwrap()), expected, "{options:?}");
        assert_eq!(mode(), before);
    }
}

#[test]
fn enter_is_a_login_as_the_guests_own_files_have_it() {
    if !must::root("enter_is_a_login_as_the_guests_own_files_have_it") {
        return;
    }
    let lines = "env = COLOUR=green\ncaps = +net_raw";
    let config = guest("login", &format!("kind = os\nuser = 1000\n{lines}"))
        + &guest("user", &format!("kind = app\nuser = 1000\n{lines}"))
        + &guest("bare", "kind = os");
    for (name, passwd) in [
        ("login", "root:x:0:0:r:/bin:/bin/sh\nu:x:1000:1000:u:/tmp:/bin/nonsense\n"),
        ("user", "root:x:0:0:r:/bin:/bin/sh\nu:x:1000:1000:u:/tmp:/bin/nonsense\n"),
    ] {
        let root = root(&format!("enter-{name}"));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/passwd"), passwd).unwrap();
    }
    let supervisor = Supervisor::start("login", &config);
    supervisor.await_answer();
    for (name, expected) in [
        // Root of a distribution, whoever its init runs as; the program that an app's user has is not there.
        ("login", "-sh /bin root root /bin/sh /bin 0 plain\n"),
        ("user", "-sh /tmp u u /bin/sh /tmp 1000 plain\n"),
        ("bare", "-sh / root root /bin/sh / 0 plain\n"),
    ] {
        supervisor.await_ready(name);
        let mut child =
            supervisor.command(&["enter", name]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let script = "while read key value rest; do case $key in Uid:) uid=$value;; esac; done </proc/self/status\n\
                      echo $0 $HOME $USER $LOGNAME $SHELL $PWD $uid ${COLOUR-plain}\nexit 3\n";
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((told(&output).as_str(), output.status.code()), (expected, Some(3)), "{name}");
    }
    // A pipe in the place of the file, which nobody writes to.
    let fifo = root("enter-bare").join("etc/passwd");
    fs::create_dir_all(fifo.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&fifo);
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let output = supervisor.inn(&["enter", "bare"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    fs::remove_file(fifo).unwrap();
    assert_eq!(supervisor.inn(&["enter", "nobody"]).status.code(), Some(3));
}

#[test]
fn a_guest_that_ends_while_it_is_entered_is_told_as_such() {
    if !must::root("a_guest_that_ends_while_it_is_entered_is_told_as_such") {
        return;
    }
    let supervisor = Supervisor::start("short", &guest("short", "kind = os\nrestart = never"));
    supervisor.await_answer();
    for round in 0..80 {
        assert!(supervisor.inn(&["start", "--wait", "short"]).status.success());
        let mut exec = supervisor.command(&["exec", "short", "/bin/sh", "-c", "exit 0"]);
        let exec = exec.stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(round % 40 * 250));
        assert!(supervisor.inn(&["kill", "short"]).status.success());
        let output = exec.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            // In time; or killed with all of the guest.
            Some(0 | 137) => {}
            Some(4) if said.contains("it ended meanwhile") || said.contains("it does not run") => {}
            code => panic!("{code:?}: {said}"),
        }
    }
}

#[test]
fn what_was_started_inside_ends_with_who_is_asked_to_end_at_any_moment() {
    if !must::root("what_was_started_inside_ends_with_who_is_asked_to_end_at_any_moment") {
        return;
    }
    let supervisor = Supervisor::start("asked", &guest("asked", "kind = os\nrestart = never"));
    supervisor.await_answer();
    supervisor.await_ready("asked");
    let before = supervisor.members("asked");
    for round in 0..80 {
        let mut exec = supervisor.command(&["exec", "asked", "/bin/sleep", "1000"]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(round % 40 * 100));
        let asked = Signal::TERM;
        rustix::process::kill_process(Pid::from_raw(exec.id() as i32).unwrap(), asked).unwrap();
        let code = crate::foreground::end(&mut exec);
        // It may not have waited for signals yet.
        assert!(matches!(code, None | Some(143)), "{code:?}");
        supervisor.wait_for("the command to be gone", |this| this.members("asked") == before);
    }
}
