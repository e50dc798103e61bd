//! File systems written back and unmounted, and what lies below them taken down.
//!
//! A device that hangs hangs whoever waits for it, and no signal ends that. So a child does it all, step by step, and says
//! what it begins; where a step takes long, another child goes on with the others, and the first is waited for meanwhile. So
//! one that hangs costs nothing but itself, and one that is only slow has all the time there is.

use core::fmt;
use core::mem::MaybeUninit;

use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, major, minor};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::pipe::PipeFlags;

use crate::fault::ErrnoWords;
use crate::host::console::{Console, Level};
use crate::host::files::{self, Lines};
use crate::host::wait::Waiter;
use crate::host::{mountinfo, seed};
use crate::limits;
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::wait::{self, Which};
use crate::sys::{Errno, clock, process, storage};
use crate::text::{Made, device_number, number};

/// Children that wait for something that takes long, at most.
const LATE: usize = 8;

/// Takes all of it down, until `deadline_ms` of [`clock::now_ms`] at most. What is given up is told.
pub fn all(console: &Console, waiter: &mut Waiter<'_>, deadline_ms: u64) {
    let mut late = heapless::Vec::<Late, LATE>::new();
    loop {
        match attempt(console, waiter, &late, deadline_ms) {
            Attempt::Over if late.is_empty() => return,
            Attempt::Over => {}
            // Where that is one of many, the others go on at once.
            Attempt::Late(one) => {
                let _ = late.push(one);
                if !late.is_full() && clock::now_ms() < deadline_ms {
                    continue;
                }
            }
            Attempt::None(error) => {
                return console
                    .say(Level::Error, format_args!("file systems stay as they are: clone3: {}", words(error)));
            }
        }
        // What one of them held up is done when it is over.
        if !one_ends(waiter, &mut late, deadline_ms) {
            break;
        }
    }
    for one in &late {
        console.say(Level::Error, format_args!("given up: {} hangs; what was not written is lost", one.step));
    }
}

/// A child that is at a step that takes long.
struct Late {
    pidfd: OwnedFd,
    step: Step,
}

enum Attempt {
    /// All that could be done is.
    Over,
    /// This takes long.
    Late(Late),
    /// There is no child.
    None(Errno),
}

/// Waits until a step that took long is over; whether one was before `deadline_ms`.
fn one_ends(waiter: &mut Waiter<'_>, late: &mut heapless::Vec<Late, LATE>, deadline_ms: u64) -> bool {
    let ended = {
        let mut fds = heapless::Vec::<_, LATE>::new();
        for one in late.iter() {
            let _ = fds.push((one.pidfd.as_fd(), PollFlags::IN));
        }
        waiter.wait(&fds, deadline_ms)
    };
    late.retain(|one| !matches!(wait::reap(Which::PidFd(one.pidfd.as_fd())), Ok(Some(_)) | Err(_)));
    ended
}

/// Has a child do all steps but those of `late`, until one of them takes long.
fn attempt(console: &Console, waiter: &mut Waiter<'_>, late: &[Late], deadline_ms: u64) -> Attempt {
    let (read, write) = match rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) {
        Ok(ends) => ends,
        Err(error) => return Attempt::None(error),
    };
    let pidfd = match clone(Flags::NONE, None) {
        Err(error) => return Attempt::None(error),
        Ok(Side::Child) => {
            Child { console, late, report: write.as_fd() }.work();
            process::exit(0)
        }
        Ok(Side::Parent(_, pidfd)) => pidfd,
    };
    drop(write);
    let mut step = Step::NONE;
    let left_ms = deadline_ms.saturating_sub(clock::now_ms());
    let patience_ms = limits::FINAL_STEP_MS.min(left_ms / 4);
    loop {
        let until_ms = clock::now_ms().saturating_add(patience_ms);
        if !waiter.wait(&[(pidfd.as_fd(), PollFlags::IN), (read.as_fd(), PollFlags::IN)], until_ms) {
            console.say(Level::Warning, format_args!("{step} takes long; going on with the others"));
            return Attempt::Late(Late { pidfd, step });
        }
        step.read(read.as_fd());
        if !matches!(wait::reap(Which::PidFd(pidfd.as_fd())), Ok(None)) {
            return Attempt::Over;
        }
    }
}

/// What a child is at, as it tells its parent.
#[derive(Clone, Copy)]
struct Step {
    /// Of all its words.
    hash: u64,
    words: [u8; Step::BYTES],
}

impl Step {
    const BYTES: usize = 120;
    const NONE: Step = Step { hash: 0, words: [0; Step::BYTES] };

