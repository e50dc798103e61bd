//! Hosts whose root is a partition of a disk, which an initramfs leads to, and the file systems of their configs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

use crate::machine::{Machine, OWN_TIME, Recipe, TIMEOUT};
use crate::must;
use crate::power;

/// The PARTUUID of its root.
pub const PART_UUID: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
/// What finds it by that.
pub const BY_PART_UUID: &str = "root=PARTUUID=0fc63daf-8483-4772-8e79-3d69d8477de4 rw";
/// The UUID of the file system on it.
const UUID: &str = "9a1c3e5f-7b2d-4f60-8a9b-0c1d2e3f4a5b";

/// Runs a program, and gives what it prints.
pub fn tool(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).stdin(Stdio::null()).output().expect(name);
    assert!(output.status.success(), "{name} {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of this project")
}

/// A directory of the checker that an image is given: `/sbin/fsck.ext4`.
pub fn checker() -> PathBuf {
    // Made once: another test may be reading it for its image.
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let directory = must::target().join("machines/checker");
        fs::create_dir_all(directory.join("sbin")).expect("a directory");
        fs::copy("/sbin/e2fsck.static", directory.join("sbin/fsck.ext4")).expect("e2fsck-static is installed");
        directory
    })
    .clone()
}

/// The files of a real root: busybox, `inn`, and those of `folder`.
pub fn tree(kernel: &str, folder: &str, name: &str) -> PathBuf {
    let directory = must::target().join(format!("machines/{name}-{kernel}.tree"));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory");
    let archive = directory.with_extension("cpio.gz");
    let machines = must::project().join("tests/machines");
    let image = must::project().join("images/image.py");
    let [common, own] = ["common", folder].map(|folder| machines.join(folder));
    let trees = [&common, &own, &checker()].map(|tree| text(tree).to_owned());
    let [common, own, checker] = &trees;
    tool(
        "python3",
        &[
            &[text(&image), text(&archive), "--kernel", kernel, "--inn", text(must::inn()), "--template", "/"],
            &["--template", "/guests/busybox", "--tree", common, "--tree", own, "--tree", checker][..],
        ]
        .concat(),
    );
    let unpack = format!("cd {} && gzip -dc {} | cpio -idm --quiet", text(&directory), text(&archive));
    tool("sh", &["-c", &unpack]);
    // As a distribution has it, with an absolute link.
    std::os::unix::fs::symlink("/bin/inn", directory.join("sbin/init"))
        .or_else(|_| {
            fs::remove_file(directory.join("sbin/init"))
                .and_then(|()| std::os::unix::fs::symlink("/bin/inn", directory.join("sbin/init")))
        })
        .expect("a link");
    let _ = fs::remove_file(directory.join("init"));
    directory
}

/// A file system of `mib` MiB at MiB number `at` of `disk`, with the files of `tree`.
pub fn ext4(disk: &Path, (at, mib): (u64, u64), label: &str, tree: Option<&Path>) {
    let offset = format!("offset={},lazy_itable_init=1,lazy_journal_init=1", at << 20);
    let size = format!("{mib}M");
    let files: Vec<&str> = tree.map(|tree| vec!["-d", text(tree)]).unwrap_or_default();
    let words =
        [&["-q", "-F", "-t", "ext4", "-b", "1024", "-L", label, "-E", &offset][..], &files, &[text(disk), &size]];
    tool("/sbin/mke2fs", &words.concat());
}

/// Writes the table: partitions as sfdisk(8) has them.
pub fn partition(disk: &Path, script: &str) {
    let mut child = Command::new("/sbin/sfdisk")
        .args(["-q", "--no-tell-kernel"])
        .arg(disk)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sfdisk");
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), script.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

