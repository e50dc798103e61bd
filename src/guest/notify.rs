//! The socket on which a guest says how it is (sd_notify(3)): a datagram socket with a name that only its own processes have.
//!
//! A guest's is in its `/run/host`, where a container's init looks for it (systemd.io/CONTAINER_INTERFACE); its own side makes it,
//! before there is anything else in that directory, and hands it over. A service's is on the host, in a directory that nobody
//! can list, and belongs to the service's user.

use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, getppid};

use super::{Build, Stdio, report};
use crate::fault::{At, Fault, Step};
use crate::plan::{Kind, Ready, User};
use crate::sys::Errno;
use crate::text::Made;

/// Where a guest finds its own.
const INSIDE: &str = "/run/host/notify";
/// Where those of services are: their names cannot be listed.
const SERVICES: &CStr = c"/run/inn-notify";

/// Whether this start makes one.
pub fn is_for(build: &Build<'_>) -> bool {
    build.guest.ready == Ready::Notify && build.stdio == Stdio::Log
}

/// Where the program finds it, and how often it has to say there that it is well, as words of its environment; empty for none.
pub fn variables(build: &Build<'_>) -> [Made; 2] {
    let nothing = || Made::new(format_args!(""));
    if !is_for(build) {
        return [nothing(), nothing()];
    }
    let every = build.plan.health(build.guest).filter(|check| check.command.is_empty());
    let watchdog =
        every.map_or(nothing(), |check| Made::new(format_args!("WATCHDOG_USEC={}", u64::from(check.every_ms) * 1000)));
    let socket = match build.guest.kind {
        Kind::Os | Kind::App => Made::new(format_args!("NOTIFY_SOCKET={INSIDE}")),
        Kind::Service => {
            let path = service_path(getppid(), build.member.name);
            Made::new(format_args!("NOTIFY_SOCKET={}", path.as_c_str().to_str().unwrap_or_default()))
        }
    };
    [socket, watchdog]
}

/// Makes a guest's own in the directory `run` of the working directory, which becomes its `/run`, and hands it over.
///
/// # Errors
/// [`Step::NotifySocket`], [`Step::ReportNotify`].
pub fn make(build: &Build<'_>, run: &CStr) -> Result<(), Fault> {
    if !is_for(build) {
        return Ok(());
    }
    let run = run.to_str().unwrap_or_default();
    let path = Made::new(format_args!("{run}/host"));
    match rustix::fs::mkdir(path.as_c_str(), Mode::from_raw_mode(0o755)) {
        // A distribution finds more there.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).at(Step::NotifySocket),
    }
    let path = Made::new(format_args!("{run}/host/notify"));
    let socket = bind(path.as_c_str(), build.guest.user).at(Step::NotifySocket)?;
    report::send_notify(build.reports.as_fd(), socket.as_fd())
}

/// The same for a service: this process is a child of the supervisor.
///
/// # Errors
/// [`Step::NotifySocket`], [`Step::ReportNotify`].
pub fn make_on_host(build: &Build<'_>) -> Result<(), Fault> {
    if !is_for(build) {
        return Ok(());
    }
    match rustix::fs::mkdir(SERVICES, Mode::from_raw_mode(0o711)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).at(Step::NotifySocket),
    }
    let path = service_path(getppid(), build.member.name);
    // Of a start before this one.
    let _ = rustix::fs::unlink(path.as_c_str());
    let socket = bind(path.as_c_str(), build.guest.user).at(Step::NotifySocket)?;
    report::send_notify(build.reports.as_fd(), socket.as_fd())
}

/// Removes that of the service `name`, whose supervisor this process is.
pub fn remove_on_host(name: &CStr) {
    // There may be none.
    let _ = rustix::fs::unlink(service_path(Some(rustix::process::getpid()), name).as_c_str());
}

/// Supervisors beside each other may have services of the same name.
fn service_path(supervisor: Option<Pid>, name: &CStr) -> Made {
    let number = supervisor.map_or(0, |pid| pid.as_raw_nonzero().get());
    let directory = SERVICES.to_str().unwrap_or_default();
    Made::new(format_args!("{directory}/{number}.{}", name.to_str().unwrap_or_default()))
}

/// A socket that tells who sends, and that nobody but `user` and root can send to.
fn bind(path: &CStr, user: User) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::sockopt::set_socket_passcred(&socket, true)?;
    // Before its mode is set nobody has anything to say: the guest has not begun, and who is not of it is not believed.
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let (owner, group) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::fs::chownat(CWD, path, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o600))?;
    Ok(socket)
}
