//! What the kernel's random numbers begin with: kept on disk from one boot to the next.
//!
//! As seedrng(8) has it: a seed counts as good only if it was made of good numbers, and is none any more on the disk, for sure,
//! before it is used, so that it never counts twice, whatever happens. Then a new one takes its place at once, which is renewed
//! when the host goes down. The file is also as old as the host at least: no clock is right that is before it.
//!
//! Storage can hang: only for short-lived children.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::{files, mounts};
use crate::sys::random::{self, SEED_BYTES, Seed};
use crate::sys::{Errno, clock, device};

/// What the host keeps for itself.
pub const DIRECTORY: &CStr = c"/var/lib/inn";
/// A seed that counts, and one that does not.
const NAMES: [&CStr; 2] = [c"seed", c"seed.weak"];

/// Gives the kernel the seed of the last boot, keeps one for the next, and sets a clock right that is before the last one was
/// written. Where the host's files are in memory nothing is kept.
///
/// # Errors
/// The call that failed.
pub fn settle() -> Result<(), Errno> {
    let Some(directory) = open(DIRECTORY)? else { return Ok(()) };
    let device = device::open(c"/dev/urandom", OFlags::RDONLY)?;
    settle_in(directory.as_fd(), &mut |seed, credit| random::add(device.as_fd(), seed, credit))
}

/// Keeps a seed for the next boot.
///
/// # Errors
/// The call that failed.
pub fn save() -> Result<(), Errno> {
    match open(DIRECTORY)? {
        Some(directory) => save_in(directory.as_fd()),
        None => Ok(()),
    }
}

/// The directory, made where it is not there; nothing where it is in memory.
fn open(path: &CStr) -> Result<Option<OwnedFd>, Errno> {
    let make = |path: &CStr| rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)).err();
    let why = [c"/var", c"/var/lib", path].into_iter().filter_map(make).find(|errno| *errno != Errno::EXIST);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, path, flags, Mode::empty());
    // Why it could not be made says more than that it is not there.
    let directory = opened.map_err(|errno| why.filter(|_| errno == Errno::NOENT).unwrap_or(errno))?;
    Ok(Some(directory).filter(|directory| !mounts::is_memory(directory.as_fd())))
}

fn settle_in(directory: BorrowedFd<'_>, add: &mut dyn FnMut(&Seed, bool) -> Result<(), Errno>) -> Result<(), Errno> {
    let [good, weak] = NAMES;
    if let Some(seed) = read(directory, good) {
        // It stays, as one that does not count, for the next to be written over it: a full disk has room for that.
        let renamed = rustix::fs::renameat(directory, good, directory, weak);
        add(&seed, renamed.and_then(|()| rustix::fs::fsync(directory)).is_ok())?;
    } else {
        // Half a one is none.
        let _ = rustix::fs::unlinkat(directory, good, AtFlags::empty());
        if let Some(seed) = read(directory, weak) {
            add(&seed, false)?;
        }
    }
    save_in(directory)
}

/// The seed of this name, if it is whole; its file sets a clock right that is before it was written.
fn read(directory: BorrowedFd<'_>, name: &CStr) -> Option<Seed> {
    let file = files::open_at(directory, name).ok()?;
    if let Ok(found) = rustix::fs::fstat(&file) {
        let _ = clock::not_before(found.st_mtime);
    }
    let mut seed = [0; SEED_BYTES];
    (files::read_whole(file.as_fd(), &mut seed) == Ok(SEED_BYTES)).then_some(seed)
}

fn save_in(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    let (seed, is_good) = random::random();
    let [good, weak] = NAMES;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // What is half written must not count.
    let file = rustix::fs::openat(directory, weak, flags, Mode::RUSR)?;
    files::write_all(file.as_fd(), &seed)?;
    rustix::fs::ftruncate(&file, SEED_BYTES as u64)?;
    rustix::fs::fsync(&file)?;
    if is_good {
        rustix::fs::renameat(directory, weak, directory, good)?;
    }
    rustix::fs::fsync(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(std::path::PathBuf, OwnedFd);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(std::format!("inn-seed-{}-{name}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(path.to_str().unwrap(), flags, Mode::empty()).unwrap();
            Scratch(path, fd)
        }

        fn settle(&self) -> Vec<(Vec<u8>, bool)> {
            let mut added = Vec::new();
            settle_in(self.1.as_fd(), &mut |seed, credit| {
                assert!(!self.0.join("seed").exists(), "it is gone before it is used");
                added.push((seed.to_vec(), credit));
                Ok(())
            })
            .unwrap();
            added
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_first_boot_has_no_seed_and_each_later_one_has_that_of_the_one_before_once() {
        let scratch = Scratch::new("kept");
        assert_eq!(scratch.settle(), []);
        let first = std::fs::read(scratch.0.join("seed")).unwrap();
        assert_eq!(scratch.settle(), [(first.clone(), true)]);
        let second = std::fs::read(scratch.0.join("seed")).unwrap();
        assert!(first != second && first.len() == SEED_BYTES);
        save_in(scratch.1.as_fd()).unwrap();
        assert_ne!(std::fs::read(scratch.0.join("seed")).unwrap(), second, "renewed when the host goes down");
        assert!(!scratch.0.join("seed.weak").exists());
    }

    #[test]
    fn a_weak_seed_does_not_count_and_half_a_one_is_not_used() {
        let scratch = Scratch::new("weak");
        std::fs::write(scratch.0.join("seed.weak"), [7; SEED_BYTES]).unwrap();
        std::fs::write(scratch.0.join("seed"), b"half").unwrap();
        assert_eq!(scratch.settle(), [(vec![7; SEED_BYTES], false)]);
        for other in [vec![1; SEED_BYTES + 1], vec![]] {
            std::fs::write(scratch.0.join("seed"), other).unwrap();
            assert_eq!(scratch.settle(), []);
        }
    }
}
