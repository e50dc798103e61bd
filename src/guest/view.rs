//! What a guest finds in its root: `/proc`, `/sys`, `/dev`, `/run`, `/tmp` of its own, and what of them it does not see.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, MoveMountFlags};

use super::{Build, Prepared};
use crate::fault::{At, Fault, Step};
use crate::plan::{Kind, Plan, Sysctl};
use crate::sys::Errno;
use crate::text::List;

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Files that tell of, or act on, the host as a whole. A kernel may lack some.
const MASKED_FILES: [&CStr; 10] = [
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/kallsyms",
    c"/proc/kmsg",
    c"/proc/latency_stats",
    c"/proc/sched_debug",
    c"/proc/timer_list",
    c"/proc/timer_stats",
    c"/proc/interrupts",
    c"/proc/sysrq-trigger",
];

/// The first is in every sysfs, and is what the others are covered with.
const MASKED_DIRECTORIES: [&CStr; 5] =
    [c"/sys/firmware", c"/sys/devices/virtual/powercap", c"/proc/acpi", c"/proc/asound", c"/proc/scsi"];

/// `/proc/sys` is one of them only where the guest's root is the host's: else the kernel itself lets the guest's root write
/// just the settings that its namespaces own.
const READ_ONLY: [&CStr; 4] = [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys"];

/// Mounts everything, below `root`, which is already the process's own, with the host's root lying on top of it.
///
/// # Errors
/// The step that failed.
pub fn mount(build: &Build<'_>, prepared: &Prepared, root: BorrowedFd<'_>) -> Result<(), Fault> {
    are_directories(root)?;
    let app = build.guest.kind == Kind::App;
    let processes: &CStr = if app { c"hidepid=2" } else { c"" };
    new(c"proc", c"/proc", SAFE, processes).at(Step::MountProc)?;
    let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    match &prepared.sysfs {
        None => new(c"sysfs", c"/sys", SAFE | MountFlags::RDONLY, c"").at(Step::MountSys)?,
        Some(host) => rustix::mount::move_mount(host, c"", CWD, c"/sys", whole).at(Step::MountSys)?,
    }
    let writable = if app { SAFE | MountFlags::RDONLY } else { SAFE };
    new(c"cgroup2", c"/sys/fs/cgroup", writable, c"").at(Step::MountCgroup)?;
    rustix::mount::move_mount(&prepared.devices, c"", CWD, c"/dev", whole).at(Step::MountDev)?;
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    new(c"devpts", c"/dev/pts", terminals, c"newinstance,ptmxmode=0666,mode=0620,gid=5").at(Step::MountPts)?;
    new(c"tmpfs", c"/dev/shm", SAFE, c"mode=1777,size=64m").at(Step::MountShm)?;
    match new(c"mqueue", c"/dev/mqueue", SAFE, c"") {
        // A kernel without POSIX message queues: the directory stays empty.
        Ok(()) | Err(Errno::NODEV) => {}
        Err(error) => return Err(error).at(Step::MountMqueue),
    }
    let memory = MountFlags::NOSUID | MountFlags::NODEV;
    new(c"tmpfs", c"/run", memory, c"mode=0755,size=64m").at(Step::MountRun)?;
    new(c"tmpfs", c"/tmp", memory, c"mode=1777,size=256m").at(Step::MountTmp)?;
    mask()?;
    let mapped = build.guest.users.is_some() && !app;
    for (index, path) in READ_ONLY.iter().take(if mapped { 3 } else { 4 }).enumerate() {
        read_only(path).at_item(Step::ReadOnlyPath, index)?;
    }
    Ok(())
}

/// Sees that what is mounted on is a directory of the root, not a link: `..` at the root leads to what lies on top of it,
/// which is the host's root still.
fn are_directories(root: BorrowedFd<'_>) -> Result<(), Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let within = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    for (name, step) in [
        (c"proc", Step::MountProc),
        (c"sys", Step::MountSys),
        (c"dev", Step::MountDev),
        (c"run", Step::MountRun),
        (c"tmp", Step::MountTmp),
    ] {
        rustix::fs::openat2(root, name, flags, Mode::empty(), within).at(step)?;
    }
    Ok(())
}

/// Writes the kernel settings that the config asks for.
///
/// # Errors
/// [`Step::SetSysctl`], with the index of the setting.
pub fn set_sysctls(plan: &Plan, sysctls: List<Sysctl>) -> Result<(), Fault> {
    for (index, setting) in plan.sysctls.get(sysctls).iter().enumerate() {
        let mut path = heapless::String::<256>::new();
        write!(path, "/proc/sys/{}\0", plan.strings.str(setting.path))
            .map_err(|_| Errno::NAMETOOLONG)
            .and_then(|()| CStr::from_bytes_with_nul(path.as_bytes()).map_err(|_| Errno::INVAL))
            .and_then(|path| rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()))
            .and_then(|file| rustix::io::write(file.as_fd(), plan.strings.bytes(setting.value)))
            .at_item(Step::SetSysctl, index)?;
    }
    Ok(())
}

fn new(kind: &CStr, target: &CStr, flags: MountFlags, options: &CStr) -> Result<(), Errno> {
    rustix::mount::mount(kind, target, kind, flags, options)
}

fn mask() -> Result<(), Fault> {
    for (index, path) in MASKED_FILES.iter().enumerate() {
        cover(c"/dev/null", path).at_item(Step::Mask, index)?;
    }
    let empty = SAFE | MountFlags::RDONLY;
    let [first, others @ ..] = MASKED_DIRECTORIES;
    new(c"tmpfs", first, empty, c"mode=0555,size=4k,nr_inodes=1").at_item(Step::Mask, MASKED_FILES.len())?;
    for path in others {
        cover(first, path).at_item(Step::Mask, MASKED_FILES.len())?;
    }
    for cpu in 0..u16::MAX {
        let mut path = heapless::String::<64>::new();
        let _ = write!(path, "/sys/devices/system/cpu/cpu{cpu}/thermal_throttle\0");
        let Ok(path) = CStr::from_bytes_with_nul(path.as_bytes()) else { break };
        match rustix::mount::mount_bind(first, path) {
            Ok(()) => {}
            // The last CPU, or a machine that does not tell.
            Err(Errno::NOENT) => break,
            Err(error) => return Err(error).at_item(Step::Mask, MASKED_FILES.len()),
        }
    }
    Ok(())
}

/// Puts `with` over `path`, if that exists.
fn cover(with: &CStr, path: &CStr) -> Result<(), Errno> {
    match rustix::mount::mount_bind(with, path) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn read_only(path: &CStr) -> Result<(), Errno> {
    match rustix::mount::mount_bind(path, path) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    }
    rustix::mount::mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | SAFE, c"")
}
