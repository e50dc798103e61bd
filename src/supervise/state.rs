//! The life of one guest: event × state → state and actions. Pure; the driver carries the actions out.
//!
//! ```text
//!            Start        dependencies ready     exec worked     ready said
//!   Down ──────────▶ Waiting ──────────▶ Starting ──────▶ Running ──────▶ Ready
//!    ▲ ▲                ▲                   │ fails, hangs   │ Stop │ exits  │
//!    │ │ Cleared        │ back-off over     │                ▼      │        │
//!    │ └─ Clearing ─▶ Delayed               │             Stopping  │        │
//!    │       ▲ nothing left                 ▼                ▼      ▼        ▼
//!  Failed    └────────────────────────── Killing ◀──────────────────────────────
//! ```
//!
//! Where the host has programs to run for that, a guest passes through `StopHook` when Killing is over, and through
//! `DestroyHook` when Clearing is, and from each back to Killing, once. Those before its own program are run by the helper,
//! while it is Starting.
//!
//! There is one way down: whatever is left is killed, only an empty cgroup is cleared, and only after that a guest may
//! be started again. So no start ever finds anything of the one before.

mod kept;

use heapless::Vec;

use super::oom::Victim;
use crate::fault::{Fault, Step};
use crate::limits;
use crate::plan::{GiveUp, Moment, Ready, Restart, StopStep};

/// Where a guest is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not running, and nobody wants it to.
    Down,
    /// Wanted; its dependencies are not all ready.
    Waiting,
    /// The helper is at work; exec has not been reached.
    Starting,
    /// Its program runs, and has not said that it is ready.
    Running,
    /// Its program runs and is ready.
    Ready,
    /// It was asked to go by this step of its `stop`.
    Stopping {
        /// Index of the step.
        step: u8,
    },
    /// All of it is being killed; over when its cgroup is empty and its processes are waited for.
    Killing,
    /// None of its processes is left; the host's programs for that moment run.
    StopHook,
    /// Nothing of it runs; what it leaves is being removed.
    Clearing,
    /// Nothing of it is left; the host's programs for that moment run.
    DestroyHook,
    /// It ended by itself and starts again when the back-off is over.
    Delayed,
    /// It ended badly, or could not start, and stays down.
    Failed,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants it up.
    Start,
    /// Somebody wants it down, the polite way.
    Stop,
    /// Somebody wants it down and up again.
    Restart,
    /// Somebody wants it down at once.
    Kill,
    /// Everything it comes after is ready.
    DependenciesReady,
    /// What it comes after is not ready, and is not on its way to be.
    DependencyFailed(Fault),
    /// Its first process exists.
    Born,
    /// A step of its start failed.
    StartFailed(Fault),
    /// Exec worked.
    Executed,
    /// It said that it is ready.
    ReadyReported,
    /// It is up, and not well.
    Unhealthy(Illness),
    /// Its first process ended.
    Exited(Exit),
    /// No process of it is left, and those that were ours are waited for.
    Emptied,
    /// The kernel could not be asked to kill it, or to tell when it is empty.
    KillFailed(Fault),
    /// What it left is removed.
    Cleared,
    /// What it left could not be removed.
    ClearFailed(Fault),
    /// The host's programs have run; the first that failed.
    HooksOver(Option<Fault>),
    /// The deadline is over.
    TimeOut,
    /// The host is being shut down: nothing starts any more.
    HostGoingDown,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Exit code.
    Code(u8),
    /// Signal number.
    Signal(u8),
    /// Killed by the kernel for its memory limit.
    OutOfMemory,
    /// A step of its start failed.
    Failed(Fault),
    /// Powered off from inside.
    PowerOff,
    /// Rebooted from inside.
    Reboot,
    /// Somebody else took the exit status.
    Unknown,
    /// It was stopped because it was not well.
    Unhealthy(Illness),
}

/// Why a guest counts as not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illness {
    /// It has not said in time that it is well.
    Watchdog,
    /// It said itself that it is not.
    Trigger,
    /// Its health check failed too often in a row.
    Check,
}

