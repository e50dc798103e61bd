//! The page of the protocol (src/control/PROTOCOL.md): its lists are those of the code, its examples are messages, and within
//! a version that was released it only grows at the ends.

use std::collections::BTreeSet;
use std::fmt::Write;

use innkeep::config::key::Key;
use innkeep::control::wire::*;
use innkeep::fault::{Fault, Step};
use innkeep::limits;
use innkeep::plan::change::{Change, Keys, NUMBERS};
use innkeep::plan::difference::What;
use innkeep::plan::{Confinement, Extents, Kind, User, Users};

use crate::must;

const PAGE: &str = "src/control/PROTOCOL.md";
const MADE: &str = "<!-- made by tests/all/protocol.rs from here on: INN_UPDATE=1 cargo test protocol -->\n";
/// Below this line of the page's lists a version may only grow. It stands there from the version's release on.
const RELEASED: &str = "This version was released: what stands here may only grow at its ends.";

/// Where the types of messages are.
const SOURCES: &[&str] = &[
    "src/control/wire.rs",
    "src/plan/mod.rs",
    "src/plan/change.rs",
    "src/plan/confinement.rs",
    "src/plan/difference.rs",
];

#[test]
fn the_page_lists_what_the_code_has() {
    let path = must::project().join(PAGE);
    let page = std::fs::read_to_string(&path).expect("the page");
    let (prose, lists) = page.split_once(MADE).expect("the mark");
    assert!(prose.contains(&format!("(one byte, {VERSION} today)")), "the page is of another version");
    for (number, of) in [
        (limits::CLIENTS, "clients at once | "),
        (limits::MESSAGE_BYTES, "none is longer than "),
        (TEXT_BYTES, "(`u16`, "),
    ] {
        assert!(prose.contains(&format!("{of}{number}")), "{of}{number}");
    }
    let wanted = made(lists);
    if std::env::var_os("INN_UPDATE").is_some_and(|value| value == "1") {
        assert_grows(lists, &wanted);
        std::fs::write(path, format!("{prose}{MADE}{wanted}")).unwrap();
    } else {
        assert!(lists == wanted, "{PAGE} is not what the code says; INN_UPDATE=1 writes it anew");
    }
}

#[test]
fn every_example_of_the_page_is_the_message_that_it_says() {
    let page = std::fs::read_to_string(must::project().join(PAGE)).expect("the page");
    let mut told = (BTreeSet::new(), BTreeSet::new());
    for block in page.split("```text\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let (hex, words) = block.split_once("\n\n").expect("bytes, an empty line, words");
        let bytes: Vec<u8> = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect();
        let (kind, words) = words.split_once(' ').expect("a kind");
        let plain = |text: &str| text.split_whitespace().collect::<String>();
        let (mut buffer, number) = ([0; limits::MESSAGE_BYTES], bytes[1]);
        let again = if kind == "request" {
            let request = Request::decode(&bytes).unwrap_or_else(|wrong| panic!("{block}{wrong:?}"));
            assert_eq!(plain(&shown(&request)), plain(words));
            told.0.insert(number);
            request.encode(&mut buffer)
        } else {
            let reply = Reply::decode(&bytes).unwrap_or_else(|wrong| panic!("{block}{wrong:?}"));
            assert_eq!(plain(&shown(&reply)), plain(words));
            told.1.insert(number);
            reply.encode(&mut buffer)
        };
        assert_eq!(again, bytes, "{block}");
    }
    let all = |numbers: &[u8]| numbers.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(told.0, all(Request::NUMBERS), "each request has an example: tests/all/protocol.rs, examples");
    assert_eq!(told.1, all(Reply::NUMBERS), "each reply has an example: tests/all/protocol.rs, examples");
}

