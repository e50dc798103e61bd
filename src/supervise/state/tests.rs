use proptest::prelude::*;

use super::*;
use crate::plan::Remedy;

const FAULT: Fault = Fault { step: Step::Fork, errno: libc::ENOENT as u16, detail: 0 };
const TERM: StopStep = StopStep { signal: 15, timeout_ms: 5_000 };
const HUP: StopStep = StopStep { signal: 1, timeout_ms: 1_000 };
const KILL: StopStep = StopStep { signal: 9, timeout_ms: 0 };

fn policy(restart: Restart) -> Policy<'static> {
    Policy {
        restart,
        delay_ms: limits::RESTART_DELAY_MS,
        give_up: GiveUp::NEVER,
        ready: Ready::Exec,
        ready_within_ms: 9_000,
        stop: &[TERM, KILL],
        hooks: [0; Moment::COUNT],
    }
}

/// A guest under test, its policy and its clock.
struct Bench {
    machine: Machine,
    policy: Policy<'static>,
    now: u64,
}

impl Bench {
    fn new(policy: Policy<'static>) -> Bench {
        Bench { machine: Machine::new(), policy, now: 1_000 }
    }

    fn on(&mut self, event: Event) -> Vec<Action, 3> {
        self.machine.on(event, self.now, &self.policy)
    }

    /// Sends each event, and expects the state after it.
    fn walk(&mut self, steps: &[(Event, State)]) {
        for (index, &(event, state)) in steps.iter().enumerate() {
            let actions = self.on(event);
            assert!(!actions.contains(&Action::Announce(Notice::Impossible)), "step {index}: {event:?} is impossible");
            assert_eq!(self.machine.state(), state, "step {index}: after {event:?}");
        }
    }

    fn time_out(&mut self) -> Vec<Action, 3> {
        self.now = self.machine.deadline_ms().expect("a deadline");
        self.on(Event::TimeOut)
    }

    fn start(&mut self) {
        self.walk(&[
            (Event::Start, State::Waiting),
            (Event::DependenciesReady, State::Starting),
            (Event::Born, State::Starting),
        ]);
        self.on(Event::Executed);
    }

    fn end(&mut self, exit: Exit) {
        self.walk(&[(Event::Exited(exit), State::Killing), (Event::Emptied, State::Clearing)]);
        self.on(Event::Cleared);
    }
}

#[test]
fn a_guest_starts_in_order_and_is_ready_at_exec() {
    let mut bench = Bench::new(policy(Restart::Never));
    assert_eq!(bench.on(Event::Start).as_slice(), []);
    assert_eq!(bench.on(Event::DependenciesReady).as_slice(), [Action::Spawn]);
    assert_eq!(bench.on(Event::Born).as_slice(), []);
    assert_eq!(bench.on(Event::Executed).as_slice(), [Action::Announce(Notice::Started)]);
    assert_eq!(bench.machine.state(), State::Ready);
    assert_eq!(bench.machine.deadline_ms(), None);
}

#[test]
fn with_ready_fd_it_runs_first_and_is_ready_when_it_says_so() {
    let mut bench = Bench::new(Policy { ready: Ready::Fd(3), ..policy(Restart::Never) });
    bench.start();
    assert_eq!(bench.machine.state(), State::Running);
    assert_eq!(bench.on(Event::ReadyReported).as_slice(), [Action::Announce(Notice::Ready)]);
    assert_eq!(bench.machine.state(), State::Ready);
    assert_eq!(bench.on(Event::ReadyReported).as_slice(), []);
}

#[test]
fn one_that_is_not_ready_in_time_is_stopped_as_it_asks_to_be_and_that_counts() {
    for (restart, after) in [(Restart::Never, State::Failed), (Restart::OnFailure, State::Delayed)] {
        let mut bench = Bench::new(Policy { ready: Ready::Notify, ..policy(restart) });
        bench.start();
        assert_eq!(bench.machine.deadline_ms(), Some(bench.now + 9_000));
        let why = Exit::Failed(NOT_READY);
        assert_eq!(bench.time_out().as_slice(), [Action::Announce(Notice::Ended(why)), Action::Signal(15)]);
        bench.walk(&[(Event::ReadyReported, State::Stopping { step: 0 })]);
        bench.end(Exit::Code(0));
        assert_eq!((bench.machine.state(), bench.machine.exit()), (after, Some(why)));
    }
}

