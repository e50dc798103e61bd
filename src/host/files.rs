//! Reading files that may be anything: without blocking, and no more than was asked for. Writing all of something.

use core::ffi::CStr;

use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::time::Timespec;

use crate::sys::Errno;

/// Between two looks at a lock that another has.
const LOCK_LOOK_MS: u64 = 5;

/// Opens a regular file for reading. A device, pipe, socket or directory is refused: EISDIR or EINVAL.
///
/// # Errors
/// As open(2).
pub fn open(path: &CStr) -> Result<OwnedFd, Errno> {
    open_at(CWD, path)
}

/// The same, below `directory`.
///
/// # Errors
/// As open(2).
pub fn open_at(directory: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    // Without NONBLOCK the opening of a pipe waits for a writer; NOCTTY: a terminal must not become ours.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::openat(directory, path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::INVAL),
    }
}

/// Reads all of `file` into `buffer`, and returns how much that was.
///
/// # Errors
/// EFBIG where it does not fit; as read(2).
pub fn read_whole(file: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut used = 0;
    loop {
        let Some(room) = buffer.get_mut(used..).filter(|room| !room.is_empty()) else {
            // Full: that was all only if not another byte is there.
            return if read_some(file, &mut [0])? == 0 { Ok(used) } else { Err(Errno::FBIG) };
        };
        match read_some(file, room)? {
            0 => return Ok(used),
            read => used += read,
        }
    }
}

/// Opens the file at `path`, reads all of it into `buffer`, and returns the part of `buffer` that was filled.
///
/// # Errors
/// As [`open`] and [`read_whole`].
pub fn read_path<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let file = open(path)?;
    let used = read_whole(file.as_fd(), buffer)?;
    Ok(buffer.get(..used).unwrap_or_default())
}

/// Writes all of `value` to the setting at `path`, which must exist, in one call: the kernel takes a setting whole.
///
/// # Errors
/// As open(2) and write(2); EIO where not all of it was taken.
pub fn write_setting(directory: BorrowedFd<'_>, path: &CStr, value: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::openat(
        directory,
        path,
        OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY,
        Mode::empty(),
    )?;
    let taken = rustix::io::retry_on_intr(|| rustix::io::write(&file, value))?;
    if taken == value.len() { Ok(()) } else { Err(Errno::IO) }
}

/// Keeps `text` in the file at `path` of `/run/inn`, which is made where it is missing. Whoever reads it finds what was kept before, or
/// all of this. `new` is a path beside it.
///
/// # Errors
/// As mkdir(2), open(2), write(2) and rename(2).
pub fn keep(path: &CStr, new: &CStr, text: &[u8]) -> Result<(), Errno> {
    make_run()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(new, flags, Mode::RUSR | Mode::WUSR)?;
    write_all(file.as_fd(), text)?;
    rustix::fs::rename(new, path)
}

/// Waits for the lock on the file at `path` of `/run/inn`, which is made where it is missing. It is held as long as what is returned.
///
/// # Errors
/// As mkdir(2), open(2) and flock(2).
pub fn lock(path: &CStr) -> Result<OwnedFd, Errno> {
    make_run()?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
    Ok(file)
}

/// Locks `file`, which others have for a moment only, and looks for so long whether they still do. It is looks that count, not
/// the clock: who stood still meanwhile, with all of this host, looks again.
///
/// # Errors
/// As flock(2); EAGAIN where another has it for longer.
pub fn lock_within(file: BorrowedFd<'_>, kind: FlockOperation, wait_ms: u64) -> Result<(), Errno> {
    let pause = Timespec { tv_sec: 0, tv_nsec: LOCK_LOOK_MS as i64 * 1_000_000 };
    for _ in 0..wait_ms / LOCK_LOOK_MS {
        match rustix::fs::flock(file, kind) {
            Err(Errno::AGAIN | Errno::INTR) => {
                let _ = rustix::thread::nanosleep(&pause);
            }
            result => return result,
        }
    }
    rustix::fs::flock(file, kind)
}

fn make_run() -> Result<(), Errno> {
    match rustix::fs::mkdir(c"/run/inn", Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Writes all of `bytes`, waiting where the other end is slow.
///
/// # Errors
/// As write(2).
pub fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // Somebody else's descriptor may be a non-blocking one.
            Err(Errno::AGAIN) => {
                rustix::event::poll(&mut [PollFd::from_borrowed_fd(to.as_fd(), PollFlags::OUT)], None)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn read_some(file: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *buffer))
}

/// Where lines come from.
pub trait Source {
    /// Fills some of `buffer`; 0 at the end.
    ///
    /// # Errors
    /// As read(2).
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno>;
}

impl Source for OwnedFd {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        read_some(self.as_fd(), buffer)
    }
}

