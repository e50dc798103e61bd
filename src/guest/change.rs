//! Changes of a running guest's limits, carried out: all of them, or none.
//!
//! Writing a limit can take long (a memory limit reclaims) and joins the guest's namespaces, so a short-lived child of PID 1
//! does it. It puts back what it has changed where a later change is refused; PID 1 does that where the child dies.

use core::ffi::CStr;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::FsPickFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Pid, Uid};
use rustix::thread::ThreadNameSpaceType;

use super::cgroup::{Base, Member, each_process, read_number, write, write_number};
use super::helper::process_directory;
use super::limit::Limit;
use super::report;
use crate::config::key::Key;
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::change::{Keys, OWN_TMPFS, Staged};
use crate::plan::{Guest, Limits, Plan, Rlimit, Tmpfs};
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::rlimit::{self, Limit as ProcessLimit};
use crate::sys::wait::{self, End};
use crate::sys::{Errno, clock, privilege, process};
use crate::text::{List, Made};

/// A change under way.
#[derive(Debug)]
pub struct Changing {
    /// Pidfd of the child; readable when it has ended, then it must be waited for (waitid P_PIDFD, `__WALL`). Its exit code
    /// is one of [`DONE`], [`UNDONE`] and [`HALF`]; anything else means that nobody knows what is changed.
    pub helper: OwnedFd,
    /// Where it reports the step that failed: see [`super::receive`].
    pub reports: OwnedFd,
}

/// All is changed.
pub const DONE: u8 = 0;
/// A step failed, and nothing is changed.
pub const UNDONE: u8 = 1;
/// A step failed, and what was changed before it could not be put back.
pub const HALF: u8 = 2;

/// What is changed, and where.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// Whose strings and lists these are.
    pub plan: &'a Plan,
    /// The guest, as it is limited before.
    pub guest: &'a Guest,
    /// What it is to be limited to.
    pub staged: &'a Staged,
    /// Where its cgroup is.
    pub base: &'a Base,
    /// Its first process.
    pub process: BorrowedFd<'a>,
    /// Whether to put back what `staged` may have changed, rather than to change it.
    pub back: bool,
    /// Whether it stands still by itself, and is to be left so.
    pub is_held: bool,
}

/// Starts a change. Never blocks.
///
/// # Errors
/// The step of this process that failed; nothing is changed then.
pub fn change(work: &Work<'_>) -> Result<Changing, Fault> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .at(Step::ReportSocket)?;
    match clone(Flags::NONE, None).at(Step::ForkChange)? {
        Side::Parent(_, helper) => Ok(Changing { helper, reports: ours }),
        Side::Child => {
            drop(ours);
            process::exit(run(work, theirs.as_fd()))
        }
    }
}

fn run(work: &Work<'_>, reports: BorrowedFd<'_>) -> u8 {
    let failed = |fault: Fault, code| {
        report::send_fault(reports, fault);
        code
    };
    // As for a start: nothing of the guest may look in here.
    if let Err(fault) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::HideHelper) {
        return failed(fault, UNDONE);
    }
    let member = Member { kind: work.guest.kind, name: work.plan.strings.c_str(work.guest.name) };
    let cgroup = match work.base.open_member(member).at(Step::OpenCgroup) {
        Ok(cgroup) => cgroup,
        Err(fault) => return failed(fault, UNDONE),
    };
    let change = Change { work, cgroup: cgroup.as_fd(), reports };
    let before = Values { limits: &work.guest.limits, rlimits: work.guest.rlimits, tmpfs: work.guest.tmpfs };
    let after = Values { limits: &work.staged.limits, rlimits: work.staged.rlimits, tmpfs: work.staged.tmpfs };
    if work.back {
        return change.put(&before, &after, work.staged.keys).map_or_else(|fault| failed(fault, HALF), |()| DONE);
    }
    let mut done = Keys::default();
    match change.make(&before, &after, &mut done) {
        Ok(()) => DONE,
        Err(fault) => {
            let code = if change.put(&before, &after, done).is_ok() { UNDONE } else { HALF };
            failed(fault, code)
        }
    }
}

