//! `inn set` in booted machines, whose kernels have every controller.

use crate::machine::{Machine, Recipe};
use crate::must;

#[test]
fn limits_are_set_on_5_10() {
    set_limits("5.10");
}

#[test]
fn limits_are_set_on_6_1() {
    set_limits("6.1");
}

#[test]
fn limits_are_set_on_6_12() {
    set_limits("6.12");
}

fn set_limits(kernel: &'static str) {
    let disk = must::target().join(format!("machines/set-{kernel}.img"));
    std::fs::create_dir_all(disk.parent().unwrap()).expect("a directory");
    std::fs::File::create(&disk).and_then(|file| file.set_len(16 << 20)).expect("a file");
    let recipe = Recipe {
        name: "set",
        kernel,
        folder: "set",
        command_line: "inn.guest=extra,kind=app,root=/guests/busybox,command=/bin/idle",
    };
    let Some(mut machine) = Machine::boot_with_disk(recipe, &disk) else { return };
    // Its shell, and what that sleeps by.
    machine.guest_until("web", |guest| guest.is_ready() && guest.number_or_none("processes") == Some(2));
    machine.check("every limit of a cgroup is set while the guest runs", every_limit);
    machine.check("a limit that is taken away is gone", taken_away);
    machine.check("limits of processes are set for all of them", processes);
    machine.check("with the last one refused none is changed", all_or_none);
    machine.check("memory below use is refused with the figure, and nothing is killed", below_use);
    machine.check("memory that can be had back is", had_back);
    machine.check("a file system in memory is resized, as df inside sees it", resized);
    machine.check("a restart keeps what was set", kept);
    machine.check("a guest that ends meanwhile leaves no half of it", ended);
    machine.check("--save is refused for a guest of the kernel's command line", no_file);
    machine.check("what is saved holds after a boot of the config", saved);
    machine.check(
        "a config that is read again changes limits, the host and the guests, and nothing that it may not",
        reloaded,
    );
    machine.check("a signal takes it all back", reloaded_back);
    machine.end();
    let _ = std::fs::remove_file(disk);
}

fn file(machine: &mut Machine, guest: &str, file: &str) -> String {
    let cgroup = machine.guest(guest).cgroup();
    machine.ok(&format!("cat {cgroup}/{file}"))
}

/// The number behind `name` in a file of the guest's cgroup.
fn count(machine: &mut Machine, guest: &str, path: &str, name: &str) -> u64 {
    let text = file(machine, guest, path);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_default().to_owned();
    line.parse().unwrap_or_else(|_| panic!("no {name} in {text}"))
}

