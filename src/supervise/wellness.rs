//! Whether the host is well: its critical guests, the watchdog, and whether this boot is a good one.
//!
//! Of this a program that takes the place of PID 1's is left the watchdog's device, and when the boot is to be judged; since
//! when a guest is missed its own record says, and whether the boot was judged [`ending::VERDICT`], in memory.

use core::fmt::Write;

use heapless::{String, Vec};
use rustix::fd::AsFd;

use super::driver::Driver;
use super::errand::{self, Errand};
use super::poll::{Interest, Poll, Source};
use crate::config::diagnostic::{Amount, Unit};
use crate::fault::ErrnoWords;
use crate::host::console::{Console, Level};
use crate::host::watchdog::Watchdog;
use crate::host::{ending, files};
use crate::limits;
use crate::plan::{GuestId, Remedy};
use crate::sys::Errno;
use crate::sys::wait::End;

/// Why something is done about the host.
pub type Reason = String<{ limits::ENDING_BYTES }>;

/// What is to be done about the host.
#[derive(Debug)]
pub struct Call {
    /// What.
    pub remedy: Remedy,
    /// Why.
    pub reason: Reason,
}

/// A critical guest.
#[derive(Clone, Copy, Debug)]
struct Critical {
    id: GuestId,
    /// When it became critical, while the host was up.
    since_ms: u64,
}

/// Whether this boot is a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nobody asks, or it was said.
    Judged,
    /// Critical guests are waited for.
    Waiting,
    /// The command that says so runs.
    Asking,
}

/// How the host is.
#[derive(Debug)]
pub struct Wellness {
    critical: Vec<Critical, { limits::CRITICAL }>,
    verdict: Verdict,
    /// It is to be judged by then.
    judged_by_ms: u64,
    errand: Option<Errand>,
    /// The watchdog is not petted, which was told.
    neglects: bool,
    /// When the watchdog is looked for again.
    watchdog_at_ms: Option<u64>,
    /// Its absence was told.
    told_absent: bool,
}

impl Wellness {
    /// Nothing is known, and nothing asked for.
    #[must_use]
    pub const fn new() -> Wellness {
        Wellness {
            critical: Vec::new(),
            verdict: Verdict::Judged,
            judged_by_ms: 0,
            errand: None,
            neglects: false,
            watchdog_at_ms: None,
            told_absent: false,
        }
    }

    /// The host begins to start its guests, or goes on with them, and is to be judged by `judged_by_ms`, where that is not 0.
    pub fn begin(&mut self, driver: &Driver<'_>, judged_by_ms: u64, now_ms: u64) {
        let host = &driver.plan().host;
        self.follow(driver, 0);
        self.watchdog_at_ms = (!host.watchdog.is_empty()).then_some(now_ms);
        let mut buffer = [0; ending::BYTES];
        let is_judged = files::read_path(ending::VERDICT, &mut buffer).is_ok_and(|text| !text.starts_with(WAITING));
        if !host.healthy.is_empty() && !is_judged {
            self.verdict = Verdict::Waiting;
            let from_now_ms = now_ms.saturating_add(host.healthy_within_ms);
            self.judged_by_ms = if judged_by_ms == 0 { from_now_ms } else { judged_by_ms };
            ending::note(ending::VERDICT, WAITING);
        }
    }

    /// By when the host is to be judged; 0 where nobody asks, or it was.
    #[must_use]
    pub fn judged_by_ms(&self) -> u64 {
        if self.verdict == Verdict::Judged { 0 } else { self.judged_by_ms }
    }

    /// Other guests may be critical, from `now_ms` on.
    pub fn follow(&mut self, driver: &Driver<'_>, now_ms: u64) {
        let before = core::mem::take(&mut self.critical);
        for id in driver.plan().critical() {
            let known = before.iter().find(|critical| critical.id == id).copied();
            // A plan has no more of them.
            let _ = self.critical.push(known.unwrap_or(Critical { id, since_ms: now_ms }));
        }
    }

    /// When it is to be looked at again; nothing for never.
    #[must_use]
    pub fn deadline_ms(&self, driver: &Driver<'_>, watchdog: &Watchdog) -> Option<u64> {
        let judged = match self.verdict {
            Verdict::Judged => None,
            Verdict::Waiting => Some(self.judged_by_ms),
            Verdict::Asking => Some(self.judged_by_ms.saturating_add(limits::HEALTHY_GRACE_MS)),
        };
        let missed =
            self.critical.iter().filter(|_| !self.neglects).filter_map(|critical| late_at_ms(driver, critical));
        let due = watchdog.due_ms().filter(|_| !self.neglects);
        missed.chain(judged).chain(due).chain(self.watchdog_at_ms).min()
    }

