//! Verbs that do something to several guests at once, on this host: patterns, waiting, freezing.

use std::fs;
use std::process::{Output, Stdio};
use std::time::Instant;

use crate::must;
use crate::private::Supervisor;

fn said(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("no signal"), text)
}

fn supervisor(name: &str, config: &str) -> Option<Supervisor> {
    if !must::root(name) {
        return None;
    }
    let supervisor = Supervisor::start(name, config);
    supervisor.await_answer();
    Some(supervisor)
}

fn services(names: &[&str]) -> String {
    names.iter().map(|name| format!("[service {name}]\ncommand = /bin/sleep 1000\nautostart = no\n")).collect()
}

fn states(supervisor: &Supervisor) -> String {
    let text = said(&supervisor.inn(&["list", "--plain", "-o", "name,state"])).1;
    text.lines().map(|line| line.replace('\t', ":")).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_pattern_stands_for_every_guest_of_such_a_name() {
    let Some(this) = supervisor("patterns", &services(&["web-1", "web-2", "store"])) else { return };
    assert_eq!(said(&this.inn(&["start", "--wait", "web-*", "web-1"])), (0, "web-1: ready\nweb-2: ready\n".into()));
    assert_eq!(states(&this), "web-1:ready web-2:ready store:down");
    assert_eq!(said(&this.inn(&["restart", "-q", "web-[12]"])), (0, String::new()));
    let (code, text) = said(&this.inn(&["stop", "--json", "web-?"]));
    assert_eq!(code, 0);
    assert_eq!(
        text,
        "{\"guest\":\"web-1\",\"done\":true,\"exit\":0}\n{\"guest\":\"web-2\",\"done\":true,\"exit\":0}\n"
    );
    assert_eq!(states(&this), "web-1:down web-2:down store:down");
    // Nobody: a clear word, the nearest name, and who else was named is served all the same.
    let (code, text) = said(&this.inn(&["start", "wbe-*", "store"]));
    assert_eq!(
        (code, text.as_str()),
        (3, "store: started\ninn: `wbe-*`: no guest or service has a name like that\n  did you mean web-1?\n")
    );
    assert!(states(&this).ends_with("store:ready"), "{}", states(&this));
    // Services are the host's: a pattern without a letter of its own does not mean them.
    let (code, text) = said(&this.inn(&["stop", "*"]));
    assert_eq!((code, text.as_str()), (3, "inn: `*`: only services are like that, and they are named one by one\n"));
    assert!(states(&this).ends_with("store:ready"), "{}", states(&this));
    assert_eq!(said(&this.inn(&["list", "--plain", "-o", "name", "*-2", "store"])), (0, "web-2\nstore\n".into()));
}

#[test]
fn a_name_that_no_guest_can_have_is_told_and_nothing_is_done() {
    let Some(this) = supervisor("no-such-names", &services(&["web"])) else { return };
    for verb in ["start", "stop", "freeze", "status", "list", "stats", "logs", "restart", "kill"] {
        for name in ["a/b", "..", "a b", &"x".repeat(300), ""] {
            let (code, text) = said(&this.inn(&[verb, name]));
            assert_eq!(code, 3, "{verb} {name:?}: {text}");
            assert!(text.starts_with("inn: ") && text.contains("no guest"), "{verb} {name:?}: {text}");
        }
    }
    use std::os::unix::ffi::OsStrExt;
    for verb in ["stop", "list", "stats"] {
        let output = this.command(&[verb]).arg(std::ffi::OsStr::from_bytes(b"w\xff*b")).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let output = this.command(&[verb]).arg(std::ffi::OsStr::from_bytes(b"w\xffb")).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
    }
}

#[test]
fn all_are_stopped_at_once() {
    let go = crate::private::closed().join(format!("at-once-{}", std::process::id()));
    let script = format!("trap : TERM; echo >&3; until [ -e {} ]; do sleep 0.02; done", go.display());
    let stubborn: String = (0..6)
        .map(|n| {
            format!("[service s{n}]\ncommand = /bin/sh -c \"{script}\"\nready = fd 3\nstop = SIGTERM 60s SIGKILL\n")
        })
        .collect();
    let Some(this) = supervisor("at-once", &stubborn) else { return };
    this.wait_for("all of them", |this| states(this).matches(":ready").count() == 6);
    // None of them ends before all have been asked to. The log says in which order it went.
    let stop = this.command(&["stop", "-q", "s*"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    this.wait_for("all of them to stop", |this| states(this).matches(":stopping").count() == 6);
    fs::write(&go, "").unwrap();
    assert_eq!(said(&stop.wait_with_output().unwrap()), (0, String::new()));
    fs::remove_file(go).unwrap();
    let log = this.log();
    let last_begun = log.rfind(": stopping").expect("it was said");
    let first_gone = log.find(": down").expect("it was said");
    assert!(last_begun < first_gone, "{log}");
}

#[test]
fn who_is_late_is_told_with_what_it_waits_for() {
    let config = "[service slow]\ncommand = /bin/sleep 1000\nready = fd 3\n\
        [service web]\ncommand = /bin/sleep 1000\nautostart = no\nafter = slow\n\
        [service stays]\ncommand = /bin/sh -c \"trap '' TERM; echo >&3; while :; do sleep 1; done\"\nready = fd 3\nstop = SIGTERM 60s SIGKILL\n";
    let Some(this) = supervisor("who-is-late", config) else { return };
    this.wait_for("it to run", |this| states(this).starts_with("slow:running web:down stays:ready"));
    let (code, text) = said(&this.inn(&["start", "--wait", "--timeout", "5s", "web", "slow", "stays"]));
    assert_eq!(code, 5, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("inn: web: not ready in time: waiting for slow; slow is not ready: "), "{text}");
    assert!(lines[1].starts_with("inn: slow: not ready in time: running; it waits for a newline"), "{text}");
    // One that is to be there already is not late, whoever was before it.
    let (code, text) = said(&this.inn(&["stop", "--timeout", "5s", "stays", "web"]));
    assert_eq!((code, text.as_str()), (5, "inn: stays: not gone in time: stopping\n"));
    assert_eq!(said(&this.inn(&["kill", "stays"])), (0, String::new()));
}

/// What a service counts, to see whether it goes on.
const COUNTER: &str = "[service web]\ncommand = /bin/sh -c \"while :; do echo x; sleep 0.01; done\"\nlog = 4M\n";

fn lines(supervisor: &Supervisor) -> usize {
    supervisor.inn(&["logs", "web"]).stdout.len()
}

#[test]
fn a_frozen_guest_stands_still_until_it_is_thawed() {
    let Some(this) = supervisor("freeze", COUNTER) else { return };
    let facts = this.await_ready("web");
    assert_eq!(said(&this.inn(&["freeze", "web"])), (0, String::new()));
    assert_eq!(states(&this), "web:frozen");
    assert_eq!(this.facts("web")["state"], "frozen");
    let events = fs::read_to_string(this.cgroup("web").join("cgroup.events")).unwrap();
    assert!(events.contains("frozen 1"), "{events}");
    assert!(this.log().contains("service web: frozen"), "{}", this.log());
    // Its processes are there, and do nothing.
    let before = lines(&this);
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(lines(&this), before);
    // Once more changes nothing, and neither does a start.
    assert_eq!(said(&this.inn(&["freeze", "web"])), (0, String::new()));
    assert_eq!(said(&this.inn(&["start", "web"])), (0, String::new()));
    assert_eq!(states(&this), "web:frozen");
    // Nothing enters it, for it would stand still too.
    let (code, text) = said(&this.inn(&["exec", "web", "true"]));
    assert_eq!((code, text.as_str()), (4, "inn: web: it is frozen: thaw it first\n"));
    assert_eq!(said(&this.inn(&["thaw", "web"])), (0, String::new()));
    assert_eq!(states(&this), "web:ready");
    assert_eq!(this.facts("web")["pid"], facts["pid"]);
    this.wait_for("more lines", |this| lines(this) > before);
    assert_eq!(said(&this.inn(&["thaw", "web"])), (0, String::new()));
}

#[test]
fn a_frozen_guest_goes_on_to_stop_and_is_killed_as_it_is() {
    // It says why it ended, which it can only when it was let go on.
    let config = "[service web]\ncommand = /bin/sh -c \"trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done\"\n\
        stop = SIGTERM 20s SIGKILL\n";
    let Some(this) = supervisor("freeze-stop", config) else { return };
    this.await_ready("web");
    this.wait_for("its handler", |this| lines(this) > 0);
    assert!(this.inn(&["freeze", "web"]).status.success());
    let begun = Instant::now();
    assert_eq!(said(&this.inn(&["stop", "web"])), (0, String::new()));
    assert_eq!(
        (&this.facts("web")["exit_code"], states(&this)),
        (&7.into(), "web:down".into()),
        "{:?}",
        begun.elapsed()
    );
    // The next run is not frozen.
    assert!(this.inn(&["start", "--wait", "web"]).status.success());
    assert_eq!(states(&this), "web:ready");
    assert!(this.inn(&["freeze", "web"]).status.success());
    assert_eq!(said(&this.inn(&["kill", "web"])), (0, String::new()));
    assert_eq!((&this.facts("web")["exit_signal"], states(&this)), (&9.into(), "web:down".into()));
    // Down, there is nothing to freeze.
    for verb in ["freeze", "thaw"] {
        assert_eq!(said(&this.inn(&[verb, "web"])), (4, "inn: web: it does not run\n".into()), "{verb}");
    }
}

#[test]
fn a_change_leaves_a_frozen_guest_frozen() {
    let Some(this) = supervisor("freeze-set", COUNTER) else { return };
    this.await_ready("web");
    assert!(this.inn(&["freeze", "web"]).status.success());
    let before = lines(&this);
    assert_eq!(
        said(&this.inn(&["set", "-q", "web", "oom-score", "500", "rlimit", "nofile 64:128"])),
        (0, String::new())
    );
    assert_eq!(states(&this), "web:frozen");
    for pid in this.processes() {
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap(), "500\n");
    }
    assert_eq!(lines(&this), before);
    assert!(this.inn(&["thaw", "web"]).status.success());
    this.wait_for("more lines", |this| lines(this) > before);
    // And one that runs goes on.
    assert_eq!(said(&this.inn(&["set", "-q", "web", "oom-score", "400"])), (0, String::new()));
    let before = lines(&this);
    this.wait_for("still more lines", |this| lines(this) > before);
}

#[test]
fn a_list_is_sorted_filtered_and_cut_to_columns() {
    let Some(this) = supervisor("columns", &services(&["web-1", "web-2", "store"])) else { return };
    assert!(this.inn(&["start", "--wait", "web-2", "store"]).status.success());
    let prints = |words: &[&str]| said(&this.inn(words));
    let plain = |words: &[&str]| prints(&[&["list", "--plain", "-o", "name"], words].concat());
    assert_eq!(plain(&["--sort", "name"]), (0, "store\nweb-1\nweb-2\n".into()));
    // The youngest last, and who does not run behind it.
    assert_eq!(plain(&["--sort", "pid"]).1.lines().last(), Some("web-1"));
    assert_eq!(plain(&["--sort", "uptime"]).1.lines().last(), Some("web-1"));
    assert_eq!(plain(&["--state", "running"]), (0, "web-2\nstore\n".into()));
    assert_eq!(plain(&["--state", "down,failed", "web-*"]), (0, "web-1\n".into()));
    assert_eq!(plain(&["--state", "frozen"]), (0, String::new()));
    let (code, text) = prints(&["list", "--json", "-o", "name,processes_limit,cpu,io_reads", "web-1"]);
    assert_eq!(
        (code, text.as_str()),
        (0, "[{\"name\":\"web-1\",\"processes_limit\":null,\"cpu_us\":null,\"io_reads\":null}]\n")
    );
    let (code, text) = prints(&["list", "-o", "state,name", "store"]);
    assert_eq!((code, text.as_str()), (0, "STATE  NAME\nready  store\n"));
    for (words, error) in [
        (
            &["list", "-o", "name,memroy"][..],
            "inn: --columns `name,memroy`: there is no column memroy; did you mean memory?\n",
        ),
        (&["list", "--sort", "uptme"], "inn: --sort `uptme`: there is no column uptme; did you mean uptime?\n"),
        (&["list", "--state", "redy"], "inn: --state `redy`: there is no state redy; did you mean ready?\n"),
    ] {
        let (code, text) = prints(words);
        assert!(code == 2 && text.starts_with(error), "{words:?}: {text}");
    }
}

#[test]
fn a_process_is_told_with_its_guest() {
    let Some(this) = supervisor("which", COUNTER) else { return };
    let pid = this.await_ready("web")["pid"].as_u64().expect("a process").to_string();
    let (code, text) = said(&this.inn(&["which", "--plain", &pid]));
    let fields: Vec<&str> = text.trim_end().split('\t').collect();
    assert_eq!((code, &fields[..2]), (0, &[pid.as_str(), "web"][..]), "{text}");
    assert!(fields[2].ends_with("/inn.services/web/guest") && fields[3].starts_with("/bin/sh -c"), "{text}");
    // We are no guest's; and what the child of the guest is called does not matter.
    let own = std::process::id().to_string();
    let (code, text) = said(&this.inn(&["which", &own]));
    assert!(code == 3 && text.starts_with(&format!("{own}  (host)  ")), "{text}");
    let (code, text) = said(&this.inn(&["which", "--json", &own, &pid]));
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((code, &lines[0]["guest"], &lines[1]["guest"]), (3, &serde_json::Value::Null, &"web".into()));
    for (word, code, words) in [
        ("0", 2, "inn: `0`: not the number of a process\n"),
        ("web", 2, "inn: `web`: not the number of a process\n"),
        ("99999999999", 2, "inn: `99999999999`: not the number of a process\n"),
        ("4194305", 1, "inn: 4194305: there is no such process\n"),
    ] {
        assert_eq!(said(&this.inn(&["which", word])), (code, words.into()));
    }
}

#[test]
fn counters_are_told_once_or_again_and_again() {
    let Some(this) = supervisor("stats", COUNTER) else { return };
    this.await_ready("web");
    let (code, text) = said(&this.inn(&["stats"]));
    assert!(
        code == 0 && text.starts_with("NAME ") && text.lines().nth(1).is_some_and(|line| line.starts_with("web ")),
        "{text}"
    );
    let (code, text) = said(&this.inn(&["stats", "--json", "w*"]));
    let stats: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &stats[0]["name"], stats[0]["cpu_us"].is_u64()), (0, &"web".into(), true), "{text}");
    // Beside the supervisor, where its cgroups have the names that it gives them.
    let socket = this.directory.join("control");
    let inside = this.inside(&["stats", "--socket", socket.to_str().unwrap(), "--json"]);
    let (_, text) = said(&inside);
    let inside: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    // A kernel may be told to measure none.
    assert_eq!(inside[0]["cpu_pressure_us"].is_u64(), fs::exists("/proc/pressure/cpu").unwrap(), "{text}");
    let (_, text) = said(&this.inn(&["stats", "--plain"]));
    assert_eq!(text.split('\t').count(), stats[0].as_object().unwrap().len());
    // Nobody reads any more: it ends.
    let mut follow = this.command(&["stats", "--follow", "--interval", "100ms", "--json"]);
    let mut follow = follow.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follow.stdout.take().unwrap()));
    let mut time =
        || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap()["time_ms"].as_u64();
    assert!(time() < time());
    drop(lines);
    assert_eq!(follow.wait().unwrap().code(), Some(0));
}

