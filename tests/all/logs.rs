//! What guests write, as `inn logs` gives it back: in order, whole, and with a count of what is lost.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::death;
use crate::must::{self, PATIENCE};
use crate::private::{Supervisor, busybox};

/// A verb that goes on printing.
struct Following {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Following {
    fn start(supervisor: &Supervisor, words: &[&str]) -> Following {
        let mut command = supervisor.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let errors = lines_of(child.stderr.take().unwrap());
        Following { child, lines, errors }
    }

    /// The next line.
    fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    fn code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.wait().unwrap().code()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

fn objects(output: &Output) -> Vec<Value> {
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

/// A service that writes what it is told to, by files in the directory.
fn told(name: &str, steps: &[&str]) -> String {
    let steps = steps.iter().map(|step| format!("until [ -e DIR/{step} ]; do sleep 0.01; done; echo {step}; "));
    format!("[service {name}]\ncommand = /bin/sh -c \"{}exec sleep 1000\"\n", steps.collect::<String>())
}

/// A supervisor whose config knows its directory as `DIR`.
fn start(name: &str, config: &str) -> Supervisor {
    let directory = crate::private::closed().join(format!("inn-test-{name}-{}", std::process::id()));
    let supervisor = Supervisor::start(name, &config.replace("DIR", directory.to_str().unwrap()));
    assert_eq!(supervisor.directory, directory);
    supervisor.await_answer();
    supervisor
}

fn tell(supervisor: &Supervisor, step: &str) {
    std::fs::write(supervisor.directory.join(step), "").unwrap();
}

fn has(supervisor: &Supervisor, words: &[&str], text: &str) {
    supervisor.wait_for(text, |this| String::from_utf8_lossy(&this.inn(words).stdout).contains(text));
}

#[test]
fn logs_of_several_guests_are_in_the_order_of_their_writing() {
    if !must::root("logs_of_several_guests_are_in_the_order_of_their_writing") {
        return;
    }
    let supervisor = start("log-order", &(told("a", &["one", "three"]) + &told("b", &["two", "four"])));
    for step in ["one", "two", "three", "four"] {
        tell(&supervisor, step);
        has(&supervisor, &["logs"], step);
    }
    let all = "a | one\nb | two\na | three\nb | four\n";
    assert_eq!(String::from_utf8_lossy(&supervisor.inn(&["logs"]).stdout), all);
    assert_eq!(String::from_utf8_lossy(&supervisor.inn(&["logs", "b", "a"]).stdout), all);
    assert_eq!(String::from_utf8_lossy(&supervisor.inn(&["logs", "-n", "1"]).stdout), "a | three\nb | four\n");
    assert_eq!(supervisor.inn(&["logs", "a"]).stdout, b"one\nthree\n");

    assert_eq!(String::from_utf8_lossy(&supervisor.inn(&["logs", "[ab]"]).stdout), all);
    assert_eq!(supervisor.inn(&["logs", "a*"]).stdout, b"a | one\na | three\n");
    let nobody = supervisor.inn(&["logs", "x*", "a"]);
    assert_eq!((nobody.status.code(), &nobody.stdout[..]), (Some(3), &b"a | one\na | three\n"[..]));

    let timed = String::from_utf8(supervisor.inn(&["logs", "-t", "a"]).stdout).unwrap();
    let (time, text) = timed.lines().nth(1).unwrap().split_once(' ').unwrap();
    assert_eq!((time.len(), text), ("2026-11-23T06:49:47.123456Z".len(), "three"));
    // From that time on there are only two, whatever became of the clock.
    assert_eq!(supervisor.inn(&["logs", "--since", time]).status.code(), Some(0));
    for (since, expected) in [("1h", all), ("2999-01-01", ""), ("1000000h", all), ("3600", all)] {
        let output = supervisor.inn(&["logs", "--since", since]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{since}");
    }
    for bad in ["soon", "25:00", ""] {
        assert_eq!(supervisor.inn(&["logs", "--since", bad]).status.code(), Some(2), "{bad:?}");
    }
}

#[test]
fn a_follower_sees_guests_that_start_later_and_again_and_is_told_of_the_end() {
    if !must::root("a_follower_sees_guests_that_start_later_and_again_and_is_told_of_the_end") {
        return;
    }
    let config = "[service early]\ncommand = /bin/sh -c \"echo up; exec sleep 1000\"\nstop = SIGKILL\n\
                  [service late]\ncommand = /bin/sh -c \"echo hello; exec sleep 1000\"\nautostart = no\nstop = SIGKILL\n";
    let mut supervisor = start("follow", config);
    has(&supervisor, &["logs", "early"], "up");
    let mut all = Following::start(&supervisor, &["logs", "-f"]);
    assert_eq!(all.next(), "early | up");
    let mut one = Following::start(&supervisor, &["logs", "-f", "late"]);
    let like = Following::start(&supervisor, &["logs", "-f", "l*e"]);
    supervisor.inn(&["start", "late"]);
    assert_eq!((all.next(), one.next()), ("late | hello".into(), "hello".into()));
    assert_eq!(like.next(), "late | hello");
    supervisor.inn(&["restart", "early"]);
    assert_eq!(all.next(), "early | up");
    supervisor.inn(&["restart", "late"]);
    assert_eq!((all.next(), one.next()), ("late | hello".into(), "hello".into()));
    let pid = supervisor.pid().to_string();
    assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    supervisor.wait();
    for follower in [&mut all, &mut one] {
        assert_eq!(follower.code(), Some(1));
        assert_eq!(follower.errors.recv_timeout(PATIENCE).unwrap(), "inn: the supervisor has ended");
    }
}

#[test]
fn who_follows_and_who_is_followed_sleep_while_nothing_comes() {
    if !must::root("who_follows_and_who_is_followed_sleep_while_nothing_comes") {
        return;
    }
    let supervisor = start("idle", &told("quiet", &["one", "two"]));
    let followers = [&["logs", "-f"][..], &["logs", "-f", "quiet"], &["events", "-f"]];
    let followers = followers.map(|words| Following::start(&supervisor, words));
    tell(&supervisor, "one");
    assert_eq!((followers[0].next(), followers[1].next()), ("quiet | one".into(), "one".into()));
    while !followers[2].next().contains("\"started\"") {}
    let pids = || followers.iter().map(|follower| follower.child.id()).chain([supervisor.pid()]);
    let switches = || -> Vec<u64> {
        let count = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
            lines.map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap()).sum()
        };
        pids().map(count).collect()
    };
    // They may still be on their way to sleep.
    supervisor.wait_for("sleep", |_| {
        let before = switches();
        std::thread::sleep(Duration::from_millis(500));
        before == switches()
    });
    tell(&supervisor, "two");
    assert_eq!((followers[0].next(), followers[1].next()), ("quiet | two".into(), "two".into()));
}

#[test]
fn every_byte_is_in_the_json_of_its_log() {
    if !must::root("every_byte_is_in_the_json_of_its_log") {
        return;
    }
    let script = r#"printf 'text \\"q\\"\ttab\n\377\376\0\nno end'"#;
    let config = format!(
        "[service odd]\ncommand = /bin/sh -c \"{}; exec sleep 1000\"\n\
         [service long]\nlog = 4M\ncommand = /bin/sh -c \"printf %01000000d 0; echo; exec sleep 1000\"\n\
         [service tiny]\nlog = 4K\ncommand = /bin/sh -c \"seq 1 100000; echo end; exec sleep 1000\"\n",
        script.replace('\\', "\\\\").replace('"', "\\\"")
    );
    let supervisor = start("json", &config);
    has(&supervisor, &["logs", "odd"], "no end");
    let odd = objects(&supervisor.inn(&["logs", "--json", "odd"]));
    assert_eq!(odd.len(), 3);
    assert!(odd.iter().all(|line| line["guest"] == "odd" && line["time"].as_str().unwrap().ends_with('Z')));
    assert_eq!((&odd[0]["text"], &odd[0]["partial"]), (&Value::from("text \\\"q\\\"\ttab"), &Value::Null));
    assert_eq!(odd[1]["base64"], "//4A");
    assert_eq!((&odd[2]["text"], &odd[2]["partial"]), (&Value::from("no end"), &Value::Bool(true)));

    supervisor.wait_for("a long line", |this| this.inn(&["logs", "long"]).stdout.len() == 1_000_001);
    let long = objects(&supervisor.inn(&["logs", "--json", "long"]));
    let (last, parts) = long.split_last().unwrap();
    assert!(parts.len() > 10 && parts.iter().all(|part| part["partial"] == true) && last["partial"].is_null());
    let joined: String = long.iter().map(|part| part["text"].as_str().unwrap()).collect();
    assert_eq!((joined.len(), joined.trim_matches('0')), (1_000_000, ""));

    has(&supervisor, &["logs", "tiny"], "end\n");
    let output = supervisor.inn(&["logs", "tiny"]);
    let written: u64 = (1..=100_000).map(|n: u64| n.to_string().len() as u64 + 1).sum::<u64>() + 4;
    let lost = written - output.stdout.len() as u64;
    let told = format!("inn: tiny: {lost} bytes of its log were lost\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), told);
    let tiny = objects(&supervisor.inn(&["logs", "--json", "tiny"]));
    assert_eq!((&tiny[0]["lost"], &tiny.last().unwrap()["text"]), (&Value::from(lost), &Value::from("end")));
    // Who asks for the last lines has lost nothing.
    assert!(supervisor.inn(&["logs", "-n", "2", "tiny"]).stderr.is_empty());
}

#[test]
fn a_reader_that_is_overtaken_again_and_again_counts_every_byte() {
    if !must::root("a_reader_that_is_overtaken_again_and_again_counts_every_byte") {
        return;
    }
    let supervisor = start(
        "overtaken",
        "[service flood]\nlog = 4K\ncommand = /bin/sh -c \"yes | head -c 10000000; exec sleep 1000\"\n",
    );
    let follower = Following::start(&supervisor, &["logs", "-f", "--json", "flood"]);
    let (mut seen, mut gaps) = (0_u64, 0);
    while seen < 10_000_000 {
        let line: Value = serde_json::from_str(&follower.next()).unwrap();
        match line["lost"].as_u64() {
            Some(lost) => (seen, gaps) = (seen + lost, gaps + 1),
            None => {
                let text = line["text"].as_str().unwrap();
                assert!(matches!(text, "y" | ""), "{text:?}");
                seen += text.len() as u64 + u64::from(line["partial"].is_null());
            }
        }
    }
    assert_eq!(seen, 10_000_000);
    println!("{gaps} gaps");
}

#[test]
fn logs_that_cannot_be_printed_say_so_and_end() {
    if !must::root("logs_that_cannot_be_printed_say_so_and_end") {
        return;
    }
    let config = "[service chatty]\ncommand = /bin/sh -c \"yes | head -c 100000; exec sleep 1000\"\n\
                  [service mute]\nlog = off\ncommand = /bin/sleep 1000\n";
    let supervisor = start("unprintable", config);
    supervisor.wait_for("output", |this| this.inn(&["logs", "chatty"]).stdout.len() > 60_000);
    for words in [&["logs", "chatty"][..], &["logs", "-f"], &["logs", "--json"], &["events"], &["events", "-f"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = supervisor.command(words).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains("ENOSPC"), "{words:?}: {told}");
        let mut child = supervisor.command(words).stdout(must::unread()).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{words:?}: nobody reads");
    }
    // A reader that goes away later ends it too.
    let mut follower = supervisor.command(&["logs", "-f", "chatty"]).stdout(Stdio::piped()).spawn().unwrap();
    follower.stdout.as_mut().unwrap().read_exact(&mut [0; 100]).unwrap();
    drop(follower.stdout.take());
    follower.wait().unwrap();
    let mute = supervisor.inn(&["logs", "mute"]);
    assert_eq!(mute.status.code(), Some(4), "{mute:?}");
    assert_eq!(supervisor.inn(&["logs", "nobody"]).status.code(), Some(3));
    assert_eq!(supervisor.inn(&["logs", "-f", "nobody"]).status.code(), Some(3));
}

#[test]
fn a_guest_whose_log_is_the_kernels_has_its_share_of_it() {
    if !must::root("a_guest_whose_log_is_the_kernels_has_its_share_of_it") {
        return;
    }
    let config = "[service web]\nlog = kmsg\nautostart = no\nrestart = never\ncommand = /bin/sh -c \"echo hello; yes | head -n 1000\"\n";
    let supervisor = start("kmsg", config);
    // Not this host's own.
    let file = supervisor.directory.join("kmsg");
    std::fs::write(&file, "").unwrap();
    let target = supervisor.pid().to_string();
    let mut mount = std::process::Command::new("nsenter");
    mount.args(["--mount", "--target", &target, "mount", "--bind"]).arg(&file).arg("/dev/kmsg");
    assert!(mount.status().unwrap().success());
    assert_eq!(supervisor.inn(&["start", "web"]).status.code(), Some(0));
    supervisor.wait_for("its end", |this| this.facts("web")["state"] == "down");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[1]), ("<14>inn: web: hello", "<14>inn: web: y"), "{text}");
    assert!(lines.last().unwrap().ends_with(" lines left out"), "{text}");
    let left_out = |line: &&str| line.strip_suffix(" lines left out")?.rsplit(' ').next()?.parse::<usize>().ok();
    let counted: usize = lines.iter().filter_map(left_out).sum();
    let shown = lines.iter().filter(|line| left_out(line).is_none()).count();
    // A line that came in two pieces is two.
    assert!(shown + counted >= 1001 && shown <= 150, "{shown} and {counted}");
    let logs = supervisor.inn(&["logs", "web"]);
    assert!(String::from_utf8_lossy(&logs.stderr).contains("its output goes to the kernel's log"), "{logs:?}");
}

/// Has `guest` print its last words and end while nobody reads; then what is in its log.
fn last_words(supervisor: &Supervisor, guest: &str) -> Vec<u32> {
    let pid = supervisor.await_ready(guest)["pid"].as_u64().unwrap() as u32;
    death::send(supervisor.pid(), "-STOP");
    death::send(pid, "-USR1");
    supervisor.wait_for("its end", |_| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z "));
    death::send(supervisor.pid(), "-CONT");
    supervisor.wait_for("word of that", |this| this.facts(guest)["state"] == "down");
    let logs = String::from_utf8(supervisor.inn(&["logs", guest]).stdout).unwrap();
    logs.lines().map(|line| line.trim_end().parse().unwrap()).collect()
}

#[test]
fn last_words_are_kept_in_however_many_pieces_they_come() {
    if !must::root("last_words_are_kept_in_however_many_pieces_they_come") {
        return;
    }
    // A terminal holds more than it gives at once, and of this pipe each piece that was written is read alone (pipe(2), O_DIRECT).
    let config = format!(
        "[guest box]\nkind = os\nroot = {}\nephemeral = yes\nrestart = never\nready = fd 3\n\
         command = /bin/sh -c \"trap 'i=0; while [ $i -lt 1500 ]; do i=$((i+1)); echo $i; done; exit' USR1; echo >&3; \
         while :; do sleep 0.01; done\"\n\
         [service pieces]\nrestart = never\nready = fd 3\n\
         command = /usr/bin/env python3 -c \"import fcntl, os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [10]); \
         fcntl.fcntl(1, fcntl.F_SETFL, os.O_WRONLY | os.O_DIRECT); os.write(3, bytes([10])); signal.sigwait([10]); \
         [os.write(1, (str(n) + chr(10)).encode()) for n in range(1, 13)]\"\n",
        busybox("last-words").display()
    );
    let supervisor = Supervisor::start("last-words", &config);
    supervisor.await_answer();
    for (guest, last) in [("box", 1500), ("pieces", 12)] {
        let lines = last_words(&supervisor, guest);
        assert!(lines.iter().copied().eq(1..=last), "{guest}: {} lines, until {:?}", lines.len(), lines.last());
    }
}
