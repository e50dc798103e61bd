//! This very program, out of a guest's reach.
//!
//! What a guest executes may be `/proc/self/exe`, by its name or as the interpreter of a script: this program, which others in
//! the guest then find by `/proc/PID/exe` (CVE-2019-5736). It belongs to the host's root: to a guest with users of its own
//! it is somebody else's file. The root of one without could write to it, or change its mode. So the last process before
//! such a guest's program runs from a mount of its own that nothing can be changed through: a start becomes this program once
//! more from there, as its last step but one; who joins begins from there.

use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::io::FdFlags;
use rustix::mount::OpenTreeFlags;

use super::command::{self, List};
use super::report;
use crate::fault::{At, Fault, Step};
use crate::plan::{Kind, User};
use crate::sys::exec::{self, Words};
use crate::sys::mount::{self, Attributes};
use crate::sys::process::{self, Arguments};
use crate::sys::{Errno, descriptor};
use crate::text::{self, Made};

const PATH: &CStr = c"/proc/self/exe";

/// The name that a start's last step but one has; behind it stand the number of the descriptor that it reports on, and the
/// words of the command.
const NAME: &CStr = c"inn: start";

/// Whether a program in a guest could change this one.
#[must_use]
pub fn is_reachable(kind: Kind, is_mapped: bool, user: User) -> bool {
    // An app becomes no other user than its own.
    kind != Kind::Service && !is_mapped && (kind == Kind::Os || user.uid == 0)
}

/// Opens this program on a mount that nothing can be changed through, above every number that a guest's descriptor may have.
///
/// # Errors
/// [`Step::OwnProgram`].
pub fn open() -> Result<OwnedFd, Fault> {
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE;
    let attributes = Attributes::READ_ONLY.and(Attributes::NO_SUID).and(Attributes::NO_DEV);
    rustix::mount::open_tree(CWD, PATH, flags)
        .and_then(|tree| mount::set(tree.as_fd(), attributes, None).map(|()| tree))
        .and_then(|tree| rustix::io::fcntl_dupfd_cloexec(tree, 1 + i32::from(u8::MAX)))
        .at(Step::OwnProgram)
}

/// Becomes `program`, this one, to become the guest's of these words, with this environment besides the defaults: the rest
/// is done by [`resume`]. Returns what went wrong.
pub fn hand_over<'a>(
    program: BorrowedFd<'_>,
    reports: BorrowedFd<'_>,
    command: &mut dyn Iterator<Item = &'a CStr>,
    own: &mut dyn Iterator<Item = &'a CStr>,
) -> Fault {
    let number = Made::new(format_args!("{}", reports.as_raw_fd()));
    let mut list = || {
        let mut arguments = Words::<{ command::ROOM + 2 }>::new();
        arguments.push(NAME)?;
        arguments.push(number.as_c_str())?;
        for word in &mut *command {
            arguments.push(word)?;
        }
        let mut environment = List::new();
        for word in &mut *own {
            environment.push(word)?;
        }
        rustix::io::fcntl_setfd(reports, FdFlags::empty())?;
        Ok(exec::execute_open(program, &arguments, &environment))
    };
    let (Ok(error) | Err(error)) = list();
    Fault { step: Step::BeginAnew, errno: error.raw_os_error() as u16, detail: 0 }
}

/// Goes on where [`hand_over`] left, and does not return then.
pub fn resume(arguments: &Arguments) {
    if arguments.get(0) != Some(NAME) {
        return;
    }
    let number = arguments.get(1).and_then(|word| text::number(word.to_bytes()));
    let Some(reports) = number.and_then(descriptor::adopt) else { process::exit(1) };
    // Its end says that the guest's program runs.
    let closes = rustix::io::fcntl_setfd(&reports, FdFlags::CLOEXEC).at(Step::BeginAnew);
    let mut words = List::new();
    let listed = (2..arguments.len()).filter_map(|index| arguments.get(index)).try_for_each(|word| words.push(word));
    let fault = match closes.and(listed.at(Step::Words)) {
        Ok(()) => command::run(arguments.get(2).unwrap_or_default(), &words, arguments.environment(), Kind::Os),
        Err(fault) => fault,
    };
    report::send_fault(reports.as_fd(), fault);
    process::exit(1)
}

/// Sees that this process runs from such a mount: where it does not, begins it anew from there. Returns what went wrong.
///
/// # Errors
/// [`Step::OwnProgram`], [`Step::BeginAnew`].
pub fn begin_anew(arguments: &Arguments) -> Result<(), Fault> {
    if rustix::fs::statvfs(PATH).at(Step::OwnProgram)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let program = open()?;
    let list = || {
        let mut words = Words::<{ process::WORDS }>::new();
        (0..arguments.len()).filter_map(|index| arguments.get(index)).try_for_each(|word| words.push(word))?;
        let mut environment = Words::<{ process::WORDS }>::new();
        arguments.environment().try_for_each(|word| environment.push(word))?;
        Ok(exec::execute_open(program.as_fd(), &words, &environment))
    };
    let (Ok(error) | Err(error)) = list();
    Err::<(), Errno>(error).at(Step::BeginAnew)
}
