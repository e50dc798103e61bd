//! A guest's `/dev`: a small file system made by the host, for only the host may make device files.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RawDir, Uid, makedev};
use rustix::mount::{FsMountFlags, FsOpenFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::device_filter::{Class, DeviceFilter, Rule};
use super::{Build, copy, inside};
use crate::config::key::Key;
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::{Extents, Guest, Plan, User};
use crate::sys::Errno;
use crate::sys::bpf::{self, Instruction};
use crate::sys::mount::{self, Attributes};
use crate::sys::rlimit::{self, Limit};

/// Name and device number (Documentation/admin-guide/devices.txt).
const NODES: [(&CStr, u32, u32); 6] =
    [(c"null", 1, 3), (c"zero", 1, 5), (c"full", 1, 7), (c"random", 1, 8), (c"urandom", 1, 9), (c"tty", 5, 0)];
const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"pts/ptmx", c"ptmx"),
];
/// The devices that a config gives: what may be done with each, in the order of the plan.
pub type Given = heapless::Vec<Rule, { limits::DEVICES }>;

/// Where the guest mounts its own.
const DIRECTORIES: [&CStr; 3] = [c"pts", c"shm", c"mqueue"];

/// What the devices are that the config gives to `guest`: they must be there.
///
/// # Errors
/// [`Step::FindDevice`], or [`Step::FeatureDevice`] where a feature needs it.
pub fn find(plan: &Plan, guest: &Guest) -> Result<Given, Fault> {
    let said = guest.asked[Key::Device as usize].place().is_some();
    let step = if said { Step::FindDevice } else { Step::FeatureDevice };
    let mut given = Given::new();
    for (index, device) in plan.devices.get(guest.devices).iter().enumerate() {
        let rule = rule(plan.strings.c_str(device.path), device.access).at_item(step, index)?;
        given.push(rule).map_err(|_| Errno::NOSPC).at_item(step, index)?;
    }
    Ok(given)
}

fn rule(path: &CStr, access: u8) -> Result<Rule, Errno> {
    let stat = rustix::fs::stat(path)?;
    let class = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => Class::Character,
        FileType::BlockDevice => Class::Block,
        _ => return Err(Errno::NODEV),
    };
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(Rule { class, majors: (major, major), minor: Some(minor), access })
}

/// Has the kernel ask a program, for as long as the guest's cgroup exists, before anything in it opens or makes a device
/// file.
///
/// # Errors
/// [`Step::LoadDeviceFilter`], [`Step::AttachDeviceFilter`].
pub fn guard(build: &Build<'_>, given: &Given) -> Result<(), Fault> {
    match load(DeviceFilter::new(given).instructions()) {
        Ok(program) => build
            .base
            .open_member(build.member)
            .and_then(|cgroup| bpf::attach_device_program(cgroup.as_fd(), program.as_fd()))
            .at(Step::AttachDeviceFilter),
        Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) if !build.guest.needs_device_guard() => Ok(()),
        // In a guest of another: what guards that guards all within it.
        Err(Errno::PERM) if inside::is_so() => Ok(()),
        Err(error) => Err(error).at(Step::LoadDeviceFilter),
    }
}

fn load(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    match bpf::load_device_program(program) {
        Err(Errno::PERM) => {}
        result => return result,
    }
    // Before Linux 5.11 all programs of the host together count as its root's locked memory.
    let locked = libc::RLIMIT_MEMLOCK as u8;
    let before = rlimit::get(None, locked)?;
    rlimit::set(None, locked, Limit { soft: u64::MAX, hard: u64::MAX })?;
    let program = bpf::load_device_program(program);
    rlimit::set(None, locked, before)?;
    program
}

/// Makes it, detached, with what every guest has and the devices `given` to `guest`. Everything in it is owned as the guest
/// is to see it, by the host's numbers until [`own`].
///
/// # Errors
/// The step that failed.
pub fn make(plan: &Plan, guest: &Guest, given: &Given, is_inside: bool) -> Result<OwnedFd, Fault> {
    let attributes = Attributes::NO_SUID.and(Attributes::NO_EXEC);
    let dev =
        memory(&[(c"mode", c"755"), (c"size", c"64k"), (c"nr_inodes", c"1k")], attributes).at(Step::MakeDevices)?;
    let everybody = Mode::from_raw_mode(0o666);
    // The mode is what is written here, whatever the caller's mask.
    rustix::process::umask(Mode::empty());
    for (index, (name, major, minor)) in NODES.into_iter().enumerate() {
        // A file where only the host could make a device: to be bound over.
        let kind = if is_inside { FileType::RegularFile } else { FileType::CharacterDevice };
        rustix::fs::mknodat(&dev, name, kind, everybody, makedev(major, minor)).at_item(Step::DeviceNode, index)?;
    }
    for (target, name) in LINKS {
        rustix::fs::symlinkat(target, &dev, name).at(Step::DeviceNode)?;
    }
    for name in DIRECTORIES {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755)).at(Step::DeviceNode)?;
    }
    // What a terminal is mounted over.
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(&dev, c"console", flags, Mode::from_raw_mode(0o600)).at(Step::DeviceNode)?;
    for (index, (device, rule)) in plan.devices.get(guest.devices).iter().zip(given).enumerate() {
        node(dev.as_fd(), plan.strings.bytes(device.path), rule, guest.user, is_inside)
            .at_item(Step::DeviceNode, index)?;
    }
    if is_inside { bound(dev, plan, guest).at(Step::DeviceNode) } else { Ok(dev) }
}