impl Exit {
    /// Whether a guest that ends so has failed.
    #[must_use]
    pub fn is_failure(self) -> bool {
        match self {
            Exit::Code(0) | Exit::PowerOff | Exit::Reboot => false,
            Exit::Code(_)
            | Exit::Signal(_)
            | Exit::OutOfMemory
            | Exit::Failed(_)
            | Exit::Unknown
            | Exit::Unhealthy(_) => true,
        }
    }
}

/// What the driver has to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the helper. Answered by Born, Executed, `StartFailed`.
    Spawn,
    /// Send this signal to the first process.
    Signal(u8),
    /// Kill the helper and the whole cgroup. Answered by Exited, Emptied, `KillFailed`.
    KillAll,
    /// Remove what is left. Answered by Cleared or `ClearFailed`.
    Clear,
    /// Run the host's programs for this moment. Answered by `HooksOver`.
    RunHooks(Moment),
    /// Tell people.
    Announce(Notice),
}

/// What people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Its program runs.
    Started,
    /// It is ready; not said where `ready = exec`.
    Ready,
    /// It is asked to stop.
    Stopping,
    /// Its first process ended, or a step of its start failed.
    Ended(Exit),
    /// It is down.
    Down,
    /// It stays down though it should not be.
    Failed,
    /// It has ended so often that it is no longer started again.
    GivenUp(u16),
    /// It starts again after so many milliseconds.
    Delayed(u64),
    /// It is being killed and its processes do not go.
    Stuck,
    /// What it left cannot be removed, or the kernel cannot be asked to kill it; it is tried again.
    Trouble(Fault),
    /// The kernel killed so many of its processes for want of memory; one of them, where the kernel says which.
    Killed(u32, Option<Victim>),
    /// Its health check failed, so often of so many that are allowed in a row.
    NotWell(u16, u16, Fault),
    /// Its health check, which had failed, succeeds.
    Well,
    /// A program of the host that was run after it failed.
    HookFailed(Fault),
    /// It named another main process, which is not heeded.
    MainProcess,
    /// Somebody else, or a process that was gone by then, sent a notification in its name, which is not heeded.
    Stranger,
    /// An event that cannot come in this state: an error of this program. Nothing was done.
    Impossible,
    /// It is to stand still.
    Frozen,
    /// It goes on.
    Thawed,
    /// Its log file cannot be written: this step failed.
    LogTrouble(Fault),
    /// Its log file is written again.
    LogWritten,
}

/// Actions of one event.
pub type Actions = Vec<Action, 3>;

/// What the config says about a guest's life.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// When it ends by itself.
    pub restart: Restart,
    /// Back-off: first and greatest delay, milliseconds.
    pub delay_ms: (u64, u64),
    /// When it is no longer started again.
    pub give_up: GiveUp,
    /// When it counts as ready.
    pub ready: Ready,
    /// How long it may take to be, once its program runs.
    pub ready_within_ms: u64,
    /// How it is stopped.
    pub stop: &'a [StopStep],
    /// How many programs of the host are run at each [`Moment`].
    pub hooks: [u8; Moment::COUNT],
}

impl Policy<'_> {
    /// How long its start may take.
    fn start_ms(&self) -> u64 {
        let hooks = self.hooks[Moment::Create as usize] + self.hooks[Moment::Start as usize];
        limits::START_TIMEOUT_MS + u64::from(hooks) * HOOK_MS
    }

    /// How long the hooks of `moment` may take, where there are some.
    fn hooks_ms(&self, moment: Moment) -> Option<u64> {
        let hooks = u64::from(self.hooks[moment as usize]);
        (hooks > 0).then_some(hooks * HOOK_MS)
    }
}

/// What follows when it is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// What `restart` says.
    Policy,
    /// It stays down: somebody asked for that.
    Rest,
    /// It starts again: somebody asked for that.
    Again,
}

