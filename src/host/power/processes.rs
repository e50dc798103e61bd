//! Every process of the host: asked to end, killed, and told of where it stays.

use core::fmt;
use core::mem::MaybeUninit;

use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir};
use rustix::process::{Pid, PidfdFlags};

use crate::host::console::{Console, Level};
use crate::host::files;
use crate::host::wait::Waiter;
use crate::limits;
use crate::sys::wait::{self, Which};
use crate::sys::{clock, signal};
use crate::text::{Made, number};

/// Of those that stay so many are told one by one.
const TOLD: usize = 16;
/// So many that end silently are waited for at once.
const SILENT: usize = 16;
/// The kernel's own threads have this flag (linux/sched.h).
const KTHREAD: u32 = 0x0020_0000;

/// Ends every process, politely first, and tells of those that are left at `deadline_ms` of [`clock::now_ms`].
pub fn end(console: &Console, waiter: &mut Waiter<'_>, deadline_ms: u64) {
    // Our own, which hear no signal but this one; what they did is of no use any more.
    each(&mut |process| {
        if process.is_silent_child() {
            let _ = Pid::from_raw(process.pid as i32).map(|pid| signal::send_to(pid, libc::SIGKILL as u8));
        }
    });
    // HUP is what an interactive shell ends on; CONT, as what is stopped hears no other.
    for number in [libc::SIGTERM, libc::SIGHUP, libc::SIGCONT] {
        let _ = signal::send_to_all(number as u8);
    }
    let now_ms = clock::now_ms();
    let left_ms = deadline_ms.saturating_sub(now_ms);
    if all_end(waiter, now_ms.saturating_add(limits::FINAL_TERM_MS.min(left_ms / 3 * 2))) {
        return;
    }
    let _ = signal::send_to_all(libc::SIGKILL as u8);
    if !all_end(waiter, clock::now_ms().saturating_add(limits::FINAL_KILL_MS).min(deadline_ms)) {
        tell_left(console);
    }
}

/// Reaps until there is nobody left, and returns whether that was before `deadline_ms`. PID 1 inherits every child of
/// every process that ends, so without children it is alone.
fn all_end(waiter: &mut Waiter<'_>, deadline_ms: u64) -> bool {
    let Ok(ended) = signal::descriptor(signal::Set::NONE.with(libc::SIGCHLD as u8)) else { return false };
    loop {
        while let Ok(Some(_)) = signal::next(ended.as_fd()) {}
        let ordinary = reap_all(Which::Ordinary);
        let silent = reap_all(Which::Silent);
        if ordinary && silent {
            return true;
        }
        if clock::now_ms() >= deadline_ms {
            return false;
        }
        // The end of a silent one is told by nothing but a descriptor of its own.
        let pidfds = if silent { heapless::Vec::new() } else { silent_children() };
        let mut fds = heapless::Vec::<_, { SILENT + 1 }>::new();
        for fd in pidfds.iter().map(AsFd::as_fd).chain([ended.as_fd()]) {
            let _ = fds.push((fd, PollFlags::IN));
        }
        waiter.wait(&fds, deadline_ms);
    }
}