    fn new(verb: &str, what: &[u8]) -> Step {
        let mut step = Step::NONE;
        // FNV-1a
        step.hash = 0xcbf2_9ce4_8422_2325;
        let mut room = step.words.iter_mut();
        for byte in verb.bytes().chain(what.iter().copied()) {
            step.hash = (step.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            if let Some(place) = room.next() {
                *place = byte;
            }
        }
        step
    }

    fn send(&self, to: BorrowedFd<'_>) {
        let mut record = [0; Step::BYTES + 8];
        let (hash, words) = record.split_at_mut(8);
        hash.copy_from_slice(&self.hash.to_ne_bytes());
        words.copy_from_slice(&self.words);
        // A full pipe costs only this record.
        let _ = rustix::io::write(to, &record);
    }

    /// Becomes the last that was sent.
    fn read(&mut self, from: BorrowedFd<'_>) {
        let mut record = [0; Step::BYTES + 8];
        while rustix::io::read(from, &mut record).is_ok_and(|count| count == record.len()) {
            if let Some((hash, words)) = record.split_first_chunk() {
                self.hash = u64::from_ne_bytes(*hash);
                self.words.copy_from_slice(words);
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words.split(|byte| *byte == 0).next().unwrap_or_default();
        f.write_str(core::str::from_utf8(words).unwrap_or("?"))
    }
}

/// The child's side.
struct Child<'a> {
    console: &'a Console,
    late: &'a [Late],
    report: BorrowedFd<'a>,
}

impl Child<'_> {
    #[inline(never)]
    fn work(&self) {
        // The next boot is to have random numbers that this one did not begin with.
        if self.begins("keep a seed in", seed::DIRECTORY.to_bytes()) {
            let _ = seed::save();
        }
        // All at once: file systems that are unmounted one by one then find little to write.
        if self.begins("write back", b"") {
            rustix::fs::sync();
        }
        let mut points = Points::new();
        loop {
            collect(&mut points);
            let unmounted = self.unmount(&points);
            if unmounted + self.swap_off() + self.detach_loops() + self.remove_mapped() == 0 {
                break;
            }
        }
        self.make_read_only(&points);
        self.flush_disks();
        self.tell_left();
    }

    /// Whether a step is to be taken: not where another child is at it.
    fn begins(&self, verb: &str, what: &[u8]) -> bool {
        let step = Step::new(verb, what);
        if self.late.iter().any(|late| late.step.hash == step.hash) {
            return false;
        }
        step.send(self.report);
        true
    }

    /// Unmounts backwards what can be; how many.
    fn unmount(&self, points: &Points) -> usize {
        each_backwards(points, |_, path| {
            // Unmounting the root succeeds, and makes it read-only; that comes at the end. The others tell what there is.
            let is_needed = [c"/", c"/proc", c"/sys", c"/dev"].contains(&path);
            // Never detached: that only hides a mount, and leaves its file system in use.
            !is_needed
                && self.begins("unmount ", path.to_bytes())
                && rustix::mount::unmount(path, UnmountFlags::NOFOLLOW).is_ok()
        })
    }

    /// Ends swapping, where it can be ended; for how many.
    fn swap_off(&self) -> usize {
        let Ok(file) = files::open(c"/proc/swaps") else { return 0 };
        let mut lines = Lines::<OwnedFd, { files::LINE_BYTES }>::new(file);
        let (mut count, mut path) = (0, [0; POINT_BYTES]);
        // A heading stands first.
        let _ = lines.read();
        while let Ok(Some(line)) = lines.read() {
            let name = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            let Some(path) = mountinfo::unescape(name, &mut path) else { continue };
            if self.begins("swap off ", path.to_bytes()) {
                count += usize::from(storage::swap_off(path).is_ok());
            }
        }
        count
    }

    /// Takes their files from loop devices; from how many.
    fn detach_loops(&self) -> usize {
        let mut count = 0;
        each_disk(&mut |disk| {
            if !disk.has_file() || !self.begins("detach ", disk.name) {
                return;
            }
            let outcome = disk.open().and_then(|device| storage::detach(device.as_fd()));
            // It says yes too where it only will, when the last who has it open is gone.
            count += usize::from(outcome.is_ok() && !disk.has_file());
        });
        count
    }

    /// Removes what nobody uses of the device mapper; how many.
    fn remove_mapped(&self) -> usize {
        let count = || {
            let mut count = 0usize;
            each_disk(&mut |disk| count += usize::from(disk.is_mapped()));
            count
        };
        let before = count();
        if before == 0 || !self.begins("remove devices of the device mapper", b"") {
            return 0;
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let control = rustix::fs::openat(CWD, c"/dev/mapper/control", flags, Mode::empty());
        if let Err(error) = control.and_then(|control| storage::remove_all_mapped(control.as_fd())) {
            self.console.say(Level::Error, format_args!("the device mapper: {}", words(error)));
        }
        before.saturating_sub(count())
    }

    /// Makes read-only what could not be unmounted, the root too. What is written to still is frozen, which writes it back;
    /// where even that cannot be it is written back as it is.
    fn make_read_only(&self, points: &Points) {
        each_backwards(points, |matters, path| {
            if !matters || !self.begins("make read-only ", path.to_bytes()) {
                return false;
            }
            let is_root = path == c"/";
            // This acts on the file system, wherever else it is mounted.
            let outcome = rustix::mount::mount_remount(path, MountFlags::RDONLY, c"");
            let path_words = path.to_str().unwrap_or("?");
            let Err(error) = outcome else {
                if !is_root {
                    let level = Level::Warning;
                    self.console.say(level, format_args!("{path_words} is in use: read-only, but not unmounted"));
                }
                return true;
            };
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
            let frozen = rustix::fs::openat(CWD, path, flags, Mode::empty()).and_then(|place| {
                storage::freeze(place.as_fd()).or_else(|error| {
                    // It was frozen before, by another of its mounts.
                    if error == Errno::BUSY { Ok(()) } else { rustix::fs::syncfs(&place).and(Err(error)) }
                })
            });
            let error = words(error);
            let (level, how) = match frozen {
                Ok(()) => (Level::Warning, "frozen as it is"),
                Err(_) => (Level::Error, "only written back"),
            };
            self.console.say(level, format_args!("{path_words} is in use, and not made read-only: {error}; {how}"));
            true
        });
    }

    /// Has disks write what they keep in a memory of their own. A file system does that at its commits, but not each at its
    /// unmounting (vfat and ext2 do not); and not every driver does when the machine goes off.
    fn flush_disks(&self) {
        each_disk(&mut |disk| {
            if disk.has_memory()
                && self.begins("flush ", disk.name)
                && let Ok(device) = disk.open()
            {
                // EIO is told by the kernel; a read-only one has nothing to flush.
                let _ = rustix::fs::fsync(&device);
            }
        });
    }

    /// Says what is left below file systems. What the root lies on has to stay, and so has what that lies on.
    fn tell_left(&self) {
        let root = rustix::fs::stat(c"/").map(|root| (major(root.st_dev), minor(root.st_dev))).ok();
        each_disk(&mut |disk| {
            if (disk.has_file() || disk.is_mapped()) && !disk.is_held() && disk.number() != root {
                let name = core::str::from_utf8(disk.name).unwrap_or("?");
                self.console.say(Level::Warning, format_args!("{name} is in use, and not taken down"));
            }
        });
    }
}

/// A block device, by its name in `/sys/block`.
#[derive(Clone, Copy, Debug)]
struct Disk<'a> {
    name: &'a [u8],
}

impl Disk<'_> {
    fn path(&self, before: &str, behind: &str) -> Made {
        Made::new(format_args!("{before}/{}{behind}", core::str::from_utf8(self.name).unwrap_or("?")))
    }

