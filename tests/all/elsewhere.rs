//! `inn supervise` under another init: what it tells systemd, and as a service of busybox init and of runit, which are PID 1 of a
//! guest on this host.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::must;
use crate::nesting;
use crate::private::{Supervisor, busybox};

/// What comes to `socket`. All of it is taken at once: its queue has room for a few messages, and what finds it full while this
/// test waits for something else may never be told.
fn heard(socket: UnixDatagram) -> Receiver<String> {
    let (send, heard) = channel();
    socket.set_read_timeout(Some(must::PATIENCE)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok(length) = socket.recv(&mut buffer) {
            if send.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    heard
}

/// Waits until it is told that the program is alive, and nothing else.
fn is_alive(heard: &Receiver<String>) {
    assert_eq!(heard.recv_timeout(must::PATIENCE).expect("a message"), "WATCHDOG=1");
}

/// The next message but those that only say that the program is alive; whether there were such.
fn next(heard: &Receiver<String>) -> (String, bool) {
    let (deadline, mut is_alive) = (Instant::now() + must::PATIENCE, false);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let text = heard.recv_timeout(left).expect("a message");
        if text != "WATCHDOG=1" {
            return (text, is_alive);
        }
        is_alive = true;
    }
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// A guest that is ready when it has a file.
fn waiting(name: &str) -> String {
    let root = busybox(name);
    let command = "command = /bin/sleep 1000\nready = file /tmp/up\nstop = SIGKILL";
    format!("[guest slow]\nkind = app\nroot = {}\n{command}\n", root.display())
}

/// A guest that is ready a moment after it has started.
fn slow(name: &str) -> String {
    let command = "command = /bin/sh -c \"/bin/sleep 0.2; echo > /tmp/up; exec /bin/sleep 1000\"";
    waiting(name).replace("command = /bin/sleep 1000", command)
}

#[test]
fn another_init_is_told_when_guests_are_ready_are_reloaded_and_stop() {
    if !must::root("another_init_is_told_when_guests_are_ready_are_reloaded_and_stop") {
        return;
    }
    for is_abstract in [false, true] {
        let path = must::target().join(format!("tmp/manager-{}", std::process::id()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        let name = path.display().to_string();
        let address = match is_abstract {
            false => SocketAddr::from_pathname(&path),
            true => SocketAddr::from_abstract_name(&name),
        };
        let heard = heard(UnixDatagram::bind_addr(&address.unwrap()).unwrap());
        let mut supervisor = Supervisor::spawn("manager", &waiting("manager"), |command| {
            let name = if is_abstract { format!("@{name}") } else { name.clone() };
            command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "100000");
        });
        let (text, _) = next(&heard);
        assert!(text.contains("STATUS=starting guests\nEXTEND_TIMEOUT_USEC="), "{text}");
        // It is told that the loop goes on while a guest starts.
        is_alive(&heard);
        supervisor.wait_for("its program", |this| this.facts("slow")["state"] == "running");
        let up = supervisor.inside_of("slow", &["/bin/sh", "-c", "echo > /tmp/up"]);
        assert!(up.status.success(), "{up:?}");
        let (text, _) = next(&heard);
        assert_eq!(supervisor.facts("slow")["state"], "ready");
        let pid = supervisor.pid();
        assert_eq!(text, format!("READY=1\nMAINPID={pid}\nSTATUS=1 guests and services; `inn list` shows them"));

        assert!(supervisor.inn(&["reload"]).status.success());
        let (text, _) = next(&heard);
        assert!(text.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{text}");
        assert!(next(&heard).0.starts_with("READY=1\n"));

        assert!(supervisor.inn(&["stop", "slow"]).status.success());
        innkeep::sys::signal::send_to(rustix::process::Pid::from_raw(pid as i32).unwrap(), 15).unwrap();
        let (text, _) = next(&heard);
        assert!(text.starts_with("STOPPING=1\nSTATUS=stopping guests\nEXTEND_TIMEOUT_USEC="), "{text}");
        assert!(supervisor.wait().success());
        let _ = fs::remove_file(&path);
    }
}

#[test]
fn a_watchdog_that_is_meant_for_another_process_is_not_told() {
    if !must::root("a_watchdog_that_is_meant_for_another_process_is_not_told") {
        return;
    }
    let name = format!("inn-test-watchdog-{}", std::process::id());
    let heard = heard(UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap());
    let _supervisor = Supervisor::spawn("manager-watchdog", &slow("manager-watchdog"), |command| {
        command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    });
    let (_, first) = next(&heard);
    let (ready, second) = next(&heard);
    assert!(ready.starts_with("READY=1") && !first && !second);
}

#[test]
fn an_init_that_cannot_be_told_holds_nothing_up() {
    if !must::root("an_init_that_cannot_be_told_holds_nothing_up") {
        return;
    }
    for (name, what) in [("no-path", "NOTIFY_SOCKET: EINVAL"), ("/no/such/socket", "NOTIFY_SOCKET: sendto: ")] {
        let supervisor = Supervisor::spawn("untold", &slow("untold"), |command| {
            command.env("NOTIFY_SOCKET", name);
        });
        supervisor.await_ready("slow");
        assert!(supervisor.log().contains(what), "{}", supervisor.log());
    }
}

/// A host in a guest: its PID 1 is `command`, and `inn supervise` one of its services.
fn host(name: &str, command: &str, files: &[(&str, &str)], more: &str) -> Supervisor {
    let root = nesting::root(name);
    must::install(root.join("bin/reboot"), root.join("bin/init"));
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        must::script(&path, text);
    }
    let root = root.display();
    let config = format!(
        "[guest outer]\nkind = os\nroot = {root}\nephemeral = yes\nnesting = yes\ncommand = {command}\n{more}\n"
    );
    let supervisor = Supervisor::start(name, &config);
    supervisor.await_answer();
    supervisor
}

fn inside(supervisor: &Supervisor, words: &[&str]) -> String {
    said(&supervisor.inn(&[&["exec", "outer"], words].concat()))
}

fn await_guests(supervisor: &Supervisor) {
    let list = |this: &Supervisor| inside(this, &["/bin/inn", "list"]).matches("ready").count();
    supervisor.wait_for("the guests of the guest", |this| list(this) == 2);
}

/// The number that the supervisor inside has there.
fn number_of_inner(supervisor: &Supervisor) -> String {
    let events = inside(supervisor, &["/bin/inn", "events"]);
    let first = events.lines().next().unwrap_or_default();
    serde_json::from_str::<serde_json::Value>(first).unwrap_or_default()["pid"].to_string()
}

/// What the supervisor inside has told people.
fn told(supervisor: &Supervisor) -> String {
    let log = said(&supervisor.inn(&["logs", "outer"]));
    log + &inside(supervisor, &["/bin/sh", "-c", "cat /var/log/inn.log 2>/dev/null"])
}

/// A fault of the supervisor inside is not noticed by its init, and by no guest.
fn dies_and_goes_on(supervisor: &Supervisor) {
    let guests = |this: &Supervisor| inside(this, &["/bin/inn", "list", "--plain", "-o", "name,state,pid"]);
    let (number, before) = (number_of_inner(supervisor), guests(supervisor));
    inside(supervisor, &["/bin/sh", "-c", &format!("kill -SEGV {number}")]);
    supervisor
        .wait_for("the same supervisor to go on", |this| told(this).contains("died and goes on; no guest was stopped"));
    assert_eq!((number_of_inner(supervisor), guests(supervisor)), (number, before));
}

#[test]
fn busybox_init_starts_it_again_and_stops_its_guests_in_order() {
    if !must::root("busybox_init_starts_it_again_and_stops_its_guests_in_order") {
        return;
    }
    let inittab = "::respawn:/bin/inn supervise\n::shutdown:/bin/inn stop '*'\n";
    let supervisor = host("busybox-init", "/bin/init", &[("etc/inittab", inittab)], "stop = SIGUSR2 60s SIGKILL");
    await_guests(&supervisor);
    dies_and_goes_on(&supervisor);
    let first = number_of_inner(&supervisor);
    inside(&supervisor, &["/bin/sh", "-c", &format!("kill -9 {first}")]);
    supervisor.wait_for("another supervisor", |this| {
        let now = number_of_inner(this);
        now != first && now != "null"
    });
    await_guests(&supervisor);
    assert!(supervisor.inn(&["stop", "outer"]).status.success());
    let log = said(&supervisor.inn(&["logs", "outer"]));
    for guest in ["web", "box"] {
        assert!(log.contains(&format!("guest {guest}: down")), "{log}");
    }
    assert_eq!((supervisor.cgroups(), supervisor.processes()), (Vec::new(), Vec::new()));
}

#[test]
fn runit_has_it_read_its_config_again_and_end() {
    if !must::root("runit_has_it_read_its_config_again_and_end") {
        return;
    }
    let run = "#!/bin/sh\nexec 2>&1\nexec /bin/inn supervise\n";
    let more = "stop = SIGHUP 20s SIGKILL\nenv = SVDIR=/service";
    let fetched = fetched("runit");
    let root = nesting::root("runit");
    let library = "lib/x86_64-linux-gnu/libc.so.6";
    for (from, to) in [
        ("usr/bin/runsvdir", "bin/runsvdir"),
        ("usr/bin/runsv", "bin/runsv"),
        ("usr/bin/sv", "bin/sv"),
        (library, library),
        ("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"),
    ] {
        fs::create_dir_all(root.join(to).parent().unwrap()).unwrap();
        must::install(fetched.join(from), root.join(to));
    }
    let supervisor = host("runit", "/bin/runsvdir -P /service", &[("service/inn/run", run)], more);
    await_guests(&supervisor);
    dies_and_goes_on(&supervisor);
    let change = "echo 'description = another' >> /etc/inn.conf && sv hup inn";
    inside(&supervisor, &["/bin/sh", "-c", change]);
    supervisor.wait_for("the config to be read again", |this| {
        inside(this, &["/bin/inn", "list", "--plain", "-o", "description"]).contains("another")
    });
    let stopped = inside(&supervisor, &["/bin/sv", "-w", "60", "stop", "inn"]);
    assert!(stopped.starts_with("ok: down: inn"), "{stopped}");
    let log = said(&supervisor.inn(&["logs", "outer"]));
    for guest in ["web", "box"] {
        assert!(log.contains(&format!("guest {guest}: down")), "{log}");
    }
    inside(&supervisor, &["/bin/sv", "up", "inn"]);
    await_guests(&supervisor);
    assert!(supervisor.inn(&["stop", "outer"]).status.success());
    assert_eq!((supervisor.cgroups(), supervisor.processes()), (Vec::new(), Vec::new()));
}

/// Packages of Debian, unpacked.
fn fetched(what: &str) -> PathBuf {
    let mut fetch = Command::new("python3");
    let fetched = fetch.current_dir(must::project()).args(["images/debian.py", what]).output().unwrap();
    assert!(fetched.status.success(), "{}", said(&fetched));
    PathBuf::from(String::from_utf8(fetched.stdout).unwrap().trim())
}

/// What busybox init has OpenRC do, as on Alpine.
const OPENRC: &str = "::sysinit:/sbin/openrc sysinit\n::sysinit:/sbin/openrc boot\n::wait:/sbin/openrc default\n\
    ::shutdown:/sbin/openrc shutdown\n";

#[test]
fn openrc_starts_it_reloads_it_and_stops_it_with_its_guests() {
    if !must::root("openrc_starts_it_reloads_it_and_stops_it_with_its_guests") {
        return;
    }
    let (fetched, root) = (fetched("openrc"), nesting::root("openrc"));
    let copy = |from: &str, to: &str| {
        fs::create_dir_all(root.join(to).parent().unwrap()).unwrap();
        let status = Command::new("cp").arg("-a").arg(fetched.join(from)).arg(root.join(to)).status().unwrap();
        assert!(status.success(), "{from}");
    };
    for (from, to) in [
        ("sbin", ""),
        ("lib", ""),
        ("lib64", ""),
        ("etc/rc.conf", "etc/"),
        ("usr/lib/x86_64-linux-gnu/.", "lib/x86_64-linux-gnu/"),
    ] {
        copy(from, to);
    }
    fs::create_dir_all(root.join("var/log")).unwrap();
    // Its scripts are a shell's, and use what a shell uses.
    let applets = Command::new(root.join("bin/sh")).args(["-c", "busybox --list"]).output().unwrap();
    for applet in String::from_utf8_lossy(&applets.stdout).lines() {
        let _ = std::os::unix::fs::symlink("sh", root.join("bin").join(applet));
    }
    let script = fs::read_to_string(must::project().join("units/inn.initd.in")).unwrap().replace("@SBIN@", "/bin");
    let service = root.join("etc/runlevels/default/inn");
    for level in ["sysinit", "boot", "default", "shutdown"] {
        fs::create_dir_all(root.join("etc/runlevels").join(level)).unwrap();
    }
    let _ = fs::remove_file(&service);
    std::os::unix::fs::symlink("/etc/init.d/inn", &service).unwrap();
    let files = [("etc/inittab", OPENRC), ("etc/init.d/inn", script.as_str())];
    let supervisor = host("openrc", "/bin/init", &files, "stop = SIGUSR2 30s SIGKILL");
    await_guests(&supervisor);
    // Its guests may be there before OpenRC is done with the start, and it reloads nothing before that.
    let status = |this: &Supervisor| inside(this, &["/sbin/rc-service", "inn", "status"]);
    supervisor.wait_for("the service", |this| status(this).contains("status: started"));
    dies_and_goes_on(&supervisor);
    let change = "echo 'description = another' >> /etc/inn.conf && rc-service inn reload";
    inside(&supervisor, &["/bin/sh", "-c", change]);
    assert!(inside(&supervisor, &["/bin/inn", "list", "--plain", "-o", "description"]).contains("another"));
    let stopped = inside(&supervisor, &["/sbin/rc-service", "inn", "stop"]);
    let log = told(&supervisor);
    for guest in ["web", "box"] {
        assert!(log.contains(&format!("guest {guest}: down")), "{stopped} {log}");
    }
    inside(&supervisor, &["/sbin/rc-service", "inn", "start"]);
    await_guests(&supervisor);
    assert!(supervisor.inn(&["stop", "outer"]).status.success());
    assert_eq!((supervisor.cgroups(), supervisor.processes()), (Vec::new(), Vec::new()));
}

#[test]
fn the_units_name_the_program_where_it_is_installed() {
    let directory = must::target().join(format!("tmp/install-{}", std::process::id()));
    let rule = fs::read_to_string(must::project().join("Makefile")).unwrap();
    let read = |template: &str, unit: &str| {
        let unit = directory.join(unit);
        let sed = rule.lines().find(|line| line.contains(template)).expect("a rule").trim().to_owned();
        let sed = sed.replace("$(PREFIX)", "/usr").replace("$(DESTDIR)", &directory.display().to_string());
        fs::create_dir_all(unit.parent().unwrap()).unwrap();
        let status = Command::new("sh").args(["-c", &sed]).current_dir(must::project()).status().unwrap();
        assert!(status.success());
        let text = fs::read_to_string(&unit).unwrap();
        assert!(!text.contains('@'));
        text
    };
    let systemd = read("inn.service.in", "usr/lib/systemd/system/inn.service");
    assert!(systemd.contains("ExecStart=/usr/sbin/inn supervise\nExecReload=/usr/sbin/inn reload\n"), "{systemd}");
    let openrc = read("inn.initd.in", "usr/share/inn/inn.initd");
    assert!(openrc.contains("command=/usr/sbin/inn\n"), "{openrc}");
    fs::remove_dir_all(&directory).unwrap();
}
