//! What is known of a guest besides its state, as it is left to the program that the supervisor becomes.

use super::{Activity, Health, UNKNOWN};
use crate::fault::Fault;
use crate::supervise::kept::{Get, Put};
use crate::supervise::notify;

impl Health {
    /// Puts all of it.
    pub fn keep(&self, put: &mut Put<'_>) {
        let activity = match self.activity {
            Activity::None => 0,
            Activity::Reloading => 1,
            Activity::Stopping => 2,
        };
        put.number(activity);
        let Health { is_told_of_main_process, is_told_of_stranger, is_void, is_looking, is_late, is_faulty, .. } =
            *self;
        put.flags([is_told_of_main_process, is_told_of_stranger, is_void, is_looking, is_late, is_faulty]);
        let Health { watchdog_ms, beat_due_ms, look_due_ms, begun_ms, pause_ms, looked_ms, .. } = *self;
        [watchdog_ms, beat_due_ms, look_due_ms, begun_ms, pause_ms, looked_ms, self.failures.into()]
            .into_iter()
            .for_each(|number| put.number(number));
        put.text(&self.fault.encode());
        put.text(self.said.as_bytes());
    }

    /// Gets it again.
    #[must_use]
    pub fn recall(get: &mut Get<'_>) -> Health {
        let mut health = Health::new();
        health.activity = match get.number() {
            1 => Activity::Reloading,
            2 => Activity::Stopping,
            _ => Activity::None,
        };
        let [main_process, stranger, is_void, is_looking, is_late, is_faulty] = get.flags();
        (health.is_told_of_main_process, health.is_told_of_stranger) = (main_process, stranger);
        (health.is_void, health.is_looking) = (is_void, is_looking);
        (health.is_late, health.is_faulty) = (is_late, is_faulty);
        let mut next = || get.number();
        (health.watchdog_ms, health.beat_due_ms) = (next(), next());
        (health.look_due_ms, health.begun_ms) = (next(), next());
        (health.pause_ms, health.looked_ms) = (next(), next());
        health.failures = next() as u16;
        health.fault = Fault::decode(get.text()).unwrap_or(UNKNOWN);
        notify::keep(&mut health.said, get.text());
        health
    }

    /// The child that looked is gone, and nobody knows what it found: it is looked once more.
    pub fn look_once_more(&mut self, now_ms: u64) {
        (self.is_looking, self.is_late) = (false, false);
        self.postpone(0, now_ms.max(1));
    }

    /// What it says to be well may have been said to nobody for a moment: it has all of its time again.
    pub fn beat_again(&mut self, now_ms: u64) {
        if self.beat_due_ms != 0 {
            self.beat(now_ms);
        }
    }
}
