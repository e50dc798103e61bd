//! Guests as the host sees them: isolation, limits, and the commands about them.

use serde_json::Value;

use crate::machine::{Machine, Recipe};

/// The first user that guests' ranges are handed out from (`limits::USER_BASE`).
const USER_BASE: u64 = 0x0008_0000;

#[test]
fn guests_are_isolated_and_limited_on_5_10() {
    look_at_guests("5.10");
}

#[test]
fn guests_are_isolated_and_limited_on_6_1() {
    look_at_guests("6.1");
}

#[test]
fn guests_are_isolated_and_limited_on_6_12() {
    look_at_guests("6.12");
}

fn look_at_guests(kernel: &'static str) {
    let recipe = Recipe { name: "guests", kernel, folder: "guests", command_line: "" };
    let Some(mut machine) = Machine::boot(recipe) else { return };
    machine.check("both guests become ready", |machine| {
        machine.guest_until("app", |guest| guest.is_ready());
        machine.guest_until("box", |guest| guest.is_ready());
    });
    the_host(&mut machine);
    isolation(&mut machine);
    app(&mut machine);
    os(&mut machine);
    limits(&mut machine);
    commands(&mut machine);
    nothing_is_left(&mut machine);
    machine.end();
}

/// Each item of `hardening`: its word, its setting, and what that says while it is taken away.
const HARDENING: [(&str, &str, &str); 9] = [
    ("tiocsti", "dev/tty/legacy_tiocsti", "0"),
    ("io-uring", "kernel/io_uring_disabled", "1"),
    ("kexec", "kernel/kexec_load_disabled", "1"),
    ("bpf", "kernel/unprivileged_bpf_disabled", "12"),
    ("dmesg", "kernel/dmesg_restrict", "1"),
    ("pointers", "kernel/kptr_restrict", "2"),
    ("sysrq", "kernel/sysrq", "0"),
    ("core-pattern", "kernel/core_pattern", "core"),
    ("modules", "kernel/modules_disabled", "1"),
];

fn hardened(machine: &mut Machine) {
    machine.until("cat /proc/sys/kernel/modules_disabled", |output| output.text.trim() == "1");
    let status: Value = serde_json::from_str(&machine.ok("inn status --json")).expect("JSON");
    let words = machine.ok("inn status");
    for (item, setting, values) in HARDENING {
        let output = machine.run(&format!("cat /proc/sys/{setting}"));
        let expected = if output.code == 0 { "on" } else { "not in this kernel" };
        assert!(output.code != 0 || values.contains(output.text.trim()), "{setting}: {}", output.text);
        assert_eq!(status["hardening"][item], expected, "{item}");
        assert!(words.lines().any(|line| line.ends_with(&format!(" {item:<12} {expected}"))), "{item}: {words}");
    }
    // These two are of all kernels.
    for item in ["kexec", "modules"] {
        assert_eq!(status["hardening"][item], "on");
    }
}

fn the_host(machine: &mut Machine) {
    machine.check("PID 1 is inn", |machine| {
        assert_eq!(machine.ok("readlink /proc/1/exe"), machine.ok("readlink -f /bin/inn"));
    });
    machine.check("the host has its own file systems", |machine| {
        let mounts = machine.ok("cat /proc/mounts");
        for (place, kind) in [
            ("/proc", "proc"),
            ("/sys", "sysfs"),
            ("/dev", "devtmpfs"),
            ("/dev/pts", "devpts"),
            ("/dev/shm", "tmpfs"),
            ("/run", "tmpfs"),
            ("/tmp", "tmpfs"),
            ("/sys/fs/cgroup", "cgroup2"),
        ] {
            assert!(mounts.contains(&format!(" {place} {kind} ")), "no {kind} at {place} in:\n{mounts}");
        }
    });
    machine.check("hostname and sysctl of [host] are in force", |machine| {
        assert_eq!(machine.ok("hostname"), "inn-test");
        assert_eq!(machine.ok("cat /proc/sys/kernel/panic_on_oops"), "1");
    });
    machine.check("what nobody on the host needs is taken away, and status says so", hardened);
    machine.check("a module comes with all that it needs", |machine| {
        let modules = machine.ok("cut -d ' ' -f 1 /proc/modules");
        for name in ["bridge", "stp", "llc", "overlay"] {
            assert!(modules.lines().any(|line| line == name), "{name} is not loaded: {modules}");
        }
    });
    machine.check("inn check says what this kernel lacks", |machine| {
        let output = machine.run("inn check");
        let lacks_kill = machine.run("ls /sys/fs/cgroup/inn/app/cgroup.kill").code != 0;
        assert_eq!(output.code, 0, "{}", output.text);
        assert_eq!(output.text.contains("cgroup.kill"), lacks_kill, "{}", output.text);
    });
}

