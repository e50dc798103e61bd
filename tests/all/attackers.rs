//! Programs that try to get out of their guest, or to take what is not theirs, each one attempt (`tests/attackers`).
//!
//! The verdict is never theirs: it is the host's state before and after, and secrets of the host in what they print.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::{Machine, Recipe};
use crate::must;

/// Modules that the host has and has not loaded: a guest must not get them loaded.
const UNLOADED: [&str; 6] = ["dummy", "configfs", "algif_hash", "vsock", "squashfs", "tcp_dctcp"];
/// Guests that attempts are made in: root of a distribution, root of an app, a user of an app. The last may do less than the
/// one before, and is asked about few.
const GUESTS: [&str; 3] = ["os", "app", "user"];
/// Where a guest's file systems are mounted in its root.
const PLACES: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];
/// What a hostile root has there, as a link.
const LEADS: [&str; 4] = ["/etc", "../../../../etc", "/proc/1/root/etc", "/nowhere"];
/// Fewer than these, and one got lost.
const ATTEMPTS_AT_LEAST: usize = 120;
/// Attempts for one command of the agent, which may take only so long.
const GROUP: usize = 16;

/// Attempts by the host's own root, and what the same look at the host must find of each, and of no other: if it did not, it
/// would find nothing anywhere. First the one that clears the kernel's log.
const SEEN: &[(&str, &str)] = &[
    ("machine-log", "leak s3cret-of-log"),
    ("setting-hostname", "/proc/sys/kernel/hostname:typed-by-attacker"),
    ("helper-core-pattern", "/proc/sys/kernel/core_pattern:|/proc/"),
    ("setting-sysrq", "sysrq: HELP"),
    ("leak-files", "leak s3cret-of-files"),
    ("process-memory", "leak s3cret-of-host-"),
    ("socket-abstract", "leak s3cret-of-host-socket"),
    ("device-memory", "] typed-by-attacker"),
    ("leak-proc", "leak virtio"),
    ("device-disk", "leak s3cret-of-disk"),
    ("keyring-read", "leak s3cret-of-host-keyring"),
    ("mount-debugfs", " - debugfs "),
    ("privilege-setuid", "setuid-by-attacker"),
    ("machine-clock", "moved by"),
];

#[test]
fn no_attempt_reaches_the_host_on_5_10() {
    attack("5.10");
}

#[test]
fn no_attempt_reaches_the_host_on_6_1() {
    attack("6.1");
}

#[test]
fn no_attempt_reaches_the_host_on_6_12() {
    attack("6.12");
}

fn attack(kernel: &'static str) {
    let recipe = Recipe { name: "attackers", kernel, folder: "attackers", command_line: "log_buf_len=4M" };
    if !must::qemu("attackers") {
        return;
    }
    let attempts = attempts();
    assert!(attempts.len() >= ATTEMPTS_AT_LEAST, "only {} attempts", attempts.len());
    let tree = build(&attempts);
    let disk = disk(kernel);
    let tree = tree.to_str().expect("a path of text");
    let modules = UNLOADED.iter().flat_map(|name| ["--module", name]);
    let more: Vec<&str> = modules.chain(["--tree", tree]).collect();
    let Some(mut machine) = Machine::boot_with(recipe, &disk, &[], &more) else { return };
    machine.ok("prepare");
    machine.check("the host's state stands still when nothing happens", |machine| {
        let twice = "state os >one; usleep 500000; state os >other; diff one other";
        assert_eq!(machine.ok(&format!("cd /run/attack && {twice}")), "");
    });
    on_entering(&mut machine, kernel);
    on_starting(&mut machine);
    in_place(&mut machine, kernel);
    for guest in &GUESTS[..2] {
        // What the kernel charges differs between kernels; that an app is charged like a distribution does not.
        let all = *guest == "os" || kernel == "6.12";
        let attempts: Vec<String> =
            attempts.iter().filter(|name| all || !name.starts_with("exhaust-")).cloned().collect();
        for group in attempts.chunks(GROUP) {
            for (attempt, seen) in run(&mut machine, guest, group) {
                verdict(&mut machine, guest, &attempt, &seen);
            }
        }
    }
    machine.check("nothing was typed on the console", |machine| {
        assert!(!machine.console.all().contains("typed-by"), "see the console's log");
    });
    machine.check("the same look at the host sees what the host's own root does", |machine| {
        let names: Vec<String> = SEEN.iter().map(|(name, _)| name.to_string()).collect();
        let (seen, changed) = run_group(machine, "host", &names);
        for ((name, mark), (_, lines)) in SEEN.iter().zip(seen) {
            let all = format!("{lines}\n{changed}");
            assert!(all.contains(mark), "{name} on the host: no {mark:?} in:\n{all}");
        }
    });
    machine.end();
}