/// What a guest is limited to, before or after.
struct Values<'a> {
    limits: &'a Limits,
    rlimits: List<Rlimit>,
    tmpfs: List<Tmpfs>,
}

struct Change<'a> {
    work: &'a Work<'a>,
    cgroup: BorrowedFd<'a>,
    reports: BorrowedFd<'a>,
}

impl Change<'_> {
    /// Changes all that is staged. What may have been changed when a step fails is in `done`.
    fn make(&self, before: &Values<'_>, after: &Values<'_>, done: &mut Keys) -> Result<(), Fault> {
        let keys = self.work.staged.keys;
        let more = |bytes: Option<u64>| bytes.unwrap_or(u64::MAX);
        let less_memory = keys.has(Key::Memory) && more(after.limits.memory_bytes) < more(before.limits.memory_bytes);
        let each = keys.has(Key::OomScore) || keys.has(Key::Rlimit);
        // While it stands still it uses no more memory, and makes no process that would be missed.
        let freezes = less_memory || each || keys.has(Key::Tmpfs);
        let _frozen = freezes.then(|| Frozen::new(self.cgroup, self.work.is_held)).transpose()?;
        for limit in Limit::ALL.iter().filter(|limit| keys.has(limit.key()) && **limit != Limit::Memory) {
            done.add(limit.key());
            limit.set(self.cgroup, after.limits, self.work.plan)?;
        }
        if keys.has(Key::Tmpfs) {
            done.add(Key::Tmpfs);
            self.resize(before.tmpfs, after.tmpfs, false)?;
        }
        if less_memory {
            done.add(Key::Memory);
            done.add(Key::MemoryHigh);
            self.less_memory(after.limits)?;
        }
        if each {
            done.add(Key::OomScore);
            done.add(Key::Rlimit);
            self.each_process(before, after)?;
        }
        // Last, so that it need not be taken back: by then the guest might use it.
        if keys.has(Key::Memory) && !less_memory {
            Limit::Memory.set(self.cgroup, after.limits, self.work.plan)?;
        }
        Ok(())
    }

    /// Puts those of `keys` back to what they were. Goes on where one fails, and returns the first failure.
    fn put(&self, before: &Values<'_>, after: &Values<'_>, keys: Keys) -> Result<(), Fault> {
        let _frozen = Frozen::new(self.cgroup, self.work.is_held);
        let mut result = Ok(());
        let mut tried = |put: Result<(), Fault>| match put {
            // What is not there was not changed.
            Err(fault) if i32::from(fault.errno) == libc::ENOENT => {}
            put => result = result.and(put),
        };
        for limit in Limit::ALL.iter().filter(|limit| keys.has(limit.key())) {
            tried(limit.set(self.cgroup, before.limits, self.work.plan));
        }
        if keys.has(Key::Tmpfs) {
            tried(self.resize(after.tmpfs, before.tmpfs, true));
        }
        if keys.has(Key::OomScore) || keys.has(Key::Rlimit) {
            tried(self.each_process(after, before));
        }
        result
    }

    /// Lowers memory.max, to what the guest uses at most: below that the kernel would kill.
    fn less_memory(&self, limits: &Limits) -> Result<(), Fault> {
        let Some(wanted) = limits.memory_bytes else { return Ok(()) };
        let used = || read_number(self.cgroup, c"memory.current", b"").unwrap_or(0);
        let is_high = used() > wanted;
        if is_high {
            // Takes back what the guest can do without, and kills nobody.
            write_number(self.cgroup, c"memory.high", wanted).at(Step::LimitMemory)?;
        }
        let used = used();
        let set = if used > wanted {
            let kib = u32::try_from(used >> 10).unwrap_or(u32::MAX);
            Err(Fault { step: Step::MemoryInUse, errno: libc::EBUSY as u16, detail: kib })
        } else {
            Limit::Memory.set(self.cgroup, limits, self.work.plan)
        };
        if is_high { set.and(Limit::MemoryHigh.set(self.cgroup, limits, self.work.plan)) } else { set }
    }

    /// Gives every process of the guest its per-process limits.
    fn each_process(&self, before: &Values<'_>, after: &Values<'_>) -> Result<(), Fault> {
        let rlimits = |list| self.work.plan.rlimits.get(list);
        let keys = self.work.staged.keys;
        let one = |pid| -> Result<(), Fault> {
            if keys.has(Key::OomScore) {
                gone_is_fine(set_oom_score(pid, after.limits.oom_score)).at(Step::OomScore)?;
            }
            if !keys.has(Key::Rlimit) {
                return Ok(());
            }
            let is_new = |limit: &Rlimit| !rlimits(before.rlimits).contains(limit);
            for (index, limit) in rlimits(after.rlimits).iter().enumerate().filter(|(_, limit)| is_new(limit)) {
                let wanted = ProcessLimit { soft: limit.soft, hard: limit.hard };
                gone_is_fine(rlimit::set(Some(pid), limit.resource, wanted)).at_item(Step::SetRlimit, index)?;
            }
            for limit in rlimits(before.rlimits) {
                if !rlimits(after.rlimits).iter().any(|other| other.resource == limit.resource) {
                    gone_is_fine(unlimit(pid, limit.resource)).at(Step::SetRlimit)?;
                }
            }
            Ok(())
        };
        // The owner of its user namespace may limit what is in it, also where the host's root has not CAP_SYS_RESOURCE.
        let users = self.work.plan.users(self.work.guest);
        if !users.is_empty() {
            privilege::act_as(Uid::from_raw(users.root())).at(Step::ActAsGuest)?;
        }
        let mut result = Ok(());
        let listed = each_process(self.cgroup, &mut |pid| {
            if result.is_ok() {
                result = one(pid);
            }
        });
        if !users.is_empty() {
            privilege::stop_acting().at(Step::ActAsGuest)?;
        }
        listed.at(Step::ListProcesses)?;
        result
    }

    /// Gives the file systems in memory their sizes, as the guest's own root: what that may not change, a change here
    /// does not reach either, wherever the guest has moved its mounts.
    fn resize(&self, before: List<Tmpfs>, after: List<Tmpfs>, back: bool) -> Result<(), Fault> {
        // What comes after this, also where waiting fails, must not be overtaken by it.
        match clone(Flags::AWAITED, None).at(Step::ForkChange)? {
            Side::Child => match self.resize_inside(before, after, back) {
                Ok(()) => process::exit(DONE),
                Err(fault) => {
                    report::send_fault(self.reports, fault);
                    process::exit(UNDONE)
                }
            },
            Side::Parent(_, child) => match wait::until_end(child.as_fd()).at(Step::ResizeTmpfs)? {
                End::Code(DONE) => Ok(()),
                // It has said more.
                _ => Err(Errno::CHILD).at(Step::ResizeTmpfs),
            },
        }
    }

    fn resize_inside(&self, before: List<Tmpfs>, after: List<Tmpfs>, back: bool) -> Result<(), Fault> {
        let users =
            if self.work.guest.users.is_some() { ThreadNameSpaceType::USER } else { ThreadNameSpaceType::empty() };
        let spaces = ThreadNameSpaceType::MOUNT | users;
        rustix::thread::move_into_thread_name_spaces(self.work.process, spaces).at(Step::JoinNamespaces)?;
        let all = |list| self.work.plan.tmpfs.get(list);
        let name = |tmpfs: &Tmpfs| self.work.plan.strings.c_str(tmpfs.target);
        // Those that are named no more are as large as they are by themselves.
        let own = OWN_TMPFS.iter().filter(|(path, _)| {
            let is = |tmpfs: &Tmpfs| name(tmpfs) == *path;
            all(before).iter().any(is) && !all(after).iter().any(is)
        });
        for (path, bytes) in own {
            tried(resize(path, *bytes), back).at(Step::ResizeTmpfs)?;
        }
        let is_new =
            |tmpfs: &Tmpfs| !all(before).iter().any(|other| name(other) == name(tmpfs) && other.bytes == tmpfs.bytes);
        for (index, tmpfs) in all(after).iter().enumerate().filter(|(_, tmpfs)| is_new(tmpfs)) {
            tried(resize(name(tmpfs), tmpfs.bytes), back).at_item(Step::ResizeTmpfs, index)?;
        }
        Ok(())
    }
}

