//! What a guest finds in its root: `/proc`, `/sys`, `/dev`, `/run`, `/tmp` of its own.
//!
//! All of it is mounted inside `/dev`, where every name is of our making, and only then moved to the root, where none is.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountFlags;

use super::{Build, Prepared, about, lock, masks, notify, target, terminals};
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::Kind;
use crate::sys::Errno;
use crate::text::Made;

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const MEMORY: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// The file systems in memory that every guest has.
pub const MEMORIES: [&CStr; 3] = [c"/run", c"/tmp", c"/dev/shm"];

/// Mounts everything below `root`, which is a mount of this namespace that nothing lies on, and not yet the process's own.
///
/// # Errors
/// The step that failed.
pub fn mount(build: &Build<'_>, prepared: &Prepared, root: BorrowedFd<'_>) -> Result<(), Fault> {
    let dev = prepared.devices.as_fd();
    target::attach(dev, c"", root, c"dev").at(Step::MountDev)?;
    let (proc, sys) = if lock::is_for(build.guest) { take_kernel(build)? } else { make_kernel(build, prepared)? };
    let app = build.guest.kind == Kind::App;
    new(c"cgroup2", c"fs/cgroup", if app { SAFE | MountFlags::RDONLY } else { SAFE }, c"").at(Step::MountCgroup)?;
    enter(dev)?;
    target::attach(CWD, proc, root, c"proc").at(Step::MountProc)?;
    target::attach(CWD, sys, root, c"sys").at(Step::MountSys)?;
    let [run, tmp, shm] = MEMORIES;
    memory(&options(build, "0755", run, limits::RUN_BYTES))?;
    if build.guest.kind == Kind::Os {
        about::write(STAGE, prepared.release.as_ref())?;
    }
    notify::make(build, STAGE)?;
    target::attach(CWD, STAGE, root, c"run").at(Step::MountRun)?;
    memory(&options(build, "1777", tmp, limits::TMP_BYTES))?;
    target::attach(CWD, STAGE, root, c"tmp").at(Step::MountTmp)?;
    new(c"tmpfs", c"shm", SAFE, options(build, "1777", shm, limits::SHM_BYTES).as_c_str()).at(Step::MountShm)?;
    match new(c"mqueue", c"mqueue", SAFE, c"") {
        // A kernel without POSIX message queues: the directory stays empty.
        Ok(()) | Err(Errno::NODEV) => {}
        Err(error) => return Err(error).at(Step::MountMqueue),
    }
    match &prepared.terminals {
        Some(terminals) => target::attach(terminals.as_fd(), c"", CWD, c"pts"),
        None => terminals::mount(c"pts"),
    }
    .at(Step::MountPts)
}

/// Makes `/proc` and `/sys`, and returns where they are, seen from `/dev`; `/sys` is the working directory then. The host's
/// own must be in sight, for without a full one the kernel gives a user namespace no new one.
fn make_kernel(build: &Build<'_>, prepared: &Prepared) -> Result<(&'static CStr, &'static CStr), Fault> {
    enter(prepared.devices.as_fd())?;
    match &prepared.sysfs {
        None => new(c"sysfs", masks::SYS, SAFE | MountFlags::RDONLY, c"").at(Step::MakeSys)?,
        Some(host) => target::attach(host.as_fd(), c"", CWD, masks::SYS).at(Step::MakeSys)?,
    }
    let options: &CStr = if build.guest.kind == Kind::App { c"hidepid=2" } else { c"" };
    new(c"proc", masks::PROC, SAFE, options).at(Step::MakeProc)?;
    rustix::process::chdir(masks::PROC).at(Step::MakeProc)?;
    set_sysctls(build)?;
    masks::cover(build.guest)?;
    Ok((masks::PROC, masks::SYS))
}

/// The same where the helper has made them.
fn take_kernel(build: &Build<'_>) -> Result<(&'static CStr, &'static CStr), Fault> {
    rustix::process::chdir(lock::PROC).at(Step::MakeProc)?;
    set_sysctls(build)?;
    rustix::process::chdir(lock::SYS).at(Step::MakeSys)?;
    Ok((lock::PROC, lock::SYS))
}

fn enter(dev: BorrowedFd<'_>) -> Result<(), Fault> {
    rustix::process::fchdir(dev).at(Step::EnterDev)
}

fn new(kind: &CStr, target: &CStr, flags: MountFlags, options: &CStr) -> Result<(), Errno> {
    rustix::mount::mount(kind, target, kind, flags, options)
}

/// Its mode, and its size: what the config says of `path`, or `bytes`.
fn options(build: &Build<'_>, mode: &str, path: &CStr, bytes: u64) -> Made {
    let said =
        build.plan.tmpfs.get(build.guest.tmpfs).iter().find(|tmpfs| build.plan.strings.c_str(tmpfs.target) == path);
    Made::new(format_args!("mode={mode},size={}", said.map_or(bytes, |tmpfs| tmpfs.bytes)))
}

/// Where in `/dev` other file systems in memory are made.
const STAGE: &CStr = c"shm";

/// Makes a file system in memory.
fn memory(options: &Made) -> Result<(), Fault> {
    new(c"tmpfs", STAGE, MEMORY, options.as_c_str()).at(Step::MakeMemory)
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
