//! Config files as they are on disk, for [`crate::config`].

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fd::AsFd;
use rustix::fs::{CWD, Mode, OFlags, RawDir};

use super::files;
use crate::config::source::{FileName, Source, Unreadable, is_next};
use crate::sys::Errno;

/// Bytes of a path, with its NUL: the kernel takes no longer one (PATH_MAX).
const PATH_BYTES: usize = 4096;

/// Files and directories by path. Only regular files are read, and never more of one than there is room for.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Source for Disk {
    fn read(&mut self, path: &[u8], into: &mut [u8]) -> Result<usize, Unreadable> {
        let file = with_nul(path, files::open).map_err(unreadable)?;
        match files::read_whole(file.as_fd(), into) {
            // The caller sees from its being full that there is more.
            Err(Errno::FBIG) => Ok(into.len()),
            outcome => outcome.map_err(unreadable),
        }
    }

    fn next_name(&mut self, directory: &[u8], pattern: &[u8], after: &[u8]) -> Result<Option<FileName>, Unreadable> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            with_nul(directory, |path| rustix::fs::openat(CWD, path, flags, Mode::empty())).map_err(unreadable)?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut entries = RawDir::new(directory, &mut buffer);
        let mut best: Option<FileName> = None;
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_bytes();
            if is_next(name, pattern, after, best.as_deref()) {
                best = FileName::from_slice(name).ok();
            }
        }
        Ok(best)
    }
}

/// Calls `act` with `path` as the kernel takes it.
fn with_nul<T>(path: &[u8], act: impl FnOnce(&CStr) -> Result<T, Errno>) -> Result<T, Errno> {
    let mut buffer = [0; PATH_BYTES];
    let room = buffer.get_mut(..path.len()).ok_or(Errno::NAMETOOLONG)?;
    room.copy_from_slice(path);
    let path = CStr::from_bytes_until_nul(&buffer).map_err(|_| Errno::NAMETOOLONG)?;
    act(path)
}

fn unreadable(error: Errno) -> Unreadable {
    Unreadable(error.raw_os_error() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is gone when the test is over.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("inn-disk-{}-{name}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        fn path(&self, name: &str) -> Vec<u8> {
            self.0.join(name).to_str().unwrap().as_bytes().to_vec()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_file_is_read_and_a_larger_one_fills_the_room() {
        let scratch = Scratch::new("read");
        std::fs::write(scratch.0.join("a"), b"[host]\n").unwrap();
        let mut room = [0; 16];
        assert_eq!(Disk.read(&scratch.path("a"), &mut room), Ok(7));
        assert_eq!(&room[..7], b"[host]\n");
        assert_eq!(Disk.read(&scratch.path("a"), &mut room[..3]), Ok(3));
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let scratch = Scratch::new("refuse");
        let pipe = scratch.path("pipe");
        rustix::fs::mknodat(CWD, &pipe[..], rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        let cases = [
            (b"/".to_vec(), libc::EISDIR),
            (pipe, libc::EINVAL),
            (b"/dev/zero".to_vec(), libc::EINVAL),
            (scratch.path("none"), libc::ENOENT),
            (vec![b'x'; 5000], libc::ENAMETOOLONG),
        ];
        for (path, errno) in cases {
            assert_eq!(Disk.read(&path, &mut [0; 16]), Err(Unreadable(errno as u16)));
        }
    }

    #[test]
    fn names_come_in_byte_order() {
        let scratch = Scratch::new("names");
        for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt", "B.conf"] {
            std::fs::write(scratch.0.join(name), b"").unwrap();
        }
        let directory = scratch.path("");
        let mut name = FileName::new();
        let mut all = Vec::new();
        while let Some(next) = Disk.next_name(&directory, b"*.conf", &name).unwrap() {
            all.push(String::from_utf8(next.to_vec()).unwrap());
            name = next;
        }
        assert_eq!(all, ["B.conf", "a.conf", "b.conf"]);
        assert_eq!(Disk.next_name(b"/no/such", b"*", b""), Err(Unreadable(libc::ENOENT as u16)));
    }
}
