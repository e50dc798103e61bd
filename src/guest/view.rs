//! What a guest finds in its root: `/proc`, `/sys`, `/dev`, `/run`, `/tmp` of its own.
//!
//! Each is made where all names are the host's or our own, and then moved to the root, where none is.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountFlags;

use super::{Build, Prepared, about, lock, masks, target};
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::Kind;
use crate::sys::Errno;

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const MEMORY: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// The file systems in memory that every guest has.
pub const MEMORIES: [&CStr; 3] = [c"/run", c"/tmp", c"/dev/shm"];
/// Where they are made: in `/dev`, where names are of our making.
const MEMORY_AT: &CStr = c"shm";

/// Mounts what tells of the kernel, `/proc` and `/sys`, on `root`, which is a mount of this namespace that nothing lies on;
/// this process's own root is the host's still. Returns the guest's `/dev` where that is no longer what the helper prepared.
///
/// # Errors
/// The step that failed.
pub fn mount_kernel(build: &Build<'_>, prepared: &Prepared, root: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Fault> {
    let locked = lock::is_for(build.guest);
    let devices = if locked { None } else { Some(make_kernel(build, prepared)?) };
    let (proc, sys) = if locked { (lock::PROC, lock::SYS) } else { (masks::PROC, masks::SYS) };
    rustix::process::chdir(proc).at(Step::MakeProc)?;
    set_sysctls(build)?;
    if !locked {
        masks::cover(build.guest)?;
    }
    rustix::process::chdir(sys).at(Step::MakeSys)?;
    let more = if build.guest.kind == Kind::App { MountFlags::RDONLY } else { MountFlags::empty() };
    new(c"cgroup2", c"fs/cgroup", SAFE | more, c"").at(Step::MountCgroup)?;
    target::attach(CWD, proc, root, c"proc").at(Step::MountProc)?;
    target::attach(CWD, sys, root, c"sys").at(Step::MountSys)?;
    Ok(devices)
}

/// Makes `/proc` and `/sys` in `/dev`, of which another mount is returned. The host's own must be in sight, for without a
/// full one the kernel gives a user namespace no new one.
fn make_kernel(build: &Build<'_>, prepared: &Prepared) -> Result<OwnedFd, Fault> {
    let devices = masks::stage(prepared.devices.as_fd())?;
    match &prepared.sysfs {
        None => new(c"sysfs", masks::SYS, SAFE | MountFlags::RDONLY, c"").at(Step::MakeSys)?,
        Some(host) => target::attach(host.as_fd(), c"", CWD, masks::SYS).at(Step::MakeSys)?,
    }
    let options: &CStr = if build.guest.kind == Kind::App { c"hidepid=2" } else { c"" };
    new(c"proc", masks::PROC, SAFE, options).at(Step::MakeProc)?;
    Ok(devices)
}

/// Mounts what is the guest's to do with as it likes, on this process's root, which is the guest's.
///
/// # Errors
/// The step that failed.
pub fn mount_own(build: &Build<'_>, prepared: &Prepared, dev: BorrowedFd<'_>) -> Result<(), Fault> {
    target::attach(dev, c"", CWD, c"/dev").at(Step::MountDev)?;
    rustix::process::fchdir(dev).at(Step::EnterDev)?;
    let [run, tmp, shm] = MEMORIES;
    memory(&options(build, "0755", run, limits::RUN_BYTES))?;
    if build.guest.kind == Kind::Os {
        about::write(MEMORY_AT, prepared.release.as_ref())?;
    }
    target::attach(CWD, MEMORY_AT, CWD, run).at(Step::MountRun)?;
    memory(&options(build, "1777", tmp, limits::TMP_BYTES))?;
    target::attach(CWD, MEMORY_AT, CWD, tmp).at(Step::MountTmp)?;
    new(c"tmpfs", c"shm", SAFE, c_str(&options(build, "1777", shm, limits::SHM_BYTES))).at(Step::MountShm)?;
    match new(c"mqueue", c"mqueue", SAFE, c"") {
        // A kernel without POSIX message queues: the directory stays empty.
        Ok(()) | Err(Errno::NODEV) => {}
        Err(error) => return Err(error).at(Step::MountMqueue),
    }
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    new(c"devpts", c"pts", terminals, c"newinstance,ptmxmode=0666,mode=0620,gid=5").at(Step::MountPts)
}

fn new(kind: &CStr, target: &CStr, flags: MountFlags, options: &CStr) -> Result<(), Errno> {
    rustix::mount::mount(kind, target, kind, flags, options)
}

/// Options of a file system in memory, with their NUL.
type Options = heapless::String<48>;

/// Its mode, and its size: what the config says of `path`, or `bytes`.
fn options(build: &Build<'_>, mode: &str, path: &CStr, bytes: u64) -> Options {
    let (plan, guest) = (build.plan, build.guest);
    let said = plan.tmpfs.get(guest.tmpfs).iter().find(|tmpfs| plan.strings.c_str(tmpfs.target) == path);
    let mut options = Options::new();
    let _ = write!(options, "mode={mode},size={}\0", said.map_or(bytes, |tmpfs| tmpfs.bytes));
    options
}

fn c_str(options: &Options) -> &CStr {
    CStr::from_bytes_with_nul(options.as_bytes()).unwrap_or_default()
}

/// Makes a file system in memory, at [`MEMORY_AT`].
fn memory(options: &Options) -> Result<(), Fault> {
    new(c"tmpfs", MEMORY_AT, MEMORY, c_str(options)).at(Step::MakeMemory)
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
