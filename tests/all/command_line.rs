//! Command lines: what the parser makes of them.

use std::ffi::{CStr, CString};

use innkeep::cli::parse::{Invocation, Options, Wrong, parse};
use innkeep::cli::verb::{Act, OPTIONS, OptFacts, VERBS, Verb, overview};
use innkeep::config::key::Key;

/// Parses the words of `line`, which are separated by blanks.
fn parsed(line: &str) -> Result<Invocation, Wrong> {
    // The parser keeps words for the life of the program, as those of a real command line are.
    let words: Vec<&'static CStr> = std::iter::once("inn")
        .chain(line.split_whitespace())
        .map(|word| &*Box::leak(CString::new(word).unwrap().into_boxed_c_str()))
        .collect();
    parse(&words[..])
}

fn good(line: &str) -> Invocation {
    parsed(line).unwrap_or_else(|wrong| panic!("{line}: {wrong}"))
}

fn wrong(line: &str) -> String {
    parsed(line).expect_err(line).to_string()
}

fn operands(invocation: &Invocation) -> Vec<&str> {
    invocation.operands.iter().map(|word| word.to_str().unwrap()).collect()
}

#[test]
fn options_stand_before_the_verb_behind_it_and_between_operands() {
    let expected = Options { socket: Some(c"/s"), quiet: true, timeout_ms: Some(5000), ..Options::default() };
    for line in [
        "--socket /s -q stop --timeout 5s a b",
        "stop a --socket=/s b -q -t5",
        "stop --timeout=5 a b --quiet --socket /s",
        "stop -qt 5 --socket /s -- a b",
    ] {
        let invocation = good(line);
        assert_eq!(invocation.verb.act, Act::Stop);
        assert_eq!(invocation.options, expected, "{line}");
        assert_eq!(operands(&invocation), ["a", "b"], "{line}");
    }
}

#[test]
fn a_command_keeps_its_own_options() {
    for (line, command) in [
        ("exec web ls -l --help", 3),
        ("exec --socket /s web ls -- -q", 5),
        ("exec web -- --help", 4),
        ("init sh -c x", 2),
        ("init -- -x", 3),
        ("run --memory 64M -- sh --memory 1", 5),
        ("run -- --", 3),
    ] {
        let invocation = good(line);
        assert_eq!(invocation.command, command, "{line}");
        assert!(!invocation.options.help, "{line}");
    }
}

#[test]
fn run_takes_every_key_of_a_guest_that_is_built() {
    let invocation = good("run --memory 64M --env=A=b --env C=d --ephemeral --readonly=no -- id");
    let keys: Vec<_> = invocation.keys.iter().map(|(key, value)| (*key, value.to_str().unwrap())).collect();
    assert_eq!(
        keys,
        [(Key::Memory, "64M"), (Key::Env, "A=b"), (Key::Env, "C=d"), (Key::Ephemeral, "yes"), (Key::Readonly, "no")]
    );
    assert!(invocation.dashes);
    assert!(!good("run web").dashes);
    assert_eq!(wrong("run --publish /a -- id"), "--publish is not supported by this version");
    assert_eq!(wrong("run --memroy 1 -- id"), "there is no option `--memroy`; did you mean --memory?");
}

#[test]
fn what_makes_no_sense_is_said() {
    for (line, words) in [
        ("", "what to do? `inn --help` lists the verbs"),
        ("lsit", "there is no verb `lsit`; did you mean list?"),
        ("turnip", "there is no verb `turnip`"),
        ("clone web", "clone is not supported by this version"),
        ("snapshot --help", "snapshot is not supported by this version"),
        ("list --jsno", "there is no option `--jsno`; did you mean --json?"),
        ("list --follow", "there is no option `--follow`"),
        ("list -x", "there is no option `-x`"),
        ("version web", "version has no use for `web`"),
        ("stop", "stop needs more: inn stop GUEST..."),
        ("stop --timeout", "--timeout needs a value"),
        ("stop --timeout soon web", "--timeout: `soon` is not one"),
        ("logs -n many", "--lines: `many` is not one"),
        ("list --json=yes", "--json takes no value"),
        ("exec web", "exec needs more: inn exec GUEST COMMAND..."),
        ("run --memory 1M", "run needs more: inn run [--KEY VALUE]... -- COMMAND... | GUEST"),
        ("init --", "init needs more: inn init -- COMMAND..."),
    ] {
        assert_eq!(wrong(line), words, "{line}");
    }
}

#[test]
fn help_is_asked_for_in_every_way() {
    for line in ["--help", "-h", "help"] {
        assert_eq!(good(line).verb.act, Act::Help);
    }
    assert_eq!(good("--version").verb.act, Act::Version);
    for verb in VERBS {
        assert!(good(&format!("{} --help", verb.name)).options.help, "{}", verb.name);
        assert!(good(&format!("{} -h", verb.name)).options.help, "{}", verb.name);
    }
}

#[test]
fn every_verb_explains_itself_within_eighty_columns_with_an_example() {
    for verb in VERBS {
        let mut text = String::new();
        verb.explain(&mut text).unwrap();
        // What the keys of `run` have to say is longer: it is the manual's.
        assert!(text.lines().take_while(|line| *line != "keys:").all(|line| line.len() <= 80), "{text}");
        assert!(text.starts_with(&format!("inn {} - {}", verb.name, verb.help)));
        assert!(text.contains(&format!("\n  inn {}", verb.name)), "{}: no example", verb.name);
        for facts in OPTIONS.iter().filter(|facts| verb.takes(facts.option)) {
            assert!(text.contains(&format!("--{} ", facts.long)), "{}: --{}", verb.name, facts.long);
        }
    }
    let mut text = String::new();
    Verb::named(b"run").unwrap().explain(&mut text).unwrap();
    assert!(text.contains("  --memory        hard limit of memory\n"), "{text}");
    assert!(!text.contains("--publish"));
    text.clear();
    overview(&mut text).unwrap();
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    for line in VERBS.iter().map(|verb| verb.name) {
        assert!(text.contains(&format!("\n  {line} ")), "{line}");
    }
}

#[test]
fn no_two_verbs_and_no_two_options_are_called_the_same() {
    for (index, verb) in VERBS.iter().enumerate() {
        assert_eq!(Verb::named(verb.name.as_bytes()).map(|found| found.name), Some(verb.name));
        assert!(VERBS[..index].iter().all(|other| other.name != verb.name));
    }
    for (index, facts) in OPTIONS.iter().enumerate() {
        // One letter may be one option of this verb, and another of that.
        let meet = |other: &OptFacts| VERBS.iter().any(|verb| verb.takes(other.option) && verb.takes(facts.option));
        let clash = |other: &&OptFacts| {
            other.long == facts.long || other.short.is_some() && other.short == facts.short && meet(other)
        };
        assert!(!OPTIONS[..index].iter().any(|other| clash(&other)), "{}", facts.long);
    }
}
