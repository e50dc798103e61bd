//! The watchdog, critical guests, and the verdict on a boot.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::{Guest, Machine, OWN_TIME, Recipe, TIMEOUT};
use crate::must;

const BITES: &str = "softdog: Initiating system reboot";

fn recipe(name: &'static str, kernel: &'static str, command_line: &'static str) -> Recipe {
    Recipe { name, kernel, folder: "wellness", command_line }
}

#[test]
fn a_watchdog_is_petted_and_resets_a_machine_whose_pid_1_hangs() {
    let Some(mut machine) = Machine::boot_with_devices(recipe("watchdog", "6.1", ""), &OWN_TIME, &[]) else { return };
    machine.check("it has the time-out of the config, and is petted for longer than that", |machine| {
        assert_eq!(machine.ok("cat /sys/class/watchdog/watchdog0/timeout"), "3");
        let seconds = |text: &str| text.split('.').next().unwrap().parse::<u64>().unwrap();
        let from = seconds(&machine.ok("cat /proc/uptime"));
        machine.until("cat /proc/uptime", |output| seconds(&output.text) > from + 4);
        assert_eq!(machine.ok("cat /sys/class/watchdog/watchdog0/state"), "active");
    });
    machine.check("a PID 1 that stands still is noticed", |machine| {
        // SIGSTOP is nothing to it; the kernel's freezer is.
        machine.tell("cd /sys/fs/cgroup && mkdir ice && echo 1 >ice/cgroup.procs && echo 1 >ice/cgroup.freeze");
        machine.console.wait_for(BITES, TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
}

#[test]
fn a_watchdog_is_petted_while_the_host_comes_up_and_resets_a_machine_that_hangs_meanwhile() {
    let recipe = recipe("hung", "6.1", "inn.config=/etc/hung.conf");
    let Some(mut machine) = Machine::power_on_with(recipe, &OWN_TIME, &["--module", "brd"]) else { return };
    machine.check("what takes longer than its time is waited for, and who hangs is not", |machine| {
        machine.console.wait_for("checked", TIMEOUT);
        machine.console.wait_for(BITES, TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
}

#[test]
fn a_watchdog_is_no_longer_petted_once_a_critical_guest_is_missed_for_too_long() {
    let recipe = recipe("critical", "6.12", "inn.config=/etc/sick.conf");
    let Some(mut machine) = Machine::power_on_with(recipe, &OWN_TIME, &[]) else { return };
    machine.check("it is given up, and there is a shell", |machine| {
        machine.console.wait_for("sick ended 2 times within 1m: rescue", TIMEOUT);
        machine.console.wait_for("emergency shell on the console", TIMEOUT);
    });
    machine.check("it is told, and the machine is reset", |machine| {
        machine
            .console
            .wait_for("sick is critical, and not ready for too long: the watchdog is no longer petted", TIMEOUT);
        machine.console.wait_for(BITES, TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
}

fn tool(name: &str, arguments: &[&str], disk: &Path) -> String {
    let output = Command::new(name).args(arguments).arg(disk).output().expect(name);
    assert!(output.status.success(), "{name}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn disk(name: &str) -> PathBuf {
    let disk = must::target().join(format!("machines/wellness-{name}.img"));
    std::fs::create_dir_all(disk.parent().unwrap()).expect("a directory");
    std::fs::File::create(&disk).and_then(|file| file.set_len(16 << 20)).expect("a file");
    tool("/sbin/mkfs.ext4", &["-q", "-F"], &disk);
    disk
}

#[test]
fn a_boot_is_judged_once_its_critical_guests_are_ready_and_a_bad_one_ends_with_its_reason() {
    let disk = disk("judged");
    let drive = format!("file={},format=raw,if=virtio", disk.display());
    let recipe = recipe("judged", "6.1", "inn.config=/etc/judged.conf");
    // It may go down before its agent has come up.
    let Some(mut machine) = Machine::power_on_with(recipe, &["-drive", &drive], &[]) else { return };
    machine.check("a bad one is marked, and the host starts again", |machine| {
        machine.console.wait_for("inn: guest needed: started", TIMEOUT);
        let said = machine.console.wait_for("reboot: Restarting system", TIMEOUT);
        for words in ["healthy: it exited with code 1", "not healthy: healthy exited with code 1: mark-bad"] {
            assert!(said.contains(words), "{words} is not in {said}");
        }
        assert!(machine.wait().success());
    });
    machine.end();
    let cat = |path: &str| tool("/sbin/debugfs", &["-R", &format!("cat {path}")], &disk);
    let ending = cat("/state/this-boot");
    assert!(ending.ends_with(" reboot: not healthy: healthy exited with code 1\n"), "{ending}");
    assert_eq!(cat("/marked"), "marked\n");

    // What makes it a good one is there from now on.
    let good = must::target().join("machines/wellness-good");
    std::fs::write(&good, "").expect("a file");
    tool("/sbin/debugfs", &["-w", "-R", &format!("write {} good", good.display())], &disk);
    let Some(mut machine) = Machine::boot_with(recipe, &disk, &[], &[]) else { return };
    machine.check("a good one goes on, and is shown", |machine| {
        machine.console.wait_for("its time-out stays 60 s: set to 86400 s: EINVAL", TIMEOUT);
        machine.console.wait_for("this boot is a good one", TIMEOUT);
        machine.guest_until("needed", Guest::is_ready);
        let status = machine.ok("inn status");
        assert!(status.contains("this boot    healthy\n"), "{status}");
        assert!(status.contains(" reboot: not healthy: healthy exited with code 1\n"), "{status}");
    });
    machine.check("how it ended is kept", |machine| {
        machine.tell("inn poweroff");
        machine.console.wait_for("reboot: Power down", TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
    let ending = cat("/state/this-boot");
    assert!(ending.ends_with(" poweroff: asked for\n"), "{ending}");
}

#[test]
fn a_factory_reset_empties_what_is_named_and_nothing_else_at_the_next_boot() {
    let disk = disk("reset");
    for command in ["mkdir web", "mkdir web/memory", "mkdir kept"] {
        tool("/sbin/debugfs", &["-w", "-R", command], &disk);
    }
    let command_line = "inn.config=/etc/reset.conf";
    let Some(mut machine) = Machine::boot_with(recipe("reset", "6.1", command_line), &disk, &[], &[]) else { return };
    machine.check("nothing is emptied before somebody asks for it and says yes", |machine| {
        machine.ok(
            "cd /data && mkdir -p web/a/b/c && echo x >web/a/b/c/file && echo x >web/memory/file && echo x >kept/file \
             && ln -s /data/kept web/a/link && ln -s kept link",
        );
        let refused = machine.run("inn reset");
        assert!(refused.code == 4 && refused.text.contains("say --yes"), "{}", refused.text);
    });
    machine.check("the host starts again", |machine| {
        machine.tell("inn reset --yes");
        machine.console.wait_for("reboot: Restarting system", TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
    let list = |path: &str| tool("/sbin/debugfs", &["-R", &format!("ls -p {path}")], &disk);
    assert!(list("/state").contains("/reset/") && list("/web").contains("/a/"), "only the next boot does it");

    let Some(mut machine) = Machine::boot_with(recipe("reset", "6.1", command_line), &disk, &[], &[]) else { return };
    machine.check("what is named is empty, but for what is mounted there", |machine| {
        machine.console.wait_for("factory reset: /data/web is emptied", TIMEOUT);
        machine.console.wait_for("factory reset: /data/link: ENOTDIR", TIMEOUT);
        assert_eq!(
            machine.ok("ls -A /data/web; ls /data/kept /data/state"),
            "memory\n/data/kept:\nfile\n\n/data/state:\nthis-boot"
        );
        machine.ok("echo x >/data/web/later");
        machine.tell("inn poweroff");
        assert!(machine.wait().success());
    });
    machine.end();

    let command_line = "inn.config=/etc/reset.conf inn.reset";
    let Some(mut machine) = Machine::boot_with(recipe("reset", "6.1", command_line), &disk, &[], &[]) else { return };
    machine.check("the kernel's command line asks for it too", |machine| {
        machine.console.wait_for("factory reset: /data/web is emptied", TIMEOUT);
        assert_eq!(machine.ok("ls -A /data/web; ls /data/state"), "memory\nthis-boot");
    });
    machine.check("systemd's signal for a shell is understood", |machine| {
        machine.tell("kill -35 1");
        machine.console.wait_for("signal 35: rescue", TIMEOUT);
        machine.console.wait_for("/ # ", TIMEOUT);
    });
    machine.end();
}

/// Files that a factory reset has to remove: so many take it a moment.
const FILES: usize = 4000;
/// How often the power is cut meanwhile.
const CUTS: u64 = 3;

#[test]
fn a_factory_reset_whose_power_is_cut_is_gone_on_with_and_touches_nothing_else() {
    if !must::qemu("reset-cut") {
        return;
    }
    let tree = must::target().join("machines/reset-cut.tree");
    let _ = std::fs::remove_dir_all(&tree);
    for directory in ["web/deep/er", "kept", "state"] {
        std::fs::create_dir_all(tree.join(directory)).expect("a directory");
    }
    for number in 0..FILES {
        std::fs::write(tree.join(format!("web/deep/er/{number}")), "").expect("a file");
    }
    std::fs::write(tree.join("kept/file"), "kept").expect("a file");
    let disk = must::target().join("machines/wellness-reset-cut.img");
    std::fs::File::create(&disk).and_then(|file| file.set_len(16 << 20)).expect("a file");
    let files = tree.display().to_string();
    tool("/sbin/mkfs.ext4", &["-q", "-F", "-N", "6000", "-d", &files], &disk);
    let drive = format!("file={},format=raw,if=virtio", disk.display());
    let list = |path: &str| tool("/sbin/debugfs", &["-R", &format!("ls -p {path}")], &disk);
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ u64::from(std::process::id());
    for _ in 0..CUTS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let recipe = recipe("reset-cut", "6.1", "inn.config=/etc/reset.conf inn.reset");
        let Some(mut machine) = Machine::power_on_with(recipe, &["-drive", &drive], &[]) else { return };
        machine.console.wait_for("factory reset: /data/web is emptied", TIMEOUT);
        std::thread::sleep(std::time::Duration::from_micros((state >> 33) % 500_000));
        drop(machine);
        // As the next boot plays its journal back.
        let played = Command::new("/sbin/e2fsck").arg("-p").arg(&disk).output().expect("e2fsck");
        assert!(matches!(played.status.code(), Some(0 | 1)), "{played:?}");
        assert_eq!(tool("/sbin/debugfs", &["-R", "cat kept/file"], &disk), "kept");
        // All that was there is below that; what the host's guests write comes later.
        let is_over = !list("/web").contains("/deep/");
        assert!(is_over || list("/state").contains("/reset/"), "the next boot does not go on: {}", list("/state"));
    }
    let recipe = recipe("reset-cut", "6.1", "inn.config=/etc/reset.conf");
    let Some(mut machine) = Machine::power_on_with(recipe, &["-drive", &drive], &[]).map(Machine::ready) else {
        return;
    };
    machine.check("what was named is empty in the end, and all else as it was", |machine| {
        assert_eq!(
            machine.ok("ls -A /data/web /data/state; cat /data/kept/file"),
            "/data/state:\nthis-boot\n\n/data/web:\nmemory\nkept"
        );
    });
    machine.end();
}
