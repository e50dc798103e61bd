//! A file system's own checker: `fsck.TYPE`, with its progress on the console, and what its exit code means (fsck(8)).

use core::ffi::CStr;

use rustix::fs::Access;
use rustix::process::{Pid, Signal};

use super::console::{self, Console, Level};
use super::emergency::ENVIRONMENT;
use crate::fault::{At, Fault, Step};
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::exec::{Words, execute};
use crate::sys::wait::{self, End, Which};
use crate::sys::{Errno, block, descriptor, process, signal};
use crate::text::Made;

/// Where checkers are looked for.
const DIRECTORIES: [&str; 5] = ["/sbin", "/usr/sbin", "/usr/local/sbin", "/bin", "/usr/bin"];

/// fsck(8)
const REBOOT: u8 = 2;
/// Errors are left, it could not work, it was given the wrong words, it was stopped, its library is missing.
const BAD: u8 = 4 | 8 | 16 | 32 | 128;

/// What a check came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// It has changed a file system that is in use.
    pub needs_reboot: bool,
}

/// Checks the file system of type `kind` on the device `source`, repairing what can be repaired without asking. Without a
/// checker, or where nothing could be repaired, that is said, and nothing else is done. Only for a child that may wait.
///
/// # Errors
/// [`Step::CheckDisk`], with the checker's code: it is not to be mounted.
pub fn check(console: &Console, source: &CStr, kind: &CStr) -> Result<Checked, Fault> {
    let Some(program) = find(kind) else {
        let kind = kind.to_str().unwrap_or("?");
        console.say(
            Level::Warning,
            format_args!("there is no fsck.{kind}: {} is not checked", source.to_str().unwrap_or("?")),
        );
        return Ok(Checked::default());
    };
    if block::is_protected(source) {
        let source = source.to_str().unwrap_or("?");
        console.say(Level::Warning, format_args!("{source} is write-protected: it is not checked"));
        return Ok(Checked::default());
    }
    let is_ext = kind.to_bytes().starts_with(b"ext");
    let mut words = Words::<5>::new();
    // `-p` and `-a` are the same: repair what is safe to repair. Those of ext show how far they are.
    let arguments: &[&CStr] = if is_ext { &[c"-p", c"-C0"] } else { &[c"-a"] };
    for word in [program.as_c_str()].iter().chain(arguments).chain(&[source]) {
        let _ = words.push(word);
    }
    let code = run(program.as_c_str(), &words).at(Step::CheckDisk)?;
    let source = source.to_str().unwrap_or("?");
    match code {
        0 => {}
        code if code & BAD != 0 => return Err(Fault { step: Step::CheckDisk, errno: 0, detail: code.into() }),
        code => console.say(Level::Warning, format_args!("errors on {source} were repaired (code {code})")),
    }
    Ok(Checked { needs_reboot: code & REBOOT != 0 })
}

/// Whether the root is to be checked, as the kernel's command line says it (systemd-fsck@.service(8)): where the initramfs has a
/// checker, having put it there asks for that.
#[must_use]
pub fn is_wanted(line: &[u8]) -> bool {
    super::cmdline::last(line, "fsck.mode") != Some(b"skip")
}

/// The checker of file systems of this type.
#[must_use]
pub fn find(kind: &CStr) -> Option<Made> {
    let kind = kind.to_str().ok()?;
    let paths = DIRECTORIES.iter().map(|directory| Made::new(format_args!("{directory}/fsck.{kind}")));
    paths.into_iter().find(|path| rustix::fs::access(path.as_c_str(), Access::EXEC_OK).is_ok())
}

/// Runs it and waits for its end; its exit code.
fn run(program: &CStr, words: &Words<5>) -> Result<u8, Errno> {
    let parent = rustix::process::getpid();
    let child = match clone(Flags::NONE, None)? {
        Side::Child => become_checker(parent, program, words),
        Side::Parent(_, child) => child,
    };
    // Whoever started this process has the deadline.
    loop {
        match wait::reap(Which::PidFd(rustix::fd::AsFd::as_fd(&child))) {
            Ok(Some((_, End::Code(code)))) => return Ok(code),
            Ok(Some((_, End::Signal(_)))) => return Ok(BAD),
            Ok(None) => {
                let _ = super::child::wait_readable(rustix::fd::AsFd::as_fd(&child), u64::MAX);
            }
            Err(errno) => return Err(errno),
        }
    }
}

fn become_checker(parent: Pid, program: &CStr, words: &Words<5>) -> ! {
    // It must not go on when nobody waits for it any more.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if rustix::process::getppid() != Some(parent) {
        process::exit(1)
    }
    // PID 1's console never blocks; the checker's must, or lines of it get lost.
    if let Ok(file) = console::open_for_program() {
        for number in 0..3 {
            let _ = descriptor::place(rustix::fd::AsFd::as_fd(&file), number);
        }
    }
    signal::reset_all();
    let _ = signal::block(signal::Set::NONE);
    let mut environment = Words::<{ ENVIRONMENT.len() + 1 }>::new();
    for word in ENVIRONMENT {
        let _ = environment.push(word);
    }
    let _ = execute(program, words, &environment);
    // As fsck(8): it could not work.
    process::exit(8)
}
