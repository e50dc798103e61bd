//! The manual and the completions, from the tables of verbs, options and keys. Part of build.rs.
//!
//! What is said by nobody else stands in the files beside this one: in them `@NAME@` on a line of its own is replaced by what
//! is made here.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::config::key::{Key, section};
use crate::verb::{GROUPS, OPTIONS, Operands, Opt, OptFacts, VERBS, Verb, guest_keys, verbs_of};

/// The day on which the words of the manual were last looked through.
const DATE: &str = "2026-11-23";

/// Each file, below `share` of where it is installed, and what it is made of.
pub const FILES: [(&str, &str); 5] = [
    ("man/man8/inn.8", include_str!("inn.8.in")),
    ("man/man5/inn.conf.5", include_str!("inn.conf.5.in")),
    ("bash-completion/completions/inn", include_str!("inn.bash.in")),
    ("zsh/site-functions/_inn", include_str!("inn.zsh.in")),
    ("fish/vendor_completions.d/inn.fish", include_str!("inn.fish.in")),
];

/// Every file, and its text.
pub fn generate() -> Vec<(&'static str, String)> {
    let keys = Entries::read(include_str!("../config/keys.txt"));
    let made: BTreeMap<&str, String> = BTreeMap::from([
        ("VERBS", roff_verbs()),
        ("OPTIONS", roff_options()),
        ("KEYS", keys.roff()),
        ("LATER", keys.roff_later()),
        ("TABLE", shell_table(&keys)),
        ("FISH", fish(&keys)),
    ]);
    let version = format!("{} \"innkeep {}\"", DATE, env!("CARGO_PKG_VERSION"));
    FILES.iter().map(|(path, template)| (*path, fill(template, &made).replace("@VERSION@", &version))).collect()
}

fn fill(template: &str, made: &BTreeMap<&str, String>) -> String {
    let mut text = String::new();
    for line in template.lines() {
        let name = line.strip_prefix('@').and_then(|line| line.strip_suffix('@'));
        match name.map(|name| made.get(name).unwrap_or_else(|| panic!("docs: nothing makes {line}"))) {
            Some(part) => text.push_str(part),
            None => writeln!(text, "{line}").expect("a string"),
        }
    }
    text
}

// roff -----------------------------------------------------------------------------------------------------------------

