//! Config files and what must be said about them.
//!
//! `tests/config/accepted/*.conf` make a plan. Beside each `tests/config/rejected/*.conf` stands what is printed about
//! it, `*.expected`; with `INN_UPDATE=1` these are written anew, to be read before they are committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use innkeep::config::source::{FileName, Source, Unreadable, is_next};
use innkeep::config::{Config, Diagnostics, Report};
use innkeep::limits;
use innkeep::plan::Plan;

/// Files in memory; a path with an error number cannot be read.
#[derive(Default)]
pub struct Files(pub BTreeMap<Vec<u8>, Result<Vec<u8>, u16>>);

impl Files {
    pub fn one(text: &[u8]) -> Files {
        Files([(b"/etc/inn.conf".to_vec(), Ok(text.to_vec()))].into())
    }

    pub fn with(mut self, path: &str, text: &[u8]) -> Files {
        self.0.insert(path.into(), Ok(text.to_vec()));
        self
    }

    pub fn with_error(mut self, path: &str, errno: i32) -> Files {
        self.0.insert(path.into(), Err(errno as u16));
        self
    }
}

impl Source for Files {
    fn read(&mut self, path: &[u8], into: &mut [u8]) -> Result<usize, Unreadable> {
        let text = self.0.get(path).cloned().unwrap_or(Err(libc::ENOENT as u16)).map_err(Unreadable)?;
        let length = text.len().min(into.len());
        into[..length].copy_from_slice(&text[..length]);
        Ok(length)
    }

    fn next_name(&mut self, directory: &[u8], pattern: &[u8], after: &[u8]) -> Result<Option<FileName>, Unreadable> {
        if let Some(Err(errno)) = self.0.get(directory) {
            return Err(Unreadable(*errno));
        }
        let mut best: Option<&[u8]> = None;
        for name in self.0.keys().filter_map(|path| path.strip_prefix(directory)) {
            if !name.contains(&b'/') && is_next(name, pattern, after, best) {
                best = Some(name);
            }
        }
        Ok(best.map(|name| FileName::from_slice(name).unwrap()))
    }
}

/// All that a config becomes.
pub struct Read {
    pub config: Box<Config>,
    pub plan: Box<Plan>,
    pub diagnostics: Diagnostics,
    pub good: bool,
}

impl Read {
    pub fn new() -> Read {
        Read {
            config: boxed(|| Box::new(Config::new())),
            plan: boxed(|| Box::new(Plan::new())),
            diagnostics: Diagnostics::new(),
            good: false,
        }
    }

    pub fn files(mut files: Files) -> Read {
        let mut read = Read::new();
        read.config.read(b"/etc/inn.conf", &mut files, &mut read.diagnostics);
        read.build()
    }

    pub fn text(text: impl AsRef<[u8]>) -> Read {
        Read::files(Files::one(text.as_ref()))
    }

    pub fn build(mut self) -> Read {
        self.good = self.plan.build(&self.config, &mut self.diagnostics);
        assert_eq!(self.good, self.diagnostics.is_empty());
        self
    }

    pub fn report(&self) -> String {
        Report(&self.config, &self.diagnostics).to_string()
    }

    /// The plan, which must be good.
    pub fn plan(&self) -> &Plan {
        assert!(self.good, "{}", self.report());
        &self.plan
    }

    /// The messages alone: lines that begin with a file's name.
    pub fn messages(&self) -> Vec<String> {
        self.report().lines().filter(|line| line.starts_with("/etc/inn.conf")).map(str::to_owned).collect()
    }
}

/// Makes a large value on a thread that has the stack for it.
fn boxed<T: Send + 'static>(make: fn() -> Box<T>) -> Box<T> {
    std::thread::Builder::new().stack_size(64 << 20).spawn(make).unwrap().join().unwrap()
}

pub fn corpus(folder: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 3, "the corpus is missing");
    paths
}

#[test]
fn accepted_files_make_a_plan() {
    for path in corpus("accepted") {
        let read = Read::text(std::fs::read(&path).unwrap());
        assert!(read.good, "{}:\n{}", path.display(), read.report());
    }
}

