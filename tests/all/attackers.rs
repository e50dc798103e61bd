//! Programs that try to get out of their guest, or to take what is not theirs, each one attempt (`tests/attackers`).
//!
//! The verdict is never theirs: it is the host's state before and after, and secrets of the host in what they print.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::{Machine, Recipe};
use crate::must;

/// Modules that the host has and has not loaded: a guest must not get them loaded.
const UNLOADED: [&str; 6] = ["dummy", "configfs", "algif_hash", "vsock", "squashfs", "tcp_dctcp"];
/// The guests that every attempt is made in: root of a distribution, root of an app, a user of an app.
const GUESTS: [&str; 3] = ["os", "app", "user"];
/// Fewer than these, and one got lost.
const ATTEMPTS_AT_LEAST: usize = 120;
/// Attempts for one command of the agent, which may take only so long.
const GROUP: usize = 8;

/// What is not stopped yet, by guest and attempt, with the reason. A failure here is said and does not count; this list
/// is to become empty.
const NOT_YET: &[(&str, &str, &str)] = &[];

/// Attempts by the host's own root, and what the same look at the host must find of each: if it did not, it would find
/// nothing anywhere.
const SEEN: &[(&str, &str)] = &[
    ("setting-hostname", "/proc/sys/kernel/hostname:typed-by-attacker"),
    ("helper-core-pattern", "/proc/sys/kernel/core_pattern:|/proc/"),
    ("setting-sysrq", "sysrq: HELP"),
    ("leak-files", "leak s3cret-of-files"),
    ("process-memory", "leak s3cret-of-host-"),
    ("socket-abstract", "leak s3cret-of-host-socket"),
    ("device-memory", "typed-by-attacker"),
    ("machine-log", "leak s3cret-of-log"),
    ("leak-proc", "leak virtio"),
    ("device-disk", "leak s3cret-of-disk"),
    ("machine-autoload-filesystem", "+configfs"),
    ("keyring-read", "leak s3cret-of-host-keyring"),
    ("root-propagation", " /etc "),
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
        assert_eq!(machine.ok("state os >/run/one; usleep 500000; state os >/run/other; diff /run/one /run/other"), "");
    });
    for guest in GUESTS {
        for (attempt, seen) in run(&mut machine, guest, &attempts) {
            verdict(&mut machine, guest, &attempt, &seen);
        }
    }
    machine.check("nothing was typed on the console", |machine| {
        assert!(!machine.console.all().contains("typed-by"), "see the console's log");
    });
    machine.check("the same look at the host sees what the host's own root does", |machine| {
        for (name, mark) in SEEN {
            let (seen, changed) = run_group(machine, "host", &[name.to_string()]);
            let all = format!("{}\n{changed}", seen[0].1);
            assert!(all.contains(mark), "{name} on the host: no {mark:?} in:\n{all}");
        }
    });
    machine.end();
}

/// The attempts, each a file.
fn attempts() -> Vec<String> {
    let folder = must::project().join("tests/attackers");
    let files = std::fs::read_dir(folder).expect("tests/attackers").map(|entry| entry.expect("a file").path());
    let sources = files.filter(|path| path.extension().is_some_and(|extension| extension == "c"));
    let mut names: Vec<String> =
        sources.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    names.sort();
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
    std::fs::File::create(&disk).and_then(|file| file.set_len(32 << 20)).expect("a file");
    let made = Command::new("mke2fs").args(["-q", "-t", "ext4", "-L", "s3cret-of-disk"]).arg(&disk).status();
    assert!(made.expect("mke2fs starts (Debian: e2fsprogs)").success(), "mke2fs failed");
    disk
}

/// Makes attempts, and returns with each what the host saw of it. What a group has changed is found by making each of its
/// attempts alone.
fn run(machine: &mut Machine, guest: &str, attempts: &[String]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for group in attempts.chunks(GROUP) {
        let (seen, changed) = run_group(machine, guest, group);
        if changed.is_empty() {
            all.extend(seen);
            continue;
        }
        let mut found = false;
        for (name, mut lines) in seen {
            let (_, alone) = run_group(machine, guest, std::slice::from_ref(&name));
            found |= !alone.is_empty();
            lines.push_str(&alone);
            all.push((name, lines));
        }
        if !found {
            // It cannot be done twice.
            let names = group.join(", ");
            all.push((group[0].clone(), format!("one of {names} changed, once:\n{changed}")));
        }
    }
    all
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
    let known = NOT_YET.iter().find(|(in_guest, name, _)| *in_guest == guest && *name == attempt);
    match known {
        Some((.., reason)) if !harm.is_empty() => {
            must::say(&format!("{guest}: {attempt} is NOT YET stopped: {reason}: {}", harm.join("; ")));
        }
        _ => machine.check(&format!("{guest}: {attempt}"), |_| {
            assert!(harm.is_empty(), "seen from the host:\n{}", harm.join("\n"));
        }),
    }
}
