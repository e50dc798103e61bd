//! What the kernel tells only the host stays hidden from a guest, whatever its root mounts and unmounts.

use std::fs;
use std::path::Path;

use crate::must;
use crate::private::{Supervisor, busybox};

/// Files of `/proc` that are masked. This kernel may lack some.
const FILES: [&str; 10] = [
    "kcore",
    "keys",
    "kallsyms",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "timer_list",
    "timer_stats",
    "interrupts",
    "sysrq-trigger",
];
const DIRECTORIES: [&str; 5] =
    ["proc/acpi", "proc/asound", "proc/scsi", "sys/firmware", "sys/devices/virtual/powercap"];

/// A supervisor with a guest whose root may mount, `more` said of it, and all that busybox has in it.
fn start(name: &str, more: &str) -> Supervisor {
    let root = busybox(name);
    must::install(root.join("bin/sh"), root.join("bin/busybox"));
    for tool in ["cat", "cp", "ls", "mkdir", "mount", "pivot_root", "umount", "unshare"] {
        let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(tool));
    }
    fs::create_dir_all(root.join("mnt/old")).unwrap();
    let supervisor = Supervisor::start(
        name,
        &format!(
            "[guest box]\nkind = os\nroot = {}\nreadonly = yes\ncommand = /bin/sleep 1000\nrestart = never\n\
             stop = SIGKILL\n{more}",
            root.display()
        ),
    );
    supervisor.await_answer();
    supervisor.wait_for("the guest", |this| first_process(this).is_some());
    supervisor
}

