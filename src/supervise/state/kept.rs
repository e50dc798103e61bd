//! A guest's life as it is left to the program that the supervisor becomes: see [`crate::supervise::kept`].

use super::{Exit, Illness, Machine, State, Then};
use crate::fault::Fault;
use crate::supervise::kept::{Get, Put};

impl Machine {
    /// Puts all of it.
    pub fn keep(&self, put: &mut Put<'_>) {
        let (state, step) = state_number(self.state);
        put.number(state | step << 8 | then_number(self.then) << 16);
        let Machine { host_going_down, stuck, troubled, born, is_made, .. } = *self;
        put.flags([host_going_down, stuck, troubled, born, is_made]);
        put.number(self.exit.map_or(0, exit_number));
        put.number(self.last_exit.map_or(0, exit_number));
        let Machine { ends_since_ms, delay_ms, since_ms, missed_since_ms, up_ms, ending_ms, deadline_ms, .. } = *self;
        let restarts = u64::from(self.restarts) | u64::from(self.ends) << 32;
        [restarts, ends_since_ms, delay_ms, since_ms, missed_since_ms, up_ms, ending_ms, deadline_ms]
            .into_iter()
            .for_each(|n| put.number(n));
    }

    /// Gets it again; nothing where it is no life that this program knows.
    #[must_use]
    pub fn recall(get: &mut Get<'_>) -> Option<Machine> {
        let what = get.number();
        let state = state_of(what as u8, (what >> 8) as u8)?;
        let then = [Then::Policy, Then::Rest, Then::Again].into_iter().find(|then| then_number(*then) == what >> 16)?;
        let [host_going_down, stuck, troubled, born, is_made] = get.flags();
        let (exit, last_exit) = (exit_of(get.number()), exit_of(get.number()));
        let restarts = get.number();
        let mut next = || get.number();
        Some(Machine {
            state,
            then,
            host_going_down,
            stuck,
            troubled,
            born,
            is_made,
            exit,
            last_exit,
            restarts: restarts as u32,
            ends: (restarts >> 32) as u16,
            ends_since_ms: next(),
            delay_ms: next(),
            since_ms: next(),
            missed_since_ms: next(),
            up_ms: next(),
            ending_ms: next(),
            deadline_ms: next(),
        })
    }

    /// How far its start has come is not known: all of it goes, and starts again. Nobody asked for that, so its ends count on.
    /// What follows is to kill it.
    pub fn begin_again(&mut self, now_ms: u64) {
        let _ = self.kill(Then::Again, now_ms);
    }
}

/// Never changed: another version reads them.
fn state_number(state: State) -> (u64, u64) {
    match state {
        State::Down => (1, 0),
        State::Waiting => (2, 0),
        State::Starting => (3, 0),
        State::Running => (4, 0),
        State::Ready => (5, 0),
        State::Stopping { step } => (6, step.into()),
        State::Killing => (7, 0),
        State::StopHook => (8, 0),
        State::Clearing => (9, 0),
        State::DestroyHook => (10, 0),
        State::Delayed => (11, 0),
        State::Failed => (12, 0),
    }
}

fn state_of(number: u8, step: u8) -> Option<State> {
    Some(match number {
        1 => State::Down,
        2 => State::Waiting,
        3 => State::Starting,
        4 => State::Running,
        5 => State::Ready,
        6 => State::Stopping { step },
        7 => State::Killing,
        8 => State::StopHook,
        9 => State::Clearing,
        10 => State::DestroyHook,
        11 => State::Delayed,
        12 => State::Failed,
        _ => return None,
    })
}

fn then_number(then: Then) -> u64 {
    match then {
        Then::Policy => 0,
        Then::Rest => 1,
        Then::Again => 2,
    }
}

/// What it is in the lowest byte, and what belongs to it in the others.
fn exit_number(exit: Exit) -> u64 {
    match exit {
        Exit::Code(code) => 1 | u64::from(code) << 8,
        Exit::Signal(signal) => 2 | u64::from(signal) << 8,
        Exit::OutOfMemory => 3,
        Exit::Failed(fault) => 4 | u64::from_le_bytes(with_room(fault.encode())) << 8,
        Exit::PowerOff => 5,
        Exit::Reboot => 6,
        Exit::Unknown => 7,
        Exit::Unhealthy(Illness::Watchdog) => 8,
        Exit::Unhealthy(Illness::Trigger) => 8 | 1 << 8,
        Exit::Unhealthy(Illness::Check) => 8 | 2 << 8,
    }
}

fn with_room(bytes: [u8; Fault::BYTES]) -> [u8; 8] {
    let [a, b, c, d, e, f, g] = bytes;
    [a, b, c, d, e, f, g, 0]
}

fn exit_of(number: u64) -> Option<Exit> {
    let [what, rest @ ..] = number.to_le_bytes();
    Some(match (what, rest[0]) {
        (0, _) => return None,
        (1, code) => Exit::Code(code),
        (2, signal) => Exit::Signal(signal),
        (3, _) => Exit::OutOfMemory,
        (4, _) => Fault::decode(&rest).map_or(Exit::Unknown, Exit::Failed),
        (5, _) => Exit::PowerOff,
        (6, _) => Exit::Reboot,
        (8, 0) => Exit::Unhealthy(Illness::Watchdog),
        (8, 1) => Exit::Unhealthy(Illness::Trigger),
        (8, _) => Exit::Unhealthy(Illness::Check),
        _ => Exit::Unknown,
    })
}
