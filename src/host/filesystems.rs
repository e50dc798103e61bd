//! The file systems and the swap that a config names: checked, mounted in its order, and what of that failed.
//!
//! Each is the work of a child of its own with a deadline: a disk that hangs costs its own file system, not the boot.

use core::ffi::CStr;

use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::pipe::PipeFlags;

use super::checker;
use super::child::wait_readable;
use super::console::{Console, Level};
use super::power::Wanted;
use super::wait::Waiter;
use super::watchdog::Watchdog;
use super::{device, mountinfo};
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::{Mount, Plan};
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::memory::Static;
use crate::sys::wait::{self, End, Which};
use crate::sys::{Errno, clock, process, signal, storage};
use crate::text::{Made, number};

/// The kernel's flag of each of [`Mount::OPTIONS`] (mount(2)).
const FLAGS: [MountFlags; Mount::BITS] = [
    MountFlags::RDONLY,
    MountFlags::NOSUID,
    MountFlags::NODEV,
    MountFlags::NOEXEC,
    MountFlags::SYNCHRONOUS,
    MountFlags::DIRSYNC,
    MountFlags::NOATIME,
    MountFlags::NODIRATIME,
    MountFlags::RELATIME,
    MountFlags::STRICTATIME,
    MountFlags::LAZYTIME,
    MountFlags::empty(),
    MountFlags::empty(),
    MountFlags::empty(),
    MountFlags::empty(),
    MountFlags::empty(),
];
/// What lies in the place of a file system that is missing is called so.
const COVER: &CStr = c"missing";
/// Bytes of a target that are kept for people.
pub const TARGET_BYTES: usize = 64;

/// A file system that is not mounted.
#[derive(Clone, Copy, Debug)]
pub struct Missing {
    target: [u8; TARGET_BYTES],
    len: u8,
    /// Why.
    pub fault: Fault,
    /// Whether the host is well without it.
    pub is_optional: bool,
}

impl Missing {
    fn new(target: &[u8], fault: Fault, is_optional: bool) -> Missing {
        let mut missing = Missing { target: [0; TARGET_BYTES], len: 0, fault, is_optional };
        for (into, byte) in missing.target.iter_mut().zip(target) {
            *into = *byte;
            missing.len += 1;
        }
        missing
    }

    /// Where it belongs, or the source of swap; cut where it is long.
    #[must_use]
    pub fn target(&self) -> &str {
        let bytes = self.target.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or("?")
    }
}

/// All that is missing.
type AllMissing = heapless::Vec<Missing, { limits::MOUNTS }>;

static MISSING: Static<AllMissing> = Static::new(AllMissing::new());

/// What became of the file systems.
#[derive(Debug, Default)]
pub struct Mounted {
    /// What is missing.
    pub missing: &'static [Missing],
    /// A checker has changed the root so that the machine has to start again.
    pub needs_reboot: bool,
}

impl Mounted {
    /// Whether something is missing that the host needs.
    #[must_use]
    pub fn is_wanting(&self) -> bool {
        self.missing.iter().any(|missing| !missing.is_optional)
    }
}

/// What became of one file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there.
    Mounted,
    /// Its checker has changed it while it was in use.
    NeedsReboot,
    /// It is not there.
    Failed(Fault),
    /// The host is to go down instead.
    Interrupted,
}

