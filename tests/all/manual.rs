//! The manual and the completions against the program: what one has, the others have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use innkeep::cli::verb::{GROUPS, LATER, VERBS};
use innkeep::config::key::{Key, section};
use innkeep::plan::change::Change;
use innkeep::text::words;

use crate::must;
use crate::private::Supervisor;

/// What build.rs has put beside the program.
fn share() -> PathBuf {
    must::inn().parent().expect("a directory").join("share")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(share().join("man").join(name)).expect(name)
}

fn inn(arguments: &[&str]) -> Output {
    Command::new(must::inn()).args(arguments).stdin(Stdio::null()).output().expect("inn starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The verbs that `inn --help` lists.
fn verbs() -> BTreeSet<String> {
    let help = text(&inn(&["--help"]).stdout);
    let listed = help.split("\n\n").filter(|part| part.contains(":\n  ") && !part.starts_with("to begin"));
    let lines = listed.flat_map(|part| part.lines().filter_map(|line| line.strip_prefix("  ")));
    lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// What `inn VERB --help` lists below "options:", and below "keys:".
fn listed(verb: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let help = text(&inn(&[verb, "--help"]).stdout);
    let (_, options) = help.split_once("\noptions:\n").expect(verb);
    let (options, keys) = options.split_once("keys:\n").unwrap_or((options, ""));
    let names = |text: &str| {
        let words = text.lines().flat_map(|line| line.split_whitespace().take(2));
        words.map(|word| word.trim_end_matches(',')).filter(|word| word.starts_with('-')).map(str::to_owned).collect()
    };
    (names(options), names(keys))
}

/// Without the marks of roff.
fn plain(roff: &str) -> String {
    let text = roff.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "").replace("\\-", "-").replace("\\&", "");
    let text = text.replace("\\(aq", "'").replace("\\(ga", "`").replace("\\(ha", "^").replace("\\(dq", "\"");
    text.replace("\\(ti", "~").replace("\\e", "\\")
}

#[test]
fn the_pages_are_clean_roff() {
    for name in ["man8/inn.8", "man5/inn.conf.5"] {
        let path = share().join("man").join(name);
        for (program, arguments) in [
            ("mandoc", &["-T", "lint", "-W", "warning"][..]),
            ("man", &["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]),
        ] {
            let output = Command::new(program).args(arguments).arg(&path).output();
            let Ok(output) = output else {
                must::may_run("the_pages_are_clean_roff", false, &format!("it needs {program}"));
                continue;
            };
            // mandoc lints to standard output, man warns on standard error.
            let said = if program == "mandoc" { text(&output.stdout) } else { String::new() } + &text(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{program} {name}: {said}");
        }
    }
}

#[test]
fn the_manual_has_each_verb_with_each_of_its_options_and_no_other() {
    let page = page("man8/inn.8");
    let mut found = BTreeMap::new();
    for part in page.split("\n.SS ").skip(1) {
        let part = plain(part);
        let name = part.lines().next().unwrap().trim_matches('"').to_owned();
        let options = part.lines().find_map(|line| line.strip_prefix("Options: ")).expect("its options");
        let options = options.split([' ', ',', ';', '.']).filter(|word| word.starts_with('-')).map(str::to_owned);
        found.insert(name, options.collect::<BTreeSet<_>>());
    }
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), verbs());
    for (verb, options) in found {
        assert_eq!(options, listed(&verb).0, "{verb}");
        assert!(inn(&[&verb, "--help"]).status.success(), "{verb}");
    }
}

#[test]
fn the_manual_explains_each_option_once() {
    let page = plain(&page("man8/inn.8"));
    let (_, options) = page.split_once("\n.SH OPTIONS\n").expect("a section");
    let options = options.split("\n.SH ").next().unwrap();
    let explained: Vec<&str> = options.split("\n.TP\n").skip(1).map(|part| part.lines().next().unwrap()).collect();
    let names: BTreeSet<String> = explained
        .iter()
        .map(|line| line.split([' ', ',']).find(|word| word.starts_with("--")).expect("a name").to_owned())
        .collect();
    assert_eq!(names.len(), explained.len(), "{explained:?}");
    let all = verbs().iter().flat_map(|verb| listed(verb).0).filter(|word| word.starts_with("--")).collect();
    assert_eq!(names, all);
}

/// The keys that the page explains, each with its example, by the section that it is in.
fn explained() -> Vec<(&'static str, String, String)> {
    let page = plain(&page("man5/inn.conf.5"));
    let mut found = Vec::new();
    for part in page.split("\n.SH ").filter(|part| part.starts_with("\"KEYS OF ")) {
        let heading = part.lines().next().unwrap();
        let kind = match heading {
            "\"KEYS OF [host]\"" => "host",
            "\"KEYS OF [link]\"" => "link x",
            "\"KEYS OF [service] ONLY\"" => "service x",
            _ => "guest x",
        };
        for key in part.split("\n.TP\n").skip(1) {
            let (name, _) = key.split_once(" = ").expect("a key");
            for line in key.lines().filter_map(|line| line.strip_prefix("Example: ")) {
                let (again, example) = line.split_once(" = ").expect("an example");
                assert_eq!(again, name);
                found.push((kind, name.to_owned(), example.to_owned()));
            }
        }
    }
    found
}

/// What `inn check` says of a config.
fn checked(name: &str, config: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("manual-{name}-{}.conf", std::process::id()));
    std::fs::write(&path, config).expect("a config");
    let output = inn(&["check", path.to_str().unwrap()]);
    std::fs::remove_file(&path).expect("it was there");
    text(&output.stderr) + if output.status.code() == Some(2) { "" } else { "good" }
}

#[test]
fn each_key_that_check_knows_is_in_the_manual_and_no_other() {
    let explained = explained();
    let all = Key::ALL.iter().filter(|key| key.is_built()).map(|key| key.name().to_owned());
    assert_eq!(explained.iter().map(|(_, name, _)| name.clone()).collect::<BTreeSet<_>>(), all.collect());
    for (kind, name, _) in &explained {
        // Known, and carried out: what it lacks is a value.
        let said = checked(&format!("known-{name}"), &format!("[{kind}]\n{name} =\n"));
        assert!(said.contains("has no value") && !said.contains("not supported"), "{name}: {said}");
    }
    let page = plain(&page("man5/inn.conf.5"));
    let later = page.split("\nThe keys:\n").nth(1).expect("the keys of later").lines().next().unwrap();
    let later: BTreeSet<&str> = later.trim_end_matches('.').split(", ").collect();
    assert_eq!(later, Key::ALL.iter().filter(|key| !key.is_built()).map(|key| key.name()).collect());
}

#[test]
fn each_example_of_a_key_is_one_that_check_takes() {
    const OTHERS: &str = "[profile small]\nmemory = 1M\n[bridge br0]\n[service store]\ncommand = /bin/x\n[service last]\ncommand = /bin/x\n";
    for (kind, name, example) in explained() {
        // What the others of its section must have.
        let more = match (kind, name.as_str()) {
            ("host" | "link x", _) => "",
            ("service x", _) => "command = /bin/x\n",
            (_, "kind" | "command") => "root = /r\n",
            (_, "image" | "root") => "kind = app\ncommand = /bin/x\n",
            (_, "memory-high" | "memory-low") => "kind = app\ncommand = /bin/x\nroot = /r\nmemory = 1G\n",
            (_, "features" | "nesting") => "kind = os\nroot = /r\nmemory = 1G\n",
            _ => "kind = app\ncommand = /bin/x\nroot = /r\n",
        };
        let missing = match name.as_str() {
            "kind" => "command = /bin/x\n",
            "command" => "kind = app\n",
            _ => "",
        };
        let kind = if name == "vlan" { "link x.1" } else { kind };
        let said =
            checked(&format!("example-{name}"), &format!("{OTHERS}[{kind}]\n{name} = {example}\n{more}{missing}"));
        assert_eq!(said, "good", "{name} = {example}");
    }
}

#[test]
fn the_manual_and_the_completions_know_what_set_changes() {
    let page = plain(&page("man5/inn.conf.5"));
    let said = page.split("\n.TP\n").filter(|part| part.contains("Can be changed while the guest runs"));
    let said: BTreeSet<&str> = said.map(|part| part.split(" = ").next().unwrap()).collect();
    let live = Key::ALL.iter().filter(|key| Change::is_of(**key)).map(|key| key.name());
    assert_eq!(said, live.collect());
}

#[test]
fn every_verb_is_in_one_group_and_has_an_example() {
    let mut grouped = BTreeSet::new();
    for (heading, names) in GROUPS {
        for name in words(names) {
            assert!(grouped.insert(name), "{name} is in two groups, the second is {heading}");
            let known = VERBS.iter().any(|verb| verb.name == name) || words(LATER).any(|later| later == name);
            assert!(known, "{name} is no verb");
        }
    }
    for verb in VERBS {
        assert!(grouped.contains(verb.name), "{} is in no group", verb.name);
        let begins = format!("\n  inn {}", verb.name);
        assert!(verb.more.contains(&begins), "{} has no example", verb.name);
    }
}

#[test]
fn make_installs_the_program_its_manual_and_the_completions() {
    must::inn();
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("install-{}", std::process::id()));
    let mut make = Command::new("make");
    // What there is, is not made anew.
    make.current_dir(must::project()).args(["-s", "-o", "all", "install", "PREFIX=/usr"]);
    let output = make.arg(format!("DESTDIR={}", to.display())).env_remove("MAKEFLAGS").output().expect("make starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (path, beginning) in [
        ("sbin/inn", "\x7fELF"),
        ("share/man/man8/inn.8", ".TH INN 8 "),
        ("share/man/man5/inn.conf.5", ".TH INN.CONF 5 "),
        ("share/bash-completion/completions/inn", "# Completion of inn(8) for bash"),
        ("share/zsh/site-functions/_inn", "#compdef inn"),
        ("share/fish/vendor_completions.d/inn.fish", "# Completion of inn(8) for fish"),
    ] {
        let bytes = std::fs::read(to.join("usr").join(path)).expect(path);
        assert!(bytes.starts_with(beginning.as_bytes()), "{path}");
    }
    std::fs::remove_dir_all(to).unwrap();
}

// Completions ----------------------------------------------------------------------------------------------------------

/// A shell, as it is asked for what it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Each shell that is there.
fn shells(test: &str) -> Vec<Shell> {
    let there = |shell: &Shell| {
        let name = format!("{shell:?}").to_lowercase();
        let found = Command::new(&name).args(["-c", "exit"]).status().is_ok_and(|status| status.success());
        must::may_run(test, found, &format!("it needs {name}"))
    };
    [Shell::Bash, Shell::Zsh, Shell::Fish].into_iter().filter(there).collect()
}

impl Shell {
    /// What it completes `inn LINE` to.
    fn completes(self, line: &str) -> BTreeSet<String> {
        let last = line.rsplit(' ').next().unwrap_or_default();
        let (option, typed) = last.split_at(last.find('=').map_or(0, |at| at + 1));
        let printed = self.prints(line);
        // fish says the option again, and also offers what has the letters elsewhere.
        let words = printed.lines().map(|line| line.split('\t').next().unwrap_or_default().trim_end());
        let words = words.map(|word| word.strip_prefix(option).unwrap_or(word));
        words.filter(|word| word.starts_with(typed)).map(str::to_owned).collect()
    }

    /// What it prints for that, and nothing on standard error.
    fn prints(self, line: &str) -> String {
        let (share, scripts) = (share(), must::project().join("tests/shells"));
        let line = format!("{} {line}", must::inn().display());
        let mut command = Command::new(format!("{self:?}").to_lowercase());
        match self {
            Shell::Bash => {
                command.arg(scripts.join("complete.bash")).arg(share.join("bash-completion/completions/inn"));
                // As readline takes a line apart.
                let apart = line.replace('=', " = ");
                command.args(apart.split(' ').filter(|word| !word.is_empty()));
                if line.ends_with(' ') {
                    command.arg("");
                }
            }
            Shell::Zsh => {
                command
                    .arg("-f")
                    .arg(scripts.join("complete.zsh"))
                    .arg(share.join("zsh/site-functions/_inn"))
                    .arg(&line);
            }
            Shell::Fish => {
                let file = share.join("fish/vendor_completions.d/inn.fish");
                let script = format!("source {}; complete -C '{line}'", file.display());
                command.args(["--no-config", "-c", &script]);
            }
        }
        let output = command.stdin(Stdio::null()).env("TERM", "dumb").output().expect("a shell");
        assert_eq!(text(&output.stderr), "", "{self:?}: {line}");
        text(&output.stdout)
    }
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The socket of nobody.
const NOBODY: &str = "/nonexistent/control";

#[test]
fn shells_complete_verbs_and_their_options() {
    for shell in shells("shells_complete_verbs_and_their_options") {
        assert_eq!(shell.completes(""), verbs(), "{shell:?}");
        assert_eq!(shell.completes("help "), verbs(), "{shell:?}");
        assert_eq!(
            shell.completes("st"),
            verbs().into_iter().filter(|verb| verb.starts_with("st")).collect(),
            "{shell:?}"
        );
        assert_eq!(shell.completes("--socket /x -q lo"), set(&["logs"]), "{shell:?}");
        for verb in verbs() {
            let (options, keys) = listed(&verb);
            let long = options.into_iter().chain(keys).filter(|word| word.starts_with("--"));
            assert_eq!(shell.completes(&format!("{verb} --")), long.collect(), "{shell:?}: {verb}");
        }
    }
}

#[test]
fn shells_complete_keys_and_their_values() {
    let live = || Key::ALL.iter().filter(|key| Change::is_of(**key) && key.sections() & section::GUEST != 0);
    let live: BTreeSet<String> = live().map(|key| key.name().to_owned()).collect();
    for shell in shells("shells_complete_keys_and_their_values") {
        assert_eq!(shell.completes("run --memory"), set(&["--memory", "--memory-high", "--memory-low"]), "{shell:?}");
        assert_eq!(shell.completes("run --kind "), set(&["os", "app"]), "{shell:?}");
        assert_eq!(shell.completes("run --kind=a"), set(&["app"]), "{shell:?}");
        assert_eq!(shell.completes("run --kind app --restart n"), set(&["never"]), "{shell:?}");
        assert_eq!(shell.completes("set web "), live, "{shell:?}");
        assert_eq!(shell.completes("set web memory 64M cpus 1 cpu-"), set(&["cpu-weight"]), "{shell:?}");
        assert_eq!(shell.completes("set web memory "), set(&[]), "{shell:?}");
        assert_eq!(shell.completes("set web oom-group "), set(&["yes", "no"]), "{shell:?}");
        // A command has options and words of its own.
        assert_eq!(shell.completes("exec web ls --js"), set(&[]), "{shell:?}");
        assert_eq!(shell.completes("run -- ls --mem"), set(&[]), "{shell:?}");
        assert!(shell.completes("run -- mkf").contains("mkfifo"), "{shell:?}");
    }
}

#[test]
fn shells_complete_files_where_one_is_meant() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("complete-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("one.conf"), "").unwrap();
    let begin = directory.join("on").display().to_string();
    for shell in shells("shells_complete_files_where_one_is_meant") {
        for before in ["check", "check --config", "list --socket", "run --root"] {
            // zsh tells the last part alone.
            let offered = shell.prints(&format!("{before} {begin}"));
            assert!(offered.contains("one.conf"), "{shell:?}: {before}: {offered}");
        }
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn shells_complete_guests_of_the_supervisor_and_are_quiet_without_one() {
    const TEST: &str = "shells_complete_guests_of_the_supervisor_and_are_quiet_without_one";
    if !must::root(TEST) {
        return;
    }
    let service = |name: &str| format!("[service {name}]\ncommand = /bin/sleep 1000\nautostart = no\n");
    let supervisor = Supervisor::start("completes", &["web-1", "web-2", "store"].map(service).concat());
    supervisor.await_answer();
    let socket = supervisor.directory.join("control");
    let all = set(&["web-1", "web-2", "store"]);
    for shell in shells(TEST) {
        for verb in ["start", "stop", "status", "exec", "console", "enter", "logs", "set"] {
            let line = format!("{verb} --socket {} ", socket.display());
            assert_eq!(shell.completes(&line), all, "{shell:?}: {verb}");
        }
        assert_eq!(shell.completes(&format!("--socket {} stop web-1 web", socket.display())), set(&["web-1", "web-2"]));
        assert_eq!(shell.completes(&format!("console --socket {} store ", socket.display())), set(&[]), "{shell:?}");
        assert_eq!(shell.completes(&format!("stop --socket {NOBODY} ")), set(&[]), "{shell:?}");
    }
}