fn first_process(supervisor: &Supervisor) -> Option<u32> {
    let output = supervisor.inn(&["list", "--plain"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<_> = text.lines().find(|line| line.starts_with("box\t"))?.split('\t').collect();
    if words[1] == "ready" { words[3].parse().ok() } else { None }
}

/// The mounts of the guest's first process: place, type, options.
fn mounts(pid: u32) -> Vec<(String, String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let of = |line: &str| {
        let (left, right) = line.split_once(" - ").unwrap();
        let left: Vec<_> = left.split(' ').collect();
        (left[4].to_owned(), right.split(' ').next().unwrap().to_owned(), left[5].to_owned())
    };
    text.lines().map(of).collect()
}

/// Nothing that the host has can be read at any of the masked places, seen from the host.
fn is_hidden(pid: u32, what: &str) {
    let root = Path::new("/proc").join(pid.to_string()).join("root");
    let mounts = mounts(pid);
    for file in FILES.iter().filter(|file| Path::new("/proc").join(file).exists()) {
        assert_eq!(fs::read(root.join("proc").join(file)).unwrap(), b"", "{file} {what}");
        let place = format!("/proc/{file}");
        assert_eq!(mounts.iter().filter(|(at, ..)| *at == place).count(), 1, "{file} {what}");
    }
    for directory in DIRECTORIES.iter().filter(|directory| Path::new("/").join(directory).exists()) {
        assert_eq!(fs::read_dir(root.join(directory)).unwrap().count(), 0, "{directory} {what}");
    }
    let options = |path: &str| mounts.iter().find(|(at, ..)| at == path).map(|(.., options)| options.clone());
    for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/sys"] {
        if Path::new(path).exists() {
            assert!(options(path).unwrap().starts_with("ro,"), "{path} {what}");
        }
    }
}

/// What a guest's root may try. What they print, if they find a way, is what they were not to see.
const ATTACKS: [&str; 14] = [
    "umount FILE; cat FILE",
    "umount -l FILE; cat FILE",
    "mount -o remount,rw FILE; umount -f FILE; cat FILE",
    "mount --move FILE /mnt; cat FILE",
    "mount -o bind /proc /mnt; cat /mnt/NAME",
    "mount -o rbind /proc /mnt; umount -l /mnt/NAME; cat /mnt/NAME",
    "mount -t proc proc /mnt; cat /mnt/NAME",
    "mount -t proc proc /proc; cat FILE",
    "umount -l /proc; mount -t proc proc /proc; cat FILE",
    "unshare -m sh -c 'umount -l FILE; cat FILE; mount -t proc proc /mnt; cat /mnt/NAME'",
    "unshare -p -f -m sh -c 'mount -t proc proc /mnt; cat /mnt/NAME'",
    "unshare -m sh -c 'mount -t tmpfs none /mnt && mkdir -p /mnt/old /mnt/bin /mnt/proc && cp /bin/busybox /mnt/bin &&
     mount --move /proc /mnt/proc; cd /mnt && pivot_root . old; umount -l /proc/NAME; cat /proc/NAME;
     umount -l /old; umount -l /proc; mount -t proc proc /proc; cat /proc/NAME'",
    "mount -o remount,bind,rw /proc/irq; echo 0 > /proc/irq/default_smp_affinity; mount -o remount,rw /sys;
     umount -l /sys/firmware; ls /sys/firmware; mount -t sysfs none /mnt; ls /mnt/firmware",
    "cat /proc/1/root/proc/NAME; cat /proc/self/root/proc/NAME; mount -o bind FILE /mnt/old; cat /mnt/old",
];

#[test]
fn the_root_of_an_os_guest_can_neither_remove_nor_change_what_is_masked() {
    if !must::root("the_root_of_an_os_guest_can_neither_remove_nor_change_what_is_masked") {
        return;
    }
    let supervisor = start("masks", "");
    let pid = first_process(&supervisor).unwrap();
    is_hidden(pid, "at first");
    let affinity = fs::read("/proc/irq/default_smp_affinity").ok();
    for attack in ATTACKS {
        for name in FILES.iter().filter(|file| Path::new("/proc").join(file).exists()) {
            let script = attack.replace("FILE", &format!("/proc/{name}")).replace("NAME", name);
            // Each in a copy of the guest's mount namespace, so that each finds all there.
            let output = supervisor.inn(&["exec", "box", "/bin/unshare", "-m", "/bin/sh", "-c", &script]);
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(told, "", "{script}: {}", String::from_utf8_lossy(&output.stderr));
            is_hidden(pid, &script);
        }
    }
    assert_eq!(fs::read("/proc/irq/default_smp_affinity").ok(), affinity);
}

/// Whether every address is zero (kptr_restrict).
fn has_no_address(symbols: &[u8]) -> bool {
    let text = String::from_utf8_lossy(symbols);
    text.lines().all(|line| line.split(' ').next().is_some_and(|address| address.bytes().all(|byte| byte == b'0')))
}

#[test]
fn a_guest_with_nesting_may_mount_a_proc_of_which_it_sees_all() {
    if !must::root("a_guest_with_nesting_may_mount_a_proc_of_which_it_sees_all") {
        return;
    }
    let supervisor = start("nesting", "nesting = yes\n");
    is_hidden(first_process(&supervisor).unwrap(), "at first");
    // Without masks, the kernel shows a guest's root this much and no more: what the host's root alone may read stays shut.
    for file in FILES.iter().filter(|file| Path::new("/proc").join(file).exists()) {
        let script = format!("umount -l /proc/{file} && cat /proc/{file}");
        let output = supervisor.inn(&["exec", "box", "/bin/unshare", "-m", "/bin/sh", "-c", &script]);
        let statistics = ["interrupts", "kallsyms", "keys"].contains(file);
        assert!(statistics || output.stdout.is_empty(), "{file} can be read");
        assert!(*file != "kallsyms" || has_no_address(&output.stdout), "{file} tells addresses");
    }
    // The same commands as above: there they had not failed for want of a tool.
    for script in [
        "umount -l /proc/interrupts; cat /proc/interrupts",
        "mount -t proc proc /mnt; cat /mnt/interrupts",
        "umount -l /sys/firmware; mount -t sysfs none /mnt; ls /mnt",
    ] {
        let output = supervisor.inn(&["exec", "box", "/bin/unshare", "-m", "/bin/sh", "-c", script]);
        assert_ne!(output.stdout, b"", "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
