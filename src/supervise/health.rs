//! How a guest is besides its state: what it says of itself, and whether it says that it is well in time. Pure.

use super::notify::{self, Notification, Said};
use super::state::Illness;

/// What a guest that is up says that it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// Nothing in particular.
    #[default]
    None,
    /// `RELOADING=1`: it reads its config anew.
    Reloading,
    /// `STOPPING=1`: it is about to end.
    Stopping,
}

/// What is known of one guest. All zero at first: a table of them takes no memory where no guest says anything.
#[derive(Debug)]
pub struct Health {
    said: Said,
    activity: Activity,
    /// It was told once that it cannot name another main process.
    is_told_of_main_process: bool,
    /// It was told once that somebody else spoke for it.
    is_told_of_stranger: bool,
    /// It stood still when it was due.
    was_frozen: bool,
    /// How often it has to say that it is well; 0 for never.
    watchdog_ms: u64,
    /// By when it has to say so next; 0 for never.
    beat_due_ms: u64,
}

/// What follows from a notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// It is ready.
    pub is_ready: bool,
    /// It is not well.
    pub is_ill: bool,
    /// It named another main process, for the first time.
    pub names_main_process: bool,
}

impl Health {
    /// Nothing known.
    #[must_use]
    pub const fn new() -> Health {
        Health {
            said: Said::new(),
            activity: Activity::None,
            is_told_of_main_process: false,
            is_told_of_stranger: false,
            was_frozen: false,
            watchdog_ms: 0,
            beat_due_ms: 0,
        }
    }

    /// Takes what it says of itself.
    pub fn take(&mut self, said: &Notification<'_>, now_ms: u64) -> News {
        if let Some(status) = said.status {
            notify::keep(&mut self.said, status);
        }
        self.activity = match said {
            Notification { is_stopping: true, .. } => Activity::Stopping,
            Notification { is_ready: true, .. } => Activity::None,
            Notification { is_reloading: true, .. } => Activity::Reloading,
            _ => self.activity,
        };
        if let Some(us) = said.watchdog_us {
            self.watchdog_ms = us.div_ceil(1000);
        }
        if said.is_well || said.watchdog_us.is_some() {
            self.beat(now_ms);
        }
        if self.activity == Activity::Stopping {
            // From here on it says nothing more.
            self.watchdog_ms = 0;
            self.beat_due_ms = 0;
        }
        News {
            is_ready: said.is_ready,
            is_ill: said.is_ill,
            names_main_process: said.names_main_process && !core::mem::replace(&mut self.is_told_of_main_process, true),
        }
    }

    /// Somebody else spoke for it; whether that is to be told.
    pub fn note_stranger(&mut self) -> bool {
        !core::mem::replace(&mut self.is_told_of_stranger, true)
    }

    /// When [`Health::look`] is due; nothing for never.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        (self.beat_due_ms != 0).then_some(self.beat_due_ms)
    }

    /// Looks whether it has said in time that it is well. One that is frozen cannot, and has all of its time once it is not.
    pub fn look(&mut self, is_frozen: bool, now_ms: u64) -> Option<Illness> {
        if self.beat_due_ms == 0 || self.beat_due_ms > now_ms {
            return None;
        }
        if core::mem::replace(&mut self.was_frozen, is_frozen) || is_frozen {
            self.beat(now_ms);
            return None;
        }
        self.beat_due_ms = 0;
        Some(Illness::Watchdog)
    }

    /// It is not up any more: nothing is expected of it.
    pub fn rest(&mut self) {
        self.activity = Activity::None;
        self.watchdog_ms = 0;
        self.beat_due_ms = 0;
    }

    /// The line that it said last.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.said
    }

    /// What it says that it is doing.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// How often it has to say that it is well; nothing for never.
    #[must_use]
    pub fn watchdog_ms(&self) -> Option<u64> {
        (self.watchdog_ms != 0).then_some(self.watchdog_ms)
    }

    fn beat(&mut self, now_ms: u64) {
        self.beat_due_ms = if self.watchdog_ms == 0 { 0 } else { now_ms.saturating_add(self.watchdog_ms) };
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &'static str) -> Notification<'static> {
        notify::parse(text.as_bytes(), false)
    }

    #[test]
    fn a_guest_that_reloads_is_so_until_it_is_ready_and_one_that_stops_stays_so() {
        let mut health = Health::new();
        health.take(&said("RELOADING=1\nMONOTONIC_USEC=3\nSTATUS=reading"), 1);
        assert_eq!((health.activity(), health.said()), (Activity::Reloading, "reading"));
        assert!(health.take(&said("READY=1"), 2).is_ready);
        assert_eq!((health.activity(), health.said()), (Activity::None, "reading"));
        health.take(&said("STOPPING=1\nSTATUS="), 3);
        assert_eq!((health.activity(), health.said()), (Activity::Stopping, ""));
    }

    #[test]
    fn a_watchdog_that_nobody_feeds_is_noticed_once_and_one_that_is_fed_is_not() {
        let mut health = Health::new();
        health.take(&said("WATCHDOG=1"), 5);
        assert_eq!(health.due_ms(), None, "nobody said how often");
        health.take(&said("WATCHDOG_USEC=2000000"), 10);
        assert_eq!((health.due_ms(), health.watchdog_ms()), (Some(2_010), Some(2_000)));
        health.take(&said("WATCHDOG=1"), 1_000);
        assert_eq!(health.due_ms(), Some(3_000));
        assert_eq!(health.look(false, 2_999), None);
        assert_eq!(health.look(false, 3_000), Some(Illness::Watchdog));
        assert_eq!((health.look(false, 9_000), health.due_ms()), (None, None));
        let most = "WATCHDOG_USEC=18446744073709551615";
        for (words, due) in
            [("WATCHDOG_USEC=0", None), ("WATCHDOG_USEC=1", Some(2)), (most, Some(18_446_744_073_709_553))]
        {
            health.take(&said(words), 1);
            assert_eq!(health.due_ms(), due, "{words}");
        }
        health.take(&said("STOPPING=1"), 1);
        assert_eq!(health.due_ms(), None);
        health.take(&said(most), 1);
        assert_eq!(health.due_ms(), None, "it has said that it ends");
        health.rest();
        assert_eq!(health.due_ms(), None);
    }

    #[test]
    fn a_frozen_guest_has_all_of_its_time_once_it_is_thawed() {
        let mut health = Health::new();
        health.take(&said("WATCHDOG_USEC=2000000"), 0);
        assert_eq!(health.look(true, 2_000), None);
        // Thawed at 3 999, say.
        assert_eq!(health.look(false, 4_000), None);
        assert_eq!(health.due_ms(), Some(6_000));
        assert_eq!(health.look(false, 6_000), Some(Illness::Watchdog));
    }

    #[test]
    fn what_is_refused_is_told_once() {
        let mut health = Health::new();
        assert!(health.take(&said("MAINPID=7"), 1).names_main_process);
        assert!(!health.take(&said("MAINPID=8"), 1).names_main_process);
        assert!(health.note_stranger() && !health.note_stranger());
        assert!(health.take(&said("WATCHDOG=trigger"), 1).is_ill);
    }
}
