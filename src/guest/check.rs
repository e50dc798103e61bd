//! A short-lived child of the supervisor that looks, once, whether a guest is ready or well. It may hang: then the supervisor
//! kills it. Nothing that it finds in the guest is trusted further than that answer.

use core::ffi::CStr;

use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Signal};

use super::cgroup::{Base, Member};
use super::inherit::First;
use super::{Command, Facts, Report, join, own, receive, report, target};
use crate::fault::{At, Fault, Step};
use crate::plan::{Guest, Plan, Ready};
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::wait::{self, End, Which};
use crate::sys::{Errno, descriptor, device, process};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What `ready` says.
    Ready,
    /// What `health` says.
    Health,
}

/// A look that is under way.
#[derive(Debug)]
pub struct Checking {
    /// Pidfd of the child; readable when it has ended, then it must be waited for (waitid P_PIDFD, `__WALL`). It exits with 0
    /// where the guest is as it should be.
    pub child: OwnedFd,
    /// Its number.
    pub pid: Pid,
    /// Where it reports why the guest is not: see [`super::receive`].
    pub reports: OwnedFd,
}

/// Whom it is about.
#[derive(Clone, Copy, Debug)]
pub struct Patient<'a> {
    /// Whose words these are.
    pub plan: &'a Plan,
    /// The guest.
    pub guest: &'a Guest,
    /// Where its cgroup is.
    pub base: &'a Base,
    /// Its first process.
    pub process: BorrowedFd<'a>,
}

/// Starts a look. Never blocks.
///
/// # Errors
/// The step of this process that failed.
pub fn check(patient: &Patient<'_>, what: What) -> Result<Checking, Fault> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .at(Step::ReportSocket)?;
    match clone(Flags::NONE, None).at(Step::Check)? {
        Side::Parent(pid, child) => Ok(Checking { child, pid, reports: ours }),
        Side::Child => match look(patient, what, theirs.as_fd()) {
            Ok(is_so) => process::exit(u8::from(!is_so)),
            Err(fault) => {
                report::send_fault(theirs.as_fd(), fault);
                process::exit(1)
            }
        },
    }
}

fn look(patient: &Patient<'_>, what: What, reports: BorrowedFd<'_>) -> Result<bool, Fault> {
    // It is of no use to anybody else.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Check)?;
    let (plan, guest) = (patient.plan, patient.guest);
    let words = match (what, guest.ready) {
        (What::Health, _) => plan.health(guest).map(|check| check.command).unwrap_or_default(),
        (What::Ready, Ready::Port(port)) => return listens(&First::open(patient.process)?, port).at(Step::Check),
        (What::Ready, Ready::File) => {
            let path = plan.words.get(guest.ready_words).first().map_or(c"", |word| plan.strings.c_str(*word));
            return is_there(&First::open(patient.process)?, path).at(Step::Check);
        }
        (What::Ready, _) => guest.ready_words,
    };
    let mut list = heapless::Vec::<&CStr, { crate::limits::COMMAND_WORDS }>::new();
    let kept = plan.words.get(words).iter().try_for_each(|word| list.push(plan.strings.c_str(*word)));
    kept.map_err(|_| Errno::TOOBIG).at(Step::Words)?;
    run(patient, &list, reports)
}

/// Whether anything listens on TCP port `port` in the network of process `first`, as the kernel's list says. To connect would
/// be a connection that the guest has to deal with, and may wait.
fn listens(first: &First, port: u16) -> Result<bool, Errno> {
    let mut is_found = false;
    for file in [c"net/tcp", c"net/tcp6"] {
        let file = match rustix::fs::openat(&first.directory, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            // A kernel without that protocol.
            Err(Errno::NOENT) => continue,
            file => file?,
        };
        let mut buffer = [0; 4096];
        let mut kept = 0;
        loop {
            let len = rustix::io::read(&file, buffer.get_mut(kept..).unwrap_or_default())?;
            let text = buffer.get(..kept + len).unwrap_or_default();
            let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let mut lines = text.get(..end).unwrap_or_default().split(|byte| *byte == b'\n');
            // Those that listen stand first.
            let is_over = lines.any(|line| match listener(line) {
                Line::Listens(on) => {
                    is_found |= on == port;
                    is_found
                }
                Line::Connected => true,
                Line::Other => false,
            });
            if len == 0 || is_over {
                break;
            }
            let all = kept + len;
            kept = if end == 0 { 0 } else { all - end };
            buffer.copy_within(all - kept..all, 0);
        }
    }
    Ok(is_found)
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// A socket that listens on this port.
    Listens(u16),
    /// One in another state.
    Connected,
    /// No socket.
    Other,
}