    /// One turn: looks at the critical guests, pets the watchdog, and goes on with the verdict on this boot. What is to be
    /// done about the host, if anything is.
    pub fn turn(
        &mut self,
        driver: &Driver<'_>,
        (console, watchdog): (&Console, &mut Watchdog),
        poll: &Poll,
        now_ms: u64,
    ) -> Option<Call> {
        self.find_watchdog(driver, (console, watchdog), now_ms);
        self.pet(driver, (console, watchdog), now_ms);
        self.judge(driver, console, poll, now_ms)
    }

    fn find_watchdog(&mut self, driver: &Driver<'_>, (console, watchdog): (&Console, &mut Watchdog), now_ms: u64) {
        if self.watchdog_at_ms.take_if(|at_ms| *at_ms <= now_ms).is_none() || watchdog.is_open() {
            return;
        }
        let plan = driver.plan();
        match Watchdog::open(console, plan.strings.c_str(plan.host.watchdog), plan.host.watchdog_s, now_ms) {
            Ok(opened) => *watchdog = opened,
            Err(error) => {
                self.watchdog_at_ms = Some(now_ms.saturating_add(limits::WATCHDOG_RETRY_MS));
                if !core::mem::replace(&mut self.told_absent, true) {
                    let path = plan.strings.str(plan.host.watchdog);
                    console.say(Level::Error, format_args!("watchdog {path}: {}; trying again", words(error)));
                }
            }
        }
    }

    fn pet(&mut self, driver: &Driver<'_>, (console, watchdog): (&Console, &mut Watchdog), now_ms: u64) {
        let late =
            self.critical.iter().find(|critical| late_at_ms(driver, critical).is_some_and(|at_ms| at_ms <= now_ms));
        let Some(late) = late else {
            if core::mem::take(&mut self.neglects) {
                console.say(Level::Warning, format_args!("all critical guests are ready again"));
            }
            if let Some(error) = watchdog.pet(now_ms) {
                console.say(Level::Error, format_args!("the watchdog cannot be petted: {}", words(error)));
            }
            return;
        };
        if !core::mem::replace(&mut self.neglects, true) {
            let name = name(driver, late.id);
            let follows = if watchdog.is_open() { ": the watchdog is no longer petted" } else { "" };
            console.say(Level::Error, format_args!("{name} is critical, and not ready for too long{follows}"));
        }
    }

    fn judge(&mut self, driver: &Driver<'_>, console: &Console, poll: &Poll, now_ms: u64) -> Option<Call> {
        let plan = driver.plan();
        if self.verdict == Verdict::Judged {
            return None;
        }
        let is_late = now_ms >= self.judged_by_ms;
        let missed = self.critical.iter().find(|critical| missed_since_ms(driver, critical.id).is_some());
        if self.verdict == Verdict::Waiting && missed.is_none() && !is_late {
            let by_ms = self.judged_by_ms;
            let journal = &driver.journal;
            let begun = Errand::start(by_ms, || errand::run(plan, journal, "healthy", plan.host.healthy, by_ms));
            return match begun.and_then(|errand| watch(poll, errand)) {
                Ok(errand) => {
                    self.errand = Some(errand);
                    self.verdict = Verdict::Asking;
                    None
                }
                Err(error) => Some(self.bad(driver, format_args!("healthy was not run: {}", words(error)))),
            };
        }
        let end = if self.verdict == Verdict::Asking { self.errand.as_ref().and_then(Errand::end) } else { None };
        match (end, self.verdict) {
            (Some(end), _) => {
                self.close(poll);
                match end {
                    End::Code(0) => {
                        self.verdict = Verdict::Judged;
                        ending::note(ending::VERDICT, b"healthy\n");
                        console.say(Level::Info, format_args!("this boot is a good one"));
                        None
                    }
                    End::Code(u8::MAX) | End::Signal(_) => Some(self.bad(driver, format_args!("healthy has failed"))),
                    End::Code(code) => Some(self.bad(driver, format_args!("healthy exited with code {code}"))),
                }
            }
            // It ends itself, at that moment; this is for one that hangs.
            (None, Verdict::Asking) if now_ms >= self.judged_by_ms.saturating_add(limits::HEALTHY_GRACE_MS) => {
                self.drop_errand(poll);
                Some(self.bad(driver, format_args!("healthy hangs")))
            }
            (None, Verdict::Waiting) if is_late => {
                let within = Amount(plan.host.healthy_within_ms, Unit::Time);
                let call = match missed.map(|missed| name(driver, missed.id)) {
                    Some(name) => self.bad(driver, format_args!("{name} was not ready within {within}")),
                    None => self.bad(driver, format_args!("healthy did not begin within {within}")),
                };
                Some(call)
            }
            _ => None,
        }
    }

