//! Guests and host as clients see them: what [`wire`] sends.

use core::fmt::Write;

use rustix::process::Pid;

use super::driver::Driver;
use super::health::{Activity, Health};
use super::oom::{Full, Victim};
use super::state::{Exit, Illness, State};
use crate::control::wire::{
    self, BoundsInfo, GivenDevice, GivenDevices, GuestInfo, HealthInfo, HostInfo, JoinInfo, MissingInfo, Name, Place,
    VictimInfo,
};
use crate::guest::cgroup::SERVICES;
use crate::host::boot::Report;
use crate::limits;
use crate::plan::{GuestId, Kind};

/// Bytes of the name of a guest's cgroup, below the root of the cgroup v2 file system.
pub const CGROUP_BYTES: usize = 512;
/// The name of a guest's cgroup.
pub type Cgroup = heapless::String<CGROUP_BYTES>;
/// What a guest waits for.
pub type Awaits = heapless::String<{ wire::AWAITS_BYTES }>;

/// What does not change while a supervisor runs.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The cgroup below which the guests' are, below the root of the cgroup v2 file system: `inn`.
    pub base: &'a str,
    /// The config file.
    pub config: &'a str,
    /// When this supervisor started.
    pub started_ms: u64,
    /// What is known of the host's boot, where this is its init.
    pub report: Report,
}

/// One guest.
pub fn guest<'b>(
    driver: &'b Driver<'_>,
    facts: &Facts<'_>,
    id: GuestId,
    now_ms: u64,
    (cgroup, awaits): (&'b mut Cgroup, &'b mut Awaits),
) -> Option<GuestInfo<'b>> {
    let plan = driver.plan();
    let (guest, now) = driver.guest(id).zip(driver.now(id))?;
    let name = plan.strings.str(guest.name);
    let machine = now.machine;
    // Where nothing of it exists there is no cgroup to be read.
    let usage = if machine.is_down() { None } else { driver.usage(id) };
    let exit = machine.exit();
    let place = match exit {
        Some(Exit::Failed(fault)) => driver.place(guest, fault),
        _ => None,
    };
    // What does not fit is cut.
    let _ = driver.tell_awaited(id, awaits);
    let health = driver.health(id).filter(|_| is_up(machine.state()));
    // What a hook said that kept it from starting is of interest too.
    let is_kept = is_up(machine.state()) || matches!(exit, Some(Exit::Failed(fault)) if fault.step.is_hook());
    let said = driver.health(id).filter(|_| is_kept);
    let waits_for = driver.waits_for(id).and_then(|other| driver.guest(other));
    Some(GuestInfo {
        name,
        kind: guest.kind,
        state: if is_up(machine.state()) && driver.is_frozen(id) {
            wire::State::Frozen
        } else {
            state(machine.state())
        },
        waits_for: waits_for.and_then(|other| Name::new(plan.strings.bytes(other.name))).unwrap_or(Name::ALL),
        is_stuck: machine.is_stuck(),
        pid: now.pid,
        uptime_ms: (now.pid != 0).then(|| now_ms.saturating_sub(now.born_ms)),
        memory_bytes: usage.and_then(|usage| usage.memory_bytes),
        memory_limit_bytes: guest.limits.memory_bytes,
        swap_limit_bytes: guest.limits.swap_bytes,
        cpu_us: usage.map(|usage| usage.cpu_us),
        cpus_limit_milli: guest.limits.cpus_milli,
        processes: usage.and_then(|usage| usage.processes),
        // Where there is no controller, nothing is limited; a guest that asks does not start there.
        processes_limit: driver.base().has("pids").then_some(guest.limits.processes),
        oom_kills: now.oom_kills,
        processes_refused: now.processes_refused.saturating_add(usage.map_or(0, |usage| usage.processes_refused)),
        restarts: machine.restarts(),
        next_start_ms: (machine.state() == State::Delayed)
            .then(|| machine.deadline_ms().unwrap_or(now_ms).saturating_sub(now_ms)),
        exit: exit.and_then(wire_exit),
        place: place.map(|(file, line)| Place { file, line }),
        users: plan.users(guest),
        autostart: guest.autostart,
        root: plan.strings.str(guest.root),
        cgroup: name_cgroup(facts, guest.kind, name, cgroup),
        description: plan.strings.str(guest.description),
        cpu_throttled: now.cpu_throttled.saturating_add(usage.map_or(0, |usage| usage.cpu_throttled)),
        victim: driver.victim(id).map(|(of, at_ms)| victim(of, now_ms.saturating_sub(*at_ms))),
        pending: plan.pending(id),
        is_removed: guest.is_removed,
        awaits,
        said: said.map_or("", Health::said),
        activity: health.map_or(wire::Activity::None, |health| activity(health.activity())),
        watchdog_ms: health.and_then(Health::watchdog_ms),
        health: health.zip(plan.health(guest).filter(|check| !check.command.is_empty())).map(|(health, check)| {
            // What was seen before it was ready is no matter.
            let findings = health.findings(now_ms).filter(|_| machine.state() != State::Running);
            let (failures, ago_ms, fault) = match findings {
                Some((failures, ago_ms, fault)) => (failures, Some(ago_ms), fault),
                None => (0, None, None),
            };
            HealthInfo { failures, limit: check.failures, ago_ms, fault }
        }),
    })
}

/// A process that was killed so many milliseconds ago.
#[must_use]
pub fn victim(victim: &Victim, ago_ms: u64) -> VictimInfo<'_> {
    VictimInfo { name: victim.name(), pid: victim.pid, ago_ms, full: full(victim.full) }
}

