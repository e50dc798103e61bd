//! What one guest wrote, with the time of each piece: a ring in a memfd, written by the supervisor, read by whoever was
//! given it. What happens to guests is kept in one as well.
//!
//! A page of header, then blocks. All that was ever written is one tape that is cut into blocks; block number N of the
//! tape stands at `N % blocks`. A block begins with how many bytes were written before it; then come records: one number
//! for time and length, and the bytes. No record goes over the end of a block. So whoever was overtaken finds a record
//! again at the beginning of any block, and knows how much it missed. The writer puts a record first and the tape's new
//! length after that, so a reader that looks at the length before and after it copied knows what may have been written
//! over meanwhile.
//!
//! Times are those of CLOCK_BOOTTIME, which nobody sets: their order is that of what happened, in all rings.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::{Errno, IoSlice};

use crate::text::Made;

/// First bytes of the header; the last two are the layout's version.
const MAGIC: [u8; 8] = *b"innlog02";
/// Where the tape's length stands.
const LENGTH: u64 = 16;
/// Where a reader that goes on for another leaves its [`Place`].
const PLACE: u64 = 24;
/// Where that reader is to stop: the tape's length then, and one more; 0 for nowhere.
const STOP: u64 = 48;
/// Where the blocks begin.
const BLOCKS: u64 = 4096;
/// Bytes of a block.
const BLOCK: u64 = 4096;
/// What stands before a block's records, and before the bytes of each record.
const HEAD: u64 = 8;
/// Bits of a record's length; the others are its time in microseconds, enough until the year 2112.
const LENGTH_BITS: u32 = 12;
/// Bytes of a block's records, the heads of all but the first counted.
const BLOCK_ROOM: u64 = BLOCK - 2 * HEAD;
/// Bytes appended at once, at most: they go into two blocks. What is being written over is beyond what is kept.
pub const APPEND_BYTES: usize = BLOCK_ROOM as usize;

const _: () = assert!(APPEND_BYTES < 1 << LENGTH_BITS);

/// The writer's end.
#[derive(Debug)]
pub struct Ring {
    memory: OwnedFd,
    blocks: u32,
    /// The tape's length.
    length: u64,
    /// Bytes given to [`Ring::append`], those that were lost for want of memory too.
    written: u64,
}

