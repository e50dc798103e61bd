//! How a guest is besides its state: what it says of itself, whether it says in time that it is well, and what was seen of it by
//! looking. Pure; the driver looks.

mod kept;

use super::notify::{self, Notification, Said};
use super::state::Illness;
use crate::fault::{Fault, Step};
use crate::limits;

/// All zero, so that a table of these takes no room in the file.
const UNKNOWN: Fault = Fault { step: Step::FindCgroup, errno: 0, detail: 0 };
const _: () = assert!(UNKNOWN.step as u8 == 0);
/// A look that found what was asked for missing.
const NOTHING: Fault = Fault { step: Step::CheckCommand, errno: 0, detail: 1 };
/// One that took too long.
const LATE: Fault = Fault { step: Step::CheckCommand, errno: libc::ETIMEDOUT as u16, detail: 0 };

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
    /// The look under way was given up because the guest stands still: what becomes of it says nothing.
    is_void: bool,
    /// How often it has to say that it is well; 0 for never.
    watchdog_ms: u64,
    /// By when it has to say so next; 0 for never.
    beat_due_ms: u64,
    /// When the next look is to begin, or the one under way is to be over; 0 for never.
    look_due_ms: u64,
    /// A look is under way.
    is_looking: bool,
    /// It took too long, and was given up.
    is_late: bool,
    /// When it began.
    begun_ms: u64,
    /// How long was waited before it.
    pause_ms: u64,
    /// Looks in a row that found something wrong.
    failures: u16,
    /// When the last one was over; 0 where there was none.
    looked_ms: u64,
    /// What it found, where something was wrong.
    fault: Fault,
    is_faulty: bool,
}

