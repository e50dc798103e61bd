//! The helper: a child of PID 1 with the host's privileges, for one start. It may hang or die; PID 1 does not.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Pid, Uid};

use super::{Build, Prepared, about, bind, child, devices, hook, inside, lock, notify, own, report, root, terminals};
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::{Extents, Kind, Moment, Network};
use crate::sys::clone::{Flags, Side, clone, unshare_time};
use crate::sys::rlimit::{self, Limit};
use crate::sys::{Errno, clock, privilege, process, signal};
use crate::text::Made;

/// Builds the guest as far as the host must, and ends.
pub fn run(build: &Build<'_>) -> ! {
    match line(build) {
        Ok(()) => process::exit(0),
        Err(fault) => {
            report::send_fault(build.reports.as_fd(), fault);
            process::exit(1)
        }
    }
}

fn line(build: &Build<'_>) -> Result<(), Fault> {
    // Before anything of the guest exists: it must never read this process's memory, descriptors or program (/proc/PID/).
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::HideHelper)?;
    // First of all that remains: whatever fails later, its cgroup is where the rest is found and killed.
    let users = build.plan.users(build.guest);
    let cgroup = build.base.make(build.member, build.guest, &users, build.plan)?;
    if build.guest.kind == Kind::Service {
        return service(build, cgroup.as_fd());
    }
    hooks(build, Moment::Create, None, None)?;
    let has_start_hooks = !build.plan.hooks(build.guest, Moment::Start).is_empty();
    let view = has_start_hooks.then(hook::View::open).transpose()?;
    let is_inside = inside::is_so();
    if is_inside {
        inside::clear_view()?;
    }
    let given = devices::find(build.plan, build.guest)?;
    devices::guard(build, &given)?;
    let is_reachable = own::is_reachable(build.guest.kind, !users.is_empty(), build.guest.user);
    let mut prepared = Prepared {
        program: is_reachable.then(own::open).transpose()?,
        // The first thing that can hang: a path on storage.
        root: root::open(build.plan, build.guest)?,
        binds: bind::open(build.plan, build.guest)?,
        devices: devices::make(build.plan, build.guest, &given, is_inside)?,
        terminals: (is_made_by_init() && !is_inside).then(|| terminals::make(&users)).transpose().at(Step::MountPts)?,
        release: (build.guest.kind == Kind::Os).then(about::release).flatten(),
        sysfs: (build.guest.network == Network::Host).then(devices::host_sysfs).transpose()?,
        stage: None,
    };
    if lock::is_for(build.guest) || bind::is_locked(build.guest) {
        let devices = lock::prepare(build.guest, prepared.devices.as_fd())?;
        prepared.stage = Some(core::mem::replace(&mut prepared.devices, devices));
    }
    if bind::is_locked(build.guest) {
        bind::prepare(&prepared.binds)?;
    }
    // Its offsets can be written only before a process is in it, so it cannot be made by the clone below.
    own_clocks()?;
    let (ours, theirs) = start_signal()?;
    // The kernel counts what is in a user namespace (namespaces, inotify, processes, locked memory, signals) against the
    // one who made it too: were that the host's root for every guest, one could use up what all of them and root have.
    if !users.is_empty() {
        privilege::act_as(Uid::from_raw(users.root())).at(Step::ActAsGuest)?;
    }
    match clone(namespaces(build), Some(cgroup.as_fd())).at(Step::Clone)? {
        Side::Child => {
            // So that it reads end-of-file if the helper dies.
            drop(ours);
            child::run(build, prepared, theirs.as_fd())
        }
        Side::Parent(pid, pidfd) => {
            // So that this reads end-of-file if the guest dies.
            drop(theirs);
            let finished = report::send_born(build.reports.as_fd(), pid)
                .and_then(|()| finish(build, pid, &users, &prepared, ours.as_fd(), view.as_ref()));
            if finished.is_err() {
                // PID 1 kills its cgroup as well; this is for a birth that could not be reported.
                let _ = signal::send(pidfd.as_fd(), libc::SIGKILL as u8);
            }
            finished
        }
    }
}

/// What a service needs of the helper: a process in its cgroup, with its limits.
fn service(build: &Build<'_>, cgroup: BorrowedFd<'_>) -> Result<(), Fault> {
    notify::make_on_host(build)?;
    let (ours, theirs) = start_signal()?;
    match clone(Flags::PARENT, Some(cgroup)).at(Step::Clone)? {
        Side::Child => {
            drop(ours);
            child::run_service(build, theirs.as_fd())
        }
        Side::Parent(pid, pidfd) => {
            // Not before its birth is reported: one that ended at once would look like anybody's orphan to PID 1.
            let finished = report::send_born(build.reports.as_fd(), pid)
                .and_then(|()| process_directory(pid).at(Step::OpenProcess))
                .and_then(|directory| give(build, pid, directory.as_fd()))
                .and_then(|()| report::release(ours.as_fd(), None));
            if finished.is_err() {
                let _ = signal::send(pidfd.as_fd(), libc::SIGKILL as u8);
            }
            finished
        }
    }
}

/// Runs the host's programs for a moment of a start. What failed is reported already, and once more by whoever returns it:
/// the first counts.
fn hooks(build: &Build<'_>, moment: Moment, pid: Option<Pid>, view: Option<&hook::View>) -> Result<(), Fault> {
    let about = hook::About { plan: build.plan, guest: build.guest, base: build.base, pid, exit: None };
    hook::run(&about, moment, view, build.reports.as_fd())
}

