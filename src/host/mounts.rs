//! The mounts that every host needs, made by PID 1 before anything else.

use core::ffi::CStr;
use core::fmt;

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, StatxAttributes, StatxFlags};
use rustix::mount::MountFlags;

use crate::fault::ErrnoWords;
use crate::sys::Errno;
use crate::sys::device::NODES;

/// One of them: where, and what.
struct Early {
    target: &'static CStr,
    kind: &'static CStr,
    flags: MountFlags,
    data: Option<&'static CStr>,
}

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const SAFEST: MountFlags = SAFE.union(MountFlags::NOEXEC);

/// What `/sys/fs/cgroup` is mounted with. nsdelegate: a cgroup namespace is a border that its root cannot cross;
/// memory_recursiveprot: `memory-low` of a guest protects the cgroups that it makes below.
const CGROUP_OPTIONS: &CStr = c"nsdelegate,memory_recursiveprot";
const CGROUP: &CStr = c"/sys/fs/cgroup";
/// Where hosts have it that use both versions.
const UNIFIED: &CStr = c"/sys/fs/cgroup/unified";
/// What fails where a file system is not there.
const MOUNT: &str = "mount";
/// Somebody else's hierarchies stay where they are: whoever mounted them may use them.
const COVERED: &str =
    "cgroups of version 1 are mounted there, and covered; guests cannot have the controllers that those hold";

/// In this order. The sizes keep what anybody may fill to well below the memory there is.
const EARLY: [Early; 8] = [
    Early { target: c"/proc", kind: c"proc", flags: SAFEST, data: None },
    Early { target: c"/sys", kind: c"sysfs", flags: SAFEST, data: None },
    Early { target: c"/dev", kind: c"devtmpfs", flags: MountFlags::NOSUID, data: Some(c"mode=755") },
    // 5 is the group tty everywhere; 620 lets write(1) in, and nobody read.
    Early {
        target: c"/dev/pts",
        kind: c"devpts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        data: Some(c"gid=5,mode=620,ptmxmode=666"),
    },
    Early { target: c"/dev/shm", kind: c"tmpfs", flags: SAFE, data: Some(c"mode=1777,size=25%") },
    Early { target: c"/run", kind: c"tmpfs", flags: SAFE, data: Some(c"mode=755,size=10%") },
    Early { target: c"/tmp", kind: c"tmpfs", flags: SAFE, data: Some(c"mode=1777,size=25%") },
    Early { target: CGROUP, kind: c"cgroup2", flags: SAFEST, data: Some(CGROUP_OPTIONS) },
];

/// What no `/dev` has of itself.
const LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
];

/// What statfs(2) calls the two kinds of memory file system (linux/magic.h).
const RAMFS: u32 = 0x8584_58f6;
/// See [`RAMFS`].
const TMPFS: u32 = 0x0102_1994;

/// Something that could not be mounted or made.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    what: &'static str,
    target: &'static CStr,
    errno: Errno,
}

impl Failure {
    /// Whether the host lacks a file system for it.
    #[must_use]
    pub fn is_wanting(&self) -> bool {
        self.what == MOUNT
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.to_str().unwrap_or_default();
        if self.what == COVERED {
            return write!(f, "{target}: {COVERED}");
        }
        write!(f, "{} {target}: {}", self.what, ErrnoWords(self.errno.raw_os_error() as u16))?;
        f.write_str(match self.errno {
            Errno::NOENT if self.target == CGROUP => "; this kernel has no cgroups",
            Errno::NOENT => "; this root has no such directory, and none can be made",
            _ => "",
        })
    }
}

/// What failed; told when there is a console to tell it on.
pub type Failures = heapless::Vec<Failure, { EARLY.len() + NODES.len() + 1 }>;

/// Mounts what is not mounted yet, after leaving the initramfs's own root for a root that is a mount. Goes on past every
/// failure.
pub fn early(failures: &mut Failures) {
    if let Err(errno) = enter_mounted_root() {
        fail(failures, "move to a mounted root", c"/", errno);
    }
    for early in &EARLY {
        mount(early, failures);
    }
    for (to, link) in LINKS {
        // It may be there; and without it nothing that matters here fails.
        let _ = rustix::fs::symlink(to, link);
    }
}

/// Gives this process a root that is mounted on something, if the one it has is not.
///
/// `pivot_root` refuses to replace the root that the kernel unpacked the initramfs into, for it is mounted on nothing; so
/// no guest could be built in a copy of that mount namespace. Copying the initramfs into a tmpfs, as `switch_root` does,
/// costs its size in memory for a while and the time to copy. Mounting the same tree once more, on top of itself, costs
/// one small kernel structure, and is a root like any other; `/..` is what is mounted on top of `/`. What lies below is
/// the same tree, and no path leads there; a guest cannot take its own root off it: `pivot_root` hands the lock that the
/// old root has in a less privileged user namespace on to the new one.
///
/// The kernel's own root is always one of these two file systems. Asking `/proc/self/mountinfo` whether the root is on
/// nothing would be exact, and cost more than all of this function; once too often harms nothing.
fn enter_mounted_root() -> Result<(), Errno> {
    if is_in_memory() {
        // With all that is mounted below: whoever ran before this program may have mounted something there.
        rustix::mount::mount_bind_recursive(c"/", c"/")?;
        rustix::process::chdir(c"/..")?;
        rustix::process::chroot(c".")?;
        rustix::process::chdir(c"/")?;
    }
    Ok(())
}

