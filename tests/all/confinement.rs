//! What a guest may do, by word: capabilities, system calls, devices, features. On this host, as the kernel says it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::machine::{Machine, Recipe};
use crate::must;
use crate::private::{self, Supervisor};

/// The program that looks and tries, from inside.
pub fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let probe = must::target().join(format!("tmp/probe.{}", std::process::id()));
        fs::create_dir_all(probe.parent().unwrap()).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&probe);
        let status = gcc.arg(must::project().join("tests/probes/probe.c")).status();
        assert!(status.expect("gcc starts (Debian: gcc libc6-dev)").success(), "gcc failed");
        probe
    })
}

/// A root with a shell and the probe in it.
pub fn root(name: &str) -> PathBuf {
    let root = private::busybox(name);
    must::install(probe(), root.join("bin/probe"));
    root
}

/// What `inn run` with `options` gave, of `command` in a root called `name`.
fn run(name: &str, options: &[&str], command: &[&str]) -> Output {
    let mut inn = Command::new(must::inn());
    inn.args(["run", "--root"]).arg(root(name)).args(options).arg("--").args(command).output().expect("inn starts")
}

/// What a program wrote, to both.
pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A number of /proc/PID/status, in hexadecimal.
fn set(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    u64::from_str_radix(line.unwrap_or_else(|| panic!("no {name} in {status}")), 16).unwrap()
}

// capabilities(7)
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const NET_BIND: u64 = 1 << 10;
const SYS_TIME: u64 = 1 << 25;
const ALL: u64 = (1 << 41) - 1;

/// What a guest of kind `os` keeps, with users of its own and without.
const OS: u64 = 0x9cec_ffff;
const OS_OF_THE_HOST: u64 = 0x8004_bdfb;

/// Of a guest: its name, its lines, its bounds, what its program can use, and what that hands down.
const SETS: [(&str, &str, u64, u64, u64); 12] = [
    ("app-root", "kind = app", 0, 0, 0),
    ("app-user", "kind = app\nuser = 1000", 0, 0, 0),
    (
        "app-root-given",
        "kind = app\ncaps = +net_admin +net_raw",
        NET_ADMIN | NET_RAW,
        NET_ADMIN | NET_RAW,
        NET_ADMIN | NET_RAW,
    ),
    ("app-user-given", "kind = app\nuser = 1000\ncaps = +cap_net_admin", NET_ADMIN, NET_ADMIN, NET_ADMIN),
    ("app-host", "kind = app\nuserns = none\ncaps = +sys_time", SYS_TIME, SYS_TIME, SYS_TIME),
    ("os-root", "kind = os", OS, OS, 0),
    ("os-user", "kind = os\nuser = 1000", OS, 0, 0),
    ("os-root-given", "kind = os\ncaps = +sys_time -net_raw", OS & !NET_RAW | SYS_TIME, OS & !NET_RAW | SYS_TIME, 0),
    ("os-user-given", "kind = os\nuser = 1000\ncaps = +net_bind_service", OS, NET_BIND, NET_BIND),
    ("os-host", "kind = os\nuserns = none", OS_OF_THE_HOST, OS_OF_THE_HOST, 0),
    ("os-all", "kind = os\ncaps = +all", ALL, ALL, 0),
    ("os-nothing", "kind = os\ncaps = -all", 0, 0, 0),
];

#[test]
fn a_program_has_the_capabilities_of_its_kind_and_words_at_a_start_and_at_exec() {
    if !must::root("a_program_has_the_capabilities_of_its_kind_and_words_at_a_start_and_at_exec") {
        return;
    }
    let root = root("capabilities");
    let sections = SETS.map(|(name, lines, ..)| {
        format!("[guest {name}]\nroot = {}\nreadonly = yes\ncommand = /bin/probe\n{lines}\n", root.display())
    });
    let supervisor = Supervisor::start("capabilities", &sections.concat());
    supervisor.await_answer();
    for (name, _, bounds, usable, handed_down) in SETS {
        let facts = supervisor.await_ready(name);
        let mut exec = supervisor.command(&["exec", name, "/bin/probe"]).spawn().expect("inn starts");
        let first = facts["pid"].as_u64().unwrap() as u32;
        supervisor.wait_for("a process that entered", |this| this.entered(name, first).is_some());
        let entered = supervisor.entered(name, first).unwrap();
        let is_app = name.starts_with("app");
        for (pid, how) in [(first, "start"), (entered, "exec")] {
            let sets = ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"].map(|name| set(pid, name));
            assert_eq!(sets, [bounds, usable, usable, handed_down, handed_down], "{name} by {how}: {sets:x?}");
            assert_eq!((set(pid, "NoNewPrivs"), set(pid, "Seccomp")), (is_app.into(), 2), "{name} by {how}");
        }
        supervisor.inn(&["kill", name]);
        let _ = exec.wait();
    }
}

