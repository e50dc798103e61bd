//! Becoming the guest's program: its words, its environment, where it is found, and why it could not be run.

use core::convert::Infallible;
use core::ffi::CStr;

use rustix::fs::{Access, AtFlags, CWD};

use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::{Guest, Kind, Plan};
use crate::sys::Errno;
use crate::sys::exec::{self, Words};
use crate::text::Made;

/// Where a command without a slash is looked for, where the config sets no PATH.
const PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What every program in a guest finds in its environment, unless the config says otherwise. OpenRC knows few values of
/// `container`; this is one that every init understands.
const ENVIRONMENT: [&CStr; 4] = [PATH, c"HOME=/root", c"TERM=linux", c"container=lxc"];

/// Room for the words of a command, or of an environment, where its notification socket is, and the null pointer behind them.
pub const ROOM: usize = limits::COMMAND_WORDS + ENVIRONMENT.len() + 3;

/// A list of words for exec.
pub type List<'a> = Words<'a, ROOM>;

/// Becomes the guest's program. `notify` are more words of its environment, but for empty ones.
///
/// # Errors
/// [`Step::Words`], or why exec failed: [`Step::NoCommand`], [`Step::NoInterpreter`], [`Step::Execute`].
pub fn execute(plan: &Plan, guest: &Guest, notify: &[Made]) -> Result<Infallible, Fault> {
    let mut arguments = List::new();
    for word in plan.words.get(guest.command) {
        arguments.push(plan.strings.c_str(*word)).at(Step::Words)?;
    }
    let own = own_environment(plan, guest, notify);
    let program = plan.words.get(guest.command).first().map_or(c"", |word| plan.strings.c_str(*word));
    Err(run(program, &arguments, own, guest.kind))
}

/// What a guest's program finds in its environment besides the defaults: what the config says, and `notify`.
pub fn own_environment<'a>(
    plan: &'a Plan,
    guest: &Guest,
    notify: &'a [Made],
) -> impl Iterator<Item = &'a CStr> + Clone {
    let said = plan.words.get(guest.env).iter().map(|word| plan.strings.c_str(*word));
    said.chain(notify.iter().map(Made::as_c_str).filter(|word| !word.is_empty()))
}

/// Becomes `program`, with `own` and the defaults that it does not set as its environment. Returns why it could not.
pub fn run<'a>(program: &CStr, arguments: &List<'_>, own: impl Iterator<Item = &'a CStr> + Clone, kind: Kind) -> Fault {
    let environment = match environment(own.clone(), kind) {
        Ok(environment) => environment,
        Err(fault) => return fault,
    };
    let path = own.clone().find(|word| name(word) == b"PATH").unwrap_or(PATH).to_bytes();
    let mut step = Step::Execute;
    let error = search(program, path.get(b"PATH=".len()..).unwrap_or_default(), &mut |file| {
        let error = exec::execute(file, arguments, &environment);
        let is_there = || rustix::fs::accessat(CWD, file, Access::EXISTS, AtFlags::empty()).is_ok();
        if error == Errno::NOENT && is_there() {
            // What is missing is what the file asks for: `#!` or an ELF interpreter. Another directory has nothing better.
            step = Step::NoInterpreter;
            return Errno::NOEXEC;
        }
        error
    });
    let (step, error) = match (step, error) {
        (Step::NoInterpreter, _) => (step, Errno::NOENT),
        (_, Errno::NOENT | Errno::NOTDIR) => (Step::NoCommand, error),
        other => other,
    };
    Fault { step, errno: error.raw_os_error() as u16, detail: 0 }
}

/// Makes `attempt` with each file that `program` may mean (execvp(3)): a name with a slash is a path; another is looked for
/// in each directory of `path`. Returns the last error that says most.
pub fn search(program: &CStr, path: &[u8], attempt: &mut dyn FnMut(&CStr) -> Errno) -> Errno {
    if program.to_bytes().contains(&b'/') {
        return attempt(program);
    }
    let mut refused = Errno::NOENT;
    for directory in path.split(|byte| *byte == b':') {
        let mut file = heapless::Vec::<u8, { libc::PATH_MAX as usize }>::new();
        // An empty directory is the one we are in.
        let directory = if directory.is_empty() { b"." } else { directory };
        let parts = [directory, b"/", program.to_bytes_with_nul()];
        if parts.iter().any(|part| file.extend_from_slice(part).is_err()) {
            continue;
        }
        let Ok(file) = CStr::from_bytes_with_nul(&file) else { continue };
        match attempt(file) {
            Errno::NOENT | Errno::NOTDIR => {}
            // Another directory may have one that can be run.
            Errno::ACCESS => refused = Errno::ACCESS,
            error => return error,
        }
    }
    refused
}

fn environment<'a>(own: impl Iterator<Item = &'a CStr> + Clone, kind: Kind) -> Result<List<'a>, Fault> {
    let mut words = List::new();
    // A service is of the host: nothing tells it that it is in a container.
    let defaults = ENVIRONMENT.iter().take(if kind == Kind::Service { 3 } else { 4 });
    for word in defaults.filter(|default| !own.clone().any(|word| name(word) == name(default))) {
        words.push(word).at(Step::Words)?;
    }
    for word in own.clone() {
        words.push(word).at(Step::Words)?;
    }
    Ok(words)
}

/// The name in a `NAME=VALUE` word.
pub fn name(word: &CStr) -> &[u8] {
    word.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()
}
