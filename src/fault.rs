//! What failed: the step, the error number, and a detail. Copy; it becomes words only at the edge.

use core::fmt;

use crate::config::key::Key;

macro_rules! steps {
    ($($variant:ident $call:literal, $key:expr, $words:literal;)+) => {
        /// What was being done when a call failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $(#[doc = $words] $variant,)+ }

        impl Step {
            /// Every step, in the order of a start.
            pub const ALL: &'static [Step] = &[$(Step::$variant,)+];

            const FACTS: &'static [(&'static str, Option<Key>, &'static str)] = &[$(($call, $key, $words),)+];
        }
    };
}

steps! {
    Fork "clone3", None, "start the helper process";
}

impl Step {
    /// The step with this number; nothing for a number that is none.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Step> {
        Step::ALL.get(usize::from(number)).copied()
    }

    /// The system call that it makes.
    #[must_use]
    pub fn call(self) -> &'static str {
        Step::FACTS[self as usize].0
    }

    /// The key that asked for it, where one did.
    #[must_use]
    pub fn key(self) -> Option<Key> {
        Step::FACTS[self as usize].1
    }

    /// What was being done, for people: "mount /proc".
    #[must_use]
    pub fn words(self) -> &'static str {
        Step::FACTS[self as usize].2
    }
}

/// A failed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was being done.
    pub step: Step,
    /// The kernel's error number (errno(3)).
    pub errno: u16,
    /// Which of several, where a step is done for each item of a list: its index.
    pub detail: u32,
}

impl Fault {
    /// Bytes of an encoded fault.
    pub const BYTES: usize = 7;

    /// As a record for a pipe or a message.
    #[must_use]
    pub fn encode(self) -> [u8; Fault::BYTES] {
        let [e0, e1] = self.errno.to_le_bytes();
        let [d0, d1, d2, d3] = self.detail.to_le_bytes();
        [self.step as u8, e0, e1, d0, d1, d2, d3]
    }

    /// From such a record; nothing where it is none.
    #[must_use]
    pub fn decode(record: &[u8]) -> Option<Fault> {
        let &[step, e0, e1, d0, d1, d2, d3] = record else { return None };
        Some(Fault {
            step: Step::from_number(step)?,
            errno: u16::from_le_bytes([e0, e1]),
            detail: u32::from_le_bytes([d0, d1, d2, d3]),
        })
    }
}

/// "mount /proc: mount: EPERM (not permitted)".
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.step.words(), self.step.call(), ErrnoWords(self.errno))
    }
}

/// An error number as a person reads it: its name, and what it means.
#[derive(Clone, Copy, Debug)]
pub struct ErrnoWords(pub u16);

macro_rules! errnos {
    ($($name:ident $words:literal;)+) => {
        const ERRNOS: &[(u16, &str, &str)] = &[$((libc::$name as u16, stringify!($name), $words),)+];
    };
}

// errno(3)
errnos! {
    EPERM "not permitted"; ENOENT "no such file or directory"; ESRCH "no such process"; EINTR "interrupted";
    EIO "input/output error"; ENXIO "no such device or address"; E2BIG "argument list too long";
    ENOEXEC "not a program for this machine"; EBADF "bad descriptor"; ECHILD "no child"; EAGAIN "try again: a limit or a shortage";
    ENOMEM "out of memory"; EACCES "permission denied"; EFAULT "bad address"; EBUSY "busy"; EEXIST "exists";
    EXDEV "on another file system"; ENODEV "no such device"; ENOTDIR "not a directory"; EISDIR "is a directory";
    EINVAL "invalid argument"; ENFILE "too many open files on the host"; EMFILE "too many open files";
    ENOTTY "not a terminal"; ETXTBSY "being written"; EFBIG "file too large"; ENOSPC "no space left"; ESPIPE "not seekable";
    EROFS "read-only file system"; EMLINK "too many links"; EPIPE "nobody reads"; ERANGE "out of range";
    ENAMETOOLONG "name too long"; ENOSYS "not in this kernel"; ENOTEMPTY "not empty"; ELOOP "too many symbolic links";
    ELIBBAD "interpreter is damaged"; EPROTO "protocol error"; EOVERFLOW "value too large"; EUSERS "too many users";
    EMSGSIZE "message too long"; EPROTOTYPE "wrong socket type"; EOPNOTSUPP "not supported"; EADDRINUSE "address in use";
    ENOBUFS "no buffer space"; ECONNREFUSED "nobody listens"; ECONNRESET "closed by the other end"; ENOTCONN "not connected";
    ETIMEDOUT "timed out"; EALREADY "already under way"; ESTALE "stale file handle"; EDQUOT "over quota"; EKEYREJECTED "signature rejected";
}

impl fmt::Display for ErrnoWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ERRNOS.iter().find(|(number, ..)| *number == self.0) {
            Some((_, name, words)) => write!(f, "{name} ({words})"),
            None => write!(f, "error {}", self.0),
        }
    }
}

/// Names the step that a failed call belonged to.
pub trait At<T> {
    /// # Errors
    /// The error as a [`Fault`] of `step`.
    fn at(self, step: Step) -> Result<T, Fault>;

    /// The same for item number `detail` of a list.
    ///
    /// # Errors
    /// The error as a [`Fault`] of `step`.
    fn at_item(self, step: Step, detail: usize) -> Result<T, Fault>;
}
