//! What people and clients are told.

use core::fmt;

use super::Driver;
use super::hooks::HookWords;
use super::memory::{Cause, limit};
use crate::config::diagnostic::{Amount, Unit};
use crate::config::key::Key;
use crate::control::wire::{Happening, Reason};
use crate::fault::{Fault, Step};
use crate::plan::{GiveUp, Guest, GuestId, Kind, Plan};
use crate::supervise::awaited::Awaited;
use crate::supervise::snapshot;
use crate::supervise::state::{Exit, Illness, Notice};
use crate::text::Text;

impl<'a> Driver<'a> {
    /// Where the config has the key that `fault` is about.
    #[must_use]
    pub fn place(&self, guest: &Guest, fault: Fault) -> Option<(&str, u32)> {
        self.plan.place_of_fault(guest, fault)
    }

    /// The value of the key that `fault` is about, where it is one word for people: a path. Otherwise the key's name.
    #[must_use]
    pub fn value(&self, guest: &Guest, fault: Fault) -> &str {
        let Some(key) = fault.step.key() else { return "" };
        if let Some(hook) = self.plan.hook_of(guest, fault) {
            return self.plan.words.get(hook.command).first().map_or("", |word| self.plan.strings.str(*word));
        }
        let text = match key {
            Key::Command => self.plan.words.get(guest.command).first().copied().unwrap_or_default(),
            Key::Root => guest.root,
            Key::Image => guest.image,
            Key::Tty => guest.tty,
            Key::Log => guest.log_to.path(),
            Key::Directory => guest.directory,
            Key::IoMax => {
                let disk = self.plan.io_max.get(guest.limits.io_max).get(fault.detail as usize);
                disk.map_or(Text::EMPTY, |disk| disk.device)
            }
            Key::Device | Key::Features => self
                .plan
                .devices
                .get(guest.devices)
                .get(fault.detail as usize)
                .map_or(Text::EMPTY, |device| device.path),
            _ => Text::EMPTY,
        };
        if text.is_empty() { key.name() } else { self.plan.strings.str(text) }
    }

    /// A guest that is no longer started again, each once.
    pub fn take_given_up(&mut self) -> Option<GuestId> {
        self.given_up.take_first()
    }

    /// Tells people and clients.
    pub(super) fn announce(&mut self, id: GuestId, notice: Notice) {
        if let Notice::GivenUp(_) = notice {
            self.given_up.add(id);
        }
        self.say(id, notice);
        let pid = self.pid(id);
        self.tell(id, |plan, guest| happening(plan, guest, pid, &notice));
    }

    pub(super) fn tell<'n>(&mut self, id: GuestId, what: impl FnOnce(&Plan, &Guest) -> Option<Happening<'n>>) {
        let Some(guest) = self.plan.guest(id) else { return };
        if let Some(what) = what(self.plan, guest) {
            self.news.tell(self.plan.strings.bytes(guest.name), guest.kind, what);
        }
    }

    pub(super) fn say(&self, id: GuestId, notice: Notice) {
        let Some(guest) = self.guest(id) else { return };
        if matches!(notice, Notice::Ended(_) | Notice::Delayed(_)) && self.lacks_terminal_still(id) {
            return;
        }
        let who = Who { kind: guest.kind, name: self.plan.strings.str(guest.name) };
        let say = |words: fmt::Arguments<'_>| self.journal.line(format_args!("{who}: {words}"));
        match notice {
            Notice::Started => say(format_args!("started, process {}", self.pid(id))),
            Notice::Ready => say(format_args!("ready")),
            Notice::Stopping => say(format_args!("stopping")),
            Notice::Ended(Exit::Failed(fault)) if fault.step == Step::ReadyInTime => {
                let awaited = Awaited { plan: self.plan, guest };
                say(format_args!("not ready in time: it still waits for {awaited}; stopping"));
            }
            Notice::Ended(Exit::Failed(fault)) if let Some(culprit) = self.culprit_of(fault) => {
                say(format_args!("not started: {culprit}"));
            }
            Notice::Ended(Exit::Failed(fault)) if fault.step.is_hook() => {
                say(format_args!("not started: {}", HookWords { driver: self, id, guest, fault }));
            }
            Notice::HookFailed(fault) => {
                say(format_args!("{}; going on", HookWords { driver: self, id, guest, fault }))
            }
            Notice::Ended(exit @ Exit::Failed(fault)) => match self.place(guest, fault) {
                Some((file, line)) => say(format_args!("{exit} ({}, {file}:{line})", self.value(guest, fault))),
                None => say(format_args!("{exit}")),
            },
            Notice::Ended(exit) => say(format_args!("{exit}")),
            Notice::Down => say(format_args!("down")),
            Notice::Failed => say(format_args!("failed, stays down")),
            Notice::GivenUp(count) => {
                let within = Amount(guest.give_up.within_ms.into(), Unit::Time);
                say(format_args!("ended {count} times within {within}: given up"));
            }
            Notice::Delayed(ms) => say(format_args!("starts again in {}.{:03} s", ms / 1000, ms % 1000)),
            Notice::Stuck => say(format_args!("its processes do not go away; still waiting for them")),
            Notice::Trouble(fault) => say(format_args!("{fault}; trying again")),
            Notice::Killed(count, Some(victim)) => {
                let cause = Cause { plan: self.plan, guest, full: victim.full };
                match count.saturating_sub(1) {
                    0 => say(format_args!("out of memory: killed {victim}: {cause}")),
                    more => say(format_args!("out of memory: killed {victim}: {cause}, and {more} more")),
                }
            }
            Notice::Killed(count, None) => say(format_args!("out of memory: killed {count} of its processes")),
            Notice::LogTrouble(fault) => {
                let (file, line) = self.place(guest, fault).unwrap_or(("live", 0));
                let (value, advice) = (self.value(guest, fault), fault.advice().unwrap_or("kept in memory meanwhile"));
                say(format_args!("could not {fault} ({value}, {file}:{line}); {advice}"));
            }
            Notice::LogWritten => say(format_args!("its log file is written again")),
            Notice::Frozen => say(format_args!("frozen")),
            Notice::Thawed => say(format_args!("thawed")),
            Notice::NotWell(count, most, fault) => {
                say(format_args!("health check failed, {count} of {most} in a row: could not {fault}"));
            }
            Notice::Well => say(format_args!("well again")),
            Notice::MainProcess => {
                say(format_args!("names another main process by MAINPID, which stays the one that inn started"));
            }
            Notice::Stranger => say(format_args!(
                "a notification came from a process that is not its own, or had ended by then: it is not heeded"
            )),
            Notice::Impossible => say(format_args!("an event came that cannot come: a bug of inn; going on")),
        }
    }
}

