//! How `inn init` was asked to do its work: options with the meanings that tini, dumb-init and catatonit give them, and the
//! variables of the environment that the first two read.

use core::ffi::CStr;

use crate::cli::verb::Opt;
use crate::plan::signal_number;
use crate::sys::process::Arguments;
use crate::text;

/// In [`Orders::rewritten`]: the signal is not passed on.
const DROPPED: u8 = u8::MAX;

/// Names that a container calls its init by, in whose place this program may be.
const NAMES: &str = "tini\0tini-static\0docker-init\0catatonit\0dumb-init";

/// Whether a program called `path` is one of those, and which.
#[must_use]
pub fn name_of_init(path: &CStr) -> Option<&'static str> {
    let name = path.to_bytes().rsplit(|byte| *byte == b'/').next()?;
    text::words(NAMES).find(|known| known.as_bytes() == name)
}

/// Signals of job control: whoever gets one is to stop.
pub const STOPPING: [u8; 3] = [libc::SIGTSTP as u8, libc::SIGTTIN as u8, libc::SIGTTOU as u8];

/// What it is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Talk {
    /// Warnings.
    Warnings = 1,
    /// The command's start and end.
    Command = 2,
    /// Signals, and everything that is reaped.
    All = 3,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders {
    /// Orphans come to this process although it is not PID 1.
    pub subreaper: bool,
    /// Signals go to the command's process group.
    pub group: bool,
    /// The command has a session of its own.
    pub setsid: bool,
    /// This process stays until all that it has adopted is gone.
    pub wait_all: bool,
    /// There is no command.
    pub pause: bool,
    /// What is reaped is told.
    pub warn: bool,
    /// The license is all that is asked for.
    pub license: bool,
    /// The signal that comes when this process's parent ends; 0 for none.
    pub parent_death: u8,
    /// How much is said beyond warnings.
    verbose: u8,
    /// Exit codes that become 0: bit N of word N / 64.
    forgiven: [u64; 4],
    /// For signal N, what is passed on, at N - 1; 0 for that signal itself.
    rewritten: [u8; 64],
}

impl Default for Orders {
    fn default() -> Orders {
        Orders {
            subreaper: false,
            group: false,
            setsid: false,
            wait_all: false,
            pause: false,
            warn: false,
            license: false,
            parent_death: 0,
            verbose: Talk::Warnings as u8,
            forgiven: [0; 4],
            rewritten: [0; 64],
        }
    }
}

impl Orders {
    /// Takes an option without a value. Whether it is one of `init`.
    pub fn set(&mut self, option: Opt) -> bool {
        let flag = match option {
            Opt::Subreaper => &mut self.subreaper,
            Opt::Group => &mut self.group,
            Opt::Setsid => &mut self.setsid,
            Opt::WaitAll => &mut self.wait_all,
            Opt::Pause => &mut self.pause,
            Opt::Warn => &mut self.warn,
            Opt::License => &mut self.license,
            Opt::Verbose => {
                self.verbose = self.verbose.saturating_add(1);
                return true;
            }
            Opt::SingleChild => {
                (self.group, self.setsid) = (false, false);
                return true;
            }
            _ => return false,
        };
        *flag = true;
        true
    }

    /// Takes an option with its value; nothing where that is none.
    #[must_use]
    pub fn set_value(&mut self, option: Opt, value: &[u8]) -> Option<()> {
        match option {
            Opt::ParentDeath => self.parent_death = signal(value)?,
            Opt::ExitOk => {
                let code: u8 = text::number(value)?;
                *self.forgiven.get_mut(usize::from(code / 64))? |= 1 << (code % 64);
            }
            _ => {
                let colon = value.iter().position(|byte| *byte == b':')?;
                let (from, to) = (signal(value.get(..colon)?)?, value.get(colon + 1..)?);
                *self.rewritten.get_mut(usize::from(from) - 1)? = if to == b"0" { DROPPED } else { signal(to)? };
            }
        }
        Some(())
    }

    /// Takes what the environment asks for.
    pub fn read_environment(&mut self, arguments: &Arguments) {
        self.subreaper |= arguments.variable(b"TINI_SUBREAPER").is_some();
        self.group |= arguments.variable(b"TINI_KILL_PROCESS_GROUP").is_some();
        if let Some(level) = arguments.variable(b"TINI_VERBOSITY").and_then(|value| text::number(value.to_bytes())) {
            self.verbose = level;
        }
        match arguments.variable(b"DUMB_INIT_SETSID").map(|value| value.to_bytes()) {
            Some(b"0") => self.setsid = false,
            Some(b"1") => self.setsid = true,
            _ => {}
        }
        if arguments.variable(b"DUMB_INIT_DEBUG").is_some_and(|value| value == c"1") {
            self.verbose = Talk::All as u8;
        }
    }