/// Text for a line of roff: nothing in it is a command, and quotes and hyphens are what they look like.
fn roff(text: &str) -> String {
    assert!(text.is_ascii(), "the manual is in ASCII: {text}");
    let text = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
        .replace('^', "\\(ha");
    let text = text.replace('~', "\\(ti").replace('"', "\\(dq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

/// Paragraphs, of which lines that are set in are examples.
fn roff_text(text: &str) -> String {
    let mut to = String::new();
    let mut example = false;
    for (number, line) in text.trim_end().lines().enumerate() {
        let is_example = line.starts_with("  ");
        match (example, is_example) {
            (false, true) => to.push_str(".PP\n.nf\n.RS 4\n"),
            (true, false) => to.push_str(".RE\n.fi\n"),
            _ => {}
        }
        if line.is_empty() {
            // A blank line around an example is that of the example.
            let next = text.lines().nth(number + 1).unwrap_or_default();
            if !next.starts_with("  ") && !next.is_empty() {
                to.push_str(".PP\n");
            }
        } else {
            writeln!(to, "{}", roff(line.trim_start())).expect("a string");
        }
        example = is_example;
    }
    if example {
        to.push_str(".RE\n.fi\n");
    }
    to
}

/// "-n, --lines N"
fn option_words(facts: &OptFacts) -> String {
    let short = facts.short.map(|short| format!("\\fB\\-{}\\fR, ", char::from(short))).unwrap_or_default();
    let value = if facts.value.is_empty() { String::new() } else { format!(" \\fI{}\\fR", roff(facts.value)) };
    format!("{short}\\fB\\-\\-{}\\fR{value}", roff(facts.long))
}

fn roff_verbs() -> String {
    let mut to = String::new();
    for (heading, names) in GROUPS {
        if verbs_of(names).next().is_none() {
            continue;
        }
        writeln!(to, ".SH \"VERBS: {}\"", heading.to_uppercase()).expect("a string");
        for verb in verbs_of(names) {
            roff_verb(&mut to, verb);
        }
    }
    for verb in VERBS {
        let is_there = GROUPS.iter().any(|(_, names)| verbs_of(names).any(|other| other.name == verb.name));
        assert!(is_there, "the verb {} is in no group: src/cli/verb.rs, GROUPS", verb.name);
    }
    to
}

fn roff_verb(to: &mut String, verb: &Verb) {
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(to, "{text}").expect("a string");
    let options = if verb.options.is_empty() { "" } else { " [\\fIOPTIONS\\fR]" };
    line(format_args!(".SS \"{}\"", roff(verb.name)));
    line(format_args!("\\fBinn {}\\fR{options} {}", roff(verb.name), roff(verb.usage)));
    let (first, rest) = verb.help.split_at(1);
    line(format_args!(".PP\n{}{}.", first.to_uppercase(), roff(rest)));
    to.push_str(&roff_text(verb.more));
    let options = OPTIONS.iter().filter(|facts| verb.takes(facts.option));
    let options: Vec<String> = options.map(option_words).collect();
    writeln!(to, ".PP\nOptions: {}.", options.join("; ")).expect("a string");
}

fn roff_options() -> String {
    let mut to = String::new();
    for facts in OPTIONS {
        writeln!(to, ".TP\n{}\n{}.", option_words(facts), roff(facts.help)).expect("a string");
        let taken: Vec<&str> = VERBS.iter().filter(|verb| verb.takes(facts.option)).map(|verb| verb.name).collect();
        if facts.option != Opt::Help {
            writeln!(to, "Of {}.", roff(&taken.join(", "))).expect("a string");
        }
    }
    to
}

// Keys -----------------------------------------------------------------------------------------------------------------

/// What src/config/keys.txt says of a key.
#[derive(Default)]
struct Entry {
    value: String,
    words: Vec<String>,
    default: String,
    openvz: String,
    examples: Vec<String>,
    live: bool,
    text: String,
}

/// The entries, by key.
struct Entries(Vec<(Key, Entry)>);

impl Entries {
    fn read(text: &str) -> Entries {
        let mut found: Vec<(Vec<Key>, Entry)> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let Some(line) = line.strip_prefix("    ") else {
                found.push((keys_called(line), Entry::default()));
                continue;
            };
            let (_, entry) = found.last_mut().expect("a key above it");
            match line.split_once(": ").map_or((line, ""), |(field, value)| (field, value.trim())) {
                ("value", value) => entry.value = value.to_owned(),
                ("words", value) => entry.words = value.split(' ').map(str::to_owned).collect(),
                ("default", value) => entry.default = value.to_owned(),
                ("openvz", value) => entry.openvz = value.to_owned(),
                ("example", value) => entry.examples.push(value.to_owned()),
                ("live", "") => entry.live = true,
                _ if line == "." => entry.text.push_str("\n\n"),
                _ => {
                    entry.text.push_str(line);
                    entry.text.push('\n');
                }
            }
        }
        let mut all = Vec::new();
        for (keys, entry) in found {
            let complete = [&entry.value, &entry.default, &entry.text].iter().all(|text| !text.is_empty());
            let names: Vec<&str> = keys.iter().map(|key| key.name()).collect();
            assert!(complete && !entry.examples.is_empty(), "src/config/keys.txt: {names:?} lacks a field");
            for key in &keys {
                assert!(all.iter().all(|(other, _)| other != key), "src/config/keys.txt: {names:?} stands there twice");
                all.push((
                    *key,
                    Entry { words: entry.words.clone(), examples: entry.examples.clone(), ..copy(&entry) },
                ));
            }
        }
        for key in Key::ALL {
            let known = all.iter().any(|(other, _)| other == key);
            assert!(known, "src/config/keys.txt has no entry for the key `{}` ({key:?})", key.name());
        }
        // In the order of the table.
        all.sort_by_key(|(key, _)| *key as u8);
        Entries(all)
    }

    fn of(&self, key: Key) -> &Entry {
        &self.0.iter().find(|(other, _)| *other == key).expect("each key has one").1
    }

    fn roff(&self) -> String {
        let mut to = String::new();
        let host = |key: Key| key.sections() & section::GUEST == 0 && key.sections() & section::HOST != 0;
        let guest = |key: Key| key.sections() & section::GUEST != 0;
        let link = |key: Key| key.sections() & section::LINK != 0;
        let service = |key: Key| key.sections() == section::SERVICE;
        let kinds: [(&str, &dyn Fn(Key) -> bool); 4] = [
            ("KEYS OF [host]", &host),
            ("KEYS OF [link]", &link),
            ("KEYS OF [guest], [profile] AND [service]", &guest),
            ("KEYS OF [service] ONLY", &service),
        ];
        for (heading, is_here) in kinds {
            writeln!(to, ".SH \"{}\"", roff(heading)).expect("a string");
            for (key, entry) in self.0.iter().filter(|(key, _)| key.is_built() && is_here(*key)) {
                roff_key(&mut to, *key, entry);
            }
        }
        to
    }

    fn roff_later(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for (key, _) in self.0.iter().filter(|(key, _)| !key.is_built()) {
            // A link's and a guest's may have one name.
            if !names.contains(&roff(key.name())) {
                names.push(roff(key.name()));
            }
        }
        format!("{}.\n", names.join(", "))
    }
}

fn copy(entry: &Entry) -> Entry {
    let Entry { value, default, openvz, text, live, .. } = entry;
    let (value, default, openvz, text) = (value.clone(), default.clone(), openvz.clone(), text.clone());
    Entry { value, default, openvz, text, live: *live, ..Entry::default() }
}

/// The keys that an entry is about: those of its name, or the one of its name in one kind of section.
fn keys_called(line: &str) -> Vec<Key> {
    let (name, of) = line.split_once(" (").map_or((line, None), |(name, of)| (name, of.strip_suffix(')')));
    let wanted = |key: &&Key| key.name() == name && of.is_none_or(|of| key.sections() & kind_called(of) != 0);
    let mut keys: Vec<Key> = Key::ALL.iter().filter(wanted).copied().collect();
    // The one without a section is the guest's, where another entry may be about the other.
    if of.is_none()
        && keys.iter().any(|key| key.sections() & section::GUEST != 0)
        && ["swap", "console"].contains(&name)
    {
        keys.retain(|key| key.sections() & section::GUEST != 0);
    }
    assert!(!keys.is_empty(), "src/config/keys.txt has an entry for `{line}`, which is no key");
    keys
}

fn kind_called(name: &str) -> u8 {
    section::ALL.iter().find(|(_, word)| *word == name).map_or(0, |(bit, _)| *bit)
}

fn roff_key(to: &mut String, key: Key, entry: &Entry) {
    let mut line = |text: String| writeln!(to, "{text}").expect("a string");
    line(format!(".TP\n\\fB{}\\fR = {}", roff(key.name()), roff(&entry.value)));
    for paragraph in entry.text.split("\n\n\n") {
        for text in paragraph.lines() {
            line(roff(text));
        }
        line(".br".to_owned());
    }
    if key.is_list() {
        line("May be repeated.".to_owned());
    }
    let sections = section::ALL.iter().rev().filter(|(bit, _)| key.sections() & bit != 0 && *bit != section::PROFILE);
    let sections: Vec<String> = sections.map(|(_, name)| format!("[{name}]")).collect();
    line(format!("In {}.", roff(&sections.join(" and "))));
    if entry.live {
        line("Can be changed while the guest runs: \\fBinn set\\fR.".to_owned());
    }
    line(format!(".br\nDefault: {}.", roff(&entry.default)));
    if !entry.openvz.is_empty() {
        line(format!(".br\nOpenVZ: {}.", roff(&entry.openvz)));
    }
    for example in &entry.examples {
        line(format!(".br\nExample: \\fB{} = {}\\fR", roff(key.name()), roff(example)));
    }
}

// Completions ----------------------------------------------------------------------------------------------------------

/// What an option's value, an operand or a key's value is, for a shell: `guest`, `file`, `verb`, `key`, `value`, `command`, `pid`,
/// `word`, or words to choose from.
fn operand_kinds(verb: &Verb) -> Vec<&'static str> {
    let kind = |word: &str| match word.trim_matches(['[', ']', '.']) {
        "GUEST" => Some("guest"),
        "FILE" | "BINARY" | "PATH" => Some("file"),
        "VERB" => Some("verb"),
        "KEY" => Some("key"),
        "VALUE" => Some("value"),
        "COMMAND" => Some("command"),
        "--" | "|" | "--KEY" => None,
        _ => Some("word"),
    };
    match verb.operands {
        // The other form of `run` begins with `--`.
        Operands::Command(0) if verb.usage.contains("GUEST") => vec!["guest"],
        _ => verb.usage.split(' ').filter(|word| !word.is_empty()).filter_map(kind).collect(),
    }
}

