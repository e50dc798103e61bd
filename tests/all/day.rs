//! A day of an operator's work in a booted machine, with every verb: `tests/machines/day/transcript`.
//!
//! The transcript is what a person would type and see. A line `$ COMMAND` is run by the machine's shell; what follows, up to
//! the next one or a comment, is what it prints, and a last line `[N]` its exit code where that is not 0. `…` stands for
//! any text in a line; how many blanks there are does not matter. `INN_UPDATE=1` writes what was seen in the place of lines
//! that do not match.

use std::collections::BTreeSet;
use std::path::PathBuf;

use innkeep::cli::verb::VERBS;

use crate::machine::{Machine, Recipe};
use crate::must;

/// Verbs of another day: this host is up, and stays up until the last command.
const ELSEWHERE: [&str; 4] = ["supervise", "init", "reboot", "halt"];

/// A command and what it is to print.
struct Exchange {
    /// Comments and blank lines before it.
    before: Vec<String>,
    command: String,
    expected: Vec<String>,
}

#[test]
fn an_operators_day_is_as_the_transcript_has_it() {
    let recipe = Recipe { name: "day", kernel: "6.12", folder: "day", command_line: "" };
    let text = std::fs::read_to_string(path()).expect("the transcript");
    let exchanges = parse(&text);
    every_verb_is_used(&exchanges);
    let Some(mut machine) = Machine::boot(recipe) else { return };
    let update = std::env::var_os("INN_UPDATE").is_some_and(|value| value == "1");
    let mut seen = String::new();
    let (last, day) = exchanges.split_last().expect("commands");
    for exchange in day {
        let lines = run(&mut machine, &exchange.command);
        seen.push_str(&merged(exchange, &lines));
        if !update {
            machine.check(&format!("$ {}", exchange.command), |_| compare(exchange, &lines));
        }
    }
    machine.check("the last command takes the host down", |machine| {
        machine.tell(&last.command);
        assert!(machine.wait().success());
    });
    seen.push_str(&merged(last, &[]));
    machine.end();
    if update {
        std::fs::write(path(), seen).expect("the transcript is written");
    }
}

#[test]
fn a_wildcard_matches_any_text_in_its_line() {
    for (expected, line) in [("a … c", "a b  c"), ("…", ""), ("a…", "a"), ("a …b… c", "a xbbx c"), ("x", "x")]
    {
        assert!(matches(expected, line), "{expected} {line}");
    }
    for (expected, line) in [("a … c", "a b"), ("a", "ab"), ("a…c", "ab"), ("a…a", "a"), ("", "x")] {
        assert!(!matches(expected, line), "{expected} {line}");
    }
}

fn path() -> PathBuf {
    must::project().join("tests/machines/day/transcript")
}

fn parse(text: &str) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut before = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let before = std::mem::take(&mut before);
            exchanges.push(Exchange { before, command: command.to_owned(), expected: Vec::new() });
        } else if line.starts_with("# ") || line.is_empty() || !before.is_empty() {
            before.push(line.to_owned());
        } else {
            exchanges.last_mut().expect("a command comes first").expected.push(line.to_owned());
        }
    }
    exchanges
}

/// A verb that nobody used would be one that nobody looked at.
fn every_verb_is_used(exchanges: &[Exchange]) {
    let is_separator = |c: char| c.is_whitespace() || ";|&$()".contains(c);
    let words = |exchange: &'_ Exchange| {
        let words: Vec<String> = exchange.command.split(is_separator).map(str::to_owned).collect();
        words.windows(2).filter(|pair| pair[0] == "inn").map(|pair| pair[1].clone()).collect::<Vec<_>>()
    };
    let used: BTreeSet<String> = exchanges.iter().flat_map(words).collect();
    let unused = VERBS.iter().map(|verb| verb.name).filter(|name| !used.contains(*name) && !ELSEWHERE.contains(name));
    assert_eq!(unused.collect::<Vec<_>>(), Vec::<&str>::new(), "verbs that the transcript does not use");
}

/// What a command prints, and its exit code where that is not 0. Blank lines are left out.
fn run(machine: &mut Machine, command: &str) -> Vec<String> {
    let output = machine.run(command);
    let mut lines: Vec<String> =
        output.text.lines().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect();
    if output.code != 0 {
        lines.push(format!("[{}]", output.code));
    }
    lines
}

fn compare(exchange: &Exchange, lines: &[String]) {
    let is_same = lines.len() == exchange.expected.len()
        && exchange.expected.iter().zip(lines).all(|(expected, line)| matches(expected, line));
    assert!(is_same, "expected:\n{}\nseen:\n{}", exchange.expected.join("\n"), lines.join("\n"));
}

/// The exchange as it was seen; lines that match stay as they are written.
fn merged(exchange: &Exchange, lines: &[String]) -> String {
    let mut text: String = exchange.before.iter().map(|line| format!("{line}\n")).collect();
    text.push_str(&format!("$ {}\n", exchange.command));
    for (index, line) in lines.iter().enumerate() {
        let kept = exchange.expected.get(index).filter(|expected| matches(expected, line));
        text.push_str(&format!("{}\n", kept.unwrap_or(line)));
    }
    text
}

fn matches(expected: &str, line: &str) -> bool {
    let tidy = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (expected, line) = (tidy(expected), tidy(line));
    let mut parts = expected.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