/// Reaps those that have ended; whether there are none left.
fn reap_all(which: Which<'_>) -> bool {
    loop {
        match wait::reap(which) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

fn silent_children() -> heapless::Vec<OwnedFd, SILENT> {
    let mut pidfds = heapless::Vec::new();
    each(&mut |process| {
        let pid = Pid::from_raw(process.pid as i32).filter(|_| process.is_silent_child() && !pidfds.is_full());
        if let Some(pid) = pid
            && let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        {
            // It is not full.
            let _ = pidfds.push(pidfd);
        }
    });
    pidfds
}

/// Says who has not ended, though killed: each hangs in the kernel.
fn tell_left(console: &Console) {
    let mut count = 0usize;
    each(&mut |process| {
        // PID 1 is this process; a zombie has ended, and whoever is to wait for it hangs.
        if process.pid == 1 || process.is_kernels || process.state == b'Z' {
            return;
        }
        count += 1;
        if count <= TOLD {
            let mut line = [0; 512];
            let owner = Owner::of(process.pid, &mut line);
            let name = core::str::from_utf8(process.name).unwrap_or("?");
            let (pid, state) = (process.pid, char::from(process.state));
            console.say(
                Level::Error,
                format_args!("killed, and still there: process {pid} ({name}), state {state}{owner}"),
            );
        }
    });
    if let Some(more @ 1..) = count.checked_sub(TOLD) {
        console.say(Level::Error, format_args!("killed, and still there: {more} more"));
    }
}

/// Whose process it is, as a part of a sentence; nothing for one of the host's own.
#[derive(Debug, PartialEq, Eq)]
struct Owner<'a>(&'a str, &'a str);

impl<'a> Owner<'a> {
    fn of(pid: u32, buffer: &'a mut [u8]) -> Owner<'a> {
        let path = Made::new(format_args!("/proc/{pid}/cgroup"));
        Owner::parse(files::read_path(path.as_c_str(), buffer).unwrap_or_default())
    }

    /// From the lines of cgroups(7).
    fn parse(text: &'a [u8]) -> Owner<'a> {
        let path = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::/inn"));
        let found = path.and_then(|path| match path.strip_prefix(b".services") {
            Some(rest) => Some((", service ", rest.strip_prefix(b"/")?)),
            None => Some((", guest ", path.strip_prefix(b"/")?)),
        });
        let (kind, rest) = found.unwrap_or_default();
        let name = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
        Owner(kind, core::str::from_utf8(name).unwrap_or("?"))
    }
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        f.write_str(self.1)
    }
}

/// A process, as `/proc/PID/stat` has it (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process<'a> {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// What it calls itself.
    pub name: &'a [u8],
    /// The kernel's letter for it.
    pub state: u8,
    /// A thread of the kernel.
    pub is_kernels: bool,
    /// What its parent is sent when it ends; 0: nothing.
    pub exit_signal: u8,
}

impl<'a> Process<'a> {
    /// From the line of that file; nothing where it is none.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Option<Process<'a>> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        // Its name may have any bytes.
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let pid = number(text.get(..open)?.trim_ascii_end())?;
        let name = text.get(open + 1..close)?;
        // The state is field 3; the parent's number 4, the flags 9, the exit signal 38.
        let mut fields = text.get(close + 1..)?.trim_ascii().split(|byte| *byte == b' ');
        let state = *fields.next()?.first()?;
        let parent = number(fields.next()?)?;
        let flags: u32 = number(fields.nth(4)?)?;
        let exit_signal = number(fields.nth(28)?)?;
        Some(Process { pid, parent, name, state, is_kernels: flags & KTHREAD != 0, exit_signal })
    }

    /// Whether it is a child of PID 1 whose end raises no signal: one of ours, before any exec. Whoever is inherited has a
    /// signal again.
    fn is_silent_child(&self) -> bool {
        self.parent == 1 && self.exit_signal == 0 && !self.is_kernels
    }
}

/// Calls `each` with every process; with none where there is no `/proc`.
fn each(each: &mut dyn FnMut(&Process<'_>)) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(proc) = rustix::fs::openat(CWD, c"/proc", flags, Mode::empty()) else { return };
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(proc, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let Some(pid) = number::<u32>(entry.file_name().to_bytes()) else { continue };
        let mut text = [0; 1024];
        let path = Made::new(format_args!("/proc/{pid}/stat"));
        let text = files::read_path(path.as_c_str(), &mut text).unwrap_or_default();
        if let Some(process) = Process::parse(text) {
            each(&process);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_looks_like_the_rest_is_read() {
        let text = b"77 (a) R 1 (b) D 1 77 77 0 -1 4194560 100 0 0 0 0 0 0 0 20 0 1 0 100 0 0 18446744073709551615 \
            0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let process = Process::parse(text).unwrap();
        assert_eq!(
            process,
            Process { pid: 77, parent: 1, name: b"a) R 1 (b", state: b'D', is_kernels: false, exit_signal: 17 }
        );
        assert!(!process.is_silent_child());
        assert!(Process { exit_signal: 0, ..process }.is_silent_child());
    }

    #[test]
    fn this_process_and_the_kernels_are_told_apart() {
        let own = std::process::id();
        let mut found = None;
        each(&mut |process| {
            assert!(!process.is_kernels || process.parent == 2 || process.pid == 2);
            if process.pid == own {
                found = Some((process.parent, process.exit_signal, process.is_kernels));
            }
        });
        assert_eq!(found, Some((std::os::unix::process::parent_id(), libc::SIGCHLD as u8, false)));
    }

    #[test]
    fn a_process_is_the_guests_or_the_services_whose_cgroup_it_is_in() {
        let cases: [(&[u8], &str); 5] = [
            (b"0::/inn/web/guest/a\n", ", guest web"),
            (b"12:pids:/x\n0::/inn.services/sshd\n", ", service sshd"),
            (b"0::/inn.services/web+hooks\n", ", service web+hooks"),
            (b"0::/\n", ""),
            (b"", ""),
        ];
        for (text, owner) in cases {
            assert_eq!(std::format!("{}", Owner::parse(text)), owner);
        }
    }
}
