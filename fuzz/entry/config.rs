//! Any bytes as a config: read, planned and reported. What must hold of every plan and every diagnostic is asserted.
//!
//! Included by the fuzz target and by the ordinary tests.

use std::cell::RefCell;
use std::collections::BTreeSet;

use innkeep::config::source::{FileName, Source, Unreadable};
use innkeep::config::{Config, Diagnostics, Report};
use innkeep::limits;
use innkeep::plan::{GuestId, Kind, Layer, Plan};

/// A file's name for everything that a config includes.
struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    fn read(&mut self, path: &[u8], into: &mut [u8]) -> Result<usize, Unreadable> {
        if path.ends_with(b"e") {
            return Err(Unreadable(13));
        }
        let length = self.0.len().min(into.len());
        into[..length].copy_from_slice(&self.0[..length]);
        // What is included next is the second half of what was read now, so that includes end.
        self.0 = &self.0[self.0.len() / 2..];
        Ok(length)
    }

    fn next_name(&mut self, _: &[u8], pattern: &[u8], after: &[u8]) -> Result<Option<FileName>, Unreadable> {
        let names = [b"a.conf".as_slice(), b"b.conf", b"e"];
        let next = names.into_iter().find(|name| *name > after && innkeep::config::source::matches(pattern, name));
        Ok(next.map(|name| FileName::from_slice(name).unwrap()))
    }
}

struct State {
    config: Config,
    plan: Plan,
}

thread_local! {
    /// Made once, on a thread whose stack it fits.
    static STATE: RefCell<Box<State>> = RefCell::new({
        let make = || Box::new(State { config: Config::new(), plan: Plan::new() });
        std::thread::Builder::new().stack_size(64 << 20).spawn(make).unwrap().join().unwrap()
    });
}

/// `data` as a config file, as a guest of the kernel's command line, and as an option of `inn run`.
pub fn config(data: &[u8]) {
    STATE.with_borrow_mut(|state| {
        let State { config, plan } = &mut **state;
        check(config, plan, |config, diagnostics| config.read(b"/inn.conf", &mut Bytes(data), diagnostics));
        if data.len() < limits::LINE_BYTES && !data.contains(&0) {
            check(config, plan, |config, diagnostics| config.add_kernel_guest(data, diagnostics));
            check(config, plan, |config, diagnostics| {
                let mut parts = data.split(|byte| *byte == b'\n');
                config.begin_run(parts.next().unwrap_or(b"run"), diagnostics);
                config.option(parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), diagnostics);
                config.option_words(b"--command", parts, diagnostics);
                config.end_run(diagnostics);
            });
        }
    });
}

fn check(config: &mut Config, plan: &mut Plan, read: impl FnOnce(&mut Config, &mut Diagnostics)) {
    let mut diagnostics = Diagnostics::new();
    config.clear();
    read(config, &mut diagnostics);
    let good = plan.build(config, &mut diagnostics);
    assert_eq!(good, diagnostics.is_empty());
    for diagnostic in diagnostics.kept() {
        let (start, end) = (diagnostic.at.start as usize, diagnostic.at.end as usize);
        assert!(start <= end && end <= config.text().len(), "{diagnostic:?}");
        let place = config.place(diagnostic.at);
        assert!(config.files().iter().any(|file| file.name == place.file), "{diagnostic:?} is in no file");
        assert!(!place.file.of(config.text()).contains(&b'\n') || place.line > 0);
    }
    let report = Report(config, &diagnostics).to_string();
    assert_eq!(report.is_empty(), good);
    assert!(report.chars().all(|char| !char.is_control() || matches!(char, '\n' | '\t')), "{report:?}");
    if good {
        assert_invariants(config, plan);
    }
}