#[test]
fn one_that_is_not_well_is_stopped_and_started_again_as_after_a_failure() {
    for (ready, illness) in [(Ready::Exec, Illness::Watchdog), (Ready::Notify, Illness::Trigger)] {
        let mut bench = Bench::new(Policy { ready, ..policy(Restart::OnFailure) });
        bench.start();
        let why = Exit::Unhealthy(illness);
        let actions = bench.on(Event::Unhealthy(illness));
        assert_eq!(actions.as_slice(), [Action::Announce(Notice::Ended(why)), Action::Signal(15)]);
        assert_eq!(bench.on(Event::Unhealthy(illness)).as_slice(), [], "it is being stopped");
        assert_eq!(bench.time_out().as_slice(), [Action::KillAll]);
        bench.end(Exit::Signal(9));
        assert_eq!((bench.machine.state(), bench.machine.exit()), (State::Delayed, Some(why)));
        bench.time_out();
        assert_eq!(bench.machine.restarts(), 1);
    }
}

#[test]
fn a_stop_by_a_person_wins_over_one_for_want_of_health() {
    let mut bench = Bench::new(policy(Restart::Always));
    bench.start();
    bench.on(Event::Unhealthy(Illness::Watchdog));
    bench.on(Event::Stop);
    bench.end(Exit::Code(0));
    assert_eq!(bench.machine.state(), State::Down);
}

#[test]
fn one_that_waits_in_vain_has_failed_and_one_that_waits_for_somebody_on_the_way_waits_on() {
    for (restart, after) in [(Restart::Never, State::Failed), (Restart::OnFailure, State::Delayed)] {
        let mut bench = Bench::new(policy(restart));
        bench.walk(&[(Event::Start, State::Waiting)]);
        assert_eq!(bench.machine.deadline_ms(), Some(bench.now + limits::WAIT_TIMEOUT_MS));
        assert_eq!(bench.time_out().as_slice(), []);
        assert_eq!(bench.machine.deadline_ms(), Some(bench.now + limits::WAIT_TIMEOUT_MS));
        let why = Exit::Failed(FAULT);
        let actions = bench.on(Event::DependencyFailed(FAULT));
        assert_eq!(actions.first(), Some(&Action::Announce(Notice::Ended(why))));
        assert_eq!((bench.machine.state(), bench.machine.exit()), (after, Some(why)));
    }
}

#[test]
fn hooks_are_run_when_nothing_runs_any_more_and_when_nothing_is_left() {
    let mut bench = Bench::new(Policy { hooks: [1, 1, 1, 2], ..policy(Restart::Always) });
    bench.start();
    bench.walk(&[(Event::Exited(Exit::Code(1)), State::Killing)]);
    assert_eq!(bench.on(Event::Emptied).as_slice(), [Action::RunHooks(Moment::Stop)]);
    assert_eq!((bench.machine.state(), bench.machine.is_down()), (State::StopHook, false));
    assert_eq!(bench.machine.deadline_ms(), Some(bench.now + HOOK_MS));
    // One that fails is told of, and all goes on.
    let actions = bench.on(Event::HooksOver(Some(FAULT)));
    assert_eq!(actions.as_slice(), [Action::Announce(Notice::HookFailed(FAULT)), Action::KillAll]);
    bench.walk(&[(Event::Emptied, State::Clearing)]);
    assert_eq!(bench.on(Event::Cleared).as_slice(), [Action::RunHooks(Moment::Destroy)]);
    assert_eq!((bench.machine.state(), bench.machine.is_down()), (State::DestroyHook, false));
    assert_eq!(bench.machine.deadline_ms(), Some(bench.now + 2 * HOOK_MS));
    bench.walk(&[(Event::HooksOver(None), State::Killing), (Event::Emptied, State::Clearing)]);
    bench.on(Event::Cleared);
    assert_eq!((bench.machine.state(), bench.machine.exit()), (State::Delayed, Some(Exit::Code(1))));
}

