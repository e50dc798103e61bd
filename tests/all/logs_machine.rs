//! Logs and events on each kernel: readers that wait are woken, and what only a whole machine has to tell.

use crate::machine::{Guest, Machine, Recipe};

#[test]
fn logs_and_events_come_on_5_10() {
    logs("5.10");
}

#[test]
fn logs_and_events_come_on_6_1() {
    logs("6.1");
}

#[test]
fn logs_and_events_come_on_6_12() {
    logs("6.12");
}

fn logs(kernel: &'static str) {
    let recipe = Recipe { name: "logs", kernel, folder: "logs", command_line: "" };
    let Some(mut machine) = Machine::boot(recipe) else { return };
    machine.check("who follows is woken by what is written", |machine| {
        machine.guest_until("talker", Guest::is_ready);
        machine.ok("inn logs -f talker > /run/followed 2>&1 & inn events -f > /run/events 2>&1 &");
        machine.until("cat /run/events", |output| output.text.contains("\"supervising\""));
        machine.ok("sleep 1; touch /run/go");
        machine.until("cat /run/followed", |output| output.text.trim_end().ends_with("went"));
    });
    machine.check("a guest that is out of memory is an event with its limit and its victim", |machine| {
        machine.run("inn start hog");
        let killed = machine.until("grep out-of-memory /run/events", |output| output.text.contains("\"victim\""));
        for part in ["\"guest\":\"hog\"", "\"victim\":\"tail\"", "\"limit_bytes\":16777216", "\"full\":\"guest\""] {
            assert!(killed.text.contains(part), "{part} is not in {}", killed.text);
        }
    });
    machine.check("a guest's lines are in the kernel's log, and no more than its share", |machine| {
        let text = machine
            .until("dmesg | grep 'inn: kernel: '", |output| {
                output.text.contains("hello") && output.text.lines().count() >= 2
            })
            .text;
        assert!(text.lines().count() <= 150, "{text}");
    });
    machine.check("a log file is written by one process, which follows the ring", |machine| {
        machine.until("cat /run/filed.log", |output| output.text.trim_end().ends_with("Z to a file"));
        let mode = machine.ok("stat -c %a /run/filed.log");
        assert_eq!(mode.trim(), "600");
    });
    machine.end();
}
