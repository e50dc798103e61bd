//! Hosts that lack what a host has: they come up as far as they can, say what is missing, and offer the emergency shell.
//!
//! Where no kernel at hand lacks something, a script that becomes `inn` takes it away first (`tests/machines/wanting/bin`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::{Machine, PROMPT, Recipe, TIMEOUT};
use crate::must;
use crate::rooted::{checker, ext4, partition, tool, tree};

/// The console must have said each of these.
fn says(machine: &Machine, lines: &[&str]) {
    let console = machine.console.all();
    for line in lines {
        assert!(console.contains(line), "{line}: {console}");
    }
    assert!(!console.contains("Kernel panic") && !console.contains("panicked"), "{console}");
}

/// Leaves by the shell on the console.
fn goes_down(machine: &mut Machine) {
    machine.check("it is switched off from there", |machine| {
        machine.console.send("kill -USR2 1\n");
        machine.console.wait_for("reboot: Power down", TIMEOUT);
        assert!(machine.wait().success());
    });
}

#[test]
fn a_host_whose_kernel_has_no_cgroup2_has_a_shell() {
    let command_line = "loglevel=3 rdinit=/bin/no-cgroup2";
    let recipe = Recipe { name: "no-cgroup2", kernel: "6.12", folder: "wanting", command_line };
    let Some(mut machine) = Machine::power_on(recipe) else { return };
    machine.check("it says so, and why each guest and service is down", |machine| {
        machine.console.wait_for("guest limited: failed", TIMEOUT);
        let why = "not started: find the cgroup v2 file system";
        says(
            machine,
            &[
                "mount /sys/fs/cgroup: ENOENT (no such file or directory); this kernel has no cgroups",
                "no guest can start: find the cgroup v2 file system",
                &format!("service agent: {why}"),
                &format!("guest plain: {why}"),
                "emergency shell on the console",
            ],
        );
    });
    machine.check("PID 1 answers all the same", |machine| {
        machine.console.has_said(PROMPT, TIMEOUT);
        let list = machine.type_on_console("inn list --plain");
        assert!(list.code == 0 && list.text.contains("plain\tfailed"), "{}", list.text);
        let status = machine.type_on_console("inn status | grep 'cgroup v2'");
        assert_eq!(status.code, 0, "{}", status.text);
    });
    goes_down(&mut machine);
    machine.end();
}

#[test]
fn a_host_whose_controllers_are_taken_and_that_may_have_no_user_namespace_runs_what_needs_neither() {
    let recipe = Recipe {
        name: "cgroup-v1",
        kernel: "6.1",
        folder: "wanting",
        command_line: "loglevel=3 rdinit=/bin/cgroup-v1",
    };
    let Some(mut machine) = Machine::boot(recipe) else { return };
    machine.check("cgroup v2 is mounted over version 1, and a guest that asks for nothing of it runs", |machine| {
        machine.guest_until("plain", |guest| guest.is_ready());
        assert_eq!(machine.ok("stat -f -c %t /sys/fs/cgroup"), "63677270");
    });
    machine.check("what is missing is told in a line each", |machine| {
        machine.console.wait_for(PROMPT, TIMEOUT);
        says(
            machine,
            &[
                "/sys/fs/cgroup: cgroups of version 1 are mounted there, and covered",
                "this kernel lacks user namespaces (users of its own): guests and services that cannot start: 1",
                "this kernel lacks memory controller (limits of memory and swap): guests and services that cannot start: 1",
                "emergency shell on the console",
            ],
        );
    });
    machine.check("a guest says what it lacks, and what to do", |machine| {
        let limited = machine.guest_until("limited", |guest| guest.text("exit") == "start-failed");
        assert!(limited.text("exit_reason").contains("memory.max"), "{limited:?}");
        machine.guest_until("mapped", |guest| guest.text("exit") == "start-failed");
        let status = machine.ok("inn status mapped");
        assert!(status.contains("sysctl user.max_*_namespaces"), "{status}");
    });
    machine.check("who leaves the shell has the host go on with what it has", |machine| {
        machine.console.send("exit\n");
        machine.console.wait_for("the host goes on with what it has", TIMEOUT);
        assert!(machine.guest("plain").is_ready());
    });
    machine.end();
}

