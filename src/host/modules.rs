//! Kernel modules by name, with what they depend on: `/lib/modules/RELEASE/modules.dep` (modules.dep(5)).

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};

use super::files::{self, LINE_BYTES, Lines, Source};
use crate::fault::ErrnoWords;
use crate::sys::Errno;

/// Bytes of a path below `/lib/modules/RELEASE`, or of that directory's own.
const PATH_BYTES: usize = 256;
/// The kernel decompresses the file itself (linux/module.h: MODULE_INIT_COMPRESSED_FILE), since Linux 5.17.
const COMPRESSED: i32 = 4;

/// Why a module was not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Neither in modules.dep nor in modules.builtin.
    Unknown,
    /// Its line in modules.dep, or a path there, is longer than [`LINE_BYTES`] or [`PATH_BYTES`].
    TooLong,
    /// A file cannot be opened or read.
    Open(Errno),
    /// The kernel refuses it.
    Load(Errno),
    /// The kernel refuses it as it is compressed.
    LoadCompressed(Errno),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |errno: &Errno| ErrnoWords(errno.raw_os_error() as u16);
        match self {
            Failure::Unknown => f.write_str("not in modules.dep, and not built in"),
            Failure::TooLong => f.write_str("its line in modules.dep is too long"),
            Failure::Open(errno) => write!(f, "open: {}", words(errno)),
            // Most often; dmesg says which symbol.
            Failure::Load(Errno::NOENT) => {
                f.write_str("finit_module: a symbol is missing: ENOENT; see the kernel's log")
            }
            Failure::Load(errno) => write!(f, "finit_module: {}", words(errno)),
            Failure::LoadCompressed(errno) => {
                write!(
                    f,
                    "finit_module: {}; a kernel that does not decompress modules needs it as plain .ko",
                    words(errno)
                )
            }
        }
    }
}

/// Loads module `name` and those it depends on, and returns whether it is there now. What failed is written to `report`,
/// in one line. May hang where the modules' storage or a device does.
pub fn load(name: &CStr, report: &mut dyn Write) -> bool {
    let name = name.to_bytes();
    if is_there(name) {
        return true;
    }
    let mut fail = |file: &[u8], failure: Failure| {
        let _ = writeln!(report, "module {}: {}: {failure}", Printable(name), Printable(file));
        false
    };
    let directory = match open_directory() {
        Ok(directory) => directory,
        Err(errno) => return fail(b"/lib/modules", Failure::Open(errno)),
    };
    let mut lines = match files::open_at(directory.as_fd(), c"modules.dep") {
        Ok(file) => Lines::<OwnedFd, LINE_BYTES>::new(file),
        Err(errno) => return fail(b"modules.dep", Failure::Open(errno)),
    };
    let line = match find(&mut lines, name) {
        Ok(Some(line)) => line,
        Ok(None) if is_built_in(directory.as_fd(), name) => return true,
        Ok(None) => return fail(b"modules.dep", Failure::Unknown),
        Err(failure) => return fail(b"modules.dep", failure),
    };
    // depmod lists a dependency before what that one depends on, so they are loaded backwards.
    line.dependencies().rev().chain([line.path]).all(|path| match load_file(directory.as_fd(), path) {
        Ok(()) => true,
        Err(failure) => fail(path, failure),
    })
}

/// `/lib/modules/RELEASE` of the running kernel.
fn open_directory() -> Result<OwnedFd, Errno> {
    let uname = rustix::system::uname();
    let lib = rustix::fs::openat(CWD, c"/lib/modules", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(lib, uname.release(), flags, Mode::empty())
}

/// Whether the kernel has the module already, loaded or built in.
fn is_there(name: &[u8]) -> bool {
    let mut path = heapless::Vec::<u8, PATH_BYTES>::new();
    let fits = path.extend_from_slice(b"/sys/module/").is_ok()
        && name.iter().all(|byte| path.push(if *byte == b'-' { b'_' } else { *byte }).is_ok())
        && path.push(0).is_ok();
    fits && CStr::from_bytes_with_nul(&path)
        .is_ok_and(|path| rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok())
}

/// Whether modules.builtin names the module: a part of the kernel without parameters is not in `/sys/module`.
fn is_built_in(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    let Ok(file) = files::open_at(directory, c"modules.builtin") else { return false };
    let mut lines = Lines::<OwnedFd, LINE_BYTES>::new(file);
    while let Ok(Some(path)) = lines.read() {
        if is_name_of(name, path) {
            return true;
        }
    }
    false
}

fn load_file(directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), Failure> {
    if is_there(stem(path)) {
        return Ok(());
    }
    let mut with_nul = [0; PATH_BYTES];
    with_nul.get_mut(..path.len()).ok_or(Failure::TooLong)?.copy_from_slice(path);
    let c_path = CStr::from_bytes_until_nul(&with_nul).map_err(|_| Failure::TooLong)?;
    let file = files::open_at(directory, c_path).map_err(Failure::Open)?;
    let compressed = !path.ends_with(b".ko");
    match rustix::system::finit_module(&file, c"", if compressed { COMPRESSED } else { 0 }) {
        // Somebody else was faster.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) if compressed => Err(Failure::LoadCompressed(errno)),
        Err(errno) => Err(Failure::Load(errno)),
    }
}

/// A line of modules.dep: a module's file and the files of all that it depends on, relative to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry<'a> {
    path: &'a [u8],
    others: &'a [u8],
}

