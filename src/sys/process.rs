//! This process: its arguments and environment, and its end.

use core::ffi::{CStr, c_char};

use super::{Errno, arch, call};

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

    /// Becomes the program at `path`, with the arguments from number `first` on and this environment, however many they are
    /// (execve(2)). Returns only if that failed.
    #[must_use]
    pub fn execute(&self, path: &CStr, first: usize) -> Errno {
        let list = [path.as_ptr() as usize, self.argv.wrapping_add(first.min(self.argc)) as usize, self.envp as usize];
        // SAFETY: both lists are of C strings and end with null, upheld by `from_stack`.
        match unsafe { call(libc::SYS_execve, list) } {
            Err(error) => error,
            Ok(_) => Errno::NOSYS,
        }
    }

    /// Becomes `/bin/sh` with the script `file`, and the arguments behind number `first`, which is not 0. Returns only if that
    /// failed.
    #[must_use]
    pub fn execute_by_shell(&self, file: &CStr, first: usize) -> Errno {
        const SHELL: &CStr = c"/bin/sh";
        let Some(before) = first.checked_sub(1).filter(|_| first < self.argc) else { return Errno::INVAL };
        let kept = [before, first].map(|index| self.exchange(index, SHELL.as_ptr()));
        self.exchange(first, file.as_ptr());
        let errno = self.execute(SHELL, before);
        // What was lent does not stay.
        for (index, word) in [before, first].into_iter().zip(kept) {
            self.exchange(index, word);
        }
        errno
    }

    /// Puts a word in the place of argument `index`, which there is, and returns that.
    fn exchange(&self, index: usize, word: *const c_char) -> *const c_char {
        let place = self.argv.wrapping_add(index).cast_mut();
        // SAFETY: the initial stack is this process's own and may be written to; the callers have seen that it has `index`.
        unsafe { core::ptr::replace(place, word) }
    }

    /// Puts `word` in the place of the variable `name`, where there is one.
    pub fn replace_variable(&self, name: &[u8], word: &'static CStr) {
        let is_it = |word: &CStr| word.to_bytes().strip_prefix(name).is_some_and(|rest| rest.starts_with(b"="));
        let Some(index) = self.environment().position(is_it) else { return };
        let place = self.envp.wrapping_add(index).cast_mut();
        // SAFETY: the initial stack is this process's own and may be written to; one C string takes the place of another.
        unsafe { *place = word.as_ptr() };
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

/// The number of this process's group; 0 for one of another pid namespace.
#[must_use]
pub fn own_group() -> i32 {
    // SAFETY: takes no pointer, and cannot fail for this process itself.
    unsafe { call(libc::SYS_getpgid, [0]) }.map_or(0, |group| group as i32)
}

/// Whether this process leads its session.
#[must_use]
pub fn leads_session() -> bool {
    // SAFETY: takes no pointer, and cannot fail for this process itself.
    let session = unsafe { call(libc::SYS_getsid, [0]) };
    session.is_ok_and(|session| session as i32 == rustix::process::getpid().as_raw_nonzero().get())
}

/// The number of this process's parent; 0 for one of another pid namespace.
#[must_use]
pub fn parent() -> i32 {
    // SAFETY: takes no pointer, and cannot fail.
    unsafe { call(libc::SYS_getppid, []) }.map_or(0, |pid| pid as i32)
}

/// Has the kernel send this process `signal` when its parent ends (PR_SET_PDEATHSIG).
///
/// # Errors
/// EINVAL for a number that is no signal.
pub fn end_with_parent(signal: u8) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    unsafe { call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, usize::from(signal)]) }.map(drop)
}
