//! Static memory: what a heap would hold stands in `.bss` and is taken once.

use core::cell::UnsafeCell;
use core::mem::size_of;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{Advice, madvise};
use rustix::process::getpid;
use rustix::thread::gettid;

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
