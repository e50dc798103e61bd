//! Becoming another program (execve(2)).

use core::ffi::{CStr, c_char};
use core::ptr;

use rustix::fd::{AsRawFd, BorrowedFd};

use super::{Errno, call};

/// A list of C strings that ends with a null pointer, as execve takes it: at most `N - 1` words.
#[derive(Debug)]
pub struct Words<'a, const N: usize> {
    pointers: [*const c_char; N],
    len: usize,
    of: core::marker::PhantomData<&'a CStr>,
}

impl<'a, const N: usize> Words<'a, N> {
    /// No words.
    #[must_use]
    pub const fn new() -> Self {
        Words { pointers: [ptr::null(); N], len: 0, of: core::marker::PhantomData }
    }

    /// Adds a word.
    ///
    /// # Errors
    /// E2BIG where there is no room.
    pub fn push(&mut self, word: &'a CStr) -> Result<(), Errno> {
        // The last pointer stays null.
        if self.len + 1 >= N {
            return Err(Errno::TOOBIG);
        }
        self.pointers[self.len] = word.as_ptr();
        self.len += 1;
        Ok(())
    }
}

impl<const N: usize> Default for Words<'_, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Becomes the program at `path`. Returns only if that failed.
#[must_use]
pub fn execute<const A: usize, const E: usize>(path: &CStr, arguments: &Words<A>, environment: &Words<E>) -> Errno {
    let list = [path.as_ptr() as usize, arguments.pointers.as_ptr() as usize, environment.pointers.as_ptr() as usize];
    // SAFETY: each pointer is to a C string that lives, upheld by the lifetimes in `Words`; both lists end with null.
    match unsafe { call(libc::SYS_execve, list) } {
        Err(error) => error,
        Ok(_) => Errno::NOSYS,
    }
}

/// Becomes `program` (execveat(2)), which must not be a script. Returns only if that failed.
#[must_use]
pub fn execute_open<const A: usize, const E: usize>(
    program: BorrowedFd<'_>,
    arguments: &Words<A>,
    environment: &Words<E>,
) -> Errno {
    let list = [
        program.as_raw_fd() as usize,
        c"".as_ptr() as usize,
        arguments.pointers.as_ptr() as usize,
        environment.pointers.as_ptr() as usize,
        libc::AT_EMPTY_PATH as usize,
    ];
    // SAFETY: as above.
    match unsafe { call(libc::SYS_execveat, list) } {
        Err(error) => error,
        Ok(_) => Errno::NOSYS,
    }
}
