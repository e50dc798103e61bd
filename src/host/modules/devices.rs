//! The modules that devices want: each device of the host says in its `modalias`, somewhere below `/sys/devices`, what it is.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir};

use super::Modules;
use crate::host::files;
use crate::limits;
use crate::sys::Errno;
use crate::sys::memory::Static;

/// What devices are called that have been found, a line each. Only children of PID 1 ever touch it.
static WANTED: Static<Wanted> = Static::new(Wanted::new());

/// See [`WANTED`].
type Wanted = heapless::Vec<u8, { limits::DEVICE_NAMES_BYTES }>;

/// Loads what all devices want that are there, and again what those want that came with the drivers of the first. To be
/// called once in a process.
pub fn load(modules: &mut Modules<'_>) {
    let Some(wanted) = WANTED.take() else { return };
    for _ in 0..limits::DEVICE_ROUNDS {
        let before = modules.loaded;
        let Ok(devices) = open_directory(CWD, c"/sys/devices") else { return };
        // What failed was told.
        let mut load = |names: &[u8]| {
            let _ = modules.load_like(names);
        };
        walk(devices, wanted, limits::DEVICE_DEPTH, &mut load);
        load(wanted);
        wanted.clear();
        if modules.loaded == before {
            return;
        }
    }
}

/// Puts what each device below `directory` is called in `wanted`, and calls `full` with that where it is full.
fn walk(directory: OwnedFd, wanted: &mut Wanted, depth: usize, full: &mut dyn FnMut(&[u8])) {
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&directory, &mut buffer);
    // A device that goes meanwhile is no error.
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        match entry.file_type() {
            FileType::RegularFile if name == c"modalias" => read(directory.as_fd(), wanted, full),
            FileType::Directory if !matches!(name.to_bytes(), b"." | b"..") => {
                if let (Some(depth), Ok(below)) = (depth.checked_sub(1), open_directory(directory.as_fd(), name)) {
                    walk(below, wanted, depth, full);
                }
            }
            _ => {}
        }
    }
}

/// Apart from [`walk`], whose frame is there once for each level.
#[inline(never)]
fn read(directory: BorrowedFd<'_>, wanted: &mut Wanted, full: &mut dyn FnMut(&[u8])) {
    let mut buffer = [0; limits::DEVICE_NAME_BYTES];
    let Ok(file) = files::open_at(directory, c"modalias") else { return };
    let Ok(used) = files::read_whole(file.as_fd(), &mut buffer) else { return };
    for name in buffer.get(..used).unwrap_or_default().split(|byte| *byte == b'\n').filter(|name| !name.is_empty()) {
        if wanted.split(|byte| *byte == b'\n').any(|other| other == name) {
            continue;
        }
        if wanted.len() + name.len() + 1 > wanted.capacity() {
            full(wanted);
            wanted.clear();
        }
        // There is room for one now, whatever it is.
        let _ = wanted.extend_from_slice(name);
        let _ = wanted.push(b'\n');
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found below a directory with these files.
    fn found(files: &[(&str, String)]) -> Vec<String> {
        let root = std::env::temp_dir().join(format!("inn-devices-{}-{}", std::process::id(), files.len()));
        for (path, text) in files {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), text).unwrap();
        }
        let path = std::ffi::CString::new(root.to_str().unwrap()).unwrap();
        let (mut wanted, mut all) = (Wanted::new(), Vec::new());
        walk(open_directory(CWD, &path).unwrap(), &mut wanted, 4, &mut |names| all.extend_from_slice(names));
        all.extend_from_slice(&wanted);
        std::fs::remove_dir_all(root).unwrap();
        let mut names: Vec<_> = String::from_utf8(all).unwrap().lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    #[test]
    fn every_device_is_found_once() {
        let file = |path, text: &str| (path, text.to_owned());
        let files = [
            file("pci0/0/modalias", "pci:a\n"),
            file("pci0/0/1/modalias", "pci:b\nacpi:b\n"),
            file("pci0/1/modalias", "pci:a\n"),
            file("pci0/1/uevent", "MODALIAS=no\n"),
            file("1/2/3/4/5/modalias", "too deep\n"),
        ];
        assert_eq!(found(&files), ["acpi:b", "pci:a", "pci:b"]);
    }

    #[test]
    fn more_devices_than_there_is_room_for_are_found_in_pieces() {
        let paths: Vec<_> = (0..100).map(|number| format!("{number}/modalias")).collect();
        let files: Vec<_> = paths.iter().map(|path| (path.as_str(), format!("{}{path}", "x".repeat(900)))).collect();
        assert_eq!(found(&files).len(), 100);
    }
}
