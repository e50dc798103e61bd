//! The command of `inn init`, from its making to its exec: as if whoever started `inn init` had started it.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::Pid;

use super::orders::Orders;
use crate::cli::foreground::{NOT_EXECUTABLE, NOT_FOUND};
use crate::cli::output::complain;
use crate::cli::parse::Shown;
use crate::fault::ErrnoWords;
use crate::guest::search;
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::memory::Static;
use crate::sys::process::{self, Arguments};
use crate::sys::signal::{self, Set};
use crate::sys::{Errno, stdio, terminal};
use crate::text;

/// Where a command without a slash is looked for, where the environment has no PATH.
const PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variable that says whose the descriptors are that a socket-activated program finds (sd_listen_fds(3)).
const LISTEN_PID: &str = "LISTEN_PID";
/// It, and the greatest number.
const LISTEN_PID_BYTES: usize = 32;

static LISTEN: Static<heapless::Vec<u8, LISTEN_PID_BYTES>> = Static::new(heapless::Vec::new());

/// What the command is made from.
#[derive(Debug)]
pub struct Command<'a> {
    /// The command line and the environment.
    pub arguments: &'a Arguments,
    /// Where in it the command begins.
    pub first: usize,
    /// Signals that it finds blocked.
    pub blocked: Set,
    /// It finds SIGCHLD ignored.
    pub ignores_children: bool,
    /// The terminal that this process's group has the foreground of.
    pub terminal: Option<BorrowedFd<'a>>,
}

impl Command<'_> {
    /// Starts it. All signals must be blocked, so that none meets it before it is what it is to be.
    ///
    /// # Errors
    /// Of clone3(2).
    pub fn start(&self, orders: &Orders) -> Result<(Pid, OwnedFd), Errno> {
        let parent = rustix::process::getpid();
        match clone(Flags::NONE, None)? {
            Side::Child => self.execute(orders, parent),
            Side::Parent(pid, pidfd) => {
                if !orders.setsid {
                    // Both do it, so that the group is there whoever comes first.
                    let _ = rustix::process::setpgid(Some(pid), Some(pid));
                }
                Ok((pid, pidfd))
            }
        }
    }

    fn execute(&self, orders: &Orders, parent: Pid) -> ! {
        if orders.setsid {
            let _ = rustix::process::setsid();
            // Somebody else has it, or there is none.
            let _ = terminal::control_if_free(stdio::input());
        } else {
            let _ = rustix::process::setpgid(None, None);
            if let Some(terminal) = self.terminal {
                let _ = terminal::set_foreground(terminal, process::own_group());
            }
        }
        self.tell_listener(parent);
        if self.ignores_children {
            signal::ignore(libc::SIGCHLD as u8);
        }
        let _ = signal::block(self.blocked);
        let program = self.arguments.get(self.first).unwrap_or_default();
        let path = self.arguments.variable(b"PATH").map_or(PATH, CStr::to_bytes);
        let errno = search(program, path, &mut |file| match self.arguments.execute(file, self.first) {
            // As execvp(3) has it: a script that does not say whose it is.
            Errno::NOEXEC => self.arguments.execute_by_shell(file, self.first),
            errno => errno,
        });
        complain(format_args!("init: {}: {}", Shown(program), ErrnoWords(errno.raw_os_error() as u16)));
        process::exit(if errno == Errno::NOENT { NOT_FOUND } else { NOT_EXECUTABLE })
    }

    /// Descriptors that were meant for this program's parent are meant for this one.
    fn tell_listener(&self, parent: Pid) {
        let number = |pid: Pid| pid.as_raw_nonzero().get();
        let meant = self.arguments.variable(LISTEN_PID.as_bytes()).and_then(|value| text::number(value.to_bytes()));
        if meant != u64::try_from(number(parent)).ok() {
            return;
        }
        let Some(word) = LISTEN.take() else { return };
        // It fits.
        let _ = write!(word, "{LISTEN_PID}={}\0", number(rustix::process::getpid()));
        if let Ok(word) = CStr::from_bytes_with_nul(word) {
            self.arguments.replace_variable(LISTEN_PID.as_bytes(), word);
        }
    }
}

/// The controlling terminal of this process, whatever its input and output are.
#[must_use]
pub fn controlling_terminal() -> Option<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(c"/dev/tty", flags, Mode::empty());
    // A container may have no such file.
    let opened = opened.or_else(|_| rustix::io::fcntl_dupfd_cloexec(stdio::input(), 3)).ok()?;
    terminal::foreground(opened.as_fd()).is_ok().then_some(opened)
}