fn isolation(machine: &mut Machine) {
    machine.check("each guest has eight namespaces of its own", |machine| {
        let (app, os) = pids(machine);
        for kind in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time"] {
            let of = |machine: &mut Machine, pid: u64| machine.ok(&format!("readlink /proc/{pid}/ns/{kind}"));
            let (host, app, os) = (of(machine, 1), of(machine, app), of(machine, os));
            assert!(host != app && host != os && app != os, "{kind}: host {host}, app {app}, os {os}");
        }
    });
    machine.check("each guest has its own range of 65536 users", |machine| {
        let (app, os) = pids(machine);
        for map in ["uid_map", "gid_map"] {
            let mut bases = Vec::new();
            for pid in [app, os] {
                let text = machine.ok(&format!("cat /proc/{pid}/{map}"));
                let numbers: Vec<u64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
                assert!(matches!(numbers[..], [0, base, 65536] if base >= USER_BASE), "{map}: {text}");
                bases.push(numbers[1]);
            }
            assert!(bases[0].abs_diff(bases[1]) >= 65536, "{map}: ranges overlap: {bases:?}");
        }
    });
    machine.check("a guest has no descriptor but the standard three", |machine| {
        let app = machine.guest("app").pid();
        assert_eq!(machine.ok(&format!("ls /proc/{app}/fd | sort | tr '\\n' ' '")).trim_end(), "0 1 2");
    });
    machine.check("a guest is a session of its own", |machine| {
        let (app, os) = pids(machine);
        for pid in [app, os] {
            // proc(5): after the name state, ppid, pgrp, session.
            let stat = machine.ok(&format!("cat /proc/{pid}/stat"));
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
            assert_eq!((fields[1], fields[3]), ("1", pid.to_string().as_str()), "parent and session in {stat}");
        }
    });
    machine.check("no signal is blocked or ignored in a guest at its start", |machine| {
        let app = machine.guest("app").pid();
        for command in [format!("cat /proc/{app}/status"), "inn exec app cat /proc/self/status".into()] {
            let status = machine.ok(&command);
            for set in ["SigBlk", "SigIgn"] {
                assert_eq!(field(&status, set), "0000000000000000", "{set} by {command}");
            }
        }
    });
    machine.check("nothing propagates between a guest's mounts and the host's", |machine| {
        let (app, os) = pids(machine);
        for pid in [app, os] {
            let mounts = machine.ok(&format!("cat /proc/{pid}/mountinfo"));
            let shared = mounts.lines().find(|line| line.contains(" shared:") || line.contains(" master:"));
            // A guest's masks may be received from a peer group that PID 1's own mounts are not in.
            if let Some(line) = shared {
                let group = line.split([' ', ':']).skip_while(|word| *word != "shared" && *word != "master").nth(1);
                let host = machine.ok("cat /proc/1/mountinfo");
                assert!(!host.contains(&format!(":{} ", group.unwrap())), "{line}");
            }
        }
    });
    machine.check("a guest does not see the host's root", |machine| {
        let (app, os) = pids(machine);
        for pid in [app, os] {
            assert_ne!(machine.run(&format!("ls /proc/{pid}/root/bin/inn")).code, 0);
            assert_ne!(machine.run(&format!("ls /proc/{pid}/root/guests")).code, 0);
        }
    });
    machine.check("what the kernel tells only the host is masked", |machine| {
        let (app, os) = pids(machine);
        for pid in [app, os] {
            for file in
                ["kcore", "keys", "kallsyms", "kmsg", "latency_stats", "sched_debug", "timer_list", "interrupts"]
            {
                let path = format!("/proc/{pid}/root/proc/{file}");
                let read = machine.run(&format!("timeout 5 head -c 1 {path} 2>/dev/null | wc -c"));
                assert_eq!(read.text, "0", "{file} can be read");
                let covered = format!("test ! -e /proc/{file} || grep -q ' /proc/{file} ' /proc/{pid}/mountinfo");
                assert_eq!(machine.run(&covered).code, 0, "nothing covers {file}");
            }
            assert_ne!(machine.ok(&format!("head -c 1 /proc/{pid}/root/proc/uptime")), "", "there is no /proc at all");
            for folder in ["proc/acpi", "proc/asound", "proc/scsi", "sys/firmware", "sys/devices/virtual/powercap"] {
                let listed = machine.run(&format!("ls -A /proc/{pid}/root/{folder} 2>/dev/null"));
                assert_eq!(listed.text, "", "{folder} can be listed");
            }
        }
    });
    machine.check("kernel settings are read-only in a guest", |machine| {
        for guest in ["app", "box"] {
            let write = "for file in /proc/sys/kernel/core_pattern /proc/irq/default_smp_affinity \
                         /sys/kernel/mm/ksm/run; do (echo 0 > $file) 2>/dev/null && echo $file; done; true";
            assert_eq!(machine.ok(&format!("inn exec {guest} sh -c '{write}'")), "");
            // Whatever is in its place may be written to; the kernel must not hear of it.
            machine.run(&format!("inn exec {guest} sh -c 'echo h > /proc/sysrq-trigger'"));
            assert!(!machine.ok("dmesg").contains("sysrq: HELP"));
        }
    });
    machine.check("a guest has only the loopback, and it is up", |machine| {
        let (app, os) = pids(machine);
        for pid in [app, os] {
            let links = machine.ok(&format!("nsenter -t {pid} -n ip -o link"));
            assert_eq!(links.lines().count(), 1, "{links}");
            assert!(links.contains("lo:") && links.contains("UP"), "{links}");
        }
    });
    machine.check("a guest's devices are the harmless ones", |machine| {
        let (app, os) = pids(machine);
        for pid in [app, os] {
            for name in machine.ok(&format!("ls /proc/{pid}/root/dev")).split_whitespace() {
                let known = [
                    "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "console",
                    "fd", "stdin", "stdout", "stderr", "core",
                ];
                assert!(known.contains(&name), "/dev/{name}");
            }
            assert_eq!(machine.ok(&format!("head -c 1 /proc/{pid}/root/dev/zero | wc -c")), "1");
        }
    });
}