fn repeats(verb: &Verb) -> bool {
    verb.usage.ends_with("...") || verb.usage.ends_with("...]")
}

fn takes_keys(verb: &Verb) -> bool {
    verb.usage.contains("--KEY")
}

/// What the value of an option is.
fn value_kind(facts: &OptFacts) -> &'static str {
    match facts.value {
        "" => "none",
        "FILE" | "PATH" => "file",
        "GUEST" => "guest",
        _ => "word",
    }
}

/// What the value of a key is: words to choose from, `file`, or `word`.
fn key_kind(entry: &Entry) -> String {
    let first = entry.value.split([' ', '.', '[']).next().unwrap_or_default();
    if !entry.words.is_empty() {
        return entry.words.join(" ");
    }
    if ["FILE", "DIRECTORY", "PATH", "SOURCE", "DEVICE", "PATTERN"].contains(&first) {
        "file".into()
    } else {
        "word".into()
    }
}

/// The keys that `inn set` changes.
fn live_keys(keys: &Entries) -> impl Iterator<Item = Key> {
    guest_keys().filter(|key| key.is_built() && keys.of(*key).live)
}

/// Words that a shell takes as they are: what the tables say has none that would be more than a letter to it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A function of bash and zsh that says what it knows of its argument: lines of `WORD<TAB>what it is`.
fn shell_table(keys: &Entries) -> String {
    let mut to = String::new();
    let mut case = |name: &str, arms: Vec<(String, Vec<(String, String)>)>| {
        writeln!(to, "{name}() {{\n    case $1 in").expect("a string");
        for (arm, lines) in arms {
            let lines: Vec<String> = lines
                .iter()
                .map(|(word, help)| format!("        {}", quoted(format!("{word}\t{help}").trim_end())))
                .collect();
            writeln!(to, "    {arm}) printf '%s\\n' \\\n{} ;;", lines.join(" \\\n")).expect("a string");
        }
        to.push_str("    esac\n}\n\n");
    };
    let verbs = GROUPS.iter().flat_map(|(_, names)| verbs_of(names));
    case("_inn_verbs", vec![("*".into(), verbs.map(|verb| (verb.name.into(), verb.help.into())).collect())]);
    let options = VERBS.iter().map(|verb| {
        let taken = OPTIONS.iter().filter(|facts| verb.takes(facts.option));
        let taken = taken.flat_map(|facts| {
            let short = facts.short.map(|short| format!("-{}", char::from(short)));
            [Some(format!("--{}", facts.long)), short].into_iter().flatten().map(|word| (word, facts.help.to_owned()))
        });
        let keys = guest_keys().filter(|key| takes_keys(verb) && key.is_built());
        let keys = keys.map(|key| (format!("--{}", key.name()), key.help().to_owned()));
        (verb.name.to_owned(), taken.chain(keys).collect())
    });
    case("_inn_options", options.collect());
    // Of a verb and an option, or of a key alone: what stands behind it.
    let values = valued(keys).into_iter().map(|(kind, patterns)| {
        let patterns: Vec<String> = patterns.iter().map(|pattern| quoted(pattern)).collect();
        (patterns.join("|"), vec![(kind, String::new())])
    });
    case("_inn_value", values.collect());
    let operands = VERBS.iter().filter(|verb| !operand_kinds(verb).is_empty()).map(|verb| {
        let kinds = operand_kinds(verb).join(" ");
        (verb.name.to_owned(), vec![(format!("{kinds}{}", if repeats(verb) { " ..." } else { "" }), String::new())])
    });
    case("_inn_operands", operands.collect());
    let live = live_keys(keys).map(|key| (key.name().to_owned(), key.help().to_owned()));
    case("_inn_keys", vec![("*".into(), live.collect())]);
    to
}

