//! The kernel's log, as far as it is read: /dev/kmsg (Documentation/ABI/testing/dev-kmsg).

use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use crate::sys::device;

/// The log from a moment on. It is read when there is reason to, and never waited for.
#[derive(Debug)]
pub struct KernelLog {
    file: Option<OwnedFd>,
}

/// What reading gave.
#[derive(Debug)]
pub enum Next<'b> {
    /// A record.
    Record(&'b [u8]),
    /// One that was too long, or was written over before it was read.
    Cut,
    /// There is no more, or the log cannot be read.
    End,
}

impl KernelLog {
    /// Bytes of a record, at most; what is longer is cut by the kernel, or left out.
    pub const RECORD_BYTES: usize = 2048;

    /// The log from now on; empty for who may not read it.
    #[must_use]
    pub fn open() -> KernelLog {
        let file = device::open(c"/dev/kmsg", OFlags::RDONLY | OFlags::NONBLOCK).ok();
        // Anything else of this name would be read from its beginning, and without end.
        KernelLog { file: file.filter(|file| rustix::fs::seek(file, SeekFrom::End(0)).is_ok()) }
    }

    /// The next record.
    pub fn read<'b>(&self, buffer: &'b mut [u8; KernelLog::RECORD_BYTES]) -> Next<'b> {
        let Some(file) = &self.file else { return Next::End };
        match rustix::io::read(file, &mut *buffer) {
            Ok(0) | Err(Errno::AGAIN) => Next::End,
            Ok(len) => buffer.get(..len).map_or(Next::End, Next::Record),
            Err(Errno::PIPE | Errno::INVAL | Errno::INTR) => Next::Cut,
            Err(_) => Next::End,
        }
    }
}