    /// Whether no command is to be run.
    #[must_use]
    pub fn needs_no_command(&self) -> bool {
        self.pause || self.license
    }

    /// Whether `talk` is to be told.
    #[must_use]
    pub fn tells(&self, talk: Talk) -> bool {
        self.verbose >= talk as u8
    }

    /// The exit code for a command that exited with `code`.
    #[must_use]
    pub fn exit_code(&self, code: u8) -> u8 {
        let word = self.forgiven.get(usize::from(code / 64)).copied().unwrap_or_default();
        if word >> (code % 64) & 1 == 1 { 0 } else { code }
    }

    /// What is passed on for `signal` (1 to 64); nothing where it is dropped.
    #[must_use]
    pub fn passed_on(&self, signal: u8) -> Option<u8> {
        let rewritten = self.rewritten.get(usize::from(signal).saturating_sub(1)).copied().unwrap_or_default();
        match rewritten {
            DROPPED => None,
            // Nobody outside of a session could let a group in it go on, so the kernel keeps the others from it.
            0 if self.setsid && STOPPING.contains(&signal) => Some(libc::SIGSTOP as u8),
            0 => Some(signal),
            other => Some(other),
        }
    }
}

/// "SIGTERM", "TERM", "15"
fn signal(word: &[u8]) -> Option<u8> {
    if let Some(number) = text::number(word) {
        return Some(number).filter(|number| (1..=64).contains(number));
    }
    let mut name = heapless::Vec::<u8, 16>::new();
    let rest = word.strip_prefix(b"SIG").unwrap_or(word);
    name.extend_from_slice(b"SIG").and_then(|()| name.extend_from_slice(rest)).ok()?;
    signal_number(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[(Opt, &str)]) -> Option<Orders> {
        let mut orders = Orders::default();
        for (option, value) in values {
            orders.set_value(*option, value.as_bytes())?;
        }
        Some(orders)
    }

    #[test]
    fn a_signal_is_rewritten_by_number_or_name_or_dropped() {
        let orders = with(&[
            (Opt::Rewrite, "15:3"),
            (Opt::Rewrite, "INT:SIGRTMIN+3"),
            (Opt::Rewrite, "64:1"),
            (Opt::Rewrite, "SIGHUP:0"),
        ]);
        let orders = orders.unwrap();
        for (signal, passed_on) in [(15, Some(3)), (2, Some(37)), (64, Some(1)), (1, None), (10, Some(10))] {
            assert_eq!(orders.passed_on(signal), passed_on, "{signal}");
        }
    }

    #[test]
    fn what_is_no_signal_and_no_exit_code_is_refused() {
        for value in ["", ":", "15", "15:", ":3", "0:3", "65:3", "15:65", "15:3:4", "NONE:1", "-1:3", "15:SIG"] {
            assert_eq!(with(&[(Opt::Rewrite, value)]), None, "{value}");
        }
        for value in ["256", "-1", "x", ""] {
            assert_eq!(with(&[(Opt::ExitOk, value)]), None, "{value}");
        }
        for value in ["0", "SIGNOTHING", "SIGSIGTERM", ""] {
            assert_eq!(with(&[(Opt::ParentDeath, value)]), None, "{value}");
        }
    }

    #[test]
    fn codes_that_are_forgiven_become_0_and_no_other() {
        for code in 0..=255u8 {
            let orders = with(&[(Opt::ExitOk, &std::format!("{code}"))]).unwrap();
            assert!((1..=255).all(|other| orders.exit_code(other) == if other == code { 0 } else { other }));
        }
    }

    #[test]
    fn in_a_session_of_its_own_a_stop_cannot_be_refused_unless_it_is_rewritten() {
        let mut orders = with(&[(Opt::Rewrite, "TTIN:TERM")]).unwrap();
        assert_eq!(orders.passed_on(libc::SIGTSTP as u8), Some(libc::SIGTSTP as u8));
        assert!(orders.set(Opt::Setsid));
        assert_eq!(orders.passed_on(libc::SIGTSTP as u8), Some(libc::SIGSTOP as u8));
        assert_eq!(orders.passed_on(libc::SIGTTIN as u8), Some(libc::SIGTERM as u8));
        assert!(orders.set(Opt::SingleChild));
        assert_eq!(orders.passed_on(libc::SIGTSTP as u8), Some(libc::SIGTSTP as u8));
    }
}
