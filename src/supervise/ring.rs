//! The log of one guest: a ring of bytes in a memfd, written by the supervisor, read by whoever was given it.
//!
//! A page of header, then the data. Byte number N of all that was ever written stands at `N % size` of the data. The
//! writer puts the bytes first and their new total after that, so a reader that looks at the total before and after
//! it copied knows what may have been written over meanwhile.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

use crate::text::Made;

/// First bytes of the header; the last two are the layout's version.
const MAGIC: [u8; 8] = *b"innlog01";
/// Where the data begins.
const DATA: u64 = 4096;
/// Bytes appended at once, at most. The data is so much larger than what it promises to keep: what is being written
/// over is beyond what a reader was promised.
pub const APPEND_BYTES: usize = 4096;

/// The writer's end.
#[derive(Debug)]
pub struct Ring {
    memory: OwnedFd,
    size: u32,
    total: u64,
}

impl Ring {
    /// A ring that keeps the last `keep_bytes` (at least 1). Its memory is taken as it is written.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM; ENOSYS before Linux 3.17.
    pub fn new(name: &CStr, keep_bytes: u64) -> Result<Ring, Errno> {
        let size = u32::try_from(keep_bytes).unwrap_or(u32::MAX / 2).clamp(1, u32::MAX / 2) + APPEND_BYTES as u32;
        let memory = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&memory, DATA + u64::from(size))?;
        let mut header = [0; 24];
        header[..8].copy_from_slice(&MAGIC);
        header[8..16].copy_from_slice(&u64::from(size).to_le_bytes());
        write_all(memory.as_fd(), &header, 0)?;
        // Nobody can pull the memory away under a reader's feet; without the seal it would still be only an error of read.
        let _ = rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL);
        Ok(Ring { memory, size, total: 0 })
    }

    /// Appends `bytes`, of which only the last [`APPEND_BYTES`] are kept; the oldest ones make room.
    ///
    /// # Errors
    /// ENOMEM, ENOSPC where the host has no memory left: then these bytes are lost, and nothing else.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let bytes = &bytes[bytes.len().saturating_sub(APPEND_BYTES)..];
        let at = self.total % u64::from(self.size);
        let until_end = usize::try_from(u64::from(self.size) - at).unwrap_or(usize::MAX);
        let (first, second) = bytes.split_at(bytes.len().min(until_end));
        write_all(self.memory.as_fd(), first, DATA + at)?;
        write_all(self.memory.as_fd(), second, DATA)?;
        let total = self.total.saturating_add(bytes.len() as u64);
        write_all(self.memory.as_fd(), &total.to_le_bytes(), 16)?;
        self.total = total;
        Ok(())
    }

    /// The same memory through a new descriptor that cannot write.
    ///
    /// # Errors
    /// EMFILE, ENFILE; ENOENT where `/proc` is not mounted.
    pub fn for_reading(&self) -> Result<OwnedFd, Errno> {
        let path = Made::new(format_args!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&self.memory)));
        rustix::fs::open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }
}

/// A reader's end: a place in the stream of all bytes ever written.
#[derive(Debug)]
pub struct Reader<Memory> {
    memory: Memory,
    size: u64,
    next: u64,
    /// Where it stops.
    end: u64,
}

/// What one [`Reader::read`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Bytes now in the buffer; 0: no more is there yet.
    pub bytes: usize,
    /// Bytes before them that were written over before they could be read.
    pub lost: u64,
}

impl<Memory: AsFd> Reader<Memory> {
    /// A reader that begins with the oldest byte that is kept.
    ///
    /// # Errors
    /// EPROTO where this is no such ring; as pread(2).
    pub fn open(memory: Memory) -> Result<Reader<Memory>, Errno> {
        let mut header = [0; 16];
        read_all(memory.as_fd(), &mut header, 0)?;
        let size = u64::from_le_bytes(number(&header[8..]));
        if header[..8] != MAGIC || size <= APPEND_BYTES as u64 || size > u64::from(u32::MAX) {
            return Err(Errno::PROTO);
        }
        let mut reader = Reader { memory, size, next: 0, end: u64::MAX };
        reader.next = reader.oldest(reader.total()?);
        Ok(reader)
    }

    /// Stops at what is there now: a guest that writes faster than it is read must not keep its reader for ever.
    ///
    /// # Errors
    /// As pread(2).
    pub fn stop_here(&mut self) -> Result<(), Errno> {
        self.end = self.total()?;
        Ok(())
    }

    /// Goes to where the last `lines` lines begin; a last line without an end counts as one.
    ///
    /// # Errors
    /// As pread(2).
    pub fn skip_to_last_lines(&mut self, lines: u64) -> Result<(), Errno> {
        let end = self.total()?;
        if lines == 0 {
            self.next = end;
            return Ok(());
        }
        let oldest = self.oldest(end);
        let mut buffer = [0; 1024];
        let mut at = end;
        let mut wanted = lines;
        while at > oldest {
            let from = at.saturating_sub(buffer.len() as u64).max(oldest);
            let chunk = &mut buffer[..(at - from) as usize];
            self.copy(chunk, from)?;
            for index in (0..chunk.len()).rev() {
                let place = from + index as u64;
                // The end of the last line begins no other.
                if chunk[index] == b'\n' && place + 1 != end {
                    wanted = wanted.saturating_sub(1);
                    if wanted == 0 {
                        self.next = place + 1;
                        return Ok(());
                    }
                }
            }
            at = from;
        }
        self.next = oldest;
        Ok(())
    }

    /// Copies what comes next into `buffer`.
    ///
    /// # Errors
    /// As pread(2).
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Chunk, Errno> {
        let from = self.next.max(self.oldest(self.total()?));
        let left = self.total()?.min(self.end).saturating_sub(from);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.copy(&mut buffer[..count], from)?;
        // What was written over while it was being copied is not what was there before.
        let valid = self.oldest(self.total()?).saturating_sub(from).min(count as u64) as usize;
        buffer.copy_within(valid..count, 0);
        let lost = (from - self.next).saturating_add(valid as u64);
        self.next = from + count as u64;
        Ok(Chunk { bytes: count - valid, lost })
    }

    fn total(&self) -> Result<u64, Errno> {
        let mut total = [0; 8];
        read_all(self.memory.as_fd(), &mut total, 16)?;
        Ok(u64::from_le_bytes(total))
    }

    /// The oldest byte that is surely there, whatever the writer is doing after `total`.
    fn oldest(&self, total: u64) -> u64 {
        total.saturating_sub(self.size - APPEND_BYTES as u64)
    }

    fn copy(&self, buffer: &mut [u8], from: u64) -> Result<(), Errno> {
        let at = from % self.size;
        let until_end = usize::try_from(self.size - at).unwrap_or(usize::MAX).min(buffer.len());
        let (first, second) = buffer.split_at_mut(until_end);
        read_all(self.memory.as_fd(), first, DATA + at)?;
        read_all(self.memory.as_fd(), second, DATA)
    }
}

fn number(bytes: &[u8]) -> [u8; 8] {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[..8]);
    number
}

/// Memory takes all of it in one call, or fails.
fn write_all(memory: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(memory, bytes, at) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(count) => (bytes, at) = (bytes.get(count..).unwrap_or_default(), at + count as u64),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_all(memory: BorrowedFd<'_>, mut buffer: &mut [u8], mut at: u64) -> Result<(), Errno> {
    while !buffer.is_empty() {
        match rustix::io::pread(memory, &mut *buffer, at) {
            Ok(0) => return Err(Errno::PROTO),
            Ok(count) => (buffer, at) = (buffer.get_mut(count..).unwrap_or_default(), at + count as u64),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