fn pids(machine: &mut Machine, guest: &str) -> Vec<u64> {
    let cgroup = machine.guest(guest).cgroup();
    let text = machine.ok(&format!("cat {cgroup}/cgroup.procs {cgroup}/guest/cgroup.procs"));
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

const EVERY: &[(&str, &str, &str, &str)] = &[
    ("memory", "96M", "memory.max", "100663296"),
    ("memory-high", "80M", "memory.high", "83886080"),
    ("memory-low", "1M", "memory.low", "1048576"),
    ("swap", "2M", "memory.swap.max", "2097152"),
    ("cpus", "0.5", "cpu.max", "50000 100000"),
    ("cpu-weight", "200", "cpu.weight", "200"),
    ("cpuset", "0", "cpuset.cpus", "0"),
    ("processes", "60", "pids.max", "60"),
    ("oom-group", "yes", "memory.oom.group", "1"),
];

fn every_limit(machine: &mut Machine) {
    let mut words = String::new();
    for (key, value, ..) in EVERY {
        words += &format!(" {key} {value}");
    }
    let text = machine.ok(&format!("inn set web{words} io-max '/dev/vda rbps=1M wiops=100'"));
    assert!(text.contains("web: memory 64M -> 96M\nweb: memory-high default -> 80M\n"), "{text}");
    assert!(text.contains("web: processes 50 -> 60\n"), "{text}");
    for (key, _, path, value) in EVERY {
        assert_eq!(file(machine, "web", path), *value, "{key}");
    }
    let disks = file(machine, "web", "io.max");
    assert!(disks.ends_with("rbps=1048576 wbps=max riops=max wiops=100"), "{disks}");
    // One word of it alone: the others are as they were.
    machine.ok("inn set web io-max '/dev/vda wbps=2M'");
    let disks = file(machine, "web", "io.max");
    assert!(disks.ends_with("rbps=max wbps=2097152 riops=max wiops=max"), "{disks}");
    let weight = machine.run("inn set web io-weight 50");
    match weight.code {
        0 => assert!(
            file(machine, "web", "io.weight").contains("50") || file(machine, "web", "io.bfq.weight").contains("50")
        ),
        // A kernel without iocost and BFQ says so.
        _ => assert!(weight.text.contains("key io-weight"), "{}", weight.text),
    }
    // Fewer than there are: none of them ends, and that is said.
    let text = machine.ok("inn set web processes 1");
    assert!(text.contains("web: it has 2 processes now; it can make none while it has 1 or more\n"), "{text}");
    machine.ok("inn set web processes 60");
    let status = machine.ok("inn status web");
    assert!(status.contains("96M") && status.contains("60"), "{status}");
    let guest = machine.guest("web");
    assert_eq!((guest.number("memory_limit_bytes"), guest.number("processes_limit")), (96 << 20, 60));
}

fn taken_away(machine: &mut Machine) {
    machine
        .ok("inn set web memory-high default memory-low default cpus default cpuset default swap default oom-group no");
    for (path, value) in [
        ("memory.high", "max"),
        ("memory.low", "0"),
        ("cpu.max", "max 100000"),
        ("memory.swap.max", "max"),
        ("memory.oom.group", "0"),
        ("memory.max", "100663296"),
    ] {
        assert_eq!(file(machine, "web", path), value, "{path}");
    }
    let (cpus, all) =
        (file(machine, "web", "cpuset.cpus.effective"), machine.ok("cat /sys/fs/cgroup/cpuset.cpus.effective"));
    assert_eq!(cpus, all);
    machine.ok("inn set web io-max '/dev/vda wbps=max' memory=default");
    assert_eq!(file(machine, "web", "memory.max"), "max");
    machine.ok("inn set web memory=64M");
}

fn processes(machine: &mut Machine) {
    machine.ok("inn set web oom-score -300 rlimit 'nofile 100:200' rlimit 'core 0:unlimited'");
    let all = pids(machine, "web");
    assert!(all.len() >= 2, "{all:?}");
    for pid in all {
        assert_eq!(machine.ok(&format!("cat /proc/{pid}/oom_score_adj")), "-300");
        let limits = machine.ok(&format!("cat /proc/{pid}/limits"));
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
        assert!(line.split_whitespace().skip(3).take(2).eq(["100", "200"]), "{line}");
    }
    // Higher again, and what is made from now on has it too.
    machine.ok("inn set web oom-score 5 rlimit 'nofile 300:400'");
    assert_eq!(machine.ok("inn exec web sh -c 'ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj'"), "300\n400\n5");
}

fn all_or_none(machine: &mut Machine) {
    let before: Vec<String> = EVERY.iter().map(|(_, _, path, _)| file(machine, "web", path)).collect();
    let pid = machine.guest("web").pid();
    // No machine has so many CPUs.
    let output =
        machine.run("inn set web memory 70M processes 70 cpu-weight 7 oom-score 9 rlimit 'nofile 7:8' cpuset 999");
    assert_eq!(output.code, 1, "{}", output.text);
    assert!(output.text.contains("nothing was changed: could not set cpuset.cpus"), "{}", output.text);
    // So is one whose disk is none, and one that comes after all others.
    let output = machine.run("inn set web processes 71 memory 71M io-max '/dev/null rbps=1M'");
    assert!(output.code == 1 && output.text.contains("key io-max"), "{}", output.text);
    let output = machine.run("inn set web processes 72 oom-score 9 rlimit 'nofile 7:8' tmpfs '/run 1M' memory 64K");
    assert!(output.code == 1 && output.text.contains("which is"), "{}", output.text);
    let after: Vec<String> = EVERY.iter().map(|(_, _, path, _)| file(machine, "web", path)).collect();
    assert_eq!(after, before);
    assert_eq!(machine.ok(&format!("cat /proc/{pid}/oom_score_adj")), "5");
    assert_eq!(machine.ok("inn exec web sh -c 'ulimit -n'"), "300");
    let size = machine.ok("inn exec web df -m /run");
    assert!(size.contains(" 64 "), "{size}");
    assert_eq!(machine.guest("web").number("memory_limit_bytes"), 64 << 20);
    assert_eq!(count(machine, "web", "cgroup.events", "frozen"), 0);
}

fn below_use(machine: &mut Machine) {
    machine.until("inn logs full", |output| output.text.contains("full 20971520"));
    let pid = machine.guest("full").pid();
    let output = machine.run("inn set full memory 16M cpu-weight 9");
    assert_eq!(output.code, 1, "{}", output.text);
    let figure = output.text.split("which is ").nth(1).and_then(|rest| rest.split('.').next()).unwrap_or_default();
    let figure: u64 = figure.parse().unwrap_or_else(|_| panic!("{}", output.text));
    assert!((40..128).contains(&figure), "{}", output.text);
    for (path, value) in [("memory.max", "134217728"), ("memory.high", "max"), ("cpu.weight", "100")] {
        assert_eq!(file(machine, "full", path), value, "{path}");
    }
    assert_eq!(count(machine, "full", "memory.events", "oom_kill"), 0);
    assert_eq!(count(machine, "full", "cgroup.events", "frozen"), 0);
    assert_eq!((machine.guest("full").pid(), machine.guest("full").is_ready()), (pid, true));
}

fn had_back(machine: &mut Machine) {
    // The disk is read by a process in its cgroup, which pays for the pages of it, as long as somebody has it open.
    machine.ok("exec 3</dev/vda; setsid sleep 100000 </dev/null >/dev/null 2>&1 &");
    let cgroup = machine.guest("full").cgroup();
    machine.ok(&format!("sh -c 'exec 3</dev/vda; echo $$ > {cgroup}/guest/cgroup.procs; cat <&3 > /dev/null'"));
    let pid = machine.guest("full").pid();
    let used: u64 = file(machine, "full", "memory.current").parse().unwrap();
    assert!(used > 52 << 20, "{used}");
    machine.ok(&format!("inn set full memory {}K", (used >> 10) - (8 << 10)));
    assert_eq!(count(machine, "full", "memory.events", "oom_kill"), 0);
    assert_eq!(file(machine, "full", "memory.high"), "max");
    assert_eq!(machine.guest("full").pid(), pid);
    machine.ok("inn set full memory 128M");
}

fn resized(machine: &mut Machine) {
    let size = |machine: &mut Machine, path: &str| -> String {
        let text = machine.ok(&format!("inn exec full df -m {path}"));
        text.lines().last().and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default().to_owned()
    };
    machine.ok("inn set full tmpfs '/tmp 50M' tmpfs '/dev/shm 5M'");
    assert_eq!((size(machine, "/tmp"), size(machine, "/dev/shm")), ("50".into(), "5".into()));
    let output = machine.run("inn set full tmpfs '/dev/shm 6M' tmpfs '/tmp 10M'");
    assert_eq!(output.code, 1, "{}", output.text);
    assert!(output.text.contains("more than that is in it"), "{}", output.text);
    assert_eq!((size(machine, "/tmp"), size(machine, "/dev/shm")), ("50".into(), "5".into()));
}

fn kept(machine: &mut Machine) {
    machine.ok("inn set web memory 48M oom-score 6 rlimit 'nofile 55:66'");
    machine.ok("inn restart --wait web");
    assert_eq!(file(machine, "web", "memory.max"), "50331648");
    assert_eq!(file(machine, "web", "pids.max"), "60");
    let pid = machine.guest("web").pid();
    assert_eq!(machine.ok(&format!("cat /proc/{pid}/oom_score_adj")), "6");
    assert_eq!(machine.ok("inn exec web sh -c 'ulimit -n; ulimit -Hn'"), "55\n66");
}

fn ended(machine: &mut Machine) {
    for round in 0..5 {
        let text = machine.run(&format!(
            "inn set web memory {}M rlimit 'nofile 91:92' & inn restart --wait web; wait $!",
            40 + round
        ));
        let bytes = file(machine, "web", "memory.max");
        let files = machine.ok("inn exec web sh -c 'ulimit -n'");
        let shown = machine.guest("web").number("memory_limit_bytes").to_string();
        assert_eq!(bytes, shown, "{}", text.text);
        let is_set = bytes == ((40 + round) << 20).to_string();
        assert_eq!(files == "91", is_set, "{}", text.text);
        machine.ok("inn set web memory 48M rlimit 'nofile 55:66'");
    }
}

fn no_file(machine: &mut Machine) {
    let output = machine.run("inn set --save extra memory 10M");
    assert_eq!(output.code, 1, "{}", output.text);
    assert!(output.text.contains("extra is not in /etc/inn.conf"), "{}", output.text);
    machine.ok("inn set extra memory 10M");
}

fn saved(machine: &mut Machine) {
    machine.ok("inn set -q --save web memory 33M cpus 0.25 rlimit 'nofile 77:88'");
    let config = machine.ok("cat /etc/inn.conf");
    assert!(
        config.contains(
            "memory    = 33M   # what it needs\nprocesses = 50\ncpus      = 0.25\nrlimit    = nofile 77:88\n"
        ),
        "{config}"
    );
    assert_eq!(file(machine, "web", "memory.max"), "34603008");
    let check = machine.ok("inn check /etc/inn.conf");
    assert!(check.contains("good"), "{check}");
}

fn reloaded(machine: &mut Machine) {
    // What was set and not saved goes back.
    let text = machine.ok("inn reload");
    assert!(text.contains("~ web: processes: 60 -> 50 (") && text.contains("~ extra: memory: 10M -> (none)"), "{text}");
    assert_eq!((file(machine, "web", "pids.max"), file(machine, "extra", "memory.max")), ("50".into(), "max".into()));
    assert_eq!(machine.ok("inn reload"), "nothing changed");
    machine.ok("cp /etc/inn.conf /tmp/old.conf");
    machine.ok("sed -i -e 's/^hostname .*/hostname = other\\nreserve = 32M\\nsysctl = kernel.panic 7/' \
         -e 's/^processes = 50/processes = 55\\nio-max = \\/dev\\/vda rbps=3M/' -e 's/^memory    = 128M/memory = 16M/' \
         /etc/inn.conf");
    machine.ok("printf '[guest late]\\nprofile = busybox\\ncommand = /bin/idle\\n' >> /etc/inn.conf");
    let pids = ["web", "full", "extra"].map(|name| machine.guest(name).pid());
    let told = [
        "~ [host]: hostname: inn-test -> other (/etc/inn.conf:4)\n",
        "~ [host]: sysctl: (none) -> kernel/panic 7 (/etc/inn.conf:6)\n",
        "~ [host]: reserve: (none) -> 32M (/etc/inn.conf:5)\n",
        "~ web: processes: 50 -> 55 (/etc/inn.conf:",
        "~ web: io-max: (none) -> /dev/vda rbps=3M (",
        "~ full: memory: 128M -> 16M (",
        "+ late: starts\n",
    ];
    let dry = machine.ok("inn reload --dry-run");
    told.iter().for_each(|line| assert!((dry.clone() + "\n").contains(line), "{line}: {dry}"));
    assert_eq!(machine.ok("cat /proc/sys/kernel/hostname"), "inn-test");
    let output = machine.run("inn reload");
    assert_eq!(output.code, 1, "{}", output.text);
    assert!(
        output.text.contains("full: it stays as it was: could not set memory.max to less than it uses"),
        "{}",
        output.text
    );
    assert!(output.text.contains("not all of it could be changed; the rest holds"), "{}", output.text);
    assert_eq!(file(machine, "web", "pids.max"), "55");
    let disks = file(machine, "web", "io.max");
    assert!(disks.contains("rbps=3145728"), "{disks}");
    for (path, value) in [("memory.max", "134217728"), ("memory.high", "max")] {
        assert_eq!(file(machine, "full", path), value, "{path}");
    }
    assert_eq!(count(machine, "full", "memory.events", "oom_kill"), 0);
    machine.guest_until("late", |guest| guest.is_ready());
    assert_eq!(["web", "full", "extra"].map(|name| machine.guest(name).pid()), pids);
    assert_eq!(machine.ok("cat /proc/sys/kernel/hostname /proc/sys/kernel/panic"), "other\n7");
    let reserved = |machine: &mut Machine| machine.ok("cat /sys/fs/cgroup/inn/memory.max");
    assert_ne!(reserved(machine), "max");
    // More than guests leave: they have what they have.
    let before = reserved(machine);
    machine.ok("sed -i 's/^reserve .*/reserve = 460M/' /etc/inn.conf");
    let output = machine.run("inn reload");
    assert_eq!(output.code, 1, "{}", output.text);
    assert!(output.text.contains("could not keep memory for the host that guests have, which is"), "{}", output.text);
    assert_eq!(reserved(machine), before);
    assert_eq!(["web", "full", "extra"].map(|name| machine.guest(name).pid()), pids);
}

fn reloaded_back(machine: &mut Machine) {
    let web = machine.guest("web").pid();
    machine.ok("cp /tmp/old.conf /etc/inn.conf && kill -HUP 1");
    machine.until("inn list --plain", |output| !output.text.contains("late\t"));
    machine.until("cat /sys/fs/cgroup/inn/memory.max", |output| output.text.trim() == "max");
    assert_eq!(machine.ok("cat /proc/sys/kernel/hostname"), "inn-test");
    machine.until("inn reload --dry-run", |output| output.text.contains("nothing changed"));
    assert_eq!((file(machine, "web", "pids.max").as_str(), machine.guest("web").pid()), ("50", web));
    let status = machine.guest("full");
    assert_eq!(status.number("memory_limit_bytes"), 128 << 20);
}
