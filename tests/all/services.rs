//! Services of a machine: all that they can have, guests between them, and a login on the console that PID 1 speaks on.

use crate::machine::{Guest, Machine, PROMPT, Recipe, TIMEOUT};
use crate::must;

#[test]
fn services_have_their_limits_their_order_and_the_console_on_5_10() {
    services("5.10");
}

#[test]
fn services_have_their_limits_their_order_and_the_console_on_6_12() {
    services("6.12");
}

fn services(kernel: &'static str) {
    let disk = must::target().join(format!("machines/services-{kernel}.img"));
    std::fs::create_dir_all(disk.parent().unwrap()).expect("a directory");
    std::fs::File::create(&disk).and_then(|file| file.set_len(1 << 20)).expect("a file");
    // The kernel itself shows none of what PID 1 says.
    let recipe = Recipe { name: "services", kernel, folder: "services", command_line: "loglevel=1" };
    let Some(mut machine) = Machine::boot_with(recipe, &disk, &[], &[]) else { return };
    machine.check("each limit of a service is in its file of the kernel's", every_limit);
    machine.check("a guest starts behind a step that is done, and a service behind that guest", order);
    machine.check("PID 1 speaks on the console of the config, with its speed", |machine| {
        machine.console.wait_for("\r\ninn: service behind: started, process ", TIMEOUT);
        for number in 0..3 {
            assert_eq!(machine.ok(&format!("readlink /proc/1/fd/{number}")), "/dev/ttyS0");
        }
        assert!(machine.ok("stty -F /dev/ttyS0").starts_with("speed 38400 baud;"));
    });
    machine.check("a getty has the same line, with job control, and comes again when it is left", login);
    machine.check("the emergency shell takes it, and PID 1 is heard and the getty kept away", rescue);
    machine.check("the getty has it again when that shell is left", |machine| {
        machine.type_on_console("touch /run/left");
        machine.console.send("exit\n");
        machine.guest_until("login", Guest::is_ready);
        machine.console.wait_for(PROMPT, TIMEOUT);
        let shell = machine.type_on_console("cat /proc/self/cgroup");
        assert!(shell.text.contains("/inn.services/login"), "{}", shell.text);
    });
    machine.check("a PID 1 that has died speaks where it did", |machine| {
        machine.tell("kill -ABRT 1");
        machine.console.wait_for("\ninn: died and goes on; no guest was stopped", TIMEOUT);
        machine.ok("inn restart behind");
        machine.console.wait_for("\ninn: service behind: started, process ", TIMEOUT);
        assert_eq!(machine.ok("readlink /proc/1/fd/1"), "/dev/ttyS0");
        assert_eq!(machine.type_on_console("true").code, 0);
    });
    machine.end();
}

fn every_limit(machine: &mut Machine) {
    let bound = machine.guest_until("bound", Guest::is_ready);
    let disk = machine.ok("cat /sys/class/block/vda/dev");
    let cgroup = bound.cgroup();
    assert_eq!(cgroup, "/sys/fs/cgroup/inn.services/bound");
    for (file, value) in [
        ("memory.max", "50331648"),
        ("memory.high", "41943040"),
        ("memory.low", "8388608"),
        ("memory.swap.max", "16777216"),
        ("memory.oom.group", "1"),
        ("cpu.max", "25000 100000"),
        ("cpu.weight", "50"),
        ("cpuset.cpus", "0"),
        ("pids.max", "77"),
        ("io.weight", "default 550"),
        ("io.max", &format!("{disk} rbps=max wbps=65536 riops=max wiops=max")),
    ] {
        assert_eq!(machine.ok(&format!("cat {cgroup}/{file}")), value, "{file}");
    }
    assert_eq!(machine.ok(&format!("cat /proc/{}/oom_score_adj", bound.pid())), "300");
    assert!(machine.ok(&format!("cat /proc/{}/cgroup", bound.pid())).starts_with("0::/inn.services/bound"));
    let said = machine.until("inn logs bound", |output| output.text.ends_with("200"));
    assert_eq!(said.text, "uid=1000(www) gid=100 groups=4,24\n/tmp\nhello there\n100\n200");
}

fn order(machine: &mut Machine) {
    let behind = machine.guest_until("behind", Guest::is_ready);
    let between = machine.guest("between");
    assert!(between.is_ready() && between.number("uptime_ms") >= behind.number("uptime_ms"));
    let step = machine.guest("step");
    assert_eq!((step.state(), step.number("exit_code")), ("down", 0));
    machine.ok("test -e /run/step");
    let fails = machine.guest_until("fails", |guest| guest.state() == "failed");
    assert_eq!(fails.number("exit_code"), 3);
    let status = machine.ok("inn status without");
    assert!(status.contains("waiting") && status.contains("fails"), "{status}");
}

fn login(machine: &mut Machine) {
    // Before that a getty takes back what was typed.
    machine.console.has_said(PROMPT, TIMEOUT);
    let first = machine.guest_until("login", Guest::is_ready).pid();
    let shell = machine.type_on_console("test $(tty) = /dev/ttyS0 && cat /proc/self/cgroup");
    assert!(shell.code == 0 && shell.text.contains("/inn.services/login"), "{}", shell.text);
    machine.console.send("echo in front; tail -f /dev/null\n");
    machine.console.wait_for("\nin front", TIMEOUT);
    // Before that it is not in the foreground, and what it does not hear nobody does.
    machine.until("pidof tail", |output| output.code == 0);
    machine.console.send("\x03");
    machine.console.wait_for(PROMPT, TIMEOUT);
    assert_eq!(
        machine
            .type_on_console("test $$ = $(cat /sys/fs/cgroup/inn.services/login/guest/cgroup.procs | head -n 1)")
            .code,
        0
    );
    // A wild program's modes are not the next one's.
    machine.console.send("stty raw -echo; exit\n");
    machine.guest_until("login", |guest| guest.is_ready() && guest.pid() != first);
    machine.console.wait_for(PROMPT, TIMEOUT);
    assert_eq!(machine.type_on_console("true").code, 0);
}

fn rescue(machine: &mut Machine) {
    let before = machine.guest("login").pid();
    machine.tell("inn start brief");
    machine.console.wait_for("brief ended 2 times within 1m: rescue", TIMEOUT);
    machine.console.wait_for("emergency shell on the console", TIMEOUT);
    machine.console.wait_for(PROMPT, TIMEOUT);
    let shell = machine.type_on_console("test $PPID = 1 && tty && cat /proc/self/cgroup");
    assert!(shell.code == 0 && shell.text.contains("/dev/ttyS0") && !shell.text.contains("/login"), "{}", shell.text);
    let status = machine.until("inn status login", |output| output.text.contains("it has another owner"));
    assert!(status.text.contains("EPERM"), "{}", status.text);
    assert_ne!(machine.run(&format!("test -e /proc/{before}")).code, 0, "its shell is gone");
    machine.ok("inn restart behind");
    machine.console.wait_for("\ninn: service behind: started, process ", TIMEOUT);
}
