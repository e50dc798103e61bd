//! The host comes up, whatever it finds, and goes down in order.

use std::process::Command;

use crate::machine::{Guest, Machine, PROMPT, Recipe, TIMEOUT};
use crate::must;

/// The kernel's own words do not come between a shell's: only what ends it is shown.
const QUIET: &str = "loglevel=3";

#[test]
fn poweroff_goes_down_in_order_on_5_10() {
    goes_down("poweroff", "5.10", "reboot: Power down", |machine| {
        machine.tell("inn poweroff");
    });
}

#[test]
fn poweroff_goes_down_in_order_on_6_12() {
    goes_down("poweroff", "6.12", "reboot: Power down", |machine| {
        machine.tell("inn poweroff");
    });
}

#[test]
fn reboot_goes_down_in_order() {
    goes_down("reboot", "6.1", "reboot: Restarting system", |machine| {
        machine.tell("inn reboot");
    });
}

#[test]
fn ctrl_alt_del_goes_down_in_order() {
    goes_down("ctrl-alt-del", "6.1", "reboot: Restarting system", |machine| machine.press("ctrl-alt-delete"));
}

#[test]
fn the_poweroff_of_busybox_powers_off_in_order() {
    // What it sends to PID 1 is busybox's own affair.
    goes_down("signal", "6.1", "reboot: Power down", |machine| {
        machine.tell("poweroff");
    });
}

fn goes_down(name: &'static str, kernel: &'static str, last_words: &str, ask: impl FnOnce(&mut Machine)) {
    let recipe = Recipe { name, kernel, folder: "boot", command_line: "" };
    let Some(mut machine) = Machine::boot(recipe) else { return };
    machine.check("services stop in reverse order, then the kernel takes over", |machine| {
        machine.guest_until("third", Guest::is_ready);
        machine.guest_until("asks-not", Guest::is_ready);
        ask(machine);
        machine.console.wait_for("third stops", TIMEOUT);
        machine.console.wait_for("second stops", TIMEOUT);
        machine.console.wait_for("first stops", TIMEOUT);
        machine.console.wait_for(last_words, TIMEOUT);
        assert!(machine.wait().success());
        assert!(!machine.console.all().contains("Kernel panic"));
    });
    machine.end();
}

#[test]
fn without_a_config_there_is_a_message_and_a_shell() {
    let recipe = Recipe { name: "no-config", kernel: "6.1", folder: "bare", command_line: QUIET };
    emergency(recipe, &["/etc/inn.conf", "ENOENT"]);
}

#[test]
fn with_a_broken_config_there_are_its_errors_and_a_shell() {
    let command_line = "loglevel=3 inn.config=/etc/broken.conf";
    let recipe = Recipe { name: "broken-config", kernel: "6.12", folder: "boot", command_line };
    emergency(recipe, &["/etc/broken.conf:5:", "restart", "/etc/broken.conf:9:"]);
}

#[test]
fn a_config_that_is_named_and_missing_gives_a_shell() {
    let command_line = "loglevel=3 inn.config=/etc/none.conf";
    let recipe = Recipe { name: "missing-config", kernel: "5.10", folder: "boot", command_line };
    emergency(recipe, &["/etc/none.conf", "ENOENT"]);
}

