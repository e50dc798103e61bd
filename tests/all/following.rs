//! What is otherwise in a config that is read again, without a kernel: the difference as it is told, and plans that follow
//! each other.
//!
//! Beside each `tests/config/reloaded/*.conf` stands the same config as it is read again, `*.again`, and what the second
//! changes, guests running, `*.expected`; with `INN_UPDATE=1` the last is written anew.

use std::fmt::Write;

use proptest::prelude::*;

use innkeep::config::key::{Key, section};
use innkeep::limits;
use innkeep::plan::change::Change;
use innkeep::plan::difference::{What, differences};
use innkeep::plan::show::Shown;
use innkeep::plan::users::{Old, Stock};
use innkeep::plan::{Guest, GuestId, Plan, Users};
use innkeep::text::Full;

use crate::config_corpus::{Files, Read, corpus};
use crate::config_properties::{models, print};

const UP: [bool; limits::GUESTS] = [true; limits::GUESTS];
const DOWN: [bool; limits::GUESTS] = [false; limits::GUESTS];

/// The plan of `text` in place of `old`.
fn follow(old: &Plan, text: impl AsRef<[u8]>, is_up: &[bool; limits::GUESTS]) -> Result<Read, Full> {
    let mut read = Read::new();
    read.config.read(b"/etc/inn.conf", &mut Files::one(text.as_ref()), &mut read.diagnostics);
    let stock = Stock { old: Some(Old { plan: old, is_up }), ..Stock::ALL };
    read.good = read.plan.build_from(&read.config, &mut read.diagnostics, &stock);
    if read.good {
        read.plan.follow(old)?;
    }
    Ok(read)
}

/// What `new` changes, a line each.
fn told(old: &Plan, new: &Plan, is_up: bool) -> String {
    let mut text = String::new();
    differences(old, new, &|_| is_up, true, &mut |difference| {
        let name = if difference.name.is_empty() { "[host]" } else { difference.name };
        write!(text, "{name}: {}", difference.what.word()).unwrap();
        if let Some(changed) = difference.key {
            write!(text, ": {}: {} -> {}", changed.from.key.name(), changed.from, changed.to).unwrap();
            if let Some((file, line)) = changed.place {
                write!(text, " ({file}:{line})").unwrap();
            }
        }
        text.push('\n');
    });
    text
}

fn renew_all(plan: &mut Plan) {
    for index in 0..plan.guests.len() {
        plan.renew(GuestId(index as u16));
    }
}

/// Every guest by name, with all that it has.
fn all_of(plan: &Plan) -> Vec<String> {
    let keys = || Key::ALL.iter().filter(|key| key.sections() & (section::GUEST | section::SERVICE) != 0);
    let guest = |guest: &Guest| {
        let mut text = plan.strings.str(guest.name).to_owned();
        for key in keys() {
            write!(text, "\n  {} = {}", key.name(), Shown { plan, guest: Some(guest), key: *key }).unwrap();
            write!(text, " @ {:?}", plan.place(guest.asked[*key as usize])).unwrap();
        }
        text
    };
    let mut guests: Vec<_> = plan.guests.iter().filter(|guest| !guest.is_free()).map(guest).collect();
    guests.sort();
    guests
}

