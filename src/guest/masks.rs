//! What of `/proc` and `/sys` a guest does not see, or cannot write to.

use core::ffi::CStr;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::mount::MountFlags;

use crate::fault::{At, Fault, Step};
use crate::plan::{Guest, Kind};
use crate::sys::Errno;
use crate::text::{Made, c_words};

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Files of `/proc` that tell of, or act on, the host as a whole. A kernel may lack some. README.md has these reasons:
// kcore: memory of the machine
// keys: everybody's keys
// kallsyms: where the kernel's code is
// kmsg: the kernel's log
// latency_stats sched_debug timer_list timer_stats: what the host's processes do
// interrupts: what the machine's devices, keyboards too, do
// sysrq-trigger: reboots the machine, kills, dumps memory
const MASKED_FILES: &str = "kcore\0keys\0kallsyms\0kmsg\0latency_stats\0sched_debug\0timer_list\0timer_stats\0\
    interrupts\0sysrq-trigger\0";
// acpi asound scsi: the machine's parts
const MASKED_DIRECTORIES: &str = "acpi\0asound\0scsi\0";
// firmware devices/virtual/powercap: the machine's tables, and how much power others use
const MASKED_IN_SYS: &str = "firmware\0devices/virtual/powercap\0";
// bus fs irq: settings of the machine's devices, file systems and interrupts
const READ_ONLY: &str = "bus\0fs\0irq\0";
// thermal_throttle: how hot each CPU has been, and so what others compute
const MASKED_OF_CPUS: &str = "thermal_throttle";

/// Directories of a guest's `/dev`, in which `/proc` and `/sys` are made: all names there are of our making.
pub const PROC: &CStr = c"mqueue";
/// See [`PROC`].
pub const SYS: &CStr = c"shm";

/// What files and directories are masked with, seen from either. The second is a directory of every sysfs in which nothing
/// can be made (the mount point of cgroup2).
const NULL: &CStr = c"../null";
const EMPTY: &CStr = c"../shm/fs/cgroup";

/// Covers what is to be covered in `/proc`, which is the working directory, and in `/sys`, which is beside it, and becomes
/// it.
///
/// # Errors
/// The step that failed.
pub fn cover(guest: &Guest) -> Result<(), Fault> {
    for (index, file) in c_words(MASKED_FILES).enumerate() {
        bind(NULL, file).at_item(Step::Mask, index)?;
    }
    mask(MASKED_DIRECTORIES)?;
    // What is bound from a read-only mount is read-only.
    restrict(MountFlags::RDONLY)?;
    for (index, path) in c_words(READ_ONLY).enumerate() {
        bind(path, path).at_item(Step::ReadOnlyPath, index)?;
    }
    // Where the guest has users of its own, the kernel lets its root write just the settings that its namespaces own.
    if guest.kind == Kind::App || guest.users.is_none() {
        bind(c"sys", c"sys").at(Step::ReadOnlyPath)?;
    }
    restrict(MountFlags::empty())?;
    rustix::process::chdir(c"../shm").at(Step::Mask)?;
    mask(MASKED_IN_SYS)?;
    mask_heat()
}

/// Sets what `/proc` itself forbids.
fn restrict(more: MountFlags) -> Result<(), Fault> {
    rustix::mount::mount_remount(c".", MountFlags::BIND | SAFE | more, c"").at(Step::ReadOnlyPath)
}

/// Masks how hot each CPU has been.
fn mask_heat() -> Result<(), Fault> {
    for cpu in 0..u32::from(u16::MAX) {
        let path = Made::new(format_args!("devices/system/cpu/cpu{cpu}/{MASKED_OF_CPUS}"));
        match rustix::mount::mount_bind(EMPTY, path.as_c_str()) {
            Ok(()) => {}
            Err(Errno::NOENT) if cpu > 0 && is_cpu(cpu) => {}
            // The last CPU, or a machine that does not tell.
            Err(Errno::NOENT) => break,
            Err(error) => return Err(error).at(Step::Mask),
        }
    }
    Ok(())
}

/// Whether there is such a CPU. One that is off tells nothing, and another may come behind it.
fn is_cpu(number: u32) -> bool {
    let path = Made::new(format_args!("devices/system/cpu/cpu{number}"));
    rustix::fs::accessat(CWD, path.as_c_str(), Access::EXISTS, AtFlags::empty()).is_ok()
}

fn mask(directories: &'static str) -> Result<(), Fault> {
    c_words(directories).try_for_each(|path| bind(EMPTY, path)).at(Step::Mask)
}

/// Puts `with` over `path`, if that exists.
fn bind(with: &CStr, path: &CStr) -> Result<(), Errno> {
    match rustix::mount::mount_bind(with, path) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