/// The disk of these tests: a root, data with an error that can be repaired, swap, and a file system beyond repair.
fn disk(kernel: &str, name: &str) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock();
    let disk = must::target().join(format!("machines/{name}-{kernel}.img"));
    fs::create_dir_all(disk.parent().unwrap()).expect("a directory");
    let _ = fs::remove_file(&disk);
    fs::File::create(&disk).and_then(|file| file.set_len(64 << 20)).expect("a file");
    let swap = disk.with_extension("swap");
    fs::File::create(&swap).and_then(|file| file.set_len(2 << 20)).expect("a file");
    tool("/sbin/mkswap", &["-L", "swap", text(&swap)]);
    let at = format!("of={}", text(&disk));
    tool("dd", &[&format!("if={}", text(&swap)), &at, "bs=1M", "seek=41", "conv=notrunc", "status=none"]);
    let data = disk.with_extension("data");
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(data.join("inn.d")).expect("a directory");
    fs::write(data.join("inn.d/agent.conf"), AGENT).expect("a file");
    ext4(&disk, (1, 30), "root", Some(&tree(kernel, "rooted", name)));
    let part = |at: u64| format!("{}?offset={}", text(&disk), at << 20);
    tool("/sbin/tune2fs", &["-U", UUID, &part(1)]);
    ext4(&disk, (32, 8), "data", Some(&data));
    tool("/sbin/debugfs", &["-w", "-R", "set_super_value state 2", &part(32)]);
    tool("/sbin/debugfs", &["-w", "-R", "set_super_value free_blocks_count 1", &part(32)]);
    ext4(&disk, (44, 8), "corrupt", None);
    tool("dd", &["if=/dev/urandom", &at, "bs=1k", "seek=45058", "count=200", "conv=notrunc", "status=none"]);
    partition(
        &disk,
        &format!(
            "label: gpt\nstart=2048, size=61440, name=root, uuid={PART_UUID}\nstart=65536, size=16384, name=data\n\
             start=83968, size=4096, name=swap\nstart=90112, size=16384, name=corrupt\n"
        ),
    );
    disk
}

/// A clock that nobody has set.
const PAST: [&str; 2] = ["-rtc", "base=1970-01-01T00:00:00"];

/// What the data partition has of the config.
const AGENT: &str = "[service agent]\ncommand = /bin/agent\nrestart = always\nprocesses = 4096\n\n\
    [guest needs]\nkind = app\nroot = /corrupt/root\ncommand = /bin/idle\nrestart = never\n";

#[test]
fn a_root_on_a_partition_is_found_by_its_number_in_the_table() {
    // 6.1 does not tell that number itself.
    rooted("6.1", BY_PART_UUID);
}

#[test]
fn a_root_on_a_partition_is_found_by_its_label() {
    rooted("5.10", "root=LABEL=root rootfstype=ext4 rootflags=noatime rw");
}

#[test]
fn a_root_on_a_partition_that_is_read_only_is_checked_and_becomes_writable_or_stays_so() {
    rooted("6.12", "root=UUID=9a1c3e5f-7b2d-4f60-8a9b-0c1d2e3f4a5b ro rootwait=20");
    stays_read_only();
}

/// The same disk once more: nothing is written on its root, whose clock is ahead and which has no machine-id.
fn stays_read_only() {
    let command_line = "root=PARTLABEL=root ro inn.config=/etc/still.conf";
    let recipe = Recipe { name: "still", kernel: "6.12", folder: "initramfs", command_line };
    if !must::qemu("still") {
        return;
    }
    let disk = must::target().join("machines/rooted-6.12.img");
    let part = format!("{}?offset={}", text(&disk), 1 << 20);
    for command in [
        "set_inode_field /var/lib/inn/seed mtime 20310203040506",
        "rm /etc/machine-id",
        "write /dev/null /etc/machine-id",
    ] {
        tool("/sbin/debugfs", &["-w", "-R", command, &part]);
    }
    let Some(mut machine) = Machine::boot_with(recipe, &disk, &PAST, &["--tree", text(&checker())]) else { return };
    machine.check("its machine-id is in memory", |machine| {
        assert!(machine.ok("grep ' / ' /proc/mounts").contains("ext4 ro"));
        assert_eq!(machine.ok("tr -d 0-9a-f < /etc/machine-id | wc -c; wc -c < /etc/machine-id"), "1\n33");
        assert!(machine.ok("grep machine-id /proc/mounts").starts_with("tmpfs /etc/machine-id"));
    });
    machine.check("its clock is not before its last boot was", |machine| {
        assert_eq!(machine.ok("date +%Y"), "2031");
    });
    // systemd's way to go on with another kernel, of which there is none: SIGRTMIN+6 of glibc.
    machine.goes_down("kill -40 1", "Restarting system");
    machine.end();
}

