//! Guests that take all they can: each is held to its limit, `inn list` answers throughout, and the others run on.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::machine::{Guest, Machine, Recipe};
use crate::must;

#[test]
fn limits_hold_on_5_10() {
    // busybox's `halt`.
    push_limits("5.10", "kill -USR1 1", "System halted");
}

#[test]
fn limits_hold_on_6_1() {
    // busybox's `reboot`.
    push_limits("6.1", "kill -TERM 1", "Restarting system");
}

#[test]
fn limits_hold_on_6_12() {
    // systemd's way not to stop what runs first: SIGRTMIN+15 of glibc.
    push_limits("6.12", "kill -49 1", "Restarting system");
}

fn push_limits(kernel: &'static str, end: &str, last_words: &str) {
    let recipe = Recipe { name: "limits", kernel, folder: "limits", command_line: "" };
    if !must::qemu("limits") {
        return;
    }
    let more = ["--tree", programs().to_str().expect("a path of text")];
    let Some(mut machine) = Machine::boot_with_devices(recipe, &[], &more) else { return };
    machine.check("a guest over its memory is killed, and reported as out of memory", hog);
    machine.check("two busy guests share the CPU by their weights", shares);
    machine.check("a busy guest gets no more CPU than its cap", cap);
    machine.check("a process too many is refused, and counted", processes);
    machine.check("a fork bomb stays in its guest, and dies with it", bomb);
    machine.check("a log flood fills only its own ring", flood);
    machine.check("10,000 orphans in a guest are its own affair", orphans_inside);
    machine.check("the host's orphans are all reaped", orphans_outside);
    machine.check("PID 1 has not grown", |machine| {
        let status = machine.ok("cat /proc/1/status");
        let private: u64 = status.lines().filter_map(|line| line.strip_prefix("RssAnon:")).map(kib).sum();
        // Tables for a thousand guests are in .bss: what is not touched costs nothing.
        assert!(private < 1024, "{private} KiB of its own");
    });
    machine.goes_down(end, last_words);
    machine.end();
}

/// Compiles what makes orphans, on the host and in a guest.
fn programs() -> &'static PathBuf {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    TREE.get_or_init(|| {
        let tree = must::target().join("programs-limits");
        for bin in ["bin", "guests/busybox/bin"].map(|bin| tree.join(bin)) {
            std::fs::create_dir_all(&bin).expect("a directory");
            let source = must::project().join("tests/programs/orphans.c");
            let words = ["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o"];
            let compiled = Command::new("gcc").args(words).arg(bin.join("orphans")).arg(source).status();
            assert!(compiled.expect("gcc starts (Debian: gcc libc6-dev)").success(), "gcc failed");
        }
        tree
    })
}

fn kib(line: &str) -> u64 {
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}

fn hog(machine: &mut Machine) {
    machine.ok("inn start hog");
    let hog = machine.guest_until("hog", |guest| guest.text("exit") == "out-of-memory");
    assert_eq!(hog.number("oom_kills"), 1);
    assert_eq!(hog.state(), "failed");
    let status = machine.ok("inn status hog");
    assert!(status.contains("out of memory"), "{status}");
    the_bystander_runs_on(machine);
}

fn shares(machine: &mut Machine) {
    machine.ok("inn start --wait heavy light");
    // Both by one look.
    let look = "inn list --json";
    let used = |text: &str| ["heavy", "light"].map(|name| Guest::find(text, name).expect("both").number("cpu_us"));
    let before = used(&machine.ok(look));
    // So much CPU time at least, however long it takes; who had the CPU while the whole machine stood still is charged for
    // that, and then waits for the other. The weights are 400 and 100; an emulated machine is granted a wide margin.
    machine.until(look, |output| {
        let [heavy, light] = used(&output.text);
        let (heavy, light) = (heavy - before[0], light - before[1]);
        heavy > 4_000_000 && (2.0..8.0).contains(&(heavy as f64 / light as f64))
    });
    machine.ok("inn kill heavy light");
}

fn cap(machine: &mut Machine) {
    machine.ok("inn start --wait capped");
    let cgroup = machine.guest("capped").cgroup();
    assert_eq!(machine.ok(&format!("cat {cgroup}/cpu.max")), "10000 100000");
    let throttled = |text: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    machine.until(&format!("cat {cgroup}/cpu.stat"), |output| throttled(&output.text) > 5);
    machine.ok("inn kill capped");
}

fn processes(machine: &mut Machine) {
    machine.ok("inn start --wait few");
    let few = machine.guest_until("few", |guest| guest.number("processes_refused") > 0);
    let count = few.number("processes");
    assert!((2..=8).contains(&count), "{count} processes");
    machine.ok("inn kill few");
}

fn bomb(machine: &mut Machine) {
    machine.ok("inn start --wait bomb");
    machine.guest_until("bomb", |guest| guest.number("processes_refused") > 0);
    inn_list_answers(machine);
    the_bystander_runs_on(machine);
    let cgroup = machine.guest("bomb").cgroup();
    machine.ok("inn kill bomb");
    assert_ne!(machine.run(&format!("ls -d {cgroup}/guest")).code, 0, "its cgroup is left");
}

fn flood(machine: &mut Machine) {
    machine.ok("inn start --wait flood");
    machine.until("inn logs flood 2>/dev/null | wc -c", |output| {
        output.text.trim().parse::<u64>().is_ok_and(|bytes| bytes > 16 << 10)
    });
    inn_list_answers(machine);
    the_bystander_runs_on(machine);
    let kept = machine.ok("inn logs flood 2>/dev/null | wc -c");
    let bytes: u64 = kept.trim().parse().unwrap_or_else(|_| panic!("no number: {kept}"));
    // So much is kept at least, in whole blocks.
    assert!(bytes <= 40 << 10, "{bytes} bytes");
    machine.ok("inn kill flood");
}

fn orphans_inside(machine: &mut Machine) {
    machine.ok("inn start --wait orphans");
    inn_list_answers(machine);
    the_bystander_runs_on(machine);
    machine.until("inn logs orphans", |output| output.text.contains("made 10000 orphans"));
    machine.ok("inn stop orphans");
}

fn orphans_outside(machine: &mut Machine) {
    machine.ok("orphans 1000");
    inn_list_answers(machine);
    machine.until("cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | grep -c ^Z", |output| output.text == "0");
}

fn inn_list_answers(machine: &mut Machine) {
    for _ in 0..5 {
        let list = machine.ok("inn list");
        assert!(list.contains("bystander"), "{list}");
    }
}

fn the_bystander_runs_on(machine: &mut Machine) {
    let pid = machine.guest("bystander").pid();
    let last = |text: &str| text.rsplit(' ').next().and_then(|number| number.trim().parse::<u64>().ok());
    let before = machine.until("inn logs -n 1 bystander", |output| last(&output.text).is_some());
    let before = last(&before.text).expect("it counts");
    machine.until("inn logs -n 1 bystander", |output| last(&output.text).is_some_and(|now| now > before + 2));
    assert_eq!(machine.guest("bystander").pid(), pid, "it is the same process");
}
