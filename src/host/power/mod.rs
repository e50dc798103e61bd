//! How a host goes down.
//!
//! | file | noun |
//! | --- | --- |
//! | `processes` | every process: asked to end, killed, told of where it stays |
//! | `release` | file systems and what lies below them |

pub mod processes;
mod release;

use rustix::system::RebootCommand;

use super::console::{Console, Level};
use super::wait::Waiter;
use super::watchdog::Watchdog;
use crate::fault::ErrnoWords;
use crate::limits;
use crate::sys::{fatal, process, signal};

/// What the machine is to do when everything is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Switch itself off.
    PowerOff,
    /// Start again.
    Reboot,
    /// Stand still.
    Halt,
    /// Go on as the init of another root: see [`super::root`].
    SwitchRoot,
    /// Go on with the kernel that kexec(8) has loaded; start again where there is none.
    Kexec,
}

/// glibc's SIGRTMIN, which the signals of systemd count from.
const RTMIN: u8 = 34;

/// What other programs' `poweroff`, `reboot` and `halt` send to PID 1: of busybox (USR1, USR2, TERM), of sysvinit (PWR, by
/// who watches the mains; INT is Ctrl-Alt-Del) and of systemd (RTMIN+3 and on; from +13 on without stopping services first).
/// Where they conflict busybox is right, for it is what small images have: systemd would execute itself anew on TERM, and
/// look for its bus on USR1. sysvinit's own `halt` and `reboot` write to a pipe, `/dev/initctl`, which there is none of
/// here; with `-f` they ask the kernel, as those of all three do. systemd's soft reboot is a whole one: more starts anew than was
/// asked for, and nothing less.
const SIGNALS: [(u8, Wanted); 15] = [
    (libc::SIGUSR1 as u8, Wanted::Halt),
    (libc::SIGUSR2 as u8, Wanted::PowerOff),
    (libc::SIGTERM as u8, Wanted::Reboot),
    (libc::SIGINT as u8, Wanted::Reboot),
    (libc::SIGPWR as u8, Wanted::PowerOff),
    (RTMIN + 3, Wanted::Halt),
    (RTMIN + 4, Wanted::PowerOff),
    (RTMIN + 5, Wanted::Reboot),
    (RTMIN + 6, Wanted::Kexec),
    (RTMIN + 7, Wanted::Reboot),
    (RTMIN + 13, Wanted::Halt),
    (RTMIN + 14, Wanted::PowerOff),
    (RTMIN + 15, Wanted::Reboot),
    (RTMIN + 16, Wanted::Kexec),
    (RTMIN + 17, Wanted::Reboot),
];

impl Wanted {
    /// What signal number `signal` asks PID 1 for.
    #[must_use]
    pub fn from_signal(signal: u8) -> Option<Wanted> {
        SIGNALS.iter().find(|(number, _)| *number == signal).map(|(_, wanted)| *wanted)
    }

    /// The verb for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Wanted::PowerOff => "poweroff",
            Wanted::Reboot => "reboot",
            Wanted::Halt => "halt",
            Wanted::SwitchRoot => "switch-root",
            Wanted::Kexec => "kexec",
        }
    }

    /// Whether `signal` asks for a shell on the console, as systemd's for its rescue and emergency modes do. What runs goes on.
    #[must_use]
    pub fn is_for_shell(signal: u8) -> bool {
        (RTMIN + 1..=RTMIN + 2).contains(&signal)
    }

    /// Whether `signal` asks for it without stopping guests first: they are killed.
    #[must_use]
    pub fn is_at_once(signal: u8) -> bool {
        AT_ONCE.contains(&signal)
    }

    /// As a number, from 1 up.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Wanted::PowerOff => 1,
            Wanted::Reboot => 2,
            Wanted::Halt => 3,
            Wanted::SwitchRoot => 4,
            Wanted::Kexec => 5,
        }
    }

    /// Back from such a number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Wanted> {
        [Wanted::PowerOff, Wanted::Reboot, Wanted::Halt, Wanted::SwitchRoot, Wanted::Kexec]
            .into_iter()
            .find(|wanted| wanted.number() == number)
    }

    /// The signals that ask for something.
    #[must_use]
    pub fn signals() -> signal::Set {
        SIGNALS.iter().fold(signal::Set::NONE, |set, (number, _)| set.with(*number))
    }
}

/// What a second demand, and a signal for an end at once, do not wait for.
const AT_ONCE: core::ops::RangeInclusive<u8> = RTMIN + 13..=RTMIN + 17;

/// When each part of going down is over, in [`crate::sys::clock::now_ms`]. Together they never take longer than
/// `shutdown-timeout`: what is left of the time when a part is over goes to those that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Guests that have not stopped by then are killed.
    pub kill_at_ms: u64,
    /// Guests that are not gone by then are left.
    pub give_up_at_ms: u64,
    /// Other processes that are not gone by then are left.
    pub processes_by_ms: u64,
    /// File systems that are not unmounted by then are left, and the machine let go of.
    pub over_at_ms: u64,
}