#[test]
fn a_call_that_is_opened_goes_through_and_no_other() {
    if !must::root("a_call_that_is_opened_goes_through_and_no_other") {
        return;
    }
    let calls = ["/bin/probe", "call", "bpf", "keyctl", "clone3", "acct", "userfaultfd"];
    for (options, expected) in [
        (&["--kind", "os"][..], ["EPERM", "EPERM", "ENOSYS", "EPERM", "EPERM"]),
        (&["--kind", "os", "--seccomp", "default"], ["EPERM", "EPERM", "ENOSYS", "EPERM", "EPERM"]),
        // What the kernel itself says to such arguments; acct takes a capability that no guest has.
        (&["--kind", "os", "--seccomp", "+bpf +keyctl"], ["EINVAL", "EOPNOTSUPP", "ENOSYS", "EPERM", "EPERM"]),
        (&["--kind", "app", "--seccomp", "+keyctl +clone3"], ["EPERM", "EOPNOTSUPP", "EINVAL", "EPERM", "EPERM"]),
        (&["--kind", "os", "--seccomp", "none"], ["EINVAL", "EOPNOTSUPP", "EINVAL", "EPERM", "EINVAL"]),
        (&["--kind", "app", "--seccomp", "none"], ["EINVAL", "EOPNOTSUPP", "EINVAL", "EPERM", "EINVAL"]),
    ] {
        let options = [options, &["--readonly"]].concat();
        let text = told(&run("calls", &options, &calls));
        let got: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(got, expected, "{options:?}: {text}");
    }
}

#[test]
fn namespaces_of_users_are_made_with_nesting_only() {
    if !must::root("namespaces_of_users_are_made_with_nesting_only") {
        return;
    }
    let users = |options: &[&str]| told(&run("users", options, &["/bin/probe", "users"]));
    assert_eq!(users(&["--kind", "os", "--ephemeral"]), "users EPERM\n");
    assert_eq!(users(&["--kind", "app"]), "users EPERM\n");
    assert_eq!(users(&["--kind", "os", "--ephemeral", "--nesting", "yes"]), "users ok\n");
}

#[test]
fn a_distribution_gets_no_thread_of_the_kernel_for_a_trigger_on_pressure() {
    if !must::root("a_distribution_gets_no_thread_of_the_kernel_for_a_trigger_on_pressure") {
        return;
    }
    // Half a second in half a second. Linux 6.5 is the first to ask for sys_resource, in the guest's own user namespace.
    let trigger = "(exec -a mkdir /bin/sh /sys/fs/cgroup/one) && exec 3<>/sys/fs/cgroup/one/cpu.pressure && \
                   echo some 500000 500000 >&3 && echo taken";
    let taken = |caps: &[&str]| {
        let options = [&["--kind", "os", "--ephemeral"], caps].concat();
        told(&run("triggers", &options, &["/bin/sh", "-c", trigger]))
    };
    if taken(&["--caps", "+sys_resource"]).ends_with("taken\n") && is_at_least(6, 5) {
        let refused = taken(&[]);
        assert!(refused.contains("write error"), "{refused}");
    }
}

/// Whether this host's kernel is so new.
fn is_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc");
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().expect("a number"));
    (numbers.next(), numbers.next()) >= (Some(major), Some(minor))
}

