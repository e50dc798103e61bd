//! Control groups (cgroups(7), Documentation/admin-guide/cgroup-v2.rst): where guests' limits are.
//!
//! `BASE/NAME` holds the limits; below it `guest` is what the guest sees as the root of all cgroups, delegated to an
//! `os` guest, and `exec` holds what entered from outside.

use core::ffi::CStr;
use core::fmt::Write;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir};

use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::{Extents, Guest, Kind, Limits};
use crate::sys::{Errno, signal};

/// The controllers that limits need.
pub const CONTROLLERS: [&str; 5] = ["memory", "pids", "cpu", "cpuset", "io"];

/// The cgroup below which every guest has its own.
#[derive(Debug)]
pub struct Base {
    directory: OwnedFd,
    /// Bit N: `CONTROLLERS[N]` is enabled below.
    controllers: u8,
}

/// What a guest uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// memory.current, bytes; nothing where the controller is missing.
    pub memory_bytes: Option<u64>,
    /// cpu.stat usage_usec.
    pub cpu_us: u64,
    /// pids.current; nothing where the controller is missing.
    pub processes: Option<u32>,
    /// memory.events oom_kill.
    pub oom_kills: u32,
    /// pids.events max: how often a fork was refused.
    pub processes_refused: u32,
}

/// How a cgroup directory is opened: to name it, never to be read by who inherits it.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Base {
    /// Opens `name` below the root of the cgroup v2 file system, making it where it is missing, and enables every
    /// controller that this host has.
    ///
    /// # Errors
    /// The step that failed.
    pub fn open(name: &CStr) -> Result<Base, Fault> {
        let root = find().at(Step::FindCgroup)?;
        make(root.as_fd(), name).at(Step::MakeBase)?;
        let directory = rustix::fs::openat(&root, name, DIRECTORY, Mode::empty()).at(Step::MakeBase)?;
        let mut buffer = [0; 256];
        let available = read(root.as_fd(), c"cgroup.controllers", &mut buffer).at(Step::EnableControllers)?;
        let mut controllers = 0;
        for (bit, controller) in CONTROLLERS.iter().enumerate() {
            if !available.split(|byte| byte.is_ascii_whitespace()).any(|name| name == controller.as_bytes()) {
                continue;
            }
            // One at a time: one that is refused would make the whole write fail.
            let enabled = enable(root.as_fd(), controller).and_then(|()| enable(directory.as_fd(), controller));
            match enabled {
                Ok(()) => controllers |= 1 << bit,
                // Kept by processes beside us: guests that ask are refused.
                Err(Errno::INVAL | Errno::NOENT | Errno::BUSY | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error).at(Step::EnableControllers),
            }
        }
        Ok(Base { directory, controllers })
    }

    /// A base for a host without cgroup v2: no guest can start there, and each says so; the host comes up all the same.
    ///
    /// # Errors
    /// As open(2).
    pub fn none() -> Result<Base, Errno> {
        // Nothing can be made in either: the first is empty, the second where even that is missing.
        let open = |path| rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty());
        let directory = open(c"/sys/fs/cgroup").or_else(|_| open(c"/sys")).or_else(|_| open(c"/"))?;
        Ok(Base { directory, controllers: 0 })
    }

    /// Makes this process the one whose guests are here, as long as it has the base open. Whether it is.
    ///
    /// # Errors
    /// As flock(2).
    pub fn claim(&self) -> Result<bool, Errno> {
        match rustix::fs::flock(&self.directory, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Whether the controller `CONTROLLERS[number]` works here.
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        CONTROLLERS.iter().position(|name| *name == controller).is_some_and(|bit| self.controllers >> bit & 1 == 1)
    }

    /// Makes the cgroups of `guest`, named `name`, with its limits, and returns the one it is to start in.
    ///
    /// # Errors
    /// The step that failed: a limit that the kernel does not take is never dropped.
    pub fn make(&self, name: &CStr, guest: &Guest, users: &Extents, cpuset: &[u8]) -> Result<OwnedFd, Fault> {
        make(self.directory.as_fd(), name).at(Step::MakeCgroup)?;
        let outer = rustix::fs::openat(&self.directory, name, DIRECTORY, Mode::empty()).at(Step::MakeCgroup)?;
        // Of a run before this one, whose end the kernel has not brought about: it would be part of this one.
        if populated(outer.as_fd()).at(Step::MakeCgroup)? {
            return Err(Errno::BUSY).at(Step::MakeCgroup);
        }
        self.limit(outer.as_fd(), &guest.limits, guest, cpuset)?;
        make(outer.as_fd(), c"guest").at(Step::MakeCgroup)?;
        let inner = rustix::fs::openat(&outer, c"guest", DIRECTORY, Mode::empty()).at(Step::MakeCgroup)?;
        if guest.kind == Kind::Os {
            self.delegate(outer.as_fd(), inner.as_fd(), users)?;
        }
        Ok(inner)
    }

    fn limit(&self, cgroup: BorrowedFd<'_>, limits: &Limits, guest: &Guest, cpuset: &[u8]) -> Result<(), Fault> {
        let numbers = [
            (limits.memory_bytes, c"memory.max", Step::LimitMemory),
            (limits.memory_high_bytes, c"memory.high", Step::LimitMemoryHigh),
            (limits.memory_low_bytes, c"memory.low", Step::LimitMemoryLow),
            (limits.swap_bytes, c"memory.swap.max", Step::LimitSwap),
            (limits.oom_group.then_some(1), c"memory.oom.group", Step::LimitOomGroup),
            (limits.cpu_weight.map(u64::from), c"cpu.weight", Step::LimitCpuWeight),
        ];
        for (value, file, step) in numbers {
            if let Some(value) = value {
                write_number(cgroup, file, value).at(step)?;
            }
        }
        if let Some(milli) = limits.cpus_milli {
            // cpu.max: microseconds of each 100,000 microseconds
            let mut line = heapless::String::<32>::new();
            let _ = write!(line, "{} 100000", u64::from(milli) * 100);
            write(cgroup, c"cpu.max", line.as_bytes()).at(Step::LimitCpus)?;
        }
        if !cpuset.is_empty() {
            write(cgroup, c"cpuset.cpus", cpuset).at(Step::LimitCpuset)?;
        }
        // The default is for hosts that can; a number that was asked for is set or the start fails.
        let asked = guest.asked[crate::config::key::Key::Processes as usize].place().is_some();
        if asked || self.has("pids") {
            write_number(cgroup, c"pids.max", limits.processes.into()).at(Step::LimitProcesses)?;
        }
        Ok(())
    }

    /// Hands `inner` to the guest's root: it may make cgroups there, so many and so deep, and no limit of `outer` is its.
    fn delegate(&self, outer: BorrowedFd<'_>, inner: BorrowedFd<'_>, users: &Extents) -> Result<(), Fault> {
        write_number(outer, c"cgroup.max.descendants", limits::CGROUP_DESCENDANTS.into()).at(Step::LimitCgroups)?;
        write_number(outer, c"cgroup.max.depth", limits::CGROUP_DEPTH.into()).at(Step::LimitCgroups)?;
        for (bit, controller) in CONTROLLERS.iter().enumerate() {
            if self.controllers >> bit & 1 == 1 {
                enable(outer, controller).at(Step::DelegateCgroup)?;
            }
        }
        if users.is_empty() {
            return Ok(());
        }
        // cgroup-v2.rst, "Model of Delegation": the directory and these files, and no others.
        for file in [c"", c"cgroup.procs", c"cgroup.threads", c"cgroup.subtree_control"] {
            let flags = if file.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
            let (user, group) = (rustix::fs::Uid::from_raw(users.root()), rustix::fs::Gid::from_raw(users.root()));
            rustix::fs::chownat(inner, file, Some(user), Some(group), flags).at(Step::DelegateCgroup)?;
        }
        Ok(())
    }

    /// Moves this process into the cgroup `exec` of guest `name`, making it where it is missing.
    ///
    /// # Errors
    /// As mkdir(2), open(2) and write(2).
    pub fn join(&self, name: &CStr) -> Result<(), Errno> {
        self.guest(name).and_then(|outer| join(outer.as_fd()))
    }

    /// Opens `cgroup.events` of guest `name`: EPOLLPRI when `populated` changes.
    ///
    /// # Errors
    /// The step that failed.
    pub fn events(&self, name: &CStr) -> Result<OwnedFd, Fault> {
        let open = |cgroup: OwnedFd| {
            rustix::fs::openat(cgroup, c"cgroup.events", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        };
        self.guest(name).and_then(open).at(Step::CgroupEvents)
    }

    /// Whether any process is left in guest `name`; none where the cgroup does not exist.
    ///
    /// # Errors
    /// The step that failed.
    pub fn is_populated(&self, name: &CStr) -> Result<bool, Fault> {
        match self.guest(name).and_then(|cgroup| populated(cgroup.as_fd())) {
            Err(Errno::NOENT | Errno::NODEV) => Ok(false),
            result => result.at(Step::CgroupEvents),
        }
    }

    /// Kills all of guest `name` (cgroup.kill; before 5.14 freeze, kill, thaw). Asks only: it is over when not populated.
    ///
    /// # Errors
    /// The step that failed.
    pub fn kill(&self, name: &CStr) -> Result<(), Fault> {
        let result = self.guest(name).and_then(|cgroup| match write(cgroup.as_fd(), c"cgroup.kill", b"1") {
            Err(Errno::NOENT) => kill_frozen(cgroup.as_fd()),
            result => result,
        });
        match result {
            Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            result => result.at(Step::KillCgroup),
        }
    }

    /// Removes the cgroups of guest `name`, which has no process left. Nothing to remove is fine.
    ///
    /// # Errors
    /// The step that failed.
    pub fn remove(&self, name: &CStr) -> Result<(), Fault> {
        let result = self
            .guest(name)
            .and_then(|cgroup| remove_below(cgroup.as_fd(), DEPTH))
            .and_then(|()| rustix::fs::unlinkat(&self.directory, name, AtFlags::REMOVEDIR));
        match result {
            Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            result => result.at(Step::RemoveCgroup),
        }
    }

    /// What guest `name` uses now.
    pub fn usage(&self, name: &CStr) -> Usage {
        let Ok(cgroup) = self.guest(name) else { return Usage::default() };
        let cgroup = cgroup.as_fd();
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Usage {
            memory_bytes: read_number(cgroup, c"memory.current", b""),
            cpu_us: read_number(cgroup, c"cpu.stat", b"usage_usec ").unwrap_or(0),
            processes: read_number(cgroup, c"pids.current", b"").map(narrow),
            oom_kills: read_number(cgroup, c"memory.events", b"oom_kill ").map_or(0, narrow),
            // Before 6.11 a refusal is counted where the fork was tried, since then where the limit is.
            processes_refused: [c"pids.events", c"guest/pids.events", c"exec/pids.events"]
                .into_iter()
                .map(|file| read_number(cgroup, file, b"max ").map_or(0, narrow))
                .fold(0, u32::saturating_add),
        }
    }

    fn guest(&self, name: &CStr) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.directory, name, DIRECTORY, Mode::empty())
    }
}