/// What a guest may do.
pub fn bounds<'a>(driver: &'a Driver<'_>, id: GuestId) -> Option<BoundsInfo<'a>> {
    let guest = driver.guest(id)?;
    let plan = driver.plan();
    let devices = plan.devices.get(guest.devices).iter().map(|device| {
        let path = plan.strings.str(device.path);
        GivenDevice {
            path: path.get(..path.floor_char_boundary(wire::DEVICE_BYTES)).unwrap_or_default(),
            access: device.access,
        }
    });
    Some(BoundsInfo {
        kind: guest.kind,
        is_mapped: guest.users.is_some(),
        confinement: guest.confinement,
        devices: GivenDevices::new(devices),
    })
}

/// What a command needs to join a guest; nothing while its program does not run.
pub fn join<'b>(
    driver: &'b Driver<'_>,
    facts: &Facts<'_>,
    id: GuestId,
    cgroup: &'b mut Cgroup,
) -> Option<JoinInfo<'b>> {
    let guest = driver.guest(id)?;
    let name = driver.plan().strings.str(guest.name);
    let (confinement, users, user) = (guest.confinement, driver.plan().users(guest), guest.user);
    Some(JoinInfo {
        name,
        kind: guest.kind,
        confinement,
        users,
        user,
        cgroup: name_cgroup(facts, guest.kind, name, cgroup),
    })
}

/// The host.
pub fn host<'b>(driver: &Driver<'_>, facts: &Facts<'b>, going_down: bool, now_ms: u64) -> HostInfo<'b> {
    let guests = || driver.ids().filter(|id| driver.guest(*id).is_some());
    let count = |is: fn(State) -> bool| guests().filter(|&id| is(driver.state(id))).count() as u32;
    let pid = rustix::process::getpid();
    let kept = driver.keeper.as_ref().map(|keeper| *keeper.host()).unwrap_or_default();
    HostInfo {
        version: env!("CARGO_PKG_VERSION"),
        config: facts.config,
        pid: pid.as_raw_nonzero().get() as u32,
        uptime_ms: now_ms.saturating_sub(facts.started_ms),
        guests: guests().count() as u32,
        running: count(is_up),
        failed: count(|state| state == State::Failed),
        going_down,
        // Only PID 1 takes anything away.
        hardening: if pid == Pid::INIT { driver.plan().host.hardening } else { 0 },
        cgroup: facts.base,
        reserve_bytes: driver.plan().host.reserve_bytes,
        boot_ms: facts.report.timeline,
        died: kept.died as u32,
        replaced: kept.replaced as u32,
        is_safe: driver.is_safe,
    }
}

/// What is missing of the host's file systems, by its place.
#[must_use]
pub fn missing<'a>(facts: &Facts<'a>, index: u16) -> Option<MissingInfo<'a>> {
    let missing = facts.report.missing.get(usize::from(index))?;
    Some(MissingInfo { target: missing.target(), is_optional: missing.is_optional, fault: missing.fault })
}

/// Whether a guest in this state has a program that runs.
#[must_use]
pub fn is_up(state: State) -> bool {
    matches!(state, State::Running | State::Ready | State::Stopping { .. })
}

fn name_cgroup<'b>(facts: &Facts<'_>, kind: Kind, name: &str, cgroup: &'b mut Cgroup) -> &'b str {
    cgroup.clear();
    let apart = if kind == Kind::Service { SERVICES } else { "" };
    // The base was checked to leave room for a name.
    let _ = write!(cgroup, "{}{apart}/{name}", facts.base);
    cgroup
}

const _: () = assert!(limits::NAME_BYTES < CGROUP_BYTES && CGROUP_BYTES <= wire::TEXT_BYTES);

fn state(state: State) -> wire::State {
    match state {
        State::Down => wire::State::Down,
        State::Waiting => wire::State::Waiting,
        State::Starting => wire::State::Starting,
        State::Running => wire::State::Running,
        State::Ready => wire::State::Ready,
        State::Stopping { .. } => wire::State::Stopping,
        State::Killing => wire::State::Killing,
        State::StopHook | State::Clearing | State::DestroyHook => wire::State::Clearing,
        State::Delayed => wire::State::Delayed,
        State::Failed => wire::State::Failed,
    }
}

fn activity(activity: Activity) -> wire::Activity {
    match activity {
        Activity::None => wire::Activity::None,
        Activity::Reloading => wire::Activity::Reloading,
        Activity::Stopping => wire::Activity::Stopping,
    }
}

fn full(full: Full) -> wire::Full {
    match full {
        Full::Guest => wire::Full::Guest,
        Full::Inside => wire::Full::Inside,
        Full::AllGuests => wire::Full::AllGuests,
        Full::Host => wire::Full::Host,
    }
}

fn wire_exit(exit: Exit) -> Option<wire::Exit> {
    Some(match exit {
        Exit::Code(code) => wire::Exit::Code(code),
        Exit::Signal(signal) => wire::Exit::Signal(signal),
        Exit::OutOfMemory => wire::Exit::OutOfMemory,
        Exit::Failed(fault) => wire::Exit::Failed(fault),
        Exit::PowerOff | Exit::Reboot => wire::Exit::Code(0),
        Exit::Unhealthy(why) => wire::Exit::Unhealthy(illness(why)),
        Exit::Unknown => return None,
    })
}

/// Why a guest counts as not well.
#[must_use]
pub fn illness(illness: Illness) -> wire::Illness {
    match illness {
        Illness::Watchdog => wire::Illness::Watchdog,
        Illness::Trigger => wire::Illness::Trigger,
        Illness::Check => wire::Illness::Check,
    }
}
