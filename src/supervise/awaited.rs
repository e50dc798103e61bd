//! What a guest that is not ready waits for, in words. Pure.

use core::fmt;

use super::state::State;
use crate::config::key::Key;
use crate::plan::{Guest, Plan, Ready};

/// "READY=1 on its notification socket (/etc/inn.conf:3)"
#[derive(Clone, Copy, Debug)]
pub struct Awaited<'p> {
    /// Whose words these are.
    pub plan: &'p Plan,
    /// The guest.
    pub guest: &'p Guest,
}

impl Awaited<'_> {
    /// The path, or the program.
    fn word(&self) -> &str {
        self.plan.words.get(self.guest.ready_words).first().map_or("", |word| self.plan.strings.str(*word))
    }
}

impl fmt::Display for Awaited<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.guest.ready {
            Ready::Exec => f.write_str("its program to run")?,
            Ready::Exit => f.write_str("its program to end with 0")?,
            Ready::Fd(number) => write!(f, "a newline on descriptor {number}")?,
            Ready::Notify => f.write_str("READY=1 on its notification socket")?,
            Ready::Port(number) => write!(f, "something to listen on port {number}")?,
            Ready::File => write!(f, "{} to be there", self.word())?,
            Ready::Command => write!(f, "{} to exit with 0", self.word())?,
        }
        let place = self.plan.place_of(self.guest, Key::Ready);
        place.map_or(Ok(()), |(file, line)| write!(f, " ({file}:{line})"))
    }
}

/// Why another has waited for this guest in vain: "store is not ready: it waits for …", "store is down".
#[derive(Clone, Copy, Debug)]
pub struct Culprit<'p> {
    /// Whose words these are.
    pub plan: &'p Plan,
    /// The guest that is not ready.
    pub guest: &'p Guest,
    /// What it is doing.
    pub state: State,
}

impl fmt::Display for Culprit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Culprit { plan, guest, state } = *self;
        let name = plan.strings.str(guest.name);
        match state {
            State::Down => write!(f, "{name} is down"),
            State::Failed => write!(f, "{name} has failed"),
            _ if guest.ready == Ready::Exec => write!(f, "{name} is not up"),
            _ => write!(f, "{name} is not ready: it waits for {}", Awaited { plan, guest }),
        }
    }
}