#[test]
fn a_guest_that_never_was_has_no_end_for_hooks_but_what_was_made_for_it_is_taken_back() {
    let mut bench = Bench::new(Policy { hooks: [1; 4], ..policy(Restart::Never) });
    bench.walk(&[(Event::Start, State::Waiting), (Event::DependenciesReady, State::Starting)]);
    assert_eq!(bench.machine.deadline_ms(), Some(bench.now + limits::START_TIMEOUT_MS + 2 * HOOK_MS));
    bench.walk(&[
        (Event::StartFailed(FAULT), State::Killing),
        (Event::Emptied, State::Clearing),
        (Event::Cleared, State::DestroyHook),
        (Event::HooksOver(None), State::Killing),
        (Event::Emptied, State::Clearing),
        (Event::Cleared, State::Failed),
    ]);
}

#[test]
fn hooks_run_once_for_an_end_and_go_where_all_is_killed() {
    let mut bench = Bench::new(Policy { hooks: [1; 4], ..policy(Restart::Always) });
    bench.start();
    bench.walk(&[(Event::Kill, State::Killing), (Event::Emptied, State::StopHook)]);
    assert_eq!(bench.on(Event::Kill).as_slice(), [Action::KillAll]);
    assert_eq!(bench.time_out().as_slice(), [Action::KillAll]);
    bench.walk(&[(Event::Emptied, State::StopHook), (Event::HooksOver(Some(FAULT)), State::Killing)]);
    bench.walk(&[(Event::Emptied, State::Clearing)]);
    // A removal that failed kills once more, and its end is told no second time.
    bench.on(Event::ClearFailed(FAULT));
    bench.time_out();
    bench.walk(&[(Event::Emptied, State::Clearing), (Event::Cleared, State::DestroyHook)]);
    bench.walk(&[(Event::Start, State::DestroyHook), (Event::HooksOver(None), State::Killing)]);
    obey(&mut bench);
    assert_eq!(bench.machine.state(), State::Waiting);
}

#[test]
fn what_a_dead_first_process_leaves_is_killed_then_cleared_then_counted_down() {
    let mut bench = Bench::new(policy(Restart::Never));
    bench.start();
    let actions = bench.on(Event::Exited(Exit::Code(0)));
    assert_eq!(actions.as_slice(), [Action::Announce(Notice::Ended(Exit::Code(0))), Action::KillAll]);
    assert_eq!(bench.on(Event::Emptied).as_slice(), [Action::Clear]);
    assert_eq!(bench.on(Event::Cleared).as_slice(), [Action::Announce(Notice::Down)]);
    assert_eq!(bench.machine.state(), State::Down);
    assert_eq!(bench.machine.exit(), Some(Exit::Code(0)));
}

#[test]
fn restart_says_what_follows_an_exit() {
    for (restart, exit, after) in [
        (Restart::Never, Exit::Code(0), State::Down),
        (Restart::Never, Exit::Code(1), State::Failed),
        (Restart::Never, Exit::OutOfMemory, State::Failed),
        (Restart::OnFailure, Exit::Code(0), State::Down),
        (Restart::OnFailure, Exit::Code(1), State::Delayed),
        (Restart::OnFailure, Exit::Signal(11), State::Delayed),
        (Restart::OnFailure, Exit::Unknown, State::Delayed),
        (Restart::OnFailure, Exit::PowerOff, State::Down),
        (Restart::Always, Exit::Code(0), State::Delayed),
        (Restart::Always, Exit::OutOfMemory, State::Delayed),
        (Restart::Always, Exit::PowerOff, State::Down),
        (Restart::Never, Exit::Reboot, State::Delayed),
    ] {
        let mut bench = Bench::new(policy(restart));
        bench.start();
        bench.end(exit);
        assert_eq!(bench.machine.state(), after, "{restart:?} {exit:?}");
        assert_eq!(bench.machine.exit(), Some(exit));
    }
}

