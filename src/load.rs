//! Config files → [`Plan`]: where the pure rooms meet the file system.

use core::ffi::CStr;

use rustix::process::Pid;

use crate::config::key::{Key, section};
use crate::config::source::Source;
use crate::config::{Config, Diagnostics};
use crate::guest::inside;
use crate::host::disk::Disk;
use crate::limits;
use crate::plan::Plan;
use crate::plan::record::RUN;
use crate::plan::users::{Old, Stock};
use crate::record::{Buffer, Holder, Record, Unrecorded};
use crate::sys::memory::{Apart, Static, discard, discard_old_stack};
use crate::text::Full;

/// Where the config is, unless `--config` or `inn.config=` says otherwise.
pub const CONFIG: &CStr = c"/etc/inn.conf";

static LOADER: Static<Loader> = Static::new(Loader::new());
/// What a child of a supervisor reads the config with again. The supervisor itself never takes it.
static AGAIN: Static<Loader> = Static::new(Loader::new());

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
    /// What the record of users is read into.
    record: Apart<Buffer>,
}

impl Loader {
    const fn new() -> Self {
        Loader {
            plan: Plan::new(),
            config: Apart::new(Config::new()),
            diagnostics: Diagnostics::new(),
            record: Apart::new([0; limits::RECORD_BYTES]),
        }
    }

    /// The loader, the first time; nothing after that.
    pub fn take() -> Option<&'static mut Loader> {
        LOADER.take()
    }

    /// The loader of a child that reads the config again.
    pub fn take_again() -> Option<&'static mut Loader> {
        AGAIN.take()
    }

    /// Reads the config at `path` and what it includes.
    pub fn read(&mut self, path: &CStr) {
        self.read_from(path, &mut Disk);
    }

    /// The same, from elsewhere than the disk.
    pub fn read_from(&mut self, path: &CStr, source: &mut dyn Source) {
        self.config.read(path.to_bytes(), source, &mut self.diagnostics);
    }

    /// Whether the config wants file systems mounted and includes files: those may be on one of them.
    #[must_use]
    pub fn mounts_come_first(&self) -> bool {
        let config = &*self.config;
        let host = config.sections().iter().find(|section| section.kind == section::HOST);
        let says = |key| host.is_some_and(|host| config.entries(host).any(|entry| entry.key == Some(key)));
        says(Key::Include) && says(Key::Mount)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.plan.clear();
        self.config.clear();
        self.diagnostics.clear();
    }

    /// The plan, for the rest of the program. The memory that reading it took is given back.
    pub fn into_plan(&'static mut self) -> &'static mut Plan {
        let (plan, record) = self.into_plan_and_record();
        discard(record);
        plan
    }

    /// The same for who looks at the record of users once more.
    pub fn into_plan_and_record(&'static mut self) -> (&'static mut Plan, &'static mut Buffer) {
        let Loader { plan, config, diagnostics, record } = self;
        discard(config);
        discard(diagnostics);
        discard_old_stack();
        (plan, record)
    }

    /// Makes the plan of what has been read, for looking at. Whether it is one.
    #[must_use]
    pub fn build(&mut self) -> bool {
        let Loader { plan, config, diagnostics, .. } = self;
        plan.build_from(config, diagnostics, &Stock { pool: inside::pool(), ..Stock::ALL })
    }

    /// Makes the plan of what has been read, for guests of `holder` to be started: none gets users that another has, and
    /// what they get is recorded. Whether it is one, and why nothing could be recorded: two who cannot record anything may
    /// have the same users.
    pub fn build_for(&mut self, holder: &Holder<'_>) -> (bool, Option<Unrecorded>) {
        let Loader { plan, config, diagnostics, record } = self;
        let mut stock = Stock { pool: inside::pool(), holder: holder.name, only: holder.only, ..Stock::ALL };
        // Until it is written: somebody else might choose the same meanwhile.
        let record = match Record::open(record) {
            // Another supervisor with this socket: the socket itself will refuse this one.
            Ok(record) if record.has(holder.name) => return (plan.build_from(config, diagnostics, &stock), None),
            Ok(record) => record,
            Err(unrecorded) => {
                // As different as can be had without.
                stock.salt =
                    if holder.name == RUN { rustix::process::getpid().as_raw_nonzero().get() as u32 } else { 0 };
                return (plan.build_from(config, diagnostics, &stock), Some(unrecorded));
            }
        };
        let good = plan.build_from(config, diagnostics, &Stock { record: record.text(), ..stock });
        (good, if good { record.add(plan, holder).err() } else { None })
    }

    /// Makes the plan of what has been read, for the guests of `holder`, which is process `owner`, to go on from `old` with.
    /// What they get is recorded, unless this is a `dry` run. Whether it is a plan.
    ///
    /// # Errors
    /// [`Full`]: there is not enough room for what runs and what is to run.
    pub fn build_after(&mut self, old: Old<'_>, (holder, owner): (&Holder<'_>, Pid), dry: bool) -> Result<bool, Full> {
        let Loader { plan, config, diagnostics, record } = self;
        let stock = Stock { pool: inside::pool(), holder: holder.name, old: Some(old), ..Stock::ALL };
        // Without a record they keep what they have all the same.
        let record = Record::open_for(record, owner).ok();
        let text = record.as_ref().map_or(&b""[..], Record::text);
        if !plan.build_from(config, diagnostics, &Stock { record: text, ..stock }) {
            return Ok(false);
        }
        plan.follow(old.plan)?;
        if let Some(record) = record.filter(|_| !dry) {
            // It was said at the start that nothing can be recorded here.
            let _ = record.add(plan, holder);
        }
        Ok(true)
    }
}
