//! Signals that the first process of a guest does not hear.
//!
//! A signal without a handler ends an ordinary process, but the kernel spares the init of a pid namespace
//! (pid_namespaces(7)), and so does every program that was not written to be one. Waiting for such a guest to go would
//! take all of its `stop` time for nothing; it is treated like the ordinary process that it thinks it is.

use crate::host::files;
use crate::text::Made;

/// What ends no process that does not handle it (signal(7)): these are ignored, stop it or let it go on.
const HARMLESS: [i32; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Whether `signal` would have ended process `pid` if it were not the init of a pid namespace. Where that cannot be
/// known, it would not.
#[must_use]
pub fn is_unheard(pid: u32, signal: u8) -> bool {
    let mut buffer = [0; 4096];
    if HARMLESS.contains(&i32::from(signal)) {
        return false;
    }
    let Some(status) = read(format_args!("/proc/{pid}/status"), &mut buffer) else { return false };
    let is_asleep = status.windows(ASLEEP.len()).any(|window| window == ASLEEP);
    would_end(status, signal) && !(is_asleep && i32::from(signal) < REAL_TIME && waits_for_signals(pid))
}

/// Whether process `pid` is in sigtimedwait(2), as busybox init always is. Signals that are waited for so are not blocked
/// meanwhile, and the kernel does not tell which they are; nobody is known who waits for real-time ones.
///
/// Older kernels do not say where a process sleeps: then it may be there. The number of its call would tell, but reading that
/// takes a lock which the process can hold as long as it likes.
fn waits_for_signals(pid: u32) -> bool {
    let mut buffer = [0; 256];
    read(format_args!("/proc/{pid}/wchan"), &mut buffer).is_some_and(may_wait)
}

/// Whether who sleeps at this place in the kernel may be in sigtimedwait(2).
fn may_wait(place: &[u8]) -> bool {
    place == b"0" || place.starts_with(b"do_sigtimedwait")
}

/// proc_pid_status(5): asleep, and to be woken by signals.
const ASLEEP: &[u8] = b"\nState:\tS";
/// The kernel's SIGRTMIN (signal(7)).
const REAL_TIME: i32 = 32;

fn read<'a>(path: core::fmt::Arguments<'_>, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    files::read_path(Made::new(path).as_c_str(), buffer).ok()
}

/// proc_pid_status(5): SigBlk for who reads it from a descriptor, SigIgn, SigCgt; hexadecimal, the first signal is bit 0.
fn would_end(status: &[u8], signal: u8) -> bool {
    let mask = |name: &[u8]| {
        let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name))?;
        line.trim_ascii().iter().try_fold(0, |mask, byte| Some(mask << 4 | u64::from(char::from(*byte).to_digit(16)?)))
    };
    let masks = [mask(b"SigBlk:"), mask(b"SigIgn:"), mask(b"SigCgt:")];
    masks.into_iter().all(|mask| mask.is_some_and(|mask| mask >> (signal.clamp(1, 64) - 1) & 1 == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_heard_by_who_blocks_ignores_or_catches_it() {
        let status =
            b"Name:\tx\nSigQ:\t0/1\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000000002\nSigCgt:\t0000000000004000\n";
        for (signal, ends) in [(1, false), (2, false), (15, false), (3, true), (64, true)] {
            assert_eq!(would_end(status, signal), ends, "{signal}");
        }
        assert!(!would_end(b"Name:\tx\n", 15), "not known");
    }

    fn until(holds: impl Fn() -> bool) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !holds() {
            assert!(std::time::Instant::now() < deadline, "never");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    #[test]
    fn who_waits_for_signals_hears_the_ordinary_ones() {
        let script = "import signal; print(flush=True); signal.sigtimedwait([signal.SIGUSR2], 1000)";
        let mut python = std::process::Command::new("python3");
        let mut waiter = python.args(["-c", script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        until(|| !is_unheard(waiter.id(), libc::SIGUSR2 as u8));
        assert!(is_unheard(waiter.id(), 37));
        waiter.kill().unwrap();
        waiter.wait().unwrap();
    }

    #[test]
    fn who_sleeps_nobody_knows_where_may_hear() {
        for (place, may) in [(&b"do_sigtimedwait.isra.0"[..], true), (b"0", true), (b"hrtimer_nanosleep", false)] {
            assert_eq!(may_wait(place), may);
        }
    }

    #[test]
    fn the_kernel_writes_it_so() {
        // The test harness handles no SIGUSR1; it blocks every signal while it makes a thread.
        until(|| is_unheard(std::process::id(), libc::SIGUSR1 as u8));
        assert!(!is_unheard(std::process::id(), libc::SIGWINCH as u8));
    }
}
