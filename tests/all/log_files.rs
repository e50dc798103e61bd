//! `log = PATH SIZE COUNT`: what guests write is in files, rotated, whatever becomes of these.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::must;
use crate::private::Supervisor;

/// The directory of the supervisor of this name.
fn directory(name: &str) -> PathBuf {
    let directory = crate::private::closed().join(format!("inn-test-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory
}

fn start(name: &str, config: &str) -> Supervisor {
    let supervisor = Supervisor::start(name, &config.replace("DIR", directory(name).to_str().unwrap()));
    supervisor.await_answer();
    supervisor
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// What a guest wrote, of the lines of a file; what this program says of it is left out.
fn written(text: &str) -> String {
    let line = |line: &str| match line.as_bytes().get(27) {
        Some(b' ') => format!("{}\n", &line[28..]),
        _ => String::new(),
    };
    text.lines().map(line).collect()
}

/// The supervisor's children that write log files.
fn writers(supervisor: &Supervisor) -> Vec<u32> {
    let is = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "inn-log\n");
    supervisor.processes().into_iter().filter(is).collect()
}

/// Waits until the writer has nothing to do: what it has just written it has not noted yet, and another would write it again.
fn rests(supervisor: &Supervisor, writer: u32) {
    supervisor.wait_for("the writer to rest", |_| {
        fs::read_to_string(format!("/proc/{writer}/stat")).is_ok_and(|stat| stat.contains(") S "))
    });
}

fn kill(pid: u32, signal: &str) {
    assert!(Command::new("kill").arg(signal).arg(pid.to_string()).status().unwrap().success());
}

#[test]
fn output_is_in_a_file_that_only_root_reads_with_the_time_of_each_line() {
    if !must::root("output_is_in_a_file_that_only_root_reads_with_the_time_of_each_line") {
        return;
    }
    let script = "printf 'one\\\\ntw'; sleep 0.2; printf 'o\\\\n\\\\377\\\\nopen'; exec sleep 1000";
    let config = format!(
        "[service web]\nlog = DIR/web.log 64K 2\nstop = SIGKILL\ncommand = /bin/sh -c \"{script}\"\n\
         [service once]\nlog = DIR/once.log 64K 2\nrestart = never\ncommand = /bin/echo last words\n\
         [service late]\nlog = DIR/late.log 64K 2\nautostart = no\ncommand = /bin/sh -c \"echo late; exec sleep 1000\"\n"
    );
    // What is there already is gone on with, and a line of another's in it is ended.
    let directory = directory("files");
    fs::write(directory.join("once.log"), "before").unwrap();
    let mut supervisor = start("files", &config);
    let file = directory.join("web.log");
    supervisor.wait_for("the file", |_| read(&file).ends_with("open"));
    let text = fs::read(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 4);
    for (line, expected) in lines.iter().zip([&b"one"[..], b"two", b"\xff", b"open"]) {
        assert_eq!((line[10], line[26], &line[28..]), (b'T', b'Z', expected));
    }
    supervisor.wait_for("the other", |_| read(&directory.join("once.log")).ends_with("last words\n"));
    assert!(read(&directory.join("once.log")).starts_with("before\n20"));
    // Both are in memory too.
    assert_eq!(supervisor.inn(&["logs", "once"]).stdout, b"last words\n");

    // One process for all; it goes on where it was when it is killed, and a guest that comes later is its too.
    let [writer] = writers(&supervisor)[..] else { panic!("{:?}", writers(&supervisor)) };
    rests(&supervisor, writer);
    kill(writer, "-KILL");
    supervisor.wait_for("another", |this| writers(this).iter().any(|pid| *pid != writer));
    assert!(supervisor.log().contains("the process that writes log files has ended"));
    assert_eq!(supervisor.inn(&["start", "late"]).status.code(), Some(0));
    supervisor.wait_for("the late one", |_| written(&read(&directory.join("late.log"))) == "late\n");
    assert_eq!(supervisor.inn(&["restart", "web"]).status.code(), Some(0));
    supervisor.wait_for("its second run", |_| read(&file).matches("open").count() == 2);
    let whole = "one\ntwo\n\u{fffd}\nopen";
    assert_eq!(written(&read(&file)), format!("{whole}{whole}\n"), "nothing twice, and nothing lost");

    kill(supervisor.pid(), "-TERM");
    assert_eq!(supervisor.wait().code(), Some(0));
    assert!(supervisor.processes().is_empty(), "the writer has gone too");
}

#[test]
fn files_are_rotated_and_hold_all_that_they_have_room_for_also_when_the_supervisor_ends() {
    if !must::root("files_are_rotated_and_hold_all_that_they_have_room_for_also_when_the_supervisor_ends") {
        return;
    }
    let config = "[host]\nlog-size = 4M\n[service many]\nlog = DIR/many.log 64K 3\nrestart = never\nstop = SIGKILL\n\
                  command = /bin/sh -c \"seq 1 20000; echo end; exec sleep 1000\"\n\
                  [service one]\nlog = DIR/one.log 64K 1\nrestart = never\ncommand = /usr/bin/seq 1 20000\n";
    let mut supervisor = start("rotated", config);
    supervisor.wait_for("all of it", |this| this.inn(&["logs", "many"]).stdout.ends_with(b"\nend\n"));
    assert!(supervisor.inn(&["logs", "many"]).stderr.is_empty(), "nothing is lost");
    supervisor.wait_for("the other", |this| this.inn(&["logs", "one"]).stdout.ends_with(b"\n20000\n"));
    kill(supervisor.pid(), "-TERM");
    assert_eq!(supervisor.wait().code(), Some(0));
    let directory = directory("rotated");
    let names = ["many.log.2", "many.log.1", "many.log"];
    let mut all = String::new();
    for name in names {
        let file = read(&directory.join(name));
        // There may be no more than the last line in the newest.
        assert!((name == "many.log" || file.len() > 32 << 10) && file.len() <= 64 << 10, "{name} has {}", file.len());
        assert!(file.starts_with("20") && file.ends_with('\n'), "{name} has whole lines");
        all.push_str(&written(&file));
    }
    assert!(!directory.join("many.log.3").exists());
    let first: u32 = all.lines().next().unwrap().parse().unwrap();
    let expected: String = (first..=20_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(all, expected + "end\n");
    let one = read(&directory.join("one.log"));
    assert!(one.len() <= 64 << 10 && one.ends_with(" 20000\n") && !directory.join("one.log.1").exists());
}

#[test]
fn a_line_is_whole_in_one_file_where_there_is_room_for_it() {
    if !must::root("a_line_is_whole_in_one_file_where_there_is_room_for_it") {
        return;
    }
    let config = "[host]\nlog-size = 4M\n\
                  [service many]\nlog = DIR/many.log 64K 99\nrestart = never\nautostart = no\n\
                  command = /bin/sh -c \"seq -f %0200.0f 1 5000; echo end\"\n\
                  [service long]\nlog = DIR/long.log 64K 9\nrestart = never\nautostart = no\n\
                  command = /bin/sh -c \"tr '\\\\0' x < /dev/zero | head -c 100000; echo; echo end\"\n";
    let supervisor = start("whole", config);
    let writer = {
        supervisor.wait_for("who writes", |this| writers(this).len() == 1);
        writers(&supervisor)[0]
    };
    // Who is behind has its buffer full, which ends anywhere in a line.
    kill(writer, "-STOP");
    assert_eq!(supervisor.inn(&["start", "many", "long"]).status.code(), Some(0));
    for name in ["many", "long"] {
        supervisor.wait_for("all of it", |this| this.inn(&["logs", name]).stdout.ends_with(b"\nend\n"));
    }
    kill(writer, "-CONT");
    let directory = directory("whole");
    let files = |name: &str| -> Vec<String> {
        let older = (1..99).rev().map(|number| directory.join(format!("{name}.log.{number}")));
        let files = older.chain([directory.join(format!("{name}.log"))]);
        files.filter(|file| file.exists()).map(|file| read(&file)).collect()
    };
    for name in ["many", "long"] {
        supervisor.wait_for("the files", |_| files(name).last().is_some_and(|file| file.ends_with(" end\n")));
    }
    let many = files("many");
    assert!(
        many.len() > 15 && many.iter().all(|file| file.len() <= 64 << 10 && file.ends_with('\n')),
        "{}",
        many.len()
    );
    let expected: String = (1..=5000).map(|number| format!("{number:0200}\n")).collect();
    assert!(many.iter().map(|file| written(file)).collect::<String>() == expected + "end\n");
    // One for which there is none goes on in the next.
    let long = files("long");
    assert!(long.iter().all(|file| file.len() <= 64 << 10 && file.ends_with('\n')));
    assert_eq!(long.iter().map(|file| file.lines().count()).collect::<Vec<_>>(), [1, 2]);
    let long: String = long.iter().map(|file| written(file)).collect();
    assert_eq!(long.replace('\n', ""), "x".repeat(100_000) + "end");
}

#[test]
fn a_line_is_whole_wherever_the_file_ends_when_a_whole_buffer_is_written_to_it() {
    if !must::root("a_line_is_whole_wherever_the_file_ends_when_a_whole_buffer_is_written_to_it") {
        return;
    }
    // With one buffer more there would be little room in a file of this size, or none.
    let sizes = [45_000, 45_050, 45_100, 49_000, 49_140, 49_150, 49_200];
    let service = |size: usize| {
        // Behind its time and before the end of the line.
        let length = size - 28 - 1;
        format!(
            "[service s{size}]\nlog = DIR/{size} 64K 3\nrestart = never\nstop = SIGKILL\ncommand = /bin/sh -c \"tr '\\\\0' x < \
             /dev/zero | head -c {length}; echo; until [ -e DIR/go ]; do sleep 0.01; done; seq -f %0200.0f 1 200; exec sleep 1000\"\n"
        )
    };
    let config = "[host]\nlog-size = 4M\n".to_owned() + &sizes.map(service).concat();
    let supervisor = start("edge", &config);
    let directory = directory("edge");
    let file = |size: usize| directory.join(size.to_string());
    for size in sizes {
        supervisor.wait_for("the first line", |_| read(&file(size)).len() == size);
    }
    let [writer] = writers(&supervisor)[..] else { panic!("{:?}", writers(&supervisor)) };
    kill(writer, "-STOP");
    fs::write(directory.join("go"), "").unwrap();
    for size in sizes {
        let name = format!("s{size}");
        supervisor.wait_for("all of it", |this| this.inn(&["logs", &name]).stdout.ends_with(b"00200\n"));
    }
    kill(writer, "-CONT");
    let expected: String = (1..=200).map(|number| format!("{number:0200}\n")).collect();
    for size in sizes {
        supervisor.wait_for("the rest", |_| read(&file(size)).ends_with("00200\n"));
        let older = read(&directory.join(format!("{size}.1")));
        let (first, lines) =
            written(&(older + &read(&file(size)))).split_once('\n').map(|(a, b)| (a.len(), b.to_owned())).unwrap();
        assert_eq!(first, size - 28 - 1);
        assert!(lines == expected, "{size}: {lines}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_told_once_and_harms_nobody() {
    if !must::root("a_file_that_cannot_be_written_is_told_once_and_harms_nobody") {
        return;
    }
    let directory = directory("unwritable");
    fs::create_dir_all(directory.join("folder")).unwrap();
    fs::write(directory.join("secret"), "untouched").unwrap();
    std::os::unix::fs::symlink(directory.join("secret"), directory.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(directory.join("pipe")).status().unwrap().success());
    let service = |name: &str, path: &str| {
        let command = "/bin/sh -c \"while :; do echo line; sleep 0.1; done\"";
        format!("[service {name}]\nlog = {path} 64K 2\ncommand = {command}\nstop = SIGKILL\n")
    };
    let config = [
        service("link", "DIR/link"),
        service("folder", "DIR/folder"),
        service("pipe", "DIR/pipe"),
        service("nowhere", "DIR/no/such/file"),
        service("proc", "/proc/version"),
        service("good", "DIR/good"),
    ];
    let supervisor = start("unwritable", &config.concat());
    supervisor.wait_for("the good one", |_| read(&directory.join("good")).lines().count() > 5);
    for (name, error) in
        [("link", "ELOOP"), ("folder", "EISDIR"), ("pipe", "EINVAL"), ("nowhere", "ENOENT"), ("proc", "EIO")]
    {
        let told = |log: &str| {
            let lines = log.lines().filter(|line| line.contains(&format!("service {name}: could not ")));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        supervisor.wait_for(name, |this| !told(&this.log()).is_empty());
        let told = told(&supervisor.log());
        let is_it = told[0].contains(error) && told[0].contains("its log file") && told[0].contains("inn.conf:");
        assert!(told.len() == 1 && is_it, "{told:?}");
        assert_eq!(supervisor.facts(name)["state"], "ready");
    }
    assert_eq!(read(&directory.join("secret")), "untouched");
    let events = String::from_utf8(supervisor.inn(&["events"]).stdout).unwrap();
    assert_eq!(events.matches("\"log-trouble\"").count(), 5, "{events}");
    // When its place is there it is written, with all that memory has kept.
    fs::create_dir_all(directory.join("no/such")).unwrap();
    supervisor.wait_for("the file", |_| read(&directory.join("no/such/file")).lines().count() > 5);
    supervisor.wait_for("a word", |this| this.log().contains("service nowhere: its log file is written again"));
}

#[test]
fn what_a_full_disk_had_no_room_for_is_counted_in_the_file() {
    if !must::root("what_a_full_disk_had_no_room_for_is_counted_in_the_file") {
        return;
    }
    let directory = directory("full");
    fs::create_dir_all(directory.join("disk")).unwrap();
    let config = "[host]\nlog-size = 4K\n[service flood]\nlog = DIR/disk/flood 1M 2\nstop = SIGKILL\nautostart = no\n\
                  command = /bin/sh -c \"seq 1 100000; echo end; exec sleep 1000\"\n";
    let supervisor = start("full", config);
    let mount = |words: &[&str]| {
        let target = supervisor.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &target]).args(words);
        assert!(command.status().unwrap().success());
    };
    let disk = directory.join("disk");
    // Less than what is kept takes with its times: it fills, however little of the flood its writer catches.
    mount(&["mount", "-t", "tmpfs", "-o", "size=16K", "none", disk.to_str().unwrap()]);
    // The writer sees what the supervisor sees.
    let seen = || PathBuf::from(format!("/proc/{}/root{}", supervisor.pid(), disk.join("flood").display()));
    assert_eq!(supervisor.inn(&["start", "flood"]).status.code(), Some(0));
    let told = |name: &str| String::from_utf8(supervisor.inn(&["logs", name]).stderr).unwrap();
    supervisor.wait_for("a full disk", |this| this.log().contains("could not write its log file: write: ENOSPC"));
    supervisor.wait_for("the end", |this| this.inn(&["logs", "flood"]).stdout.ends_with(b"\nend\n"));
    assert_eq!(told("flood"), format!("inn: flood: what is older is in {}\n", disk.join("flood").display()));
    mount(&["mount", "-o", "remount,size=8M", disk.to_str().unwrap()]);
    supervisor.wait_for("the rest", |_| read(&seen()).ends_with(" end\n"));
    supervisor.wait_for("a word", |this| this.log().contains("service flood: its log file is written again"));
    assert_eq!(supervisor.log().matches("could not write its log file").count(), 1);
    let text = read(&seen());
    let lost: u64 = text
        .lines()
        .filter(|line| line.as_bytes().get(27) == Some(&b'!'))
        .map(|line| line[29..].strip_suffix(" bytes lost").unwrap().parse::<u64>().unwrap())
        .sum();
    let all: u64 = (1..=100_000_u64).map(|number| number.to_string().len() as u64 + 1).sum::<u64>() + 4;
    // A line that lost its end has one of its own in the file.
    let cut = text.lines().filter(|line| line.as_bytes().get(27) == Some(&b'!')).count() as u64;
    let kept = written(&text).len() as u64;
    assert!(lost > 0 && (all..=all + cut).contains(&(lost + kept)), "{lost} and {kept} are not {all}");
}

#[test]
fn a_writer_that_stands_still_is_told_of_and_holds_nobody_up() {
    if !must::root("a_writer_that_stands_still_is_told_of_and_holds_nobody_up") {
        return;
    }
    let config = "[service web]\nlog = DIR/web.log 64K 2\nstop = SIGKILL\n\
                  command = /bin/sh -c \"while :; do echo line; sleep 0.1; done\"\n";
    let mut supervisor = start("still", config);
    let file = directory("still").join("web.log");
    supervisor.wait_for("the file", |_| read(&file).lines().count() > 2);
    let [writer] = writers(&supervisor)[..] else { panic!("{:?}", writers(&supervisor)) };
    kill(writer, "-STOP");
    let before = supervisor.inn(&["logs", "web"]).stdout.len();
    supervisor.wait_for("a word", |this| this.log().contains("service web: could not write its log file in time"));
    assert!(supervisor.inn(&["logs", "web"]).stdout.len() > before, "the guest goes on");
    kill(writer, "-CONT");
    supervisor.wait_for("the rest", |this| this.log().contains("service web: its log file is written again"));
    // One that never ends is left behind at the supervisor's own end.
    kill(writer, "-STOP");
    kill(supervisor.pid(), "-TERM");
    assert_eq!(supervisor.wait().code(), Some(0));
}

#[test]
fn a_reload_moves_a_log_to_another_file_at_the_next_start() {
    if !must::root("a_reload_moves_a_log_to_another_file_at_the_next_start") {
        return;
    }
    let command = "command = /bin/sh -c \"echo run; exec sleep 1000\"\nstop = SIGKILL\n";
    let config = |log: &str| format!("[service web]\nlog = {log}\n{command}[service more]\n{command}");
    let directory = directory("moved");
    let supervisor = start("moved", &config("64K"));
    supervisor.await_ready("web");
    // It may be ended otherwise before it has said anything.
    supervisor.wait_for("its first words", |this| this.inn(&["logs", "web"]).stdout == b"run\n");
    assert!(writers(&supervisor).is_empty(), "there is nothing for one");
    let reload = |log: &str| {
        fs::write(directory.join("inn.conf"), config(log)).unwrap();
        let output = supervisor.inn(&["reload"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(supervisor.inn(&["restart", "--wait", "web"]).status.code(), Some(0));
    };
    let [one, two] = ["one", "two"].map(|name| directory.join(name));
    reload(&format!("{} 64K 2", one.display()));
    supervisor.wait_for("the first file", |_| written(&read(&one)) == "run\nrun\n");
    reload(&format!("{} 64K 2", two.display()));
    supervisor.wait_for("the second file", |_| written(&read(&two)) == "run\n");
    assert_eq!(written(&read(&one)), "run\nrun\n");
    reload("off");
    supervisor.wait_for("its end", |this| writers(this).is_empty());
}

#[test]
fn the_rest_is_written_when_the_supervisor_is_killed() {
    if !must::root("the_rest_is_written_when_the_supervisor_is_killed") {
        return;
    }
    let config = "[host]\nlog-size = 4M\n[service many]\nlog = DIR/many.log 4M 2\nstop = SIGKILL\n\
                  command = /bin/sh -c \"echo begin; until [ -e DIR/go ]; do sleep 0.01; done; seq 1 20000; exec sleep 1000\"\n";
    let mut supervisor = start("killed", config);
    let directory = directory("killed");
    let file = directory.join("many.log");
    supervisor.wait_for("the file", |_| written(&read(&file)) == "begin\n");
    let [writer] = writers(&supervisor)[..] else { panic!("{:?}", writers(&supervisor)) };
    // So that something is left for it when its supervisor is gone.
    kill(writer, "-STOP");
    fs::write(directory.join("go"), "").unwrap();
    supervisor.wait_for("all of it", |this| this.inn(&["logs", "many"]).stdout.ends_with(b"\n20000\n"));
    kill(supervisor.pid(), "-KILL");
    supervisor.wait();
    kill(writer, "-CONT");
    supervisor.wait_for("its end", |this| writers(this).is_empty());
    assert!(written(&read(&file)).ends_with("\n19999\n20000\n"));
}