/// A command about `guest` that changes nothing of the host, prints no secret of it, and is waited for; returns what it printed.
fn harmless(machine: &mut Machine, guest: &str, command: &str) -> String {
    let look = format!("state {guest} >/run/attack");
    let text =
        machine.ok(&format!("{look}/one; {command}; {look}/other; cd /run/attack; diff one other >changed; true"));
    let changed = machine.ok("head -n 40 /run/attack/changed");
    assert!(changed.is_empty(), "`{command}` changed the host:\n{changed}\n{text}");
    assert!(!text.contains("s3cret-of-"), "`{command}` told a secret: {text}");
    text
}

/// While a program enters.
fn on_entering(machine: &mut Machine, kernel: &str) {
    let mut guests = vec!["ambush-os", "ambush-app", "ambush-none"];
    if kernel == "5.10" {
        machine.check("where this program cannot be kept from a guest's root, that guest does not start", |machine| {
            let output = machine.run(&format!("inn start {}", guests[2]));
            assert!(output.code == 1 && output.text.contains("mount_setattr: ENOSYS"), "{}", output.text);
            assert!(output.text.contains("users of its own (userns)"), "{}", output.text);
            // It would be tried again, once a second, beside all that follows.
            machine.ok(&format!("inn kill {}", guests[2]));
        });
        guests.pop();
    }
    for guest in guests {
        machine.check(&format!("{guest}: who enters is neither overwritten, traced nor read"), |machine| {
            machine.ok(&format!("inn start --wait {guest}"));
            machine.until(&format!("inn logs {guest} | grep holding"), |output| output.code == 0);
            // `/tmp/again` is a script for `/proc/self/exe`: the kernel is to run who enters once more, from inside.
            let enter = format!(
                "n=0; while [ $n -lt 20 ]; do timeout -s KILL 4 inn exec {guest} true; n=$((n + 1)); done; \
                 timeout -s KILL 4 inn exec {guest} /tmp/again; sleep 1"
            );
            harmless(machine, guest, &format!("{enter}; inn logs {guest}"));
            machine.ok(&format!("inn kill {guest}"));
        });
    }
    machine.check("what a guest types into its terminal does not reach who entered it", |machine| {
        for guest in GUESTS {
            let text = machine.ok(&format!("terminal inn exec {guest} /attack/terminal-injection"));
            let typed = text.lines().find_map(|line| line.strip_prefix("input: "));
            assert_eq!(typed, Some(""), "{guest}: {text}");
        }
    });
}

/// While a guest starts.
fn on_starting(machine: &mut Machine) {
    for guest in ["first-os", "first-app", "elsewhere-os"] {
        machine.check(&format!("{guest}: a first program is given nothing that leads out"), |machine| {
            let ended = format!(
                "n=0; until inn logs {guest} | grep -q ^done || [ $n = 300 ]; do usleep 100000; n=$((n + 1)); done"
            );
            let text = harmless(
                machine,
                guest,
                &format!("inn start {guest}; {ended}; inn kill {guest} 2>&1; inn logs {guest}"),
            );
            assert!(text.contains("\ndone"), "it did not run: {text}");
        });
    }
    machine.check("no directory to start in leads out", |machine| {
        for directory in ["/proc/self/fd/$n", "/proc/1/cwd"] {
            let start = format!(
                "inn run --kind app --root /data/busybox --readonly --directory {directory} -- /attack/leaked-directory"
            );
            harmless(machine, "none", &format!("for n in 3 4 5 6 7 8 9 10; do {start}; done"));
        }
    });
    machine.check("links where a guest's file systems are to be mounted lead nowhere", |machine| {
        let roots: Vec<(&str, &str)> = PLACES.iter().flat_map(|place| LEADS.iter().map(|to| (*place, *to))).collect();
        for (number, (place, to)) in roots.iter().enumerate() {
            machine.ok(&format!(
                "mkdir -p /data/hostile/{number} && cd /data/hostile/{number} && mkdir {} attack && \
                 ln /data/busybox/attack/all attack/leak-files && rmdir {place} && ln -s {to} {place}",
                PLACES.join(" ")
            ));
        }
        let start =
            |number| format!("inn run --kind os --root /data/hostile/{number} --ephemeral -- /attack/leak-files");
        // One look before and one behind all of them; where they differ, those around each tell which it was.
        let all: Vec<String> = (0..roots.len()).map(start).collect();
        if catch_unwind(AssertUnwindSafe(|| harmless(machine, "none", &all.join("; ")))).is_err() {
            for start in &all {
                harmless(machine, "none", start);
            }
            panic!("one of them changed the host, once: see above");
        }
        machine.ok("rm -rf /data/hostile");
    });
}

/// In a guest whose root is the directory on the host's disk itself.
fn in_place(machine: &mut Machine, kernel: &str) {
    if kernel == "5.10" {
        // It cannot map owners, and refuses such a root.
        return;
    }
    machine.check("writer: a set-user-id program that it leaves is of no use to the host's other users", |machine| {
        machine.ok("inn start --wait writer && inn exec writer /attack/privilege-setuid");
        let left = machine.ok("find /data/closed -name setuid-by-attacker -perm -4000");
        assert!(!left.is_empty(), "it left none: the check is worth nothing");
        let pid = machine.guest("writer").pid();
        let outside = left.lines().map(str::to_owned);
        let inside = ["/tmp", "/run", "/root"].map(|place| format!("/proc/{pid}/root{place}/setuid-by-attacker"));
        for path in outside.chain(inside) {
            let output = machine.run(&format!("su -s /bin/sh nobody -c 'exec -a id {path}'"));
            assert!(output.code != 0 && !output.text.contains("uid="), "{path}: {}", output.text);
        }
        machine.ok("inn kill writer");
    });
}