#[test]
fn a_start_that_failed_is_cleared_and_tried_again_only_where_restart_says_so() {
    for (restart, after) in
        [(Restart::Never, State::Failed), (Restart::OnFailure, State::Delayed), (Restart::Always, State::Delayed)]
    {
        let mut bench = Bench::new(policy(restart));
        bench.walk(&[
            (Event::Start, State::Waiting),
            (Event::DependenciesReady, State::Starting),
            (Event::StartFailed(FAULT), State::Killing),
            (Event::Exited(Exit::Code(127)), State::Killing),
            (Event::Emptied, State::Clearing),
            (Event::Cleared, after),
        ]);
        assert_eq!(bench.machine.exit(), Some(Exit::Failed(FAULT)), "the step counts, not how its process ended");
    }
}

#[test]
fn a_start_that_hangs_is_killed() {
    let mut bench = Bench::new(policy(Restart::Never));
    bench.walk(&[(Event::Start, State::Waiting), (Event::DependenciesReady, State::Starting)]);
    assert_eq!(bench.machine.deadline_ms(), Some(bench.now + limits::START_TIMEOUT_MS));
    assert!(bench.time_out().contains(&Action::KillAll));
    bench.walk(&[(Event::Emptied, State::Clearing), (Event::Cleared, State::Failed)]);
    assert_eq!(bench.machine.exit(), Some(Exit::Failed(TIMED_OUT)));
}

#[test]
fn stop_goes_step_by_step_and_ends_in_a_kill() {
    let mut bench = Bench::new(Policy { stop: &[HUP, TERM], ..policy(Restart::Always) });
    bench.start();
    assert_eq!(bench.on(Event::Stop).as_slice(), [Action::Announce(Notice::Stopping), Action::Signal(1)]);
    assert_eq!(bench.machine.deadline_ms(), Some(bench.now + 1_000));
    assert_eq!(bench.time_out().as_slice(), [Action::Signal(15)]);
    assert_eq!(bench.machine.deadline_ms(), Some(bench.now + 5_000));
    assert_eq!(bench.time_out().as_slice(), [Action::KillAll]);
    bench.walk(&[
        (Event::Exited(Exit::Signal(9)), State::Killing),
        (Event::Emptied, State::Clearing),
        (Event::Cleared, State::Down),
    ]);
}

#[test]
fn stop_with_sigkill_first_kills_all_of_it_at_once() {
    for stop in [&[KILL][..], &[][..]] {
        let mut bench = Bench::new(Policy { stop, ..policy(Restart::Always) });
        bench.start();
        assert_eq!(bench.on(Event::Stop).as_slice(), [Action::Announce(Notice::Stopping), Action::KillAll]);
    }
}

#[test]
fn a_stopped_guest_that_obeys_is_not_restarted() {
    let mut bench = Bench::new(policy(Restart::Always));
    bench.start();
    bench.walk(&[(Event::Stop, State::Stopping { step: 0 })]);
    bench.end(Exit::Signal(15));
    assert_eq!(bench.machine.state(), State::Down);
}

#[test]
fn a_stop_wins_over_restart_in_every_state() {
    let to_starting = [(Event::Start, State::Waiting), (Event::DependenciesReady, State::Starting)];
    let states: [&[(Event, State)]; 7] = [
        &[(Event::Executed, State::Ready)],
        &[(Event::StartFailed(FAULT), State::Killing)],
        &[(Event::StartFailed(FAULT), State::Killing), (Event::Emptied, State::Clearing)],
        &[
            (Event::StartFailed(FAULT), State::Killing),
            (Event::Emptied, State::Clearing),
            (Event::Cleared, State::Delayed),
        ],
        &[(Event::Executed, State::Ready), (Event::Restart, State::Stopping { step: 0 })],
        &[(Event::Restart, State::Killing)],
        &[],
    ];
    for state in states {
        for request in [Event::Stop, Event::Kill] {
            let mut bench = Bench::new(policy(Restart::Always));
            bench.walk(&to_starting);
            bench.walk(state);
            bench.on(request);
            obey(&mut bench);
            assert_eq!(bench.machine.state(), State::Down, "{request:?} after {state:?}");
            assert_eq!(bench.machine.deadline_ms(), None);
        }
    }
}