#[test]
fn a_device_is_there_and_may_be_used_as_was_said_and_no_other() {
    if !must::root("a_device_is_there_and_may_be_used_as_was_said_and_no_other") {
        return;
    }
    let root = root("devices");
    // Files of the host's devices in the root, as only the host can make them there.
    for (name, minor) in [("control", "237"), ("fuse", "229")] {
        let path = root.join("bin").join(name);
        let _ = fs::remove_file(&path);
        let made = Command::new("mknod").args(["-m", "666"]).arg(&path).args(["c", "10", minor]).status();
        assert!(made.expect("mknod starts").success());
    }
    // The harmless ones; the host's by what is in the root, which a distribution may free from `nodev`; and making one.
    let own = "probe open /dev/null rw /dev/zero r /dev/full w /dev/random r /dev/urandom r /dev/ptmx rw; probe remount; \
               probe open /bin/control rw /bin/fuse rw; probe make /dev/new c 1 3; probe make /tmp/disk b 7 0";
    let fine = "/dev/null ok\n/dev/zero ok\n/dev/full ok\n/dev/random ok\n/dev/urandom ok\n/dev/ptmx ok\n";
    let refused = "/bin/control EPERM\n/bin/fuse EPERM\n/dev/new EPERM\n/tmp/disk EPERM\n";
    for options in
        [&["--kind", "os", "--ephemeral"][..], &["--kind", "os", "--ephemeral", "--caps", "+mknod +sys_admin"]]
    {
        let text = told(&run("devices", options, &["/bin/sh", "-c", own]));
        assert_eq!(text, format!("{fine}remount ok\n{refused}"), "{options:?}");
    }
    // Without users of its own, and with what takes to mount and to make: the program is all that is left.
    let options = ["--kind", "os", "--ephemeral", "--userns", "none", "--caps", "+mknod +sys_admin"];
    let text = told(&run("devices", &options, &["/bin/sh", "-c", own]));
    assert_eq!(text, format!("{fine}remount ok\n{refused}"));
    // An app does not get as far.
    let text = told(&run("devices", &["--kind", "app"], &["/bin/sh", "-c", own]));
    assert_eq!(
        text,
        format!(
            "{fine}remount EPERM\n{}",
            refused.replace("/bin/control EPERM\n/bin/fuse EPERM", "/bin/control EACCES\n/bin/fuse EACCES")
        )
    );
    let given = "probe open /dev/loop-control r /dev/loop-control w /dev/loop-control rw";
    for (access, expected) in [
        ("", "ok ok ok"),
        ("rw", "ok ok ok"),
        ("r", "ok EPERM EPERM"),
        ("w", "EPERM ok EPERM"),
        ("m", "EPERM EPERM EPERM"),
    ] {
        for kind in ["os", "app"] {
            let device = format!("/dev/loop-control {access}");
            let options = ["--kind", kind, "--readonly", "--user", "1000:50", "--device", device.trim_end()];
            let text = told(&run("devices", &options, &["/bin/sh", "-c", given]));
            let got: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(1)).collect();
            assert_eq!(got.join(" "), expected, "{options:?}: {text}");
        }
    }
    // To make it, which no user of a guest's own may.
    for (access, expected) in [("m", "/dev/new ok\n"), ("rw", "/dev/new EPERM\n")] {
        let device = format!("/dev/loop-control {access}");
        let options = ["--kind", "os", "--ephemeral", "--userns", "none", "--caps", "+mknod", "--device", &device];
        let text = told(&run("devices", &options, &["/bin/probe", "make", "/dev/new", "c", "10", "237"]));
        assert_eq!(text, expected, "{access}");
    }
}