/// What holds of every plan.
pub fn assert_invariants(config: &Config, plan: &Plan) {
    let mut names = BTreeSet::new();
    let mut ranges = Vec::new();
    for guest in &plan.guests {
        let name = plan.strings.str(guest.name);
        assert!(names.insert(name), "{name} twice");
        let inner = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        assert!((1..=limits::NAME_BYTES).contains(&name.len()) && name.chars().all(inner), "{name}");
        assert!(name.starts_with(|char: char| char.is_ascii_alphanumeric()), "{name}");

        let command = plan.words.get(guest.command);
        assert!((1..=limits::COMMAND_WORDS).contains(&command.len()), "{name}");
        assert!(!plan.strings.bytes(command[0]).is_empty());
        assert!(plan.words.get(guest.env).iter().all(|word| plan.strings.bytes(*word).contains(&b'=')));
        assert!((1..=limits::STOP_STEPS).contains(&plan.stop(guest).len()));
        assert!(plan.rlimits.get(guest.rlimits).iter().all(|rlimit| rlimit.soft <= rlimit.hard));
        assert!(guest.restart_delay_ms.0 > 0 && guest.restart_delay_ms.0 <= guest.restart_delay_ms.1);
        assert!(guest.log_bytes <= limits::LOG_BYTES_MAX && guest.limits.processes > 0);
        let limits = guest.limits;
        let most = limits.memory_bytes.unwrap_or(u64::MAX);
        assert!(limits.memory_high_bytes.is_none_or(|bytes| bytes <= most));
        assert!(limits.memory_low_bytes.is_none_or(|bytes| bytes <= most));

        let is_clean = |path: &str| path.starts_with('/') && !path.split('/').any(|part| part == "..");
        assert!(is_clean(plan.strings.str(guest.directory)));
        match guest.kind {
            Kind::Service => assert!(guest.users.is_none() && guest.root.is_empty()),
            _ if !guest.image.is_empty() => assert!(guest.root.is_empty() && is_clean(plan.strings.str(guest.image))),
            _ if guest.root.is_empty() => assert_ne!(guest.layer, Layer::Shared),
            _ => assert!(is_clean(plan.strings.str(guest.root)) && guest.tty.is_empty()),
        }
        if let Some(users) = guest.users {
            let all: Vec<_> = std::iter::once(&users).chain(plan.more_users.get(guest.more_users)).collect();
            assert!(all.iter().all(|users| users.base >= 65_536 && users.count > 0));
            let count: u64 = all.iter().map(|users| u64::from(users.count)).sum();
            assert!(u64::from(guest.user.uid) < count && u64::from(guest.user.gid) < count);
            ranges.extend(all.iter().map(|users| (users.base, users.base.checked_add(users.count).unwrap())));
        }
        for bind in plan.binds.get(guest.binds) {
            assert!(is_clean(plan.strings.str(bind.source)) && is_clean(plan.strings.str(bind.target)));
        }
        assert!(plan.devices.get(guest.devices).iter().all(|device| device.access != 0));
        for at in guest.asked.iter().filter(|at| at.place().is_some()) {
            let (file, line) = at.place().unwrap();
            let text = config.files()[usize::from(file)].text.of(config.text());
            assert!(line as usize <= text.split(|byte| *byte == b'\n').count() && plan.place(*at).is_some());
        }
        for id in plan.dependencies.get(guest.after).iter().chain(plan.dependencies.get(guest.wants)) {
            assert!(plan.guest(*id).is_some());
        }
    }
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "ranges of users overlap");
    assert_acyclic(plan);
}

/// Taking away guests whose dependencies are gone leaves none.
fn assert_acyclic(plan: &Plan) {
    let mut left: Vec<u16> = (0..plan.guests.len() as u16).collect();
    while !left.is_empty() {
        let waits = |id: &u16| {
            let after = plan.guests[usize::from(*id)].after;
            plan.dependencies.get(after).iter().any(|GuestId(other)| left.contains(other))
        };
        let next: Vec<u16> = left.iter().copied().filter(waits).collect();
        assert!(next.len() < left.len(), "a cycle");
        left = next;
    }
}
