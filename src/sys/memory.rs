//! Static memory: what a heap would hold stands in `.bss` and is taken once.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem::size_of;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, SeekFrom};
use rustix::mm::{Advice, madvise};
use rustix::process::getpid;
use rustix::thread::gettid;

use super::{Errno, call};

/// A static that can be taken once, mutably, for the rest of the program.
///
/// Its pages cost nothing until they are touched, provided that the initial value is all zero. It begins with one, so that
/// what is at the start of the value lies in as few as can be.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Static<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `take` hands out the value at most once, so no two threads ever reach it through this.
unsafe impl<T: Send> Sync for Static<T> {}

impl<T> Static<T> {
    /// A static holding `value`.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Static { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The value, the first time; nothing after that.
    #[allow(clippy::mut_from_ref, reason = "the flag makes it unique")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: the flag was false and is true for ever, so this is the only reference.
        Some(unsafe { &mut *self.value.get() })
    }
}

/// Bytes of the smallest page of any supported processor. Where pages are larger, madvise(2) refuses what is not aligned to
/// them, and the memory stays.
const PAGE: usize = 4096;
/// Pages looked at at once.
const PAGES: usize = 16;
/// How far below the present one the frames of functions that have returned are looked for.
const STACK_BYTES: usize = 1 << 20;

/// A value with a page of nothing on each side: all of it can be given back.
#[derive(Debug)]
#[repr(C)]
pub struct Apart<T> {
    before: [u8; PAGE],
    value: T,
    after: [u8; PAGE],
}

impl<T> Apart<T> {
    /// `value`, apart.
    pub const fn new(value: T) -> Self {
        Apart { before: [0; PAGE], value, after: [0; PAGE] }
    }
}

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Apart<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Gives the memory of `value`, which nobody needs any more, back to the kernel. What shares a page with something else
/// stays.
pub fn discard<T>(value: &'static mut T) {
    let value = &raw mut *value;
    let start = value.addr().next_multiple_of(PAGE);
    let end = (value.addr() + size_of::<T>()) & !(PAGE - 1);
    if start < end {
        // SAFETY: the pages are inside the value, and the only reference to it ends here: nobody reads them again.
        let _ = unsafe { madvise(value.with_addr(start).cast(), end - start, Advice::LinuxDontNeed) };
    }
}

/// Gives back the memory behind the items of `list`: what was there is gone.
pub fn discard_spare<T, const N: usize>(list: &mut heapless::Vec<T, N>) {
    let room = list.spare_capacity_mut();
    let at = room.as_mut_ptr();
    let start = at.addr().next_multiple_of(PAGE);
    let end = (at.addr() + size_of_val(room)) & !(PAGE - 1);
    if start < end {
        // SAFETY: the pages are inside what may hold anything, and the list may write there again.
        let _ = unsafe { madvise(at.with_addr(start).cast(), end - start, Advice::LinuxDontNeed) };
    }
}

/// Gives back the stack that functions have used which have returned.
#[inline(never)]
pub fn discard_old_stack() {
    // Other threads than the first have small stacks beside each other.
    if gettid() != getpid() {
        return;
    }
    let mut here = 0_u8;
    let here = &raw mut here;
    // As much is left as a function without calls may keep below its frame (128 bytes on x86_64), and the frame itself.
    let end = here.addr().saturating_sub(256) & !(PAGE - 1);
    let start = end.saturating_sub(STACK_BYTES);
    // SAFETY: below the frames in use there is only stack that is not in use, and, where the stack has not grown so far,
    // nothing at all: the kernel keeps everything else 128 MiB away from the start of the first thread's stack.
    let _ = unsafe { madvise(here.with_addr(start).cast(), end - start, Advice::LinuxDontNeed) };
}

/// A type whose values are the same in another process of this program: no pointers into anything that is a process's own,
/// nothing to be dropped, and all bytes zero is one of them.
///
/// # Safety
/// All of that must hold.
pub unsafe trait Plain {}

// SAFETY: numbers, enums, and `heapless` vectors of these, which are a length and the items; `Plan::new` is all zero.
unsafe impl Plain for crate::plan::Plan {}

/// A value on its way from a child of this process, made by `clone` without exec, to this process: a file in memory that
/// nobody else has, as large as the value, with holes where that is zero.
#[derive(Debug)]
pub struct Image<T> {
    file: OwnedFd,
    of: PhantomData<T>,
}

