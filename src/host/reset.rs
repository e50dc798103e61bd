//! Factory reset: the directories that `reset` names are emptied at boot, before anything starts. What asks for it is a file
//! below `state`, which is there until all is done: so a boot that is cut off is followed by one that goes on.
//!
//! A directory's depth is its guests' affair, and the stack is not. So nothing is walked: what lies in a directory within
//! the one that is to be emptied is moved up into that, until nothing has anything in it.

use core::ffi::CStr;
use core::fmt::Write;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, RenameFlags, ResolveFlags};

use super::child::{self, Outcome};
use super::console::{Console, Level};
use super::ending;
use super::watchdog::Watchdog;
use crate::fault::ErrnoWords;
use crate::limits;
use crate::plan::Plan;
use crate::sys::{Errno, clock};
use crate::text::Made;

/// Below `state`: a reset is to be done.
const MARK: &CStr = c"reset";
const NEW: &CStr = c"reset.new";
/// What is moved up is called so, and a number.
const MOVED: &str = ".inn-reset-";

/// Marks that the next boot empties what `plan` names.
///
/// # Errors
/// Of the directory `state`, and of the file there.
pub fn mark(plan: &Plan) -> Result<(), Errno> {
    let state = ending::open(plan.state_path())?;
    ending::replace(state.as_fd(), MARK, NEW, b"")
}

/// The stage of a boot that does what is marked, or `asked` for on the kernel's command line.
pub fn at_boot(console: &Console, plan: &Plan, asked: bool, watchdog: &mut Watchdog) {
    if plan.host.resets.is_empty() {
        if asked {
            console.say(Level::Error, format_args!("inn.reset: no directory is named by `reset`; nothing is emptied"));
        }
        return;
    }
    let deadline_ms = clock::now_ms().saturating_add(limits::RESET_TIMEOUT_MS);
    let outcome = child::run(watchdog, deadline_ms, || {
        all(console, plan, asked);
        0
    });
    if outcome == Outcome::Late {
        console.say(Level::Error, format_args!("the factory reset takes too long; the next boot goes on with it"));
    }
}

fn all(console: &Console, plan: &Plan, asked: bool) {
    let mut said = console.lines(Level::Error);
    let mut say = |what: &str, error: Errno| {
        let _ = writeln!(said, "factory reset: {what}: {}", ErrnoWords(error.raw_os_error() as u16));
    };
    let state = ending::open(plan.state_path());
    let is_marked =
        state.as_ref().is_ok_and(|state| rustix::fs::statat(state, MARK, AtFlags::SYMLINK_NOFOLLOW).is_ok());
    if !asked && !is_marked {
        return;
    }
    if !is_marked && let Err(error) = mark(plan) {
        // It is done all the same; only that a power cut ends it is so.
        say(plan.state(), error);
    }
    for path in plan.words.get(plan.host.resets) {
        let name = plan.strings.str(*path);
        console.say(Level::Warning, format_args!("factory reset: {name} is emptied"));
        match open(CWD, plan.strings.c_str(*path), ResolveFlags::empty()).and_then(|top| empty(top.as_fd())) {
            // What is not there is empty.
            Ok(true) | Err(Errno::NOENT) => {}
            Ok(false) => say(name, Errno::NOTEMPTY),
            Err(error) => say(name, error),
        }
    }
    // What was removed is to stay so, whatever comes next.
    rustix::fs::sync();
    // Also where something has failed: it would fail again, and what else is named be emptied at every boot.
    if let Ok(state) = state {
        let removed = rustix::fs::unlinkat(&state, MARK, AtFlags::empty()).and_then(|()| rustix::fs::fsync(&state));
        if let Err(error) = removed.or_else(|error| if error == Errno::NOENT { Ok(()) } else { Err(error) }) {
            say(plan.state(), error);
        }
    }
}

fn open(at: BorrowedFd<'_>, path: &CStr, how: ResolveFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // ENOSYS is for kernels older than any this runs on.
    rustix::fs::openat2(at, path, flags, Mode::empty(), how)
}

