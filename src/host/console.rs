//! Where PID 1 speaks: the console and the kernel's log.

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, OFlags};
use rustix::io::FdFlags;
use rustix::termios::OptionalActions;

use super::files;
use crate::plan::Plan;
use crate::sys::{Errno, descriptor, device, terminal};
use crate::text;

/// The kernel's console: whatever `console=` on its command line says.
const KERNELS: &CStr = c"/dev/console";
/// The one that this process speaks on, to be opened once more.
const OWN: &CStr = c"/proc/self/fd/1";

/// Bytes of a line; a longer one is broken.
const LINE_BYTES: usize = 512;
/// What a line begins with in the kernel's log, where others speak too.
const NAME: &str = "inn: ";

/// How much a line matters. The numbers are the kernel's (syslog(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something does not work.
    Error = 3,
    /// Something is not as it was asked for.
    Warning = 4,
    /// What happens.
    Info = 6,
}

/// The console and the kernel's log; one or both may be missing. Writing never waits: a serial line that the other side
/// has stopped loses lines, and the kernel's log keeps them.
#[derive(Debug)]
pub struct Console {
    terminal: Option<OwnedFd>,
    log: Option<OwnedFd>,
    /// Lines of a level below this are put on the console by the kernel when they come into its log.
    kernel_shows: u8,
}

impl Console {
    /// Opens both, and makes the console (or else `/dev/null`) standard input, output and error of this process.
    #[must_use]
    pub fn open() -> Console {
        Console::on(open(KERNELS, OFlags::RDWR).ok())
    }

    /// The same with the console that the program before this one had.
    #[must_use]
    pub fn adopt() -> Console {
        let own = open(OWN, OFlags::RDWR).ok().filter(|own| rustix::termios::isatty(own));
        Console::on(own.or_else(|| open(KERNELS, OFlags::RDWR).ok()))
    }

    /// Speaks where `console` of `plan` says from now on.
    ///
    /// # Errors
    /// As open(2), ENOTTY where it is no terminal, EINVAL for a speed that it cannot have: it stays where it is.
    pub fn follow(&mut self, plan: &Plan) -> Result<(), Errno> {
        if plan.host.console.is_empty() {
            return Ok(());
        }
        let terminal = open(plan.strings.c_str(plan.host.console), OFlags::RDWR)?;
        let mut modes = rustix::termios::tcgetattr(&terminal)?;
        if plan.host.console_speed > 0 {
            modes.set_speed(plan.host.console_speed)?;
            rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &modes)?;
        }
        make_standard(terminal.as_fd());
        self.terminal = Some(terminal);
        Ok(())
    }

    fn on(terminal: Option<OwnedFd>) -> Console {
        if let Some(fd) = terminal.as_ref().or(open(c"/dev/null", OFlags::RDWR).ok().as_ref()) {
            make_standard(fd.as_fd());
        }
        // Of itself the kernel drops what a program logs beyond ten lines in five seconds: too few for a boot. This
        // setting is taken only with its newline, and not at all where printk.devkmsg= was said at boot.
        let _ = files::write_setting(CWD, c"/proc/sys/kernel/printk_devkmsg", b"on\n");
        Console { terminal, log: open(c"/dev/kmsg", OFlags::WRONLY).ok(), kernel_shows: console_level() }
    }

    /// Says a line; several, if there are newlines in it.
    pub fn say(&self, level: Level, message: fmt::Arguments<'_>) {
        let _ = self.lines(level).write_fmt(message);
    }

    /// Takes text in pieces; each newline, and the end, sends a line.
    #[must_use]
    pub fn lines(&self, level: Level) -> Lines<'_> {
        Lines { console: self, level, line: heapless::String::new() }
    }

    fn send(&self, level: Level, text: &str) {
        let mut line = heapless::String::<{ LINE_BYTES + 16 }>::new();
        // These always fit: a level has one digit, and the text is bounded.
        let _ = write!(line, "{NAME}{text}");
        let written = self.terminal.as_ref().is_some_and(|terminal| {
            let _ = line.push('\n');
            let write = || rustix::io::write(terminal, line.as_bytes());
            let written = match write() {
                Err(Errno::IO) if open_again(terminal.as_fd()).is_ok() => write(),
                other => other,
            };
            written == Ok(line.len())
        });
        // What has been said need not be said again by the kernel: it is logged as something that the kernel keeps to itself.
        let level = u32::from(if written { self.kernel_shows.max(level as u8).min(7) } else { level as u8 });
        line.clear();
        // Without its newline a line stays open in the log, and nobody sees it before the next one comes.
        let _ = writeln!(line, "<{level}>{NAME}{text}");
        let _ = self.log.as_ref().map(|log| rustix::io::write(log, line.as_bytes()));
    }
}