/// Whether the root is in memory, as that of an initramfs is.
#[must_use]
pub fn is_in_memory() -> bool {
    rustix::fs::statfs(c"/").is_ok_and(|found| [RAMFS, TMPFS].contains(&(found.f_type as u32)))
}

/// The same of the file system that `directory` is on.
#[must_use]
pub fn is_memory(directory: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|found| [RAMFS, TMPFS].contains(&(found.f_type as u32)))
}

fn mount(early: &Early, failures: &mut Failures) {
    if is_mount_point(early.target) {
        if early.target != CGROUP {
            return;
        }
        if let Some(found) = [CGROUP, UNIFIED].into_iter().find(|path| is_cgroup2(path)) {
            if let Err(errno) = remount_cgroup(found, early.flags) {
                fail(failures, "set nsdelegate on", found, errno);
            }
            return;
        }
        fail(failures, COVERED, CGROUP, Errno::BUSY);
    }
    // What it would be mounted in is missing too, which is told.
    if failures.iter().any(|failure| is_below(early.target, failure.target) && failure.is_wanting()) {
        return;
    }
    // It may be there; if it cannot be made, mounting says so.
    let _ = rustix::fs::mkdir(early.target, Mode::from_raw_mode(0o755));
    let outcome = match mount_one(early) {
        Err(Errno::NODEV) if early.kind == c"devtmpfs" => return make_dev(failures),
        // An option that this kernel does not know yet.
        Err(Errno::INVAL) if early.target == CGROUP => {
            rustix::mount::mount(early.kind, CGROUP, early.kind, early.flags, c"nsdelegate")
        }
        outcome => outcome,
    };
    if let Err(errno) = outcome {
        fail(failures, MOUNT, early.target, errno);
    }
}

fn mount_one(early: &Early) -> Result<(), Errno> {
    rustix::mount::mount(early.kind, early.target, early.kind, early.flags, early.data)
}

fn is_cgroup2(path: &CStr) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == libc::CGROUP2_SUPER_MAGIC as _)
}

fn is_below(path: &CStr, directory: &CStr) -> bool {
    path.to_bytes().strip_prefix(directory.to_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

fn remount_cgroup(target: &CStr, flags: MountFlags) -> Result<(), Errno> {
    match rustix::mount::mount_remount(target, flags, CGROUP_OPTIONS) {
        Err(Errno::INVAL) => rustix::mount::mount_remount(target, flags, c"nsdelegate"),
        outcome => outcome,
    }
}

/// A `/dev` in memory with what every program expects, for a kernel without devtmpfs.
fn make_dev(failures: &mut Failures) {
    let options = c"mode=755,size=1M";
    if let Err(errno) = rustix::mount::mount(c"tmpfs", c"/dev", c"tmpfs", MountFlags::NOSUID, options) {
        fail(failures, MOUNT, c"/dev", errno);
    }
    for (path, mode, major, minor) in NODES {
        let mode = Mode::from_raw_mode(mode);
        let device = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, device) {
            // The umask may have taken bits away.
            Ok(()) => drop(rustix::fs::chmod(path, mode)),
            Err(Errno::EXIST) => {}
            Err(errno) => fail(failures, "make", path, errno),
        }
    }
}

fn is_mount_point(path: &CStr) -> bool {
    // Where the kernel cannot say, it is taken for none: mounting once more harms nothing.
    rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn fail(failures: &mut Failures, what: &'static str, target: &'static CStr, errno: Errno) {
    // There is room for one failure of each kind; what does not fit has failed for the same reason as its neighbours.
    let _ = failures.push(Failure { what, target, errno });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_its_reason_and_what_is_covered_is_not_missed() {
        let failed = |what, target, errno| Failure { what, target, errno };
        let none = failed(MOUNT, c"/dev", Errno::NOENT);
        assert!(
            none.is_wanting() && none.to_string().ends_with("; this root has no such directory, and none can be made")
        );
        let none = failed(MOUNT, CGROUP, Errno::NOENT);
        assert!(
            none.is_wanting() && none.to_string().ends_with("(no such file or directory); this kernel has no cgroups")
        );
        let old = failed(COVERED, CGROUP, Errno::BUSY);
        assert!(!old.is_wanting() && old.to_string().starts_with("/sys/fs/cgroup: cgroups of version 1"), "{old}");
        assert!(!failed("set nsdelegate on", CGROUP, Errno::PERM).is_wanting());
    }

    #[test]
    fn below_a_directory_is_what_is_in_it_and_no_neighbour() {
        assert!(is_below(c"/dev/pts", c"/dev"));
        assert!(!is_below(c"/dev", c"/dev") && !is_below(c"/device", c"/dev"));
    }
}