#[test]
fn a_released_version_only_grows_at_its_ends() {
    let old = format!(
        "## Requests, version {VERSION}\n\n{RELEASED}\n\n- 1 `List`. All.\n\n## Replies\n\n- 1 `Logs`: `guest` text (Whose). Them.\n\n\
         ## Structures of replies\n\n`A`:\n\n- `a` text. It.\n\n## Structures within\n\n`B`:\n\n- `b` u8. It.\n"
    );
    let grown = old.replace("All.", "All of it.\n- 2 `More`.").replace("(Whose)", "(Who); `more` flag (What)");
    assert_grows(&old, &grown.replace("`a` text. It.", "`a` text. A text.\n- `c` u8. New."));
    let breaks = |new: String| assert_ne!(broken(&old, &new), None, "{new}");
    breaks(old.replace("`List`.", "`List`: `name` text (Which)."));
    breaks(old.replace("- 1 `List`. All.", "- 1 `Other`.\n- 2 `List`. All."));
    breaks(old.replace("- `a` text. It.", "- `c` u8. New.\n- `a` text. It."));
    breaks(old.replace("- `b` u8. It.", "- `b` u8. It.\n- `c` u8. New."));
    breaks(old.replace("`guest` text", "`guest` name"));
    let keys = format!("{old}\n## Keys\n\n`memory` `swap`\n`cpus`\n");
    assert_grows(&keys, &keys.replace("`cpus`", "`cpus` `new`"));
    assert_ne!(broken(&keys, &keys.replace("`swap`", "`new` `swap`")), None);
    // Before its release, or with another version, all may change.
    assert_grows(&old.replace(RELEASED, ""), "");
    assert_grows(&old.replace(&format!("version {VERSION}"), "version 0"), "");
}

fn assert_grows(old: &str, new: &str) {
    assert_eq!(broken(old, new), None, "raise wire::VERSION");
}

/// The list of a released version that changes otherwise than by growing, as it was and as it is.
fn broken(old: &str, new: &str) -> Option<String> {
    if !old.contains(RELEASED) || !old.contains(&format!("version {VERSION}\n")) {
        return None;
    }
    let (old, new) = (lists(old), lists(new));
    old.iter().find_map(|(of, lines)| {
        let now = new.iter().find(|(other, _)| other == of).map(|(_, lines)| lines.as_slice()).unwrap_or_default();
        let (is_reply, is_within) = (of.starts_with("Replies"), of.starts_with("Structures within"));
        let same = |(old, new): (&String, &String)| old == new || is_reply && new.starts_with(&format!("{old};"));
        let kept =
            lines.len() <= now.len() && lines.iter().zip(now).all(same) && (lines.len() == now.len() || !is_within);
        (!kept).then(|| format!("{of} has changed, and not only at its end:\n{lines:#?}\n{now:#?}"))
    })
}

/// Each list of the page, without what is only said about its lines.
fn lists(page: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut heading = "";
    for line in page.split("## Examples").next().unwrap_or_default().lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title;
            found.push((title.to_owned(), Vec::new()));
        } else if line.starts_with('`') && line.ends_with(':') {
            found.push((format!("{heading}{line}"), Vec::new()));
        } else if line.starts_with('`') {
            // Names in the order of their numbers, a list of its own.
            let of = format!("{heading}, names");
            if found.last().is_none_or(|(last, _)| *last != of) {
                found.push((of, Vec::new()));
            }
            if let Some((_, names)) = found.last_mut() {
                names.extend(line.split(' ').map(str::to_owned));
            }
        } else if let Some((line, (_, lines))) = line.strip_prefix("- ").zip(found.last_mut()) {
            let line = line.split(". ").next().unwrap_or_default().trim_end_matches('.');
            let parts = line.split(" (").map(|part| part.split_once(')').map_or(part, |(_, rest)| rest));
            lines.push(parts.collect());
        }
    }
    found
}