/// Moves this process into the cgroup `exec` of the guest whose first process is `first` and whose cgroup the supervisor
/// calls `cgroup` ("inn/web"). It is found by that process: the supervisor's cgroup namespace may be another than ours.
///
/// # Errors
/// [`Step::FindCgroup`], [`Step::JoinCgroup`].
pub fn join_running(first: BorrowedFd<'_>, cgroup: &str) -> Result<(), Fault> {
    let root = find().at(Step::FindCgroup)?;
    let mut buffer = [0; libc::PATH_MAX as usize];
    let text = read(first, c"cgroup", &mut buffer).at(Step::FindCgroup)?;
    // cgroups(7): "0::" and the path below the root that this process sees.
    let path = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::/")).unwrap_or_default();
    let end = (0..path.len()).find_map(|at| {
        let rest = path.get(at..)?.strip_prefix(cgroup.as_bytes())?;
        let whole = at == 0 || path.get(at - 1) == Some(&b'/');
        (whole && rest.first() == Some(&b'/')).then_some(at + cgroup.len())
    });
    let path = path.get(..end.ok_or(Errno::NOENT).at(Step::FindCgroup)?).unwrap_or_default();
    let outer = rustix::fs::openat(root, path, DIRECTORY, Mode::empty()).at(Step::JoinCgroup)?;
    join(outer.as_fd()).at(Step::JoinCgroup)
}

