//! Changes of limits without a kernel: no number of them fills a plan, and an edited config says what was asked for and
//! nothing else that is new.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use innkeep::config::edit::{Unwritable, Wanted};
use innkeep::config::key::Key;
use innkeep::plan::change::{Change, NUMBERS, Refused, rlimit_name};
use innkeep::plan::{GuestId, Kind, Plan};

use crate::config_corpus::{Read, corpus};
use crate::config_properties::line;

/// A change as a test keeps it: what it is of, and its value.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Number(Key, Option<i64>),
    Cpuset(String),
    IoMax(String, [Option<u64>; 4]),
    Rlimit(u8, (u64, u64)),
    Tmpfs(String, u64),
}

impl Owned {
    fn change(&self) -> Change<'_> {
        match self {
            Owned::Number(key, value) => Change::Number { key: *key, value: *value },
            Owned::Cpuset(cpus) => Change::Cpuset { cpus },
            Owned::IoMax(device, limits) => Change::IoMax { device, limits: Some(*limits) },
            Owned::Rlimit(resource, limits) => Change::Rlimit { resource: *resource, limits: Some(*limits) },
            Owned::Tmpfs(target, bytes) => Change::Tmpfs { target, bytes: Some(*bytes) },
        }
    }

    /// What it is of.
    fn of(&self) -> String {
        match self {
            Owned::Number(key, _) => key.name().to_owned(),
            Owned::Cpuset(_) => "cpuset".to_owned(),
            Owned::IoMax(device, _) => format!("io-max {device}"),
            Owned::Rlimit(resource, _) => format!("rlimit {resource}"),
            Owned::Tmpfs(target, _) => format!("tmpfs {target}"),
        }
    }

    /// As a config has it; nothing for no line.
    fn value(&self) -> String {
        let size = |bytes: u64| format!("{}K", bytes >> 10);
        match self {
            Owned::Number(_, None) => String::new(),
            Owned::Number(Key::OomGroup, Some(value)) => ["no", "yes"][*value as usize].to_owned(),
            Owned::Number(Key::Cpus, Some(milli)) => format!("{}.{:03}", milli / 1000, milli % 1000),
            Owned::Number(Key::Memory | Key::MemoryHigh | Key::MemoryLow | Key::GuestSwap, Some(bytes)) => {
                size(*bytes as u64)
            }
            Owned::Number(_, Some(value)) => value.to_string(),
            Owned::Cpuset(cpus) => cpus.clone(),
            Owned::IoMax(device, limits) => {
                let mut text = device.clone();
                for (index, (name, limit)) in ["rbps", "wbps", "riops", "wiops"].iter().zip(limits).enumerate() {
                    text += &match limit {
                        None => continue,
                        Some(u64::MAX) => format!(" {name}=max"),
                        Some(limit) if index < 2 => format!(" {name}={}", size(*limit)),
                        Some(limit) => format!(" {name}={limit}"),
                    };
                }
                text
            }
            Owned::Rlimit(resource, (soft, hard)) => {
                let word = |limit: u64| if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
                format!("{} {}:{}", rlimit_name(*resource).unwrap(), word(*soft), word(*hard))
            }
            Owned::Tmpfs(target, bytes) => format!("{target} {}", size(*bytes)),
        }
    }
}

fn number() -> impl Strategy<Value = Owned> {
    (prop::sample::select(&NUMBERS[..]), any::<u64>(), prop::bool::weighted(0.8)).prop_map(
        |((key, _, (from, to)), any, said)| {
            let is_bytes = matches!(key, Key::Memory | Key::MemoryHigh | Key::MemoryLow | Key::GuestSwap);
            let value = from + (any % (to - from).min(1 << 40) as u64) as i64;
            Owned::Number(key, said.then_some(if is_bytes { value >> 10 << 10 } else { value }))
        },
    )
}

fn change() -> impl Strategy<Value = Owned> {
    let bytes = || (4..1u64 << 30).prop_map(|kib| kib << 10);
    let limit = || prop_oneof![3 => (1..1u64 << 30).prop_map(|kib| kib << 10), 1 => Just(u64::MAX)];
    prop_oneof![
        4 => number(),
        2 => "(0|[1-9]|[1-4]-7|1,[2-9],1[0-9]{0,2})".prop_map(Owned::Cpuset),
        2 => ("/dev/[a-f]", limit(), prop::option::of(limit()), prop::option::of(limit()))
            .prop_map(|(device, rbps, wbps, riops)| Owned::IoMax(device, [Some(rbps), wbps, riops, None])),
        2 => (0..16u8, any::<u32>(), any::<u32>()).prop_map(|(resource, a, b)| {
            let (soft, hard) = (u64::from(a.min(b)), if b % 5 == 0 { u64::MAX } else { u64::from(a.max(b)) });
            Owned::Rlimit(resource, (soft, hard))
        }),
        1 => (prop::sample::select(vec!["/tmp", "/run", "/dev/shm"]), bytes())
            .prop_map(|(target, bytes)| Owned::Tmpfs(target.to_owned(), bytes)),
    ]
}