/// One guest's life. Times are milliseconds of one clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    state: State,
    then: Then,
    host_going_down: bool,
    /// Its end takes longer than it may.
    stuck: bool,
    /// People were told of a trouble with its end.
    troubled: bool,
    /// Its first process was made in the present run, and its end has not been told to the host's programs.
    born: bool,
    /// It was to be made in the present run, and that nothing of it is left has not been told to them.
    is_made: bool,
    /// How the present run ended; nothing while it goes on.
    exit: Option<Exit>,
    /// How the run before ended.
    last_exit: Option<Exit>,
    restarts: u32,
    /// How often it has ended by itself since `ends_since_ms`.
    ends: u16,
    ends_since_ms: u64,
    /// The back-off that was last used; 0: none yet.
    delay_ms: u64,
    since_ms: u64,
    /// Since when it is neither ready nor down by hand, nor by an end that was no failure; 0 where it is.
    missed_since_ms: u64,
    /// When exec worked; 0 where it has not.
    up_ms: u64,
    /// When its end began; it may be killed and cleared several times.
    ending_ms: u64,
    /// 0 for never.
    deadline_ms: u64,
}

/// Exec was not reached within [`limits::START_TIMEOUT_MS`].
const TIMED_OUT: Fault = Fault { step: Step::StartTimeOut, errno: libc::ETIMEDOUT as u16, detail: 0 };
/// It has not become ready within the time that it has for that.
const NOT_READY: Fault = Fault { step: Step::ReadyInTime, errno: libc::ETIMEDOUT as u16, detail: 0 };
/// A kill or a removal that the kernel refused is tried again after so long, until it counts as stuck; from then on
/// every [`limits::KILL_TIMEOUT_MS`].
const RETRY_MS: u64 = 100;
/// Who runs a hook ends it in time, and waits until nothing of it is left: this is for one who does not.
const HOOK_MS: u64 = limits::HOOK_TIMEOUT_MS + 2 * limits::KILL_TIMEOUT_MS;
/// Each back-off is so many times the one before: a guest that exits at once is started 6 times in the first 20 s
/// with the default delays, and the first restart is still quick.
const GROWTH: u64 = 3;

impl Machine {
    /// A guest that was never started.
    #[must_use]
    pub const fn new() -> Machine {
        Machine {
            state: State::Down,
            then: Then::Policy,
            host_going_down: false,
            stuck: false,
            troubled: false,
            born: false,
            is_made: false,
            exit: None,
            last_exit: None,
            restarts: 0,
            ends: 0,
            ends_since_ms: 0,
            delay_ms: 0,
            since_ms: 0,
            missed_since_ms: 0,
            up_ms: 0,
            ending_ms: 0,
            deadline_ms: 0,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// When it got there.
    #[must_use]
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// Since when it is not what it should be: one that was stopped by hand, or ended without a failure, is.
    #[must_use]
    pub fn missed_since_ms(&self) -> Option<u64> {
        Some(self.missed_since_ms).filter(|since| *since != 0)
    }

    /// When its program began to run, in its present run; nothing before that.
    #[must_use]
    pub fn up_since_ms(&self) -> Option<u64> {
        (self.up_ms != 0 && !self.is_down()).then_some(self.up_ms)
    }

    /// Whether exec worked in its present run, or in the one that was the last.
    #[must_use]
    pub fn has_run(&self) -> bool {
        self.up_ms != 0
    }

    /// When a [`Event::TimeOut`] is due; nothing for never.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        Some(self.deadline_ms).filter(|due| *due != 0)
    }

    /// Whether it is being killed or cleared and that takes longer than it may.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// How its last run ended; while it runs, how the one before did.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.exit.or(self.last_exit)
    }

    /// Why it could not be started again, where that is what kept it from starting before.
    #[must_use]
    pub fn fails_again(&self) -> Option<Fault> {
        match self.exit {
            Some(Exit::Failed(fault)) if self.delay_ms > 0 && self.exit == self.last_exit => Some(fault),
            _ => None,
        }
    }