/// Text on its way to a [`Console`].
#[derive(Debug)]
pub struct Lines<'a> {
    console: &'a Console,
    level: Level,
    line: heapless::String<LINE_BYTES>,
}

impl Lines<'_> {
    fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.console.send(self.level, &self.line);
            self.line.clear();
        }
    }
}

impl Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if character == '\n' {
                self.end_line();
                continue;
            }
            // What a config or a file name contains must not move the cursor.
            let shown = if character.is_control() { '?' } else { character };
            if self.line.push(shown).is_err() {
                self.end_line();
                // There is room now.
                let _ = self.line.push(shown);
            }
        }
        Ok(())
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        self.end_line();
    }
}

/// Opens a device so that nothing ever waits for it, on a number that is not one of the standard three.
fn open(path: &CStr, access: OFlags) -> Result<OwnedFd, Errno> {
    let fd = device::open(path, access | OFlags::NONBLOCK)?;
    // The kernel starts PID 1 without the three where the initramfs has no /dev/console.
    rustix::io::fcntl_dupfd_cloexec(&fd, 3)
}

fn make_standard(fd: BorrowedFd<'_>) {
    let _ = rustix::stdio::dup2_stdin(fd);
    let _ = rustix::stdio::dup2_stdout(fd);
    let _ = rustix::stdio::dup2_stderr(fd);
}

/// The line was hung up (vhangup(2)): whoever logs in there does that, so that nobody else has it open, or its carrier was lost.
/// What is opened anew is well, and takes the place of `terminal` under its number.
fn open_again(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    let again = open(OWN, OFlags::RDWR)?;
    make_standard(again.as_fd());
    descriptor::place(again.as_fd(), terminal.as_raw_fd())?;
    rustix::io::fcntl_setfd(terminal, FdFlags::CLOEXEC)
}

/// Opens the console for a program that has it next, and waits for it as this process never does.
///
/// # Errors
/// As open(2).
pub fn open_for_program() -> Result<OwnedFd, Errno> {
    let own = terminal::open(OWN).ok().filter(|own| rustix::termios::isatty(own));
    own.map_or_else(|| terminal::open(KERNELS), Ok)
}

/// The first number of `/proc/sys/kernel/printk`: messages of a level below it reach the console.
fn console_level() -> u8 {
    let mut buffer = [0; 64];
    let text = files::read_path(c"/proc/sys/kernel/printk", &mut buffer).unwrap_or_default();
    let digits = text.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    text::number(digits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A console made of pipes, and their other ends: terminal and log.
    fn pipes(kernel_shows: u8) -> (Console, OwnedFd, OwnedFd) {
        let (screen, terminal) = rustix::pipe::pipe().unwrap();
        let (kernel, log) = rustix::pipe::pipe().unwrap();
        (Console { terminal: Some(terminal), log: Some(log), kernel_shows }, screen, kernel)
    }

    fn said(console: Console, end: OwnedFd) -> String {
        drop(console);
        let mut all = [0; 4096];
        let used = files::read_whole(rustix::fd::AsFd::as_fd(&end), &mut all).unwrap();
        String::from_utf8(all[..used].to_vec()).unwrap()
    }

    #[test]
    fn a_line_is_on_the_console_and_in_the_log_which_the_kernel_does_not_show_again() {
        let (console, screen, kernel) = pipes(4);
        console.say(Level::Error, format_args!("no {}", "disk"));
        let mut log = [0; 64];
        let used = rustix::io::read(&kernel, &mut log).unwrap();
        assert_eq!(&log[..used], b"<4>inn: no disk\n");
        assert_eq!(said(console, screen), "inn: no disk\n");
    }

    #[test]
    fn without_a_terminal_the_kernel_shows_the_line() {
        let (mut console, screen, kernel) = pipes(7);
        console.terminal = None;
        console.say(Level::Error, format_args!("no disk"));
        assert_eq!(said(console, kernel), "<3>inn: no disk\n");
        drop(screen);
    }

    #[test]
    fn text_is_cut_into_lines_without_control_characters() {
        let (console, screen, _kernel) = pipes(4);
        let mut lines = console.lines(Level::Info);
        write!(lines, "one\n\ntw").unwrap();
        write!(lines, "o\x1b[2J\n{}", "x".repeat(LINE_BYTES + 1)).unwrap();
        drop(lines);
        let expected = format!("inn: one\ninn: two?[2J\ninn: {}\ninn: x\n", "x".repeat(LINE_BYTES));
        assert_eq!(said(console, screen), expected);
    }
}
