//! Config files → [`Plan`]: where the pure rooms meet the file system.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fs::{CWD, Mode, OFlags, RawDir};

use crate::config::source::{FileName, Source, Unreadable, is_next};
use crate::config::{Config, Diagnostics};
use crate::plan::Plan;
use crate::sys::Errno;
use crate::sys::memory::Static;

/// Where the config is, unless `--config` or `inn.config=` says otherwise.
pub const CONFIG: &CStr = c"/etc/inn.conf";

static LOADER: Static<Loader> = Static::new(Loader::new());

/// All that reading a config takes. A process has one, for as long as it lives.
#[derive(Debug)]
pub struct Loader {
    /// What was read.
    pub config: Config,
    /// What is wrong with it.
    pub diagnostics: Diagnostics,
    /// What it means, once [`Loader::build`] was content.
    pub plan: Plan,
}

impl Loader {
    const fn new() -> Self {
        Loader { config: Config::new(), diagnostics: Diagnostics::new(), plan: Plan::new() }
    }

    /// The loader, the first time; nothing after that.
    pub fn take() -> Option<&'static mut Loader> {
        LOADER.take()
    }

    /// Reads the config at `path` and what it includes, and makes the plan. Whether that is a plan.
    #[must_use]
    pub fn load(&mut self, path: &CStr) -> bool {
        self.config.read(path.to_bytes(), &mut Files, &mut self.diagnostics);
        self.build()
    }

    /// Makes the plan of what has been read. Whether it is one.
    #[must_use]
    pub fn build(&mut self) -> bool {
        self.plan.build(&self.config, &mut self.diagnostics)
    }
}

/// Files of this host.
#[derive(Debug)]
pub struct Files;

impl Source for Files {
    fn read(&mut self, path: &[u8], into: &mut [u8]) -> Result<usize, Unreadable> {
        read(path, into).map_err(unreadable)
    }

    fn next_name(&mut self, directory: &[u8], pattern: &[u8], after: &[u8]) -> Result<Option<FileName>, Unreadable> {
        next_name(directory, pattern, after).map_err(unreadable)
    }
}

fn unreadable(errno: Errno) -> Unreadable {
    Unreadable(errno.raw_os_error() as u16)
}

fn read(path: &[u8], into: &mut [u8]) -> Result<usize, Errno> {
    // A FIFO without a writer must not hang this; regular files are not concerned.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let mut filled = 0;
    while let Some(room) = into.get_mut(filled..).filter(|room| !room.is_empty()) {
        match rustix::io::read(&file, room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}

fn next_name(directory: &[u8], pattern: &[u8], after: &[u8]) -> Result<Option<FileName>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&directory, &mut buffer);
    let mut best: Option<FileName> = None;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if is_next(name, pattern, after, best.as_deref()) {
            best = FileName::from_slice(name).ok();
        }
    }
    Ok(best)
}