    fn has(&self, what: &str) -> bool {
        rustix::fs::access(self.path("/sys/block", what).as_c_str(), rustix::fs::Access::EXISTS).is_ok()
    }

    /// Whether it is a loop device with a file.
    fn has_file(&self) -> bool {
        self.name.starts_with(b"loop") && self.has("/loop/backing_file")
    }

    fn is_mapped(&self) -> bool {
        self.name.starts_with(b"dm-")
    }

    /// Whether another lies on it.
    fn is_held(&self) -> bool {
        let path = self.path("/sys/block", "/holders");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(holders) = rustix::fs::openat(CWD, path.as_c_str(), flags, Mode::empty()) else { return false };
        let mut buffer = [MaybeUninit::<u8>::uninit(); 512];
        let mut entries = RawDir::new(holders, &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            if !entry.file_name().to_bytes().starts_with(b".") {
                return true;
            }
        }
        false
    }

    fn number(&self) -> Option<(u32, u32)> {
        let mut buffer = [0; 32];
        device_number(files::read_path(self.path("/sys/block", "/dev").as_c_str(), &mut buffer).ok()?.trim_ascii_end())
    }

    /// Whether it is a disk of its own that may have a memory: not one that lies on another, or in memory. Opening a drive
    /// whose medium can be taken out may take long.
    fn has_memory(&self) -> bool {
        const OTHERS: [&[u8]; 7] = [b"loop", b"ram", b"zram", b"dm-", b"md", b"fd", b"sr"];
        let mut buffer = [0; 32];
        let size = files::read_path(self.path("/sys/block", "/size").as_c_str(), &mut buffer).unwrap_or_default();
        !OTHERS.iter().any(|other| self.name.starts_with(other))
            && number(size.trim_ascii_end()).is_some_and(|size: u64| size > 0)
    }