impl Source for &[u8] {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let some = self.len().min(buffer.len());
        let (now, later) = self.split_at(some);
        buffer[..some].copy_from_slice(now);
        *self = later;
        Ok(some)
    }
}

/// Bytes of a line that [`Lines`] are made for, one number so that their code is there once: a line of modules.dep with 64
/// dependencies (Debian's longest has 1.5 KiB), or one of mountinfo with two long paths.
pub const LINE_BYTES: usize = 8192;

/// The lines of a source, through a window of `N` bytes.
#[derive(Debug)]
pub struct Lines<S, const N: usize> {
    source: S,
    window: [u8; N],
    /// Where the line that was returned last stands.
    line: core::ops::Range<usize>,
    start: usize,
    end: usize,
    at_end: bool,
}

impl<S: Source, const N: usize> Lines<S, N> {
    /// Lines of `source`.
    #[must_use]
    pub fn new(source: S) -> Self {
        Lines { source, window: [0; N], line: 0..0, start: 0, end: 0, at_end: false }
    }

    /// The next line, without its newline; nothing after the last. A line longer than the window comes in pieces, all
    /// but the last of them `N` bytes long.
    ///
    /// # Errors
    /// As read(2).
    pub fn read(&mut self) -> Result<Option<&[u8]>, Errno> {
        let mut searched = 0;
        loop {
            let waiting = self.window.get(self.start..self.end).unwrap_or_default();
            if let Some(more) = waiting.iter().skip(searched).position(|byte| *byte == b'\n') {
                self.line = self.start..self.start + searched + more;
                self.start = self.line.end + 1;
                return Ok(Some(self.current()));
            }
            searched = waiting.len();
            if self.at_end || searched == N {
                self.line = self.start..self.end;
                self.start = self.end;
                return Ok((searched > 0).then(|| self.current()));
            }
            self.window.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, searched);
            let read = self.source.read(self.window.get_mut(searched..).unwrap_or_default())?;
            self.end += read;
            self.at_end = read == 0;
        }
    }

    /// The line that [`Lines::read`] returned last, once more.
    pub fn current(&self) -> &[u8] {
        self.window.get(self.line.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hands out its bytes in pieces of at most so many.
    struct Pieces<'a>(&'a [u8], usize);

    impl Source for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
            let some = buffer.len().min(self.1);
            self.0.read(&mut buffer[..some])
        }
    }

    fn lines<const N: usize>(text: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut lines = Lines::<_, N>::new(Pieces(text, piece));
        let mut all = Vec::new();
        while let Some(line) = lines.read().unwrap() {
            all.push(line.to_vec());
        }
        all
    }

    #[test]
    fn a_last_line_needs_no_newline() {
        assert_eq!(lines::<8>(b"one\n\ntwo", 3), [b"one".to_vec(), vec![], b"two".to_vec()]);
        assert_eq!(lines::<8>(b"", 3), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_line_longer_than_the_window_comes_in_pieces() {
        assert_eq!(lines::<4>(b"abcdefghij\nk\n", 4), [&b"abcd"[..], b"efgh", b"ij", b"k"]);
    }

    #[test]
    fn a_directory_and_a_device_are_refused_as_files() {
        assert_eq!(open(c"/").unwrap_err(), Errno::ISDIR);
        assert_eq!(open(c"/dev/null").unwrap_err(), Errno::INVAL);
        assert_eq!(open(c"/no/such/file").unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn a_file_larger_than_the_buffer_is_an_error_and_one_that_fits_exactly_is_not() {
        let file = open(c"/proc/self/maps").unwrap();
        assert_eq!(read_whole(file.as_fd(), &mut [0; 4]), Err(Errno::FBIG));
        let mut number = [0; 64];
        let used = read_path(c"/proc/self/oom_score_adj", &mut number).unwrap().len();
        assert_eq!(read_path(c"/proc/self/oom_score_adj", &mut number[..used]).map(<[u8]>::len), Ok(used));
    }

    proptest! {
        #[test]
        fn lines_joined_are_the_text(text in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200), piece in 1usize..20) {
            let expected: Vec<Vec<u8>> = text.strip_suffix(b"\n").unwrap_or(&text).split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            let expected = if text.is_empty() { vec![] } else { expected };
            prop_assert_eq!(lines::<256>(&text, piece), expected);
        }
    }
}