fn app(machine: &mut Machine) {
    machine.check("an app sees what is bound, as is said, and has memory of the size that is said", |machine| {
        let mounts = machine.ok("inn exec app cat /proc/self/mountinfo");
        let options = |target: &str| {
            let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(target));
            let line = line.unwrap_or_else(|| panic!("nothing is mounted at {target}:\n{mounts}"));
            line.split(' ').nth(5).unwrap().split(',').map(str::to_owned).collect::<Vec<_>>()
        };
        for word in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(options("/tmp/host/etc").iter().any(|option| option == word), "{word}: {mounts}");
        }
        assert_eq!(machine.ok("inn exec app cat /tmp/host/etc/inn.conf"), machine.ok("cat /etc/inn.conf"));
        assert_ne!(machine.run("inn exec app touch /tmp/host/etc/new").code, 0);
        assert_ne!(machine.run("ls /etc/new").code, 0);
        let size =
            |path: &str| format!("inn exec app sh -c \"df -k {path} | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2\"");
        assert_eq!(machine.ok(&size("/tmp/cache")), "2048");
        assert_eq!(machine.ok(&size("/dev/shm")), "1024");
    });
    machine.check("an app has no capability, no new privileges, and a filter", |machine| {
        let app = machine.guest("app");
        for path in [format!("cat /proc/{}/status", app.pid()), "inn exec app cat /proc/self/status".into()] {
            let status = machine.ok(&path);
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(field(&status, set), "0000000000000000", "{set} by {path}");
            }
            assert_eq!((field(&status, "NoNewPrivs"), field(&status, "Seccomp")), ("1", "2"), "{path}");
        }
    });
    machine.check("an app runs as the user that was given, outside as a user of its range", |machine| {
        let app = machine.guest("app");
        let status = machine.ok(&format!("cat /proc/{}/status", app.pid()));
        let (user, base) = ((app.number("users_base") + 1000).to_string(), app.number("users_base"));
        assert!(field(&status, "Uid").split_whitespace().all(|uid| uid == user), "{status}");
        assert!(field(&status, "Gid").split_whitespace().all(|gid| gid == user), "{status}");
        assert_eq!(field(&status, "Groups").trim(), format!("{} {}", base + 10, base + 20));
        assert_eq!(machine.ok("inn exec app id -u"), "1000");
    });
    machine.check("an app's root is read-only, nosuid and nodev", |machine| {
        let pid = machine.guest("app").pid();
        let mounts = machine.ok(&format!("cat /proc/{pid}/mountinfo"));
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("a root");
        let options: Vec<&str> = root.split(' ').nth(5).unwrap().split(',').collect();
        assert!(["ro", "nosuid", "nodev"].iter().all(|option| options.contains(option)), "{root}");
        assert_ne!(machine.run("inn exec app touch /www/new").code, 0);
    });
    machine.check("an app sees only its own processes", |machine| {
        let seen = machine.ok("inn exec app sh -c 'ls /proc'");
        let numbers: Vec<&str> = seen.split_whitespace().filter(|name| name.parse::<u32>().is_ok()).collect();
        assert!(numbers.contains(&"1") && numbers.len() < 8, "{seen}");
    });
    machine.check("an app can neither mount nor make namespaces", |machine| {
        for command in ["mount -t tmpfs none /tmp", "umount /tmp", "unshare -U true", "unshare -n true", "dmesg"] {
            let output = machine.run(&format!("inn exec app {command}"));
            // It is there, and it fails.
            assert!(![0, 126, 127].contains(&output.code), "{command}: {} {}", output.code, output.text);
        }
    });
    machine.check("an app starts with a clean environment, in its directory", |machine| {
        let pid = machine.guest("app").pid();
        let environment = machine.ok(&format!("tr '\\0' '\\n' < /proc/{pid}/environ"));
        assert!(environment.lines().any(|line| line == "COLOUR=green"), "{environment}");
        assert!(!environment.contains("console=") && !environment.contains("BOOT_IMAGE"), "{environment}");
        assert_eq!(machine.ok(&format!("readlink /proc/{pid}/cwd")), "/tmp");
    });
    machine.check("an app's host name is its own name", |machine| {
        assert_eq!(machine.ok("inn exec app hostname"), "app");
    });
}

