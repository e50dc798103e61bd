//! From the initramfs to the real root: its device waited for, checked and mounted, the initramfs emptied, and the real
//! root's own init executed in place of this program.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::mount::UnmountFlags;

use super::boot::Host;
use super::checker;
use super::cmdline::{self, Root};
use super::console::{Console, Level};
use super::filesystems::{self, Outcome, Work};
use super::timeline::Stage;
use super::watchdog::Watchdog;
use super::{files, mounts};
use crate::fault::{ErrnoWords, Fault};
use crate::limits;
use crate::plan::Mount;
use crate::sys::exec::{Words, execute, execute_open};
use crate::sys::process::{Arguments, WORDS};
use crate::sys::{Errno, clock, rlimit, signal};
use crate::text::{Made, number};

/// Where the real root is mounted before it is one.
const NEW: &CStr = c"/sysroot";
/// That this program came out of an initramfs, and when that began, in milliseconds since the kernel started. `/run` goes along.
const NOTE: &CStr = c"/run/inn-initramfs";
/// The root that somebody asks for.
const NEXT: &CStr = c"/run/inn/next-root";
/// What goes along to the real root.
const MOVED: [&CStr; 4] = [c"/dev", c"/proc", c"/sys", c"/run"];
/// Where a root's init is looked for, where `init=` does not say: as the kernel does it, and then this program under its own
/// name. A root with none of them but a config is looked after by the initramfs's program.
const INITS: [&CStr; 6] =
    [c"/sbin/init", c"/sbin/inn", c"/usr/sbin/inn", c"/usr/local/sbin/inn", c"/bin/inn", c"/etc/init"];
/// How deep an initramfs is emptied: each level takes some kilobytes of the stack.
const DEPTH: u32 = 32;

/// The root to go to; nothing where this is the real one, or the initramfs is to stay.
#[must_use]
pub fn wanted(line: &[u8]) -> Option<Root<'_>> {
    let is_initramfs = mounts::is_in_memory() && rustix::fs::access(NOTE, rustix::fs::Access::EXISTS).is_err();
    Root::of(line).filter(|_| is_initramfs)
}

/// When the initramfs was entered, milliseconds since the kernel started; nothing where there was none.
#[must_use]
pub fn entered_at_ms() -> Option<u64> {
    let mut buffer = [0; 32];
    number(files::read_path(NOTE, &mut buffer).ok()?)
}

/// Goes to the root that the kernel's command line names, and becomes its init. Returns only where that could not be done,
/// which is said: whether its checker asks for the machine to start again.
#[must_use]
pub fn enter(host: &Host, arguments: &Arguments, watchdog: &mut Watchdog) -> bool {
    let mut line = [0; cmdline::BYTES];
    let Some(root) = wanted(host.line()) else { return false };
    let mut words = NulWords { line: &mut line, used: 0 };
    let kind: &[u8] = if root.kind.is_empty() { b"auto" } else { root.kind };
    let starts = [root.source, kind, root.init].map(|word| words.add(word, b"\0"));
    let data = words.used;
    let said = Mount::options_of(root.flags, &mut |own| {
        words.add(own, b",");
    });
    // The last comma ends the list.
    words.used = words.used.saturating_sub(1).max(data);
    words.add(b"", b"\0");
    let word = |start| CStr::from_bytes_until_nul(line.get(start..).unwrap_or_default()).unwrap_or_default();
    let ([source, kind, init], data) = (starts.map(word), word(data));
    let console = &host.console;
    let _ = rustix::fs::mkdir(NEW, Mode::from_raw_mode(0o755));
    let read_only = if root.is_writable { 0 } else { Mount::READ_ONLY };
    let check = if checker::is_wanted(host.line()) { Mount::CHECK } else { 0 };
    let wait_ms = root.wait_s.map_or(limits::DEVICE_WAIT_MS, |seconds| u64::from(seconds) * 1000);
    let work = Work { source, target: NEW, kind, data, options: said | read_only | check, wait_ms };
    match filesystems::mount_one(console, &work, host.goes_on, watchdog) {
        Outcome::Mounted => {}
        Outcome::NeedsReboot => return true,
        Outcome::Interrupted => return false,
        Outcome::Failed(fault) => {
            no_root(console, source, fault);
            return false;
        }
    }
    // What comes has all of its time to open it again; an exec closes it, and does not stop it.
    watchdog.renew();
    let error = switch(console, NEW, init, (arguments, host.timeline[Stage::Kernel as usize]));
    let shown = source.to_str().unwrap_or("?");
    console.say(Level::Error, format_args!("root={shown}: {}: {}", error.0, ErrnoWords(error.1.raw_os_error() as u16)));
    false
}

/// Words one after the other, each with what ends it.
struct NulWords<'l> {
    line: &'l mut [u8; cmdline::BYTES],
    used: usize,
}

