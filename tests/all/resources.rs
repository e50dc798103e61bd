//! Every limit is the kernel's, and one guest takes all it can of each thing while another works: that one, PID 1 and the
//! host do not notice.

use std::path::PathBuf;
use std::process::Command;

use crate::machine::{Guest, Machine, Recipe, TIMEOUT};
use crate::must;

/// What `tests/programs/take.c` takes.
const THINGS: [&str; 22] = [
    "memory",
    "file-system",
    "files",
    "names",
    "pipes",
    "sockets",
    "watches",
    "descriptors",
    "terminals",
    "cgroups",
    "mounts",
    "shared",
    "queues",
    "events",
    "timers",
    "signals",
    "aio",
    "locked",
    "networks",
    "trees",
    "forks",
    "cpu",
];

/// On one kernel: what `attackers` exhausts is nearly the same, there on all of them.
#[test]
fn one_guest_takes_all_it_can() {
    take_everything("6.1");
}

#[test]
fn every_limit_is_the_kernels_on_5_10() {
    limits("5.10");
}

#[test]
fn every_limit_is_the_kernels_on_6_1() {
    limits("6.1");
}

#[test]
fn every_limit_is_the_kernels_on_6_12() {
    limits("6.12");
}

fn take_everything(kernel: &'static str) {
    let Some(mut machine) = boot("takes", kernel, "loglevel=1") else { return };
    machine.check("the bystander works, and lacks nothing", |machine| {
        machine.guest_until("bystander", Guest::is_ready);
        it_works(machine, "nothing is taken");
    });
    for thing in THINGS {
        machine.check(&format!("one guest takes all it can: {thing}"), |machine| take(machine, thing));
    }
    machine.check("one guest takes all it can: network devices", |machine| {
        let command = "inn exec hog sh -c 'n=0; while [ $n -lt 200 ] && ip link add d$n type dummy 2>/dev/null; do n=$((n+1)); done; echo taken: $n; sleep 1000'";
        take_by(machine, command);
    });
    machine.check("one guest takes all it can: cached files", |machine| {
        let command = "inn exec hog sh -c 'n=0; while [ $n -lt 40 ]; do find / -xdev -type f -exec cat {} + >/dev/null 2>&1; n=$((n+1)); done; echo taken: $n; sleep 1000'";
        take_by(machine, command);
    });
    machine.end();
}

fn limits(kernel: &'static str) {
    let Some(mut machine) = boot("resources", kernel, "loglevel=1") else { return };
    machine
        .ok("mkdir -m 700 /data && mount -t ext4 /dev/vda1 /data && chmod 700 /data && mkdir /data/bound /data/free");
    machine.ok("chmod 777 /data/bound /data/free");
    machine.check("one guest takes all it can: swap", swap);
    machine.check("one guest takes all it can: a disk", disk);
    machine.check("each limit is in its file of the kernel's", every_limit);
    machine.check("a limit of a disk that is none keeps the guest from starting, and is told", no_disk);
    machine.check("what the guest's root has of its cgroup is what the kernel lists, and no limit", delegated);
    machine.check("a process that is killed for want of memory is named, and its guest, and the limit", victim);
    machine.check("a guest that is killed over and over does not fill the console, and all are counted", noise);
    machine.check("all guests together leave the host what is reserved", all_guests);
    machine.check("inn check tells what this host does not have", excess);
    machine.check("a supervisor below a cgroup with limits has controllers, and leaves it as it was", below);
    machine.end();
}

fn boot(name: &'static str, kernel: &'static str, command_line: &'static str) -> Option<Machine> {
    if !must::qemu(name) {
        return None;
    }
    let (programs, disk) = (programs(name, kernel), image_of_disk(name, kernel));
    // `loglevel=1` in each: the kernel's own words would come between those of PID 1 that are looked for.
    let recipe = Recipe { name, kernel, folder: "resources", command_line };
    Machine::boot_with(recipe, &disk, &[], &["--tree", programs.to_str().expect("a path of text")])
}

