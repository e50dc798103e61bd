//! Config files → [`Plan`]: where the pure rooms meet the file system.

use core::ffi::CStr;

use crate::config::{Config, Diagnostics};
use crate::host::disk::Disk;
use crate::plan::Plan;
use crate::sys::memory::{Apart, Static, discard, discard_old_stack};

/// Where the config is, unless `--config` or `inn.config=` says otherwise.
pub const CONFIG: &CStr = c"/etc/inn.conf";

static LOADER: Static<Loader> = Static::new(Loader::new());

/// All that reading a config takes. A process has one, for as long as it lives.
#[derive(Debug)]
#[repr(C)]
pub struct Loader {
    /// What it means, once [`Loader::build`] was content. First, for it alone stays.
    pub plan: Plan,
    /// What was read.
    pub config: Apart<Config>,
    /// What is wrong with it.
    pub diagnostics: Diagnostics,
}

impl Loader {
    const fn new() -> Self {
        Loader { plan: Plan::new(), config: Apart::new(Config::new()), diagnostics: Diagnostics::new() }
    }

    /// The loader, the first time; nothing after that.
    pub fn take() -> Option<&'static mut Loader> {
        LOADER.take()
    }

    /// Reads the config at `path` and what it includes, and makes the plan. Whether that is a plan.
    #[must_use]
    pub fn load(&mut self, path: &CStr) -> bool {
        self.config.read(path.to_bytes(), &mut Disk, &mut self.diagnostics);
        self.build()
    }

    /// The plan, for the rest of the program. The memory that reading it took is given back.
    pub fn into_plan(&'static mut self) -> &'static Plan {
        let Loader { config, diagnostics, plan } = self;
        discard(config);
        discard(diagnostics);
        discard_old_stack();
        plan
    }

    /// Makes the plan of what has been read. Whether it is one.
    #[must_use]
    pub fn build(&mut self) -> bool {
        self.plan.build(&self.config, &mut self.diagnostics)
    }
}