    /// This boot is a bad one.
    fn bad(&mut self, driver: &Driver<'_>, why: core::fmt::Arguments<'_>) -> Call {
        self.verdict = Verdict::Judged;
        let mut reason = Reason::new();
        // What does not fit is cut.
        let _ = write!(reason, "not healthy: {why}");
        let mut text = String::<{ ending::BYTES }>::new();
        let _ = writeln!(text, "{reason}");
        ending::note(ending::VERDICT, text.as_bytes());
        Call { remedy: driver.plan().host.healthy_else, reason }
    }

    /// The errand has ended, or may have. What follows is seen in the next turn.
    pub fn look_at_errand(&mut self, poll: &Poll) {
        if self.verdict != Verdict::Asking && self.errand.as_ref().is_some_and(|errand| errand.end().is_some()) {
            self.close(poll);
        }
    }

    /// Whether it is being written down how this boot ends.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.errand.is_some()
    }

    /// Has it written down how this boot ends, `words`, unless that is done already; and has the boot loader told where
    /// `marks_bad`. The watchdog is petted from here on, for going down has a bound.
    pub fn record(&mut self, driver: &Driver<'_>, poll: &Poll, words: &str, marks_bad: bool, now_ms: u64) {
        (self.neglects, self.watchdog_at_ms) = (false, None);
        self.critical.clear();
        if self.verdict == Verdict::Asking {
            self.drop_errand(poll);
        }
        self.verdict = Verdict::Judged;
        let plan = driver.plan();
        if self.errand.is_some() || !(marks_bad || plan.keeps_endings()) {
            return;
        }
        let by_ms = now_ms.saturating_add(limits::RECORD_MS);
        let command = if marks_bad { plan.host.mark_bad } else { crate::text::List::EMPTY };
        let journal = &driver.journal;
        let begun = Errand::start(by_ms, || errand::record(plan, journal, words, command, by_ms));
        match begun.and_then(|errand| watch(poll, errand)) {
            Ok(errand) => self.errand = Some(errand),
            Err(error) => journal.error(format_args!("how this boot ends is not kept: {}", self::words(error))),
        }
    }

    fn drop_errand(&mut self, poll: &Poll) {
        if let Some(errand) = &self.errand {
            errand.kill();
        }
        self.close(poll);
    }

    fn close(&mut self, poll: &Poll) {
        if let Some(errand) = self.errand.take() {
            errand.close(poll);
        }
    }
}

impl Default for Wellness {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`ending::VERDICT`] says as long as nothing is known.
const WAITING: &[u8] = b"waiting\n";

fn watch(poll: &Poll, errand: Errand) -> Result<Errand, Errno> {
    poll.watch(errand.pidfd().as_fd(), Source::Errand, Interest::Readable)?;
    Ok(errand)
}

/// When a guest that is missed has been so for too long.
fn late_at_ms(driver: &Driver<'_>, critical: &Critical) -> Option<u64> {
    let within_ms = driver.guest(critical.id)?.critical_within_ms;
    let since_ms = missed_since_ms(driver, critical.id)?.max(critical.since_ms);
    Some(since_ms.saturating_add(within_ms.into()))
}

fn missed_since_ms(driver: &Driver<'_>, id: GuestId) -> Option<u64> {
    driver.now(id)?.machine.missed_since_ms()
}

fn name<'d>(driver: &'d Driver<'_>, id: GuestId) -> &'d str {
    driver.guest(id).map_or("?", |guest| driver.plan().strings.str(guest.name))
}

fn words(error: Errno) -> ErrnoWords {
    ErrnoWords(error.raw_os_error() as u16)
}