/// The kernel and the guest do what they are asked, until nothing is left to do.
fn obey(bench: &mut Bench) {
    for _ in 0..16 {
        match bench.machine.state() {
            State::Stopping { .. } => bench.on(Event::Exited(Exit::Signal(15))),
            State::Killing => bench.on(Event::Emptied),
            State::Clearing => bench.on(Event::Cleared),
            State::StopHook | State::DestroyHook => bench.on(Event::HooksOver(None)),
            _ => return,
        };
    }
}

#[test]
fn a_restart_request_stops_it_and_starts_it_without_back_off() {
    let mut bench = Bench::new(policy(Restart::Never));
    bench.start();
    bench.walk(&[(Event::Restart, State::Stopping { step: 0 })]);
    bench.end(Exit::Signal(15));
    assert_eq!(bench.machine.state(), State::Waiting);
    assert_eq!(bench.machine.restarts(), 0, "that was no failure");
}

#[test]
fn a_start_request_ends_the_back_off() {
    let mut bench = Bench::new(policy(Restart::Always));
    bench.start();
    bench.end(Exit::Code(1));
    bench.walk(&[(Event::Start, State::Waiting), (Event::DependenciesReady, State::Starting)]);
}

#[test]
fn back_off_grows_to_its_end_and_is_forgotten_after_a_stable_run() {
    let mut bench = Bench::new(Policy { delay_ms: (100, 1_000), ..policy(Restart::Always) });
    bench.start();
    let mut delays = std::vec![];
    for _ in 0..5 {
        bench.end(Exit::Code(1));
        delays.push(bench.machine.deadline_ms().unwrap() - bench.now);
        bench.time_out();
        bench.walk(&[(Event::DependenciesReady, State::Starting), (Event::Executed, State::Ready)]);
    }
    assert_eq!(delays, [100, 300, 900, 1_000, 1_000]);
    assert_eq!(bench.machine.restarts(), 5);
    bench.now += limits::STABLE_MS;
    bench.end(Exit::Code(1));
    assert_eq!(bench.machine.deadline_ms().unwrap() - bench.now, 100);
}

#[test]
fn a_guest_that_ends_too_often_in_too_short_a_time_is_given_up() {
    let give_up = GiveUp { count: 3, within_ms: 10_000, then: Remedy::Stop };
    let mut bench = Bench::new(Policy { delay_ms: (100, 100), give_up, ..policy(Restart::Always) });
    bench.start();
    let mut again = |pause_ms: u64| {
        bench.now += pause_ms;
        bench.end(Exit::Code(0));
        if bench.machine.state() == State::Delayed {
            bench.time_out();
            bench.walk(&[(Event::DependenciesReady, State::Starting), (Event::Executed, State::Ready)]);
        }
        bench.machine.state()
    };
    // The third comes too late, and begins a count of its own.
    for pause_ms in [0, 4_000, 10_000, 0] {
        assert_eq!(again(pause_ms), State::Ready);
    }
    assert_eq!(again(0), State::Failed);
    bench.walk(&[(Event::Start, State::Waiting), (Event::DependenciesReady, State::Starting)]);
    bench.walk(&[(Event::Executed, State::Ready)]);
    bench.end(Exit::Code(0));
    assert_eq!(bench.machine.state(), State::Delayed, "somebody asked for it, so its ends are forgotten");
}