#[test]
fn a_program_of_the_kernel_guards_all_that_is_in_a_guests_cgroup() {
    if !must::root("a_program_of_the_kernel_guards_all_that_is_in_a_guests_cgroup") {
        return;
    }
    let root = root("guard");
    let guest = |kind| {
        format!("[guest {kind}]\nkind = {kind}\nroot = {}\nreadonly = yes\ncommand = /bin/probe\n", root.display())
    };
    let service = "[service service]\ncommand = /bin/sleep 1000\n";
    let supervisor = Supervisor::start("guard", &(guest("os") + &guest("app") + service));
    supervisor.await_answer();
    for (name, expected) in [("os", "1 attached"), ("app", "1 attached"), ("service", "0 attached")] {
        supervisor.await_ready(name);
        let output = Command::new(probe()).arg("guards").arg(supervisor.cgroup(name)).output();
        assert_eq!(told(&output.unwrap()), format!("{expected}\n"), "{name}");
        // What enters is below it, too.
        let mut entered =
            supervisor.command(&["exec", name, "/bin/sh", "-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
        supervisor.wait_for("a process that entered", |this| this.members(name).len() == 2);
        drop(entered.stdin.take());
        entered.wait().unwrap();
    }
}

#[test]
fn a_device_that_the_host_has_not_keeps_its_guest_down_and_says_where_it_was_asked_for() {
    if !must::root("a_device_that_the_host_has_not_keeps_its_guest_down_and_says_where_it_was_asked_for") {
        return;
    }
    let root = root("no-device");
    let guest = |name: &str, device: &str| {
        format!(
            "[guest {name}]\nkind = app\nroot = {}\ncommand = /bin/probe\nrestart = never\ndevice = {device}\n",
            root.display()
        )
    };
    // A directory is no device.
    let config = guest("none", "/dev/null-null") + &guest("folder", "/dev/net");
    let supervisor = Supervisor::start("no-device", &config);
    supervisor.await_answer();
    for (name, line, words) in [("none", ":6", "ENOENT"), ("folder", ":12", "ENODEV")] {
        supervisor.wait_for("a failed start", |this| this.facts(name)["state"] == "failed");
        let output = supervisor.inn(&["status", name]);
        let text = told(&output);
        assert!(text.contains(words) && text.contains("key device") && text.contains(line), "{name}: {text}");
    }
}

#[test]
fn a_feature_brings_all_that_it_takes() {
    if !must::root("a_feature_brings_all_that_it_takes") {
        return;
    }
    for (options, what, without, with) in [
        (&["--kind", "os", "--ephemeral"][..], "tun", "open ENOENT\ntun EBADF\n", "open ok\ntun ok\n"),
        (&["--kind", "app", "--user", "1000"], "tun", "open ENOENT\ntun EBADF\n", "open ok\ntun ok\n"),
        (&["--kind", "os", "--ephemeral"], "fuse", "open ENOENT\nfuse EINVAL\n", "open ok\nfuse ok\n"),
        (&["--kind", "os", "--ephemeral", "--userns", "none"], "time", "clock EPERM\n", "clock ok\n"),
        (&["--kind", "app", "--user", "1000", "--userns", "none"], "time", "clock EPERM\n", "clock ok\n"),
    ] {
        let probe = if what == "time" { "clock" } else { what };
        assert_eq!(told(&run("features", options, &["/bin/probe", probe])), without, "{options:?} without {what}");
        let options = [options, &["--features", what]].concat();
        assert_eq!(told(&run("features", &options, &["/bin/probe", probe])), with, "{options:?}");
    }
}

#[test]
fn what_was_given_works_and_nothing_else_on_5_10() {
    look_at_what_was_given("5.10");
}

#[test]
fn what_was_given_works_and_nothing_else_on_6_1() {
    look_at_what_was_given("6.1");
}

#[test]
fn what_was_given_works_and_nothing_else_on_6_12() {
    look_at_what_was_given("6.12");
}

fn look_at_what_was_given(kernel: &'static str) {
    let disk = must::target().join(format!("machines/given-{kernel}.img"));
    fs::create_dir_all(disk.parent().unwrap()).expect("a directory");
    let mut content = vec![0; 1 << 20];
    content[..6].copy_from_slice(b"s3cret");
    fs::write(&disk, content).expect("a file");
    let recipe = Recipe { name: "confinement", kernel, folder: "confinement", command_line: "" };
    let Some(mut machine) = Machine::boot_with_disk(recipe, &disk) else { return };
    machine.check("every guest whose devices are there becomes ready", |machine| {
        for guest in ["bare", "disk", "net", "app"] {
            machine.guest_until(guest, |guest| guest.is_ready());
        }
    });
    machine.check("a device that the host has not keeps its guest down, and says why", |machine| {
        machine.guest_until("lost", |guest| guest.state() == "failed");
        let status = machine.ok("inn status lost");
        assert!(status.contains("device") && status.contains("ENOENT") && status.contains("inn.conf:"), "{status}");
    });
    machine.check("a disk that was given can be read, and not written to", |machine| {
        assert_eq!(machine.ok("inn exec disk head -c 6 /dev/vda"), "s3cret");
        assert_ne!(machine.run("inn exec disk dd if=/dev/zero of=/dev/vda bs=512 count=1").code, 0);
        assert_eq!(machine.ok("head -c 6 /dev/vda"), "s3cret");
    });
    machine.check("a disk that an app's user may write to it writes to, and does not read", |machine| {
        machine.ok("inn exec app dd if=/proc/self/comm of=/dev/vda bs=4 seek=1024 conv=notrunc");
        assert_ne!(machine.run("inn exec app head -c 6 /dev/vda").code, 0);
    });
    machine.check("a disk whose file the host made in a guest's root stays closed", |machine| {
        let number = machine.ok("cat /sys/class/block/vda/dev").replace(':', " ");
        // The root is a copy in memory, and the host's root may make files in it.
        let mut open = |guest: &str| {
            let pid = machine.guest(guest).pid();
            machine.ok(&format!("mknod -m 666 /proc/{pid}/root/root-disk b {number}"));
            machine.ok(&format!("inn exec {guest} mount -o remount,bind,dev,suid /"));
            machine.run(&format!("inn exec {guest} head -c 6 /root-disk"))
        };
        for guest in ["bare", "net"] {
            let output = open(guest);
            assert!(output.code != 0 && !output.text.contains("s3cret"), "{guest}: {}", output.text);
        }
        // It is not the file: where the disk was given, the same one opens.
        assert_eq!(open("disk").text, "s3cret");
    });
    machine.check("a guest removes files of its template as before", |machine| {
        machine.ok("inn exec bare sh -c 'rm /bin/clock && test ! -e /bin/clock'");
    });
    machine.check("with tun a guest makes a network device of its own", |machine| {
        for guest in ["net", "app"] {
            machine.ok(&format!("inn exec {guest} tunctl -t tun7"));
            assert!(machine.ok(&format!("inn exec {guest} ip -o link")).contains("tun7"));
        }
        assert!(!machine.ok("ip -o link").contains("tun7"));
        assert_ne!(machine.run("inn exec bare tunctl -t tun7").code, 0);
    });
    machine.check("with fuse a guest's root mounts", |machine| {
        let mount = "mkdir -p /run/f; exec 3<>/dev/fuse; \
                     mount -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 x /run/f; grep -c fuse /proc/mounts";
        assert_eq!(machine.ok(&format!("inn exec net sh -c '{mount}'")), "1");
        assert_ne!(machine.run(&format!("inn exec bare sh -c '{mount}'")).code, 0);
    });
    machine.end();
    let _ = fs::remove_file(disk);
}

#[test]
fn status_says_what_a_guest_may_do() {
    if !must::root("status_says_what_a_guest_may_do") {
        return;
    }
    let root = root("bounds");
    let head = format!("root = {}\nreadonly = yes\ncommand = /bin/probe", root.display());
    let supervisor = Supervisor::start(
        "bounds",
        &format!(
            "[guest os]\nkind = os\n{head}\ncaps = +sys_time -net_raw\nseccomp = +bpf\ndevice = /dev/null-null r\n\
             autostart = no\n[guest app]\nkind = app\n{head}\n[guest host]\nkind = os\nuserns = none\nseccomp = none\n{head}\n\
             [guest nest]\nkind = os\nnesting = yes\n{head}\n[service one]\ncommand = /bin/sleep 1000\n"
        ),
    );
    supervisor.await_answer();
    let os = supervisor.facts("os");
    let has =
        |facts: &serde_json::Value, list: &str, name: &str| facts[list].as_array().unwrap().iter().any(|it| it == name);
    assert!(has(&os, "capabilities", "sys_time") && has(&os, "capabilities", "sys_admin"), "{os}");
    assert!(!has(&os, "capabilities", "net_raw") && !has(&os, "capabilities", "sys_module"), "{os}");
    assert_eq!(os["capabilities"].as_array().unwrap().len(), OS.count_ones() as usize);
    assert_eq!(os["capabilities_given"], serde_json::json!(["sys_time"]));
    assert_eq!((&os["filter"], &os["calls_opened"]), (&"os".into(), &serde_json::json!(["bpf"])));
    assert_eq!(os["devices"], serde_json::json!([{"path": "/dev/null-null", "access": "r"}]));
    assert_eq!((&os["no_new_privs"], &os["masks"], &os["nesting"]), (&false.into(), &"locked".into(), &false.into()));
    let app = supervisor.facts("app");
    assert_eq!((&app["capabilities"], &app["filter"]), (&serde_json::json!([]), &"app".into()));
    assert_eq!((&app["no_new_privs"], &app["masks"]), (&true.into(), &"kept".into()));
    let host = supervisor.facts("host");
    assert_eq!(
        (&host["filter"], &host["users"], &host["masks"]),
        (&"none".into(), &serde_json::Value::Null, &"kept".into())
    );
    let nest = supervisor.facts("nest");
    assert_eq!((&nest["nesting"], &nest["masks"]), (&true.into(), &"removable".into()));
    // What is unlike its kind, in words.
    let words = told(&supervisor.inn(&["status", "os"]));
    for line in [
        "capabilities as every os has, +sys_time -net_raw",
        "calls        filtered, +bpf",
        "device       /dev/null-null r",
    ] {
        assert!(words.lines().any(|it| it.trim() == line), "no {line} in {words}");
    }
    assert!(told(&supervisor.inn(&["status", "app"])).contains("capabilities none\n"));
    assert!(told(&supervisor.inn(&["status", "host"])).contains("calls        not filtered\n"));
    assert!(told(&supervisor.inn(&["status", "--plain", "os"])).contains("device\t/dev/null-null r\n"));
    assert!(!told(&supervisor.inn(&["status", "one"])).contains("calls "));
}
