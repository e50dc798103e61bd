//! How the kernel shares its processors and disks out to a process (sched(7), ioprio_set(2)), and how it runs its programs.

use rustix::process::Pid;

use super::{Errno, call};

/// `IOPRIO_WHO_PROCESS`
const PROCESS: usize = 1;

/// What the kernel gives to an ordinary process.
const TIMER_SLACK_NS: usize = 50_000;

/// Makes this process one like `pid`, whatever whoever started it was: an ordinary one, with that one's niceness, processors
/// and share of the disks, whose programs run as they do by default.
///
/// # Errors
/// ESRCH.
pub fn like(pid: Pid) -> Result<(), Errno> {
    let nice = rustix::process::getpriority_process(Some(pid))?;
    let number = pid.as_raw_nonzero().get() as usize;
    let ordinary = libc::sched_param { sched_priority: 0 };
    let list = [0, libc::SCHED_OTHER as usize, &raw const ordinary as usize];
    // SAFETY: reads a sched_param, which lives beyond the call.
    unsafe { call(libc::SYS_sched_setscheduler, list) }?;
    // To what is less everybody may change. A caller that may not change to more: the command then has less than the guest.
    let _ = rustix::process::setpriority_process(None, nice);
    // A machine may have more processors than fit, or no disks.
    if let Ok(processors) = rustix::thread::sched_getaffinity(Some(pid)) {
        let _ = rustix::thread::sched_setaffinity(None, &processors);
    }
    // SAFETY: takes no pointer.
    if let Ok(share) = unsafe { call(libc::SYS_ioprio_get, [PROCESS, number]) } {
        // SAFETY: takes no pointer.
        let _ = unsafe { call(libc::SYS_ioprio_set, [PROCESS, 0, share]) };
    }
    // SAFETY: takes no pointer.
    unsafe { call(libc::SYS_prctl, [libc::PR_SET_TIMERSLACK as usize, TIMER_SLACK_NS]) }?;
    // SAFETY: takes no pointer; what it changes is how the next program is laid out.
    unsafe { call(libc::SYS_personality, [0]) }.map(drop)
}
