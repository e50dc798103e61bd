//! Block devices by their numbers.

use core::ffi::CStr;

use rustix::fs::{CWD, FileType, Mode, OFlags, major, minor};

use super::Errno;
use crate::text::{Made, device_number};

/// A disk as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Major and minor number of the whole disk.
    pub number: (u32, u32),
    /// Whether a partition of it was named.
    pub is_part: bool,
}

/// The disk at `path`; of a partition the disk that it is on, for limits are the whole disk's.
///
/// # Errors
/// As stat(2); ENOTBLK for what is no block device.
pub fn disk(path: &CStr) -> Result<Disk, Errno> {
    let found = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::BlockDevice {
        return Err(Errno::NOTBLK);
    }
    let number = (major(found.st_rdev), minor(found.st_rdev));
    Ok(match whole(number) {
        Some(whole) => Disk { number: whole, is_part: true },
        None => Disk { number, is_part: false },
    })
}

/// Whether the disk or partition at `path` is write-protected.
#[must_use]
pub fn is_protected(path: &CStr) -> bool {
    let Ok(found) = rustix::fs::stat(path) else { return false };
    let number = (major(found.st_rdev), minor(found.st_rdev));
    // Documentation/ABI/testing/sysfs-block
    read(format_args!("/sys/dev/block/{}:{}/ro", number.0, number.1), |text| text.starts_with(b"1").then_some(()))
        .is_some()
}

/// The disk that this partition is on; nothing for what is none.
fn whole((major, minor): (u32, u32)) -> Option<(u32, u32)> {
    // Documentation/ABI/stable/sysfs-block: a partition's directory is in that of its disk.
    read(format_args!("/sys/dev/block/{major}:{minor}/partition"), |_| Some(()))?;
    read(format_args!("/sys/dev/block/{major}:{minor}/../dev"), |text| device_number(text.trim_ascii_end()))
}

fn read<T>(path: core::fmt::Arguments<'_>, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    let file =
        rustix::fs::openat(CWD, Made::new(path).as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 32];
    let len = rustix::io::read(file, &mut buffer).ok()?;
    parse(buffer.get(..len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_block_device_is_none() {
        assert_eq!(disk(c"/dev/null"), Err(Errno::NOTBLK));
        assert_eq!(disk(c"/"), Err(Errno::NOTBLK));
        assert_eq!(disk(c"/dev/no-such-disk"), Err(Errno::NOENT));
    }
}