fn apply(plan: &mut Plan, id: GuestId, changes: &[Owned], keep: bool) -> Result<(), Refused> {
    let staged = plan.stage(id, changes.iter().map(Owned::change))?.expect("there is such a guest");
    if keep {
        plan.keep(id, &staged);
    } else {
        plan.abandon(&staged);
    }
    Ok(())
}

const GUESTS: &str = "[profile p]\nio-max = /dev/x rbps=1M\nio-max = /dev/y rbps=2M\nrlimit = core 0\nrlimit = nofile 1:2\n\
    cpuset = 0-3\ntmpfs = /srv 1M\n\
    [guest a]\nkind = app\nroot = /a\ncommand = /a\nprofile = p\n\
    [guest b]\nkind = app\nroot = /b\ncommand = /b\nprofile = p\nio-max = /dev/z wbps=1M\n\
    [guest c]\nkind = os\nroot = /c\nprofile = p\nhostname = see\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn no_number_of_changes_fills_a_plan(rounds in vec((0..3u16, vec(change(), 1..4), prop::bool::weighted(0.8)), 300)) {
        let mut read = Read::text(GUESTS);
        prop_assert!(read.good);
        let mut model = BTreeMap::<(u16, String), Owned>::new();
        // More than any pool holds.
        for (id, changes, keep) in rounds.iter().cycle().take(6000) {
            match apply(&mut read.plan, GuestId(*id), changes, *keep) {
                Ok(()) if *keep => model.extend(changes.iter().map(|change| ((*id, change.of()), change.clone()))),
                Ok(()) | Err(Refused::AboveMemory(..)) => {}
                Err(refused) => prop_assert!(false, "{refused:?}"),
            }
        }
        for ((id, _), change) in &model {
            let guest = read.plan.guest(GuestId(*id)).unwrap();
            prop_assert_eq!(read.plan.present(guest, change.change()), change.change());
        }
        // What was not changed is as it was.
        let plan = &read.plan;
        let said = |id: u16, change: Change<'static>| plan.present(plan.guest(GuestId(id)).unwrap(), change);
        let disk = |device, rbps| Change::IoMax { device, limits: Some([Some(rbps), None, None, None]) };
        prop_assert_eq!(said(0, disk("/dev/x", 0)), disk("/dev/x", 1 << 20));
        prop_assert_eq!(said(2, disk("/dev/y", 0)), disk("/dev/y", 2 << 20));
        prop_assert_eq!(said(1, disk("/dev/x", 0)), Change::IoMax { device: "/dev/x", limits: None });
        let srv = Change::Tmpfs { target: "/srv", bytes: Some(1 << 20) };
        prop_assert_eq!(said(1, srv), srv);
        prop_assert_eq!(plan.strings.str(plan.guest(GuestId(2)).unwrap().hostname), "see");
    }
}

/// The file with `changes` of `guest`.
fn edited(read: &Read, guest: &str, changes: &[Owned]) -> Result<Vec<u8>, Unwritable> {
    let values: Vec<_> = changes.iter().map(|change| (change.change().key(), change.value())).collect();
    let wanted: Vec<_> = values.iter().map(|(key, value)| Wanted { key: *key, value: value.as_bytes() }).collect();
    let edits = read.config.edit(guest.as_bytes(), &wanted)?;
    let mut text = Vec::new();
    edits.write(&read.config, &wanted, &mut |bytes| text.extend_from_slice(bytes));
    Ok(text)
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split(|byte| *byte == b'\n').collect()
}

/// How many of the first are not among the second in the same order.
fn missing(some: &[&[u8]], all: &[&[u8]]) -> usize {
    let mut common = vec![vec![0; all.len() + 1]; some.len() + 1];
    for (i, one) in some.iter().enumerate() {
        for (j, other) in all.iter().enumerate() {
            common[i + 1][j + 1] = if one == other { common[i][j] + 1 } else { common[i][j + 1].max(common[i + 1][j]) };
        }
    }
    some.len() - common[some.len()][all.len()]
}