#[test]
fn a_start_that_is_begun_anew_for_the_program_forgets_no_end() {
    let give_up = GiveUp { count: 2, within_ms: 10_000, then: Remedy::Stop };
    let mut bench = Bench::new(Policy { delay_ms: (100, 1_000), give_up, ..policy(Restart::Always) });
    bench.start();
    bench.end(Exit::Code(1));
    bench.time_out();
    bench.walk(&[(Event::DependenciesReady, State::Starting)]);
    bench.machine.begin_again(bench.now);
    bench.walk(&[(Event::Emptied, State::Clearing), (Event::Cleared, State::Waiting)]);
    bench.walk(&[(Event::DependenciesReady, State::Starting), (Event::Executed, State::Ready)]);
    assert_eq!(bench.machine.restarts(), 1);
    bench.end(Exit::Code(1));
    assert_eq!(bench.machine.state(), State::Failed, "it has ended twice");
}

#[test]
fn a_stable_time_and_reboots_from_inside_do_not_count_as_ends() {
    let give_up = GiveUp { count: 2, within_ms: 1_000_000, then: Remedy::Reboot };
    let mut bench = Bench::new(Policy { delay_ms: (100, 100), give_up, ..policy(Restart::Always) });
    bench.start();
    for (pause_ms, exit) in
        [(0, Exit::Reboot), (0, Exit::Reboot), (0, Exit::Code(1)), (limits::STABLE_MS, Exit::Code(1))]
    {
        bench.now += pause_ms;
        bench.end(exit);
        assert_eq!(bench.machine.state(), State::Delayed);
        bench.time_out();
        bench.walk(&[(Event::DependenciesReady, State::Starting), (Event::Executed, State::Ready)]);
    }
    bench.end(Exit::Code(1));
    assert_eq!(bench.machine.state(), State::Failed);
}

#[test]
fn a_guest_that_exits_at_once_starts_at_most_six_times_in_twenty_seconds() {
    for fails_at_start in [false, true] {
        let mut bench = Bench::new(policy(Restart::Always));
        let begun = bench.now;
        bench.on(Event::Start);
        let mut starts = 0;
        while bench.now < begun + 20_000 {
            starts += usize::from(bench.on(Event::DependenciesReady).contains(&Action::Spawn));
            if fails_at_start {
                bench.walk(&[(Event::StartFailed(FAULT), State::Killing)]);
                obey(&mut bench);
            } else {
                bench.on(Event::Executed);
                bench.end(Exit::Code(0));
            }
            bench.time_out();
        }
        assert!((4..=6).contains(&starts), "{starts} starts");
    }
}

#[test]
fn processes_that_do_not_die_are_shown_as_stuck_and_still_waited_for() {
    let mut bench = Bench::new(policy(Restart::Never));
    bench.start();
    bench.walk(&[(Event::Kill, State::Killing)]);
    assert!(!bench.machine.is_stuck());
    let actions = bench.time_out();
    assert_eq!(actions.as_slice(), [Action::KillAll, Action::Announce(Notice::Stuck)]);
    assert!(bench.machine.is_stuck());
    assert_eq!(bench.time_out().as_slice(), [Action::KillAll], "said once");
    bench.walk(&[(Event::Emptied, State::Clearing), (Event::Cleared, State::Down)]);
    assert!(!bench.machine.is_stuck());
}

#[test]
fn a_kill_that_the_kernel_refused_is_asked_again_soon() {
    let mut bench = Bench::new(policy(Restart::Never));
    bench.start();
    bench.walk(&[(Event::Kill, State::Killing)]);
    assert_eq!(bench.on(Event::KillFailed(FAULT)).as_slice(), [Action::Announce(Notice::Trouble(FAULT))]);
    assert_eq!(bench.machine.deadline_ms(), Some(bench.now + RETRY_MS));
    assert_eq!(bench.time_out().as_slice(), [Action::KillAll]);
    assert_eq!(bench.on(Event::KillFailed(FAULT)).as_slice(), [], "said once");
}

