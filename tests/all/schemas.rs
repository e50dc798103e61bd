//! What each verb prints with `--json`, against its schema in `src/cli/schemas`: every member is described there, with its unit,
//! and there is none that is not.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use innkeep::cli::counters::Counter;
use innkeep::cli::facts;
use innkeep::cli::verb::{Opt, VERBS};
use innkeep::control::wire::State;
use serde_json::Value;

use crate::must;
use crate::private::Supervisor;

/// Runs the checker with `arguments` and `text`; nothing where it has nothing to say.
fn checked(arguments: &[&str], text: &[u8]) -> Result<(), String> {
    let mut command = Command::new("python3");
    command.arg(must::project().join("tests/schema.py")).args(arguments);
    let mut checker = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("python3 starts");
    let _ = checker.stdin.take().unwrap().write_all(text);
    let Output { status, stderr, .. } = checker.wait_with_output().unwrap();
    if status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&stderr).into_owned()) }
}

/// Sees that what `verb` printed is what its schema says.
pub fn is_valid(verb: &str, text: &[u8]) {
    if can_check() {
        assert_eq!(checked(&[verb], text), Ok(()));
    }
}

fn can_check() -> bool {
    let found = Command::new("python3").args(["-c", "import jsonschema"]).stderr(Stdio::null()).status();
    must::may_run("schemas", found.is_ok_and(|status| status.success()), "it needs python3-jsonschema")
}

fn schema(name: &str) -> Value {
    let path = must::project().join(format!("src/cli/schemas/{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn every_verb_that_prints_json_has_a_schema() {
    for verb in VERBS.iter().filter(|verb| verb.takes(Opt::Json)) {
        let schema = schema(verb.name);
        assert!(schema["title"].as_str().is_some_and(|title| !title.is_empty()), "{}", verb.name);
    }
    if can_check() {
        assert_eq!(checked(&[], b""), Ok(()));
    }
}

#[test]
fn the_schema_of_a_guest_has_every_fact_and_counter_and_no_other() {
    let guest = schema("guest");
    let described: Vec<&str> = guest["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut known: Vec<&str> = facts::names().chain(Counter::names()).collect();
    known.sort_unstable();
    assert_eq!(described, known);
    let states: Vec<&str> = State::ALL.iter().map(|state| state.word()).collect();
    assert_eq!(guest["properties"]["state"]["enum"], serde_json::json!(states));
    let counted = &schema("status")["oneOf"][0]["properties"]["states"]["properties"];
    assert_eq!(counted.as_object().unwrap().len(), states.len());
}

#[test]
fn what_verbs_print_is_what_their_schemas_say() {
    if !can_check() || !must::root("schemas") {
        return;
    }
    let config = "[service web]\ncommand = /bin/sh -c \"echo hello; sleep 1000\"\ndescription = a word\nautostart = no\n\
        [service gone]\ncommand = /no/such\nrestart = never\n[service down]\ncommand = /bin/sleep 1\nautostart = no\n";
    let this = Supervisor::start("schemas", config);
    this.await_answer();
    let socket = this.directory.join("control");
    let pid = std::process::id().to_string();
    let config = this.directory.join("inn.conf").into_os_string().into_string().unwrap();
    fs::write(this.directory.join("bad.conf"), "[guest web]\nmemroy = 1\n").unwrap();
    let bad = this.directory.join("bad.conf").into_os_string().into_string().unwrap();
    let mut seen = Vec::new();
    for words in [
        &["start", "web", "nobody"][..],
        &["restart", "--wait", "web"],
        &["logs", "web"],
        &["list"],
        &["list", "-o", "name,memory,io_reads"],
        &["status"],
        &["status", "*"],
        &["stats"],
        &["stats", "web"],
        &["which", &pid],
        &["set", "web", "oom-score", "500", "rlimit", "nofile 64:128"],
        &["freeze", "web"],
        &["list", "web"],
        &["thaw", "web"],
        &["version"],
        &["check", &config],
        &["check", &bad],
        &["stop", "web"],
        &["kill", "web"],
        &["list"],
    ] {
        let verb = words[0];
        if verb == "logs" {
            // It runs, and may not have said anything yet.
            this.wait_for("its first words", |this| !this.inn(words).stdout.is_empty());
        }
        // Beside the supervisor, where the kernel's counters can be read too.
        let mut command = vec![verb, "--json"];
        if verb != "check" {
            command.extend(["--socket", socket.to_str().unwrap()]);
        }
        command.extend(&words[1..]);
        let output = this.inside(&command);
        assert_eq!(checked(&[verb], &output.stdout), Ok(()), "{words:?}: {output:?}");
        seen.push(verb);
    }
    // Two lines of what is followed.
    let mut follow = this.command(&["stats", "--follow", "--interval", "100ms", "--json", "web"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follow.stdout.take().unwrap()));
    let text = [lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap()].join("\n");
    drop(lines);
    follow.wait().unwrap();
    assert_eq!(checked(&["stats"], text.as_bytes()), Ok(()));
    // Others have tests of their own, beside the mechanism.
    let others = ["logs", "events", "reload"];
    for verb in VERBS.iter().filter(|verb| verb.takes(Opt::Json) && !others.contains(&verb.name)) {
        assert!(seen.contains(&verb.name), "inn {} --json is not tested", verb.name);
    }
}

#[test]
fn what_no_schema_has_is_refused() {
    if !can_check() {
        return;
    }
    for (schema, text) in [
        ("which", r#"{"pid":1,"guest":null,"cgroup":"/","command":"x","more":1}"#),
        ("which", r#"{"pid":1,"guest":null,"cgroup":"/"}"#),
        ("which", ""),
        ("list", r#"[{"name":"web","memory":1}]"#),
        ("stop", r#"{"guest":"web","done":"yes","exit":0}"#),
        ("status", "{}"),
    ] {
        assert!(checked(&[schema], text.as_bytes()).is_err(), "{text}");
    }
}