impl NulWords<'_> {
    /// Adds one; where it begins. The line has room: they are all of the kernel's, which has at least as much between them.
    fn add(&mut self, word: &[u8], end: &[u8]) -> usize {
        let start = self.used;
        for byte in word.iter().chain(end) {
            if let Some(room) = self.line.get_mut(self.used) {
                *room = *byte;
                self.used += 1;
            }
        }
        start
    }
}

fn no_root(console: &Console, source: &CStr, fault: Fault) {
    let shown = source.to_str().unwrap_or("?");
    let (colon, advice) = fault.advice().map_or(("", ""), |advice| ("; ", advice));
    console.say(Level::Error, format_args!("root={shown} is not mounted: {fault}{colon}{advice}"));
    let hint = "mount it on a directory, then: inn switch-root DIRECTORY";
    console.say(Level::Error, format_args!("the real root is missing; {hint}"));
}

/// What of a switch failed.
pub type Failed = (&'static str, Errno);

/// Makes what is mounted at `new` the root, empties the initramfs, and becomes `init` of it, or where that is empty the first
/// that is there. Returns only where that failed: before anything is changed, if there is no init to become.
/// `entered_ms` is when the initramfs was entered.
pub fn switch(console: &Console, new: &CStr, init: &CStr, from: (&Arguments, Option<u32>)) -> Failed {
    match try_switch(console, new, init, from) {
        Ok(never) => match never {},
        Err(failed) => failed,
    }
}

fn at(call: &'static str) -> impl Fn(Errno) -> Failed {
    move |errno| (call, errno)
}

enum Never {}

/// A root that can be entered.
struct New<'a> {
    root: OwnedFd,
    /// Its init.
    found: Option<&'a CStr>,
    /// This program, which has no name there.
    own: Option<OwnedFd>,
}

impl New<'_> {
    fn open<'a>(new: &CStr, init: &'a CStr) -> Result<New<'a>, Failed> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(new, directory, Mode::empty()).map_err(at("open the new root"))?;
        let is_same = |one: &OwnedFd, other| -> Result<bool, Errno> {
            Ok(rustix::fs::fstat(one)?.st_dev == rustix::fs::stat(other)?.st_dev)
        };
        if is_same(&root, c"/").map_err(at("stat"))? {
            return Err(("nothing is mounted on the new root", Errno::INVAL));
        }
        let own = rustix::fs::open(c"/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
        let has = |path: &CStr| is_program(root.as_fd(), path);
        let found = if init.is_empty() {
            INITS.into_iter().find(|path| has(path))
        } else {
            Some(init).filter(|path| has(path))
        };
        let has_config = resolve(root.as_fd(), crate::load::CONFIG).is_ok();
        let own = own.filter(|_| init.is_empty() && has_config);
        if found.is_none() && own.is_none() {
            return Err(("the new root has no init", Errno::NOENT));
        }
        Ok(New { root, found, own })
    }
}

/// Whether PID 1 can be asked to make what is mounted at `new` the root, with this init; if so, that is noted for it.
///
/// # Errors
/// What stands against it.
pub fn ask_for(new: &CStr, init: &CStr) -> Result<(), Failed> {
    if !mounts::is_in_memory() {
        return Err(("this is no initramfs", Errno::INVAL));
    }
    if !new.to_bytes().starts_with(b"/") {
        return Err(("it is no absolute path", Errno::INVAL));
    }
    New::open(new, init)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::open(NEXT, flags, Mode::RUSR | Mode::WUSR).map_err(at("open /run/inn/next-root"))?;
    let written = files::write_all(file.as_fd(), new.to_bytes_with_nul());
    written.and_then(|()| files::write_all(file.as_fd(), init.to_bytes_with_nul())).map_err(at("write"))
}

/// Goes to the root that somebody has asked for, all else having ended. Where that fails, which is said, this program begins
/// anew; it returns where that fails too.
pub fn enter_next(console: &Console, from: (&Arguments, Option<u32>)) {
    let mut buffer = [0; cmdline::BYTES];
    let text = files::read_path(NEXT, &mut buffer).unwrap_or_default();
    let (new, rest) = text.split_at(text.iter().position(|byte| *byte == 0).map_or(0, |nul| nul + 1));
    let word = |bytes| CStr::from_bytes_until_nul(bytes).unwrap_or_default();
    let (call, errno) = switch(console, word(new), word(rest), from);
    console.say(Level::Error, format_args!("switch-root: {call}: {}", ErrnoWords(errno.raw_os_error() as u16)));
    let own = rustix::fs::open(c"/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    if let Ok(own) = own {
        become_init(None, Some(&own), from.0);
    }
}

