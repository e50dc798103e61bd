//! The descriptors that a program finds open: 0, 1, 2, the one it says it is ready on, and no other.

use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pty::OpenptFlags;

use super::{Build, Stdio, report};
use crate::fault::{At, Fault, Step};
use crate::plan::{Kind, Ready, User};
use crate::sys::descriptor;

/// Connects a guest's first process, and closes all else. `devices` is its `/dev`, by descriptor, for what has that name may
/// be another directory by now; a service has none.
///
/// # Errors
/// The step that failed.
pub fn connect(build: &Build<'_>, devices: BorrowedFd<'_>) -> Result<(), Fault> {
    let (plan, guest) = (build.plan, build.guest);
    let reports = build.reports.as_fd();
    if !guest.tty.is_empty() {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let tty = rustix::fs::openat(CWD, plan.strings.c_str(guest.tty), flags, Mode::empty()).at(Step::OpenTty)?;
        control(tty.as_fd())?;
    } else if build.stdio == Stdio::Terminal || build.stdio == Stdio::Log && guest.kind == Kind::Os {
        let tty = terminal(reports, devices, c"pts/ptmx", guest.user)?;
        if build.stdio == Stdio::Terminal {
            control(tty.as_fd())?;
        } else {
            // An init has its console for no controlling terminal: whom it lets log in there takes it.
            place(tty.as_fd(), &[0, 1, 2])?;
        }
        if guest.kind == Kind::Os {
            // The first terminal of a new devpts.
            rustix::process::fchdir(devices).at(Step::MakeTerminal)?;
            rustix::mount::mount_bind(c"pts/0", c"console").at(Step::MakeTerminal)?;
        }
    } else if build.stdio == Stdio::Log {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let null = if guest.kind == Kind::Service { c"/dev/null" } else { c"null" };
        let null = rustix::fs::openat(devices, null, flags, Mode::empty()).at(Step::OpenInput)?;
        let output = build.output.as_ref().unwrap_or(&null);
        place(null.as_fd(), &[0])?;
        place(output.as_fd(), &[1, 2])?;
    }
    let ready = match (guest.ready, &build.ready) {
        (Ready::Fd(number), Some(fd)) => Some((RawFd::from(number), fd.as_fd())),
        _ => None,
    };
    close_others(reports, ready)
}

/// Makes a terminal of the guest's own devpts, whose `ptmx` is at `path` in `directory`, and hands its other side over.
///
/// # Errors
/// The step that failed.
pub fn terminal(reports: BorrowedFd<'_>, directory: BorrowedFd<'_>, path: &CStr, user: User) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(directory, path, flags, Mode::empty()).at(Step::MakeTerminal)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    rustix::pty::unlockpt(&master).at(Step::MakeTerminal)?;
    // By the master, not by name: the name is the guest's to change.
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).at(Step::MakeTerminal)?;
    let owner = rustix::fs::Uid::from_raw(user.uid);
    rustix::fs::fchown(&slave, Some(owner), None).at(Step::MakeTerminal)?;
    report::send_terminal(reports, master.as_fd())?;
    Ok(slave)
}

/// Closes all but 0, 1, 2, the reports and, under its number, the descriptor that says ready. The reports' own number is
/// above every number that a config can choose.
///
/// # Errors
/// The step that failed.
pub fn close_others(reports: BorrowedFd<'_>, ready: Option<(RawFd, BorrowedFd<'_>)>) -> Result<(), Fault> {
    let mut keep = [reports.as_raw_fd(); 2];
    if let Some((number, fd)) = ready {
        place(fd, &[number])?;
        keep[1] = number;
    }
    descriptor::close_all_but(&mut keep).at(Step::CloseDescriptors)
}

/// Makes `tty` this session's, and its standard input, output and error.
///
/// # Errors
/// The step that failed.
pub fn control(tty: BorrowedFd<'_>) -> Result<(), Fault> {
    rustix::process::ioctl_tiocsctty(tty).at(Step::ControlTerminal)?;
    place(tty, &[0, 1, 2])
}

fn place(fd: BorrowedFd<'_>, numbers: &[RawFd]) -> Result<(), Fault> {
    for number in numbers {
        descriptor::place(fd, *number).at(Step::PlaceDescriptors)?;
    }
    Ok(())
}
