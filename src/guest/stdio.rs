//! The descriptors that a program finds open: 0, 1, 2, the one it says it is ready on, and no other.

use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, OptionalActions, OutputModes};

use super::{Build, Stdio, report};
use crate::fault::{At, Fault, Step};
use crate::plan::{Kind, Ready, User};
use crate::sys::{Errno, descriptor, device, stdio, terminal};

/// Connects a guest's first process, and closes all else. `devices` is its `/dev`, by descriptor, for what has that name may
/// be another directory by now; a service has none. `program` stays open until exec.
///
/// # Errors
/// The step that failed.
pub fn connect(build: &Build<'_>, devices: BorrowedFd<'_>, program: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
    let (plan, guest) = (build.plan, build.guest);
    let reports = build.reports.as_fd();
    if !guest.tty.is_empty() {
        let tty = terminal::open(plan.strings.c_str(guest.tty)).at(Step::OpenTty)?;
        control(tty.as_fd(), &[0, 1, 2])?;
    } else if build.stdio == Stdio::Caller {
        let is_terminal = guest.kind != Kind::Service && pass_on(reports, (devices, c"pts/ptmx", c"null"), guest.user)?;
        if is_terminal && guest.kind == Kind::Os {
            console(devices)?;
        }
    } else if guest.has_console {
        let tty = terminal(reports, (devices, c"pts/ptmx"), guest.user)?;
        if guest.kind == Kind::Os {
            // An init has its console for no controlling terminal: whom it lets log in there takes it.
            place(tty.as_fd(), &[0, 1, 2])?;
            console(devices)?;
        } else {
            // An app has nobody else for it: the interrupt key is for it.
            control(tty.as_fd(), &[0, 1, 2])?;
        }
    } else {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let null = if guest.kind == Kind::Service {
            device::open(c"/dev/null", flags)
        } else {
            rustix::fs::openat(devices, c"null", flags, Mode::empty())
        };
        let null = null.at(Step::OpenInput)?;
        let output = build.output.as_ref().unwrap_or(&null);
        place(null.as_fd(), &[0])?;
        place(output.as_fd(), &[1, 2])?;
    }
    let ready = match (guest.ready, &build.ready) {
        (Ready::Fd(number), Some(fd)) => Some((RawFd::from(number), fd.as_fd())),
        _ => None,
    };
    close_others(reports, ready, program)
}

/// Makes the first terminal of a new devpts the console.
fn console(devices: BorrowedFd<'_>) -> Result<(), Fault> {
    rustix::process::fchdir(devices).at(Step::MakeTerminal)?;
    rustix::mount::mount_bind(c"pts/0", c"console").at(Step::MakeTerminal)
}

/// Passes the caller's input, output and error on, but nothing that leads to more of the host: no terminal, in whose place
/// there is one of the guest's own, no directory, and not the host's `null`, which is the guest's own from here on. The
/// guest's devpts and its `null` are by their names in a directory. Whether there was a terminal.
///
/// # Errors
/// The step that failed.
pub fn pass_on(
    reports: BorrowedFd<'_>,
    (directory, ptmx, null): (BorrowedFd<'_>, &CStr, &CStr),
    user: User,
) -> Result<bool, Fault> {
    let mut terminals = heapless::Vec::<RawFd, 3>::new();
    for (number, fd) in [stdio::input(), stdio::output(), stdio::error()].into_iter().enumerate() {
        let stat = rustix::fs::fstat(fd).at_item(Step::PassOn, number)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Err(Errno::ISDIR).at_item(Step::PassOn, number),
            FileType::CharacterDevice if rustix::termios::isatty(fd) => {
                // There is room for three.
                let _ = terminals.push(number as RawFd);
            }
            FileType::CharacterDevice if stat.st_rdev == makedev(1, 3) => {
                let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let own = rustix::fs::openat(directory, null, flags, Mode::empty()).at(Step::OpenInput)?;
                place(own.as_fd(), &[number as RawFd])?;
            }
            _ => {}
        }
    }
    if !terminals.is_empty() {
        let tty = terminal(reports, (directory, ptmx), user)?;
        if !terminals.starts_with(&[0, 1]) {
            plain(tty.as_fd()).at(Step::MakeTerminal)?;
        }
        control(tty.as_fd(), &terminals)?;
    }
    Ok(!terminals.is_empty())
}

/// Has `tty` change nothing that is written to it, and echo nothing: the caller's terminal, which stays as it is where not all
/// of the program is at a terminal, does both.
fn plain(tty: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut modes = rustix::termios::tcgetattr(tty)?;
    modes.local_modes.remove(LocalModes::ECHO);
    modes.output_modes.remove(OutputModes::OPOST);
    rustix::termios::tcsetattr(tty, OptionalActions::Now, &modes)
}

/// Makes a terminal of the guest's own devpts, whose `ptmx` is at a path in a directory, and hands its other side over.
fn terminal(reports: BorrowedFd<'_>, (directory, ptmx): (BorrowedFd<'_>, &CStr), user: User) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(directory, ptmx, flags, Mode::empty()).at(Step::MakeTerminal)?;
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
pub fn close_others(
    reports: BorrowedFd<'_>,
    ready: Option<(RawFd, BorrowedFd<'_>)>,
    program: Option<BorrowedFd<'_>>,
) -> Result<(), Fault> {
    let mut keep = [reports.as_raw_fd(); 3];
    keep[2] = program.map_or(keep[2], |program| program.as_raw_fd());
    if let Some((number, fd)) = ready {
        place(fd, &[number])?;
        keep[1] = number;
    }
    descriptor::close_all_but(&mut keep).at(Step::CloseDescriptors)
}

fn control(tty: BorrowedFd<'_>, numbers: &[RawFd]) -> Result<(), Fault> {
    rustix::process::ioctl_tiocsctty(tty).at(Step::ControlTerminal)?;
    place(tty, numbers)
}

fn place(fd: BorrowedFd<'_>, numbers: &[RawFd]) -> Result<(), Fault> {
    for number in numbers {
        descriptor::place(fd, *number).at(Step::PlaceDescriptors)?;
    }
    Ok(())
}