/// `dev` with our own devices bound over its files. This process's mount namespace must be its own.
fn bound(dev: OwnedFd, plan: &Plan, guest: &Guest) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // What it comes to lie over is reached by this.
    let ours = rustix::fs::openat(CWD, c"/dev", flags, Mode::empty())?;
    let clone = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE;
    let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&dev, c"", CWD, c"/dev", whole)?;
    let given = plan.devices.get(guest.devices).iter().map(|device| plan.strings.bytes(device.path));
    let given = given.filter_map(|path| path.strip_prefix(b"/dev/"));
    for name in NODES.iter().map(|(name, ..)| name.to_bytes()).chain(given) {
        let tree = rustix::mount::open_tree(&ours, name, clone)?;
        rustix::mount::move_mount(&tree, c"", &dev, name, whole)?;
    }
    let all = clone | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::AT_RECURSIVE;
    let dev = rustix::mount::open_tree(&dev, c"", all)?;
    rustix::mount::unmount(c"/dev", UnmountFlags::DETACH)?;
    Ok(dev)
}

/// Makes the file of a device at its path, for the guest's user: what may be done with it the guest's device filter says.
fn node(dev: BorrowedFd<'_>, path: &[u8], rule: &Rule, user: User, is_inside: bool) -> Result<(), Errno> {
    let name = path.strip_prefix(b"/dev/").ok_or(Errno::INVAL)?;
    for end in (0..name.len()).filter(|end| name.get(*end) == Some(&b'/')) {
        match rustix::fs::mkdirat(dev, name.get(..end).unwrap_or_default(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    let kind = match rule.class {
        _ if is_inside => FileType::RegularFile,
        Class::Block => FileType::BlockDevice,
        _ => FileType::CharacterDevice,
    };
    let number = makedev(rule.majors.0, rule.minor.unwrap_or_default());
    rustix::fs::mknodat(dev, name, kind, Mode::from_raw_mode(0o660), number)?;
    let (user, group) = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    rustix::fs::chownat(dev, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives everything in `dev` to the guest's users: by an id mapping, or, where the kernel cannot map a tmpfs, one by one.
///
/// # Errors
/// The step that failed.
pub fn own(dev: BorrowedFd<'_>, users: &Extents, namespace: BorrowedFd<'_>) -> Result<(), Fault> {
    match mount::set(dev, Attributes::NONE, Some(namespace)) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS) => own_below(dev, users).at(Step::MakeDevices),
        Err(error) => Err(error).at(Step::MakeDevices),
    }
}

/// Gives a directory that this start has made, and all that is in it.
fn own_below(directory: BorrowedFd<'_>, users: &Extents) -> Result<(), Errno> {
    let here = rustix::fs::fstat(directory)?.st_dev;
    let give = |name: &CStr, flags: AtFlags| {
        let stat = rustix::fs::statat(directory, name, flags)?;
        // A device of ours that is bound there stays ours.
        if stat.st_dev != here {
            return Ok(());
        }
        let (user, group) = copy::owners(&stat, users);
        rustix::fs::chownat(directory, name, user, group, flags)
    };
    give(c"", AtFlags::EMPTY_PATH)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |name: &CStr| rustix::fs::openat(directory, name, flags, Mode::empty());
    let list = open(c".")?;
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(&list, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        match entry.file_type() {
            _ if matches!(name.to_bytes(), b"." | b"..") => {}
            FileType::Directory => own_below(open(name)?.as_fd(), users)?,
            _ => give(name, AtFlags::SYMLINK_NOFOLLOW)?,
        }
    }
    Ok(())
}

/// A new tmpfs (tmpfs(5)), detached.
///
/// # Errors
/// As fsopen(2), fsconfig(2), fsmount(2).
pub fn memory(options: &[(&CStr, &CStr)], attributes: Attributes) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes.for_fsmount())
}

/// The host's `/sys`, read-only, for a guest that is in the host's network and so may not mount its own.
///
/// # Errors
/// [`Step::HostSysfs`].
pub fn host_sysfs() -> Result<OwnedFd, Fault> {
    use rustix::mount::OpenTreeFlags as Flags;
    let flags = Flags::OPEN_TREE_CLOEXEC | Flags::OPEN_TREE_CLONE;
    let tree = rustix::mount::open_tree(CWD, c"/sys", flags).at(Step::HostSysfs)?;
    let attributes = Attributes::READ_ONLY.and(Attributes::NO_SUID).and(Attributes::NO_DEV).and(Attributes::NO_EXEC);
    mount::set(tree.as_fd(), attributes, None).at(Step::HostSysfs)?;
    Ok(tree)
}
