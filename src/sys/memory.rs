//! Static memory: what a heap would hold stands in `.bss` and is taken once.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A static that can be taken once, mutably, for the rest of the program.
///
/// Its pages cost nothing until they are touched, provided that the initial value is all zero.
#[derive(Debug)]
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