#[test]
fn the_host_is_told_in_full() {
    let Some(this) = supervisor("host-status", &(services(&["web", "store"]) + "[host]\nreserve = 64M\n")) else {
        return;
    };
    assert!(this.inn(&["start", "--wait", "web"]).status.success());
    let (code, text) = said(&this.inn(&["status", "--json"]));
    let host: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &host["states"]["ready"], &host["states"]["down"]), (0, &1.into(), &1.into()), "{text}");
    assert_eq!((&host["reserve_bytes"], &host["cgroup"]), (&(64 << 20).into(), &"inn".into()));
    let total = fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = total.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(host["memory_bytes"], total << 10);
    assert!(host["host_uptime_ms"].is_u64() && host["load1_centi"].is_u64(), "{text}");
    let (code, text) = said(&this.inn(&["status"]));
    assert_eq!(code, 0);
    for part in [
        "\n  guests       2, 1 down, 1 ready\n",
        "\n  reserve      64M of the memory is the host's\n",
        "\n  kernel lacks ",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // Several guests, one after the other.
    let (code, text) = said(&this.inn(&["status", "web", "store"]));
    assert!(code == 0 && text.starts_with("web: ready") && text.contains("\n\nstore: down"), "{text}");
    let (code, text) = said(&this.inn(&["status", "--json", "*"]));
    let names: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["name"].clone())
        .collect();
    assert_eq!((code, names), (0, vec!["web".into(), "store".into()]));
}