impl<'a> Entry<'a> {
    fn parse(line: &'a [u8]) -> Option<Entry<'a>> {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some(Entry { path: line.get(..colon)?, others: line.get(colon + 1..)? })
    }

    fn dependencies(self) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.others.split(|byte| *byte == b' ').filter(|path| !path.is_empty())
    }
}

/// The line of module `name`.
fn find<'a, S: Source>(lines: &'a mut Lines<S, LINE_BYTES>, name: &[u8]) -> Result<Option<Entry<'a>>, Failure> {
    // The borrow checker does not see that a line that is not returned is not kept: so find it, then look at it again.
    loop {
        match lines.read().map_err(Failure::Open)? {
            None => return Ok(None),
            Some(line) if Entry::parse(line).is_some_and(|entry| is_name_of(name, entry.path)) => break,
            Some(_) => {}
        }
    }
    let line = lines.current();
    // A full window may be a part of the line only.
    if line.len() == LINE_BYTES { Err(Failure::TooLong) } else { Ok(Entry::parse(line)) }
}

/// Whether the file at `path` is of module `name`, `-` and `_` being the same.
fn is_name_of(name: &[u8], path: &[u8]) -> bool {
    let fold = |byte: &u8| if *byte == b'-' { b'_' } else { *byte };
    stem(path).iter().map(fold).eq(name.iter().map(fold))
}

/// `overlay` of `kernel/fs/overlayfs/overlay.ko.xz`; nothing where it is no module's file.
fn stem(path: &[u8]) -> &[u8] {
    let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    [&b".ko"[..], b".ko.xz", b".ko.zst", b".ko.gz"].iter().find_map(|end| file.strip_suffix(*end)).unwrap_or_default()
}

/// Bytes that should be text.
struct Printable<'a>(&'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(self.0).unwrap_or("?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEP: &[u8] = b"kernel/fs/overlayfs/overlay.ko:\n\
        kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz\n\
        kernel/crypto/crc32c-generic.ko.zst:\n";

    fn found(text: &[u8], name: &str) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
        let mut lines = Lines::new(text);
        let entry = find(&mut lines, name.as_bytes()).unwrap()?;
        Some((entry.path.to_vec(), entry.dependencies().map(<[u8]>::to_vec).collect()))
    }

    #[test]
    fn a_module_is_found_with_its_dependencies_in_order() {
        let (path, others) = found(DEP, "bridge").unwrap();
        assert_eq!(path, b"kernel/net/bridge/bridge.ko.xz");
        assert_eq!(others, [&b"kernel/net/802/stp.ko.xz"[..], b"kernel/net/llc/llc.ko.xz"]);
        assert_eq!(found(DEP, "overlay"), Some((b"kernel/fs/overlayfs/overlay.ko".to_vec(), vec![])));
    }

    #[test]
    fn dash_and_underscore_are_the_same() {
        assert!(found(DEP, "crc32c_generic").is_some() && found(DEP, "crc32c-generic").is_some());
    }

    #[test]
    fn a_part_of_a_name_a_dependency_or_an_empty_name_is_not_found() {
        for name in ["bridg", "stp", "", "kernel/net/bridge/bridge", "bridge.ko"] {
            assert_eq!(found(DEP, name), None, "{name}");
        }
    }

    #[test]
    fn a_line_that_may_be_cut_is_refused() {
        let text = [b"kernel/a.ko:".as_slice(), &b" kernel/b.ko".repeat(1000)].concat();
        assert_eq!(find(&mut Lines::new(&text[..]), b"a"), Err(Failure::TooLong));
    }

    #[test]
    fn what_is_loaded_already_needs_no_files() {
        // The kernel itself is always there, as it has parameters.
        assert!(is_there(b"kernel") && !is_there(b"no-such-module") && !is_there(&[b'x'; 300]));
        assert!(load(c"kernel", &mut String::new()));
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let mut report = String::new();
        assert!(!load(c"no-such-module", &mut report));
        assert!(report.starts_with("module no-such-module: ") && report.lines().count() == 1, "{report}");
    }

    proptest! {
        #[test]
        fn a_listed_module_is_found_in_any_file(
            before in proptest::collection::vec("[a-z:/. ]{0,40}", 0..20), name in "[a-z][a-z0-9_-]{0,20}",
        ) {
            let own = name.replace('-', "_");
            prop_assume!(!before.iter().any(|line| Entry::parse(line.as_bytes()).is_some_and(|e| is_name_of(name.as_bytes(), e.path))));
            let text = format!("{}\nkernel/{own}.ko: kernel/z.ko\n", before.join("\n"));
            let expected = (format!("kernel/{own}.ko").into_bytes(), vec![b"kernel/z.ko".to_vec()]);
            prop_assert_eq!(found(text.as_bytes(), &name), Some(expected));
        }

        #[test]
        fn any_bytes_are_read_to_the_end(text in proptest::collection::vec(any::<u8>(), 0..500)) {
            prop_assert!(find(&mut Lines::new(&text[..]), b"a name that is long").unwrap().is_none());
        }
    }
}