/// Compiles what guests run.
fn programs(name: &str, kernel: &str) -> PathBuf {
    let tree = must::target().join(format!("programs-{name}-{kernel}"));
    let bin = tree.join("guests/busybox/bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    for program in ["take", "work"] {
        let source = must::project().join(format!("tests/programs/{program}.c"));
        let words = ["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o"];
        let compiled = Command::new("gcc").args(words).arg(bin.join(program)).arg(source).status();
        assert!(compiled.expect("gcc starts (Debian: gcc libc6-dev)").success(), "gcc failed");
    }
    tree
}

/// A disk with one partition.
fn image_of_disk(name: &str, kernel: &str) -> PathBuf {
    let disk = must::target().join(format!("machines/{name}-{kernel}.img"));
    std::fs::create_dir_all(disk.parent().expect("a directory")).expect("a directory");
    // A master boot record: from sector 2048 on, Linux, 63 MiB.
    let mut first = vec![0; 64 << 20];
    first[450] = 0x83;
    first[454..458].copy_from_slice(&2048u32.to_le_bytes());
    first[458..462].copy_from_slice(&(63u32 << 11).to_le_bytes());
    first[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(&disk, first).expect("a file");
    let mut mkfs = Command::new("/sbin/mkfs.ext4");
    let made = mkfs.args(["-q", "-F", "-E", "offset=1048576"]).arg(&disk).arg("63M").output();
    assert!(made.expect("mkfs.ext4 starts (Debian: e2fsprogs)").status.success());
    disk
}

/// The bystander goes on with all of its work, and PID 1 answers.
fn it_works(machine: &mut Machine, meanwhile: &str) {
    let last = |text: &str| text.rsplit(' ').next().and_then(|number| number.trim().parse::<u64>().ok());
    let round = "inn logs bystander | grep ^round | tail -n 1";
    let pid = machine.guest("bystander").pid();
    let before = last(&machine.until(round, |output| last(&output.text).is_some()).text).expect("it counts");
    // One round that was begun after this one.
    machine.until(round, |output| last(&output.text).is_some_and(|now| now > before + 1));
    let list = machine.ok("inn list");
    assert!(list.contains("bystander") && list.contains("hog"), "{list}");
    assert_eq!(machine.run("inn logs bystander | grep ^cannot | sort | uniq -c").text, "", "while {meanwhile}");
    assert_eq!(machine.guest("bystander").pid(), pid, "it is the same process, while {meanwhile}");
}

fn take(machine: &mut Machine, thing: &str) {
    take_by(machine, &format!("inn exec hog /bin/take {thing}"));
}

/// Lets the hog run `command` until it has taken all it gets, or is dead for it, and looks at the others meanwhile.
fn take_by(machine: &mut Machine, command: &str) {
    // One from before may still be at it, where that failed.
    machine.ok("inn kill hog; inn start --wait hog");
    let cgroup = machine.guest("hog").cgroup();
    machine.ok(&beside(command));
    it_works(machine, command);
    machine.until("cat /run/taken", |output| output.text.contains("taken:") || output.text.contains("ended"));
    it_works(machine, command);
    let taken = machine.ok("cat /run/taken");
    must::say(&format!("  {}", taken.lines().last().unwrap_or_default()));
    machine.ok("inn kill hog");
    machine.until("cat /run/taken", |output| output.text.contains("ended"));
    assert_ne!(machine.run(&format!("ls -d {cgroup}")).code, 0, "its cgroup is left");
}

/// `command` in the background, and in `/run/taken` what it prints and how it ended: nothing of the one before.
fn beside(command: &str) -> String {
    format!("rm -f /run/taken; ({command}; echo ended $?) </dev/null >/run/taken 2>&1 &")
}

fn swap(machine: &mut Machine) {
    machine.ok("dd if=/dev/zero of=/data/swap bs=1M count=40 && mkswap /data/swap && swapon /data/swap");
    machine.ok("inn start --wait swaps");
    let cgroup = machine.guest("swaps").cgroup();
    assert_eq!(machine.ok(&format!("cat {cgroup}/memory.swap.max")), (16 << 20).to_string());
    machine.ok(&beside("inn exec swaps /bin/take memory"));
    it_works(machine, "swap is taken");
    // It is killed when both are full.
    machine.until("cat /run/taken", |output| output.text.contains("ended 137"));
    let used = "awk '/^SwapTotal/ { t = $2 } /^SwapFree/ { print t - $2 }' /proc/meminfo";
    let used: u64 = machine.ok(used).parse().expect("a number");
    assert!(used <= 24 << 10, "{used} KiB of swap");
    it_works(machine, "swap was taken");
    machine.ok("inn kill swaps");
}

fn disk(machine: &mut Machine) {
    machine.ok("inn start --wait bound free");
    let written = |machine: &mut Machine| -> u64 {
        machine
            .guest_until("bound", |guest| guest.number_or_none("io_written_bytes").is_some())
            .number("io_written_bytes")
    };
    let command = "inn exec bound sh -c 'dd if=/dev/zero of=/data/hog bs=16k count=512 oflag=direct conv=notrunc'";
    machine.ok(&beside(command));
    let before = written(machine);
    machine.ok("inn exec free sh -c 'dd if=/dev/zero of=/data/file bs=16k count=256 oflag=direct'");
    let after = written(machine);
    assert!(after - before < 4 << 20, "the other wrote 4 MiB, and this one {} bytes meanwhile", after - before);
    it_works(machine, "a disk is written to");
    machine.ok("inn kill bound free");
    machine.until("cat /run/taken", |output| output.text.contains("ended"));
}

fn every_limit(machine: &mut Machine) {
    machine.ok("inn start --wait bound");
    let bound = machine.guest("bound");
    let cgroup = bound.cgroup();
    let disk = machine.ok("cat /sys/class/block/vda/dev");
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
        ("cgroup.max.descendants", "max"),
        ("guest/cgroup.max.descendants", "1024"),
        ("guest/cgroup.max.depth", "16"),
        ("guest/cgroup.subtree_control", ""),
    ] {
        assert_eq!(machine.ok(&format!("cat {cgroup}/{file}")), value, "{file}");
    }
    let pid = bound.pid();
    assert_eq!(machine.ok(&format!("cat /proc/{pid}/oom_score_adj")), "300");
    assert_ne!(machine.run("inn exec bound sh -c 'echo 200 >/proc/self/oom_score_adj'").code, 0, "it may not go below");
    assert_eq!(machine.ok("inn exec bound sh -c 'ulimit -Sn; ulimit -Hn'"), "100\n200");
    let limits = machine.ok("cat /sys/fs/cgroup/inn/memory.max /sys/fs/cgroup/inn/pids.max /proc/meminfo");
    let numbers: Vec<u64> = limits.lines().take(2).map(|line| line.parse().unwrap()).collect();
    let total = limits.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let total: u64 = total.trim().trim_end_matches(" kB").parse().unwrap();
    assert_eq!(numbers[0], (total << 10) - (96 << 20), "what is reserved for the host");
    let threads: u64 = machine.ok("cat /proc/sys/kernel/threads-max").parse().unwrap();
    assert_eq!(numbers[1], threads - threads / 8);
    assert_eq!(machine.ok("cat /sys/fs/cgroup/inn.services/memory.max"), "max", "services are the host's");
    let namespaces: usize = machine.ok("cat /proc/sys/user/max_net_namespaces").parse().unwrap();
    assert!(namespaces > innkeep::limits::GUESTS, "one for each that has the host's users");
    let status = machine.ok("inn status bound");
    for words in ["of 48M", "memory-high", "of 16M; came to its limit", "at most 0.25 CPUs", "waits for"] {
        assert!(status.contains(words), "no {words:?} in {status}");
    }
    let mounts = machine.ok("inn exec bound cat /proc/mounts");
    let terminals = format!("max={}", innkeep::limits::TERMINALS);
    assert!(mounts.lines().any(|line| line.contains(" /dev/pts ") && line.contains(&terminals)), "{mounts}");
    machine.ok("inn kill bound");
}

