//! What happened, kept for clients: a ring of records as they go over the wire. Whoever reads it decodes them; nobody here
//! formats anything, and nobody waits for a reader.

use crate::control::wire::{EVENT_BYTES, Event, Happening, Name};
use crate::limits;
use crate::plan::Kind;
use crate::sys::clock;

use super::ring::Ring;

/// The events.
#[derive(Debug, Default)]
pub struct News {
    ring: Option<Ring>,
    sequence: u64,
}

impl News {
    /// None yet, and nothing to keep them in where there is no memory for it.
    #[must_use]
    pub fn new() -> News {
        News { ring: Ring::new(c"events", limits::EVENTS_BYTES).ok(), sequence: 0 }
    }

    /// Those that were kept before, the last of which has this number.
    #[must_use]
    pub fn adopt(ring: Ring, sequence: u64) -> News {
        News { ring: Some(ring), sequence }
    }

    /// The number of the last.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Keeps one event of a guest, or with the empty name of the host.
    pub fn tell(&mut self, guest: &[u8], kind: Kind, what: Happening<'_>) {
        // One that cannot be kept is missed, and its number says so.
        self.sequence = self.sequence.saturating_add(1);
        let guest = Name::new(guest).unwrap_or(Name::ALL);
        let event = Event { sequence: self.sequence, guest, kind, what };
        let mut buffer = [0; EVENT_BYTES];
        if let Some(ring) = &mut self.ring {
            let _ = ring.append_whole(event.encode(&mut buffer), clock::boot_us());
        }
    }

    /// Where they are; nothing where there is no memory for them.
    #[must_use]
    pub fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }
}
