//! What happens, as `inn events` tells it.

use std::io::Read as _;

use serde_json::Value;

use crate::must;
use crate::private::{Supervisor, busybox};

fn events(supervisor: &Supervisor, words: &[&str]) -> Vec<Value> {
    let output = supervisor.inn(&[&["events"], words].concat());
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

/// Without their times: the difference of two clocks is found anew by each `inn events`, and may be another by a millisecond.
fn untimed(events: &[Value]) -> Vec<Value> {
    let mut events = events.to_vec();
    events.iter_mut().for_each(|event| drop(event.as_object_mut().unwrap().remove("time")));
    events
}

fn of<'e>(events: &'e [Value], guest: &str) -> Vec<&'e str> {
    let of_guest = events.iter().filter(|event| event["guest"] == guest);
    of_guest.map(|event| event["event"].as_str().unwrap()).collect()
}

#[test]
fn the_life_of_a_guest_is_told_in_events_with_numbers_that_follow_each_other() {
    if !must::root("the_life_of_a_guest_is_told_in_events_with_numbers_that_follow_each_other") {
        return;
    }
    let config = format!(
        "[service good]\ncommand = /bin/sh -c \"echo >&3; exec sleep 1000\"\nready = fd 3\nstop = SIGKILL\n\
         [service bad]\ncommand = /bin/sh -c \"exit 3\"\nrestart = always\nrestart-delay = 10m 10m\n\
         [service never]\ncommand = /no/such/program\nrestart = never\n\
         [guest app]\nkind = app\nroot = {}\ncommand = /bin/sleep 1000\nstop = SIGKILL\n",
        busybox("happenings").display()
    );
    let supervisor = Supervisor::start("happenings", &config);
    supervisor.await_answer();
    supervisor.await_ready("good");
    supervisor.await_ready("app");
    supervisor.wait_for("the others", |this| {
        this.facts("bad")["state"] == "delayed" && this.facts("never")["state"] == "failed"
    });
    assert_eq!(supervisor.inn(&["stop", "good"]).status.code(), Some(0));
    assert_eq!(supervisor.inn(&["set", "app", "oom-score", "7"]).status.code(), Some(0));
    let all = events(&supervisor, &[]);
    let numbers: Vec<_> = all.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=all.len() as u64).collect::<Vec<_>>());
    let times: Vec<_> = all.iter().map(|event| event["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!((&all[0]["event"], &all[0]["pid"]), (&"supervising".into(), &supervisor.pid().into()));
    assert_eq!(of(&all, "good"), ["starting", "started", "ready", "stopping", "ended", "down"]);
    assert_eq!(of(&all, "bad"), ["starting", "started", "ended", "delayed"]);
    assert_eq!(of(&all, "never"), ["starting", "ended", "failed"]);
    assert_eq!(of(&all, "app"), ["starting", "started", "changed"]);
    let one = |guest: &str, event: &str| all.iter().find(|it| it["guest"] == guest && it["event"] == event).unwrap();
    assert_eq!(one("good", "ended")["exit_signal"], 9);
    assert_eq!((&one("bad", "ended")["exit_code"], &one("bad", "delayed")["delay_ms"]), (&3.into(), &600_000.into()));
    let never = one("never", "ended");
    assert_eq!((&never["exit"], &never["key"]), (&"start-failed".into(), &"command".into()));
    assert!(never["error"].as_str().unwrap().contains("ENOENT"), "{never}");
    assert_eq!(
        (&one("app", "changed")["keys"][0], &one("app", "changed")["kind"]),
        (&"oom-score".into(), &"app".into())
    );

    // Behind a number, and from a time on; a number of a supervisor that was before this one leaves nothing out.
    let since = |word: &str| untimed(&events(&supervisor, &["--since", word]));
    let (last, all) = (all.len(), untimed(&all));
    assert_eq!(since(&(last - 1).to_string()), all[last - 1..]);
    assert!(since(&last.to_string()).is_empty());
    assert_eq!(since("1000000"), all);
    assert_eq!(since("1h"), all);
    assert!(since("2999-01-01").is_empty());
}

#[test]
fn events_are_followed_to_the_end_of_the_supervisor() {
    if !must::root("events_are_followed_to_the_end_of_the_supervisor") {
        return;
    }
    let mut supervisor =
        Supervisor::start("followed", "[service one]\ncommand = /bin/sleep 1000\nautostart = no\nstop = SIGKILL\n");
    supervisor.await_answer();
    let mut command = supervisor.command(&["events", "-f"]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // It follows from the beginning on: that is there.
    let mut first = Vec::new();
    while first.last() != Some(&b'\n') {
        let mut byte = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        first.push(byte[0]);
    }
    assert_eq!(serde_json::from_slice::<Value>(&first).unwrap()["event"], "supervising");
    for _ in 0..5 {
        assert_eq!(supervisor.inn(&["start", "one"]).status.code(), Some(0));
        assert_eq!(supervisor.inn(&["stop", "one"]).status.code(), Some(0));
    }
    let pid = supervisor.pid().to_string();
    assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    supervisor.wait();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let all: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let once = ["starting", "started", "stopping", "ended", "down"];
    assert_eq!(of(&all, "one"), once.repeat(5));
    assert_eq!(all.last().unwrap()["event"], "going-down");
}
