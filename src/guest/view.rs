//! What a guest finds in its root: `/proc`, `/sys`, `/dev`, `/run`, `/tmp` of its own, and what of them it does not see.
//!
//! All of it is mounted inside `/dev`, where every name is of our making, and only then moved to the root, where none is.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MoveMountFlags};

use super::{Build, Prepared, about, target};
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::Kind;
use crate::sys::Errno;
use crate::text::c_words;

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const MEMORY: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Files of `/proc` that tell of, or act on, the host as a whole. A kernel may lack some.
const MASKED_FILES: &str = "kcore\0keys\0kallsyms\0kmsg\0latency_stats\0sched_debug\0timer_list\0timer_stats\0\
    interrupts\0sysrq-trigger\0";
const MASKED_DIRECTORIES: &str = "acpi\0asound\0scsi\0";
const MASKED_IN_SYS: &str = "firmware\0devices/virtual/powercap\0";
const READ_ONLY: &str = "bus\0fs\0irq\0";

/// The file systems in memory that every guest has.
pub const MEMORIES: [&CStr; 3] = [c"/run", c"/tmp", c"/dev/shm"];

/// Directories of `/dev`: where `/proc` and `/sys` are made, and what files and directories are masked with, seen from
/// there. The second is a directory of every sysfs in which nothing can be made (the mount point of cgroup2).
const PROC: &CStr = c"mqueue";
const SYS: &CStr = c"shm";
const NULL: &CStr = c"../null";
const EMPTY: &CStr = c"../shm/fs/cgroup";

/// Mounts everything below `root`, which is a mount of this namespace that nothing lies on, and not yet the process's own.
/// The host's `/proc` and `/sys` must be in sight: without a full one the kernel gives a user namespace no new one.
///
/// # Errors
/// The step that failed.
pub fn mount(build: &Build<'_>, prepared: &Prepared, root: BorrowedFd<'_>) -> Result<(), Fault> {
    let dev = prepared.devices.as_fd();
    target::attach(dev, c"", root, c"dev").at(Step::MountDev)?;
    enter(dev)?;
    match &prepared.sysfs {
        None => new(c"sysfs", SYS, SAFE | MountFlags::RDONLY, c"").at(Step::MakeSys)?,
        Some(host) => {
            let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(host, c"", CWD, SYS, whole).at(Step::MakeSys)?;
        }
    }
    processes(build)?;
    system(build)?;
    enter(dev)?;
    target::attach(CWD, PROC, root, c"proc").at(Step::MountProc)?;
    target::attach(CWD, SYS, root, c"sys").at(Step::MountSys)?;
    let [run, tmp, shm] = MEMORIES;
    memory(&options(build, "0755", run, limits::RUN_BYTES))?;
    if build.guest.kind == Kind::Os {
        about::write(SYS)?;
    }
    target::attach(CWD, SYS, root, c"run").at(Step::MountRun)?;
    memory(&options(build, "1777", tmp, limits::TMP_BYTES))?;
    target::attach(CWD, SYS, root, c"tmp").at(Step::MountTmp)?;
    new(c"tmpfs", c"shm", SAFE, c_str(&options(build, "1777", shm, limits::SHM_BYTES))).at(Step::MountShm)?;
    match new(c"mqueue", c"mqueue", SAFE, c"") {
        // A kernel without POSIX message queues: the directory stays empty.
        Ok(()) | Err(Errno::NODEV) => {}
        Err(error) => return Err(error).at(Step::MountMqueue),
    }
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    new(c"devpts", c"pts", terminals, c"newinstance,ptmxmode=0666,mode=0620,gid=5").at(Step::MountPts)
}

fn enter(dev: BorrowedFd<'_>) -> Result<(), Fault> {
    rustix::process::fchdir(dev).at(Step::EnterDev)
}

fn new(kind: &CStr, target: &CStr, flags: MountFlags, options: &CStr) -> Result<(), Errno> {
    rustix::mount::mount(kind, target, kind, flags, options)
}

/// Options of a file system in memory, with their NUL.
type Options = heapless::String<48>;

/// Its mode, and its size: what the config says of `path`, or `bytes`.
fn options(build: &Build<'_>, mode: &str, path: &CStr, bytes: u64) -> Options {
    let said =
        build.plan.tmpfs.get(build.guest.tmpfs).iter().find(|tmpfs| build.plan.strings.c_str(tmpfs.target) == path);
    let mut options = Options::new();
    let _ = write!(options, "mode={mode},size={}\0", said.map_or(bytes, |tmpfs| tmpfs.bytes));
    options
}