#[test]
fn a_power_signal_ends_the_wait_for_a_root() {
    let command_line = "root=LABEL=none rootwait=3600";
    let recipe = Recipe { name: "awaited", kernel: "6.12", folder: "initramfs", command_line };
    let checker = checker();
    let Some(mut machine) = Machine::power_on_with(recipe, &[], &["--tree", text(&checker)]) else { return };
    machine.check("the machine starts again", |machine| {
        machine.console.wait_for("waiting for LABEL=none, 3600 s at most", TIMEOUT);
        machine.press_until("ctrl-alt-delete", "reboot: Restarting system");
    });
    machine.end();
}

/// A machine whose checker is strange; `devices` are words for QEMU.
fn strange(command_line: &'static str, devices: &[&str]) -> Option<Machine> {
    let recipe = Recipe { name: "strange", kernel: "6.1", folder: "strange", command_line };
    let programs = power::programs("6.1");
    Machine::power_on_with(recipe, devices, &["--module", "brd", "--tree", text(&programs)])
}

#[test]
fn a_file_system_that_hangs_is_given_up_in_time_and_a_checker_has_the_machine_start_again() {
    if !must::qemu("strange") {
        return;
    }
    let disk = must::target().join("machines/strange.img");
    fs::create_dir_all(disk.parent().unwrap()).expect("a directory");
    fs::File::create(&disk).and_then(|file| file.set_len(8 << 20)).expect("a file");
    tool("/sbin/mke2fs", &["-q", "-F", "-t", "ext4", text(&disk)]);
    let drive = format!("file={},format=raw,if=virtio,snapshot=on", text(&disk));
    let Some(mut machine) = strange("root=/dev/vda rw", &["-drive", &drive]) else { return };
    machine.check("a checker asks for it", |machine| {
        machine.console.wait_for("its checker asks for it: starting again", TIMEOUT);
        machine.console.wait_for("reboot: Restarting system", TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
    // Disks in memory: while this host reads one, the time of a machine that has its own would fly.
    let Some(machine) = strange("inn.config=/etc/hangs.conf", &OWN_TIME) else { return };
    let mut machine = machine.ready();
    machine.check("one that hangs is missing, and the host comes up", |machine| {
        let console = machine.console.all();
        assert!(
            console.contains("/second is not mounted (/dev/dm-0): mount it in time: its storage hangs"),
            "{console}"
        );
        assert!(machine.ok("inn status").contains("missing      /second: mount it in time"));
        assert!(machine.ok("cat /proc/mounts").contains("/dev/ram0 /first"));
    });
    machine.end();
}

fn rooted(kernel: &'static str, command_line: &'static str) {
    let recipe = Recipe { name: "rooted", kernel, folder: "initramfs", command_line };
    if !must::qemu("rooted") {
        return;
    }
    let (disk, checker) = (disk(kernel, "rooted"), checker());
    let Some(mut machine) = Machine::boot_with(recipe, &disk, &PAST, &["--tree", text(&checker)]) else { return };
    machine.check("PID 1 is the real root's program, and the initramfs is gone", |machine| {
        assert_eq!(machine.ok("readlink /proc/1/exe; hostname"), "/bin/inn\nrooted");
        let root = machine.ok("grep ' / ' /proc/mounts");
        assert!(root.contains("ext4 rw") && !root.contains("/sysroot"), "{root}");
        assert!(machine.run("test -e /sysroot").code != 0, "a directory of the initramfs's");
        let tmpfs = machine.ok("grep -c . /proc/mounts; mount");
        assert_eq!(tmpfs.matches(" /proc type").count(), 1, "{tmpfs}");
        assert_eq!(tmpfs.matches(" on / ").count(), 2 - usize::from(!tmpfs.contains("rootfs")), "{tmpfs}");
    });
    machine.check(
        "file systems are checked and mounted in order, and the rest of the config is read from one",
        |machine| {
            let mounts = machine.ok("cat /proc/mounts");
            for line in
                ["/dev/vda2 /data ext4 rw,noatime", "inner /data/inner/most tmpfs", "/dev/vda2 /etc/inn.d ext4 ro"]
            {
                assert!(mounts.contains(line), "{line}: {mounts}");
            }
            assert!(!mounts.contains("/by-hand"), "{mounts}");
            assert!(machine.ok("cat /proc/swaps").contains("/dev/vda3"));
            assert!(machine.ok("grep vda3 /proc/swaps").trim_end().ends_with('7'));
            let console = machine.console.all();
            assert!(console.contains("errors on /dev/vda2 were repaired (code 1)"), "{console}");
        },
    );
    machine.check("what is missing is told, and its place cannot be written to", |machine| {
        let console = machine.console.all();
        for words in [
            "/etc/inn.conf:10: /corrupt is not mounted (PARTLABEL=corrupt): have it checked: it exited with code",
            "/etc/inn.conf:11: /never is not mounted (LABEL=never): wait any longer for its device",
        ] {
            assert!(console.contains(words), "{words}: {console}");
        }
        let status = machine.ok("inn status");
        assert!(status.contains("missing      /corrupt: have it checked: it exited with code"), "{status}");
        assert!(status.contains("/never: wait any longer for its device"), "{status}");
        let json: serde_json::Value = serde_json::from_str(&machine.ok("inn status --json")).expect("JSON");
        assert_eq!(
            (&json["missing"][0]["target"], &json["missing"][0]["optional"]),
            (&"/corrupt".into(), &false.into())
        );
        assert_eq!((&json["missing"][1]["target"], &json["missing"][1]["optional"]), (&"/never".into(), &true.into()));
        assert!(machine.run("touch /corrupt/x").code != 0);
        let needs = machine.guest_until("needs", |guest| guest.state() == "failed");
        assert!(needs.text("exit_reason").contains("root directory"), "{needs:?}");
    });
    machine.check("the time of each stage is told", |machine| {
        let status = machine.ok("inn status --json");
        let json: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        for stage in ["kernel", "initramfs", "base", "config", "modules", "mounts", "state", "guests"] {
            assert!(json["boot_ms"][stage].is_u64(), "{stage}: {status}");
        }
        let words = machine.ok("inn status");
        assert!(words.contains("  boot         kernel ") && words.contains(" in all"), "{words}");
    });
    machine.check("the clock is not before this program was made, and a number and a seed are kept", |machine| {
        // A serial line may have lost what was said so early; the kernel's log has it.
        let log = machine.ok("dmesg");
        assert!(log.contains("inn: the clock was before this program was made"), "{}{log}", machine.ok("date"));
        let year: u32 = machine.ok("date +%Y").trim().parse().expect("a year");
        assert!(year >= 2024, "{year}");
        assert_eq!(machine.ok("tr -d 0-9a-f < /etc/machine-id | wc -c; wc -c < /etc/machine-id"), "1\n33");
        let seed = machine.ok("stat -c '%a %s' /var/lib/inn/seed*; ls /var/lib/inn");
        assert!(seed.starts_with("400 32\nseed"), "{seed}");
        let before = machine.ok("md5sum < /var/lib/inn/seed*; cat /etc/machine-id");
        fs::write(must::target().join(format!("machines/rooted-{kernel}.seed")), before).expect("a file");
    });
    machine.check("the emergency shell is offered beside what runs", |machine| {
        machine.console.wait_for("/ # ", TIMEOUT);
        let shell = machine.type_on_console("umount /corrupt");
        assert_eq!(shell.code, 0, "{}", shell.text);
    });
    machine.check("all is unmounted in the end", |machine| {
        machine.tell("inn poweroff");
        machine.console.wait_for("reboot: Power down", TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
    // What the next boot finds.
    let part = format!("{}?offset={}", text(&disk), 1 << 20);
    let seed = must::target().join(format!("machines/rooted-{kernel}.last"));
    tool("/sbin/debugfs", &["-R", &format!("dump /var/lib/inn/seed {}", text(&seed)), &part]);
    let last = tool("sh", &["-c", &format!("md5sum < {}", text(&seed))]);
    let first = fs::read_to_string(seed.with_extension("seed")).expect("it was written");
    assert!(fs::metadata(&seed).expect("a seed").len() == 32 && !first.starts_with(last.trim()), "{first} {last}");
    for at in [1u64, 32] {
        let state = tool("/sbin/dumpe2fs", &["-h", &format!("{}?offset={}", text(&disk), at << 20)]);
        assert!(!state.contains("needs_recovery") && state.contains("clean"), "{state}");
    }
}

#[test]
fn a_root_that_does_not_come_is_told_and_can_be_mounted_by_hand() {
    let recipe = Recipe {
        name: "unrooted",
        kernel: "6.12",
        folder: "initramfs",
        command_line: "loglevel=3 root=LABEL=none rootwait=2",
    };
    if !must::qemu("unrooted") {
        return;
    }
    let disk = disk("6.12", "unrooted");
    let drive = format!("file={},format=raw,if=virtio", text(&disk));
    let Some(mut machine) = Machine::power_on_with(recipe, &["-drive", &drive], &[]) else { return };
    machine.check("the console says what is awaited, what is missing, and has a shell", |machine| {
        machine.console.wait_for("waiting for LABEL=none, 2 s at most", TIMEOUT);
        machine.console.wait_for("root=LABEL=none is not mounted: wait any longer for its device", TIMEOUT);
        machine.console.wait_for("/ # ", TIMEOUT);
    });
    machine.check("only a root that has something to go on with can be gone to", |machine| {
        for (words, why) in [
            ("/mnt", "nothing is mounted on the new root"),
            ("mnt", "no absolute path"),
            ("/none", "ENOENT"),
            ("/proc", "no init"),
            ("/mnt /sbin/none", "no init"),
        ] {
            machine.type_on_console("mkdir -p /mnt");
            if words.contains("none") && words.starts_with("/mnt") {
                assert_eq!(machine.type_on_console("mount -t ext4 /dev/vda1 /mnt").code, 0);
            }
            let shell = machine.type_on_console(&format!("inn switch-root {words}"));
            assert!(shell.code == 1 && shell.text.contains(why), "{words}: {}", shell.text);
        }
    });
    machine.check("PID 1 dies of a fault, and the shell notices nothing", |machine| {
        // Its last words may come between those of the shell.
        machine.console.send("kill -SEGV 1\n");
        machine.console.wait_for("died and goes on", TIMEOUT);
    });
    machine.console.send("inn switch-root /mnt\n");
    let mut machine = machine.ready();
    machine.check("the real root's PID 1 goes on", |machine| {
        assert_eq!(machine.ok("readlink /proc/1/exe; hostname"), "/bin/inn\nrooted");
        let again = machine.run("inn switch-root /data");
        assert!(again.code == 1 && again.text.contains("no initramfs"), "{}", again.text);
    });
    machine.end();
}

#[test]
fn a_hand_made_initramfs_leads_to_the_root() {
    let recipe = Recipe { name: "handmade", kernel: "5.10", folder: "initramfs", command_line: "" };
    if !must::qemu("handmade") {
        return;
    }
    let disk = disk("5.10", "handmade");
    let own = must::target().join("machines/handmade");
    fs::create_dir_all(&own).expect("a directory");
    let script = "#!/bin/sh\nmount -t proc proc /proc\nmount -t devtmpfs dev /dev\nmount -t sysfs sys /sys\n\
        inn modprobe virtio_pci virtio_blk ext4\nmkdir /new\nmount -t ext4 /dev/vda1 /new\nexec inn switch-root /new\n";
    fs::write(own.join("init"), script).expect("a file");
    tool("chmod", &["755", text(&own.join("init"))]);
    let Some(mut machine) = Machine::boot_with(recipe, &disk, &[], &["--tree", text(&own)]) else { return };
    machine.check("the real root's PID 1 goes on", |machine| {
        assert_eq!(machine.ok("readlink /proc/1/exe; hostname"), "/bin/inn\nrooted");
        assert!(!machine.ok("cat /proc/mounts").contains("/new"));
    });
    machine.end();
}

/// How often the power is cut.
const CUTS: u64 = 20;

#[test]
fn a_busy_host_whose_power_is_cut_comes_up_again_with_its_files_and_its_config() {
    let recipe =
        Recipe { name: "cut", kernel: "6.1", folder: "initramfs", command_line: "root=PARTLABEL=root ro quiet" };
    if !must::qemu("cut") {
        return;
    }
    let disk = must::target().join("machines/cut-6.1.img");
    fs::create_dir_all(disk.parent().unwrap()).expect("a directory");
    let _ = fs::remove_file(&disk);
    fs::File::create(&disk).and_then(|file| file.set_len(32 << 20)).expect("a file");
    ext4(&disk, (1, 30), "root", Some(&tree("6.1", "cut", "cut")));
    partition(&disk, "label: gpt\nstart=2048, size=61440, name=root\n");
    let (checker, drive) = (checker(), format!("file={},format=raw,if=virtio", text(&disk)));
    // Moments that are spread over what it does: from the first words of the new root on, and over some rounds of its work.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    for cut in 0..CUTS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let Some(mut machine) = Machine::power_on_with(recipe, &["-drive", &drive], &["--tree", text(&checker)]) else {
            return;
        };
        machine.console.wait_for("/etc/inn.conf has 3 guests and services", TIMEOUT);
        // One in four is cut while it comes up, the others while they write, a round of which takes a quarter of a second.
        for _ in 0..(state >> 20) % 4 {
            machine.console.wait_for("set", TIMEOUT);
        }
        std::thread::sleep(std::time::Duration::from_micros((state >> 33) % 400_000));
        let console = machine.console.all();
        drop(machine);
        assert!(!console.contains("Kernel panic") && !console.contains("is not mounted"), "cut {cut}: {console}");
        whole(&disk, cut);
    }
}

/// Sees that the file system is whole once its journal is played back, and that the config is one.
fn whole(disk: &Path, cut: u64) {
    let copy = disk.with_extension("copy");
    tool(
        "dd",
        &[&format!("if={}", text(disk)), &format!("of={}", text(&copy)), "bs=1M", "skip=1", "count=30", "status=none"],
    );
    let check = |words: &[&str]| Command::new("/sbin/e2fsck").args(words).arg(&copy).output().expect("e2fsck");
    let played = check(&["-p"]);
    assert!(matches!(played.status.code(), Some(0 | 1)), "cut {cut}: {played:?}");
    let found = check(&["-f", "-n"]);
    assert_eq!(found.status.code(), Some(0), "cut {cut}: {found:?}");
    let config = disk.with_extension("conf");
    tool("/sbin/debugfs", &["-R", &format!("dump /etc/inn.conf {}", text(&config)), text(&copy)]);
    let config_text = fs::read_to_string(&config).expect("a config");
    assert!(
        config_text.contains("# this comment stays") && config_text.contains("[guest idle]"),
        "cut {cut}: {config_text}"
    );
    tool(text(must::inn()), &["check", text(&config)]);
}
