//! What a guest finds in its root: `/proc`, `/sys`, `/dev`, `/run`, `/tmp` of its own.
//!
//! Each is made where all names are the host's or our own, and then moved to the root, where none is.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountFlags;

use super::{Build, Prepared, lock, masks, target};
use crate::fault::{At, Fault, Step};
use crate::plan::Kind;
use crate::sys::Errno;

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const MEMORY: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

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
pub fn mount_own(dev: BorrowedFd<'_>) -> Result<(), Fault> {
    target::attach(dev, c"", CWD, c"/dev").at(Step::MountDev)?;
    rustix::process::fchdir(dev).at(Step::EnterDev)?;
    memory(c"mode=0755,size=64m", c"/run", Step::MountRun)?;
    memory(c"mode=1777,size=256m", c"/tmp", Step::MountTmp)?;
    new(c"tmpfs", c"shm", SAFE, c"mode=1777,size=64m").at(Step::MountShm)?;
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

/// Mounts a file system in memory on `path`. It is made in `/dev`, where names are of our making.
fn memory(options: &CStr, path: &CStr, step: Step) -> Result<(), Fault> {
    new(c"tmpfs", c"shm", MEMORY, options).at(Step::MakeMemory)?;
    target::attach(CWD, c"shm", CWD, path).at(step)
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