/// The lists and examples; `before` are those of the page.
fn made(before: &str) -> String {
    let text: String =
        SOURCES.iter().map(|path| std::fs::read_to_string(must::project().join(path)).unwrap()).collect();
    let mut to = String::new();
    let released = before.contains(RELEASED) && before.contains(&format!("version {VERSION}\n"));
    let state =
        if released { RELEASED } else { "This version has not been released yet: until it is, all of it may change." };
    writeln!(to, "\n## Requests, version {VERSION}\n\n{state}\n").unwrap();
    let choices = choices(&text);
    let list = |to: &mut String, name: &str| {
        let (_, all) = choices.iter().find(|(choice, _)| choice == name).unwrap_or_else(|| panic!("no {name}"));
        for (number, variant) in all {
            writeln!(to, "- {number} {}", variant_line(&text, name, variant)).unwrap();
        }
    };
    list(&mut to, "Request");
    to.push_str("\n## Replies\n\n");
    list(&mut to, "Reply");
    // What a reply ends with may grow.
    let (all, replies) = (structures(&text), to.split("## Replies").nth(1).unwrap().to_owned());
    let (ends, within): (Vec<_>, Vec<_>) = all.iter().partition(|name| replies.contains(&format!("`: `{name}`.")));
    for (heading, names) in [("Structures of replies", ends), ("Structures within", within)] {
        writeln!(to, "\n## {heading}").unwrap();
        for name in names {
            writeln!(to, "\n`{name}`:\n\n{}", fields(&text, name)).unwrap();
        }
    }
    to.push_str("## What a byte chooses\n");
    for (name, _) in choices.iter().filter(|(name, _)| !["Request", "Reply"].contains(&name.as_str())) {
        writeln!(to, "\n`{name}`:\n").unwrap();
        list(&mut to, name);
    }
    for (name, words) in [
        ("State", words(State::ALL.iter().map(|one| one.word()))),
        ("Reason", words(Reason::ALL.iter().map(|one| one.word()))),
        ("Full", words(Full::ALL.iter().map(|one| one.word()))),
        ("Activity", words(Activity::ALL.iter().map(|one| one.word()))),
        ("Illness", words(Illness::ALL.iter().map(|one| one.word()))),
        ("Doing", words(Doing::ALL.iter().map(|one| one.word()))),
        ("Until", words(Until::ALL.iter().map(|one| one.word()))),
        ("Code", words(Code::ALL.iter().map(|one| one.word()))),
    ] {
        write!(to, "\n`{name}`:\n\n{words}").unwrap();
    }
    for name in word_lists(&text) {
        assert!(to.contains(&format!("\n`{name}`:\n")), "tests/all/protocol.rs lacks the words of {name}");
    }
    let keys = NUMBERS.iter().map(|(key, unit, (from, to))| {
        let unit = format!("{unit:?}").to_lowercase();
        format!("- {} `{}`, {unit}, {from} to {to}\n", *key as u8, key.name())
    });
    writeln!(
        to,
        "\n## Keys\n\nOf `Change`, `Number`: what the number counts, and its bounds.\n\n{}",
        keys.collect::<String>()
    )
    .unwrap();
    writeln!(to, "All of them, by their numbers from 0 on:\n\n{}\n", wrapped(&names(Key::ALL))).unwrap();
    let steps =
        Step::ALL.iter().enumerate().map(|(number, step)| format!("- {number} {} (`{}`)\n", step.words(), step.call()));
    writeln!(to, "## Steps\n\nWhat a fault says was being done, and by which call.\n\n{}", steps.collect::<String>())
        .unwrap();
    to.push_str("## Examples\n\nOne packet each.\n");
    for (kind, bytes, debug) in examples() {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex: Vec<String> = hex.chunks(32).map(|line| line.join(" ")).collect();
        writeln!(to, "\n```text\n{}\n\n{}\n```", hex.join("\n"), wrapped(&format!("{kind} {debug}"))).unwrap();
    }
    to.replace("\n\n\n", "\n\n")
}

/// "`hostname` `modules`"
fn names(keys: &[Key]) -> String {
    keys.iter().map(|key| format!("`{}`", key.name())).collect::<Vec<_>>().join(" ")
}