impl Ring {
    /// A ring that keeps at least the last `keep_bytes` (at least 1), of which each piece counts eight more. Its memory is
    /// taken as it is written.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM; ENOSYS before Linux 3.17.
    pub fn new(name: &CStr, keep_bytes: u64) -> Result<Ring, Errno> {
        let blocks = (keep_bytes.min(u64::from(u32::MAX)).div_ceil(BLOCK_ROOM) + 2).max(3) as u32;
        let memory = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&memory, BLOCKS + u64::from(blocks) * BLOCK)?;
        let mut header = [0; 16];
        header[..8].copy_from_slice(&MAGIC);
        header[8..].copy_from_slice(&u64::from(blocks).to_le_bytes());
        write(memory.as_fd(), &[&header], 0)?;
        // Nobody can pull the memory away under a reader's feet; without the seal it would still be only an error of read.
        let _ = rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL);
        // Opened by name, for since Linux 6.14 nobody is told of what is written through the descriptor that made it
        // (inotify(7)): readers wait for that.
        let memory = open_again(&memory, OFlags::RDWR).unwrap_or(memory);
        Ok(Ring { memory, blocks, length: 0, written: 0 })
    }

    /// One that this program's process has made before.
    ///
    /// # Errors
    /// EPROTO where it is none; as pread(2).
    pub fn adopt(memory: OwnedFd) -> Result<Ring, Errno> {
        let reader = Reader::open(memory)?;
        let length = reader.length()?;
        let end = reader.walk(length.saturating_sub(1) / BLOCK, length, &mut |_, _, _| ())?;
        let Reader { memory, blocks, .. } = reader;
        Ok(Ring { memory, blocks: blocks as u32, length, written: end.position })
    }

    /// The memory itself.
    #[must_use]
    pub fn descriptor(&self) -> &OwnedFd {
        &self.memory
    }

    /// Appends `bytes`, which came at `time_us`. The oldest make room.
    ///
    /// # Errors
    /// ENOMEM, ENOSPC where the host has no memory left: then some of these bytes are lost, and nothing else.
    pub fn append(&mut self, bytes: &[u8], time_us: u64) -> Result<(), Errno> {
        bytes.chunks(APPEND_BYTES).try_for_each(|bytes| self.append_some(bytes, time_us))
    }

    fn append_some(&mut self, bytes: &[u8], time_us: u64) -> Result<(), Errno> {
        let mut end = self.length;
        let (first, second) = bytes.split_at(bytes.len().min(room(end)));
        let mut result = self.record(first, time_us, &mut end);
        if !second.is_empty() {
            result = result.and(self.record(second, time_us, &mut end));
        }
        self.publish(end).and(result)
    }

    /// Appends `bytes`, no more than [`APPEND_BYTES`], as one record.
    ///
    /// # Errors
    /// As [`Ring::append`].
    pub fn append_whole(&mut self, bytes: &[u8], time_us: u64) -> Result<(), Errno> {
        let mut end = self.length;
        if room(end) < bytes.len() {
            let left = BLOCK - end % BLOCK;
            if left >= HEAD {
                // A record without bytes: there is nothing more in this block.
                write(self.memory.as_fd(), &[&[0; HEAD as usize]], self.at(end))?;
            }
            end += left;
        }
        let result = self.record(bytes, time_us, &mut end);
        self.publish(end).and(result)
    }

    /// Writes one record at `end`, which has room for it, and moves that on.
    fn record(&mut self, bytes: &[u8], time_us: u64, end: &mut u64) -> Result<(), Errno> {
        if BLOCK - *end % BLOCK <= HEAD {
            *end = end.next_multiple_of(BLOCK);
        }
        let before = self.written.to_le_bytes();
        let first = if (*end).is_multiple_of(BLOCK) { &before[..] } else { &[] };
        let head = (time_us << LENGTH_BITS | bytes.len() as u64).to_le_bytes();
        // Counted, whether there is memory for it or not.
        self.written = self.written.saturating_add(bytes.len() as u64);
        write(self.memory.as_fd(), &[first, &head, bytes], self.at(*end))?;
        *end += first.len() as u64 + HEAD + bytes.len() as u64;
        Ok(())
    }

    fn publish(&mut self, end: u64) -> Result<(), Errno> {
        write(self.memory.as_fd(), &[&end.to_le_bytes()], LENGTH)?;
        self.length = end;
        Ok(())
    }

    fn at(&self, place: u64) -> u64 {
        at(place, u64::from(self.blocks))
    }

    /// The same memory through a new descriptor that cannot write.
    ///
    /// # Errors
    /// EMFILE, ENFILE; ENOENT where `/proc` is not mounted.
    pub fn for_reading(&self) -> Result<OwnedFd, Errno> {
        open_again(&self.memory, OFlags::RDONLY)
    }

    /// The memory, which can be written to.
    #[must_use]
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Bytes given to it so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What comes from now on is not for the reader that others go on for, until [`Ring::let_on`]. The first time counts.
    ///
    /// # Errors
    /// As pwrite(2).
    pub fn stop(&self) -> Result<(), Errno> {
        match stop(self.memory.as_fd())? {
            u64::MAX => write(self.memory.as_fd(), &[&(self.length + 1).to_le_bytes()], STOP),
            _ => Ok(()),
        }
    }

    /// What comes is for that reader again.
    ///
    /// # Errors
    /// As pwrite(2).
    pub fn let_on(&self) -> Result<(), Errno> {
        write(self.memory.as_fd(), &[&[0; 8]], STOP)
    }

    /// Up to which byte a reader that others go on for has come.
    ///
    /// # Errors
    /// As pread(2).
    pub fn passed(&self) -> Result<u64, Errno> {
        Ok(Place::load(self.memory.as_fd())?.position)
    }
}

fn open_again(memory: &OwnedFd, access: OFlags) -> Result<OwnedFd, Errno> {
    let path = Made::new(format_args!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(memory)));
    rustix::fs::open(path.as_c_str(), access | OFlags::CLOEXEC, Mode::empty())
}

/// Where the tape ends for the reader that others go on for; the largest number where it does not.
fn stop(memory: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut bytes = [0; 8];
    read(memory, &mut bytes, STOP)?;
    Ok(number(&bytes, 0).wrapping_sub(1))
}

/// Bytes that one more record, which begins where the tape ends, can hold.
fn room(end: u64) -> usize {
    match BLOCK - end % BLOCK {
        // The next one begins a block.
        BLOCK | ..=HEAD => BLOCK_ROOM as usize,
        left => (left - HEAD) as usize,
    }
}