/// Edits `text` for each of its guests, and checks what came of it.
fn check_edit(text: &[u8], changes: &[Owned]) {
    let before = Read::text(text);
    if !before.good {
        return;
    }
    let keys = |key| changes.iter().any(|change| change.change().key() == key);
    for guest in &before.plan.guests {
        let name = before.plan.strings.str(guest.name);
        if guest.kind == Kind::Service && keys(Key::Tmpfs) {
            continue;
        }
        let new = match edited(&before, name, changes) {
            Ok(new) => new,
            Err(Unwritable::Inherited(key)) => {
                assert!(keys(key));
                continue;
            }
            Err(unwritable) => panic!("{unwritable:?}"),
        };
        let after = Read::text(&new);
        let shown = || format!("{changes:?} of {name}:\n{}\n{}", String::from_utf8_lossy(&new), after.report());
        let digest = |read: &Read| read.config.digest(name.as_bytes(), &keys);
        assert_eq!(digest(&after), digest(&before), "{}", shown());
        // Two keys may not go together: that is what the words say, not how they are put.
        if !after.good {
            let report = after.report();
            let fine = ["is above", "mounted in one place"];
            assert!(fine.iter().any(|words| report.contains(words)), "{}", shown());
            continue;
        }
        let now = after.plan.guest(after.plan.find(name.as_bytes()).unwrap()).unwrap();
        for change in changes {
            assert_eq!(after.plan.present(now, change.change()), change.change(), "{}", shown());
        }
        // Lists of a profile come along.
        let all = |read: &Read, guest: &innkeep::plan::Guest| {
            read.plan.io_max.get(guest.limits.io_max).len()
                + read.plan.rlimits.get(guest.rlimits).len()
                + guest.tmpfs.len()
        };
        let added = changes.iter().filter(|change| {
            let is_new = |value| {
                matches!(
                    value,
                    Change::IoMax { limits: None, .. }
                        | Change::Rlimit { limits: None, .. }
                        | Change::Tmpfs { bytes: None, .. }
                )
            };
            is_new(before.plan.present(guest, change.change()))
        });
        assert_eq!(all(&after, now), all(&before, guest) + added.count(), "{}", shown());
        // Every other line is there, in its order.
        let (old, new) = (lines(text), lines(&new));
        let gone = missing(&old, &new);
        // A line with no end behind which another was put has one now.
        assert!(gone <= 2 * changes.len() + 1, "{gone} lines are gone: {}", shown());
        for line in old.iter().filter(|line| line.trim_ascii_start().starts_with(b"#")) {
            assert!(new.contains(line), "{}", shown());
        }
    }
}

/// One of a kind: a command with two values for one key is refused before.
fn distinct() -> impl Strategy<Value = Vec<Owned>> {
    vec(change(), 1..5).prop_map(|changes| {
        let mut seen = std::collections::BTreeSet::new();
        changes.into_iter().filter(|change| seen.insert(change.of())).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn an_edited_config_says_what_was_asked_for_and_nothing_else(changes in distinct()) {
        for path in corpus("accepted") {
            check_edit(&std::fs::read(path).unwrap(), &changes);
        }
        check_edit(GUESTS.as_bytes(), &changes);
        check_edit(GUESTS.replace('\n', "\r\n").trim_end().as_bytes(), &changes);
    }

    #[test]
    fn any_config_that_is_good_can_be_edited(lines in vec(line(), 0..12), changes in distinct(), end: bool) {
        let text = format!("[guest a]\nkind = app\nroot = /a\ncommand = /a\n{}{}", lines.join("\n"), if end { "\n" } else { "" });
        check_edit(text.as_bytes(), &changes);
    }
}

#[test]
fn a_line_that_goes_on_keeps_its_shape_and_a_comment_its_place() {
    let text = "[guest a]  # first\n\tkind\t= app\n\troot\t= /a # its root\n\tcommand\t= /a \\\n\t  -b\n\tmemory\t= \\\n\t  1M   # little\n# end\n\n[guest b]\nkind=os\nroot=/b";
    let read = Read::text(text);
    assert!(read.good, "{}", read.report());
    let changes = [Owned::Number(Key::Memory, Some(2 << 20)), Owned::Number(Key::OomScore, Some(-5))];
    let new = String::from_utf8(edited(&read, "a", &changes).unwrap()).unwrap();
    let expected = text.replace("1M   # little\n", "2048K   # little\n\toom-score\t= -5\n");
    assert_eq!(new, expected);
    let new = String::from_utf8(edited(&read, "b", &changes[1..]).unwrap()).unwrap();
    assert_eq!(new, text.to_owned() + "\noom-score=-5");
    assert!(matches!(edited(&read, "c", &changes), Err(Unwritable::NoSection)));
    // Taken away, its line goes, and its comment with it.
    let new = String::from_utf8(edited(&read, "a", &[Owned::Number(Key::Memory, None)]).unwrap()).unwrap();
    assert_eq!(new, text.replace("\tmemory\t= \\\n\t  1M   # little\n", ""));
}
