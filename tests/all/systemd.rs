//! `inn supervise` as a unit of a real systemd: a Debian, nothing changed in it but what `make install` brings, is the host.

use std::path::PathBuf;
use std::process::Command;

use crate::distribution;
use crate::machine::{Machine, Recipe, TIMEOUT};
use crate::must;

/// What has nothing to do with it, and takes long to start.
const COMMAND_LINE: &str = "systemd.show_status=0 systemd.mask=systemd-udev-trigger.service \
    systemd.mask=systemd-logind.service systemd.mask=networking.service systemd.mask=e2scrub_reap.service \
    systemd.mask=cron.service systemd.mask=getty.target systemd.mask=systemd-binfmt.service";

/// What `make install` puts below `/usr`, in a tree for an image.
fn installed() -> PathBuf {
    let tree = must::target().join("machines/systemd.tree");
    let _ = std::fs::remove_dir_all(&tree);
    // The program is made already, and not once more meanwhile.
    let inn = must::inn();
    let output = Command::new("make")
        .current_dir(must::project())
        .args(["-s", "-o", "all", "install", "PREFIX=/usr"])
        .args([format!("DESTDIR={}", tree.display()), format!("INN={}", inn.display())])
        .output()
        .expect("make starts");
    assert!(output.status.success(), "{output:?}");
    tree
}

/// A property of the unit.
fn shown(machine: &mut Machine, property: &str) -> String {
    machine.ok(&format!("systemctl show inn -P {property}"))
}

fn pids(machine: &mut Machine) -> [u64; 2] {
    ["web", "slow"].map(|guest| machine.guest_until(guest, |guest| guest.is_ready()).pid())
}

/// Another supervisor has come, and has started its guests anew.
fn await_another(machine: &mut Machine, restarts: &str, before: [u64; 2]) {
    machine.until("systemctl show inn -P NRestarts", |output| output.text == restarts);
    machine.until("systemctl is-active inn", |output| output.text == "active");
    let now = pids(machine);
    assert!(now[0] != before[0] && now[1] != before[1], "{before:?} {now:?}");
    for pid in before {
        assert_ne!(machine.run(&format!("test -d /proc/{pid}")).code, 0, "a guest is left");
    }
}

#[test]
fn systemd_starts_reloads_watches_and_stops_it_and_its_faults_are_no_guests_affair() {
    if !must::root("a Debian is installed into a directory") {
        return;
    }
    let recipe = Recipe { name: "systemd", kernel: "6.1", folder: "systemd", command_line: COMMAND_LINE };
    let tree = installed();
    // What is written is forgotten with the machine.
    let (devices, tree) = (["-m", "768", "-snapshot"], tree.join("usr").display().to_string());
    let more = ["--tree", &format!("{tree}:real/usr")];
    let Some(mut machine) = Machine::boot_with(recipe, &distribution::image(), &devices, &more) else { return };
    machine.check("it is up when its guests are ready", |machine| {
        assert_eq!(machine.ok("readlink /proc/1/exe"), "/usr/lib/systemd/systemd");
        machine.until("systemctl is-active inn", |output| output.text == "active");
        assert_eq!(shown(machine, "StatusText"), "2 guests and services; `inn list` shows them");
        // Who keeps it may be late.
        let journal = machine.until("journalctl -u inn -o cat --no-pager", |output| {
            output.text.contains("guest slow: ready") && output.text.contains("Started inn.service")
        });
        let journal = journal.text;
        let at = |words: &str| journal.find(words).unwrap_or_else(|| panic!("no {words} in {journal}"));
        assert!(at("guest web: started") < at("guest slow: ready"));
        assert!(at("guest slow: ready") < at("Started inn.service"), "{journal}");
    });
    machine.check("its guests are in cgroups below the unit's, with all controllers", |machine| {
        let web = machine.guest("web");
        assert_eq!(web.text("cgroup"), "system.slice/inn.service/inn/web");
        let cgroup = web.cgroup();
        assert_eq!(machine.ok(&format!("cat {cgroup}/memory.max")), "33554432");
        let pid = web.pid();
        assert_eq!(machine.ok(&format!("cat /proc/{pid}/cgroup")), "0::/system.slice/inn.service/inn/web/guest");
    });
    machine.check("it reads its config again", |machine| {
        machine.ok("echo 'description = another' >>/etc/inn.conf; systemctl reload inn");
        assert_eq!(machine.guest("slow").text("description"), "another");
        machine.until("systemctl is-active inn", |output| output.text == "active");
        let broken = machine.run("cp /etc/inn.conf /tmp/; echo no >>/etc/inn.conf; systemctl reload inn");
        assert_ne!(broken.code, 0);
        machine.ok("cp /tmp/inn.conf /etc/");
        machine.until("systemctl is-active inn", |output| output.text == "active");
    });
    machine.check("a fault of it is no guest's affair, nor systemd's", |machine| {
        let (before, main) = (pids(machine), shown(machine, "MainPID"));
        machine.ok("systemctl kill --kill-whom=main -s SEGV inn");
        machine.until("journalctl -u inn -o cat --no-pager", |output| {
            output.text.contains("died and goes on; no guest was stopped")
        });
        assert_eq!((pids(machine), shown(machine, "MainPID")), (before, main));
        assert_eq!(shown(machine, "NRestarts"), "0");
    });
    machine.check("where it is killed its guests start anew", |machine| {
        let before = pids(machine);
        machine.ok("systemctl kill --kill-whom=main -s KILL inn");
        await_another(machine, "1", before);
    });
    machine.check("where it hangs too", |machine| {
        let before = pids(machine);
        machine.ok("systemctl kill --kill-whom=main -s STOP inn");
        await_another(machine, "2", before);
        machine.until("journalctl -u inn -o cat --no-pager", |output| {
            output.text.contains("Failed with result 'watchdog'")
        });
    });
    machine.check("it stops its guests in order, and leaves nothing", |machine| {
        machine.ok("systemctl stop inn");
        let state = machine.ok("systemctl show inn -P ActiveState -P SubState -P Result -P ExecMainStatus");
        assert_eq!(state, "success\n0\ninactive\ndead");
        let journal = machine.until("journalctl -u inn -o cat --no-pager -n 12", |output| {
            output.text.contains("guest slow: down") && output.text.contains("guest web: down")
        });
        let journal = journal.text;
        let at = |words: &str| journal.rfind(words).unwrap_or_else(|| panic!("no {words} in {journal}"));
        assert!(at("guest slow: down") < at("guest web: down"), "{journal}");
        machine.until("test -d /sys/fs/cgroup/system.slice/inn.service", |output| output.code != 0);
        assert_ne!(machine.run("pgrep idle").code, 0);
    });
    machine.check("a machine that goes down waits for its guests", |machine| {
        machine.ok("systemctl start inn");
        pids(machine);
        machine.tell("systemctl poweroff");
        machine.console.wait_for("reboot: Power down", TIMEOUT);
        assert!(machine.wait().success());
    });
    machine.end();
}