/// Mounts what `plan` asks for, in its order, then swaps. What fails is said, and the rest is done; a power signal ends it at
/// once, and stays for the event loop.
/// Where the boot `goes_on` behind the emergency shell, what is there stays as it is.
#[must_use]
pub fn mount_all(console: &Console, plan: &Plan, goes_on: bool, watchdog: &mut Watchdog) -> Mounted {
    let mut mounted = Mounted::default();
    let all = [plan.host.mounts, plan.host.swaps].map(|list| plan.mounts.get(list));
    let mut table = None;
    for mount in all.into_iter().flatten().filter(|mount| !mount.has(Mount::NO_AUTO)) {
        let fault = match mount_one(console, &Work::of(plan, mount), goes_on, watchdog) {
            Outcome::Mounted => continue,
            Outcome::NeedsReboot => {
                mounted.needs_reboot = true;
                break;
            }
            Outcome::Interrupted => break,
            Outcome::Failed(fault) => fault,
        };
        tell(console, plan, mount, fault);
        let is_optional = mount.has(Mount::NO_FAIL);
        if !is_optional {
            cover(plan, mount);
        }
        let name = if mount.target.is_empty() { mount.source } else { mount.target };
        table = table.or_else(|| MISSING.take());
        if let Some(table) = &mut table {
            // There is room for each.
            let _ = table.push(Missing::new(plan.strings.bytes(name), fault, is_optional));
        }
    }
    mounted.missing = table.map_or(&[], |table| table);
    mounted
}

fn tell(console: &Console, plan: &Plan, mount: &Mount, fault: Fault) {
    let text = |text| plan.strings.str(text);
    let (file, line) = plan.place(mount.at).unwrap_or(("?", 0));
    let on = if mount.target.is_empty() { "swap" } else { text(mount.target) };
    let level = if mount.has(Mount::NO_FAIL) { Level::Warning } else { Level::Error };
    let (colon, advice) = fault.advice().map_or(("", ""), |advice| ("; ", advice));
    let source = text(mount.source);
    console.say(level, format_args!("{file}:{line}: {on} is not mounted ({source}): {fault}{colon}{advice}"));
}

/// Whether something is mounted on `target` already; what [`cover`] has laid there is taken away. Asked by the way there, for a
/// link may lead to it.
fn is_there(target: &CStr) -> bool {
    let Ok(found) = rustix::fs::statx(CWD, target, AtFlags::empty(), StatxFlags::MNT_ID) else { return false };
    if !found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) || target == c"/" {
        return false;
    }
    let mut is_cover = false;
    let _ = mountinfo::each(&mut |other| {
        is_cover |= u64::from(other.id) == found.stx_mnt_id && other.source == COVER.to_bytes();
    });
    if is_cover {
        let _ = rustix::mount::unmount(target, UnmountFlags::empty());
    }
    !is_cover
}

/// Lays an empty file system that nobody can write to over the place of one that is missing: a guest that needs it must not
/// write to what lies below.
fn cover(plan: &Plan, mount: &Mount) {
    let target = plan.strings.c_str(mount.target);
    if !mount.target.is_empty() && target != c"/" {
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        make_target(c"", target, false);
        // Where this fails there is no such directory, and so nothing to be written to.
        let _ = rustix::mount::mount(COVER, target, c"tmpfs", flags, c"size=4K,mode=700");
    }
}

/// One file system, or swap.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// As [`Mount::source`].
    pub source: &'a CStr,
    /// Where it is mounted; empty for swap.
    pub target: &'a CStr,
    /// Its type, or `auto`.
    pub kind: &'a CStr,
    /// Its own options.
    pub data: &'a CStr,
    /// As [`Mount::options`].
    pub options: u32,
    /// How long its device is waited for, milliseconds.
    pub wait_ms: u64,
}