/// Where in the memory byte number `place` of the tape stands.
fn at(place: u64, blocks: u64) -> u64 {
    BLOCKS + place / BLOCK % blocks * BLOCK + place % BLOCK
}

/// A place in what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Where on the tape a record begins, or a block.
    tape: u64,
    /// Bytes of it that are behind already.
    taken: u64,
    /// Bytes written before this place.
    position: u64,
}

impl Place {
    fn load(memory: BorrowedFd<'_>) -> Result<Place, Errno> {
        let mut bytes = [0; 24];
        read(memory, &mut bytes, PLACE)?;
        Ok(Place { tape: number(&bytes, 0), taken: number(&bytes, 1), position: number(&bytes, 2) })
    }
}

/// A reader's end.
#[derive(Debug)]
pub struct Reader<Memory> {
    memory: Memory,
    blocks: u64,
    next: Place,
    /// The length of the tape where it stops.
    end: u64,
    /// Bytes that were written over before they could be read, and not told of yet.
    lost: u64,
    /// What is before this is not to be read: a copy was made of it while it was written over.
    least: u64,
}

/// What one [`Reader::read`] brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Bytes now in the buffer; 0: no more is there yet.
    pub bytes: usize,
    /// Bytes before them that were written over before they could be read.
    pub lost: u64,
    /// When they came, microseconds of CLOCK_BOOTTIME.
    pub time_us: u64,
}

impl<Memory: AsFd> Reader<Memory> {
    /// A reader that begins with the oldest byte that is kept. Those before it are lost to it.
    ///
    /// # Errors
    /// EPROTO where this is no such ring; as pread(2).
    pub fn open(memory: Memory) -> Result<Reader<Memory>, Errno> {
        let mut header = [0; 16];
        read(memory.as_fd(), &mut header, 0)?;
        let blocks = number(&header, 1);
        if header[..8] != MAGIC || blocks < 3 || blocks > u64::from(u32::MAX) {
            return Err(Errno::PROTO);
        }
        Ok(Reader { memory, blocks, next: Place::default(), end: u64::MAX, lost: 0, least: 0 })
    }

    /// What it reads from.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// A reader of what is there now, which is copied at once: a guest that writes faster than it is read neither overtakes
    /// its reader nor keeps it for ever.
    ///
    /// # Errors
    /// As `memfd_create(2)`, pread(2), sendfile(2).
    pub fn of_copy(self) -> Result<Reader<OwnedFd>, Errno> {
        let copy = rustix::fs::memfd_create(c"log", MemfdFlags::CLOEXEC)?;
        let length = self.length()?;
        let size = BLOCKS + length.div_ceil(BLOCK).min(self.blocks) * BLOCK;
        let mut copied = 0;
        while copied < size {
            let left = usize::try_from(size - copied).unwrap_or(usize::MAX);
            if rustix::fs::sendfile(&copy, &self.memory, Some(&mut copied), left)? == 0 {
                return Err(Errno::PROTO);
            }
        }
        // What was written over meanwhile is not what was there before.
        let least = self.oldest(self.length()?);
        write(copy.as_fd(), &[&length.to_le_bytes()], LENGTH)?;
        Ok(Reader { memory: copy, blocks: self.blocks, next: self.next, end: length, lost: self.lost, least })
    }

