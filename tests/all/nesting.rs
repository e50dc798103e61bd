//! Guests of a guest: `inn` inside, with users, devices and limits of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use innkeep::limits::{USER_RANGE, USER_RANGES_NESTING};

use crate::machine::{Machine, Recipe};
use crate::must;
use crate::private::{Supervisor, busybox};

/// A root with `inn` in it, a root for a guest inside, and a config that has two guests there.
pub fn root(name: &str) -> PathBuf {
    let root = busybox(&format!("nest-{name}"));
    for top in [root.clone(), root.join("inner")] {
        for folder in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
            fs::create_dir_all(top.join(folder)).unwrap();
        }
        for program in ["sh", "sleep", "cat", "id", "stat", "mount"] {
            must::install(root.join("bin/reboot"), top.join("bin").join(program));
        }
    }
    must::install(must::inn(), root.join("bin/inn"));
    let config = "[guest web]\nkind = app\nroot = /inner\ncommand = /bin/sleep 1000\nstop = SIGKILL\n\
                  [guest box]\nkind = os\nroot = /inner\nephemeral = yes\ncommand = /bin/sleep 1000\nstop = SIGKILL\n";
    fs::write(root.join("etc/inn.conf"), config).unwrap();
    root
}

/// What `script` gives in a guest that may have guests.
fn run(name: &str, script: &str) -> Output {
    let root = format!("--root={}", root(name).display());
    let mut command = Command::new(must::inn());
    command.args(["run", "--kind=os", "--nesting=yes", "--readonly=no", &root, "--", "/bin/sh", "-c", script]);
    command.stdin(Stdio::null()).output().expect("inn starts")
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[test]
fn a_guest_of_a_guest_has_users_out_of_its_range_and_devices_that_work() {
    if !must::root("a_guest_of_a_guest_has_users_out_of_its_range_and_devices_that_work") {
        return;
    }
    for options in
        ["--root=/inner", "--root=/inner --kind=os --ephemeral=yes", "--root=/inner --kind=os --readonly=yes"]
    {
        let inside = "cat /proc/self/uid_map; stat -c %u /bin/sh; echo x > /dev/null && cat /dev/null && echo devices";
        let output = run("users", &format!("cat /proc/self/uid_map; inn run {options} -- /bin/sh -c '{inside}'"));
        let said = said(&output);
        assert_eq!(output.status.code(), Some(0), "{options}: {said}");
        let mut lines = said.lines();
        let mut map = || -> Vec<u32> {
            let words = lines.next().unwrap_or_else(|| panic!("{said}")).split_whitespace();
            words.map(|word| word.parse().unwrap_or_else(|_| panic!("{said}"))).collect()
        };
        let (outer, inner) = (map(), map());
        assert_eq!((outer[0], outer[2]), (0, USER_RANGES_NESTING * USER_RANGE));
        assert_eq!((inner[0], inner[2]), (0, USER_RANGE));
        assert!(inner[1] >= USER_RANGE && inner[1] + inner[2] <= outer[2], "as the guest around it counts: {inner:?}");
        assert_eq!(lines.collect::<Vec<_>>(), ["0", "devices"], "{options}");
    }
}

#[test]
fn a_guest_without_nesting_has_no_guests() {
    if !must::root("a_guest_without_nesting_has_no_guests") {
        return;
    }
    let root = format!("--root={}", root("without").display());
    let mut command = Command::new(must::inn());
    command.args([
        "run",
        "--kind=os",
        "--readonly=no",
        &root,
        "--",
        "/bin/inn",
        "run",
        "--root=/inner",
        "--",
        "/bin/id",
    ]);
    let output = command.stdin(Stdio::null()).output().expect("inn starts");
    assert!(!output.status.success() && !said(&output).contains("uid=0"), "{}", said(&output));
}

#[test]
fn a_root_inside_that_only_the_host_could_map_is_refused_where_it_would_be_written_to() {
    if !must::root("a_root_inside_that_only_the_host_could_map_is_refused_where_it_would_be_written_to") {
        return;
    }
    let script = "cd / && /bin/busybox mkdir -p /closed/inner && /bin/busybox chmod 700 /closed && inn run --root=/closed/inner --readonly=no -- /bin/id; echo $?";
    let root = root("refused");
    must::install(root.join("bin/sh"), root.join("bin/busybox"));
    let mut command = Command::new(must::inn());
    let root = format!("--root={}", root.display());
    command.args(["run", "--kind=os", "--nesting=yes", "--readonly=no", &root, "--", "/bin/sh", "-c", script]);
    let said = said(&command.stdin(Stdio::null()).output().expect("inn starts"));
    assert!(said.contains("map the owners of its root") && said.contains("125"), "{said}");
}

#[test]
fn a_supervisor_in_a_guest_has_guests_and_ends_with_it() {
    if !must::root("a_supervisor_in_a_guest_has_guests_and_ends_with_it") {
        return;
    }
    let root = root("supervise");
    let config = format!(
        "[guest outer]\nkind = os\nroot = {}\nnesting = yes\ncommand = /bin/inn supervise\nstop = SIGTERM 20s SIGKILL\n",
        root.display()
    );
    let supervisor = Supervisor::start("nest", &config);
    supervisor.await_answer();
    let list = |this: &Supervisor| said(&this.inn(&["exec", "outer", "/bin/inn", "list"]));
    supervisor.wait_for("the guests of the guest", |this| list(this).matches("ready").count() == 2);
    let inner = supervisor.inn(&["exec", "outer", "/bin/inn", "exec", "web", "/bin/id"]);
    assert!(said(&inner).contains("uid=0"), "{}", said(&inner));
    // What enters may have guests too.
    let run = supervisor.inn(&["exec", "outer", "/bin/inn", "run", "--root=/inner", "--", "/bin/id"]);
    assert!(said(&run).contains("uid=0"), "{}", said(&run));
    let stopped = supervisor.inn(&["stop", "outer"]);
    assert!(stopped.status.success(), "{}", said(&stopped));
    assert_eq!(supervisor.cgroups(), Vec::<String>::new());
    assert_eq!(supervisor.processes(), Vec::<u32>::new());
}

/// Limits of a guest inside bite where they are, and all of them together where the guest's around them are.
fn limits_add_up(kernel: &'static str) {
    let recipe = Recipe { name: "nesting", kernel, folder: "nesting", command_line: "" };
    let Some(mut machine) = Machine::boot(recipe) else { return };
    machine.check("the guest and the guests of the guest become ready", |machine| {
        machine.guest_until("outer", |guest| guest.is_ready());
        machine.until("inn exec outer /bin/inn list", |output| output.text.matches("ready").count() == 2);
    });
    machine.check("a guest inside has the limit that the guest around it set", |machine| {
        let limit = "find /sys/fs/cgroup/inn/outer/guest -path '*/inn/one/memory.max' | xargs cat";
        assert_eq!(machine.ok(limit), (16 << 20).to_string());
    });
    let eat = |name: &str, mebibytes: u32| {
        format!("inn exec outer /bin/inn exec {name} /bin/dd if=/dev/zero of=/tmp/eaten bs=1M count={mebibytes}")
    };
    let kills = |machine: &mut Machine, cgroup: &str| -> u64 {
        let text = machine.ok(&format!("cat $(find /sys/fs/cgroup/inn/outer -path '{cgroup}/memory.events.local')"));
        let line = text.lines().find_map(|line| line.strip_prefix("oom ")).expect("a counter");
        line.parse().expect("a number")
    };
    machine.check("its own limit bites", |machine| {
        assert_ne!(machine.run(&eat("one", 24)).code, 0);
        assert!(kills(machine, "*/inn/one") > 0);
    });
    machine.check("the limit around all of them bites for those that have none", |machine| {
        assert_eq!(kills(machine, "*/inn/outer"), 0);
        assert_ne!(machine.run(&eat("two", 80)).code, 0);
        assert!(kills(machine, "*/inn/outer") > 0);
    });
    machine.end();
}

#[test]
fn limits_of_guests_in_a_guest_add_up_on_6_1() {
    limits_add_up("6.1");
}

#[test]
fn limits_of_guests_in_a_guest_add_up_on_6_12() {
    limits_add_up("6.12");
}