fn emergency(recipe: Recipe, words: &[&str]) {
    let Some(mut machine) = Machine::power_on(recipe) else { return };
    machine.check("the console says what is wrong", |machine| {
        for word in words {
            machine.console.wait_for(word, TIMEOUT);
        }
    });
    machine.check("the console has a shell, and PID 1 is there", |machine| {
        machine.console.wait_for(PROMPT, TIMEOUT);
        let shell = machine.type_on_console("readlink /proc/1/exe");
        assert!(shell.code == 0 && shell.text.contains("/inn"), "{}", shell.text);
    });
    machine.check("the shell has an ordinary process's limits, not PID 1's", |machine| {
        let shell = machine.type_on_console("test $(ulimit -n) = 1024 && test $(cat /proc/self/oom_score_adj) = 0");
        assert_eq!(shell.code, 0, "{}", shell.text);
    });
    machine.check("a shell that ends is started again", |machine| {
        machine.type_on_console("echo $$ > /run/shell");
        machine.console.send("exit\n");
        // Its end is told, or the other one first, where the boot goes on at once.
        machine.console.wait_for("inn: emergency shell", TIMEOUT);
        // What is typed before a shell is there is lost with the terminal's old session.
        machine.console.wait_for(PROMPT, TIMEOUT);
        let other = machine.type_on_console("test $(cat /run/shell) != $$");
        assert_eq!(other.code, 0, "{}", other.text);
    });
    if recipe.name == "broken-config" {
        machine.check("a config that is repaired is carried out, from that shell", repaired);
        machine.check("the shell that is left then is not offered again", |machine| {
            machine.console.send("exit\n");
            machine.console.wait_for("emergency shell ended with code 0", TIMEOUT);
            machine.console.wait_for("the host goes on with what it has", TIMEOUT);
        });
        return machine.end();
    }
    machine.check("the host can be powered off from there", |machine| {
        machine.console.send("kill -USR2 1\n");
        machine.console.wait_for("reboot: Power down", TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
}

#[test]
fn an_emergency_shell_that_is_left_goes_on_with_the_boot() {
    let recipe = Recipe { name: "emergency", kernel: "6.1", folder: "boot", command_line: "loglevel=3 inn.emergency" };
    let Some(mut machine) = Machine::power_on(recipe) else { return };
    machine.check("the console says why there is a shell, and how to leave it", |machine| {
        machine.console.wait_for("inn.emergency on the kernel's command line: nothing is started", TIMEOUT);
        machine.console.wait_for("`exit` goes on with the boot", TIMEOUT);
        machine.console.wait_for(PROMPT, TIMEOUT);
        assert_ne!(machine.type_on_console("hostname | grep inn-test").code, 0);
    });
    machine.type_on_console("sed -i 's/inn-test/repaired/' /etc/inn.conf");
    machine.console.send("exit\n");
    let mut machine = machine.ready();
    machine.check("the boot goes on where the shell is left, and what was repaired counts", |machine| {
        machine.guest_until("asks", Guest::is_ready);
        assert_eq!(machine.ok("hostname").trim(), "repaired");
        assert!(machine.ok("inn status --plain").lines().any(|line| line == "pid\t1"));
    });
    machine.end();
}

fn repaired(machine: &mut Machine) {
    // The shell is there before the socket is.
    machine.type_on_console("until inn list > /dev/null 2>&1; do sleep 0.1; done");
    let wrong = machine.type_on_console("inn reload");
    assert!(wrong.code == 2 && wrong.text.contains("the config cannot be used; nothing was changed"), "{}", wrong.text);
    let repair = "-e s/restarts/restart/ -e s/16X/16M/ -e '$aroot = /guests/busybox' /etc/broken.conf";
    let right = machine.type_on_console(&format!("sed -i {repair} && inn reload"));
    assert_eq!(right.code, 0, "{}", right.text);
    assert!(right.text.contains("+ agent: starts") && right.text.contains("+ web: starts"), "{}", right.text);
    let list = machine.type_on_console("until inn list | grep web | grep ready; do sleep 0.1; done");
    assert_eq!(list.code, 0, "{}", list.text);
}

#[test]
fn the_kernels_command_line_names_the_config() {
    let command_line = "inn.config=/etc/other.conf \
        inn.guest=\"extra,kind=app,root=/guests/busybox,command=/bin/sleep 1000,processes=7\"";
    let recipe = Recipe { name: "other-config", kernel: "6.1", folder: "boot", command_line };
    let Some(mut machine) = Machine::boot(recipe) else { return };
    machine.check("a console that is no terminal is told, and the kernel's is used", |machine| {
        machine
            .console
            .wait_for("inn: /etc/other.conf:4: console /dev/null: ENOTTY (not a terminal); it stays the", TIMEOUT);
    });
    machine.check("the config that was named is in force", |machine| {
        assert_eq!(machine.ok("hostname"), "other");
        assert!(!machine.ok("inn list").contains("third"));
    });
    machine.check("what hardening leaves out is left as it was, and a setting of the config goes first", |machine| {
        let status = machine.ok("inn status --plain");
        for line in ["kexec\ton", "sysrq\toff", "modules\toff", "pointers\toff (asked for)"] {
            assert!(status.lines().any(|shown| shown == line), "{line} is not in {status}");
        }
        assert_ne!(machine.ok("cat /proc/sys/kernel/sysrq"), "0");
        assert_eq!(machine.ok("cat /proc/sys/kernel/kptr_restrict /proc/sys/kernel/modules_disabled"), "0\n0");
    });
    machine.check("a guest of the command line runs beside those of the config", |machine| {
        machine.guest_until("extra", Guest::is_ready);
        assert_eq!(machine.ok("cat /sys/fs/cgroup/inn/extra/pids.max"), "7");
    });
    machine.end();
}

#[test]
fn a_guest_that_asks_for_a_controller_the_kernel_lacks_does_not_start() {
    let command_line = "cgroup_disable=memory";
    for kernel in ["5.10", "6.12"] {
        let recipe = Recipe { name: "no-memory-controller", kernel, folder: "boot", command_line };
        let Some(mut machine) = Machine::boot(recipe) else { return };
        machine.check("it fails, and says which limit cannot be kept", |machine| {
            let asks = machine.guest_until("asks", |guest| guest.text("exit") == "start-failed");
            assert!(asks.text("exit_reason").contains("memory.max"), "{asks:?}");
            let status = machine.ok("inn status asks");
            assert!(status.contains("memory") && status.contains("inn.conf:"), "{status}");
        });
        machine.check("a guest that does not ask runs", |machine| {
            machine.guest_until("asks-not", Guest::is_ready);
        });
        machine.check("inn check says so", |machine| {
            let output = machine.run("inn check");
            assert!(output.text.contains("memory"), "{}", output.text);
        });
        machine.end();
    }
}

#[test]
fn a_disk_that_is_in_use_is_clean_after_power_off() {
    let disk = must::target().join("machines/disk.img");
    let recipe = Recipe { name: "disk", kernel: "6.1", folder: "disk", command_line: "" };
    std::fs::create_dir_all(disk.parent().unwrap()).expect("a directory");
    std::fs::File::create(&disk).and_then(|file| file.set_len(16 << 20)).expect("a file");
    let tool = |name: &str, arguments: &[&str]| {
        let output = Command::new(name).args(arguments).arg(&disk).output().expect(name);
        assert!(output.status.success(), "{name}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    tool("/sbin/mkfs.ext4", &["-q", "-F"]);
    let Some(mut machine) = Machine::boot_with_disk(recipe, &disk) else { return };
    machine.check("PID 1 has none of the huge pages that everybody is given", |machine| {
        // A machine as small as this one has none of itself.
        machine.ok("echo always > /sys/kernel/mm/transparent_hugepage/enabled");
        machine.ok("inn reload --quiet && inn upgrade --quiet");
        let huge = machine.ok("grep AnonHugePages: /proc/1/smaps_rollup");
        assert_eq!(huge.split_whitespace().collect::<Vec<_>>()[1..], ["0", "kB"]);
    });
    machine.check("what is written is on the disk when the host is off, though a writer ignores TERM", |machine| {
        machine.ok("mkdir -p /mnt && mount -t ext4 /dev/vda /mnt && echo kept > /mnt/file");
        machine.ok("setsid sh -c \"trap '' TERM; exec 5>/mnt/open; while :; do echo more >&5; sleep 0.1; done\" </dev/null >/dev/null 2>&1 &");
        machine.until("test -s /mnt/open", |output| output.code == 0);
        machine.tell("inn poweroff");
        machine.console.wait_for("reboot: Power down", TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
    let state = tool("/sbin/dumpe2fs", &["-h"]);
    assert!(!state.contains("needs_recovery") && state.contains("clean"), "{state}");
    tool("/sbin/e2fsck", &["-f", "-n"]);
    assert_eq!(tool("/sbin/debugfs", &["-R", "cat /file"]), "kept\n");
}