impl Bounds {
    /// For `time_ms`, from `now_ms` on.
    #[must_use]
    pub fn new(now_ms: u64, time_ms: u64) -> Bounds {
        let over_at_ms = now_ms.saturating_add(time_ms);
        // The host's own end, at most; a third of it for each part.
        let last_ms = (time_ms / 2).min(limits::FINAL_MS);
        Bounds {
            kill_at_ms: over_at_ms - last_ms,
            give_up_at_ms: over_at_ms - last_ms / 3 * 2,
            processes_by_ms: over_at_ms - last_ms / 3,
            over_at_ms,
        }
    }
}

/// Ends every process but this one, the guests being down already. Only for PID 1.
pub fn end_processes(console: &Console, bounds: &Bounds, watchdog: &mut Watchdog) {
    processes::end(console, &mut Waiter { watchdog }, bounds.processes_by_ms);
}

/// Takes the host down, the guests being down already, or as far as they go: ends every process, writes the file systems back
/// and unmounts them, and lets go of the machine, all within `bounds`. The watchdog is stopped where the machine is to stay off,
/// and left running where it is to start again, so that a reboot that hangs is one all the same. Only for PID 1.
pub fn finish(console: &Console, wanted: Wanted, bounds: &Bounds, watchdog: &mut Watchdog) -> ! {
    if !rustix::process::getpid().is_init() {
        // A mistake of the caller's must not take a whole machine with it.
        process::exit(70);
    }
    // From here on nothing interrupts; a second Ctrl-Alt-Del changes nothing.
    let _ = signal::block(fatal::all_others());
    let mut waiter = Waiter { watchdog };
    processes::end(console, &mut waiter, bounds.processes_by_ms);
    release::all(console, &mut waiter, bounds.over_at_ms);
    let command = match wanted {
        Wanted::PowerOff => RebootCommand::PowerOff,
        // One that has come to nothing starts again.
        Wanted::Reboot | Wanted::SwitchRoot => RebootCommand::Restart,
        Wanted::Halt => RebootCommand::Halt,
        Wanted::Kexec => RebootCommand::Kexec,
    };
    if matches!(wanted, Wanted::Reboot | Wanted::Kexec) {
        watchdog.leave();
    } else {
        watchdog.stop();
    }
    let mut outcome = rustix::system::reboot(command);
    if wanted == Wanted::Kexec {
        console.say(Level::Warning, format_args!("no other kernel is loaded: the machine starts again"));
        outcome = rustix::system::reboot(RebootCommand::Restart);
    }
    if let Err(error) = outcome {
        let words = ErrnoWords(error.raw_os_error() as u16);
        console.say(Level::Error, format_args!("reboot: {words}; everything is down, switch it off"));
    }
    loop {
        // No descriptor, no time-out: for ever.
        let _ = rustix::event::poll(&mut [], None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_programs_power_signals_are_understood() {
        let cases = [
            ("busybox poweroff", libc::SIGUSR2 as u8, Some(Wanted::PowerOff)),
            ("busybox halt", libc::SIGUSR1 as u8, Some(Wanted::Halt)),
            ("busybox reboot", libc::SIGTERM as u8, Some(Wanted::Reboot)),
            ("Ctrl-Alt-Del", libc::SIGINT as u8, Some(Wanted::Reboot)),
            ("power failure", libc::SIGPWR as u8, Some(Wanted::PowerOff)),
            ("systemctl halt", 37, Some(Wanted::Halt)),
            ("systemctl poweroff", 38, Some(Wanted::PowerOff)),
            ("systemctl reboot", 39, Some(Wanted::Reboot)),
            ("systemctl kexec", 40, Some(Wanted::Kexec)),
            ("systemctl soft-reboot", 41, Some(Wanted::Reboot)),
            ("systemctl rescue", 35, None),
            ("a child's end", libc::SIGCHLD as u8, None),
            ("reload", libc::SIGHUP as u8, None),
            ("nothing", 0, None),
        ];
        for (who, signal, wanted) in cases {
            assert_eq!(Wanted::from_signal(signal), wanted, "{who}");
        }
    }

    #[test]
    fn going_down_takes_no_longer_than_it_may() {
        for time_ms in [1_000, 10_000, 90_000, 3_600_000] {
            let bounds = Bounds::new(5, time_ms);
            assert_eq!(bounds.over_at_ms, time_ms + 5);
            assert!(bounds.kill_at_ms >= 5 + time_ms / 2);
            assert!(bounds.kill_at_ms < bounds.give_up_at_ms && bounds.give_up_at_ms < bounds.processes_by_ms);
            assert!(bounds.processes_by_ms < bounds.over_at_ms);
        }
    }

    #[test]
    fn a_signal_for_an_end_at_once_is_one() {
        assert!((47..=51).all(Wanted::is_at_once));
        assert!(Wanted::is_for_shell(35) && Wanted::is_for_shell(36) && !Wanted::is_for_shell(37));
        assert!(!Wanted::is_at_once(39) && !Wanted::is_at_once(libc::SIGTERM as u8));
    }
}