fn os(machine: &mut Machine) {
    machine.check("what is bound read-only stays so, whatever the guest's root mounts", |machine| {
        let before = machine.ok("ls -l /etc; cat /etc/inn.conf");
        for target in ["/tmp/etc", "/tmp/inn.conf"] {
            let script = format!(
                "mount -o remount,bind,rw {target}; mount -o remount,rw {target}; touch /tmp/f; mkdir -p /tmp/d; \
                 mount --bind {target} /tmp/d || mount --bind {target} /tmp/f; mount -o remount,bind,rw /tmp/d; \
                 mount -o remount,bind,rw /tmp/f; for at in {target} /tmp/d /tmp/f; do touch $at/x; echo x >> $at; done"
            );
            machine.run(&format!("inn exec box sh -c '{script}'"));
        }
        assert_eq!(machine.ok("ls -l /etc; cat /etc/inn.conf"), before);
        assert_eq!(machine.ok("inn exec box cat /tmp/inn.conf"), machine.ok("inn exec box cat /tmp/etc/inn.conf"));
        assert_eq!(machine.ok("inn exec box cat /tmp/inn.conf"), machine.ok("cat /etc/inn.conf"));
    });
    machine.check("an os has no capability over the host's hardware, time or log, and a filter", |machine| {
        let os = machine.guest("box").pid();
        let status = machine.ok(&format!("cat /proc/{os}/status"));
        // capabilities(7): NET_ADMIN of its own network it has; these it has not.
        let [module, rawio, time, audit_write, audit_control] = [16, 17, 25, 29, 30];
        let [mac_override, mac_admin, syslog, wake_alarm, audit_read, perfmon, bpf] = [32, 33, 34, 35, 37, 38, 39];
        let dropped = [
            module,
            rawio,
            time,
            audit_write,
            audit_control,
            mac_override,
            mac_admin,
            syslog,
            wake_alarm,
            audit_read,
            perfmon,
            bpf,
        ];
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            let bits = u64::from_str_radix(field(&status, set), 16).unwrap();
            assert!(dropped.iter().all(|bit| bits & 1 << bit == 0), "{set} {bits:x}");
            assert!(bits & 1 << 12 != 0, "{set} {bits:x}: it keeps NET_ADMIN");
        }
        assert_eq!((field(&status, "CapInh"), field(&status, "CapAmb")), ("0000000000000000", "0000000000000000"));
        assert_eq!(field(&status, "Seccomp"), "2");
    });
    machine.check("an os writes to its private layer, and the template stays as it was", |machine| {
        machine.ok("inn exec box sh -c 'echo mine > /etc/mine && cat /etc/mine'");
        assert_ne!(machine.run("ls /guests/busybox/etc/mine").code, 0);
    });
    machine.check("an os may mount in its own namespace, and the host does not see it", |machine| {
        machine.ok("inn exec box sh -c 'mkdir -p /mnt && mount -t tmpfs none /mnt && touch /mnt/x'");
        assert!(!machine.ok("cat /proc/1/mounts").contains("/mnt"));
    });
    machine.check("an os can neither remove nor change what masks its /proc and /sys", |machine| {
        let os = machine.guest("box").pid();
        let mounts = |machine: &mut Machine| {
            machine.ok(&format!("cut -d ' ' -f 5,6 /proc/{os}/mountinfo | grep -E '^/(proc|sys)' | sort"))
        };
        let before = mounts(machine);
        // In the guest's own mount namespace, not in a copy: what came off would stay off.
        for attempt in [
            "umount -l /proc/interrupts",
            "umount /proc/kallsyms",
            "umount /sys/firmware",
            "mount --move /proc/keys /tmp",
            "mount -o remount,bind,rw /proc/irq",
            "mount -o remount,rw /sys",
            "mount -o remount,bind,rw /sys",
            "mount -o bind /proc /tmp",
            "mount -o bind /sys /tmp",
            "mount -t proc proc /tmp",
            "mount -t sysfs sysfs /tmp",
        ] {
            let output = machine.run(&format!("inn exec box {attempt}"));
            assert!(![0, 126, 127].contains(&output.code), "{attempt}: {} {}", output.code, output.text);
            assert_eq!(mounts(machine), before, "{attempt}");
        }
        // A copy of all of it has all of the masks, and they cannot come off there either.
        machine.ok("inn exec box unshare -m sh -c 'mount -o rbind /proc /tmp && ! umount -l /tmp/interrupts && ! grep -q CPU0 /tmp/interrupts'");
    });
    machine.check("an os has the host name that was given", |machine| {
        assert_eq!(machine.ok("inn exec box hostname"), "inside");
    });
    machine.check("an os runs its own init and that its services", |machine| {
        let tree = machine.until("inn exec box ps", |output| output.text.contains("/bin/clock"));
        assert!(tree.text.contains("init"), "{}", tree.text);
    });
    machine.check("what an os prints on its console is in its log", |machine| {
        machine.until("inn logs box", |output| output.code == 0 && output.text.contains("up for"));
    });
}