fn words<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.enumerate().map(|(number, word)| format!("- {number} `{word}`\n")).collect()
}

fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        if line.len() + word.len() > 110 {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// What stands between `open` and its closing brace, from where `from` begins.
fn block<'s>(text: &'s str, from: &str) -> Option<&'s str> {
    let start = text.find(from)? + from.len();
    let mut depth = 1;
    for (at, char) in text[start..].char_indices() {
        depth += match char {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return Some(&text[start..start + at]);
        }
    }
    None
}

/// The enums of the codec: name, and each number with its variant.
fn choices(text: &str) -> Vec<(String, Vec<(u8, String)>)> {
    let all = block(text, "\nenums! {").expect("enums!");
    let mut found = Vec::new();
    for part in all.split(" or ").collect::<Vec<_>>().windows(2) {
        let name = part[0].trim_end().rsplit(['\n', ' ']).next().unwrap().trim_end_matches("<'a>").to_owned();
        let body = block(part[1], "=> {").or_else(|| block(&part[1][part[1].find("=> {").unwrap()..], "=> {"));
        let body = body.expect("the variants");
        let mut variants = Vec::new();
        for entry in body.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (number, rest) = entry.split_once(' ').expect("a number");
            let name = rest.split(['(', ' ']).next().unwrap();
            variants.push((number.parse().expect("a number"), name.to_owned()));
        }
        found.push((name, variants));
    }
    found
}

/// The structs of the codec.
fn structures(text: &str) -> Vec<String> {
    let all = block(text, "\nstructs! {").expect("structs!");
    let names = all.split('{').filter_map(|part| part.rsplit(['}', '\n']).next());
    let names = names.map(|name| name.trim().trim_end_matches("<'a>").to_owned()).filter(|name| !name.is_empty());
    // Its encoding is written out, for a part of it is that of all versions.
    names.chain(["Failure".to_owned()]).collect()
}

/// The enums of plain words.
fn word_lists(text: &str) -> Vec<String> {
    let parts = text.split("\nwords! {").skip(1);
    parts
        .map(|part| part.lines().find(|line| line.ends_with(" {")).unwrap().trim().trim_end_matches(" {").to_owned())
        .collect()
}

/// "`Status`: guest name. One guest: …"
fn variant_line(text: &str, of: &str, variant: &str) -> String {
    let body = block(text, &format!("pub enum {of} {{")).or_else(|| block(text, &format!("pub enum {of}<'a> {{")));
    let body = body.unwrap_or_else(|| panic!("no enum {of}"));
    let mut doc = Vec::new();
    let mut lines = body.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(words) = line.strip_prefix("/// ") {
            doc.push(words);
        } else if line.trim_end_matches([',', '{', ' ']).split('(').next() == Some(variant) {
            let words = plain(&doc.join(" "));
            if line.ends_with('{') {
                let inside: Vec<&str> = lines.take_while(|line| *line != "},").collect();
                let fields = field_list(&inside.join("\n"));
                let fields: Vec<_> = fields.iter().map(|(field, words)| format!("{field} ({words})")).collect();
                return format!("`{variant}`: {}. {words}", fields.join("; "));
            }
            return match line.split_once('(') {
                Some((_, inner)) => format!("`{variant}`: {}. {words}", form(inner.trim_end_matches([',', ')']))),
                None => format!("`{variant}`. {words}"),
            };
        } else {
            doc.clear();
            // The fields of one that is not looked for.
            if line.ends_with('{') {
                lines.by_ref().find(|line| *line == "},");
            }
        }
    }
    panic!("no {of}::{variant}")
}

/// "- `guest` name. Which.", a line each.
fn fields(text: &str, name: &str) -> String {
    let body =
        block(text, &format!("pub struct {name} {{")).or_else(|| block(text, &format!("pub struct {name}<'a> {{")));
    let fields = field_list(body.unwrap_or_else(|| panic!("no struct {name}")));
    fields.iter().map(|(field, words)| format!("- {field}. {words}.\n")).collect()
}

