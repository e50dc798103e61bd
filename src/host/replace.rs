//! A file that takes another's place, whole or not at all: written beside it, synced, renamed.

use core::ffi::CStr;
use core::fmt;

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, Stat, Uid};

use super::files;
use crate::fault::ErrnoWords;
use crate::limits;
use crate::sys::{Errno, clock};
use crate::text::Made;

/// Bytes of a path, with its NUL: the kernel takes no longer one (PATH_MAX).
const PATH_BYTES: usize = 4096;
/// Bytes of a name, with its NUL (NAME_MAX).
const NAME_BYTES: usize = 256;
/// Bytes that are written at once.
const BUFFER_BYTES: usize = 4096;

/// The call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The system call.
    pub call: &'static str,
    /// errno(3)
    pub errno: Errno,
}

/// "openat: EROFS (read-only file system)".
impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, ErrnoWords(self.errno.raw_os_error() as u16))
    }
}

fn at(call: &'static str) -> impl Fn(Errno) -> Failed {
    move |errno| Failed { call, errno }
}

type Path = heapless::Vec<u8, PATH_BYTES>;

/// The new file, while it is written. Dropped before [`Replacement::commit`], it is gone.
#[derive(Debug)]
pub struct Replacement {
    directory: OwnedFd,
    name: Path,
    beside: Path,
    old: Stat,
    file: OwnedFd,
    buffer: heapless::Vec<u8, BUFFER_BYTES>,
    error: Option<Errno>,
    is_over: bool,
}

impl Replacement {
    /// Makes an empty file beside the one at `path`, or beside the one that a link there leads to. Nobody else may be at it:
    /// see [`lock`].
    ///
    /// # Errors
    /// The call that failed.
    pub fn begin(path: &CStr) -> Result<Replacement, Failed> {
        let old = files::open(path).map_err(at("open"))?;
        let stat = rustix::fs::fstat(&old).map_err(at("fstat"))?;
        let (parent, name) = real_path(&old)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, c_str(&parent)?, flags, Mode::empty()).map_err(at("open"))?;
        // It may have been moved or removed since it was opened.
        let found = rustix::fs::statat(&directory, c_str(&name)?, AtFlags::SYMLINK_NOFOLLOW).map_err(at("stat"))?;
        if (found.st_dev, found.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(Failed { call: "stat", errno: Errno::STALE });
        }
        // With a dot in front no pattern of `include` matches it.
        let mut beside = Path::new();
        let parts = [b".", name.strip_suffix(b"\0").unwrap_or(&name), b".set\0"];
        let fits = parts.into_iter().all(|part| beside.extend_from_slice(part).is_ok()) && beside.len() <= NAME_BYTES;
        fits.then_some(()).ok_or(Failed { call: "open", errno: Errno::NAMETOOLONG })?;
        // What somebody left who was killed.
        let _ = rustix::fs::unlinkat(&directory, c_str(&beside)?, AtFlags::empty());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, c_str(&beside)?, flags, Mode::RUSR | Mode::WUSR);
        let file = file.map_err(at("open a file beside it"))?;
        let buffer = heapless::Vec::new();
        Ok(Replacement { directory, name, beside, old: stat, file, buffer, error: None, is_over: false })
    }

    /// Adds bytes. Errors are kept until [`Replacement::sync`].
    pub fn add(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(BUFFER_BYTES) {
            if self.buffer.len() + part.len() > BUFFER_BYTES {
                self.flush();
            }
            // It fits: the buffer is empty, or had the room.
            let _ = self.buffer.extend_from_slice(part);
        }
    }

    fn flush(&mut self) {
        let mut rest = &self.buffer[..];
        while self.error.is_none() && !rest.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.file, rest)) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(errno) => self.error = Some(errno),
            }
        }
        self.buffer.clear();
    }

    /// Sees that all of it is on the disk, with owner and mode of the old file.
    ///
    /// # Errors
    /// The call that failed.
    pub fn sync(&mut self) -> Result<(), Failed> {
        self.flush();
        self.error.map_or(Ok(()), Err).map_err(at("write"))?;
        let (user, group) = (Uid::from_raw(self.old.st_uid), Gid::from_raw(self.old.st_gid));
        rustix::fs::fchown(&self.file, Some(user), Some(group)).map_err(at("fchown"))?;
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(self.old.st_mode & 0o7777)).map_err(at("fchmod"))?;
        rustix::fs::fsync(&self.file).map_err(at("fsync"))
    }

    /// Reads what was written, all of it, into `into`; how much that is.
    ///
    /// # Errors
    /// As lseek(2) and read(2); EFBIG where it does not fit.
    pub fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Start(0))?;
        files::read_whole(self.file.as_fd(), into)
    }

    /// Puts the new file in the old one's place.
    ///
    /// # Errors
    /// The call that failed; of rename(2), the old file is as it was.
    pub fn commit(mut self) -> Result<(), Failed> {
        let (from, to) = (c_str(&self.beside)?, c_str(&self.name)?);
        rustix::fs::renameat(&self.directory, from, &self.directory, to).map_err(at("rename"))?;
        self.is_over = true;
        rustix::fs::fsync(&self.directory).map_err(at("fsync"))
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let (false, Ok(beside)) = (self.is_over, c_str(&self.beside)) {
            let _ = rustix::fs::unlinkat(&self.directory, beside, AtFlags::empty());
        }
    }
}

/// Waits until this process is the only one that replaces files of the config at `path`, as long as it has what is
/// returned open.
///
/// # Errors
/// The call that failed; EBUSY where another goes on for too long.
pub fn lock(path: &CStr) -> Result<OwnedFd, Failed> {
    let until_ms = clock::now_ms().saturating_add(2 * limits::CHANGE_TIMEOUT_MS);
    loop {
        let file = files::open(path).map_err(at("open"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let (ours, there) = (rustix::fs::fstat(&file), rustix::fs::stat(path));
                let (ours, there) = (ours.map_err(at("fstat"))?, there.map_err(at("stat"))?);
                // Another has taken its place meanwhile, whose lock that is.
                if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino) {
                    return Ok(file);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(Failed { call: "flock", errno }),
        }
        if clock::now_ms() >= until_ms {
            return Err(Failed { call: "flock", errno: Errno::BUSY });
        }
        let pause = rustix::time::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let _ = rustix::thread::nanosleep(&pause);
    }
}

/// The directory and the name of an open file, without links on the way.
fn real_path(file: &OwnedFd) -> Result<(Path, Path), Failed> {
    let link = Made::new(format_args!("/proc/self/fd/{}", file.as_raw_fd()));
    let mut buffer = [core::mem::MaybeUninit::uninit(); PATH_BYTES - 1];
    let (path, _) = rustix::fs::readlinkat_raw(CWD, link.as_c_str(), &mut buffer).map_err(at("readlink"))?;
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0) + 1;
    let too_long = |()| Failed { call: "readlink", errno: Errno::NAMETOOLONG };
    let with_nul = |part: &[u8]| {
        let mut path = Path::from_slice(part).map_err(|_| too_long(()))?;
        path.push(0).map_err(|_| too_long(()))?;
        Ok(path)
    };
    Ok((with_nul(path.get(..slash).unwrap_or_default())?, with_nul(path.get(slash..).unwrap_or_default())?))
}

fn c_str(bytes: &[u8]) -> Result<&CStr, Failed> {
    CStr::from_bytes_with_nul(bytes).map_err(|_| Failed { call: "open", errno: Errno::INVAL })
}
