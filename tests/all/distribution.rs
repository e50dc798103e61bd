//! Distributions as guests of kind `os`: a Debian with systemd, nothing changed in it, and a busybox userland. They boot,
//! have their own users, services and cgroups, and end or start again by themselves, and only themselves.

use std::path::PathBuf;
use std::process::Command;

use crate::machine::{Machine, Output, Recipe, TIMEOUT};
use crate::must;

#[test]
fn a_debian_lives_as_a_guest_on_6_1() {
    debian("6.1");
}

#[test]
fn a_debian_lives_as_a_guest_on_6_12() {
    debian("6.12");
}

#[test]
fn a_busybox_userland_lives_as_a_guest_on_5_10() {
    busybox("5.10");
}

#[test]
fn a_busybox_userland_lives_as_a_guest_on_6_12() {
    busybox("6.12");
}

fn debian(kernel: &'static str) {
    if !must::root("a Debian is installed into a directory") {
        return;
    }
    let recipe = Recipe { name: "debian", kernel, folder: "distribution", command_line: "" };
    // What is written is forgotten with the machine.
    let devices = ["-m", "1024", "-snapshot"];
    let Some(mut machine) = Machine::boot_with(recipe, &image(), &devices, &[]) else { return };
    machine.check("it boots to a running system without a failed unit or a warning", |machine| {
        machine.ok("mkdir -p -m 700 /guests/closed && mkdir /guests/closed/debian");
        machine.ok("mount -t ext4 /dev/vda /guests/closed/debian");
        machine.ok("inn start --wait debian");
        is_running(machine);
        let warnings = machine.ok("inn exec debian journalctl -b -p warning -o cat -q --no-pager");
        assert_eq!(warnings, "");
    });
    machine.check("it is ready when its systemd says so, and says how it is", |machine| {
        machine.console.wait_for("guest debian: ready", TIMEOUT);
        let said = machine.guest("debian").text("said").to_owned();
        assert!(said == "Ready." || said.starts_with("Startup finished in "), "{said}");
        // Nothing that it says is refused.
        assert_eq!(machine.run("dmesg | grep 'guest debian: .*\\(notification\\|MAINPID\\)'").text, "");
    });
    machine.check("it knows what runs it, its name, and the system of the host", |machine| {
        assert_eq!(machine.ok("inn exec debian systemd-detect-virt"), "lxc");
        assert_eq!(machine.ok("inn exec debian cat /run/host/container-manager"), "lxc");
        assert_eq!(machine.ok("inn exec debian grep ^ID= /run/host/os-release"), "ID=inn-test");
        assert_eq!(machine.ok("inn exec debian hostname"), "customer");
    });
    machine.check("root logs in on its console, in a session of its own", |machine| {
        let mut console = Console::attach(machine, "debian");
        console.wait_for(machine, "customer login:");
        console.log_in(machine);
        console.type_line(machine, "tty; cat /proc/self/cgroup");
        console.wait_for(machine, "/dev/console");
        console.wait_for(machine, "/user.slice/user-0.slice/session-");
        console.type_line(machine, "exit");
        console.wait_for(machine, "customer login:");
        console.detach(machine);
    });
    machine.check("a service of its own runs under limits of its own", own_service);
    machine.check("its services may be as closed as units ask for", sandbox);
    machine.check("a user of its own has a session, and processes in it", own_user);
    machine.check("reboot inside starts it again, and nothing else", |machine| {
        restarts(machine, "debian", "inn exec debian systemctl reboot");
        is_running(machine);
        // It went down in order the time before.
        let unclean = machine.run("inn exec debian journalctl -b --no-pager | grep -i unclean");
        assert_eq!(unclean.text, "");
    });
    machine.check("poweroff inside ends it, and nothing else", |machine| {
        powers_off(machine, "debian", "inn exec debian systemctl poweroff");
    });
    machine.check("inn stop is a clean stop", |machine| {
        machine.ok("inn start --wait debian");
        is_running(machine);
        stops(machine, "debian", "Halting system");
    });
    machine.end();
}