    fn open(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat(CWD, self.path("/dev", "").as_c_str(), flags, Mode::empty())
    }
}

/// Calls `each` with every block device; with none where there is no `/sys`.
fn each_disk(each: &mut dyn FnMut(&Disk<'_>)) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(all) = rustix::fs::openat(CWD, c"/sys/block", flags, Mode::empty()) else { return };
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(all, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name().to_bytes();
        if !name.starts_with(b".") {
            each(&Disk { name });
        }
    }
}

/// Bytes of all mount points handled in one go; if there are more, the others come in the next.
const POINTS_BYTES: usize = 32 << 10;
/// Bytes of one mount point.
const POINT_BYTES: usize = 4096;

/// Mount points, each with a byte before that says whether it matters, and a NUL behind.
type Points = heapless::Vec<u8, POINTS_BYTES>;

/// Notes every mount point, in the order they were mounted.
fn collect(points: &mut Points) {
    points.clear();
    let mut buffer = [0; POINT_BYTES];
    let outcome = mountinfo::each(&mut |mount| {
        let matters = !IN_MEMORY.contains(&mount.kind);
        let Some(path) = mountinfo::unescape(mount.target, &mut buffer) else { return };
        let path = path.to_bytes_with_nul();
        if points.capacity() - points.len() > path.len() {
            let _ = points.push(u8::from(matters) + b'0');
            let _ = points.extend_from_slice(path);
        }
    });
    // Without /proc there is still the root to be made read-only.
    if outcome.is_err() || points.is_empty() {
        let _ = points.extend_from_slice(b"1/\0");
    }
}

/// File systems with nothing on them that outlives the machine.
const IN_MEMORY: [&[u8]; 20] = [
    b"proc",
    b"sysfs",
    b"devtmpfs",
    b"devpts",
    b"tmpfs",
    b"ramfs",
    b"rootfs",
    b"cgroup",
    b"cgroup2",
    b"mqueue",
    b"securityfs",
    b"debugfs",
    b"tracefs",
    b"configfs",
    b"bpf",
    b"pstore",
    b"efivarfs",
    b"hugetlbfs",
    b"binfmt_misc",
    b"autofs",
];

/// Calls `each` for every mount point, the last one first, and returns how often it said yes.
fn each_backwards(points: &Points, mut each: impl FnMut(bool, &core::ffi::CStr) -> bool) -> usize {
    let mut rest = points.as_slice();
    let mut count = 0;
    while let Some((_, before)) = rest.split_last() {
        let start = before.iter().rposition(|byte| *byte == 0).map_or(0, |nul| nul + 1);
        let (head, point) = rest.split_at(start);
        rest = head;
        let Some((matters, path)) = point.split_first() else { break };
        if let Ok(path) = core::ffi::CStr::from_bytes_with_nul(path) {
            count += usize::from(each(*matters == b'1', path));
        }
    }
    count
}

fn words(error: Errno) -> ErrnoWords {
    ErrnoWords(error.raw_os_error() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_come_backwards() {
        let mut points = Points::new();
        points.extend_from_slice(b"1/\x000/proc\x001/a b\0").unwrap();
        let mut seen = Vec::new();
        let count = each_backwards(&points, |matters, path| {
            seen.push((matters, path.to_str().unwrap().to_owned()));
            matters
        });
        assert_eq!(seen, [(true, "/a b".to_owned()), (false, "/proc".to_owned()), (true, "/".to_owned())]);
        assert_eq!(count, 2);
    }

    #[test]
    fn the_last_step_is_read_back_and_known_again() {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK).unwrap();
        let long = "x".repeat(Step::BYTES);
        for what in ["/data", &long, "/data"] {
            Step::new("unmount ", what.as_bytes()).send(write.as_fd());
        }
        let mut step = Step::NONE;
        step.read(read.as_fd());
        assert_eq!(std::format!("{step}"), "unmount /data");
        assert_eq!(step.hash, Step::new("unmount ", b"/data").hash);
        let longer = std::format!("{long}x");
        assert_ne!(Step::new("", long.as_bytes()).hash, Step::new("", longer.as_bytes()).hash);
    }

    #[test]
    fn a_disk_is_told_from_what_lies_on_others() {
        for name in [&b"loop0"[..], b"dm-0", b"zram0", b"no-such-disk"] {
            assert!(!Disk { name }.has_memory());
        }
        let mut disks = 0;
        each_disk(&mut |disk| {
            disks += 1;
            assert!(disk.number().is_some());
        });
        assert!(disks > 0 || !std::path::Path::new("/sys/block").exists());
    }
}