/// Each field, and what it is.
fn field_list(body: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut doc = Vec::new();
    for line in body.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("/// ") {
            doc.push(words);
        } else if let Some((name, kind)) = line.trim_start_matches("pub ").split_once(": ") {
            let words = plain(&doc.join(" "));
            let words = words.trim_end_matches('.');
            found.push((format!("`{name}` {}", form(kind.trim_end_matches(','))), words.to_owned()));
            doc.clear();
        }
    }
    found
}

/// A type as the page calls it.
fn form(kind: &str) -> String {
    let kind = kind.trim();
    if let Some(inner) = kind.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')) {
        return format!("optional {}", form(inner));
    }
    match kind {
        "bool" => "flag".into(),
        "&'a str" => "text".into(),
        "Name" => "name".into(),
        "Extents" => "ranges".into(),
        "GivenDevices<'a>" => "devices".into(),
        "Changes<'a>" => "changes".into(),
        "Key" => "key".into(),
        "Fault" => "fault".into(),
        "Keys" => "keys".into(),
        "Items" => "u16".into(),
        "call::Calls" => "u128".into(),
        "[Option<u64>; 4]" => "four limits".into(),
        "(u64, u64)" => "soft and hard".into(),
        "u8" | "u16" | "u32" | "u64" | "u128" | "i64" => kind.into(),
        name => format!("`{}`", name.trim_end_matches("<'a>")),
    }
}

/// A comment without its links.
fn plain(doc: &str) -> String {
    doc.replace("[`", "`").replace("`]", "`").replace("Reply::", "").replace("Request::", "").replace("State::", "")
}

/// A message as the program's own words have it, without the room that it leaves free.
fn shown(message: &impl std::fmt::Debug) -> String {
    format!("{message:?}").replace(", GivenDevice { path: \"\", access: 0 }", "")
}