fn join(outer: BorrowedFd<'_>) -> Result<(), Errno> {
    make(outer, c"exec")?;
    let inner = rustix::fs::openat(outer, c"exec", DIRECTORY, Mode::empty())?;
    write(inner.as_fd(), c"cgroup.procs", b"0")
}

/// Removes the base `name` itself, which has no guest left.
///
/// # Errors
/// The step that failed.
pub fn remove_base(name: &CStr) -> Result<(), Fault> {
    find().and_then(|root| rustix::fs::unlinkat(root, name, AtFlags::REMOVEDIR)).at(Step::RemoveCgroup)
}

/// The directories below a guest's cgroup: its own depth, and the two levels that are ours.
const DEPTH: u32 = limits::CGROUP_DEPTH + 2;

/// The root of the cgroup v2 file system, where systems mount it: alone, or beside version 1.
fn find() -> Result<OwnedFd, Errno> {
    for path in [c"/sys/fs/cgroup", c"/sys/fs/cgroup/unified"] {
        let Ok(root) = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty()) else { continue };
        if rustix::fs::fstatfs(&root)?.f_type == libc::CGROUP2_SUPER_MAGIC as _ {
            return Ok(root);
        }
    }
    Err(Errno::NOENT)
}

/// Makes a directory that may be there already: a start that failed half-way, or this program's earlier life.
fn make(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

fn enable(cgroup: BorrowedFd<'_>, controller: &str) -> Result<(), Errno> {
    let mut line = heapless::String::<16>::new();
    let _ = write!(line, "+{controller}");
    write(cgroup, c"cgroup.subtree_control", line.as_bytes())
}

fn write(cgroup: BorrowedFd<'_>, file: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::openat(cgroup, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, bytes).map(drop)
}

fn write_number(cgroup: BorrowedFd<'_>, file: &CStr, value: u64) -> Result<(), Errno> {
    let mut line = heapless::String::<24>::new();
    let _ = write!(line, "{value}");
    write(cgroup, file, line.as_bytes())
}

/// The number behind `label` at a line's start in `file`; nothing where the file or the line is missing.
fn read_number(cgroup: BorrowedFd<'_>, file: &CStr, label: &[u8]) -> Option<u64> {
    let mut buffer = [0; 512];
    let text = read(cgroup, file, &mut buffer).ok()?;
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(label))?;
    core::str::from_utf8(line).ok()?.parse().ok()
}

