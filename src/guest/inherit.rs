//! What a command that joins a guest takes over from the guest's first process: what a start gave to that one alone.

use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Uid};

use super::helper;
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::Extents;
use crate::sys::privilege;
use crate::sys::rlimit::{self, Limit};
use crate::sys::schedule;
use crate::text::{self, Made};

/// Bytes of an environment that are taken over; more are left.
const ENVIRONMENT_BYTES: usize = 8192;

/// Of the first process: its environment, its per-process limits, and its supplementary groups as numbers inside.
#[derive(Debug)]
pub struct Inherited {
    environment: heapless::Vec<u8, ENVIRONMENT_BYTES>,
    limits: [Limit; rlimit::COUNT as usize],
    /// Its supplementary groups.
    pub groups: heapless::Vec<u32, { limits::GROUPS }>,
}

/// The guest's first process, as the host sees it.
#[derive(Debug)]
pub struct First {
    pid: Pid,
    /// Its directory in `/proc`.
    pub directory: OwnedFd,
}

impl First {
    /// Finds the process that `pidfd` names.
    ///
    /// # Errors
    /// [`Step::OpenProcess`].
    pub fn open(pidfd: BorrowedFd<'_>) -> Result<First, Fault> {
        open(pidfd).at(Step::OpenProcess)
    }
}

impl Inherited {
    /// Reads them, and takes its share of the processors and its out-of-memory score over at once. To be called with the
    /// host's view, before any namespace is joined.
    ///
    /// # Errors
    /// The step that failed.
    pub fn take(first: &First, users: &Extents) -> Result<Inherited, Fault> {
        let directory = &first.directory;
        let mut limits = [Limit { soft: 0, hard: 0 }; rlimit::COUNT as usize];
        // The owner of its user namespace may look at them, also where the host's root has not CAP_SYS_RESOURCE.
        if !users.is_empty() {
            privilege::act_as(Uid::from_raw(users.root())).at(Step::ActAsGuest)?;
        }
        for (resource, limit) in (0..).zip(&mut limits) {
            *limit = rlimit::get(Some(first.pid), resource).at(Step::SetRlimit)?;
        }
        if !users.is_empty() {
            privilege::stop_acting().at(Step::ActAsGuest)?;
        }
        schedule::like(first.pid).at(Step::Schedule)?;
        take_oom_score(directory.as_fd()).at(Step::OomScore)?;
        let mut environment = heapless::Vec::new();
        // Grown to its capacity to be read into, then cut to what there was.
        let _ = environment.resize_default(ENVIRONMENT_BYTES);
        let len = read(directory.as_fd(), c"environ", &mut environment).at(Step::OpenProcess)?;
        environment.truncate(len);
        let groups = groups(directory.as_fd(), users).at(Step::SetGroups)?;
        Ok(Inherited { environment, limits, groups })
    }

    /// Limits this process as the first one is, which may have set itself limits that leave no room for the steps of a
    /// join: so this comes last.
    ///
    /// # Errors
    /// [`Step::SetRlimit`].
    pub fn limit(&self) -> Result<(), Fault> {
        for (resource, limit) in (0..).zip(self.limits) {
            match rlimit::set(None, resource, limit) {
                // A caller that may not raise its own limit: the command then has less than the guest, not more.
                Ok(()) | Err(Errno::PERM) => {}
                Err(error) => return Err(error).at(Step::SetRlimit),
            }
        }
        Ok(())
    }

    /// The words of the environment.
    pub fn environment(&self) -> impl Iterator<Item = &CStr> + Clone {
        self.environment
            .split_inclusive(|byte| *byte == 0)
            .filter_map(|word| CStr::from_bytes_with_nul(word).ok())
            .filter(|word| word.to_bytes().contains(&b'='))
            .take(limits::COMMAND_WORDS - 1)
    }
}

fn open(pidfd: BorrowedFd<'_>) -> Result<First, Errno> {
    let path = Made::new(format_args!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let mut buffer = [0; 512];
    let len = read(CWD, path.as_c_str(), &mut buffer)?;
    let text = buffer.get(..len).unwrap_or_default();
    // -1 once it has been waited for.
    let number = field(text, b"Pid:").next().ok_or(Errno::SRCH)?;
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    Ok(First { pid, directory: helper::process_directory(pid)? })
}

fn take_oom_score(first: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut score = [0; 16];
    let len = read(first, c"oom_score_adj", &mut score)?;
    let file = rustix::fs::openat(CWD, c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::io::write(file, score.get(..len).unwrap_or_default()) {
        // A caller that may not lower its own: the command then dies before the guest, not after.
        Ok(_) | Err(Errno::ACCESS) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The host sees the groups by its own numbers.
fn groups(first: BorrowedFd<'_>, users: &Extents) -> Result<heapless::Vec<u32, { limits::GROUPS }>, Errno> {
    let mut buffer = [0; 4096];
    let len = read(first, c"status", &mut buffer)?;
    let mut groups = heapless::Vec::new();
    for group in field(buffer.get(..len).unwrap_or_default(), b"Groups:") {
        let inside = if users.is_empty() { Some(group) } else { users.inside(group) };
        // One that the guest does not have comes from nowhere in it.
        if let Some(inside) = inside {
            groups.push(inside).map_err(|_| Errno::OVERFLOW)?;
        }
    }
    Ok(groups)
}

/// The numbers on the line of `text` that begins with `label`.
fn field<'a>(text: &'a [u8], label: &[u8]) -> impl Iterator<Item = u32> + use<'a> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(label)).unwrap_or_default();
    let words = line.split(|byte| byte.is_ascii_whitespace());
    words.filter_map(text::number)
}

/// What a file holds, as far as the buffer goes.
fn read(directory: BorrowedFd<'_>, path: &CStr, buffer: &mut [u8]) -> Result<usize, Errno> {
    let file = rustix::fs::openat(directory, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::read(file, buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_behind_their_label_only() {
        let text = b"Name:\tx\nPid:\t12\nGroups:\t5 6 70000 \nNoNewPrivs:\t0\n";
        let all = |label: &[u8]| field(text, label).collect::<std::vec::Vec<u32>>();
        assert_eq!(all(b"Groups:"), [5, 6, 70000]);
        assert_eq!(all(b"Pid:"), [12]);
        assert_eq!(all(b"Gid:"), [0_u32; 0]);
        assert_eq!(field(b"Pid:\t-1\n", b"Pid:").next(), None);
    }
}