fn try_switch(
    console: &Console,
    new: &CStr,
    init: &CStr,
    (arguments, entered_ms): (&Arguments, Option<u32>),
) -> Result<Never, Failed> {
    let New { root, found, own } = New::open(new, init)?;
    leave_note(entered_ms);
    for path in MOVED {
        take_along(console, root.as_fd(), path);
    }
    let old = rustix::fs::open(c"/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok();
    enter_root(new).map_err(at("change the root"))?;
    // An initramfs is memory, which nobody else gives back. What is not one is left alone.
    if let Some(old) = old.filter(|old| mounts::is_memory(old.as_fd())) {
        empty(&old, DEPTH);
    }
    Err(at("execve")(become_init(found, own.as_ref(), arguments)))
}

/// The file or directory at `path` below `root`, whatever links there say.
fn resolve(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
}

fn is_program(root: BorrowedFd<'_>, path: &CStr) -> bool {
    let found = resolve(root, path).and_then(rustix::fs::fstat);
    found.is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_mode & 0o111 != 0
    })
}

/// Leaves the time in the `/run` that goes along; it is also how a root in memory is known not to be an initramfs.
fn leave_note(entered_ms: Option<u32>) {
    let text = Made::new(format_args!("{}", entered_ms.map_or(clock::boot_us() / 1000, u64::from)));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::open(NOTE, flags, Mode::from_raw_mode(0o644));
    let _ = file.and_then(|file| rustix::io::write(file, text.as_bytes()));
}

/// Moves a file system of the kernel to its place in the new root; what has no place there is made anew by the new init, if it
/// can be.
fn take_along(console: &Console, root: BorrowedFd<'_>, path: &CStr) {
    let relative = path.to_bytes_with_nul().get(1..).and_then(|bytes| CStr::from_bytes_with_nul(bytes).ok());
    let Some(relative) = relative else { return };
    // It may be there, and where it cannot be made the next step says so.
    let _ = rustix::fs::mkdirat(root, relative, Mode::from_raw_mode(0o755));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let outcome = rustix::fs::openat(root, relative, flags, Mode::empty()).and_then(|target| {
        let empty = rustix::mount::MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(CWD, path, target, c"", empty)
    });
    // EINVAL: nothing is mounted there, in somebody's own initramfs.
    if let Err(errno) = outcome
        && errno != Errno::INVAL
    {
        let path = path.to_str().unwrap_or_default();
        let words = ErrnoWords(errno.raw_os_error() as u16);
        console.say(Level::Warning, format_args!("the real root has no {path} to mount on: {words}"));
    }
}

fn enter_root(new: &CStr) -> Result<(), Errno> {
    rustix::process::chdir(new)?;
    match rustix::process::pivot_root(c".", c".") {
        // What lay below lies on top now.
        Ok(()) => rustix::mount::unmount(c".", UnmountFlags::DETACH)?,
        // The root that the kernel has unpacked the initramfs into can only be covered.
        Err(Errno::INVAL) => {
            rustix::mount::mount_move(c".", c"/")?;
            rustix::process::chroot(c".")?;
        }
        Err(errno) => return Err(errno),
    }
    rustix::process::chdir(c"/")
}

/// Removes all that is in `directory`, on its own file system only.
fn empty(directory: &OwnedFd, depth: u32) {
    let Ok(device) = rustix::fs::fstat(directory).map(|found| found.st_dev) else { return };
    let mut buffer = [MaybeUninit::<u8>::uninit(); 1024];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(inner) = rustix::fs::openat(directory, name, flags, Mode::empty()) {
            if rustix::fs::fstat(&inner).is_ok_and(|found| found.st_dev == device) && depth > 0 {
                empty(&inner, depth - 1);
                let _ = rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR);
            }
        } else {
            let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
        }
    }
}

/// Executes the new root's init, with this program's words and environment; it returns where none could be.
fn become_init(found: Option<&CStr>, own: Option<&OwnedFd>, arguments: &Arguments) -> Errno {
    let mut words = Words::<WORDS>::new();
    let mut environment = Words::<WORDS>::new();
    let _ = words.push(found.unwrap_or(c"inn"));
    // The kernel gives init what it does not know itself; a verb's own words are no business of it.
    let is_verb = arguments.get(1) == Some(c"switch-root");
    for index in 1..if is_verb { 1 } else { arguments.len() } {
        let _ = arguments.get(index).map(|word| words.push(word));
    }
    for word in arguments.environment() {
        let _ = environment.push(word);
    }
    // What this program is protected from and allowed, another init is not.
    let _ = files::write_setting(CWD, c"/proc/self/oom_score_adj", b"0");
    let _ = rlimit::set_open_files(None);
    // What the kernel has of itself: this program's name may mean nothing there.
    let _ = files::write_setting(CWD, c"/proc/sys/kernel/modprobe", b"/sbin/modprobe");
    signal::reset_all();
    let _ = signal::block(signal::Set::NONE);
    let mut error = Errno::NOENT;
    if let Some(path) = found {
        error = execute(path, &words, &environment);
    }
    own.map_or(error, |own| execute_open(own.as_fd(), &words, &environment))
}