fn limits(machine: &mut Machine) {
    machine.check("the kernel has every limit that was asked for", |machine| {
        let cgroup = machine.guest("app").cgroup();
        for (file, value) in [
            ("memory.max", "16777216"),
            ("memory.high", "12582912"),
            ("memory.low", "4194304"),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("cpu.max", "50000 100000"),
            ("cpu.weight", "200"),
            ("cpuset.cpus", "0"),
            ("pids.max", "16"),
        ] {
            assert_eq!(machine.ok(&format!("cat {cgroup}/{file}")), value, "{file}");
        }
        let pid = machine.guest("app").pid();
        let limits = machine.ok(&format!("cat /proc/{pid}/limits"));
        let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit of files");
        assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["64", "128"]);
        assert_eq!(machine.ok(&format!("cat /proc/{pid}/oom_score_adj")), "500");
    });
    machine.check("a guest is below its limits, and so is what is executed in it", |machine| {
        let (cgroup, pid) = (machine.guest("app").cgroup(), machine.guest("app").pid());
        let below = cgroup.trim_start_matches("/sys/fs/cgroup");
        let own = machine.ok(&format!("cat /proc/{pid}/cgroup"));
        assert!(own.lines().any(|line| line.starts_with(&format!("0::{below}/"))), "{own}");
        assert_eq!(
            machine.ok(&format!("grep -rlx {pid} {cgroup}/*/cgroup.procs")),
            format!("{cgroup}/guest/cgroup.procs")
        );
        machine.ok("inn exec app sh -c 'cat /dev/zero &' >/dev/null 2>&1");
        let count = machine.ok(&format!("cat {cgroup}/pids.current"));
        assert!(count.parse::<u32>().unwrap() >= 2, "its own, and the one that was executed: {count}");
        // It may still be the shell that becomes it.
        machine.until("inn exec app killall -9 cat", |output| output.code == 0);
    });
    machine.check("a guest cannot change its own limits", |machine| {
        let cgroup = machine.guest("box").cgroup();
        let before = machine.ok(&format!("cat {cgroup}/memory.max"));
        machine
            .run("inn exec box sh -c 'for file in $(find /sys/fs/cgroup -name memory.max); do echo max > $file; done'");
        assert_eq!(machine.ok(&format!("cat {cgroup}/memory.max")), before);
    });
}

