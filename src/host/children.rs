//! The children of this process, as `/proc` has them (proc_pid_task(5), proc_pid_stat(5)).

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, RawDir};
use rustix::process::{Pid, getpid};

use super::files;
use super::power::processes::Process;
use crate::sys::Errno;
use crate::text::{self, Made};

/// Calls `act` with each child, and whether its end raises no signal: then it is a copy of this program which has become no
/// other since. What cannot be read is left out.
pub fn each(act: &mut dyn FnMut(Pid, bool)) {
    let mut look = |pid: Pid| {
        let mut buffer = [0; 1024];
        let path = Made::new(format_args!("/proc/{}/stat", pid.as_raw_nonzero()));
        let stat = files::read_path(path.as_c_str(), &mut buffer).unwrap_or_default();
        let process = Process::parse(stat);
        if let Some(process) = process.filter(|process| process.parent == getpid().as_raw_nonzero().get() as u32) {
            act(pid, process.exit_signal == 0);
        }
    };
    // Not every kernel has the list.
    if listed(&mut look).is_err() {
        let _ = all(&mut look);
    }
}

fn listed(act: &mut dyn FnMut(Pid)) -> Result<(), Errno> {
    let list = open(c"/proc/thread-self/children", OFlags::empty())?;
    let mut buffer = [0; 1024];
    let mut pid = 0_i32;
    loop {
        let length = rustix::io::read(&list, &mut buffer)?;
        for byte in buffer.iter().take(length) {
            if let digit @ b'0'..=b'9' = byte {
                pid = pid.saturating_mul(10).saturating_add(i32::from(digit - b'0'));
            } else if let Some(pid) = Pid::from_raw(core::mem::take(&mut pid)) {
                act(pid);
            }
        }
        if length == 0 {
            return Ok(());
        }
    }
}

fn all(act: &mut dyn FnMut(Pid)) -> Result<(), Errno> {
    let directory = open(c"/proc", OFlags::DIRECTORY)?;
    let mut buffer = [core::mem::MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        if let Some(pid) = text::number::<i32>(entry?.file_name().to_bytes()).and_then(Pid::from_raw) {
            act(pid);
        }
    }
    Ok(())
}

fn open(path: &core::ffi::CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_raises_a_signal_is_among_them_in_both_lists() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32).unwrap();
        let mut found = std::vec![];
        each(&mut |pid, is_silent| found.push((pid, is_silent)));
        assert!(found.contains(&(pid, false)), "{found:?}");
        let mut found = std::vec![];
        all(&mut |pid| found.push(pid)).unwrap();
        assert!(found.contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