/// The attempts, each a file.
fn attempts() -> Vec<String> {
    let folder = must::project().join("tests/attackers");
    let files = std::fs::read_dir(folder).expect("tests/attackers").map(|entry| entry.expect("a file").path());
    let sources = files.filter(|path| path.extension().is_some_and(|extension| extension == "c"));
    let mut names: Vec<String> =
        sources.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    // Those that take long have like names: so they are spread over the groups.
    names.sort_by_key(|name| name.chars().rev().collect::<String>());
    names
}

/// Compiles everything and lays it out as the image is to have it: one program, and a name for each attempt.
fn build(attempts: &[String]) -> PathBuf {
    static BUILT: std::sync::Once = std::sync::Once::new();
    let sources = must::project().join("tests/attackers");
    let tree = must::target().join("attackers");
    BUILT.call_once(|| {
        let _ = std::fs::remove_dir_all(&tree);
        for folder in ["bin", "guests/busybox/attack", "guests/busybox/bin"] {
            std::fs::create_dir_all(tree.join(folder)).expect("a directory");
        }
        let files = attempts.iter().map(|name| sources.join(format!("{name}.c")));
        compile(files.chain([sources.join("common/attack.c")]), &tree.join("guests/busybox/attack/all"));
        for name in attempts {
            std::os::unix::fs::symlink("all", tree.join("guests/busybox/attack").join(name)).expect("a link");
        }
        for name in ["canary", "terminal"] {
            compile([sources.join(format!("host/{name}.c"))].into_iter(), &tree.join("bin").join(name));
        }
        std::fs::copy(tree.join("bin/canary"), tree.join("guests/busybox/bin/canary")).expect("a copy");
    });
    tree
}

fn compile(sources: impl Iterator<Item = PathBuf>, program: &Path) {
    let words = ["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o"];
    let compiled = Command::new("gcc").args(words).arg(program).args(sources).status();
    assert!(compiled.expect("gcc starts (Debian: gcc libc6-dev)").success(), "gcc failed");
}

/// A disk for the guests' root, with a secret in its label.
fn disk(kernel: &str) -> PathBuf {
    let disk = must::target().join(format!("machines/attackers-{kernel}.img"));
    std::fs::create_dir_all(disk.parent().expect("a directory")).expect("a directory");
    let _ = std::fs::remove_file(&disk);
    std::fs::File::create(&disk).and_then(|file| file.set_len(64 << 20)).expect("a file");
    let made = Command::new("mke2fs").args(["-q", "-t", "ext4", "-L", "s3cret-of-disk"]).arg(&disk).status();
    assert!(made.expect("mke2fs starts (Debian: e2fsprogs)").success(), "mke2fs failed");
    disk
}

/// Makes a group of attempts, and returns with each what the host saw of it. What the group has changed is found by making each
/// of its attempts alone.
fn run(machine: &mut Machine, guest: &str, group: &[String]) -> Vec<(String, String)> {
    let (mut seen, changed) = run_group(machine, guest, group);
    if changed.is_empty() {
        return seen;
    }
    let mut found = false;
    for (name, lines) in &mut seen {
        let (_, alone) = run_group(machine, guest, std::slice::from_ref(name));
        found |= !alone.is_empty();
        lines.push_str(&alone);
    }
    if !found {
        // It cannot be done twice: any of them may have been it.
        for (_, lines) in &mut seen {
            lines.push_str(&format!("one of {} changed, once:\n{changed}", group.join(", ")));
        }
    }
    seen
}

/// Makes attempts, and returns what the host saw of each, and of all together.
fn run_group(machine: &mut Machine, guest: &str, group: &[String]) -> (Vec<(String, String)>, String) {
    let text = machine.ok(&format!("attack {guest} {}", group.join(" ")));
    let mut seen = HashMap::new();
    for part in text.split("== ").skip(1) {
        let (name, lines) = part.split_once('\n').unwrap_or((part, ""));
        seen.insert(name.trim(), lines.trim());
    }
    let of = |name: &str| seen.get(name).copied().unwrap_or("! was not run").to_owned();
    (group.iter().map(|name| (name.clone(), of(name))).collect(), of("all"))
}

/// One attempt has one verdict.
fn verdict(machine: &mut Machine, guest: &str, attempt: &str, seen: &str) {
    let harm: Vec<&str> = seen.lines().filter(|line| !line.starts_with("~ ")).collect();
    machine.check(&format!("{guest}: {attempt}"), |_| {
        assert!(harm.is_empty(), "seen from the host:\n{}", harm.join("\n"));
    });
}