/// Request or reply, the packet, and what it says.
type Example = (&'static str, Vec<u8>, String);

/// The packet of a guest called `web`.
pub fn guest_reply() -> Vec<u8> {
    examples().into_iter().find(|(kind, bytes, _)| *kind == "reply" && bytes[1] == 1).expect("one").1
}

/// A packet of each kind.
fn examples() -> Vec<Example> {
    let web = Name::new(b"web").unwrap();
    let mut changes = ChangesBuffer::new();
    let memory = Change::Number { key: Key::Memory, value: Some(64 << 20) };
    let files = Change::Rlimit { resource: 7, limits: Some((1024, 4096)) };
    assert!(Changes::push(&mut changes, memory) && Changes::push(&mut changes, files));
    let requests = [
        Request::List,
        Request::Status { guest: web },
        Request::Start { guest: web, wait: true },
        Request::Stop { guest: web },
        Request::Restart { guest: web, wait: false },
        Request::Kill { guest: web },
        Request::Join { guest: web },
        Request::Logs { guest: Name::ALL },
        Request::HostStatus,
        Request::Power { how: Power::Reboot },
        Request::Version,
        Request::Console { guest: web },
        Request::Set { guest: web, changes: Changes::of(&changes) },
        Request::Begin { guest: web, what: Doing::Freeze },
        Request::Wait { guest: web, until: Until::Frozen },
        Request::Reload { dry: true },
        Request::Events,
        Request::Missing,
        Request::Upgrade { path: "/usr/sbin/inn" },
    ];
    let users = Extents::new([Users { base: 655_360, count: 65_536 }].into_iter()).unwrap();
    let confinement = Confinement { capabilities: 0, given: 0, filter: true, opened: 0, nesting: false };
    let guest = GuestInfo {
        name: "web",
        kind: Kind::App,
        state: State::Ready,
        waits_for: Name::ALL,
        is_stuck: false,
        pid: 1234,
        uptime_ms: Some(60_000),
        memory_bytes: Some(5 << 20),
        memory_limit_bytes: Some(64 << 20),
        swap_limit_bytes: None,
        cpu_us: Some(150_000),
        cpus_limit_milli: Some(500),
        processes: Some(3),
        processes_limit: Some(32),
        oom_kills: 1,
        processes_refused: 0,
        restarts: 2,
        next_start_ms: None,
        exit: Some(Exit::Signal(9)),
        place: Some(Place { file: "/etc/inn.conf", line: 12 }),
        users,
        autostart: true,
        root: "/srv/web",
        cgroup: "inn/web",
        description: "",
        cpu_throttled: 7,
        victim: Some(VictimInfo { name: "httpd", pid: 1240, ago_ms: 90_000, full: Full::Guest }),
        awaits: "READY=1 on its notification socket (/etc/inn.conf:9)",
        said: "reading orders",
        activity: Activity::Reloading,
        watchdog_ms: Some(30_000),
        pending: Keys::default(),
        is_removed: false,
        health: Some(HealthInfo {
            failures: 1,
            limit: 3,
            ago_ms: Some(2_100),
            fault: Some(Fault { step: Step::CheckCommand, errno: 0, detail: 3 }),
        }),
    };
    let fault = Fault { step: Step::LimitMemory, errno: 2, detail: 0 };
    let place = Some(Place { file: "/etc/inn.conf", line: 7 });
    let replies = [
        Reply::Guest(guest),
        Reply::Host(HostInfo {
            version: "0.1.0",
            config: "/etc/inn.conf",
            pid: 1,
            uptime_ms: 3_600_000,
            guests: 12,
            running: 11,
            failed: 1,
            going_down: false,
            hardening: 0,
            cgroup: "inn",
            reserve_bytes: Some(64 << 20),
            boot_ms: [Some(1520), None, Some(1533), Some(1540), Some(1700), Some(1900), Some(1910), None],
            died: 2,
            replaced: 1,
            is_safe: false,
        }),
        Reply::Join(JoinInfo {
            name: "web",
            kind: Kind::App,
            confinement,
            users,
            user: User { uid: 1000, gid: 1000 },
            cgroup: "inn/web",
        }),
        Reply::Logs { guest: "web", file: "/data/web.log" },
        Reply::Version("0.1.0"),
        Reply::Done,
        Reply::Error(Failure::new(Code::NoGuest, "", "no guest or service has that name")),
        Reply::Error(Failure { fault: Some(fault), place, ..Failure::new(Code::Failed, "web", "it did not start") }),
        Reply::Console { guest: "web" },
        Reply::Was(memory),
        Reply::Bounds(BoundsInfo {
            kind: Kind::App,
            is_mapped: true,
            confinement,
            devices: GivenDevices::new([GivenDevice { path: "/dev/fuse", access: 3 }].into_iter()),
        }),
        Reply::Report("/etc/inn.conf:7:1: unknown key `memry`: did you mean `memory`?\n"),
        Reply::Difference(DifferenceInfo {
            guest: "web",
            what: What::Now,
            key: Some(Key::Memory),
            from: "64M",
            to: "96M",
            place,
        }),
        Reply::Refused(Failure {
            fault: Some(fault),
            place,
            ..Failure::new(Code::Failed, "web", "it stays as it was")
        }),
        Reply::Events,
        Reply::Missing(MissingInfo {
            target: "/data",
            is_optional: true,
            fault: Fault { step: Step::CheckDisk, errno: 0, detail: 4 },
        }),
    ];
    let requests = requests.iter().map(|request| {
        let bytes = request.encode(&mut [0; REQUEST_BYTES]).to_vec();
        ("request", bytes, shown(request))
    });
    let replies = replies.iter().map(|reply| {
        let bytes = reply.encode(&mut [0; limits::MESSAGE_BYTES]).to_vec();
        ("reply", bytes, shown(reply))
    });
    requests.chain(replies).collect()
}