    /// Heeds where it is to stop ([`Ring::stop`]). Whether that is otherwise than it knew.
    ///
    /// # Errors
    /// As pread(2).
    pub fn heed_stop(&mut self) -> Result<bool, Errno> {
        let end = stop(self.memory.as_fd())?;
        Ok(core::mem::replace(&mut self.end, end) != end)
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> Place {
        self.next
    }

    /// Goes to `place`, unless it is there or beyond.
    pub fn skip_to(&mut self, place: Place) {
        if (place.tape, place.taken) > (self.next.tape, self.next.taken) {
            (self.next, self.lost) = (place, 0);
        }
    }

    /// Goes on where the place of another was kept.
    ///
    /// # Errors
    /// As pread(2).
    pub fn resume(&mut self) -> Result<(), Errno> {
        self.next = Place::load(self.memory.as_fd())?;
        Ok(())
    }

    /// Keeps `place` for another; the memory must be one that can be written to.
    ///
    /// # Errors
    /// As pwrite(2).
    pub fn keep(&self, place: Place) -> Result<(), Errno> {
        let Place { tape, taken, position } = place;
        write(self.memory.as_fd(), &[&tape.to_le_bytes(), &taken.to_le_bytes(), &position.to_le_bytes()], PLACE)
    }

    /// The place where the last `lines` lines begin; a last line without an end counts as one.
    ///
    /// # Errors
    /// As pread(2).
    pub fn last_lines(&self, lines: u64) -> Result<Place, Errno> {
        let length = self.length()?;
        let mut block = length.saturating_sub(1) / BLOCK;
        let (mut wanted, mut is_last) = (lines, true);
        loop {
            let (mut ends, mut is_open) = (0_u64, false);
            let end = self.walk(block, length, &mut |_, _, bytes| {
                ends += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                is_open = bytes.last() != Some(&b'\n');
            })?;
            if lines == 0 {
                return Ok(end);
            }
            // The end of the last line begins no other.
            wanted += u64::from(core::mem::take(&mut is_last) && !is_open);
            if wanted <= ends {
                return self.behind_line_end(block, length, ends - wanted);
            }
            if block * BLOCK <= self.oldest(length) {
                return Ok(Place::default());
            }
            wanted -= ends;
            block -= 1;
        }
    }

    /// The place behind end of line number `skip` of a block.
    fn behind_line_end(&self, block: u64, length: u64, mut skip: u64) -> Result<Place, Errno> {
        let mut found = None;
        self.walk(block, length, &mut |place, _, bytes| {
            for (index, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
                if skip == 0 {
                    let taken = index as u64 + 1;
                    found.get_or_insert(Place { taken, position: place.position + taken, ..place });
                }
                skip = skip.saturating_sub(1);
            }
        })?;
        Ok(found.unwrap_or_default())
    }

    /// The place of the first bytes that came at `time_us` or later.
    ///
    /// # Errors
    /// As pread(2).
    pub fn since(&self, time_us: u64) -> Result<Place, Errno> {
        let length = self.length()?;
        let mut block = length.saturating_sub(1) / BLOCK;
        loop {
            let (mut is_older, mut found) = (false, None);
            let end = self.walk(block, length, &mut |place, time, _| match time < time_us {
                true => is_older = true,
                false => drop(found.get_or_insert(place)),
            })?;
            if is_older {
                return Ok(found.unwrap_or(end));
            }
            if block * BLOCK <= self.oldest(length) {
                return Ok(Place::default());
            }
            block -= 1;
        }
    }

    /// Calls `each` with place, time and bytes of every record of a block; none where it was written over meanwhile.
    /// Returns the place behind the last.
    fn walk(&self, block: u64, length: u64, each: &mut dyn FnMut(Place, u64, &[u8])) -> Result<Place, Errno> {
        let mut bytes = [0; BLOCK as usize];
        let start = block * BLOCK;
        let used = length.saturating_sub(start).min(BLOCK);
        let bytes = bytes.get_mut(..used as usize).unwrap_or_default();
        read(self.memory.as_fd(), bytes, at(start, self.blocks))?;
        let mut place = Place { tape: start, taken: 0, position: number(bytes, 0) };
        if used == 0 || start < self.oldest(self.length()?) {
            return Ok(place);
        }
        place.tape += HEAD;
        while let Some((head, rest)) =
            bytes.get((place.tape - start) as usize..).and_then(|rest| rest.split_at_checked(HEAD as usize))
        {
            let (time_us, count) = split(head);
            let Some(record) = rest.get(..count as usize).filter(|record| !record.is_empty()) else { break };
            each(place, time_us, record);
            place.tape += HEAD + count;
            place.position += count;
        }
        // What is left of a whole block is nothing.
        if used == BLOCK {
            place.tape = start + BLOCK;
        }
        Ok(place)
    }

    /// Goes to what is read first. How many bytes before it are lost, which are not told of again.
    ///
    /// # Errors
    /// As pread(2); EPROTO where this is no such ring.
    pub fn begin(&mut self) -> Result<u64, Errno> {
        self.peek()?;
        Ok(core::mem::take(&mut self.lost))
    }

    /// When what is read next came, microseconds of CLOCK_BOOTTIME; nothing where no more is there yet.
    ///
    /// # Errors
    /// As pread(2); EPROTO where this is no such ring.
    pub fn next_time_us(&mut self) -> Result<Option<u64>, Errno> {
        Ok(self.peek()?.map(|(time_us, _)| time_us))
    }

    /// Copies what comes next into `buffer`, all of it from one piece that was written.
    ///
    /// # Errors
    /// As pread(2); EPROTO where this is no such ring.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Chunk, Errno> {
        self.read_until(None, buffer)
    }