fn c_str(options: &Options) -> &CStr {
    CStr::from_bytes_with_nul(options.as_bytes()).unwrap_or_default()
}

/// Makes a file system in memory, where `/sys` was made.
fn memory(options: &Options) -> Result<(), Fault> {
    new(c"tmpfs", SYS, MEMORY, c_str(options)).at(Step::MakeMemory)
}

/// Makes `/proc`, with the settings that the config asks for.
fn processes(build: &Build<'_>) -> Result<(), Fault> {
    let guest = build.guest;
    let app = guest.kind == Kind::App;
    new(c"proc", PROC, SAFE, if app { c"hidepid=2" } else { c"" }).at(Step::MakeProc)?;
    rustix::process::chdir(PROC).at(Step::MakeProc)?;
    set_sysctls(build)?;
    for (index, file) in c_words(MASKED_FILES).enumerate() {
        cover(NULL, file).at_item(Step::Mask, index)?;
    }
    mask(MASKED_DIRECTORIES, EMPTY)?;
    // What is bound from a read-only mount is read-only.
    restrict(MountFlags::RDONLY)?;
    for (index, path) in c_words(READ_ONLY).enumerate() {
        cover(path, path).at_item(Step::ReadOnlyPath, index)?;
    }
    // Where the guest has users of its own, the kernel lets its root write just the settings that its namespaces own.
    if app || guest.users.is_none() {
        cover(c"sys", c"sys").at(Step::ReadOnlyPath)?;
    }
    restrict(MountFlags::empty())
}

/// Sets what `/proc` itself forbids.
fn restrict(more: MountFlags) -> Result<(), Fault> {
    rustix::mount::mount_remount(c".", MountFlags::BIND | SAFE | more, c"").at(Step::ReadOnlyPath)
}

/// Writes the kernel settings that the config asks for.
fn set_sysctls(build: &Build<'_>) -> Result<(), Fault> {
    for (index, setting) in build.plan.sysctls.get(build.guest.sysctls).iter().enumerate() {
        let mut path = heapless::String::<256>::new();
        write!(path, "sys/{}\0", build.plan.strings.str(setting.path))
            .map_err(|_| Errno::NAMETOOLONG)
            .and_then(|()| CStr::from_bytes_with_nul(path.as_bytes()).map_err(|_| Errno::INVAL))
            .and_then(|path| rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()))
            .and_then(|file| rustix::io::write(file.as_fd(), build.plan.strings.bytes(setting.value)))
            .at_item(Step::SetSysctl, index)?;
    }
    Ok(())
}

/// Finishes `/sys`.
fn system(build: &Build<'_>) -> Result<(), Fault> {
    rustix::process::chdir(c"../shm").at(Step::MakeSys)?;
    mask(MASKED_IN_SYS, EMPTY)?;
    for cpu in 0..u16::MAX {
        let mut path = heapless::String::<64>::new();
        let _ = write!(path, "devices/system/cpu/cpu{cpu}/thermal_throttle\0");
        let Ok(path) = CStr::from_bytes_with_nul(path.as_bytes()) else { break };
        match rustix::mount::mount_bind(EMPTY, path) {
            Ok(()) => {}
            Err(Errno::NOENT) if cpu > 0 && is_cpu(cpu) => {}
            // The last CPU, or a machine that does not tell.
            Err(Errno::NOENT) => break,
            Err(error) => return Err(error).at(Step::Mask),
        }
    }
    let writable = if build.guest.kind == Kind::App { SAFE | MountFlags::RDONLY } else { SAFE };
    new(c"cgroup2", c"fs/cgroup", writable, c"").at(Step::MountCgroup)
}

/// Whether there is such a CPU. One that is off tells nothing, and another may come behind it.
fn is_cpu(number: u16) -> bool {
    let mut path = heapless::String::<32>::new();
    let _ = write!(path, "devices/system/cpu/cpu{number}\0");
    CStr::from_bytes_with_nul(path.as_bytes())
        .is_ok_and(|path| rustix::fs::accessat(CWD, path, Access::EXISTS, AtFlags::empty()).is_ok())
}

fn mask(directories: &'static str, with: &CStr) -> Result<(), Fault> {
    c_words(directories).try_for_each(|path| cover(with, path)).at(Step::Mask)
}

/// Puts `with` over `path`, if that exists.
fn cover(with: &CStr, path: &CStr) -> Result<(), Errno> {
    match rustix::mount::mount_bind(with, path) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
