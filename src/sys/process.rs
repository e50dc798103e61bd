//! This process: its arguments and environment, and its end.

use core::ffi::{CStr, c_char};

use super::arch;

/// Words of a command line, or of an environment, that are passed on whole, and one for their end.
pub const WORDS: usize = 1024;

/// What the kernel put on the initial stack: arguments and environment, for the life of the program.
#[derive(Clone, Copy, Debug)]
pub struct Arguments {
    argc: usize,
    argv: *const *const c_char,
    envp: *const *const c_char,
}

impl Arguments {
    /// Reads argc, argv and envp.
    ///
    /// # Safety
    /// `stack` is the initial stack as the kernel laid it out (System V ABI), never changed since.
    #[must_use]
    pub unsafe fn from_stack(stack: *const usize) -> Arguments {
        // SAFETY: argc stands first, upheld by the caller.
        let argc = unsafe { *stack };
        let argv = stack.wrapping_add(1).cast::<*const c_char>();
        // argv ends with a null pointer, then comes envp.
        Arguments { argc, argv, envp: argv.wrapping_add(argc + 1) }
    }

    /// The number of arguments, the program's name included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.argc
    }

    /// Whether there are none (execve(2) allows that on old kernels).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.argc == 0
    }

    /// Argument number `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'static CStr> {
        if index >= self.argc {
            return None;
        }
        // SAFETY: argv has `argc` pointers, upheld by `from_stack`.
        let word = unsafe { *self.argv.wrapping_add(index) };
        // SAFETY: each is a C string of the initial stack, upheld by `from_stack`.
        Some(unsafe { CStr::from_ptr(word) })
    }

    /// The words themselves, and a null pointer behind them.
    #[must_use]
    pub fn words(&self) -> *const *const c_char {
        self.argv
    }

    /// The value of the environment variable `name`.
    #[must_use]
    pub fn variable(&self, name: &[u8]) -> Option<&'static CStr> {
        self.environment().find_map(|word| {
            let value = word.to_bytes().strip_prefix(name)?.strip_prefix(b"=")?;
            CStr::from_bytes_with_nul(&word.to_bytes_with_nul()[word.count_bytes() - value.len()..]).ok()
        })
    }

    /// The environment's words.
    pub fn environment(&self) -> impl Iterator<Item = &'static CStr> + Clone + use<> {
        let mut next = self.envp;
        core::iter::from_fn(move || {
            // SAFETY: envp ends with a null pointer, and `next` has not passed it, upheld by `from_stack`.
            let word = unsafe { *next };
            if word.is_null() {
                return None;
            }
            next = next.wrapping_add(1);
            // SAFETY: a C string of the initial stack, upheld by `from_stack`.
            Some(unsafe { CStr::from_ptr(word) })
        })
    }
}

/// Ends the process (exit_group(2)).
pub fn exit(code: u8) -> ! {
    loop {
        // SAFETY: exit_group takes no pointer; it does not return.
        unsafe { arch::syscall(libc::SYS_exit_group, [usize::from(code), 0, 0, 0, 0, 0]) };
    }
}