/// The lines of fish, which has an interface of its own for all of this.
fn fish(keys: &Entries) -> String {
    let (mut to, mut takes) = (String::new(), String::new());
    let mut line = |text: String| writeln!(to, "{text}").expect("a string");
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    for verb in GROUPS.iter().flat_map(|(_, names)| verbs_of(names)) {
        let help = quoted(verb.help);
        line(format!("complete -c inn -n __inn_no_verb -a {} -d {help}", verb.name));
        let condition = format!("-n {}", quoted(&format!("__inn_verb {}", verb.name)));
        for facts in OPTIONS.iter().filter(|facts| verb.takes(facts.option)) {
            let short = facts.short.map(|short| format!(" -s {}", char::from(short))).unwrap_or_default();
            let value = match value_kind(facts) {
                "none" => "",
                "file" => " -r -F",
                "guest" => " -x -a '(__inn_guests)'",
                _ => " -x",
            };
            line(format!("complete -c inn {condition} -l {}{short}{value} -d {}", facts.long, quoted(facts.help)));
        }
        if takes_keys(verb) {
            for key in guest_keys().filter(|key| key.is_built()) {
                let value = match key_kind(keys.of(key)).as_str() {
                    "file" => " -r -F".to_owned(),
                    "word" => " -x".to_owned(),
                    words => format!(" -x -a {}", quoted(words)),
                };
                line(format!("complete -c inn {condition} -l {}{value} -d {}", key.name(), quoted(key.help())));
            }
        }
        if verb.operands == Operands::Command(0) {
            let at = quoted(&format!("__inn_command {}", verb.name));
            line(format!("complete -c inn -n {at} -a '(__fish_complete_command)'"));
        }
        let kinds = operand_kinds(verb);
        for (number, kind) in kinds.iter().enumerate() {
            let is_last = number + 1 == kinds.len();
            let more = if is_last && repeats(verb) { "+" } else { "" };
            let at = format!("-n {}", quoted(&format!("__inn_operand {} {number}{more}", verb.name)));
            match *kind {
                "guest" => line(format!("complete -c inn {at} -a '(__inn_guests)'")),
                "file" => line(format!("complete -c inn {at} -F")),
                "verb" => {
                    let names: Vec<&str> = VERBS.iter().map(|verb| verb.name).collect();
                    line(format!("complete -c inn {at} -a {}", quoted(&names.join(" "))));
                }
                "command" => line(format!("complete -c inn {at} -a '(__fish_complete_command)'")),
                _ => {}
            }
        }
        if kinds.contains(&"key") {
            for key in live_keys(keys) {
                let at = quoted(&format!("__inn_key {}", verb.name));
                line(format!("complete -c inn -n {at} -a {} -d {}", key.name(), quoted(key.help())));
                let entry = keys.of(key);
                if !entry.words.is_empty() {
                    let at = quoted(&format!("__inn_value_of {} {}", verb.name, key.name()));
                    line(format!("complete -c inn -n {at} -a {}", quoted(&entry.words.join(" "))));
                }
            }
        }
    }
    for (_, patterns) in valued(keys) {
        let patterns: Vec<String> = patterns.iter().map(|pattern| quoted(pattern)).collect();
        takes.push_str(&format!("        case {}\n            return 0\n", patterns.join(" ")));
    }
    let entering = VERBS.iter().filter(|verb| verb.operands == Operands::Command(1)).map(|verb| verb.name);
    let entering = entering.collect::<Vec<_>>().join(" ");
    to.push_str(&format!("set -g __inn_entering {entering}\n"));
    format!("function __inn_takes_value\n    switch \"$argv\"\n{takes}    end\n    return 1\nend\n\n{to}")
}

/// What takes a value, by what that is: "VERB OPTION" as it is typed, " OPTION" before a verb, and a key alone.
fn valued(keys: &Entries) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let names = |facts: &OptFacts| {
        let short = facts.short.map(|short| format!("-{}", char::from(short)));
        [Some(format!("--{}", facts.long)), short].into_iter().flatten().collect::<Vec<_>>()
    };
    for facts in OPTIONS.iter().filter(|facts| !facts.value.is_empty()) {
        let patterns = found.entry(value_kind(facts).to_owned()).or_default();
        for verb in VERBS.iter().filter(|verb| verb.takes(facts.option)) {
            patterns.extend(names(facts).iter().map(|name| format!("{} {name}", verb.name)));
        }
        if matches!(facts.option, Opt::Config | Opt::Socket) {
            patterns.extend(names(facts).iter().map(|name| format!(" {name}")));
        }
    }
    for key in guest_keys().filter(|key| key.is_built()) {
        let patterns = found.entry(key_kind(keys.of(key))).or_default();
        patterns.push(key.name().to_owned());
        let verbs = VERBS.iter().filter(|verb| takes_keys(verb));
        patterns.extend(verbs.map(|verb| format!("{} --{}", verb.name, key.name())));
    }
    found
}