#[test]
fn a_removal_that_failed_kills_again_and_slows_down_once_it_is_stuck() {
    let mut bench = Bench::new(policy(Restart::Never));
    bench.start();
    bench.walk(&[(Event::Kill, State::Killing), (Event::Emptied, State::Clearing)]);
    let begun = bench.now;
    let mut attempts = 0;
    let mut lines = 0;
    while bench.now < begun + 100_000 {
        let mut actions = bench.on(Event::ClearFailed(FAULT)).to_vec();
        actions.extend(bench.time_out());
        assert!(actions.contains(&Action::KillAll));
        actions.extend(bench.on(Event::Emptied));
        lines += actions.iter().filter(|action| matches!(action, Action::Announce(_))).count();
        attempts += 1;
    }
    assert!((100..120).contains(&attempts), "{attempts}");
    assert_eq!(lines, 2, "the trouble, and that it is stuck");
    bench.walk(&[(Event::Cleared, State::Down)]);
}

#[test]
fn what_a_helper_makes_while_it_is_killed_is_killed_too() {
    let mut bench = Bench::new(policy(Restart::Never));
    bench.walk(&[
        (Event::Start, State::Waiting),
        (Event::DependenciesReady, State::Starting),
        (Event::Stop, State::Killing),
    ]);
    assert_eq!(bench.on(Event::Born).as_slice(), [Action::KillAll]);
}

#[test]
fn nothing_starts_while_the_host_goes_down() {
    for restart in [Restart::Never, Restart::Always] {
        let mut bench = Bench::new(policy(restart));
        bench.start();
        bench.walk(&[(Event::HostGoingDown, State::Ready), (Event::Stop, State::Stopping { step: 0 })]);
        bench.walk(&[(Event::Start, State::Stopping { step: 0 }), (Event::Restart, State::Stopping { step: 0 })]);
        bench.end(Exit::Code(1));
        assert_eq!(bench.machine.state(), State::Down);
        bench.walk(&[(Event::Start, State::Down), (Event::Restart, State::Down)]);
    }
}

#[test]
fn an_event_that_cannot_come_is_named_and_changes_nothing() {
    let mut bench = Bench::new(policy(Restart::Always));
    assert_eq!(bench.on(Event::Executed).as_slice(), [Action::Announce(Notice::Impossible)]);
    assert_eq!(bench.machine.state(), State::Down);
}