impl Driver<'_> {
    /// Whether it has no terminal for the same reason as at its last start. That may last, and is told once.
    fn lacks_terminal_still(&self, id: GuestId) -> bool {
        let fault = self.slot(id).and_then(|slot| slot.machine.fails_again());
        fault.is_some_and(|fault| fault.step.key() == Some(Key::Tty))
    }
}

/// A notice as clients hear of it.
pub(super) fn happening<'n>(plan: &Plan, guest: &Guest, pid: u32, notice: &'n Notice) -> Option<Happening<'n>> {
    Some(match *notice {
        Notice::Started => Happening::Started { pid },
        Notice::Ready => Happening::Ready,
        Notice::Stopping => Happening::Stopping,
        Notice::Ended(exit @ Exit::Failed(_)) => ended(exit),
        Notice::Ended(Exit::Unhealthy(illness)) => Happening::Unhealthy { illness: snapshot::illness(illness) },
        // Told when it was seen.
        Notice::Ended(_) => return None,
        Notice::Down => Happening::Down,
        Notice::Failed => Happening::Failed,
        Notice::Delayed(ms) => Happening::Delayed { ms },
        Notice::Stuck => Happening::Stuck,
        Notice::Trouble(fault) => Happening::Trouble { fault },
        Notice::Killed(count, ref victim) => Happening::Killed {
            count,
            victim: victim.as_ref().map(|victim| snapshot::victim(victim, 0)),
            limit_bytes: victim
                .as_ref()
                .and_then(|victim| limit(plan, guest, victim.full))
                .and_then(|(_, bytes)| bytes),
        },
        Notice::LogTrouble(fault) => Happening::LogTrouble { fault },
        Notice::LogWritten => Happening::LogWritten,
        Notice::Frozen => Happening::Frozen,
        Notice::Thawed => Happening::Thawed,
        Notice::NotWell(count, most, fault) => Happening::CheckFailed { count, most, fault },
        Notice::Well => Happening::Well,
        Notice::HookFailed(fault) => Happening::HookFailed { fault },
        // Errors, told to people: of this program, and of the guest's.
        Notice::Impossible | Notice::MainProcess | Notice::Stranger => return None,
        // That it has failed follows.
        Notice::GivenUp(count) => {
            let GiveUp { within_ms, then, .. } = guest.give_up;
            Happening::GivenUp { count, within_ms: within_ms.into(), then: then.word() }
        }
    })
}

pub(super) fn ended(exit: Exit) -> Happening<'static> {
    let (reason, number, fault) = match exit {
        Exit::Code(code) => (Reason::Code, code, None),
        Exit::Signal(signal) => (Reason::Signal, signal, None),
        Exit::OutOfMemory => (Reason::OutOfMemory, 0, None),
        Exit::Failed(fault) => (Reason::StartFailed, 0, Some(fault)),
        Exit::PowerOff => (Reason::PowerOff, 0, None),
        Exit::Reboot => (Reason::Reboot, 0, None),
        Exit::Unknown => (Reason::Unknown, 0, None),
        Exit::Unhealthy(_) => (Reason::Unhealthy, 0, None),
    };
    Happening::Ended { reason, number, fault }
}

/// "guest web", "service sshd".
struct Who<'a> {
    kind: Kind,
    name: &'a str,
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == Kind::Service { "service" } else { "guest" };
        write!(f, "{kind} {}", self.name)
    }
}

/// "exited with code 1".
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exited with code {code}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
            Exit::OutOfMemory => f.write_str("out of memory, killed"),
            Exit::Failed(fault) => write!(f, "not started: {fault}"),
            Exit::PowerOff => f.write_str("powered off from inside"),
            Exit::Reboot => f.write_str("rebooted from inside"),
            Exit::Unknown => f.write_str("ended, nobody knows how"),
            Exit::Unhealthy(illness) => write!(f, "not well, stopping: {illness}"),
        }
    }
}

/// "it has not said in time that it is well"
impl fmt::Display for Illness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Illness::Watchdog => "it has not said WATCHDOG=1 in time",
            Illness::Trigger => "it has said WATCHDOG=trigger",
            Illness::Check => "its health check failed too often in a row",
        })
    }
}