/// What is to be done about a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It is to begin.
    Begin,
    /// It has taken too long.
    GiveUp,
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
            is_void: false,
            watchdog_ms: 0,
            beat_due_ms: 0,
            look_due_ms: 0,
            is_looking: false,
            is_late: false,
            begun_ms: 0,
            pause_ms: 0,
            failures: 0,
            looked_ms: 0,
            fault: UNKNOWN,
            is_faulty: false,
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
            self.rest_looks();
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

    /// When [`Health::miss`] or [`Health::due`] is due; nothing for never.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        [self.beat_due_ms, self.look_due_ms].into_iter().filter(|due| *due != 0).min()
    }

    /// From now on it has to say every so often that it is well.
    pub fn expect_beats(&mut self, every_ms: u64, now_ms: u64) {
        if self.watchdog_ms == 0 {
            self.watchdog_ms = every_ms;
            self.beat(now_ms);
        }
    }

    /// From now on it is looked at: for the first time after so long.
    pub fn expect_looks(&mut self, pause_ms: u64, now_ms: u64) {
        self.pause_ms = pause_ms;
        (self.failures, self.looked_ms, self.is_faulty) = (0, 0, false);
        self.look_due_ms = now_ms.saturating_add(pause_ms).max(1);
    }

    /// What is to be done about a look now.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> Option<Due> {
        let is_due = self.look_due_ms != 0 && self.look_due_ms <= now_ms;
        is_due.then_some(if self.is_looking { Due::GiveUp } else { Due::Begin })
    }

    /// A look that is due begins only after so long.
    pub fn postpone(&mut self, pause_ms: u64, now_ms: u64) {
        self.look_due_ms = now_ms.saturating_add(pause_ms);
    }

    /// A look has begun, which may take so long.
    pub fn begun(&mut self, timeout_ms: u64, now_ms: u64) {
        (self.is_looking, self.is_late, self.is_void, self.is_faulty) = (true, false, false, false);
        self.begun_ms = now_ms;
        self.look_due_ms = now_ms.saturating_add(timeout_ms);
    }

    /// The look under way is ended, for it took too long, which is nobody's fault where the guest stands still; where it does
    /// not end, that is tried again after so long.
    pub fn given_up(&mut self, is_frozen: bool, retry_ms: u64, now_ms: u64) {
        self.is_void |= is_frozen && !self.is_late;
        self.is_late = true;
        self.postpone(retry_ms, now_ms);
    }

    /// Keeps a line of what a hook printed, as one that was said of the guest.
    pub fn keep_line(&mut self, line: &[u8]) {
        notify::keep(&mut self.said, line.trim_ascii_end());
    }

    /// What was found, once.
    pub fn take_fault(&mut self) -> Option<Fault> {
        core::mem::take(&mut self.is_faulty).then_some(self.fault)
    }

    /// Whether a look is under way.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        self.is_looking
    }

    /// The look under way found this.
    pub fn note_fault(&mut self, fault: Fault) {
        self.fault = fault;
        self.is_faulty = true;
    }

    /// Whether the look under way, which is over, says nothing.
    pub fn take_void(&mut self) -> bool {
        if !core::mem::take(&mut self.is_void) {
            return false;
        }
        (self.is_looking, self.look_due_ms) = (false, 0);
        true
    }

    /// The look under way is over. Whether all was well; if not, how often in a row it was not.
    ///
    /// # Errors
    /// How often in a row something was wrong, and what.
    pub fn over(&mut self, is_well: bool, now_ms: u64) -> Result<(), (u16, Fault)> {
        self.is_looking = false;
        self.look_due_ms = 0;
        self.looked_ms = now_ms.max(1);
        if is_well {
            (self.failures, self.is_faulty) = (0, false);
            return Ok(());
        }
        if self.is_late {
            self.note_fault(LATE);
        } else if !self.is_faulty {
            self.note_fault(NOTHING);
        }
        self.failures = self.failures.saturating_add(1);
        Err((self.failures, self.fault))
    }

    /// The next look comes soon, and the one after that later: it is to become ready.
    pub fn look_soon(&mut self, now_ms: u64) {
        let (from, to) = limits::READY_LOOK_MS;
        self.pause_ms = self.pause_ms.saturating_mul(2).clamp(from, to);
        self.postpone(self.pause_ms, now_ms);
    }

    /// The next look comes when it is its time.
    pub fn look_again(&mut self, every_ms: u64, now_ms: u64) {
        self.look_due_ms = self.begun_ms.saturating_add(every_ms).max(now_ms);
    }

    /// How often in a row something was wrong, how long ago was looked, and what was found then; nothing before the first.
    #[must_use]
    pub fn findings(&self, now_ms: u64) -> Option<(u16, u64, Option<Fault>)> {
        // What a look under way has found is not counted yet.
        let fault = (self.failures != 0).then_some(self.fault);
        (self.looked_ms != 0).then_some((self.failures, now_ms.saturating_sub(self.looked_ms), fault))
    }

    /// It stood still and goes on: it has all of its time again, and so has a look under way, `look_ms`.
    pub fn thawed(&mut self, look_ms: u64, now_ms: u64) {
        self.beat_again(now_ms);
        if self.is_looking && !self.is_late && self.look_due_ms != 0 {
            self.postpone(look_ms, now_ms);
        }
    }

    /// Looks whether it has said in time that it is well. One that is frozen cannot.
    pub fn miss(&mut self, is_frozen: bool, now_ms: u64) -> Option<Illness> {
        if self.beat_due_ms == 0 || self.beat_due_ms > now_ms {
            return None;
        }
        if is_frozen {
            self.beat(now_ms);
            return None;
        }
        self.beat_due_ms = 0;
        Some(Illness::Watchdog)
    }

    /// It is not up any more: nothing is expected of it.
    pub fn rest(&mut self) {
        self.activity = Activity::None;
        self.rest_looks();
    }

    fn rest_looks(&mut self) {
        self.watchdog_ms = 0;
        self.beat_due_ms = 0;
        // One that is under way is given up with the guest.
        self.look_due_ms = 0;
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
        assert_eq!(health.miss(false, 2_999), None);
        assert_eq!(health.miss(false, 3_000), Some(Illness::Watchdog));
        assert_eq!((health.miss(false, 9_000), health.due_ms()), (None, None));
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
        assert_eq!(health.miss(true, 2_000), None);
        health.thawed(500, 3_999);
        assert_eq!((health.miss(false, 4_000), health.due_ms()), (None, Some(5_999)));
        // Also where nothing was due while it stood still.
        health.thawed(500, 5_998);
        assert_eq!((health.miss(false, 5_999), health.due_ms()), (None, Some(7_998)));
        assert_eq!(health.miss(false, 7_998), Some(Illness::Watchdog));
        health.thawed(500, 8_000);
        assert_eq!(health.due_ms(), None, "nothing is expected of it any more");
    }

    #[test]
    fn a_look_that_a_freeze_held_up_has_all_of_its_time_again_or_says_nothing() {
        let mut health = Health::new();
        health.expect_looks(1, 0);
        health.begun(500, 1);
        health.thawed(500, 400);
        assert_eq!((health.due(501), health.due(900)), (None, Some(Due::GiveUp)));
        health.given_up(true, 10_000, 900);
        health.thawed(500, 950);
        assert_eq!(health.due_ms(), Some(10_900), "it is being ended");
        assert!(health.take_void() && !health.take_void());
        assert_eq!((health.is_looking(), health.due_ms(), health.findings(1_000)), (false, None, None));
        // One that had taken too long before has.
        health.begun(500, 1_000);
        health.given_up(false, 10_000, 1_500);
        health.given_up(true, 10_000, 11_500);
        assert!(!health.take_void());
        assert_eq!(health.over(false, 11_600), Err((1, LATE)));
    }

    #[test]
    fn looks_for_readiness_come_ever_later_and_those_for_health_when_it_is_their_time() {
        let mut health = Health::new();
        health.expect_looks(0, 100);
        let mut pauses = std::vec![];
        let mut now = 100;
        for _ in 0..8 {
            assert_eq!((health.due(now), health.due_ms()), (Some(Due::Begin), Some(now)));
            health.begun(5_000, now);
            assert_eq!((health.due(now), health.due(now + 5_000)), (None, Some(Due::GiveUp)));
            assert!(health.over(false, now).is_err());
            health.look_soon(now);
            pauses.push(health.due_ms().unwrap() - now);
            now = health.due_ms().unwrap();
        }
        assert_eq!(pauses, [25, 50, 100, 200, 400, 800, 1_000, 1_000]);
        health.expect_looks(30_000, now);
        assert_eq!(health.due_ms(), Some(now + 30_000));
        health.begun(5_000, now);
        assert_eq!(health.over(true, now + 4_000), Ok(()));
        health.look_again(30_000, now + 4_000);
        assert_eq!(health.due_ms(), Some(now + 30_000));
        health.begun(90_000, now);
        assert!(health.over(false, now + 40_000).is_err());
        health.look_again(30_000, now + 40_000);
        assert_eq!(health.due_ms(), Some(now + 40_000), "one that took longer than there is between two");
    }

    #[test]
    fn failures_are_counted_in_a_row_with_what_was_found_last() {
        let mut health = Health::new();
        assert_eq!(health.findings(5), None);
        let fault = Fault { step: Step::NoCommand, errno: 2, detail: 0 };
        for count in 1..=2 {
            health.begun(9, 1);
            health.note_fault(fault);
            assert_eq!(health.over(false, 10), Err((count, fault)));
        }
        health.begun(9, 1);
        health.given_up(false, 9, 10);
        assert_eq!(health.over(false, 12), Err((3, LATE)));
        assert_eq!(health.findings(15), Some((3, 3, Some(LATE))));
        health.begun(9, 1);
        assert_eq!(health.findings(15), Some((3, 3, Some(LATE))), "while the next one is under way");
        assert_eq!(health.over(true, 20), Ok(()));
        assert_eq!(health.findings(21), Some((0, 1, None)));
        health.begun(9, 1);
        assert_eq!(health.over(false, 10), Err((1, NOTHING)));
        // Given up with the guest, it is still under way until its child has ended.
        health.begun(9, 1);
        health.rest();
        assert_eq!((health.is_looking(), health.due_ms()), (true, None));
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
