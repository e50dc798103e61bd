//! Control groups (cgroups(7), Documentation/admin-guide/cgroup-v2.rst): where guests' limits are.

use rustix::fd::OwnedFd;

use crate::fault::Fault;

/// The cgroup below which every guest has its own: `BASE/NAME` holds the limits, `BASE/NAME/guest` is delegated.
#[derive(Debug)]
pub struct Base {
    /// The directory.
    pub directory: OwnedFd,
}

/// What a guest uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// memory.current, bytes; nothing where the controller is missing.
    pub memory_bytes: Option<u64>,
    /// cpu.stat usage_usec.
    pub cpu_us: u64,
    /// pids.current; nothing where the controller is missing.
    pub processes: Option<u32>,
    /// memory.events oom_kill.
    pub oom_kills: u32,
    /// pids.events max: how often a fork was refused.
    pub processes_refused: u32,
}

impl Base {
    /// Opens `cgroup.events` of guest `name`: EPOLLPRI when `populated` changes.
    ///
    /// # Errors
    /// The step that failed.
    pub fn events(&self, _name: &core::ffi::CStr) -> Result<OwnedFd, Fault> {
        Err(Fault { step: crate::fault::Step::Fork, errno: libc::ENOSYS as u16, detail: 0 })
    }

    /// Whether any process is left in guest `name`; none where the cgroup does not exist.
    ///
    /// # Errors
    /// The step that failed.
    pub fn is_populated(&self, _name: &core::ffi::CStr) -> Result<bool, Fault> {
        Ok(false)
    }

    /// Kills all of guest `name` (cgroup.kill; before 5.14 freeze, kill, thaw). Asks only: it is over when not populated.
    ///
    /// # Errors
    /// The step that failed.
    pub fn kill(&self, _name: &core::ffi::CStr) -> Result<(), Fault> {
        Ok(())
    }

    /// Removes the cgroups of guest `name`, which has no process left. Nothing to remove is fine.
    ///
    /// # Errors
    /// The step that failed.
    pub fn remove(&self, _name: &core::ffi::CStr) -> Result<(), Fault> {
        Ok(())
    }

    /// What guest `name` uses now.
    pub fn usage(&self, _name: &core::ffi::CStr) -> Usage {
        Usage::default()
    }
}