/// What `file` holds, as far as the buffer goes.
fn read<'a>(cgroup: BorrowedFd<'_>, file: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let file = rustix::fs::openat(cgroup, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let len = rustix::io::read(file, &mut *buffer)?;
    Ok(buffer.get(..len).unwrap_or_default())
}

fn populated(cgroup: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(read_number(cgroup, c"cgroup.events", b"populated ").ok_or(Errno::NOENT)? != 0)
}

/// For kernels without cgroup.kill: frozen, no process makes another while it is being killed.
fn kill_frozen(cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
    write(cgroup, c"cgroup.freeze", b"1")?;
    let killed = kill_below(cgroup, DEPTH);
    // Thawed whatever happened: a frozen guest would neither die nor live.
    write(cgroup, c"cgroup.freeze", b"0").and(killed)
}

fn kill_below(cgroup: BorrowedFd<'_>, depth: u32) -> Result<(), Errno> {
    let file = rustix::fs::openat(cgroup, c"cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0; 512];
    let mut pid = 0i32;
    loop {
        let len = rustix::io::read(&file, &mut buffer)?;
        for byte in buffer.iter().take(len) {
            if let digit @ b'0'..=b'9' = byte {
                pid = pid.saturating_mul(10).saturating_add(i32::from(digit - b'0'));
                continue;
            }
            // ESRCH: it has died by itself. It cannot have been replaced: the kernel lists members of this cgroup, and
            // a frozen cgroup takes the signal when it is delivered.
            if let Some(pid) = rustix::process::Pid::from_raw(core::mem::take(&mut pid)) {
                let _ = signal::send_to(pid, libc::SIGKILL as u8);
            }
        }
        if len == 0 {
            break;
        }
    }
    each_directory(cgroup, |child| if depth == 0 { Err(Errno::LOOP) } else { kill_below(child, depth - 1) })
}

fn remove_below(cgroup: BorrowedFd<'_>, depth: u32) -> Result<(), Errno> {
    each_directory(cgroup, |child| if depth == 0 { Err(Errno::LOOP) } else { remove_below(child, depth - 1) })?;
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut directory = RawDir::new(cgroup, &mut buffer);
    while let Some(entry) = directory.next() {
        let entry = entry?;
        if is_directory(&entry) {
            rustix::fs::unlinkat(cgroup, entry.file_name(), AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

/// Does `work` for each cgroup right below `cgroup`, then goes back to its beginning.
fn each_directory(
    cgroup: BorrowedFd<'_>,
    mut work: impl FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut directory = RawDir::new(cgroup, &mut buffer);
    while let Some(entry) = directory.next() {
        let entry = entry?;
        if is_directory(&entry) {
            let child = rustix::fs::openat(cgroup, entry.file_name(), DIRECTORY, Mode::empty())?;
            work(child.as_fd())?;
        }
    }
    rustix::fs::seek(cgroup, rustix::fs::SeekFrom::Start(0)).map(drop)
}

fn is_directory(entry: &rustix::fs::RawDirEntry<'_>) -> bool {
    entry.file_type() == rustix::fs::FileType::Directory && !matches!(entry.file_name().to_bytes(), b"." | b"..")
}
