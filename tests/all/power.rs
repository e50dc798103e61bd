//! The host goes down within its time, whatever hangs, and what could be written is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::machine::{Machine, Recipe, TIMEOUT};
use crate::must;

/// A disk for this machine, with a file system on it.
fn disk(kernel: &str, name: &str, mib: u64) -> PathBuf {
    let disk = must::target().join(format!("machines/power-{kernel}-{name}.img"));
    std::fs::create_dir_all(disk.parent().unwrap()).expect("a directory");
    std::fs::File::create(&disk).and_then(|file| file.set_len(mib << 20)).expect("a file");
    tool("/sbin/mkfs.ext4", &["-q", "-F"], &disk);
    disk
}

fn tool(name: &str, arguments: &[&str], disk: &Path) -> String {
    let output = Command::new(name).args(arguments).arg(disk).output().expect(name);
    assert!(output.status.success(), "{name}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The file system was unmounted, frozen or made read-only: nothing is to be repaired.
fn assert_clean(disk: &Path) {
    let state = tool("/sbin/dumpe2fs", &["-h"], disk);
    assert!(!state.contains("needs_recovery") && state.contains("clean"), "{}: {state}", disk.display());
    tool("/sbin/e2fsck", &["-f", "-n"], disk);
}

/// Compiles what makes a disk hang.
pub fn programs(kernel: &str) -> PathBuf {
    static MADE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let tree = must::target().join(format!("programs-power-{kernel}"));
    // Made once: another test may be reading it for its image.
    if made.contains(&tree) {
        return tree;
    }
    std::fs::create_dir_all(tree.join("bin")).expect("a directory");
    let source = must::project().join("tests/programs/map.c");
    let words = ["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o"];
    let compiled = Command::new("gcc").args(words).arg(tree.join("bin/map")).arg(source).status();
    assert!(compiled.expect("gcc starts (Debian: gcc libc6-dev)").success(), "gcc failed");
    made.push(tree.clone());
    tree
}

/// What is on disks that lie on others: a file system on a mapped device on a loop device on a file; an overlay of it and of
/// another; a swap file. And a program that keeps a file open, on a disk that hangs, and a guest that does.
const PREPARE: &str = "set -e; mkdir -p /store /busy /hung /inner /over; \
    mount -t ext4 /dev/vda /store; mount -t ext4 /dev/vdb /busy; \
    map hung /dev/vdc; mount -t ext4 /dev/dm-0 /hung; chmod 700 /hung /store; mkdir -p /hung/guest; chmod 777 /hung/guest; \
    cp /busy/inner.img /store/; losetup /dev/loop0 /store/inner.img; \
    map fine /dev/loop0; mount -t ext4 /dev/dm-1 /inner; mkdir /store/upper /store/work; \
    mount -t overlay -o lowerdir=/inner,upperdir=/store/upper,workdir=/store/work overlay /over; \
    dd if=/dev/zero of=/store/swap bs=64k count=64 2>/dev/null; mkswap /store/swap; swapon /store/swap; \
    head -c 3m /dev/urandom >/tmp/memory; \
    echo inner >/inner/file; echo over >/over/other; echo store >/store/file; echo busy >/busy/file; \
    inn start --wait stuck; ";

/// Has what is in memory swapped out: only going down brings it back.
const SWAP: &str = "cd /sys/fs/cgroup/inn.services/agent; \
    until awk '/swap/ && $4 >= 1000 { found = 1 } END { exit !found }' /proc/swaps; do \
    echo 1M >memory.high; echo max >memory.high; done";

/// Somebody is to suspend the machine, waits for the disk that hangs first, and nobody else can restart it meanwhile.
const HOLD: &str = "setsid sh -c 'echo freeze >/sys/power/state' </dev/null >/dev/null 2>&1 & \
    until grep -q 'State:.D' /proc/$!/status; do sleep 0.1; done";

const HANG: &str = "setsid sh -c \"trap '' TERM; exec 5>/busy/open; \
    while :; do echo more >&5; dd if=/dev/zero of=/hung/host bs=4k count=1 conv=fsync; done\" </dev/null >/dev/null 2>&1 & \
    until grep -q more /busy/open; do sleep 0.1; done; map hung; \
    hangs() { for pid in $(pidof dd); do grep -q 'State:.D' /proc/$pid/status && echo $pid; done; }; \
    until [ $(hangs | wc -l) = 2 ]; do sleep 0.1; done";

#[test]
fn what_hangs_is_told_and_given_up_and_all_else_is_safe_on_5_10() {
    goes_down("5.10", "poweroff", |machine| {
        machine.console.wait_for("reboot: Power down", TIMEOUT);
    });
}

#[test]
fn what_hangs_is_told_and_given_up_and_all_else_is_safe_on_6_1() {
    goes_down("6.1", "poweroff", |machine| {
        machine.console.wait_for("reboot: Power down", TIMEOUT);
    });
}

#[test]
fn what_hangs_is_told_and_a_reboot_that_hangs_is_one_by_the_watchdog_on_6_12() {
    goes_down("6.12", "reboot", |machine| {
        machine.console.wait_for("softdog: Initiating system reboot", TIMEOUT);
        assert!(!machine.console.all().contains("reboot: Restarting"));
    });
}

fn goes_down(kernel: &'static str, verb: &str, ends: impl FnOnce(&mut Machine)) {
    if !must::qemu("power") {
        return;
    }
    let disk = |name, mib| disk(kernel, name, mib);
    let (store, busy, hung) = (disk("store", 48), disk("busy", 24), disk("hung", 16));
    let inner = disk("inner", 8);
    let write = format!("write {} inner.img", inner.display());
    tool("/sbin/debugfs", &["-w", "-R", &write], &busy);
    let drives = [&busy, &hung].map(|disk| format!("file={},format=raw,if=virtio", disk.display()));
    let devices = ["-drive", &drives[0], "-drive", &drives[1]];
    let programs = programs(kernel);
    let recipe = Recipe { name: "power", kernel, folder: "power", command_line: "" };
    let tree = ["--tree", programs.to_str().expect("a path of text")];
    let Some(mut machine) = Machine::boot_with(recipe, &store, &devices, &tree) else { return };
    machine.check("its disks are in use, and one hangs", |machine| {
        machine.ok(PREPARE);
        machine.ok(SWAP);
        machine.ok(HANG);
        if verb == "reboot" {
            machine.ok(HOLD);
        }
    });
    machine.check("it goes down all the same, and says what could not be done", |machine| {
        machine.tell(&format!("inn {verb}"));
        ends(machine);
        let said = machine.console.all();
        for words in [
            "killed, and still there: process",
            "(dd), state D, guest stuck",
            "/busy is in use, and not made read-only: EBUSY (busy); frozen as it is",
            "/hung hangs; what was not written is lost",
        ] {
            assert!(said.contains(words), "{words} is not in {said}");
        }
        // What lies on others is gone.
        for name in ["/store", "/inner", "/over", "loop0", "dm-1", "swap"] {
            assert!(!said.contains(&format!("{name} is in use")), "{name}: {said}");
        }
        assert!(machine.wait().success());
    });
    machine.end();
    assert_clean(&store);
    assert_clean(&busy);
    let cat = |file: &str, disk: &Path| tool("/sbin/debugfs", &["-R", &format!("cat {file}")], disk);
    assert_eq!((cat("/file", &store).as_str(), cat("/upper/other", &store).as_str()), ("store\n", "over\n"));
    assert_eq!(cat("/file", &busy), "busy\n");
    tool("/sbin/debugfs", &["-R", &format!("dump /inner.img {}", inner.display())], &store);
    assert_clean(&inner);
    assert_eq!(cat("/file", &inner), "inner\n");
}
