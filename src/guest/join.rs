//! A command that joins a running guest: under its limits, in its namespaces, with its capabilities and its filter.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::CWD;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::ThreadNameSpaceType;

use super::command::{self, List};
use super::confine::{Identity, confine};
use super::helper::start_signal;
use super::inherit::{First, Inherited};
use super::{Starting, cgroup, login, own, report};
use crate::fault::{At, Fault, Step};
use crate::plan::{Confinement, Extents, Kind, User};
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::{process, signal};

/// What must be known of a guest to join it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its cgroup, as the supervisor calls it; nothing where this process is in it already.
    pub cgroup: Option<&'a str>,
    /// Its kind.
    pub kind: Kind,
    /// What it may do.
    pub confinement: Confinement,
    /// Its users, if it has its own.
    pub users: Extents,
    /// Whom the command runs as, inside.
    pub user: User,
    /// Its first process.
    pub pidfd: BorrowedFd<'a>,
}

/// A command, and what is in its environment besides what the guest's first process has.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Program and arguments; none: the login shell of whom it runs as.
    pub words: &'a [&'a CStr],
    /// `NAME=VALUE` words.
    pub env: &'a [&'a CStr],
    /// This program on a mount that nothing can be changed through, where the guest could change it and the caller does not
    /// run from there.
    pub program: Option<BorrowedFd<'a>>,
}

/// Starts `command` in the guest, with the caller's input and output, or with a terminal of its own there. The caller
/// becomes its parent: [`super::Report::Born`] comes with its pidfd, a terminal as [`super::Report::Console`], and then
/// what became of exec, as from a start.
///
/// # Errors
/// The step of this process that failed.
pub fn join(facts: &Facts<'_>, command: &Command<'_>) -> Result<Starting, Fault> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .at(Step::ReportSocket)?;
    match clone(Flags::NONE, None).at(Step::Fork)? {
        Side::Parent(pid, helper) => Ok(Starting { helper, pid, reports: ours, output: None, ready: None }),
        Side::Child => {
            drop(ours);
            match helper(facts, command, theirs.as_fd()) {
                Ok(()) => process::exit(0),
                Err(fault) => {
                    report::send_fault(theirs.as_fd(), fault);
                    process::exit(1)
                }
            }
        }
    }
}

/// Goes in, and makes the command's process from there: only a child is in a process number namespace that was joined.
fn helper(facts: &Facts<'_>, command: &Command<'_>, reports: BorrowedFd<'_>) -> Result<(), Fault> {
    // Nothing inside may look into this process, or open the program that it runs (/proc/PID/exe).
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::HideHelper)?;
    // The limits first.
    let first = First::open(facts.pidfd)?;
    if let Some(cgroup) = facts.cgroup {
        cgroup::join_running(first.directory.as_fd(), cgroup, facts.kind == Kind::Os)?;
    }
    let inherited = Inherited::take(&first, &facts.users)?;
    // The directory is by number: only if the process is still there was it surely its own.
    signal::send(facts.pidfd, 0).at(Step::OpenProcess)?;
    if facts.kind != Kind::Service {
        let spaces = if facts.users.is_empty() { SPACES } else { SPACES | ThreadNameSpaceType::USER };
        rustix::thread::move_into_thread_name_spaces(facts.pidfd, spaces).at(Step::JoinNamespaces)?;
    }
    let (ours, theirs) = start_signal()?;
    match clone(Flags::PARENT, None).at(Step::Clone)? {
        // Not before its birth is reported: until then nobody could pass a signal on to it, or kill it.
        Side::Parent(pid, _) => report::send_born(reports, pid).and_then(|()| report::release(ours.as_fd(), None)),
        Side::Child => {
            drop(ours);
            if report::await_release(theirs.as_fd()).is_err() {
                // The helper was ended, or has said why it could not go on: this ends as who is killed with it.
                let _ = signal::send_to(rustix::process::getpid(), libc::SIGKILL as u8);
                process::exit(1)
            }
            let fault = become_command(facts, command, &inherited, reports);
            report::send_fault(reports, fault);
            process::exit(1)
        }
    }
}

/// Every namespace of a guest but its users.
const SPACES: ThreadNameSpaceType = ThreadNameSpaceType::MOUNT
    .union(ThreadNameSpaceType::PROCESS_ID)
    .union(ThreadNameSpaceType::NETWORK)
    .union(ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION)
    .union(ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME)
    .union(ThreadNameSpaceType::CONTROL_GROUP)
    .union(ThreadNameSpaceType::TIME);

/// The straight line of the command's own process. Returns what went wrong.
fn become_command(facts: &Facts<'_>, command: &Command<'_>, inherited: &Inherited, reports: BorrowedFd<'_>) -> Fault {
    let confined = confined(facts, &inherited.groups, reports, command.program);
    if let Err(fault) = confined.and_then(|()| inherited.limit()) {
        return fault;
    }
    if command.words.is_empty() {
        return login::run(facts.user.uid, command.env, facts.kind);
    }
    let mut arguments = List::new();
    if let Err(fault) = command.words.iter().try_for_each(|word| arguments.push(word)).at(Step::Words) {
        return fault;
    }
    let program = command.words.first().copied().unwrap_or(c"");
    let is_set = |word: &&CStr| command.env.iter().any(|own| command::name(own) == command::name(word));
    let environment = inherited.environment().filter(|word| !is_set(word)).chain(command.env.iter().copied());
    match command.program {
        Some(program) => {
            own::hand_over(program, reports, &mut command.words.iter().copied(), &mut environment.into_iter())
        }
        None => command::run(program, &arguments, environment, facts.kind),
    }
}

fn confined(
    facts: &Facts<'_>,
    groups: &[u32],
    reports: BorrowedFd<'_>,
    program: Option<BorrowedFd<'_>>,
) -> Result<(), Fault> {
    if !facts.users.is_empty() {
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at(Step::SetGroup)?;
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at(Step::SetUser)?;
    }
    rustix::process::setsid().at(Step::NewSession)?;
    super::stdio::pass_on(reports, (CWD, c"/dev/ptmx", c"/dev/null"), facts.user)?;
    super::stdio::close_others(reports, None, program)?;
    confine(&Identity { kind: facts.kind, confinement: facts.confinement, user: facts.user, groups })
}
