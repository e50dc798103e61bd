//! `/etc/machine-id`: made where there is none (machine-id(5)); in memory where nothing can be written there.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::AsFd;
use rustix::fs::{CWD, Mode, OFlags};

use super::files;
use crate::sys::{Errno, random};

const PATH: &CStr = c"/etc/machine-id";
/// Where it is when it cannot be there.
const IN_MEMORY: &CStr = c"/run/machine-id";
/// Hex digits, and a newline.
const BYTES: usize = 33;

/// Makes it, unless there is one.
///
/// # Errors
/// The call that failed; there is one in memory then, if that can be.
pub fn settle() -> Result<(), Errno> {
    let mut buffer = [0; BYTES];
    // Empty, and `uninitialized`, are what images have that are to get one.
    if files::read_path(PATH, &mut buffer).is_ok_and(|text| is_one(text.trim_ascii_end())) {
        return Ok(());
    }
    let id = make();
    let Err(errno) = write(PATH, id.as_bytes()) else { return Ok(()) };
    write(IN_MEMORY, id.as_bytes())?;
    // Where the file is there, if only to be empty, it can be covered.
    match rustix::mount::mount_bind(IN_MEMORY, PATH) {
        // A host that nothing can be written on is one that was made so.
        Ok(()) if errno == Errno::ROFS => Ok(()),
        _ => Err(errno),
    }
}

fn is_one(text: &[u8]) -> bool {
    text.len() == BYTES - 1 && text.iter().all(u8::is_ascii_hexdigit)
}

/// A random UUID (RFC 9562, version 4), without hyphens.
fn make() -> heapless::String<BYTES> {
    let (bytes, _) = random::random();
    let mut id = heapless::String::new();
    for (index, byte) in bytes.iter().take(16).enumerate() {
        let byte = match index {
            6 => byte & 0x0f | 0x40,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        // There is room for all.
        let _ = write!(id, "{byte:02x}");
    }
    let _ = id.push('\n');
    id
}

fn write(path: &CStr, id: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o444))?;
    files::write_all(file.as_fd(), id)?;
    rustix::fs::fsync(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_random_number_of_its_kind() {
        let (one, other) = (make(), make());
        assert!(is_one(one.trim_end().as_bytes()) && one.len() == BYTES && one != other);
        assert!(one.as_bytes()[12] == b'4' && b"89ab".contains(&one.as_bytes()[16]));
        assert!(!is_one(b"uninitialized") && !is_one(b"") && !is_one(&[b'g'; 32]));
    }
}