/// The two ends of what lets a new process go on once it is told of.
pub fn start_signal() -> Result<(OwnedFd, OwnedFd), Fault> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .at(Step::StartSignal)
}

fn namespaces(build: &Build<'_>) -> Flags {
    let mut flags = Flags::PARENT
        .and(Flags::NEW_PID)
        .and(Flags::NEW_MOUNT)
        .and(Flags::NEW_IPC)
        .and(Flags::NEW_UTS)
        .and(Flags::NEW_CGROUP);
    if build.guest.users.is_some() {
        flags = flags.and(Flags::NEW_USER);
    }
    if build.guest.network != Network::Host {
        flags = flags.and(Flags::NEW_NETWORK);
    }
    flags
}

/// The guest's uptime starts at nothing (time_namespaces(7)).
fn own_clocks() -> Result<(), Fault> {
    match unshare_time() {
        Ok(()) => {}
        // A kernel without time namespaces: the guest reads the host's uptime, which `inn check` says.
        Err(Errno::INVAL) => return Ok(()),
        Err(error) => return Err(error).at(Step::TimeNamespace),
    }
    let now = |id| clock::now(id).tv_sec as u64;
    let (monotonic, boottime) = (now(libc::CLOCK_MONOTONIC), now(libc::CLOCK_BOOTTIME));
    let lines = Made::new(format_args!("monotonic -{monotonic} 0\nboottime -{boottime} 0\n"));
    match write_to(CWD, c"/proc/self/timens_offsets", lines.as_bytes()) {
        // In a guest, which has no power over clocks: what is inside it reads its uptime.
        Err(Errno::PERM | Errno::ACCESS) if inside::is_so() => Ok(()),
        result => result.at(Step::ClockOffset),
    }
}

/// The guest exists and waits: gives it its users, limits and root, and lets it go on.
fn finish(
    build: &Build<'_>,
    pid: Pid,
    users: &Extents,
    prepared: &Prepared,
    go: BorrowedFd<'_>,
    view: Option<&hook::View>,
) -> Result<(), Fault> {
    let guest = build.guest;
    let directory = process_directory(pid).at(Step::OpenProcess)?;
    give(build, pid, directory.as_fd())?;
    let namespace = if users.is_empty() { None } else { Some(own_users(directory.as_fd(), users)?) };
    let users = namespace.as_ref().map(|namespace| (users, namespace.as_fd()));
    // Until here as the namespace's owner, who may limit what is in it. Files are the host's root's to make.
    if users.is_some() {
        privilege::stop_acting().at(Step::ActAsGuest)?;
    }
    if let Some((users, namespace)) = users {
        devices::own(prepared.devices.as_fd(), users, namespace)?;
    }
    bind::own(&prepared.binds, build.plan, guest, users.map(|(_, namespace)| namespace))?;
    if let Some(stage) = prepared.stage.as_ref().filter(|_| lock::is_for(guest)) {
        lock::answer(guest, go, stage.as_fd(), prepared.sysfs.as_ref())?;
    }
    let owner = root::Owner { guest, member: build.member, users, base: build.base, apart: prepared.stage.is_some() };
    let replaced = root::finish(prepared.root.as_fd(), &owner)?;
    hooks(build, Moment::Start, Some(pid), view)?;
    report::release(go, replaced.as_ref().map(AsFd::as_fd))
}

/// Three numbers of ten digits a line (user_namespaces(7)).
const MAP_BYTES: usize = limits::USER_RANGES * 33;

/// Gives the guest its users, and returns its user namespace.
fn own_users(directory: BorrowedFd<'_>, users: &Extents) -> Result<OwnedFd, Fault> {
    let mut map = heapless::String::<MAP_BYTES>::new();
    for (inside, range) in users.each() {
        let _ = writeln!(map, "{inside} {} {}", range.base, range.count);
    }
    write_to(directory, c"uid_map", map.as_bytes()).at(Step::MapUsers)?;
    write_to(directory, c"gid_map", map.as_bytes()).at(Step::MapGroups)?;
    rustix::fs::openat(directory, c"ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at(Step::OpenUsers)
}

/// What a start gives to the first process, and that process to all that it makes.
fn give(build: &Build<'_>, pid: Pid, directory: BorrowedFd<'_>) -> Result<(), Fault> {
    let guest = build.guest;
    // PID 1's own is raised for all its guests together.
    rlimit::set_open_files(Some(pid)).at(Step::SetOpenFiles)?;
    for (index, limit) in build.plan.rlimits.get(guest.rlimits).iter().enumerate() {
        let wanted = Limit { soft: limit.soft, hard: limit.hard };
        rlimit::set(Some(pid), limit.resource, wanted).at_item(Step::SetRlimit, index)?;
    }
    // PID 1's own is one that nothing else may have.
    if guest.limits.oom_score != 0 || is_made_by_init() {
        let line = Made::new(format_args!("{}", i32::from(guest.limits.oom_score)));
        write_to(directory, c"oom_score_adj", line.as_bytes()).at(Step::OomScore)?;
    }
    Ok(())
}

/// Whether this is a helper of PID 1.
fn is_made_by_init() -> bool {
    rustix::process::getppid().is_some_and(Pid::is_init)
}

/// Opens the directory of process `pid` in `/proc`.
///
/// # Errors
/// As open(2).
pub fn process_directory(pid: Pid) -> Result<OwnedFd, Errno> {
    let path = Made::new(format_args!("/proc/{}", pid.as_raw_nonzero()));
    rustix::fs::openat(CWD, path.as_c_str(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn write_to(directory: BorrowedFd<'_>, path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::openat(directory, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, bytes).map(drop)
}