#[test]
fn a_host_without_a_console_and_without_its_modules_comes_up() {
    let recipe =
        Recipe { name: "no-console", kernel: "5.10", folder: "wanting", command_line: "rdinit=/bin/no-modules" };
    let Some(mut machine) = Machine::boot(recipe) else { return };
    machine.check("the kernel's log has what is missing, and why there is no shell", |machine| {
        machine.console.wait_for("emergency shell /bin/sh: ENXIO", TIMEOUT);
        machine.console.wait_for("the host goes on with what it has", TIMEOUT);
        says(machine, &["module overlay: /lib/modules: open: ENOENT", "emergency shell on the console"]);
    });
    machine.check("what needs neither runs", |machine| {
        machine.guest_until("mapped", |guest| guest.is_ready());
        assert!(machine.run("true < /dev/console").code != 0);
    });
    machine.check("it goes down in order", |machine| {
        machine.tell("inn poweroff");
        machine.console.wait_for("reboot: Power down", TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
}

/// A disk with nothing but a file system that starts at its second MiB, and the files of `tree` on it.
fn disk(name: &str, mib: u64, tree: &Path) -> PathBuf {
    let disk = must::target().join(format!("machines/{name}.img"));
    let _ = fs::remove_file(&disk);
    fs::File::create(&disk).and_then(|file| file.set_len((mib + 8) << 20)).expect("a file");
    ext4(&disk, (1, mib), "root", Some(tree));
    let data = must::target().join(format!("machines/{name}.data"));
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(data.join("inn.d")).expect("a directory");
    fs::write(data.join("inn.d/agent.conf"), "[service agent]\ncommand = /bin/agent\nrestart = always\n")
        .expect("a file");
    ext4(&disk, (mib + 1, 4), "data", Some(&data));
    let (root, data) = (mib * 2048, (mib + 1) * 2048);
    partition(&disk, &format!("label: gpt\nstart=2048, size={root}, name=root\nstart={data}, size=8192, name=data\n"));
    disk
}

#[test]
fn a_host_that_can_write_nothing_and_whose_root_has_no_dev_comes_up_and_has_a_shell() {
    let recipe = Recipe { name: "no-dev", kernel: "6.12", folder: "initramfs", command_line: "root=LABEL=root ro" };
    if !must::qemu("no-dev") {
        return;
    }
    let (tree, checker) = (tree("6.12", "wanting", "no-dev"), checker());
    fs::remove_dir(tree.join("dev")).expect("an empty directory");
    let disk = disk("no-dev", 30, &tree);
    let drive = format!("file={},format=raw,if=virtio,readonly=on", disk.display());
    let words = ["--tree", checker.to_str().expect("a path of this project")];
    let Some(mut machine) = Machine::power_on_with(recipe, &["-drive", &drive], &words) else { return };
    machine.check("it says what is missing, in a line each, and guests run", |machine| {
        machine.console.wait_for("guest plain: started", TIMEOUT);
        says(
            machine,
            &[
                "the real root has no /dev to mount on: ENOENT",
                "mount /dev: ENOENT (no such file or directory); this root has no such directory, and none can be made",
                "/etc/machine-id: EROFS (read-only file system)",
                "emergency shell on the console",
            ],
        );
        let console = machine.console.all();
        assert!(!console.contains("/dev/pts") && !console.contains("keep a seed"), "{console}");
    });
    machine.check("the shell on the console works", |machine| {
        machine.console.has_said(PROMPT, TIMEOUT);
        let list = machine.type_on_console("inn list --plain");
        assert!(list.code == 0 && list.text.contains("plain\tready"), "{}", list.text);
        assert!(machine.type_on_console("grep ' / ext4 ro' /proc/mounts").code == 0);
        assert!(machine.type_on_console("test -e /dev").code != 0);
    });
    goes_down(&mut machine);
    machine.end();
}

/// Leaves no block of the root of `disk` free, which has `mib` MiB.
fn fill(disk: &Path) {
    let part = format!("{}?offset={}", disk.display(), 1 << 20);
    let filler = disk.with_extension("filler");
    let free = || -> u64 {
        let all = tool("/sbin/dumpe2fs", &["-h", &part]);
        let line = all.lines().find_map(|line| line.strip_prefix("Free blocks:")).expect("a number");
        line.trim().parse().expect("a number")
    };
    tool("/sbin/tune2fs", &["-m", "0", &part]);
    for number in 0.. {
        let blocks = free();
        if blocks == 0 {
            return;
        }
        // A large file takes some blocks for itself.
        let bytes = if blocks > 64 { (blocks - 32) * 1024 } else { 1024 };
        fs::File::create(&filler).and_then(|file| file.set_len(bytes)).expect("a file");
        // A file of nothing but zeros has no blocks.
        fs::write(&filler, vec![b'x'; bytes as usize]).expect("a file");
        tool("/sbin/debugfs", &["-w", "-R", &format!("write {} filler{number}", filler.display()), &part]);
    }
}

#[test]
fn a_host_whose_disk_is_full_and_whose_config_is_partly_away_loses_nothing() {
    let recipe =
        Recipe { name: "full", kernel: "6.1", folder: "initramfs", command_line: "loglevel=3 root=LABEL=root rw" };
    if !must::qemu("full") {
        return;
    }
    let tree = tree("6.1", "wanting-disk", "full");
    let old = "2020-01-01T00:00:00.000000Z kept\n";
    fs::create_dir_all(tree.join("var/lib/inn")).expect("a directory");
    fs::create_dir_all(tree.join("var/log")).expect("a directory");
    for place in ["data", "never"] {
        fs::create_dir_all(tree.join(place)).expect("a directory");
    }
    fs::write(tree.join("var/log/talks.log"), old).expect("a file");
    fs::write(tree.join("var/lib/inn/seed"), [7; 32]).expect("a file");
    std::os::unix::fs::symlink("data", tree.join("link")).expect("a link");
    let disk = disk("full", 30, &tree);
    fill(&disk);
    let drive = format!("file={},format=raw,if=virtio", disk.display());
    let Some(mut machine) = Machine::power_on_with(recipe, &["-drive", &drive], &[]) else { return };
    machine.check("a config on a partition that does not come holds up the boot, and both are told", |machine| {
        machine.console.wait_for(PROMPT, TIMEOUT);
        says(
            machine,
            &[
                "/etc/inn.conf:6: /never is not mounted (LABEL=never): wait any longer for its device",
                "/never/inn.conf",
                "nothing is started",
                "`exit` goes on with the boot",
            ],
        );
        assert!(machine.type_on_console("df / | grep 100%").code == 0);
    });
    let repaired = machine.type_on_console("mv /etc/next.conf /etc/inn.conf");
    assert_eq!(repaired.code, 0, "{}", repaired.text);
    machine.console.send("exit\n");
    let mut machine = machine.ready();
    machine.check("the boot goes on, what is mounted stays so, and what is missing is told again", |machine| {
        machine.console.wait_for("/never is not mounted", TIMEOUT);
        let console = machine.console.all();
        assert!(!console.contains("/link is not mounted") && !console.contains("EBUSY"), "{console}");
        assert_eq!(machine.ok("grep -c ' /data ' /proc/mounts"), "1");
        assert!(machine.ok("cat /proc/mounts").contains("missing /never tmpfs ro"));
    });
    machine.check("what cannot be kept is told, and held in memory", |machine| {
        assert!(machine.console.all().contains("/etc/machine-id: ENOSPC"), "{}", machine.console.all());
        assert_eq!(machine.ok("wc -c < /etc/machine-id"), "33");
        machine.guest_until("talks", |guest| guest.is_ready());
        machine.console.wait_for("talks: could not write its log file: write: ENOSPC", TIMEOUT);
        machine.until("inn logs talks | tail -n 1", |output| output.text == "1000");
        assert_eq!(machine.ok("head -n 1 /var/log/talks.log"), old.trim_end());
    });
    machine.check("a change that cannot be saved is not made, and the config is as it was", |machine| {
        let before = machine.ok("md5sum /etc/inn.conf; ls -A /etc");
        let set = machine.run("inn set talks memory 32M --save");
        assert!(set.code == 1 && set.text.contains("ENOSPC"), "{} {}", set.code, set.text);
        assert_eq!(machine.ok("md5sum /etc/inn.conf; ls -A /etc"), before);
        assert_eq!(machine.ok("cat /sys/fs/cgroup/inn/talks/memory.max"), (16 << 20).to_string());
    });
    machine.check("it goes down in order", |machine| {
        machine.tell("inn poweroff");
        machine.console.wait_for("reboot: Power down", TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
    let part = format!("{}?offset={}", disk.display(), 1 << 20);
    let state = tool("/sbin/dumpe2fs", &["-h", &part]);
    assert!(!state.contains("needs_recovery") && state.contains("clean"), "{state}");
    let kept = disk.with_extension("seed");
    tool("/sbin/debugfs", &["-R", &format!("dump /var/lib/inn/seed {}", kept.display()), &part]);
    let seed = fs::read(&kept).expect("a seed");
    assert!(seed.len() == 32 && seed != [7; 32], "{seed:?}");
}

#[test]
fn an_emergency_program_that_asks_is_asked_whatever_is_wrong_with_the_config() {
    let command_line = "inn.emergency inn.config=/etc/asks.conf";
    let recipe = Recipe { name: "asks", kernel: "6.1", folder: "wanting", command_line };
    let Some(mut machine) = Machine::power_on(recipe) else { return };
    machine.check("inn.emergency gives the config's program, not a shell", |machine| {
        machine.console.wait_for("the word: ", TIMEOUT);
        assert!(!machine.console.all().contains(PROMPT));
        machine.console.send("open\n");
        machine.console.wait_for(PROMPT, TIMEOUT);
        assert_ne!(machine.type_on_console("hostname | grep asks").code, 0);
    });
    machine.check("so does the config itself, which is broken, where the boot goes on", |machine| {
        machine.console.send("exit\n");
        machine.console.wait_for("/etc/asks.conf:8:", TIMEOUT);
        machine.console.wait_for("the word: ", TIMEOUT);
        machine.console.send("open\n");
        machine.console.wait_for(PROMPT, TIMEOUT);
    });
    machine.check("one that is not there is told, again and again, and no other shell is given", |machine| {
        assert_eq!(machine.type_on_console("sed -i s:/bin/asks:/bin/none: /etc/asks.conf").code, 0);
        machine.console.send("exit\n");
        machine.console.wait_for("emergency shell on the console", TIMEOUT);
        // Nobody has left it, so the boot does not go on.
        for _ in 0..3 {
            let before = machine.console.wait_for("emergency shell /bin/none: ENOENT", TIMEOUT);
            assert!(!before.contains(PROMPT) && !before.contains("nothing is started"), "{before}");
        }
    });
    machine.check("the keyboard restarts it", |machine| {
        machine.press_until("ctrl-alt-delete", "reboot: Restarting system");
        assert!(machine.wait().success());
    });
    machine.end();
}
