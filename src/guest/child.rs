//! The guest's own side of a start: one straight line from its first instruction to exec.

use core::convert::Infallible;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::CWD;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};
use rustix::process::{Gid, Signal, Uid};

use super::{Build, Prepared, Stdio, bind, command, confine, lock, notify, own, report, stdio, view};
use crate::fault::{At, Fault, Step};
use crate::plan::Network;
use crate::sys::{link, process};

/// Becomes the guest's program.
pub fn run(build: &Build<'_>, prepared: Prepared, go: BorrowedFd<'_>) -> ! {
    let Err(fault) = line(build, &prepared, go);
    give_up(build, fault)
}

/// Becomes the service's program.
pub fn run_service(build: &Build<'_>, go: BorrowedFd<'_>) -> ! {
    let Err(fault) = service(build, go);
    give_up(build, fault)
}

fn give_up(build: &Build<'_>, fault: Fault) -> ! {
    report::send_fault(build.reports.as_fd(), fault);
    process::exit(1)
}

fn line(build: &Build<'_>, prepared: &Prepared, go: BorrowedFd<'_>) -> Result<Infallible, Fault> {
    if lock::is_for(build.guest) {
        lock::ask(build.guest, go)?;
    }
    // What needs no user of its own, while the helper works.
    rustix::process::setsid().at(Step::NewSession)?;
    if build.guest.network != Network::Host {
        link::loopback_up().at(Step::Loopback)?;
    }
    rustix::system::sethostname(build.plan.strings.bytes(build.guest.hostname)).at(Step::Hostname)?;
    let replaced = report::await_release(go)?;
    let root = replaced.as_ref().unwrap_or(&prepared.root).as_fd();
    if build.guest.users.is_some() {
        // Until now it was the host's root, whom its own user namespace does not know.
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at(Step::SetGroup)?;
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at(Step::SetUser)?;
    }
    enter(build, prepared, root)?;
    become_program(build, prepared.devices.as_fd(), prepared.program.as_ref().map(AsFd::as_fd))
}

fn service(build: &Build<'_>, go: BorrowedFd<'_>) -> Result<Infallible, Fault> {
    report::await_release(go)?;
    rustix::process::setsid().at(Step::NewSession)?;
    become_program(build, CWD, None)
}

/// Makes `root` the root, with what every guest finds in it, and leaves the host's behind.
fn enter(build: &Build<'_>, prepared: &Prepared, root: BorrowedFd<'_>) -> Result<(), Fault> {
    // Nothing mounted here from now on is seen by the host, nor the other way round.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", private).at(Step::PrivatePropagation)?;
    // Over the old root, for a root must be attached to be pivoted to.
    let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(root, c"", CWD, c"/", whole).at(Step::AttachRoot)?;
    // While this process's own root is still the host's: behind pivot_root the old root lies on the new one, and `..` there
    // leads into it.
    view::mount(build, prepared, root)?;
    bind::mount(build, &prepared.binds, root)?;
    rustix::process::fchdir(root).at(Step::EnterRoot)?;
    // The old root comes to lie over the new one, so it needs no directory there, and `.` is it (pivot_root(2), NOTES).
    rustix::process::pivot_root(c".", c".").at(Step::PivotRoot)?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).at(Step::LeaveOldRoot)
}

/// The end of the line, the same for guests and services. `devices` is a guest's `/dev`; `program` this one, where the guest
/// could change it.
fn become_program(
    build: &Build<'_>,
    devices: BorrowedFd<'_>,
    program: Option<BorrowedFd<'_>>,
) -> Result<Infallible, Fault> {
    let (plan, guest) = (build.plan, build.guest);
    stdio::connect(build, devices, program)?;
    let identity = confine::Identity {
        kind: guest.kind,
        confinement: guest.confinement,
        user: guest.user,
        groups: plan.groups.get(guest.groups),
    };
    confine::confine(&identity)?;
    if build.stdio != Stdio::Log {
        // A guest in the foreground ends with who started it, however that ends. Changing users would have undone this.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::EndWithParent)?;
        // It may have ended before that: then nobody has the other end of the reports.
        let mut reports = [PollFd::new(&build.reports, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::event::poll(&mut reports, Some(&at_once)).at(Step::EndWithParent)? > 0 {
            process::exit(1);
        }
    }
    let directory = if guest.directory.is_empty() { c"/" } else { plan.strings.c_str(guest.directory) };
    rustix::process::chdir(directory).at(Step::Directory)?;
    let notify = notify::variables(build);
    match program {
        Some(program) => {
            let mut command = plan.words.get(guest.command).iter().map(|word| plan.strings.c_str(*word));
            let mut environment = command::own_environment(plan, guest, &notify);
            Err(own::hand_over(program, build.reports.as_fd(), &mut command, &mut environment))
        }
        None => command::execute(plan, guest, &notify),
    }
}