fn any_event() -> impl Strategy<Value = Event> {
    let exit = prop_oneof![
        any::<u8>().prop_map(Exit::Code),
        (1_u8..65).prop_map(Exit::Signal),
        Just(Exit::OutOfMemory),
        Just(Exit::PowerOff),
        Just(Exit::Reboot),
        Just(Exit::Unknown),
    ];
    prop_oneof![
        Just(Event::Start),
        Just(Event::Stop),
        Just(Event::Restart),
        Just(Event::Kill),
        Just(Event::DependenciesReady),
        Just(Event::Born),
        Just(Event::StartFailed(FAULT)),
        Just(Event::Executed),
        Just(Event::ReadyReported),
        prop_oneof![Just(Illness::Watchdog), Just(Illness::Trigger)].prop_map(Event::Unhealthy),
        Just(Event::DependencyFailed(FAULT)),
        exit.prop_map(Event::Exited),
        Just(Event::Emptied),
        Just(Event::KillFailed(FAULT)),
        Just(Event::Cleared),
        Just(Event::ClearFailed(FAULT)),
        prop_oneof![Just(None), Just(Some(FAULT))].prop_map(Event::HooksOver),
        Just(Event::TimeOut),
        Just(Event::HostGoingDown),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy<'static>> {
    const STOPS: &[&[StopStep]] = &[&[], &[KILL], &[TERM, KILL], &[HUP, TERM, HUP]];
    (
        prop_oneof![Just(Restart::Never), Just(Restart::OnFailure), Just(Restart::Always)],
        (1_u64..5_000, 1_u64..100_000),
        prop_oneof![Just(Ready::Exec), Just(Ready::Fd(3)), Just(Ready::Notify)],
        proptest::sample::select(STOPS),
        any::<[bool; Moment::COUNT]>().prop_map(|some| some.map(u8::from)),
        (0_u16..5, 1_u32..50_000),
    )
        .prop_map(|(restart, (from, more), ready, stop, hooks, (count, within_ms))| Policy {
            restart,
            delay_ms: (from, from + more),
            give_up: GiveUp { count, within_ms, then: Remedy::Stop },
            ready,
            ready_within_ms: 9_000,
            stop,
            hooks,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_breaks_the_rules(
        policy in any_policy(),
        events in proptest::collection::vec((any_event(), 0_u64..40_000), 0..200),
    ) {
        let mut machine = Machine::new();
        let mut now = 0;
        let (mut spawned, mut executed, mut host_going_down) = (false, false, false);
        for (event, pause) in events {
            now += pause;
            let before = machine.state();
            let actions = machine.on(event, now, &policy);
            host_going_down |= event == Event::HostGoingDown;
            executed |= event == Event::Executed && before == State::Starting;
            for action in &actions {
                match action {
                    Action::Spawn => {
                        prop_assert!(!spawned, "two starts without a clear between");
                        prop_assert!(!host_going_down, "a start while the host goes down");
                        (spawned, executed) = (true, false);
                    }
                    Action::Clear | Action::RunHooks(Moment::Stop) => {
                        prop_assert_eq!(event, Event::Emptied, "only what is empty is cleared");
                    }
                    Action::RunHooks(moment) => {
                        prop_assert_eq!((*moment, before), (Moment::Destroy, State::Clearing));
                        prop_assert_eq!(event, Event::Cleared);
                    }
                    Action::Announce(Notice::Delayed(ms)) => {
                        prop_assert!((policy.delay_ms.0..=policy.delay_ms.1).contains(ms));
                    }
                    Action::Announce(Notice::Impossible) => prop_assert_eq!(before, machine.state()),
                    _ => {}
                }
            }
            if event == Event::Cleared && before == State::Clearing && machine.state() != State::DestroyHook {
                spawned = false;
            }
            prop_assert_eq!(spawned, !machine.is_down());
            prop_assert!(machine.state() != State::Ready || executed, "ready only after exec");
            let timed = matches!(
                machine.state(),
                State::Waiting
                    | State::Starting
                    | State::Running
                    | State::Stopping { .. }
                    | State::Killing
                    | State::StopHook
                    | State::DestroyHook
                    | State::Delayed
            );
            prop_assert!(!timed || machine.deadline_ms().is_some(), "no state waits for others without a deadline");
        }
        // After a stop it is down at last, if the kernel answers and whatever the guest does.
        machine.on(Event::Stop, now, &policy);
        for _ in 0..20 {
            match machine.state() {
                State::Killing => machine.on(Event::Emptied, now, &policy),
                State::Clearing => machine.on(Event::Cleared, now, &policy),
                State::StopHook | State::DestroyHook => machine.on(Event::HooksOver(None), now, &policy),
                State::Stopping { .. } => {
                    now = machine.deadline_ms().unwrap().max(now);
                    machine.on(Event::TimeOut, now, &policy)
                }
                _ => break,
            };
        }
        prop_assert!(matches!(machine.state(), State::Down | State::Failed));
        prop_assert_eq!(machine.deadline_ms(), None);
    }
}

#[test]
fn since_when_a_guest_is_missed_is_known_and_outlives_the_program() {
    let mut bench = Bench::new(policy(Restart::Never));
    assert_eq!(bench.machine.missed_since_ms(), None);
    bench.on(Event::Start);
    bench.now = 2_000;
    bench.walk(&[(Event::DependenciesReady, State::Starting), (Event::Born, State::Starting)]);
    assert_eq!(bench.machine.missed_since_ms(), Some(1_000));
    let kept = crate::supervise::kept::Kept::new().unwrap();
    kept.put_guest(0, |put| bench.machine.keep(put)).unwrap();
    let again = kept.guest(0, Machine::recall).unwrap();
    assert_eq!(std::format!("{again:?}"), std::format!("{:?}", bench.machine));
    bench.on(Event::Executed);
    assert_eq!((bench.machine.state(), bench.machine.missed_since_ms()), (State::Ready, None));
    bench.on(Event::Exited(Exit::Code(1)));
    assert_eq!(bench.machine.missed_since_ms(), Some(2_000));
}