    /// The same, up to the end of a line.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read_line(&mut self, buffer: &mut [u8]) -> Result<Chunk, Errno> {
        self.read_until(Some(b'\n'), buffer)
    }

    /// Goes back to `place`, from where it has come and lost `lost` bytes.
    pub fn go_back(&mut self, place: Place, lost: u64) {
        self.next = place;
        self.lost = lost;
    }

    fn read_until(&mut self, last: Option<u8>, buffer: &mut [u8]) -> Result<Chunk, Errno> {
        while let Some((time_us, len)) = self.peek()? {
            let Place { tape, taken, .. } = self.next;
            let count = usize::try_from(len.saturating_sub(taken)).unwrap_or(usize::MAX).min(buffer.len());
            let copied = buffer.get_mut(..count).unwrap_or_default();
            read(self.memory.as_fd(), copied, at(tape + HEAD + taken, self.blocks))?;
            // What was written over while it was being copied is not what was there before.
            if tape < self.oldest(self.length()?) {
                continue;
            }
            let end = last.and_then(|last| copied.iter().position(|byte| *byte == last));
            let count = end.map_or(count, |end| end + 1);
            self.next.position += count as u64;
            self.next.taken += count as u64;
            if self.next.taken >= len {
                (self.next.tape, self.next.taken) = (tape + HEAD + len, 0);
            }
            return Ok(Chunk { bytes: count, lost: core::mem::take(&mut self.lost), time_us });
        }
        Ok(Chunk::default())
    }

    /// Goes to the next record, and returns its time and length.
    fn peek(&mut self) -> Result<Option<(u64, u64)>, Errno> {
        loop {
            let length = self.length()?;
            if self.next.tape < self.oldest(length) {
                (self.next.tape, self.next.taken) = (self.oldest(length), 0);
            }
            let tape = self.next.tape;
            if tape >= length.min(self.end) {
                return Ok(None);
            }
            let left = BLOCK - tape % BLOCK;
            if left <= HEAD {
                self.next.tape += left;
                continue;
            }
            let mut head = [0; HEAD as usize];
            read(self.memory.as_fd(), &mut head, at(tape, self.blocks))?;
            if tape < self.oldest(self.length()?) {
                continue;
            }
            if left == BLOCK {
                let before = number(&head, 0);
                self.lost += before.saturating_sub(self.next.position);
                self.next.position = before;
                self.next.tape += HEAD;
                continue;
            }
            match split(&head) {
                (_, 0) => self.next.tape += left,
                (_, count) if count + HEAD > left => return Err(Errno::PROTO),
                (_, count) if self.next.taken >= count => (self.next.tape, self.next.taken) = (tape + HEAD + count, 0),
                found => return Ok(Some(found)),
            }
        }
    }

    fn length(&self) -> Result<u64, Errno> {
        let mut length = [0; 8];
        read(self.memory.as_fd(), &mut length, LENGTH)?;
        Ok(u64::from_le_bytes(length))
    }

    /// The first block that is surely there, whatever the writer is doing after `length`: it may be at work at the block in
    /// which the tape ends and at the one behind.
    fn oldest(&self, length: u64) -> u64 {
        ((length / BLOCK + 2).saturating_sub(self.blocks) * BLOCK).max(self.least)
    }
}

/// Time and length of a record.
fn split(head: &[u8]) -> (u64, u64) {
    let head = number(head, 0);
    (head >> LENGTH_BITS, head & ((1 << LENGTH_BITS) - 1))
}

/// Number `index` of those that stand in `bytes`.
fn number(bytes: &[u8], index: usize) -> u64 {
    let found = bytes.get(8 * index..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |number| u64::from_le_bytes(*number))
}

/// Memory takes all of it in one call, or fails.
fn write(memory: BorrowedFd<'_>, parts: &[&[u8]], at: u64) -> Result<(), Errno> {
    let mut vector: [IoSlice<'_>; 3] = core::array::from_fn(|_| IoSlice::new(&[]));
    for (slot, part) in vector.iter_mut().zip(parts) {
        *slot = IoSlice::new(part);
    }
    let wanted: usize = parts.iter().map(|part| part.len()).sum();
    let written = rustix::io::retry_on_intr(|| rustix::io::pwritev(memory, &vector, at))?;
    if written == wanted { Ok(()) } else { Err(Errno::NOSPC) }
}

fn read(memory: BorrowedFd<'_>, mut buffer: &mut [u8], mut at: u64) -> Result<(), Errno> {
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