#[test]
fn logs_and_set_take_patterns() {
    let config: String = ["web-1", "web-2", "store"]
        .iter()
        .map(|name| format!("[service {name}]\ncommand = /bin/sh -c \"echo from {name}; sleep 1000\"\n"))
        .collect();
    let Some(this) = supervisor("more-patterns", &config) else { return };
    this.wait_for("all of them", |this| states(this).matches(":ready").count() == 3);
    this.wait_for("their words", |this| said(&this.inn(&["logs"])).1.matches("from").count() == 3);
    let (code, text) = said(&this.inn(&["logs", "web-*"]));
    assert!(code == 0 && text.contains("from web-1") && text.contains("from web-2"), "{text}");
    assert!(!text.contains("store"), "{text}");
    // One guest, but by a pattern: nobody knows which.
    assert_eq!(said(&this.inn(&["logs", "s*"])), (0, "store | from store\n".into()));
    let (code, text) = said(&this.inn(&["logs", "wbe-*"]));
    assert_eq!(code, 3);
    assert!(text.starts_with("inn: `wbe-*`: no guest or service has a name like that\n"), "{text}");
    let (code, text) = said(&this.inn(&["set", "web-?", "oom-score", "500"]));
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("web-1: oom-score default -> 500\nweb-2: oom-score default -> 500\n"), "{text}");
    for guest in ["web-1", "web-2"] {
        let pid = this.facts(guest)["pid"].as_u64().expect("a process");
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap(), "500\n");
    }
    let (code, text) = said(&this.inn(&["set", "--save", "web-?", "oom-score", "500"]));
    assert_eq!((code, text.as_str()), (2, "inn: --save writes the lines of one guest: name it\n"));
    assert_eq!(this.inn(&["set", "nobody-*", "oom-score", "1"]).status.code(), Some(3));
}

#[test]
fn a_service_serves_metrics() {
    if !must::root("metrics-service") {
        return;
    }
    let name = "metrics-service";
    let directory = crate::private::closed().join(format!("inn-test-{name}-{}", std::process::id()));
    let config = format!(
        "[service metrics]\ncommand = {} metrics 127.0.0.1:0 --socket {}/control\n",
        must::inn().display(),
        directory.display()
    );
    let this = Supervisor::start(name, &config);
    this.await_ready("metrics");
    let begin = "inn: metrics are served at ";
    this.wait_for("its address", |this| said(&this.inn(&["logs", "metrics"])).1.starts_with(begin));
    let log = said(&this.inn(&["logs", "metrics"])).1;
    let address = log.trim_end().strip_prefix(begin).expect("an address");
    let output =
        std::process::Command::new("curl").args(["-sf", "--noproxy", "*", address]).output().expect("curl starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("inn_guest_up{guest=\"metrics\"} 1\n") && text.ends_with("# EOF\n"), "{text}");
    assert_eq!(said(&this.inn(&["stop", "metrics"])), (0, String::new()));
}
