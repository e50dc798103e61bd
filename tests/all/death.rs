//! The death of a supervisor by a fault: it goes on in its own program, and no guest notices.

use std::process::Command;

use crate::must;
use crate::private::Supervisor;

fn send(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn said(supervisor: &Supervisor, words: &str) -> usize {
    supervisor.log().matches(words).count()
}

/// Kills it by `signal`, and waits until it has gone on.
fn kill(supervisor: &Supervisor, signal: &str, words: &str) {
    let before = said(supervisor, words);
    send(supervisor.pid(), signal);
    supervisor.wait_for("its next life", |this| said(this, words) > before);
    supervisor.await_answer();
}

const GOES_ON: &str = "died and goes on";

#[test]
fn a_supervisor_that_faults_goes_on_with_its_guests() {
    if !must::root("a_supervisor_that_faults_goes_on_with_its_guests") {
        return;
    }
    let mut supervisor = Supervisor::start(
        "death",
        "[service steady]\ncommand = /bin/sh -c \"echo one; read x < $0.fifo; echo two; exec sleep 1000\"\n\
         [service ready]\ncommand = /bin/sh -c \"echo >&5; exec sleep 1000\"\nready = fd 5\n\
         [service ended]\ncommand = /bin/sh -c \"exit 3\"\nrestart = never\n\
         [service off]\ncommand = /bin/sleep 1000\nautostart = no\n",
    );
    supervisor.await_answer();
    supervisor.await_ready("steady");
    supervisor.await_ready("ready");
    supervisor.wait_for("an end", |this| this.facts("ended")["state"] == "failed");
    let before = ["steady", "ready", "ended", "off"].map(|name| supervisor.facts(name));
    for signal in ["-SEGV", "-ABRT"] {
        kill(&supervisor, signal, GOES_ON);
        let after = ["steady", "ready", "ended", "off"].map(|name| supervisor.facts(name));
        for (before, after) in before.iter().zip(&after) {
            for key in ["state", "pid", "restarts", "exit_code"] {
                assert_eq!(before[key], after[key], "{key} of {before}\n{}", supervisor.log());
            }
        }
    }
    assert!(supervisor.inn(&["start", "off"]).status.success());
    assert!(supervisor.inn(&["restart", "steady"]).status.success());
    send(supervisor.pid(), "-TERM");
    assert_eq!(supervisor.wait().code(), Some(0), "{}", supervisor.log());
    assert_eq!(supervisor.processes(), Vec::<u32>::new());
}
