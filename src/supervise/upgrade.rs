//! Another program in the place of this one, on purpose: first a short-lived child becomes it, to say whether it could go on.
//!
//! The new program reads what this one keeps, of whose version it must know, and the config, for plans of two programs are
//! different things. The plan that it makes of that is handed back, as it will find it. All that can be wrong with it is
//! wrong there, where nothing is lost.

use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::{Pid, getppid};

use super::kept::{self, Kept};
use super::poll::Poll;
use super::reload::{Child, From};
use crate::fault::{At, Fault, Step};
use crate::guest::report;
use crate::host::boot;
use crate::limits;
use crate::load::Loader;
use crate::plan::Plan;
use crate::plan::users::Old;
use crate::record::Holder;
use crate::supervise::state::Machine;
use crate::sys::exec::{self, Words};
use crate::sys::memory::{Image, Static, discard_spare};
use crate::sys::process::Arguments;
use crate::sys::{Errno, descriptor, signal};
use crate::text::{self, Made};

/// What the new program is called while it is asked; behind it stand the numbers of what is kept and of its plan, the
/// config, the socket, and `init` where it is to be the host's.
const NAME: &CStr = c"inn: upgrade";
const INIT: &CStr = c"init";
/// It could go on.
const DONE: u8 = 0;
/// A step of the child failed, and it has said so.
const FAILED: u8 = 1;
/// Something is wrong with the config.
const CONFIG: u8 = 2;
/// What is kept is of another version.
const VERSION: u8 = 3;
/// There is no place for the plan.
const PLAN: u8 = 4;

/// Why it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This step failed.
    Failed(Fault),
    /// It takes too long to answer.
    Late,
    /// It does not answer as this program does.
    Stranger,
    /// It cannot read what this version keeps.
    Version,
    /// The config, as it reads it, is wrong.
    Config,
}

/// A program that is asked.
#[derive(Debug)]
pub struct Asking {
    /// Who asks it.
    pub child: Child,
    /// Where it puts the plan.
    pub image: Image<Plan>,
    /// When it is given up.
    pub deadline_ms: u64,
}

/// One that could go on.
#[derive(Debug)]
pub struct Answer {
    /// The program.
    pub program: OwnedFd,
    /// By what it is known.
    pub identity: [u64; 3],
    /// The plan as it has made it; nothing where it is this very program.
    pub image: Option<Image<Plan>>,
}

/// Begins to ask the program at `path`. Never blocks.
///
/// # Errors
/// The step of this process that failed.
pub fn ask(path: &CStr, kept: &Kept, from: From<'_>, deadline_ms: u64, poll: &Poll) -> Result<Asking, Fault> {
    let image = Image::new().at(Step::ReloadMemory)?;
    let child = Child::start(poll, |reports| {
        let fault = match become_asked(path, kept, (&image, from), reports) {
            Ok(code) => return code,
            Err(fault) => fault,
        };
        report::send_fault(reports, fault);
        FAILED
    })?;
    Ok(Asking { child, image, deadline_ms })
}

fn become_asked(
    path: &CStr,
    kept: &Kept,
    (image, from): (&Image<Plan>, From<'_>),
    reports: BorrowedFd<'_>,
) -> Result<u8, Fault> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let program = rustix::fs::openat(CWD, path, flags, Mode::empty()).at(Step::OpenProgram)?;
    let stat = rustix::fs::fstat(&program).at(Step::OpenProgram)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::NOEXEC).at(Step::OpenProgram);
    }
    report::send_terminal(reports, program.as_fd())?;
    let own = kept::program().at(Step::OpenProgram)?.1;
    if kept::identity(&stat) == own {
        // It knows its own.
        return Ok(DONE);
    }
    let numbers = [kept.as_fd(), image.file().as_fd()].map(|fd| Made::new(format_args!("{}", fd.as_raw_fd())));
    for fd in [kept.as_fd(), image.file().as_fd()] {
        descriptor::place(fd, fd.as_raw_fd()).at(Step::ExecuteProgram)?;
    }
    let mut words = Words::<8>::new();
    let role = if from.is_init { INIT } else { c"" };
    let list = [NAME, numbers[0].as_c_str(), numbers[1].as_c_str(), from.config, from.socket, role];
    list.into_iter().try_for_each(|word| words.push(word)).at(Step::ExecuteProgram)?;
    signal::block(signal::Set::NONE).at(Step::ExecuteProgram)?;
    Err(exec::execute_open(program.as_fd(), &words, &Words::<1>::new())).at(Step::ExecuteProgram)
}

/// What the child's exit code says; nothing where the program could go on.
#[must_use]
pub fn refusal(code: u8) -> Option<Refused> {
    match code {
        DONE => None,
        CONFIG => Some(Refused::Config),
        VERSION => Some(Refused::Version),
        PLAN => Some(Refused::Failed(Fault { step: Step::ReloadMemory, errno: libc::ENOMEM as u16, detail: 0 })),
        _ => Some(Refused::Stranger),
    }
}

/// The plan that guests are compared with which do not run.
static NOTHING: Static<Plan> = Static::new(Plan::new());

/// The new program's side: says by its exit code whether it could go on; nothing where it was not asked.
#[must_use]
pub fn answer(arguments: &Arguments) -> Option<u8> {
    if arguments.get(0) != Some(NAME) {
        return None;
    }
    Some(try_to_answer(arguments).err().unwrap_or(DONE))
}

fn try_to_answer(arguments: &Arguments) -> Result<(), u8> {
    let word = |index| arguments.get(index).ok_or(FAILED);
    let number = |index| text::number(word(index)?.to_bytes()).and_then(descriptor::adopt).ok_or(FAILED);
    let (kept, image) = (Kept::of(number(1)?), Image::adopt(number(2)?));
    let (config, socket, is_init) = (word(3)?, word(4)?, word(5)? == INIT);
    let guests = kept.host(&mut kept::EMPTY.clone()).map(|(host, _)| host.guests).ok_or(VERSION)?;
    for index in 0..guests.min(limits::GUESTS as u64) as usize {
        let is_known = kept.guest(index, |get| get.number() == 0 || Machine::recall(get).is_some());
        is_known.then_some(()).ok_or(VERSION)?;
    }
    let loader = Loader::take_again().ok_or(PLAN)?;
    if is_init {
        boot::read_config_again(&mut loader.config, &mut loader.diagnostics);
    } else {
        loader.read(config);
    }
    let old = Old { plan: NOTHING.take().ok_or(PLAN)?, is_up: &[false; limits::GUESTS] };
    let holder = Holder { name: socket.to_bytes(), only: b"" };
    // Each has the users that are on record for it.
    let owner = getppid().unwrap_or(Pid::INIT);
    if !loader.build_after(old, (&holder, owner), true).map_err(|_| PLAN)? {
        return Err(CONFIG);
    }
    discard_spare(&mut loader.plan.profiles);
    image.put(&loader.plan).map_err(|_| PLAN)
}