#[test]
fn rejected_files_are_answered_as_expected() {
    let mut wrong = String::new();
    for path in corpus("rejected") {
        let read = Read::text(std::fs::read(&path).unwrap());
        assert!(!read.good, "{} is accepted", path.display());
        let expected_at = path.with_extension("expected");
        if std::env::var_os("INN_UPDATE").is_some() {
            std::fs::write(&expected_at, read.report()).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_at).unwrap_or_default();
        if expected != read.report() {
            wrong += &format!("{}:\n{}instead of:\n{expected}\n", path.display(), read.report());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_example_lacks_nothing_but_later_features() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/rejected/later-features.conf");
    let messages = Read::text(std::fs::read(path).unwrap()).messages();
    assert!(!messages.is_empty());
    for message in messages {
        assert!(message.ends_with("not supported by this version"), "{message}");
    }
}

#[test]
fn every_later_key_is_refused_where_it_stands() {
    use innkeep::config::key::{Key, section};
    for key in Key::ALL.iter().filter(|key| !key.is_built()) {
        let (bit, _) = section::ALL.iter().find(|(bit, _)| key.sections() & bit != 0).unwrap();
        let name = if *bit == section::HOST { "" } else { " x" };
        let text = format!("[{}{name}]\n{} = 1\n", section::name(*bit), key.name());
        let expected = format!("/etc/inn.conf:2:1: `{}` is not supported by this version", key.name());
        assert!(Read::text(text).messages().contains(&expected), "{}", key.name());
    }
}

#[test]
fn what_cannot_be_read_is_one_line() {
    for (errno, words) in [
        (libc::EISDIR, "EISDIR (is a directory)"),
        (libc::EACCES, "EACCES (permission denied)"),
        (libc::ENOENT, "ENOENT (no such file or directory)"),
    ] {
        let read = Read::files(Files::default().with_error("/etc/inn.conf", errno));
        assert_eq!(read.report(), format!("/etc/inn.conf: cannot be read: {words}\n"));
    }
}

#[test]
fn ten_mebibytes_are_one_line() {
    for text in [vec![b'#'; 10 << 20], vec![b'\n'; 10 << 20], b"[host]\n".repeat(10 << 17)] {
        let bound = "/etc/inn.conf: the config is larger than 1048576 bytes in all (limits::CONFIG_BYTES)\n";
        assert_eq!(Read::text(text).report(), bound);
    }
}

#[test]
fn a_config_may_be_as_large_as_its_bound() {
    let most = limits::CONFIG_BYTES - "/etc/inn.conf".len();
    assert!(Read::text(vec![b'\n'; most]).good);
    assert!(!Read::text(vec![b'\n'; most + 1]).good);
}

fn app(name: &str, more: &str) -> String {
    format!("[guest {name}]\nkind = app\nroot = /srv/{name}\ncommand = /bin/{name}\n{more}")
}

/// `most` is accepted, `one_more` gets this one message.
fn assert_bound(most: String, one_more: String, message: &str) {
    let read = Read::text(&most);
    assert!(read.good, "{message}:\n{}", read.report());
    let read = Read::text(&one_more);
    let messages = read.messages();
    assert_eq!(messages.len(), 1, "{message}:\n{}", read.report());
    assert!(messages[0].ends_with(message), "{messages:?}\n{message}");
}

#[test]
fn every_bound_is_reached_and_named() {
    let words = |count: usize| "x ".repeat(count);
    let apps = |count: usize, more: &str| (0..count).map(|n| app(&format!("g{n}"), more)).collect::<String>();

    assert_bound(
        apps(limits::GUESTS, ""),
        apps(limits::GUESTS + 1, ""),
        "more than 1024 guests and services (limits::GUESTS)",
    );
    let profiles = |count: usize| (0..count).map(|n| format!("[profile p{n}]\nswap = 0\n")).collect::<String>();
    assert_bound(
        profiles(limits::PROFILES),
        profiles(limits::PROFILES + 1),
        "more than 64 profiles (limits::PROFILES)",
    );
    let line = |bytes: usize| app("a", &format!("description = {}\n", "d".repeat(bytes - "description = ".len())));
    assert_bound(
        line(limits::LINE_BYTES),
        line(limits::LINE_BYTES + 1),
        "this line is longer than 4096 bytes (limits::LINE_BYTES)",
    );
    let goes_on = |bytes: usize| line(bytes).replacen("= ddd", "= \\\nd", 1);
    assert_bound(
        goes_on(limits::LINE_BYTES),
        goes_on(limits::LINE_BYTES + 1),
        "this line is longer than 4096 bytes (limits::LINE_BYTES)",
    );
    let description = |count: usize| app("a", &format!("description = {}\n", words(count)));
    assert_bound(
        description(limits::VALUE_WORDS),
        description(limits::VALUE_WORDS + 1),
        "more than 64 words (limits::VALUE_WORDS)",
    );
    let command = |count: usize| format!("[service a]\ncommand = {}\n", words(count));
    assert_bound(
        command(limits::COMMAND_WORDS),
        command(limits::COMMAND_WORDS + 1),
        "more than 64 words (limits::COMMAND_WORDS)",
    );
    let emergency = |count: usize| format!("[host]\nemergency = {}\n", words(count));
    assert_bound(
        emergency(limits::COMMAND_WORDS),
        emergency(limits::COMMAND_WORDS + 1),
        "more than 64 words (limits::COMMAND_WORDS)",
    );
    let env = |count: usize| app("a", &(0..count).map(|n| format!("env = V{n}=1\n")).collect::<String>());
    assert_bound(
        env(limits::COMMAND_WORDS),
        env(limits::COMMAND_WORDS + 1),
        "more than 64 words (limits::COMMAND_WORDS)",
    );
    let stop = |count: usize| app("a", &format!("stop = {}\n", "SIGTERM 1s ".repeat(count)));
    assert_bound(stop(limits::STOP_STEPS), stop(limits::STOP_STEPS + 1), "more than 8 steps (limits::STOP_STEPS)");
    let groups = |count: usize| app("a", &format!("groups = {}\n", "7 ".repeat(count)));
    assert_bound(groups(limits::GROUPS), groups(limits::GROUPS + 1), "more than 32 groups (limits::GROUPS)");
    let modules = |count: usize| format!("[host]\n{}", "modules = m\n".repeat(count));
    assert_bound(modules(limits::MODULES), modules(limits::MODULES + 1), "more than 64 modules (limits::MODULES)");
    let sysctls = |count: usize| {
        let lines = (0..count).map(|n| format!("sysctl = net.a{n} 1\n")).collect::<String>();
        format!("[host]\n{lines}")
    };
    assert_bound(
        sysctls(limits::SYSCTLS),
        sysctls(limits::SYSCTLS + 1),
        "more than 64 kernel settings (limits::SYSCTLS)",
    );
    let name = |bytes: usize| app(&"n".repeat(bytes), "").replace("/srv/n", "/s/n").replace("/bin/n", "/b/n");
    assert_bound(
        name(limits::NAME_BYTES),
        name(limits::NAME_BYTES + 1),
        "is not a name: 1 to 63 of a-z A-Z 0-9 - _ . are, with a letter or digit first",
    );
}

#[test]
fn a_pool_that_is_full_is_an_answer() {
    let guest = |n: usize| {
        app(&format!("g{n}"), &format!("env = {}\n", (0..60).map(|v| format!("V{v}=1 ")).collect::<String>()))
    };
    let read = Read::text((0..300).map(guest).collect::<String>());
    assert!(read.report().contains("more than 16384 words in all commands and environments (limits::WORDS)"));

    let all: String = (0..80).map(|n| format!("g{n} ")).collect();
    let (first, second) = all.split_at(all.find("g40").unwrap());
    let guest = |n: usize| app(&format!("g{n}"), &format!("after = {first}\nafter = {second}\n"));
    let read = Read::text((0..80).map(guest).collect::<String>());
    assert!(read.report().contains("more than 4096 dependencies (limits::DEPENDENCIES)"), "{}", read.report());
}

#[test]
fn diagnostics_over_the_bound_are_counted() {
    let read = Read::text(format!("[host]\n{}", "turnip = 1\n".repeat(250)));
    assert_eq!(read.diagnostics.count(), 250);
    assert_eq!(read.messages().len(), limits::DIAGNOSTICS);
    assert!(read.report().ends_with("… and 150 more\n"));
}

#[test]
fn sections_over_the_bound_are_one_message() {
    let text = (0..limits::SECTIONS + 10).map(|n| format!("[bridge b{n}]\n")).collect::<String>();
    let read = Read::text(text);
    assert!(read.diagnostics.count() as usize > limits::SECTIONS, "each is not supported");
    assert!(read.config.sections().len() == limits::SECTIONS && !read.good);
}

#[test]
fn includes_are_read_in_name_order() {
    let files = Files::one(b"[host]\ninclude = /etc/inn.d/*.conf /etc/one.conf\n")
        .with("/etc/inn.d/20-b.conf", app("b", "").as_bytes())
        .with("/etc/inn.d/10-c.conf", app("c", "after = a\n").as_bytes())
        .with("/etc/inn.d/.hidden.conf", b"nonsense")
        .with("/etc/inn.d/30-d.conf~", b"nonsense")
        .with("/etc/one.conf", app("a", "").as_bytes());
    let read = Read::files(files);
    let plan = read.plan();
    let names: Vec<_> = plan.guests.iter().map(|guest| plan.strings.str(guest.name)).collect();
    assert_eq!(names, ["c", "b", "a"]);
    let kind_at = plan.guests[1].asked[innkeep::config::key::Key::Kind as usize];
    assert_eq!(plan.place(kind_at), Some(("/etc/inn.d/20-b.conf", 2)));
}

#[test]
fn what_is_wrong_in_an_included_file_names_that_file() {
    let files = Files::one(b"[host]\ninclude = /etc/inn.d/*\nhostname = a\n")
        .with("/etc/inn.d/a", b"[guest a]\nkind = ap\n")
        .with_error("/etc/inn.d/b", libc::EACCES)
        .with("/etc/inn.d/c", b"\xff")
        .with("/etc/inn.d/d", b"[host]\ninclude = /etc/inn.d/e\n");
    let report = Read::files(files).report();
    for line in [
        "/etc/inn.d/a:2:8: `ap` is not one of os, app",
        "/etc/inn.d/b: cannot be read: EACCES (permission denied)",
        "/etc/inn.d/c:1:1: not a text file: a byte that is neither printable nor UTF-8",
        "/etc/inn.d/d:1:2: `host` is already defined at /etc/inn.conf:1:2",
    ] {
        assert!(report.lines().any(|other| other == line), "{line}\n{report}");
    }
}

#[test]
fn a_missing_include_is_an_error_but_a_pattern_without_files_is_none() {
    assert!(Read::text("[host]\ninclude = /none/*.conf\n").good);
    let report = Read::text("[host]\ninclude = /none.conf\n").report();
    assert_eq!(report, "/none.conf: cannot be read: ENOENT (no such file or directory)\n");
    let report = Read::text("[host]\ninclude = /etc/inn.conf\n").report();
    assert_eq!(report, "/etc/inn.conf: this file is already part of the config\n");
    let files = Files::one(b"[host]\ninclude = /locked/*\n").with_error("/locked/", libc::EACCES);
    let report = Read::files(files).report();
    assert!(report.starts_with("/etc/inn.conf:2:11: cannot be read: EACCES"), "{report}");
}

#[test]
fn references_into_a_file_that_cannot_be_read_are_not_reported() {
    let text = format!("[host]\ninclude = /etc/more.conf\n{}", app("a", "after = b\nprofile = p\n"));
    let report = Read::text(text).report();
    assert_eq!(report, "/etc/more.conf: cannot be read: ENOENT (no such file or directory)\n");
}

#[test]
fn too_many_files_are_one_message() {
    let mut files = Files::one(b"[host]\ninclude = /d/*\n");
    for n in 0..limits::CONFIG_FILES {
        files = files.with(&format!("/d/{n}"), b"");
    }
    let report = Read::files(files).report();
    assert_eq!(report.lines().count(), 1, "{report}");
    assert!(report.contains("more than 256 files (limits::CONFIG_FILES)"), "{report}");
}
