//! How each boot ended, kept on storage that stays: the file `this-boot` below `state`. One that is empty belongs to a boot
//! that goes on, or that ended without a word: by a power cut, a watchdog, the kernel.
//!
//! Everything here waits for storage, so it is for short-lived children.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};

use super::child::{self, Outcome};
use super::console::{Console, Level};
use super::files;
use super::watchdog::Watchdog;
use crate::calendar::Stamp;
use crate::fault::ErrnoWords;
use crate::limits;
use crate::plan::Plan;
use crate::sys::{Errno, clock};

/// Where the supervisor's files in memory are.
const RUN: &CStr = c"/run/inn";
/// How the boot before this one ended, in memory: an empty file where nobody said.
pub const LAST: &CStr = c"/run/inn/last-boot";
/// What is known of this boot, in memory: a word, and why.
pub const VERDICT: &CStr = c"/run/inn/boot";
/// In the directory that stays.
const THIS: &CStr = c"this-boot";
const NEW: &CStr = c"this-boot.new";

/// Bytes of one such file.
pub const BYTES: usize = limits::ENDING_BYTES + 32;

/// The stage of a boot that begins its file, where the config has something to do with that.
pub fn begin_boot(console: &Console, plan: &Plan, watchdog: &mut Watchdog) {
    if !plan.keeps_endings() {
        return;
    }
    let deadline_ms = clock::now_ms().saturating_add(limits::RECORD_MS);
    let outcome = child::run(watchdog, deadline_ms, || match begin(plan.state_path()) {
        Ok(()) => 0,
        Err(error) => {
            let words = ErrnoWords(error.raw_os_error() as u16);
            console.say(Level::Warning, format_args!("how this boot ends will not be kept: {}: {words}", plan.state()));
            0
        }
    });
    if outcome == Outcome::Late {
        console.say(Level::Error, format_args!("{} hangs; how this boot ends may not be kept", plan.state()));
    }
}

/// Begins a boot: what the file says of the one before goes to [`LAST`], and the file is empty from then on. Where there is
/// no file yet there is no [`LAST`].
///
/// # Errors
/// Of the directory `state`, which is made where it is missing, and of its file.
pub fn begin(state: &CStr) -> Result<(), Errno> {
    let directory = open(state)?;
    let mut buffer = [0; BYTES];
    let before = files::open_at(directory.as_fd(), THIS).and_then(|file| files::read_whole(file.as_fd(), &mut buffer));
    match before {
        Ok(used) => note(LAST, buffer.get(..used).unwrap_or_default()),
        Err(Errno::NOENT) => {}
        // Something is there, and of no use.
        Err(_) => note(LAST, b""),
    }
    replace(directory.as_fd(), THIS, NEW, b"")
}

/// Says how this boot ends, and when.
///
/// # Errors
/// As [`begin`].
pub fn write(state: &CStr, words: &str) -> Result<(), Errno> {
    let mut text = heapless::String::<BYTES>::new();
    // It fits: the words are bounded.
    let _ = writeln!(text, "{} {words}", Stamp(clock::real_us()));
    replace(open(state)?.as_fd(), THIS, NEW, text.as_bytes())
}

/// Makes the file at `path`, which is in memory, say `text`; nothing else says it where that fails.
pub fn note(path: &CStr, text: &[u8]) {
    let _ = rustix::fs::mkdir(RUN, Mode::RWXU);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let _ = rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)
        .and_then(|file| files::write_all(file.as_fd(), text));
}

/// Puts `text` in the place of the file `name`, so that a power cut leaves the one or the other.
///
/// # Errors
/// As open(2), write(2), fsync(2), rename(2).
pub fn replace(directory: BorrowedFd<'_>, name: &CStr, new: &CStr, text: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, new, flags, Mode::RUSR | Mode::WUSR)?;
    files::write_all(file.as_fd(), text)?;
    rustix::fs::fsync(&file)?;
    rustix::fs::renameat(directory, new, directory, name)?;
    rustix::fs::fsync(directory)
}

/// Opens the directory `path`, and makes it, and those above it, where they are missing.
///
/// # Errors
/// As mkdir(2) and open(2).
pub fn open(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut result = rustix::fs::openat(CWD, path, flags, Mode::empty());
    if result.as_ref().err() == Some(&Errno::NOENT) {
        let bytes = path.to_bytes();
        for end in (1..=bytes.len()).filter(|end| *end == bytes.len() || bytes.get(*end) == Some(&b'/')) {
            match rustix::fs::mkdir(bytes.get(..end).unwrap_or_default(), Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        result = rustix::fs::openat(CWD, path, flags, Mode::empty());
    }
    result
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn an_ending_is_there_in_full_and_gone_with_the_next_boot() {
        let scratch = std::env::temp_dir().join(std::format!("inn-ending-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&scratch);
        let state = scratch.join("a/b//c");
        let path = CString::new(state.as_os_str().as_bytes()).unwrap();
        write(&path, "reboot: a reason").unwrap();
        let text = std::fs::read_to_string(state.join("this-boot")).unwrap();
        let (stamp, words) = text.split_once(' ').unwrap();
        assert!(stamp.ends_with('Z') && words == "reboot: a reason\n", "{text}");
        let directory = open(&path).unwrap();
        replace(directory.as_fd(), THIS, NEW, b"").unwrap();
        assert_eq!(std::fs::read(state.join("this-boot")).unwrap(), b"");
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 1);
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}