    /// Whether it is down, and its program has ended with 0.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state() == State::Down && self.exit() == Some(Exit::Code(0))
    }

    /// How often `restart` has started it again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Whether nothing of it exists.
    #[must_use]
    pub fn is_down(&self) -> bool {
        match self.state {
            State::Down | State::Failed | State::Waiting | State::Delayed => true,
            State::Starting
            | State::Running
            | State::Ready
            | State::Stopping { .. }
            | State::Killing
            | State::StopHook
            | State::Clearing
            | State::DestroyHook => false,
        }
    }

    /// Takes `event` at `now` and says what is to be done.
    pub fn on(&mut self, event: Event, now: u64, policy: &Policy<'_>) -> Actions {
        let actions = self.react(event, now, policy);
        if matches!(self.state, State::Ready | State::Down) {
            self.missed_since_ms = 0;
        } else if self.missed_since_ms == 0 {
            self.missed_since_ms = now.max(1);
        }
        actions
    }

    fn react(&mut self, event: Event, now: u64, policy: &Policy<'_>) -> Actions {
        match self.state {
            State::Down | State::Failed => self.at_rest(event, now),
            State::Waiting => self.waiting(event, now, policy),
            State::Delayed => self.delayed(event, now),
            State::Starting => self.starting(event, now, policy),
            State::Running | State::Ready => self.up(event, now, policy),
            State::Stopping { step } => self.stopping(event, now, policy, step),
            State::Killing => self.killing(event, now, policy),
            State::StopHook | State::DestroyHook => self.in_hooks(event, now),
            State::Clearing => self.clearing(event, now, policy),
        }
    }

    // One function a state, one arm an event.

    fn at_rest(&mut self, event: Event, now: u64) -> Actions {
        match event {
            Event::Start | Event::Restart => self.want(now),
            Event::Stop | Event::Kill => none(),
            Event::HostGoingDown => self.stay_down(),
            Event::DependenciesReady
            | Event::DependencyFailed(_)
            | Event::Born
            | Event::StartFailed(_)
            | Event::Executed
            | Event::ReadyReported
            | Event::Unhealthy(_)
            | Event::Exited(_)
            | Event::Emptied
            | Event::KillFailed(_)
            | Event::Cleared
            | Event::ClearFailed(_)
            | Event::HooksOver(_)
            | Event::TimeOut => impossible(),
        }
    }

    fn waiting(&mut self, event: Event, now: u64, policy: &Policy<'_>) -> Actions {
        match event {
            Event::Start | Event::Restart => none(),
            Event::Stop | Event::Kill => self.rest(State::Down, now),
            Event::HostGoingDown => {
                self.host_going_down = true;
                self.rest(State::Down, now)
            }
            Event::DependenciesReady => self.spawn(now, policy),
            // What it comes after is on its way.
            Event::TimeOut => {
                self.deadline_ms = now.saturating_add(limits::WAIT_TIMEOUT_MS);
                none()
            }
            Event::DependencyFailed(fault) => {
                let exit = Exit::Failed(fault);
                self.last_exit = self.exit.replace(exit).or(self.last_exit);
                let mut actions = one(Action::Announce(Notice::Ended(exit)));
                push(&mut actions, self.settle(now, policy));
                actions
            }
            Event::Born
            | Event::StartFailed(_)
            | Event::Executed
            | Event::ReadyReported
            | Event::Unhealthy(_)
            | Event::Exited(_)
            | Event::Emptied
            | Event::KillFailed(_)
            | Event::Cleared
            | Event::ClearFailed(_)
            | Event::HooksOver(_) => impossible(),
        }
    }

    fn delayed(&mut self, event: Event, now: u64) -> Actions {
        match event {
            Event::Start | Event::Restart => self.want(now),
            Event::Stop | Event::Kill => self.rest(State::Down, now),
            Event::HostGoingDown => {
                self.host_going_down = true;
                self.rest(State::Down, now)
            }
            Event::TimeOut => {
                self.restarts = self.restarts.saturating_add(1);
                self.go(State::Waiting, now, Some(limits::WAIT_TIMEOUT_MS));
                none()
            }
            Event::DependenciesReady
            | Event::DependencyFailed(_)
            | Event::Born
            | Event::StartFailed(_)
            | Event::Executed
            | Event::ReadyReported
            | Event::Unhealthy(_)
            | Event::Exited(_)
            | Event::Emptied
            | Event::KillFailed(_)
            | Event::Cleared
            | Event::ClearFailed(_)
            | Event::HooksOver(_) => impossible(),
        }
    }

    fn starting(&mut self, event: Event, now: u64, policy: &Policy<'_>) -> Actions {
        match event {
            Event::Start => none(),
            Event::Born => {
                self.born = true;
                none()
            }
            Event::Stop | Event::Kill => self.kill(Then::Rest, now),
            Event::Restart => {
                self.forget_ends();
                self.kill(Then::Again, now)
            }
            Event::HostGoingDown => {
                self.host_going_down = true;
                self.kill(Then::Rest, now)
            }
            Event::StartFailed(fault) => self.end(Exit::Failed(fault), now),
            Event::Exited(exit) => self.end(exit, now),
            Event::TimeOut => self.end(Exit::Failed(TIMED_OUT), now),
            Event::Executed => {
                self.up_ms = now.max(1);
                match policy.ready {
                    Ready::Exec => self.go(State::Ready, now, None),
                    Ready::Exit | Ready::Fd(_) | Ready::Notify | Ready::Port(_) | Ready::File | Ready::Command => {
                        self.go(State::Running, now, Some(policy.ready_within_ms))
                    }
                }
                one(Action::Announce(Notice::Started))
            }
            Event::DependenciesReady
            | Event::DependencyFailed(_)
            | Event::ReadyReported
            | Event::Unhealthy(_)
            | Event::Emptied
            | Event::KillFailed(_)
            | Event::Cleared
            | Event::ClearFailed(_)
            | Event::HooksOver(_) => impossible(),
        }
    }

    fn up(&mut self, event: Event, now: u64, policy: &Policy<'_>) -> Actions {
        match event {
            Event::Start => none(),
            Event::Stop => self.stop(Then::Rest, now, policy),
            Event::Restart => {
                self.forget_ends();
                self.stop(Then::Again, now, policy)
            }
            Event::Kill => self.kill(Then::Rest, now),
            // Its turn comes: what depends on it goes first.
            Event::HostGoingDown => self.stay_down(),
            Event::ReadyReported if self.state == State::Ready => none(),
            Event::ReadyReported => {
                self.go(State::Ready, now, None);
                one(Action::Announce(Notice::Ready))
            }
            Event::Exited(exit) => self.end(exit, now),
            Event::Unhealthy(illness) => self.give_up(Exit::Unhealthy(illness), now, policy),
            Event::TimeOut if self.state == State::Running => self.give_up(Exit::Failed(NOT_READY), now, policy),
            Event::DependenciesReady
            | Event::DependencyFailed(_)
            | Event::Born
            | Event::StartFailed(_)
            | Event::Executed
            | Event::Emptied
            | Event::KillFailed(_)
            | Event::Cleared
            | Event::ClearFailed(_)
            | Event::HooksOver(_)
            | Event::TimeOut => impossible(),
        }
    }

    fn stopping(&mut self, event: Event, now: u64, policy: &Policy<'_>, step: u8) -> Actions {
        match event {
            Event::Start | Event::Restart => self.again(),
            Event::Stop => self.then(Then::Rest),
            Event::Kill => self.kill(Then::Rest, now),
            Event::HostGoingDown => self.stay_down(),
            Event::ReadyReported | Event::Unhealthy(_) => none(),
            Event::Exited(exit) => self.end(exit, now),
            Event::TimeOut => self.stop_step(step.saturating_add(1), now, policy),
            Event::DependenciesReady
            | Event::DependencyFailed(_)
            | Event::Born
            | Event::StartFailed(_)
            | Event::Executed
            | Event::Emptied
            | Event::KillFailed(_)
            | Event::Cleared
            | Event::ClearFailed(_)
            | Event::HooksOver(_) => impossible(),
        }
    }

    fn killing(&mut self, event: Event, now: u64, policy: &Policy<'_>) -> Actions {
        match event {
            Event::Start | Event::Restart => self.again(),
            Event::Stop | Event::Kill => self.then(Then::Rest),
            Event::HostGoingDown => self.stay_down(),
            // The helper was faster than the kill: what it has just made must go too.
            Event::Born => {
                self.born = true;
                one(Action::KillAll)
            }
            // What is heard of a start that is being killed anyway.
            Event::StartFailed(_) | Event::Executed | Event::ReadyReported | Event::Unhealthy(_) => none(),
            Event::Exited(exit) => {
                self.exit.get_or_insert(exit);
                none()
            }
            Event::Emptied => match policy.hooks_ms(Moment::Stop).filter(|_| core::mem::take(&mut self.born)) {
                Some(ms) => {
                    self.go(State::StopHook, now, Some(ms));
                    one(Action::RunHooks(Moment::Stop))
                }
                None => self.clear(now),
            },
            Event::KillFailed(fault) => self.trouble(fault, now),
            // An event may have been lost, or a kill not have been taken: asking again does no harm.
            Event::TimeOut => {
                self.deadline_ms = now.saturating_add(limits::KILL_TIMEOUT_MS);
                let mut actions = one(Action::KillAll);
                push(&mut actions, self.note_stuck(now));
                actions
            }
            Event::DependenciesReady
            | Event::DependencyFailed(_)
            | Event::Cleared
            | Event::ClearFailed(_)
            | Event::HooksOver(_) => impossible(),
        }
    }

    /// Nothing of the guest runs, but programs of the host.
    fn in_hooks(&mut self, event: Event, now: u64) -> Actions {
        match event {
            Event::Start | Event::Restart => self.again(),
            Event::Stop => self.then(Then::Rest),
            Event::HostGoingDown => self.stay_down(),
            // The programs go too.
            Event::Kill => {
                self.then(Then::Rest);
                one(Action::KillAll)
            }
            Event::TimeOut => {
                self.deadline_ms = now.saturating_add(limits::KILL_TIMEOUT_MS);
                one(Action::KillAll)
            }
            // What a kill of them brings.
            Event::Emptied | Event::KillFailed(_) => none(),
            Event::HooksOver(fault) => {
                let mut actions = none();
                if let Some(fault) = fault {
                    add(&mut actions, Action::Announce(Notice::HookFailed(fault)));
                }
                // Of a program that was killed something may be left.
                push(&mut actions, self.kill(self.then, now));
                actions
            }
            Event::DependenciesReady
            | Event::DependencyFailed(_)
            | Event::Born
            | Event::StartFailed(_)
            | Event::Executed
            | Event::ReadyReported
            | Event::Unhealthy(_)
            | Event::Exited(_)
            | Event::Cleared
            | Event::ClearFailed(_) => impossible(),
        }
    }

    fn clearing(&mut self, event: Event, now: u64, policy: &Policy<'_>) -> Actions {
        match event {
            Event::Start | Event::Restart => self.again(),
            Event::Stop | Event::Kill => self.then(Then::Rest),
            Event::HostGoingDown => self.stay_down(),
            Event::Cleared => match policy.hooks_ms(Moment::Destroy).filter(|_| core::mem::take(&mut self.is_made)) {
                Some(ms) => {
                    self.go(State::DestroyHook, now, Some(ms));
                    one(Action::RunHooks(Moment::Destroy))
                }
                None => self.settle(now, policy),
            },
            Event::ClearFailed(fault) => self.trouble(fault, now),
            // Something may have joined the cgroup since it was empty (`inn exec`).
            Event::TimeOut => {
                let mut actions = self.kill(self.then, now);
                push(&mut actions, self.note_stuck(now));
                actions
            }
            Event::DependenciesReady
            | Event::DependencyFailed(_)
            | Event::Born
            | Event::StartFailed(_)
            | Event::Executed
            | Event::ReadyReported
            | Event::Unhealthy(_)
            | Event::Exited(_)
            | Event::Emptied
            | Event::KillFailed(_)
            | Event::HooksOver(_) => impossible(),
        }
    }

    // The transitions.

    fn clear(&mut self, now: u64) -> Actions {
        self.go(State::Clearing, now, None);
        one(Action::Clear)
    }

    fn go(&mut self, state: State, now: u64, after_ms: Option<u64>) {
        let is_ending = |state| matches!(state, State::Killing | State::Clearing);
        if !(is_ending(state) && is_ending(self.state)) {
            self.ending_ms = now;
            self.stuck = false;
            self.troubled = false;
        }
        self.state = state;
        self.since_ms = now;
        self.deadline_ms = after_ms.map_or(0, |ms| now.saturating_add(ms).max(1));
    }

    fn rest(&mut self, state: State, now: u64) -> Actions {
        self.then = Then::Policy;
        (self.delay_ms, self.ends) = (0, 0);
        self.go(state, now, None);
        one(Action::Announce(if state == State::Failed { Notice::Failed } else { Notice::Down }))
    }

    /// Somebody asked for it, so its back-off is forgotten.
    fn forget_ends(&mut self) {
        (self.delay_ms, self.ends) = (0, 0);
    }

    /// Somebody asked for it, and nothing of it exists.
    fn want(&mut self, now: u64) -> Actions {
        self.forget_ends();
        self.wait(now)
    }

    /// Somebody asked for it, and it is on its way down.
    fn again(&mut self) -> Actions {
        self.forget_ends();
        self.then(Then::Again)
    }

    fn wait(&mut self, now: u64) -> Actions {
        if !self.host_going_down {
            self.then = Then::Policy;
            self.up_ms = 0;
            self.go(State::Waiting, now, Some(limits::WAIT_TIMEOUT_MS));
        }
        none()
    }

    fn spawn(&mut self, now: u64, policy: &Policy<'_>) -> Actions {
        self.last_exit = self.exit.take().or(self.last_exit);
        self.then = Then::Policy;
        self.up_ms = 0;
        (self.born, self.is_made) = (false, true);
        self.go(State::Starting, now, Some(policy.start_ms()));
        one(Action::Spawn)
    }

    fn then(&mut self, then: Then) -> Actions {
        self.then = if self.host_going_down { Then::Rest } else { then };
        none()
    }

    fn stay_down(&mut self) -> Actions {
        self.host_going_down = true;
        self.then = Then::Rest;
        none()
    }

    fn stop(&mut self, then: Then, now: u64, policy: &Policy<'_>) -> Actions {
        self.then(then);
        let mut actions = one(Action::Announce(Notice::Stopping));
        push(&mut actions, self.stop_step(0, now, policy));
        actions
    }

    fn stop_step(&mut self, step: u8, now: u64, policy: &Policy<'_>) -> Actions {
        match policy.stop.get(usize::from(step)) {
            Some(&StopStep { signal, timeout_ms }) if i32::from(signal) != libc::SIGKILL => {
                self.go(State::Stopping { step }, now, Some(timeout_ms));
                one(Action::Signal(signal))
            }
            Some(_) | None => self.kill(self.then, now),
        }
    }

    fn kill(&mut self, then: Then, now: u64) -> Actions {
        self.then(then);
        self.go(State::Killing, now, Some(limits::KILL_TIMEOUT_MS));
        one(Action::KillAll)
    }

    /// Its program runs and is of no use: it is stopped as it asks to be, and `restart` says what follows.
    fn give_up(&mut self, why: Exit, now: u64, policy: &Policy<'_>) -> Actions {
        self.exit = Some(why);
        let mut actions = one(Action::Announce(Notice::Ended(why)));
        push(&mut actions, self.stop_step(0, now, policy));
        actions
    }

    /// Its first process is gone or of no use: nothing of it may stay.
    fn end(&mut self, exit: Exit, now: u64) -> Actions {
        // Why it was given up counts, not how it then ended.
        self.exit.get_or_insert(exit);
        if self.up_ms != 0 && now.saturating_sub(self.up_ms) >= limits::STABLE_MS {
            (self.delay_ms, self.ends) = (0, 0);
        }
        let mut actions = one(Action::Announce(Notice::Ended(exit)));
        push(&mut actions, self.kill(self.then, now));
        actions
    }

    fn settle(&mut self, now: u64, policy: &Policy<'_>) -> Actions {
        let exit = self.exit.unwrap_or(Exit::Unknown);
        let again = match (self.then, exit, policy.restart) {
            (Then::Rest, ..) => false,
            (Then::Again, ..) => return self.wait(now),
            (Then::Policy, Exit::PowerOff, _) => false,
            (Then::Policy, Exit::Reboot, _) => true,
            (Then::Policy, _, Restart::Never) => false,
            (Then::Policy, _, Restart::Always) => true,
            (Then::Policy, _, Restart::OnFailure) => exit.is_failure(),
        };
        if again && !self.host_going_down {
            // Whom it waited for is the culprit then.
            let is_own = !matches!(exit, Exit::Reboot | Exit::Failed(Fault { step: Step::AwaitOthers, .. }));
            if is_own && self.has_ended_too_often(now, policy.give_up) {
                let mut actions = one(Action::Announce(Notice::GivenUp(policy.give_up.count)));
                push(&mut actions, self.rest(State::Failed, now));
                return actions;
            }
            return self.back_off(now, policy.delay_ms);
        }
        let failed = self.then == Then::Policy && exit.is_failure();
        self.rest(if failed { State::Failed } else { State::Down }, now)
    }

    /// Counts an end; whether that was one too many.
    fn has_ended_too_often(&mut self, now: u64, give_up: GiveUp) -> bool {
        if self.ends == 0 || now.saturating_sub(self.ends_since_ms) > give_up.within_ms.into() {
            (self.ends, self.ends_since_ms) = (0, now);
        }
        self.ends = self.ends.saturating_add(1);
        give_up.count > 0 && self.ends >= give_up.count
    }

    fn back_off(&mut self, now: u64, (from, to): (u64, u64)) -> Actions {
        self.delay_ms = self.delay_ms.saturating_mul(GROWTH).max(from).min(to);
        self.go(State::Delayed, now, Some(self.delay_ms));
        one(Action::Announce(Notice::Delayed(self.delay_ms)))
    }

    /// Tries again later; says so once, not at every attempt.
    fn trouble(&mut self, fault: Fault, now: u64) -> Actions {
        let mut actions = self.note_stuck(now);
        let retry_ms = if self.stuck { limits::KILL_TIMEOUT_MS } else { RETRY_MS };
        self.deadline_ms = now.saturating_add(retry_ms);
        if !core::mem::replace(&mut self.troubled, true) {
            add(&mut actions, Action::Announce(Notice::Trouble(fault)));
        }
        actions
    }

    fn note_stuck(&mut self, now: u64) -> Actions {
        let late = now.saturating_sub(self.ending_ms) >= limits::KILL_TIMEOUT_MS;
        if late && !core::mem::replace(&mut self.stuck, true) { one(Action::Announce(Notice::Stuck)) } else { none() }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

fn none() -> Actions {
    Actions::new()
}

fn one(action: Action) -> Actions {
    let mut actions = Actions::new();
    add(&mut actions, action);
    actions
}

fn push(actions: &mut Actions, more: Actions) {
    for action in more {
        add(actions, action);
    }
}

/// No event has more than three actions: the property test below would see a lost one.
fn add(actions: &mut Actions, action: Action) {
    let added = actions.push(action);
    debug_assert!(added.is_ok());
}

/// The driver sends each event only in states where it can happen; in others it does nothing, and says so.
fn impossible() -> Actions {
    one(Action::Announce(Notice::Impossible))
}

#[cfg(test)]
mod tests;
