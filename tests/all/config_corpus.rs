//! Config files and what must be said about them.
//!
//! `tests/config/accepted/*.conf` make a plan. Beside each `tests/config/rejected/*.conf` stands what is printed about
//! it, `*.expected`; with `INN_UPDATE=1` these are written anew, to be read before they are committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use innkeep::config::source::{FileName, Source, Unreadable, is_next};
use innkeep::config::{Config, Diagnostics, Report};
use innkeep::limits;
use innkeep::plan::{Kind, Layer, Network, Plan, Ready, Restart, StopStep, Users};

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
        // These are too large for a test's stack: they are made where they stay.
        Read { config: zeroed_config(), plan: zeroed_plan(), diagnostics: Diagnostics::new(), good: false }
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

fn zeroed_config() -> Box<Config> {
    static NEW: Config = Config::new();
    boxed(&NEW, || Box::new(Config::new()))
}

fn zeroed_plan() -> Box<Plan> {
    static NEW: Plan = Plan::new();
    boxed(&NEW, || Box::new(Plan::new()))
}

/// Makes a large value on a thread that has the stack for it.
fn boxed<T: Send + 'static>(_: &'static T, make: fn() -> Box<T>) -> Box<T> {
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