fn busybox(kernel: &'static str) {
    let recipe = Recipe { name: "busybox", kernel, folder: "distribution", command_line: "" };
    let Some(mut machine) = Machine::boot(recipe) else { return };
    machine.check("it boots, with what its inittab says", |machine| {
        machine.ok("inn start --wait small");
        machine.until("inn exec small cat /var/log/boot", |output| output.text == "small booted");
        machine.until("inn exec small ps", |output| output.text.contains("/bin/idle"));
    });
    machine.check("root logs in on its console", |machine| {
        let mut console = Console::attach(machine, "small");
        console.wait_for(machine, "small login:");
        console.log_in(machine);
        console.type_line(machine, "tty; id -u");
        console.wait_for(machine, "/dev/console");
        console.type_line(machine, "exit");
        console.wait_for(machine, "small login:");
        console.detach(machine);
    });
    machine.check("a service that ends is started again by its own init", |machine| {
        let idle = "inn exec small pidof idle";
        let before = machine.until(idle, |output| output.code == 0).text;
        machine.ok(&format!("inn exec small kill -9 {before}"));
        machine.until(idle, |output| output.code == 0 && output.text != before);
    });
    machine.check("a user of its own is no one else, and cgroups of its own hold processes", |machine| {
        let who = machine.ok("inn exec small su bob -c \"id -u; cat /etc/shadow >/dev/null 2>&1 || echo 1001\"");
        assert!(who.starts_with("1001"), "{who}");
        let moved = "inn exec small sh -c \"mkdir /sys/fs/cgroup/own && echo 0 > /sys/fs/cgroup/own/cgroup.procs && cat /proc/self/cgroup\"";
        assert!(machine.ok(moved).lines().any(|line| line == "0::/own"));
    });
    machine.check("reboot inside starts it again, and nothing else", |machine| {
        restarts(machine, "small", "inn exec small reboot");
    });
    machine.check("poweroff inside ends it, and nothing else", |machine| {
        machine.until("inn exec small cat /var/log/boot", |output| output.text == "small booted");
        powers_off(machine, "small", "inn exec small poweroff");
    });
    machine.check("inn stop is a clean stop", |machine| {
        machine.ok("inn start --wait small");
        machine.until("inn exec small cat /var/log/boot", |output| output.text == "small booted");
        stops(machine, "small", "it goes down in order");
    });
    machine.check("a guest that is not of that kind, or is down, has no console, and says so", |machine| {
        let app = machine.run("inn console bystander </dev/null");
        assert!(app.code == 4 && app.text.contains("it has no console"), "{}: {}", app.code, app.text);
        let down = machine.run("inn console small </dev/null");
        assert!(down.code == 4 && down.text.contains("does not run"), "{}: {}", down.code, down.text);
    });
    machine.end();
}

/// The file system of a Debian, installed unless another test has.
pub fn image() -> PathBuf {
    let made = Command::new("python3").arg(must::project().join("images/debian.py")).arg("system").output();
    let made = made.expect("python3 starts");
    assert!(made.status.success(), "images/debian.py: {}", String::from_utf8_lossy(&made.stderr));
    PathBuf::from(String::from_utf8_lossy(&made.stdout).trim()).join("root.ext4")
}

fn is_running(machine: &mut Machine) {
    machine.until("inn exec debian systemctl is-system-running --wait", |Output { code, text }| {
        assert!(!text.contains("degraded"), "{text}");
        *code == 0 && text == "running"
    });
    no_unit_failed(machine);
}

fn no_unit_failed(machine: &mut Machine) {
    assert_eq!(machine.ok("inn exec debian systemctl --no-pager --failed --plain --no-legend"), "");
}

fn own_service(machine: &mut Machine) {
    let unit =
        "[Service]\\nExecStart=/bin/sleep 86400\\nMemoryMax=20M\\nTasksMax=5\\nDynamicUser=yes\\nStateDirectory=own\\n";
    machine.ok(&format!("printf '{unit}' | inn exec debian sh -c 'cat > /etc/systemd/system/own.service'"));
    machine.ok("inn exec debian systemctl daemon-reload");
    machine.ok("inn exec debian systemctl start own");
    let cgroup = format!("{}/guest/system.slice/own.service", machine.guest("debian").cgroup());
    assert_eq!(machine.ok(&format!("cat {cgroup}/memory.max {cgroup}/pids.max")), "20971520\n5");
    let base: u64 = machine.ok("sed 's/.* //; q' /proc/self/uid_map").parse().expect("a number");
    assert!(base > 65_536, "the host has all users");
    // It is there once its process has put itself there.
    machine.until(&format!("cat {cgroup}/cgroup.procs"), |output| !output.text.is_empty());
    let user: u64 =
        machine.ok(&format!("stat -c %u /proc/$(head -n 1 {cgroup}/cgroup.procs)")).parse().expect("a user");
    assert!(user > 65_536, "the service is a user of the guest's range, not {user}");
    let hog = machine.run(
        "inn exec debian systemd-run --quiet --wait --unit=hog -p MemoryMax=20M -p MemorySwapMax=0 tail /dev/zero",
    );
    assert_ne!(hog.code, 0);
    assert_eq!(machine.ok("inn exec debian systemctl --no-pager show -P Result hog"), "oom-kill");
    machine.ok("inn exec debian systemctl reset-failed hog");
    no_unit_failed(machine);
}

fn sandbox(machine: &mut Machine) {
    let options = [
        "DynamicUser=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "PrivateNetwork=yes",
        "PrivateIPC=yes",
        "ProtectSystem=strict",
        "ProtectHome=tmpfs",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
        "ProtectClock=yes",
        "ProtectProc=invisible",
        "RestrictNamespaces=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
        "StateDirectory=closed",
        "InaccessiblePaths=/srv",
    ];
    let options: String = options.iter().map(|option| format!(" -p {option}")).collect();
    let command = "sh -c 'id -u && ! touch /etc/x 2>/dev/null'";
    let user = machine.ok(&format!("inn exec debian systemd-run -q --wait --pipe --unit=closed {options} {command}"));
    // systemd's range for such users (systemd.exec(5), DynamicUser=).
    assert!((61184..=65519).contains(&user.parse::<u32>().expect("a number")), "{user}");
}