#[test]
fn a_config_that_is_read_again_is_told_as_expected() {
    let mut wrong = String::new();
    for path in corpus("reloaded") {
        let old = Read::text(std::fs::read(&path).unwrap());
        let new = follow(old.plan(), std::fs::read(path.with_extension("again")).unwrap(), &UP).unwrap();
        let text = told(old.plan(), new.plan(), true);
        let expected_at = path.with_extension("expected");
        if std::env::var_os("INN_UPDATE").is_some() {
            std::fs::write(&expected_at, &text).unwrap();
        }
        if std::fs::read_to_string(&expected_at).unwrap_or_default() != text {
            writeln!(wrong, "{}:\n{text}", path.display()).unwrap();
        }
        assert_eq!(told(old.plan(), old.plan(), true), "", "{}", path.display());
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A value for each key of a guest that no default is.
const VALUES: &[(&str, &str)] = &[
    ("hostname", "other"),
    ("sysctl", "net.core.somaxconn 9"),
    ("kind", "os"),
    ("root", "/srv/b"),
    ("image", "/srv/image"),
    ("ephemeral", "yes"),
    ("readonly", "no"),
    ("bind", "/a /b ro,nosuid"),
    ("tmpfs", "/tmp 1M"),
    ("device", "/dev/x rwm"),
    ("command", "/bin/b \"\""),
    ("env", "A=\"1 2\""),
    ("user", "7:8"),
    ("groups", "7 8"),
    ("directory", "/srv"),
    ("memory", "1M"),
    ("memory-high", "1M"),
    ("memory-low", "1M"),
    ("swap", "1M"),
    ("cpus", "0.5"),
    ("cpu-weight", "5"),
    ("cpuset", "0-1"),
    ("processes", "5"),
    ("io-weight", "5"),
    ("io-max", "/dev/x rbps=1M wiops=max"),
    ("rlimit", "core 0:unlimited"),
    ("oom-score", "5"),
    ("oom-group", "yes"),
    ("network", "host"),
    ("userns", "100000:70000 300000:5"),
    ("caps", "+net_raw"),
    ("seccomp", "+bpf +acct"),
    ("features", "tun"),
    ("after", "other"),
    ("wants", "other"),
    ("autostart", "no"),
    ("restart", "always"),
    ("restart-delay", "1s 2s"),
    ("give-up", "after 5 within 90s then rescue"),
    ("critical", "yes within 5m"),
    ("critical", "yes"),
    ("ready", "fd 5"),
    ("ready", "port 80 within 5s"),
    ("ready", "file \"/run/a b\""),
    ("ready", "command /bin/is up within 5s"),
    ("hook-create", "/bin/up \"a b\""),
    ("hook-start", "/bin/up"),
    ("hook-stop", "down now"),
    ("hook-destroy", "/bin/down"),
    ("health", "/bin/is \"well done\" every 10s timeout 2s failures 5"),
    ("stop", "SIGINT 1s SIGRTMIN+4 500ms SIGKILL"),
    ("log", "off"),
    ("log", "kmsg"),
    ("log", "\"/srv/a log\" 1M 3"),
    ("console", "pty"),
    ("description", "two words"),
];

fn guest_with(key: &str, value: &str) -> String {
    let mut lines = vec![("kind", "app"), ("root", "/srv/a"), ("command", "/bin/a")];
    match key {
        "image" => drop(lines.remove(1)),
        _ => lines.retain(|(other, _)| *other != key),
    }
    lines.push((key, value));
    let lines: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("[guest a]\n{lines}[guest other]\nkind = app\nroot = /o\ncommand = /o\n")
}

#[test]
fn every_key_of_a_guest_is_told_and_goes_back() {
    let plain = Read::text(guest_with("kind", "app"));
    let mut seen = vec![Key::Profile, Key::Before, Key::Nesting, Key::Tty];
    for (key, value) in VALUES {
        let text = guest_with(key, value);
        let mut other = follow(plain.plan(), &text, &UP).unwrap();
        let told_lines = told(plain.plan(), other.plan(), true);
        assert!(told_lines.contains(&format!(": {key}: ")), "{key}: {told_lines}");
        assert!(told_lines.lines().all(|line| line.starts_with("a: ")), "{told_lines}");
        seen.push(Key::find(key.as_bytes(), section::GUEST | section::SERVICE).unwrap());
        // What is running is what it was, but for what holds at once.
        let id = other.plan.find(b"a").unwrap();
        let was = plain.plan.guest(plain.plan.find(b"a").unwrap()).unwrap();
        for pending in other.plan.pending(id).each() {
            let shown = |plan, guest| Shown { plan, guest: Some(guest), key: pending };
            assert!(shown(&other.plan, other.plan.guest(id).unwrap()).is_same(&shown(plain.plan(), was)), "{key}");
        }
        // Back, while it runs.
        let back = follow(&other.plan, guest_with("kind", "app"), &UP).unwrap();
        assert!(back.plan.next.is_empty(), "{key}");
        // And after it has started with it.
        renew_all(&mut other.plan);
        assert_eq!(all_of(&other.plan), all_of(Read::text(&text).plan()), "{key}");
        let mut back = follow(&other.plan, guest_with("kind", "app"), &UP).unwrap();
        renew_all(&mut back.plan);
        let same = all_of(Read::text(guest_with("kind", "app")).plan());
        assert!(all_of(&back.plan) == same || *key == "userns", "{key}");
    }
    let missing: Vec<_> = Key::ALL
        .iter()
        .filter(|key| key.is_built() && key.sections() & (section::GUEST | section::SERVICE) != 0)
        .filter(|key| !seen.contains(key))
        .map(|key| key.name())
        .collect();
    assert!(missing.is_empty(), "add these to VALUES, to plan/show.rs and to plan/follow.rs: {missing:?}");
}

#[test]
fn what_cannot_change_while_it_runs_waits_for_the_next_start() {
    let old = Read::text("[guest a]\nkind = app\nroot = /a\ncommand = /bin/a x\nmemory = 64M\nenv = A=1\n");
    let again = "[guest a]\nkind = app\nroot = /a\ncommand = /bin/a y\nmemory = 32M\nenv = A=1\ndescription = new\n";
    let mut new = follow(old.plan(), again, &UP).unwrap();
    let id = GuestId(0);
    let words = |plan: &Plan| format!("{}", Shown { plan, guest: plan.guest(id), key: Key::Command });
    assert_eq!(words(&new.plan), "/bin/a x");
    assert_eq!(new.plan.pending(id).to_string(), "command, memory");
    let text = |plan: &Plan| plan.strings.str(plan.guest(id).unwrap().description).to_owned();
    assert_eq!(text(&new.plan), "new");
    // The live part is taken by the kernel.
    let staged = new.plan.stage_next(id).unwrap();
    assert_eq!(staged.keys.to_string(), "memory");
    new.plan.keep(id, &staged);
    assert_eq!(new.plan.guest(id).unwrap().limits.memory_bytes, Some(32 << 20));
    assert_eq!(new.plan.place_of(new.plan.guest(id).unwrap(), Key::Memory), Some(("/etc/inn.conf", 5)));
    assert_eq!(new.plan.pending(id).to_string(), "command");
    assert!(new.plan.stage_next(id).is_none());
    // What somebody sets holds at the next start too.
    let set = Change::Number { key: Key::Processes, value: Some(7) };
    let staged = new.plan.stage(id, [set].into_iter()).unwrap().unwrap();
    new.plan.keep(id, &staged);
    assert!(new.plan.renew(id) && !new.plan.renew(id));
    assert_eq!(words(&new.plan), "/bin/a y");
    let guest = new.plan.guest(id).unwrap();
    assert_eq!((guest.limits.processes, guest.limits.memory_bytes), (7, Some(32 << 20)));
}

#[test]
fn what_the_kernel_refused_waits_too() {
    let old = Read::text("[guest a]\nkind = app\nroot = /a\ncommand = /a\n");
    let mut new = follow(old.plan(), "[guest a]\nkind = app\nroot = /a\ncommand = /a\nmemory = 1M\n", &UP).unwrap();
    new.plan.give_up_live(GuestId(0));
    assert!(new.plan.stage_next(GuestId(0)).is_none());
    assert_eq!(new.plan.pending(GuestId(0)).to_string(), "memory");
    // Reading the config once more tries again.
    let again = follow(&new.plan, "[guest a]\nkind = app\nroot = /a\ncommand = /a\nmemory = 1M\n", &UP).unwrap();
    assert!(again.plan.stage_next(GuestId(0)).is_some());
}

fn app(name: &str) -> String {
    format!("[guest {name}]\nkind = app\nroot = /srv/{name}\ncommand = /bin/{name}\n")
}

#[test]
fn guests_keep_their_places_and_new_ones_take_free_ones() {
    let old = Read::text(["a", "b", "c"].map(app).concat());
    let mut second = follow(old.plan(), ["d", "c", "a"].map(app).concat() + "after = c d\n", &UP).unwrap();
    let name = |plan: &Plan, id: u16| plan.guest(GuestId(id)).map(|guest| plan.strings.str(guest.name).to_owned());
    let names = |plan: &Plan| (0..4).map(|id| name(plan, id).unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(names(&second.plan), ["a", "b", "c", "d"]);
    assert!(second.plan.guest(GuestId(1)).unwrap().is_removed);
    let after = second.plan.dependencies.get(second.plan.guest(GuestId(0)).unwrap().after).to_vec();
    assert_eq!(after, [GuestId(2), GuestId(3)]);
    // Down: its place is free, and the next new guest has it.
    assert!(second.plan.renew(GuestId(1)));
    assert_eq!((names(&second.plan)[1].as_str(), second.plan.find(b"b")), ("", None));
    let third = follow(&second.plan, ["e", "d", "c", "a"].map(app).concat(), &UP).unwrap();
    assert_eq!(names(&third.plan), ["a", "e", "c", "d"]);
    // One that comes back before it is down is itself again.
    let back = follow(&follow(old.plan(), app("a"), &UP).unwrap().plan, ["a", "b"].map(app).concat(), &UP).unwrap();
    assert_eq!(names(&back.plan), ["a", "b", "c", ""]);
    let removed = |id| back.plan.guest(GuestId(id)).unwrap().is_removed;
    assert!(!removed(1) && removed(2));
}

#[test]
fn a_host_that_is_full_of_guests_that_stay_takes_no_more() {
    let many = |prefix: &str, count: usize| (0..count).map(|n| app(&format!("{prefix}{n}"))).collect::<String>();
    let full = Read::text(many("a", limits::GUESTS));
    assert!(follow(full.plan(), many("a", limits::GUESTS), &UP).is_ok());
    // Those that are to go are still there.
    assert_eq!(follow(full.plan(), many("b", limits::GUESTS), &UP).map(|_| ()), Err(Full));
}

#[test]
fn guests_keep_their_users_and_nobody_gets_those_of_one_that_runs() {
    let users = |plan: &Plan, name: &str| plan.guest(plan.find(name.as_bytes()).unwrap()).unwrap().users.unwrap();
    let old = Read::text(["a", "b"].map(app).concat() + "userns = 100000:65536\n");
    let new = follow(old.plan(), ["c", "b", "a"].map(app).concat(), &UP).unwrap();
    assert_eq!(users(new.plan(), "a"), users(old.plan(), "a"));
    // It gets a range of its own when it starts again; as long as it runs, it has the one that it has.
    assert_eq!(users(new.plan(), "b"), Users { base: 100_000, count: 65_536 });
    assert_eq!(new.plan.pending(new.plan.find(b"b").unwrap()).to_string(), "userns");
    // Back before that: it has what it has.
    let explicit = follow(old.plan(), app("a") + "userns = 6553600:65536\n" + &app("b"), &UP).unwrap();
    let back = follow(explicit.plan(), ["a", "b"].map(app).concat(), &UP).unwrap();
    assert_eq!(
        (users(back.plan(), "a"), back.plan.pending(GuestId(0)).to_string()),
        (users(old.plan(), "a"), String::new())
    );
    let taken = app("a") + &app("c") + "userns = 100000:1\n";
    let refused = follow(old.plan(), &taken, &UP).unwrap();
    assert!(!refused.good && refused.report().contains("has users of a guest that runs now"), "{}", refused.report());
    assert!(follow(old.plan(), &taken, &DOWN).unwrap().good);
    // Two that change places must both be down.
    let swapped = |a: u32, b: u32| app("a") + &format!("userns = {a}:9\n") + &app("b") + &format!("userns = {b}:9\n");
    let old = Read::text(swapped(100_000, 200_000));
    assert!(!follow(old.plan(), swapped(200_000, 100_000), &UP).unwrap().good);
    assert!(follow(old.plan(), swapped(200_000, 100_000), &DOWN).unwrap().good);
}

#[test]
fn the_size_of_a_file_system_changes_and_its_place_does_not() {
    let text = |lines: &str| app("a") + lines;
    for (from, to, live) in [
        ("tmpfs = /x 1M\n", "tmpfs = /x 2M\n", true),
        ("", "tmpfs = /run 2M\n", true),
        ("tmpfs = /tmp 2M\n", "", true),
        ("", "tmpfs = /x 2M\n", false),
        ("tmpfs = /x 2M\n", "", false),
        ("tmpfs = /x 2M\n", "tmpfs = /y 2M\n", false),
    ] {
        let old = Read::text(text(from));
        let new = follow(old.plan(), text(to), &UP).unwrap();
        assert_eq!(new.plan.stage_next(GuestId(0)).is_some(), live, "{from} {to}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn there_and_back_is_where_one_was(one in models(), two in models(), up in any::<bool>(), kernel in any::<bool>()) {
        let (a, b) = (print(&one), print(&two));
        let start = Read::text(&a);
        let is_up = if up { &UP } else { &DOWN };
        // What an earlier guest holds may be refused to another.
        let Ok(mut there) = follow(start.plan(), &b, is_up) else { return Ok(()) };
        if !there.good {
            return Ok(());
        }
        for index in 0..there.plan.guests.len() {
            let id = GuestId(index as u16);
            if !up {
                there.plan.renew(id);
            } else if kernel && let Some(staged) = there.plan.stage_next(id) {
                there.plan.keep(id, &staged);
            }
        }
        let same = told(&there.plan, &there.plan, up);
        // What waits for a restart is told as long as it waits.
        prop_assert_eq!(same.is_empty(), there.plan.next.is_empty(), "{}", same);
        let Ok(mut back) = follow(&there.plan, &a, is_up) else { return Ok(()) };
        if !back.good {
            return Ok(());
        }
        if up {
            // Nobody has been down: what is not a limit that was changed runs as it ran.
            for next in &back.plan.next {
                prop_assert!(kernel && next.keys.each().all(Change::is_of), "{}", next.keys);
            }
        }
        for index in 0..back.plan.guests.len() {
            let id = GuestId(index as u16);
            if back.plan.guest(id).is_some_and(|guest| guest.is_removed) || !up {
                back.plan.renew(id);
            } else if let Some(staged) = back.plan.stage_next(id) {
                back.plan.keep(id, &staged);
            }
        }
        prop_assert!(back.plan.next.is_empty());
        // But for users: whoever may have any keeps those that it has.
        let but_users = |text: &str| text.lines().filter(|line| !line.contains("userns")).map(str::to_owned).collect::<Vec<_>>();
        let all = |plan: &Plan| all_of(plan).iter().map(|guest| but_users(guest)).collect::<Vec<_>>();
        prop_assert_eq!(all(&back.plan), all(start.plan()));
        let differences = but_users(&told(start.plan(), &back.plan, up));
        prop_assert!(differences.is_empty(), "{differences:?}");
    }
}

#[test]
fn no_number_of_reloads_fills_a_plan() {
    let text = |round: usize| {
        let guest = |n: usize| app(&format!("a{n}")) + &format!("env = ROUND={round}\nmemory = {}M\n", 1 + round % 9);
        (0..20).map(guest).collect::<String>()
    };
    let mut plan = Read::text(text(0));
    for round in 1..60 {
        // None of them ever ends.
        plan = follow(plan.plan(), text(round), &UP).unwrap();
        assert!(plan.good);
    }
    let once = follow(Read::text(text(0)).plan(), text(59), &UP).unwrap();
    assert_eq!(plan.plan.strings.mark(), once.plan.strings.mark());
    assert_eq!(plan.plan.words.mark(), once.plan.words.mark());
    assert_eq!(What::Restart.word(), "restart");
}