/// A line of /proc/net/tcp (Documentation/networking/proc_net_tcp.rst): " 0: 0100007F:1F90 00000000:0000 0A …".
fn listener(line: &[u8]) -> Line {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (Some(_), Some(local), Some(_), Some(state)) = (words.next(), words.next(), words.next(), words.next()) else {
        return Line::Other;
    };
    let port = local.rsplit(|byte| *byte == b':').next().and_then(|word| core::str::from_utf8(word).ok());
    match (port.and_then(|word| u16::from_str_radix(word, 16).ok()), state) {
        (Some(port), b"0A") => Line::Listens(port),
        (Some(_), _) => Line::Connected,
        // The heading.
        (None, _) => Line::Other,
    }
}

/// Whether there is anything at `path` in the root of process `first`: links lead nowhere else, and nothing is opened.
fn is_there(first: &First, path: &CStr) -> Result<bool, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(&first.directory, c"root", flags, Mode::empty())?;
    match target::find(root.as_fd(), path) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Runs a command inside, as `inn exec` does, and waits for it. Whatever it starts is in a cgroup of its own.
fn run(patient: &Patient<'_>, words: &[&CStr], reports: BorrowedFd<'_>) -> Result<bool, Fault> {
    let Patient { plan, guest, base, process } = *patient;
    let member = Member { kind: guest.kind, name: plan.strings.c_str(guest.name) };
    base.enter_check(member).at(Step::JoinCgroup)?;
    let users = plan.users(guest);
    let is_reachable = own::is_reachable(guest.kind, !users.is_empty(), guest.user);
    let program = is_reachable.then(own::open).transpose()?;
    close_all(reports, process, program.as_ref().map(AsFd::as_fd)).at(Step::CloseDescriptors)?;
    let facts = Facts {
        cgroup: None,
        kind: guest.kind,
        confinement: guest.confinement,
        users,
        user: guest.user,
        pidfd: process,
    };
    let command = Command { words, env: &[], program: program.as_ref().map(AsFd::as_fd) };
    let starting = join(&facts, &command)?;
    let mut born = None;
    loop {
        await_readable(starting.reports.as_fd());
        match receive(starting.reports.as_fd()) {
            Report::Born { pidfd, .. } => born = Some(pidfd?),
            Report::Failed(fault) => return Err(fault),
            Report::Closed => break,
            Report::Nothing | Report::Console(_) | Report::Notify(_) | Report::Output(_) | Report::Line(_) => {}
        }
    }
    let Some(pidfd) = born else { return Err(ended(End::Signal(libc::SIGKILL as u8))) };
    await_readable(pidfd.as_fd());
    match wait::reap(Which::PidFd(pidfd.as_fd())).at(Step::Check)? {
        Some((_, End::Code(0))) => Ok(true),
        Some((_, end)) => Err(ended(end)),
        None => Err(Errno::CHILD).at(Step::Check),
    }
}

/// How a command ended that should have exited with 0.
fn ended(end: End) -> Fault {
    Fault { step: Step::CheckCommand, errno: 0, detail: end.as_detail() }
}

/// Closes what the supervisor has open, which is no business of a command's: 0, 1 and 2 become nothing.
fn close_all(reports: BorrowedFd<'_>, process: BorrowedFd<'_>, program: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let null = device::open(c"/dev/null", OFlags::RDWR)?;
    (0..3).try_for_each(|number| descriptor::place(null.as_fd(), number))?;
    let [reports, process] = [reports.as_raw_fd(), process.as_raw_fd()];
    let mut keep = [null.as_raw_fd(), reports, process, program.map_or(reports, |program| program.as_raw_fd())];
    descriptor::close_all_but(&mut keep)?;
    // A service's command would be where the supervisor is.
    rustix::process::chdir(c"/")
}

/// Waits as long as it takes: the supervisor has the time-out.
fn await_readable(fd: BorrowedFd<'_>) {
    while let Err(Errno::INTR) = rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], None) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_among_those_that_listen() {
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        let pidfd =
            rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty()).unwrap();
        let own = First::open(pidfd.as_fd()).unwrap();
        assert_eq!(listens(&own, port), Ok(true));
        // A connection from that port's other side is no listener.
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(listens(&own, client.local_addr().unwrap().port()), Ok(false));
        drop(listening);
        assert_eq!(listens(&own, port), Ok(false));
    }

    #[test]
    fn a_line_is_a_listener_a_connection_or_neither() {
        for (line, is) in [
            ("   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000", Line::Listens(8080)),
            (
                "   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0",
                Line::Listens(22),
            ),
            ("   1: 0100007F:1F90 0100007F:0001 01 0", Line::Connected),
            ("  sl  local_address rem_address   st tx_queue", Line::Other),
            ("", Line::Other),
            ("a b c", Line::Other),
            ("0: x:zz 0 0A", Line::Other),
        ] {
            assert_eq!(listener(line.as_bytes()), is, "{line}");
        }
    }
}