impl<'a> Work<'a> {
    fn of(plan: &'a Plan, mount: &Mount) -> Work<'a> {
        let text = |text| plan.strings.c_str(text);
        Work {
            source: text(mount.source),
            target: text(mount.target),
            kind: text(mount.kind),
            data: text(mount.data),
            options: mount.options,
            wait_ms: mount.wait_ms.into(),
        }
    }

    fn has(&self, option: u32) -> bool {
        self.options & option != 0
    }
}

/// Does this in a child, and waits for that; the watchdog is petted meanwhile. Where the boot `goes_on` behind the emergency shell, what is there stays as it is.
#[must_use]
pub fn mount_one(console: &Console, work: &Work<'_>, goes_on: bool, watchdog: &mut Watchdog) -> Outcome {
    let failed = |step, errno: Errno| Outcome::Failed(Fault { step, errno: errno.raw_os_error() as u16, detail: 0 });
    let (reports, report) = match rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) {
        Ok(pipe) => pipe,
        Err(errno) => return failed(Step::MountHost, errno),
    };
    let child = match clone(Flags::NONE, None) {
        Err(errno) => return failed(Step::MountHost, errno),
        Ok(Side::Child) => {
            let code = match try_mount(console, work, goes_on) {
                Ok(needs_reboot) => u8::from(needs_reboot),
                Err(fault) => {
                    let _ = rustix::io::write(&report, &fault.encode());
                    2
                }
            };
            process::exit(code)
        }
        Ok(Side::Parent(_, child)) => child,
    };
    let check_ms = if work.has(Mount::CHECK) { limits::CHECK_DISK_TIMEOUT_MS } else { 0 };
    let deadline_ms = clock::now_ms() + work.wait_ms + check_ms + limits::MOUNT_TIMEOUT_MS;
    if let Some(outcome) = wait_for(&child, deadline_ms, watchdog) {
        // What it started goes with it.
        let _ = signal::send(child.as_fd(), libc::SIGKILL as u8);
        return outcome;
    }
    let mut record = [0; Fault::BYTES];
    match wait::reap(Which::PidFd(child.as_fd())) {
        Ok(Some((_, End::Code(0)))) => Outcome::Mounted,
        Ok(Some((_, End::Code(1)))) => Outcome::NeedsReboot,
        _ => {
            let read = rustix::io::read(&reports, &mut record).unwrap_or(0);
            let fault = Fault::decode(record.get(..read).unwrap_or_default());
            fault.map_or_else(|| failed(Step::MountHost, Errno::CHILD), Outcome::Failed)
        }
    }
}

/// Waits until `child` has ended: nothing then; or what became of it otherwise.
fn wait_for(child: &OwnedFd, deadline_ms: u64, watchdog: &mut Watchdog) -> Option<Outcome> {
    // Not read here: a signal stays for the event loop.
    let power = signal::descriptor(Wanted::signals()).ok();
    let wanted = power.as_ref().unwrap_or(child);
    let fds = [child, wanted].map(|fd| (fd.as_fd(), PollFlags::IN));
    if !(Waiter { watchdog }).wait(&fds, deadline_ms) {
        let fault = Fault { step: Step::MountInTime, errno: libc::ETIMEDOUT as u16, detail: 0 };
        return Some(Outcome::Failed(fault));
    }
    let has_ended = wait_readable(child.as_fd(), 0);
    (!has_ended).then_some(Outcome::Interrupted)
}

/// The child's side. Whether the machine has to start again.
fn try_mount(console: &Console, work: &Work<'_>, goes_on: bool) -> Result<bool, Fault> {
    if goes_on && is_there(work.target) {
        return Ok(false);
    }
    let found;
    let is_device = device::is_one(work.source.to_bytes());
    let source = if is_device {
        found = await_device(console, work)?;
        found.as_c_str()
    } else {
        work.source
    };
    if work.target.is_empty() {
        return match swap_to(source, work.data.to_bytes()) {
            // It is swapped to already.
            Err(Errno::BUSY) => Ok(false),
            outcome => outcome.map(|()| false).at(Step::SwapOn),
        };
    }
    let kind = kind_of(source, work.kind)?;
    // One that is written to cannot be checked: the root, where the kernel has mounted it so.
    let is_written = || work.target == c"/" && rustix::fs::access(c"/", Access::WRITE_OK).is_ok();
    let needs_check = is_device && work.has(Mount::CHECK) && !is_written();
    if needs_check && checker::check(console, source, kind)?.needs_reboot {
        return Ok(true);
    }
    let bits = FLAGS.iter().enumerate().filter(|(bit, _)| work.has(1 << bit));
    let flags = bits.fold(MountFlags::empty(), |all, (_, flag)| all | *flag);
    attach(console, work, (source, kind, flags)).at(Step::MountHost)?;
    Ok(false)
}