/// On the way back: what cannot be changed now could not be changed before.
fn tried(result: Result<(), Errno>, back: bool) -> Result<(), Errno> {
    match result {
        Err(Errno::NODEV | Errno::PERM | Errno::NOENT | Errno::LOOP) if back => Ok(()),
        result => result,
    }
}

/// What a process has of a limit that nobody names.
fn unlimit(pid: Pid, resource: u8) -> Result<(), Errno> {
    if resource == libc::RLIMIT_NOFILE as u8 {
        return rlimit::set_open_files(Some(pid));
    }
    rlimit::set(Some(pid), resource, rlimit::get(None, resource)?)
}

fn set_oom_score(pid: Pid, score: i16) -> Result<(), Errno> {
    let line = Made::new(format_args!("{}", i32::from(score)));
    write(process_directory(pid)?.as_fd(), c"oom_score_adj", line.as_bytes())
}

/// A process that has ended meanwhile has no limits.
fn gone_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::SRCH | Errno::NOENT) => Ok(()),
        result => result,
    }
}

/// Makes the tmpfs that is mounted at `path` hold `bytes`.
fn resize(path: &CStr, bytes: u64) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    if rustix::fs::fstatfs(&root)?.f_type != libc::TMPFS_MAGIC as _ {
        return Err(Errno::NODEV);
    }
    let tmpfs = rustix::mount::fspick(&root, c"", FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC)?;
    let size = Made::new(format_args!("{bytes}"));
    rustix::mount::fsconfig_set_string(&tmpfs, c"size", size.as_c_str())?;
    rustix::mount::fsconfig_reconfigure(&tmpfs)
}

