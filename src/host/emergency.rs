//! The shell on the console when nothing else is left: no config, a broken one, or `inn.emergency`.
//!
//! PID 1 goes on with its duties meanwhile: the event loop watches [`Emergency::pidfd`] and [`Emergency::due_ms`].

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, CWD};
use rustix::time::Timespec;

use super::console::{self, Console, Level};
use super::files;
use crate::fault::ErrnoWords;
use crate::limits;
use crate::plan::Plan;
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::exec::{Words, execute};
use crate::sys::wait::{self, End, Which};
use crate::sys::{Errno, clock, descriptor, process, rlimit, signal, terminal};

/// Words of the shell's command, with the null pointer behind.
const COMMAND: usize = limits::COMMAND_WORDS + 1;

/// The exit code of who could not execute it; of a shell that was used too, after a last command that was not there.
const NOT_THERE: u8 = 127;

/// Where an image has its shell, and what it is called as.
const SHELLS: [(&CStr, &[&CStr]); 5] = [
    (c"/bin/sh", &[c"sh"]),
    (c"/bin/ash", &[c"ash"]),
    (c"/bin/bash", &[c"bash"]),
    (c"/bin/busybox", &[c"busybox", c"sh"]),
    (c"/usr/bin/busybox", &[c"busybox", c"sh"]),
];

/// What the shell finds in its environment. The search path has every place that any image uses.
pub const ENVIRONMENT: [&CStr; 3] =
    [c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", c"HOME=/", c"TERM=linux"];

/// The emergency shell: running, or to be offered again.
#[derive(Debug)]
pub struct Emergency {
    shell: Option<OwnedFd>,
    pid: u32,
    started_ms: u64,
    due_ms: Option<u64>,
    delay_ms: u64,
    /// Whether whoever had it has left it.
    is_left: bool,
    /// Whether there was anything to be left: nobody leaves a program that could not be executed.
    is_there: bool,
    /// Whether leaving it goes on with the boot.
    goes_on: bool,
}

impl Emergency {
    /// Where leaving it `goes_on` with the boot, that is said, and [`Emergency::leads_on`] tells when.
    ///
    /// Starts the shell: the `emergency` command of `plan`, or the first shell that is found. With no shell in the image
    /// that is said, and looked for again later: something may bring one.
    #[must_use]
    pub fn start(console: &Console, plan: Option<&Plan>, goes_on: bool) -> Emergency {
        let exit = if goes_on { "`exit` goes on with the boot, " } else { "" };
        console.say(
            Level::Error,
            format_args!("emergency shell on the console; {exit}`kill -TERM 1` reboots, `kill -USR2 1` switches off"),
        );
        let delay_ms = limits::EMERGENCY_DELAY_MS.0;
        let mut emergency = Emergency {
            shell: None,
            pid: 0,
            started_ms: 0,
            due_ms: None,
            delay_ms,
            is_left: false,
            is_there: true,
            goes_on,
        };
        emergency.offer(console, plan);
        emergency
    }

    /// The one that this process, or the program before it, has started as process `pid`; it is offered again where that has
    /// ended.
    #[must_use]
    pub fn adopt(pid: u32, goes_on: bool) -> Emergency {
        let shell = rustix::process::Pid::from_raw(pid as i32).and_then(wait::child);
        let due_ms = shell.is_none().then(clock::now_ms);
        let delay_ms = limits::EMERGENCY_DELAY_MS.0;
        Emergency { shell, pid, started_ms: clock::now_ms(), due_ms, delay_ms, is_left: false, is_there: true, goes_on }
    }

    /// Whether leaving it goes on with the boot.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// The shell's process; 0 while none runs.
    #[must_use]
    pub fn pid(&self) -> u32 {
        if self.shell.is_some() { self.pid } else { 0 }
    }

    /// Readable when the shell has ended: then [`Emergency::ended`]. None while none runs.
    #[must_use]
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.shell.as_ref().map(AsFd::as_fd)
    }

    /// When [`Emergency::offer`] is due, in [`clock::now_ms`]; none while the shell runs.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Reaps the shell if it has ended, and has it offered again after a while: a longer one each time, unless it was used.
    pub fn ended(&mut self, console: &Console) {
        let Some(pidfd) = &self.shell else { return };
        let mut is_there = true;
        match wait::reap(Which::PidFd(pidfd.as_fd())) {
            Ok(None) => return,
            Ok(Some((_, End::Code(code)))) => {
                is_there = code != NOT_THERE;
                console.say(Level::Info, format_args!("emergency shell ended with code {code}"));
            }
            Ok(Some((_, End::Signal(signal)))) => {
                console.say(Level::Info, format_args!("emergency shell ended by signal {signal}"));
            }
            // Somebody else reaped it.
            Err(_) => {}
        }
        self.shell = None;
        self.is_left = true;
        let used_ms = clock::now_ms().saturating_sub(self.started_ms);
        is_there |= used_ms >= limits::EMERGENCY_DELAY_MS.0;
        self.is_there = is_there;
        if used_ms > limits::EMERGENCY_DELAY_MS.1 {
            self.delay_ms = limits::EMERGENCY_DELAY_MS.0;
        }
        self.later();
    }

    /// Whether it is time to go on with the boot. A shell that ends at once does not have the host boot without end: then that waits
    /// for the time at which another would be offered.
    #[must_use]
    pub fn leads_on(&self, now_ms: u64) -> bool {
        let was_used = now_ms.saturating_sub(self.started_ms) >= limits::EMERGENCY_DELAY_MS.0;
        self.goes_on && self.is_left && self.is_there && (was_used || self.due_ms.is_some_and(|due| due <= now_ms))
    }

    /// Whether whoever had it has left it.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.is_left
    }

    /// Starts the shell, if none runs.
    pub fn offer(&mut self, console: &Console, plan: Option<&Plan>) {
        if self.shell.is_some() {
            return;
        }
        self.due_ms = None;
        self.is_left = false;
        self.started_ms = clock::now_ms();
        let mut arguments = Words::new();
        let Some(path) = command(plan, &mut arguments) else {
            if self.delay_ms == limits::EMERGENCY_DELAY_MS.0 {
                console.say(
                    Level::Error,
                    format_args!("no emergency shell: this image has no /bin/sh; Ctrl-Alt-Del reboots"),
                );
            }
            return self.later();
        };
        match clone(Flags::NONE, None) {
            Ok(Side::Child) => become_shell(console, path, &arguments),
            Ok(Side::Parent(pid, pidfd)) => {
                (self.shell, self.pid) = (Some(pidfd), pid.as_raw_nonzero().get() as u32);
            }
            Err(error) => {
                console.say(Level::Error, format_args!("emergency shell: clone3: {}", words(error)));
                self.later();
            }
        }
    }

    fn later(&mut self) {
        self.due_ms = Some(clock::now_ms().saturating_add(self.delay_ms));
        self.delay_ms = self.delay_ms.saturating_mul(2).min(limits::EMERGENCY_DELAY_MS.1);
    }
}

