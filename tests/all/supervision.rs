//! Guests that end, fail to start, wait for each other, and will not stop.

use crate::machine::{Guest, Machine, Recipe};

#[test]
fn guests_are_supervised_on_5_10() {
    // As who watches the mains does it.
    supervise("5.10", "kill -PWR 1", "Power down");
}

#[test]
fn guests_are_supervised_on_6_1() {
    // systemd's `poweroff`: SIGRTMIN+4 of glibc.
    supervise("6.1", "kill -38 1", "Power down");
}

#[test]
fn guests_are_supervised_on_6_12() {
    // systemd's `reboot`.
    supervise("6.12", "kill -39 1", "Restarting system");
}

fn supervise(kernel: &'static str, end: &str, last_words: &str) {
    let recipe = Recipe { name: "supervision", kernel, folder: "supervision", command_line: "" };
    let Some(mut machine) = Machine::boot(recipe) else { return };
    machine.check("a guest that is killed is started again", killed);
    machine.check("a guest that ends at once is started less and less often", back_off);
    machine.check("a guest that did its work stays down, with its exit code", |machine| {
        let done = machine.guest_until("done", |guest| guest.text("exit") == "code");
        assert_eq!((done.state(), done.number("exit_code"), done.number("restarts")), ("down", 0, 0));
    });
    machine.check("a guest starts when the one before it is ready, not just started", order);
    machine.check("a frozen guest stands still, all of it, until it is thawed", frozen);
    machine.check("stop takes its steps, and then all of it is gone", stop);
    machine.check("metrics are served by a service of a few words", metrics);
    failures(&mut machine);
    machine.check("inn kill ends a guest at once, and it stays down", |machine| {
        // Also one that stands still, and where the kernel cannot kill a cgroup by itself.
        machine.ok("inn freeze steady");
        machine.ok("inn kill steady");
        assert_eq!(machine.guest("steady").state(), "down");
        assert_ne!(machine.run("inn exec steady true").code, 0);
    });
    machine.goes_down(end, last_words);
    machine.end();
}

fn killed(machine: &mut Machine) {
    machine.guest_until("steady", Guest::is_ready);
    for restarts in [1, 2] {
        let pid = machine.guest("steady").pid();
        machine.ok(&format!("kill -9 {pid}"));
        let now = machine.guest_until("steady", |guest| guest.is_ready() && guest.pid() != pid);
        assert_eq!((now.number("restarts"), now.text("exit"), now.number("exit_signal")), (restarts, "signal", 9));
    }
}

fn back_off(machine: &mut Machine) {
    // Delays double from 100 ms, so that the announced one passes a second after a few starts.
    let later = machine.guest_until("flapping", |guest| {
        guest.state() == "delayed" && guest.number("restarts") >= 4 && guest.number("next_start_ms") > 1000
    });
    assert_eq!((later.text("exit"), later.number("exit_code")), ("code", 1));
    machine.ok("inn stop flapping");
    assert_eq!(machine.guest("flapping").state(), "down");
}

fn order(machine: &mut Machine) {
    let second = machine.guest_until("second", Guest::is_ready);
    let slow = machine.guest("slow");
    assert_eq!(slow.state(), "ready");
    let earlier_ms = slow.number("uptime_ms") - second.number("uptime_ms");
    // It sleeps for a second before it says that it is ready.
    assert!(earlier_ms >= 1000, "slow started {earlier_ms} ms before second");
}

fn frozen(machine: &mut Machine) {
    let stubborn = machine.guest_until("stubborn", Guest::is_ready);
    machine.ok("inn freeze stubborn");
    assert_eq!(machine.guest("stubborn").state(), "frozen");
    let events = format!("cat {}/cgroup.events", stubborn.cgroup());
    assert!(machine.ok(&events).contains("frozen 1"));
    let used = machine.guest("stubborn").number("cpu_us");
    let output = machine.run("inn exec stubborn true");
    assert_eq!((output.code, output.text.as_str()), (4, "inn: stubborn: it is frozen: thaw it first"));
    // Limits change, and it stands still all the same.
    machine.ok("inn set stubborn memory 64M oom-score 7");
    assert_eq!(machine.guest("stubborn").state(), "frozen");
    assert_eq!(machine.guest("stubborn").number("cpu_us"), used);
    machine.ok("inn thaw stubborn");
    assert!(machine.ok(&events).contains("frozen 0"));
    machine.ok("inn exec stubborn true");
}

fn metrics(machine: &mut Machine) {
    machine.run("ip link set lo up");
    let output = machine.until("wget -qO- http://127.0.0.1:9100/metrics", |output| output.code == 0);
    assert!(output.text.ends_with("# EOF"), "{}", output.text);
    for part in [r#"inn_guest_memory_bytes{guest="steady"} "#, r#"inn_guest_up{guest="steady"} 1"#] {
        assert!(output.text.contains(part), "{part} is not in {}", output.text);
    }
    let pid = machine.guest("steady").pid();
    assert!(
        machine.ok(&format!("inn which --plain {pid}")).starts_with(&format!("{pid}\tsteady\t/inn/steady/guest\t"))
    );
    let stats = machine.ok("inn stats --json steady");
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert!(stats[0]["memory_bytes"].as_u64() > Some(0) && stats[0]["memory_max_events"] == 0, "{stats}");
    let status = machine.ok("inn status");
    assert!(status.contains("\n  of guests    ") && status.contains("\n  kernel lacks "), "{status}");
}

fn stop(machine: &mut Machine) {
    let stubborn = machine.guest_until("stubborn", Guest::is_ready);
    machine.until("inn exec stubborn ps", |output| output.text.matches("sleep").count() >= 3);
    let cgroup = stubborn.cgroup();
    // It goes on to be asked.
    machine.ok("inn freeze stubborn");
    machine.ok("inn stop stubborn");
    let after = machine.guest("stubborn");
    assert_eq!((after.state(), after.text("exit"), after.number("exit_signal")), ("down", "signal", 9));
    assert_ne!(machine.run(&format!("ls -d {cgroup}/guest")).code, 0, "its cgroup is left");
    let log = machine.ok("inn logs stubborn");
    let (term, int) = (log.find("asked by TERM"), log.find("asked by INT"));
    assert!(term.is_some() && term < int, "{log}");
}

fn failures(machine: &mut Machine) {
    for (guest, name, words) in [
        ("no-root", "a missing root", ["its root", "ENOENT"]),
        ("no-command", "a missing command", ["its command", "ENOENT"]),
        ("not-executable", "a command that is not executable", ["its command", "EACCES"]),
        ("other-machine", "a command for another machine", ["its command", "ENOEXEC"]),
        ("no-interpreter", "a command without its interpreter", ["its interpreter", "ENOENT"]),
    ] {
        machine.check(&format!("{name} is the reason that the guest fails with"), |machine| {
            let failed = machine.guest_until(guest, |guest| guest.state() == "failed");
            assert_eq!(failed.text("exit"), "start-failed");
            let status = machine.ok(&format!("inn status {guest}"));
            assert!(words.iter().all(|word| status.contains(word)), "not all of {words:?} in:\n{status}");
            assert!(status.contains("inn.conf:"), "no place in the config in:\n{status}");
            let start = machine.run(&format!("inn start --wait {guest}"));
            assert_eq!(start.code, 1, "{}", start.text);
            assert_ne!(machine.run(&format!("ls -d /sys/fs/cgroup/inn/{guest}/guest")).code, 0, "its cgroup is left");
        });
    }
    machine.check("the failure of some does not keep others from running", |machine| {
        assert!(machine.guest("steady").is_ready());
    });
}