/// A guest that stands still, for as long as this lives, and after that where it did before.
struct Frozen<'a> {
    cgroup: BorrowedFd<'a>,
    stays: bool,
}

impl<'a> Frozen<'a> {
    /// Waits until every process stands still: one that the kernel is busy with takes a moment.
    fn new(cgroup: BorrowedFd<'a>, stays: bool) -> Result<Frozen<'a>, Fault> {
        let events = rustix::fs::openat(cgroup, c"cgroup.events", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .at(Step::Freeze)?;
        let until_ms = clock::now_ms().saturating_add(limits::FREEZE_TIMEOUT_MS);
        write(cgroup, c"cgroup.freeze", b"1").at(Step::Freeze)?;
        let frozen = Frozen { cgroup, stays };
        loop {
            // Before the look: who stood still meanwhile, with all of this host, looks again.
            let left_ms = until_ms.saturating_sub(clock::now_ms());
            if read_number(cgroup, c"cgroup.events", b"frozen ") != Some(0) {
                return Ok(frozen);
            }
            if left_ms == 0 {
                return Err(Errno::TIMEDOUT).at(Step::Freeze);
            }
            // A change that came before this call is seen in the next round.
            let pause = Timespec { tv_sec: 0, tv_nsec: (left_ms.min(20) * 1_000_000) as i64 };
            let _ = rustix::event::poll(&mut [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)], Some(&pause));
        }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // PID 1 does it again when the change is over: what is wanted may be another thing by then.
        if !self.stays {
            let _ = write(self.cgroup, c"cgroup.freeze", b"0");
        }
    }
}