fn commands(machine: &mut Machine) {
    machine.check("inn list and inn status show a guest with its limits", |machine| {
        let list = machine.ok("inn list");
        assert!(list.lines().any(|line| line.contains("app") && line.contains("16M")), "{list}");
        let status = machine.ok("inn status app");
        assert!(status.contains("an app at rest") && status.contains("16M"), "{status}");
        let app = machine.guest("app");
        assert_eq!((app.number("memory_limit_bytes"), app.number("processes_limit")), (16 << 20, 16));
        assert_eq!(app.number("cpus_limit_milli"), 500);
    });
    machine.check("inn exec passes input, output and the exit code", |machine| {
        assert_eq!(machine.ok("echo hello | inn exec app tr a-z A-Z"), "HELLO");
        for (command, code) in [
            ("sh -c 'exit 7'", 7),
            ("sh -c 'kill -9 $$'", 128 + 9),
            ("/no/such/program", 127),
            ("/etc/passwd", 126),
            ("true", 0),
        ] {
            assert_eq!(machine.run(&format!("inn exec app {command}")).code, code, "{command}");
        }
    });
    machine.check("wrong requests have their exit codes", |machine| {
        for (command, code) in [
            ("inn status nobody", 3),
            ("inn exec nobody true", 3),
            ("inn nonsense", 2),
            ("inn exec app", 2),
            ("inn --socket /nowhere list", 1),
        ] {
            let output = machine.run(command);
            assert_eq!(output.code, code, "{command}: {}", output.text);
            assert!(!output.text.trim().is_empty(), "{command} says nothing");
        }
    });
    machine.check("an image on a host without loop devices names the module that it needs", |machine| {
        let output = machine.run("printf hsqs > /tmp/image; inn run --image=/tmp/image -- /bin/sh; rm /tmp/image");
        assert!(output.text.contains("modules = loop"), "{}", output.text);
    });
    machine.check("nobody but root may ask", |machine| {
        let output = machine.run("su -s /bin/sh nobody -c 'inn list'");
        assert_ne!(output.code, 0, "{}", output.text);
    });
}

fn nothing_is_left(machine: &mut Machine) {
    machine.check("a stopped guest leaves no process, cgroup, mount or link", |machine| {
        let cgroup = machine.guest("app").cgroup();
        let count = "wc -l < /proc/1/mountinfo; ip -o link | wc -l";
        let with_guests = machine.ok(count);
        for guest in ["app", "box"] {
            let namespace = machine.guest(guest).pid();
            let namespace = machine.ok(&format!("readlink /proc/{namespace}/ns/pid"));
            machine.ok(&format!("inn stop {guest}"));
            assert_eq!(machine.guest(guest).state(), "down");
            let left = machine.run(&format!("ls -l /proc/[0-9]*/ns/pid 2>/dev/null | grep -F '{namespace}'"));
            assert_ne!(left.code, 0, "processes are left: {}", left.text);
        }
        assert_ne!(machine.run(&format!("ls -d {cgroup}/guest")).code, 0, "its cgroup is left");
        assert_eq!(machine.ok(count), with_guests, "mounts and links of the host");
    });
    machine.check("a stopped guest can be started again, and --wait returns when it is ready", |machine| {
        machine.ok("inn start --wait app");
        assert!(machine.guest("app").is_ready());
    });
    machine.check("PID 1 has no zombie, and opened nothing that it keeps", |machine| {
        machine.until("cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | grep -c ^Z", |output| output.text == "0");
        let count = "ls /proc/1/fd | wc -l";
        let before: u32 = machine.ok(count).parse().unwrap();
        machine.ok("for n in 1 2 3 4 5; do inn restart --wait app || exit 1; done");
        // Before, one may have been on its way out.
        machine.until(count, |output| output.text.parse::<u32>().is_ok_and(|now| now <= before));
    });
}

/// The first processes of both guests.
fn pids(machine: &mut Machine) -> (u64, u64) {
    (machine.guest("app").pid(), machine.guest("box").pid())
}

/// A line of /proc/PID/status.
fn field<'t>(status: &'t str, name: &str) -> &'t str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.unwrap_or_else(|| panic!("no {name} in {status}"))
}