impl<T: Plain> Image<T> {
    /// Without a value.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> Result<Image<T>, Errno> {
        let file = rustix::fs::memfd_create(c"inn-plan", MemfdFlags::CLOEXEC)?;
        Ok(Image { file, of: PhantomData })
    }

    /// One that this process has had before, made by this very program.
    #[must_use]
    pub fn adopt(file: OwnedFd) -> Image<T> {
        Image { file, of: PhantomData }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Puts `value` there: of the child.
    ///
    /// # Errors
    /// ENOMEM, ENOSPC.
    pub fn put(&self, value: &T) -> Result<(), Errno> {
        let mut done = 0;
        while done < size_of::<T>() {
            let from = (&raw const *value).addr() + done;
            let rest = size_of::<T>() - done;
            // SAFETY: the bytes are the value's; only the kernel looks at them, so that it does not matter which of them
            // were never written.
            done += unsafe { call(libc::SYS_pwrite64, [self.number(), from, rest, done]) }?;
        }
        let mut pages = [0; PAGES * PAGE];
        let (mut at, mut hole) = (0, 0);
        while at < size_of::<T>() as u64 {
            let count = rustix::io::pread(&self.file, &mut pages, at)?;
            for page in pages.get(..count).unwrap_or_default().chunks(PAGE) {
                if page.iter().any(|byte| *byte != 0) {
                    self.punch(hole, at)?;
                    hole = at + page.len() as u64;
                }
                at += page.len() as u64;
            }
            if count == 0 {
                return Err(Errno::IO);
            }
        }
        self.punch(hole, at)?;
        // Only what is whole is one byte longer.
        rustix::io::pwrite(&self.file, &[1], size_of::<T>() as u64).map(drop)
    }

    /// Gives `value` what the child put there. Pages that would be zero are not touched, and cost nothing.
    ///
    /// # Errors
    /// With `value`, which is all zero then: EBADMSG where the child has put nothing there, or not all; ENXIO and others
    /// where the file cannot be read.
    pub fn take(&self, value: &'static mut T) -> Result<&'static mut T, (Errno, &'static mut T)> {
        let value = wipe(value);
        let start = (&raw mut *value).addr();
        match self.read_to(start) {
            Ok(()) => Ok(value),
            Err(errno) => Err((errno, wipe(value))),
        }
    }

    /// Reads the value to the address `start`, where one is that nobody looks at meanwhile.
    fn read_to(&self, start: usize) -> Result<(), Errno> {
        let size = size_of::<T>() as u64;
        if rustix::fs::fstat(&self.file)?.st_size as u64 != size + 1 {
            return Err(Errno::BADMSG);
        }
        let mut at = 0;
        while at < size {
            // There is always some: the byte behind the value.
            at = rustix::fs::seek(&self.file, SeekFrom::Data(at))?;
            let end = rustix::fs::seek(&self.file, SeekFrom::Hole(at))?.min(size);
            while at < end {
                let (to, rest) = (start + at as usize, (end - at) as usize);
                // SAFETY: the bytes are inside the value, and become those that the same program had for one (see
                // `Plain`): the file is our own, and only `put` of a process with the same memory has written to it.
                match unsafe { call(libc::SYS_pread64, [self.number(), to, rest, at as usize]) }? {
                    0 => return Err(Errno::BADMSG),
                    count => at += count as u64,
                }
            }
        }
        Ok(())
    }

    /// Gives the file's memory from `from` to before `to` back.
    fn punch(&self, from: u64, to: u64) -> Result<(), Errno> {
        if from >= to {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, flags, from, to - from)
    }

    fn number(&self) -> usize {
        self.file.as_raw_fd() as usize
    }
}

/// Makes `value` all zero, and gives its memory back to the kernel.
pub fn wipe<T: Plain>(value: &'static mut T) -> &'static mut T {
    let at = &raw mut *value;
    let (start, end) = (at.addr(), at.addr() + size_of::<T>());
    let (first, last) = (start.next_multiple_of(PAGE).min(end), end & !(PAGE - 1));
    let zero = |from: usize, to: usize| {
        // SAFETY: the bytes are inside the value, of which all zero is one.
        unsafe { at.with_addr(from).cast::<u8>().write_bytes(0, to.saturating_sub(from)) };
    };
    if first < last {
        zero(start, first);
        zero(last, end);
        // SAFETY: the pages are inside the value, a static in .bss: the kernel gives zeros in their place.
        if unsafe { madvise(at.with_addr(first).cast(), last - first, Advice::LinuxDontNeed) }.is_err() {
            zero(first, last);
        }
    } else {
        zero(start, end);
    }
    // SAFETY: it is a value again, and nobody else has it.
    unsafe { &mut *at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    static FROM: Static<Plan> = Static::new(Plan::new());
    static TO: Static<Plan> = Static::new(Plan::new());

    #[test]
    fn a_value_arrives_whole_and_where_it_is_zero_no_memory_is_used() {
        let (from, to) = (FROM.take().unwrap(), TO.take().unwrap());
        let image = Image::new().unwrap();
        let (errno, to) = image.take(to).unwrap_err();
        assert_eq!(errno, Errno::BADMSG, "nothing is there yet");
        let text = from.strings.add(&[b'x'; 10_000]).unwrap();
        from.words.push(text).unwrap();
        image.put(from).unwrap();
        let blocks = rustix::fs::fstat(&image.file).unwrap().st_blocks as usize * 512;
        assert!(blocks <= 8 * PAGE, "{blocks} bytes of {}", size_of::<Plan>());
        let to = image.take(to).unwrap();
        assert_eq!((to.strings.bytes(text), to.words.mark(), to.guests.len()), (&[b'x'; 10_000][..], 1, 0));
        // What was there before is gone.
        from.clear();
        image.put(from).unwrap();
        let to = image.take(to).unwrap();
        assert_eq!((to.strings.mark(), to.words.mark()), (1, 0));
        to.strings.add(b"y").unwrap();
        assert_eq!(wipe(to).strings.mark(), 1);
    }

    #[test]
    fn a_list_gives_back_what_it_has_not() {
        static LIST: Static<heapless::Vec<u64, 4096>> = Static::new(heapless::Vec::new());
        let list = LIST.take().unwrap();
        list.extend(0..4096);
        list.truncate(3);
        discard_spare(list);
        assert_eq!(list.as_slice(), [0, 1, 2]);
        list.extend(3..4096);
        assert!(list.iter().copied().eq(0..4096));
    }
}