fn no_disk(machine: &mut Machine) {
    for (guest, path, why) in [("no-disk", "/dev/none", "ENOENT"), ("not-disk", "/dev/null", "ENOTBLK")] {
        let output = machine.run(&format!("inn start --wait {guest}"));
        assert_ne!(output.code, 0);
        for words in [path, why, "inn.conf:", "io-max"] {
            assert!(output.text.contains(words), "no {words:?} in {}", output.text);
        }
    }
}

fn delegated(machine: &mut Machine) {
    machine.ok("inn start --wait hog");
    let hog = machine.guest("hog");
    let (cgroup, user) = (hog.cgroup(), hog.number("users_base"));
    let listed = machine.ok("sort /sys/kernel/cgroup/delegate");
    let is_there = |name: &&str| !listed.is_empty() && !name.is_empty();
    let owned =
        machine.ok(&format!("cd {cgroup}/guest && find . -maxdepth 1 -type f -user {user} | sed 's|^./||' | sort"));
    let there = machine.ok(&format!(
        "cd {cgroup}/guest && for f in $(sort /sys/kernel/cgroup/delegate); do [ -e $f ] && echo $f; done; true"
    ));
    assert!(owned.lines().filter(is_there).count() >= 3 && owned == there, "owned: {owned}; listed and there: {there}");
    assert_eq!(machine.ok(&format!("find {cgroup} -maxdepth 1 -user {user}")), format!("{cgroup}/guest"));
    for file in ["memory.max", "pids.max", "cgroup.max.descendants", "cpu.max", "io.max"] {
        let write = format!("inn exec hog sh -c 'chown 0 /sys/fs/cgroup/{file}; echo max >/sys/fs/cgroup/{file}'");
        assert_ne!(machine.run(&write).code, 0, "{file}");
    }
    machine.ok("inn kill hog");
}