/// Waits for its device, and says so where that takes a moment.
fn await_device(console: &Console, work: &Work<'_>) -> Result<Made, Fault> {
    let shown = work.source.to_str().unwrap_or("?");
    let mut waits = || console.say(Level::Info, format_args!("waiting for {shown}, {} s at most", work.wait_ms / 1000));
    device::wait(work.source, clock::now_ms().saturating_add(work.wait_ms), &mut waits).at(Step::AwaitDevice)
}

/// The type to mount `source` as: what is on it, where that is asked for.
fn kind_of<'k>(source: &CStr, kind: &'k CStr) -> Result<&'k CStr, Fault> {
    if kind != c"auto" {
        return Ok(kind);
    }
    let found = device::probe(source).map(|found| found.kind).filter(|kind| *kind != c"swap");
    found.ok_or(Errno::INVAL).at(Step::FindKind)
}

fn attach(console: &Console, work: &Work<'_>, (source, kind, flags): (&CStr, &CStr, MountFlags)) -> Result<(), Errno> {
    let Work { target, data, .. } = *work;
    if target == c"/" {
        return rustix::mount::mount_remount(target, flags, data);
    }
    let is_bind = work.has(Mount::BIND | Mount::BIND_ALL);
    make_target(source, target, is_bind);
    if is_bind {
        return bind(work, flags);
    }
    match rustix::mount::mount(source, target, kind, flags, data) {
        // As mount(8) does it: what can only be read is mounted so.
        Err(Errno::ROFS | Errno::ACCESS) if !flags.contains(MountFlags::RDONLY) => {
            rustix::mount::mount(source, target, kind, flags | MountFlags::RDONLY, data)?;
            let target = target.to_str().unwrap_or("?");
            console.say(Level::Warning, format_args!("{target} can only be read: its device is write-protected"));
            Ok(())
        }
        outcome => outcome,
    }
}

fn bind(work: &Work<'_>, flags: MountFlags) -> Result<(), Errno> {
    let Work { source, target, .. } = *work;
    if work.has(Mount::BIND_ALL) {
        rustix::mount::mount_bind_recursive(source, target)?;
    } else {
        rustix::mount::mount_bind(source, target)?;
    }
    // The kernel takes the flags of a bind only when it is there.
    if flags.is_empty() { Ok(()) } else { rustix::mount::mount_remount(target, flags | MountFlags::BIND, c"") }
}

/// Makes the place that something is mounted on, where it is not there. What cannot be made is told by the mount.
fn make_target(source: &CStr, target: &CStr, is_bind: bool) {
    let path = target.to_bytes();
    let is_file = is_bind
        && rustix::fs::stat(source).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) != FileType::Directory);
    for end in (1..=path.len()).filter(|end| path.get(*end).is_none_or(|byte| *byte == b'/')) {
        let Some(Ok(part)) = path.get(..end).map(core::str::from_utf8) else { return };
        let part = Made::new(format_args!("{part}"));
        if is_file && end == path.len() {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let _ = rustix::fs::openat(CWD, part.as_c_str(), flags, Mode::from_raw_mode(0o644));
        } else {
            let _ = rustix::fs::mkdir(part.as_c_str(), Mode::from_raw_mode(0o755));
        }
    }
}

fn swap_to(source: &CStr, options: &[u8]) -> Result<(), Errno> {
    let mut words = options.split(|byte| *byte == b',');
    let priority = words.clone().find_map(|word| number(word.strip_prefix(b"pri=")?));
    storage::swap_on(source, priority, words.any(|word| word == b"discard"))
}