/// The program to run; its words go to `arguments`.
fn command<'a>(plan: Option<&'a Plan>, arguments: &mut Words<'a, COMMAND>) -> Option<&'a CStr> {
    let configured = plan
        .into_iter()
        .flat_map(|plan| plan.words.get(plan.host.emergency).iter().map(|word| plan.strings.c_str(*word)));
    let mut path = None;
    for word in configured {
        path = path.or(Some(word));
        // The plan keeps no more words than there is room for.
        let _ = arguments.push(word);
    }
    path.or_else(|| {
        let (path, words) = SHELLS.iter().find(|(path, _)| rustix::fs::access(*path, Access::EXEC_OK).is_ok())?;
        for word in *words {
            let _ = arguments.push(word);
        }
        Some(path)
    })
}

/// The child's side: a session of its own, with the console as its terminal.
fn become_shell(console: &Console, path: &CStr, arguments: &Words<COMMAND>) -> ! {
    let terminal = take_console();
    // What PID 1 is protected from, its children are not.
    let _ = files::write_setting(CWD, c"/proc/self/oom_score_adj", b"0");
    let _ = rlimit::set_open_files(None);
    signal::reset_all();
    let mut environment = Words::<{ ENVIRONMENT.len() + 1 }>::new();
    for word in ENVIRONMENT {
        let _ = environment.push(word);
    }
    let failed = terminal.and_then(|()| signal::block(signal::Set::NONE)).err();
    let error = failed.unwrap_or_else(|| execute(path, arguments, &environment));
    let path = path.to_str().unwrap_or("?");
    console.say(Level::Error, format_args!("emergency shell {path}: {}", words(error)));
    process::exit(NOT_THERE)
}

fn take_console() -> Result<(), Errno> {
    rustix::process::setsid()?;
    // Opened anew: PID 1's own console never blocks, a shell's must.
    let file = console::open_for_program()?;
    let_out(file.as_fd());
    // A console has one owner: a login there loses it, and has it again when this shell is left.
    let file = terminal::hang_up(file.as_fd()).and_then(|()| console::open_for_program()).unwrap_or(file);
    // Without job control a shell is still a shell.
    let _ = terminal::control(file.as_fd());
    for number in 0..3 {
        descriptor::place(file.as_fd(), number)?;
    }
    Ok(())
}

/// Waits until what was said is out, for a hang-up takes back what is still on its way over a slow line. One that stands still is
/// not waited for long: so many looks, and no moment by the clock, which may leap.
fn let_out(terminal: BorrowedFd<'_>) {
    let pause = Timespec { tv_sec: 0, tv_nsec: (limits::CONSOLE_LOOK_MS * 1_000_000) as _ };
    for _ in 0..limits::CONSOLE_LOOKS {
        match terminal::unsent(terminal) {
            Ok(1..) => {
                let _ = rustix::thread::nanosleep(&pause);
            }
            // What the device itself has takes no longer than that.
            Ok(_) => {
                let _ = rustix::termios::tcdrain(terminal);
                return;
            }
            Err(_) => return,
        }
    }
}

fn words(error: Errno) -> ErrnoWords {
    ErrnoWords(error.raw_os_error() as u16)
}
