//! The processes of a guest, read from its cgroups and from /proc: the supervisor is not asked for them.

use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir};

use crate::host::files::{LINE_BYTES, Lines};
use crate::host::mountinfo;
use crate::limits;
use crate::sys::Errno;
use crate::text::{self, Made};

/// Processes shown of one guest.
const PROCESSES: usize = 512;
/// Bytes shown of a command line.
pub const COMMAND_BYTES: usize = 256;

/// A process.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Its number on the host.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// How many ancestors of it are in the guest.
    pub depth: u16,
    shown: bool,
}

/// The processes of a guest.
#[derive(Debug, Default)]
pub struct Tree {
    processes: heapless::Vec<Process, PROCESSES>,
    cut: bool,
}

impl Tree {
    /// No process.
    #[must_use]
    pub fn new() -> Self {
        Tree { processes: heapless::Vec::new(), cut: false }
    }

    /// Reads the processes of `cgroup` (below the root of cgroup v2) and of those below it. What ends meanwhile is left out.
    pub fn read(&mut self, cgroup: &str) {
        if let Some(cgroups) = cgroups()
            && let Ok(directory) = open(cgroups.as_fd(), cgroup)
        {
            self.directory(directory.as_fd(), limits::CGROUP_DEPTH + 2);
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Whether there are more than are kept.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Gives each process and its command line to `each`, children behind their parent.
    pub fn walk(&mut self, each: &mut dyn FnMut(&Process, &[u8])) {
        for index in 0..self.processes.len() {
            let Some(process) = self.processes.get(index).copied() else { return };
            let is_root = !self.processes.iter().any(|other| other.pid == process.parent);
            if is_root {
                self.branch(index, 0, each);
            }
        }
        // What is left is in a circle: its parents changed while it was read.
        for index in 0..self.processes.len() {
            self.branch(index, 0, each);
        }
    }

    fn branch(&mut self, index: usize, depth: u16, each: &mut dyn FnMut(&Process, &[u8])) {
        let Some(process) = self.processes.get_mut(index).filter(|process| !process.shown) else { return };
        process.shown = true;
        process.depth = depth;
        let process = *process;
        let mut buffer = [0; COMMAND_BYTES];
        each(&process, command(process.pid, &mut buffer));
        for child in 0..self.processes.len() {
            if self.processes.get(child).is_some_and(|other| other.parent == process.pid) {
                self.branch(child, depth.saturating_add(1), each);
            }
        }
    }

    fn directory(&mut self, directory: BorrowedFd<'_>, depth_left: u32) {
        self.members(directory);
        let Some(depth_left) = depth_left.checked_sub(1) else { return };
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut entries = RawDir::new(directory, &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            let name = entry.file_name();
            if entry.file_type() == FileType::Directory
                && !name.to_bytes().starts_with(b".")
                && let Ok(below) = open(directory, name)
            {
                self.directory(below.as_fd(), depth_left);
            }
        }
    }

    // Not part of its caller, which calls itself: its buffer would be there once for each level.
    #[inline(never)]
    fn members(&mut self, directory: BorrowedFd<'_>) {
        let Ok(file) = rustix::fs::openat(directory, c"cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        else {
            return;
        };
        let mut lines = Lines::<OwnedFd, LINE_BYTES>::new(file);
        while let Ok(Some(line)) = lines.read() {
            let Some(pid) = text::number(line.trim_ascii()) else { continue };
            if let Some(parent) = parent(pid) {
                let process = Process { pid, parent, depth: 0, shown: false };
                self.cut |= self.processes.push(process).is_err();
            }
        }
    }
}

/// The root of the cgroup v2 file system, where it is mounted and nothing is mounted over it.
#[must_use]
pub fn cgroups() -> Option<OwnedFd> {
    let mut found = None;
    let looked = mountinfo::each(&mut |mount| {
        if mount.kind == b"cgroup2" && found.is_none() {
            let mut buffer = [0; 512];
            let target = mountinfo::unescape(mount.target, &mut buffer);
            let root = target.and_then(|target| open(CWD, target).ok());
            let is_so = |root: &OwnedFd| {
                rustix::fs::fstatfs(root).is_ok_and(|about| about.f_type == libc::CGROUP2_SUPER_MAGIC as _)
            };
            found = root.filter(is_so);
        }
    });
    looked.ok().and(found)
}

/// Opens a cgroup.
///
/// # Errors
/// As open(2).
pub fn open(at: BorrowedFd<'_>, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

/// The parent of process `pid` (proc_pid_stat(5)).
fn parent(pid: u32) -> Option<u32> {
    let mut buffer = [0; 256];
    let stat = read(pid, "stat", &mut buffer)?;
    // The name, in parentheses, may hold anything.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let word = stat.get(end + 1..)?.split(|&byte| byte == b' ').nth(2)?;
    text::number(word)
}

/// Its command line, with blanks between the words; its name, in brackets, where it has none.
#[must_use]
pub fn command(pid: u32, buffer: &mut [u8; COMMAND_BYTES]) -> &[u8] {
    let length = read(pid, "cmdline", buffer).map_or(0, <[u8]>::len);
    if length > 0 {
        let words = buffer.get_mut(..length).unwrap_or_default();
        words.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
        return words.trim_ascii_end();
    }
    read(pid, "comm", buffer).unwrap_or(b"?").trim_ascii_end()
}

fn read<'b>(pid: u32, file: &str, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let path = Made::new(format_args!("/proc/{pid}/{file}"));
    let file = rustix::fs::open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = rustix::io::read(&file, &mut *buffer).ok()?;
    buffer.get(..length)
}
