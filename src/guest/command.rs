//! Becoming the guest's program: its words, its environment, where it is found, and why it could not be run.

use core::convert::Infallible;
use core::ffi::CStr;

use rustix::fs::{Access, AtFlags, CWD};

use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::{Guest, Kind, Plan};
use crate::sys::Errno;
use crate::sys::exec::{self, Words};

/// Where a command without a slash is looked for, where the config sets no PATH.
const PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What every program in a guest finds in its environment, unless the config says otherwise. OpenRC knows few values of
/// `container`; this is one that every init understands.
const ENVIRONMENT: [&CStr; 4] = [PATH, c"HOME=/root", c"TERM=linux", c"container=lxc"];

/// Room for the words of a command, or of an environment, and the null pointer behind them.
const ROOM: usize = limits::COMMAND_WORDS + ENVIRONMENT.len() + 1;

/// A list of words for exec.
pub type List<'a> = Words<'a, ROOM>;

/// Becomes the guest's program.
///
/// # Errors
/// [`Step::Words`], or why exec failed: [`Step::NoCommand`], [`Step::NoInterpreter`], [`Step::Execute`].
pub fn execute(plan: &'static Plan, guest: &Guest) -> Result<Infallible, Fault> {
    let mut arguments = List::new();
    for word in plan.words.get(guest.command) {
        arguments.push(plan.strings.c_str(*word)).at(Step::Words)?;
    }
    let own = plan.words.get(guest.env).iter().map(|word| plan.strings.c_str(*word));
    let program = plan.words.get(guest.command).first().map_or(c"", |word| plan.strings.c_str(*word));
    Err(run(program, &arguments, own, guest.kind))
}

/// Becomes `program`, with `own` and the defaults that it does not set as its environment. Returns why it could not.
pub fn run<'a>(program: &CStr, arguments: &List<'_>, own: impl Iterator<Item = &'a CStr> + Clone, kind: Kind) -> Fault {
    match environment(own.clone(), kind) {
        Ok(environment) => {
            let path = own.clone().find(|word| name(word) == b"PATH").unwrap_or(PATH);
            search(program, path, arguments, &environment)
        }
        Err(fault) => fault,
    }
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

/// execvp(3): a name with a slash is a path; another is looked for in each directory of `path`.
fn search(program: &CStr, path: &CStr, arguments: &List<'_>, environment: &List<'_>) -> Fault {
    if program.to_bytes().contains(&b'/') {
        return attempt(program, arguments, environment);
    }
    let mut denied = None;
    for directory in path.to_bytes().get(b"PATH=".len()..).unwrap_or_default().split(|byte| *byte == b':') {
        let mut full = heapless::Vec::<u8, { libc::PATH_MAX as usize }>::new();
        let directory = if directory.is_empty() { b"." } else { directory };
        let parts = [directory, b"/", program.to_bytes_with_nul()];
        if parts.iter().any(|part| full.extend_from_slice(part).is_err()) {
            continue;
        }
        let Ok(full) = CStr::from_bytes_with_nul(&full) else { continue };
        let fault = attempt(full, arguments, environment);
        match fault {
            Fault { step: Step::NoCommand, .. } => {}
            Fault { errno, .. } if i32::from(errno) == libc::EACCES => denied = Some(fault),
            _ => return fault,
        }
    }
    denied.unwrap_or(Fault { step: Step::NoCommand, errno: libc::ENOENT as u16, detail: 0 })
}

fn attempt(path: &CStr, arguments: &List<'_>, environment: &List<'_>) -> Fault {
    let error = exec::execute(path, arguments, environment);
    let step = match error {
        // The file is there, so what is missing is what the file asks for: `#!` or an ELF interpreter.
        Errno::NOENT if rustix::fs::accessat(CWD, path, Access::EXISTS, AtFlags::empty()).is_ok() => {
            Step::NoInterpreter
        }
        Errno::NOENT | Errno::NOTDIR => Step::NoCommand,
        _ => Step::Execute,
    };
    Fault { step, errno: error.raw_os_error() as u16, detail: 0 }
}
