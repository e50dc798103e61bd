//! README's table of what a guest may not do, with a reason for each: made of the comments in the program's own tables.

use std::collections::BTreeSet;
use std::fmt::Write;

use innkeep::plan::{Kind, call, capability};

use crate::must;

const BEGIN: &str = "<!-- made by tests/all/reasons.rs: INN_UPDATE=1 cargo test reasons -->\n";
const END: &str = "<!-- end -->\n";

fn source(path: &str) -> String {
    std::fs::read_to_string(must::project().join(path)).expect(path)
}

/// The lines between one that begins with `from` and the next that begins with `to`.
fn part<'s>(text: &'s str, from: &str, to: &str) -> &'s str {
    let start = text.find(from).unwrap_or_else(|| panic!("no {from}"));
    let length = text[start..].find(to).unwrap_or_else(|| panic!("no {to}"));
    &text[start..start + length]
}

/// Comments of the form `// names: reason`, each with its names.
fn named(text: &str) -> Vec<(Vec<String>, String)> {
    let comments = text.lines().filter_map(|line| line.trim().strip_prefix("// "));
    let split = comments.filter_map(|line| line.split_once(": "));
    split.map(|(names, reason)| (names.split(' ').map(str::to_owned).collect(), reason.to_owned())).collect()
}

/// Groups of calls below the comment that gives the reason.
fn calls(text: &str) -> Vec<(Vec<String>, String)> {
    let mut groups: Vec<(Vec<String>, String)> = Vec::new();
    for line in part(text, "calls! { EVERYWHERE", "/// A set of the calls").lines().map(str::trim) {
        if let Some(reason) = line.strip_prefix("// ").filter(|reason| !reason.ends_with('.')) {
            groups.push((Vec::new(), reason.to_owned()));
        }
        let names = line.split_whitespace().filter_map(|word| word.strip_prefix("SYS_"));
        if let Some((group, _)) = groups.last_mut() {
            group.extend(names.map(str::to_owned));
        }
    }
    groups
}

fn table(to: &mut String, title: &str, rows: &[(Vec<String>, String)]) {
    writeln!(to, "| {title} | why |\n| --- | --- |").unwrap();
    for (names, reason) in rows {
        assert!(!names.is_empty(), "nothing for {reason}");
        writeln!(to, "| `{}` | {reason} |", names.join("` `")).unwrap();
    }
    to.push('\n');
}

fn names(rows: &[(Vec<String>, String)]) -> BTreeSet<String> {
    rows.iter().flat_map(|(names, _)| names.iter().cloned()).collect()
}

#[test]
fn readme_has_every_entry_of_the_tables_with_its_reason() {
    let capabilities = source("src/plan/capability.rs");
    let never = named(part(&capabilities, "/// What a distribution's init", "const OS:"));
    let as_host = named(part(&capabilities, "/// Without a user namespace", "const OF_THE_HOST"));
    let calls = calls(&source("src/plan/call.rs"));
    let masks = named(part(&source("src/guest/masks.rs"), "/// Files of `/proc`", "/// Directories of a guest's"));
    let devices = named(part(&source("src/guest/device_filter.rs"), "const OWN", "];"));

    // None is forgotten.
    let set = |bits: u64| capability::names(bits).map(str::to_owned).collect::<BTreeSet<_>>();
    let (mapped, host) = (capability::of(Kind::Os, true), capability::of(Kind::Os, false));
    assert_eq!(names(&never), set(capability::ALL & !mapped));
    assert_eq!(names(&as_host), set(mapped & !host));
    assert_eq!(names(&calls), call::names().map(str::to_owned).collect());
    let hidden = source("src/guest/masks.rs");
    let hidden = part(&hidden, "const MASKED_FILES", "/// Directories of a guest's");
    let hidden = hidden.split('"').skip(1).step_by(2).flat_map(|text| text.split("\\0"));
    let hidden = hidden.map(|name| name.trim_start_matches(['\\', '\n', ' '])).filter(|name| !name.is_empty());
    assert_eq!(names(&masks), hidden.map(str::to_owned).collect());

    let mut made = String::new();
    table(&mut made, "capability that no `os` guest has (an `app` has none at all)", &never);
    table(&mut made, "and not with `userns = none`", &as_host);
    table(&mut made, "call that is refused", &calls);
    table(&mut made, "masked or read-only in `/proc` and `/sys`", &masks);
    table(&mut made, "device that every guest may use, and no other", &devices);

    let path = must::project().join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let start = readme.find(BEGIN).expect("the mark") + BEGIN.len();
    let end = start + readme[start..].find(END).expect("the other mark");
    let wanted = format!("{}\n{made}{}", &readme[..start], &readme[end..]);
    if std::env::var_os("INN_UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(path, wanted).unwrap();
    } else {
        assert!(readme == wanted, "README.md is not what the tables say; INN_UPDATE=1 writes it anew");
    }
}