fn victim(machine: &mut Machine) {
    machine.ok("inn start dies");
    // The kernel's log is read in pieces: who was killed may be known a moment after that somebody was.
    let dies = machine
        .guest_until("dies", |guest| guest.text("exit") == "out-of-memory" && !guest.text("oom_victim").is_empty());
    assert_eq!((dies.text("oom_victim"), dies.text("oom_victim_of")), ("tail", "guest"), "{dies:?}");
    assert_eq!(dies.number("oom_kills"), 1);
    machine.console.wait_for("guest dies: out of memory: killed tail (pid ", TIMEOUT);
    let rest = machine.console.wait_for("\n", TIMEOUT);
    assert!(rest.contains("): memory = 8M (/etc/inn.conf:"), "{rest}");
    let list = machine.ok("inn list");
    assert!(list.lines().any(|line| line.contains("dies ") && line.contains("m1")), "{list}");
    let status = machine.ok("inn status dies");
    assert!(status.contains("tail (pid ") && status.contains("full: guest"), "{status}");
}

fn noise(machine: &mut Machine) {
    machine.ok("inn start --wait noisy");
    let now = |machine: &mut Machine| -> u64 { machine.ok("cut -d . -f 1 /proc/uptime").parse().expect("seconds") };
    let begun = now(machine);
    machine.ok(
        "inn exec noisy sh -c 'n=0; while [ $n -lt 20 ]; do tail /dev/zero & tail /dev/zero; wait; n=$((n+1)); done'",
    );
    // The last ones are counted, and told of, a while later.
    let deadline = std::time::Instant::now() + TIMEOUT;
    loop {
        let killed = machine.guest("noisy").number("oom_kills");
        let console = machine.console.all();
        let lines = console.lines().filter(|line| line.contains("guest noisy: out of memory"));
        let counts: Vec<u64> = lines.map(told).collect();
        if killed >= 20 && counts.iter().sum::<u64>() == killed {
            // One a second, however long a machine takes for all of them.
            let seconds = now(machine) - begun + 2;
            assert!(counts.len() as u64 <= seconds, "in {seconds} s: {counts:?}");
            must::say(&format!("  {killed} killed, told of in {} lines within {seconds} s", counts.len()));
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{killed} were killed, {counts:?} told");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    machine.ok("inn kill noisy");
}

/// Of how many processes a line tells that were killed.
fn told(line: &str) -> u64 {
    let number = |behind: &str| {
        let at = line.find(behind)? + behind.len();
        line.get(at..)?.split(' ').next()?.trim().parse::<u64>().ok()
    };
    number("memory: killed ").or_else(|| number(", and ").map(|more| more + 1)).unwrap_or(1)
}

fn all_guests(machine: &mut Machine) {
    machine.ok("inn start --wait large larger");
    for guest in ["large", "larger"] {
        machine.ok(&format!("(inn exec {guest} /bin/take memory; echo ended $?) </dev/null >/run/{guest} 2>&1 &"));
    }
    machine.console.wait_for("all guests together: reserve = 96M (/etc/inn.conf:", TIMEOUT);
    let free = machine.ok("sed -n 's/^MemAvailable: *//p' /proc/meminfo; inn list");
    let available: u64 = free.lines().next().and_then(|line| line.trim_end_matches(" kB").parse().ok()).unwrap();
    // What the host has used itself comes from its own part.
    assert!(available > 8 << 10, "{free}");
    machine.ok("inn kill large larger");
    machine.until("cat /run/large /run/larger", |output| output.text.matches("ended").count() == 2);
    machine.guest_until("bystander", Guest::is_ready);
}

fn excess(machine: &mut Machine) {
    let check = machine.run("inn check");
    assert_eq!(check.code, 0, "{}", check.text);
    assert!(check.text.contains("io-max of /dev/vda1 holds for its whole disk"), "{}", check.text);
    let check = machine.run("inn check /etc/too-much.conf");
    assert_eq!(check.code, 2, "{}", check.text);
    assert!(check.text.contains("reserve 64G leaves no memory for guests"), "{}", check.text);
}

/// In a cgroup that another manager made.
fn below(machine: &mut Machine) {
    machine.ok("mkdir /sys/fs/cgroup/other");
    let supervise = "inn supervise --config /etc/below.conf --socket /run/below";
    machine.ok(&format!(
        "(sh -c 'echo $$ >/run/below.pid; echo $$ >/sys/fs/cgroup/other/cgroup.procs && exec {supervise}'; echo ended $?) </dev/null >/run/other 2>&1 &"
    ));
    machine.until("inn list --plain --socket /run/below", |output| output.text.starts_with("inner\tready"));
    let limits = machine.ok("cd /sys/fs/cgroup/other/inn/inner && cat memory.max pids.max");
    assert_eq!(limits, format!("{}\n20", 16 << 20));
    assert_eq!(machine.ok("ls -1 /sys/fs/cgroup/other | grep ^inn | sort"), "inn\ninn.supervisor");
    machine.ok("kill $(cat /run/below.pid)");
    machine.until("cat /run/other", |output| output.text.contains("ended 0"));
    assert_eq!(machine.ok("cat /sys/fs/cgroup/other/cgroup.subtree_control"), "");
    machine.ok("rmdir /sys/fs/cgroup/other");
}

#[test]
fn a_reserve_that_cannot_be_kept_keeps_guests_from_starting() {
    for (kernel, command_line, why) in [
        ("6.12", "loglevel=1 inn.config=/etc/too-much.conf", "the host has no more memory than that"),
        ("6.1", "loglevel=1 cgroup_disable=memory", "no memory controller"),
    ] {
        let Some(mut machine) = boot("reserve", kernel, command_line) else { return };
        machine.check("it is said when the host comes up", |machine| {
            machine.console.wait_for("no guest can start: keep memory for the host", TIMEOUT);
            let rest = machine.console.wait_for("\n", TIMEOUT);
            assert!(rest.contains(".conf:") && rest.contains(why), "{rest}");
        });
        machine.check("no guest starts, and each says why; services run", |machine| {
            let guest = if command_line.contains("inn.config") { "idle" } else { "bystander" };
            let facts = machine.guest_until(guest, |guest| guest.text("exit") == "start-failed");
            assert!(facts.text("exit_reason").contains("keep memory for the host"), "{facts:?}");
            let status = machine.ok(&format!("inn status {guest}"));
            assert!(status.contains("key reserve, /etc/") && status.contains(why), "{status}");
            assert!(machine.guest("agent").is_ready());
        });
        machine.end();
    }
}