fn own_user(machine: &mut Machine) {
    machine.ok("inn exec debian useradd -m alice");
    machine.ok("echo alice:wonder | inn exec debian chpasswd");
    let session = machine.ok("inn exec debian su - alice -c 'id -un; pwd; cat /proc/self/cgroup'");
    assert!(session.starts_with("alice\n/home/alice\n"), "{session}");
    assert!(session.contains("/user.slice/user-1000.slice/session-"), "{session}");
    machine.ok("inn exec debian loginctl enable-linger alice");
    machine.until("inn exec debian systemctl is-active user@1000", |output| output.text == "active");
    no_unit_failed(machine);
    assert_eq!(machine.ok("inn exec debian systemctl is-system-running"), "running");
}

/// Runs `command`, after which `guest` is to be another one, and nobody else.
fn restarts(machine: &mut Machine, guest: &str, command: &str) {
    let (before, bystander) = (machine.guest(guest), machine.guest("bystander").pid());
    // It may go with the guest.
    machine.run(command);
    machine.console.wait_for(&format!("guest {guest}: rebooted from inside"), TIMEOUT);
    let restarts = before.number("restarts") + 1;
    machine.guest_until(guest, |now| now.is_ready() && now.pid() != before.pid() && now.number("restarts") == restarts);
    assert_eq!(machine.guest("bystander").pid(), bystander);
}

/// Runs `command`, after which `guest` is to be down, and stay so, though its policy is to start again what ends.
fn powers_off(machine: &mut Machine, guest: &str, command: &str) {
    let (before, bystander) = (machine.guest(guest), machine.guest("bystander").pid());
    machine.run(command);
    machine.console.wait_for(&format!("guest {guest}: powered off from inside"), TIMEOUT);
    let now = machine.guest_until(guest, |guest| guest.state() == "down");
    assert_eq!(now.number("restarts"), before.number("restarts"));
    assert_eq!(machine.guest("bystander").pid(), bystander);
}

/// Stops `guest`, which is to end by itself, with `last_words` on its console.
fn stops(machine: &mut Machine, guest: &str, last_words: &str) {
    let count = format!("inn logs {guest} | grep -c '{last_words}' || true");
    let before: u32 = machine.ok(&count).parse().expect("a number");
    machine.ok(&format!("inn stop {guest}"));
    machine.console.wait_for(&format!("guest {guest}: stopping"), TIMEOUT);
    machine.console.wait_for(&format!("guest {guest}: powered off from inside"), TIMEOUT);
    assert_eq!(machine.ok(&count).parse(), Ok(before + 1), "its last words");
    assert_eq!(machine.guest_until(guest, |guest| guest.state() == "down").text("exit_reason"), "exit code 0");
    assert_ne!(machine.run(&format!("ls -d /sys/fs/cgroup/inn/{guest}")).code, 0, "nothing of it is left");
}

/// `inn console` of a guest on the machine, by pipes.
struct Console {
    guest: String,
    /// Lines of its output that have been looked at.
    seen: usize,
}

impl Console {
    fn attach(machine: &mut Machine, guest: &str) -> Console {
        let (input, output) = (format!("/run/{guest}.in"), format!("/run/{guest}.out"));
        machine.ok(&format!("mkfifo {input}"));
        machine.ok(&format!("setsid sleep 3600 </dev/null >{input} 2>&1 & echo $! >/run/{guest}.pid"));
        machine.ok(&format!("setsid inn console {guest} <{input} >{output} 2>&1 &"));
        Console { guest: guest.to_owned(), seen: 0 }
    }

    fn type_line(&mut self, machine: &mut Machine, line: &str) {
        // What comes is to be what this line brings.
        self.seen = self.text(machine).len();
        machine.ok(&format!("echo '{line}' >/run/{}.in", self.guest));
    }

    fn wait_for(&mut self, machine: &mut Machine, words: &str) {
        let seen = self.seen;
        machine.until(&format!("cat /run/{}.out", self.guest), |output| {
            output.text.get(seen..).is_some_and(|new| new.contains(words))
        });
    }

    fn log_in(&mut self, machine: &mut Machine) {
        self.type_line(machine, "root");
        self.wait_for(machine, "Password:");
        self.type_line(machine, "secret");
        self.wait_for(machine, "# ");
    }

    /// The end of its input detaches it.
    fn detach(self, machine: &mut Machine) {
        machine.ok(&format!("kill $(cat /run/{}.pid)", self.guest));
        machine.until("ps -o args | grep \"^inn console\"", |output| output.code != 0);
        machine.ok(&format!("rm /run/{0}.in /run/{0}.out /run/{0}.pid", self.guest));
    }

    fn text(&self, machine: &mut Machine) -> String {
        machine.ok(&format!("cat /run/{}.out", self.guest))
    }
}