/// Removes all that is in `top`, but for what is mounted there; whether nothing is left.
fn empty(top: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut moved = 0;
    loop {
        let (mut count, mut left) = (0usize, false);
        each(top, &mut |name, kind| match remove(top, name, kind) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => match move_up(top, name, &mut moved) {
                Ok(0) | Err(_) => left = true,
                Ok(some) => count += some,
            },
            Err(_) => left = true,
            Ok(()) => count += 1,
        })?;
        if count == 0 {
            return Ok(!left);
        }
    }
}

/// Moves what is in the directory `name` of `top` into that, or removes it at once; how much that was. Never into another
/// mount, nor by a link.
fn move_up(top: BorrowedFd<'_>, name: &CStr, moved: &mut u64) -> Result<usize, Errno> {
    let inner = open(top, name, ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS)?;
    let mut count = 0;
    each(inner.as_fd(), &mut |name, kind| {
        let mut outcome = remove(inner.as_fd(), name, kind);
        while let Err(Errno::NOTEMPTY | Errno::EXIST) = outcome {
            let new = Made::new(format_args!("{MOVED}{moved}"));
            *moved += 1;
            outcome = rustix::fs::renameat_with(&inner, name, top, new.as_c_str(), RenameFlags::NOREPLACE);
        }
        count += usize::from(outcome.is_ok());
    })?;
    if rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR).is_ok() {
        count += 1;
    }
    Ok(count)
}

/// Removes a file or an empty directory.
fn remove(from: BorrowedFd<'_>, name: &CStr, kind: FileType) -> Result<(), Errno> {
    let is_directory = match kind {
        FileType::Unknown => {
            let found = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            FileType::from_raw_mode(found.st_mode) == FileType::Directory
        }
        kind => kind == FileType::Directory,
    };
    rustix::fs::unlinkat(from, name, if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() })
}

/// Calls `each` with every entry that is there now.
fn each(directory: BorrowedFd<'_>, each: &mut dyn FnMut(&CStr, FileType)) -> Result<(), Errno> {
    rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            each(entry.file_name(), entry.file_type());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(std::format!("inn-reset-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("top")).unwrap();
            Scratch(path)
        }

        fn top(&self) -> OwnedFd {
            let path = std::ffi::CString::new(self.0.join("top").into_os_string().into_encoded_bytes()).unwrap();
            open(CWD, &path, ResolveFlags::empty()).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_is_emptied_however_deep_it_is_and_links_are_not_followed() {
        let scratch = Scratch::new("deep");
        let (top, outside) = (scratch.0.join("top"), scratch.0.join("outside"));
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "").unwrap();
        symlink(&outside, top.join("link")).unwrap();
        symlink("/no/such", top.join("dangling")).unwrap();
        // A name that what is moved up would like to have.
        std::fs::create_dir_all(top.join(".inn-reset-0/full")).unwrap();
        for number in 0..300 {
            std::fs::write(top.join(std::format!("file {number}")), "x").unwrap();
        }
        // Deeper than a path can say.
        let mut at = scratch.top();
        for level in 0..1_000 {
            rustix::fs::mkdirat(&at, c"deeper", Mode::RWXU).unwrap();
            if level % 100 == 0 {
                rustix::fs::symlinkat(c"..", &at, c"up").unwrap();
                rustix::fs::mkdirat(&at, c"empty", Mode::empty()).unwrap();
            }
            at = open(at.as_fd(), c"deeper", ResolveFlags::empty()).unwrap();
        }
        assert_eq!(empty(scratch.top().as_fd()), Ok(true));
        assert_eq!(std::fs::read_dir(&top).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn a_directory_that_is_a_link_is_not_emptied() {
        let scratch = Scratch::new("link");
        std::fs::write(scratch.0.join("top/kept"), "").unwrap();
        symlink("top", scratch.0.join("alias")).unwrap();
        let path = std::ffi::CString::new(scratch.0.join("alias").into_os_string().into_encoded_bytes()).unwrap();
        assert!(matches!(open(CWD, &path, ResolveFlags::empty()), Err(Errno::LOOP | Errno::NOTDIR)));
    }
}
