//! Kernel modules, with what they depend on: by name, by what a device is called, and by what the kernel asks for. What there
//! is stands in `/lib/modules/RELEASE`: `modules.dep`, `modules.alias`, `modules.softdep` (depmod(8)).
//!
//! All of this reads storage and starts devices, so PID 1 has it done by a child. No file is kept in memory: each is read
//! line by line, through a window.

pub mod alias;
pub mod asked;
pub mod devices;

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};

use super::cmdline;
use super::files::{self, LINE_BYTES, Lines, Source};
use crate::fault::ErrnoWords;
use crate::plan::Plan;
use crate::sys::Errno;
use alias::{Word, is_same, words};

/// Bytes of a path below `/lib/modules/RELEASE`, or of that directory's own.
const PATH_BYTES: usize = 256;
/// Bytes of a module's parameters.
const PARAMETER_BYTES: usize = 512;
/// How deep soft dependencies of soft dependencies are followed.
const SOFT_DEPTH: u32 = 2;
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
    /// The host is up, and loads no more.
    Locked,
    /// Its parameters are longer than [`PARAMETER_BYTES`].
    Parameters,
    /// It is not loaded.
    NotLoaded,
    /// The kernel does not give it up.
    Remove(Errno),
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
            Failure::Locked => f.write_str("modules are locked until the next boot (hardening); name it in `modules`"),
            Failure::Parameters => f.write_str("its parameters are too long"),
            Failure::NotLoaded => f.write_str("it is not loaded"),
            Failure::Remove(errno) => f.write_fmt(format_args!("{}", words(errno))),
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

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is nothing of that name.
    Nothing,
    /// It is there now.
    There,
    /// It is not, which was told.
    Failed,
}

/// The modules of the running kernel, and how they are loaded. All of it may hang where their storage or a device does.
pub struct Modules<'a> {
    directory: OwnedFd,
    /// Which are loaded by nothing but their own names.
    refuses: &'a dyn Fn(&[u8]) -> bool,
    /// Where failures are told, a line each.
    report: &'a mut dyn Write,
    /// Whether they are only looked for.
    pub is_dry: bool,
    /// Whether somebody wants the one by its name.
    is_named: bool,
    /// How many were loaded so far; of those that were looked for only, how many would be.
    pub loaded: usize,
}

/// Loads module `name` and those it depends on, and returns whether it is there now. What failed is written to `report`,
/// in one line.
pub fn load(name: &CStr, report: &mut dyn Write) -> bool {
    let name = name.to_bytes();
    // Without a look at any file, where it is there already.
    is_there(name)
        || Modules::open(name, &|_| false, report)
            .is_some_and(|mut modules| modules.load(name, b"") == Found::There || modules.tell_unknown(name))
}

/// Loads what `modules` of the config names, and then what the devices want, where it says so. To be called once in a
/// process. Whether all that is named is there.
#[must_use]
pub fn load_all(plan: &Plan, report: &mut dyn Write) -> bool {
    let mut is_all = true;
    for word in asked_for(plan) {
        if let Word::Load(_) = Word::of(word.to_bytes()) {
            is_all &= load(word, report);
        }
    }
    load_for_devices(plan, report);
    is_all
}

/// Loads what the devices want that are there now, where the config says so. To be called once in a process.
pub fn load_for_devices(plan: &Plan, report: &mut dyn Write) {
    let refuses = |name: &[u8]| asked_for(plan).any(|word| Word::of(word.to_bytes()).refuses(name));
    if is_auto(plan)
        && let Some(mut modules) = Modules::open(b"auto", &refuses, report)
    {
        devices::load(&mut modules);
    }
}

/// Whether the config wants what the devices want.
#[must_use]
pub fn is_auto(plan: &Plan) -> bool {
    asked_for(plan).any(|word| Word::of(word.to_bytes()) == Word::Auto)
}

fn asked_for(plan: &Plan) -> impl Iterator<Item = &CStr> {
    plan.words.get(plan.host.modules).iter().map(|word| plan.strings.c_str(*word))
}

impl<'a> Modules<'a> {
    /// Opens them for module `name`. Where there are none, that is told to `report`.
    pub fn open(name: &[u8], refuses: &'a dyn Fn(&[u8]) -> bool, report: &'a mut dyn Write) -> Option<Modules<'a>> {
        match open_directory() {
            Ok(directory) => Some(Modules { directory, refuses, report, is_dry: false, is_named: false, loaded: 0 }),
            Err(errno) => {
                let _ = writeln!(report, "module {}: /lib/modules: {}", Printable(name), Failure::Open(errno));
                None
            }
        }
    }

    /// Loads the module of this name, with what it depends on.
    pub fn load(&mut self, name: &[u8], parameters: &[u8]) -> Found {
        self.is_named = true;
        self.load_deep(name, parameters, SOFT_DEPTH)
    }

    /// Says that there is no module `name`. Returns false.
    pub fn tell_unknown(&mut self, name: &[u8]) -> bool {
        self.fail(name, b"modules.dep", Failure::Unknown)
    }

    /// Says that the parameters of `name` are too many. Returns false.
    pub fn tell_long(&mut self, name: &[u8]) -> bool {
        self.fail(name, b"finit_module", Failure::Parameters)
    }

    /// Loads every module that wants one of `aliases`, which have newlines between them, but those that are refused.
    pub fn load_like(&mut self, aliases: &[u8]) -> Found {
        self.is_named = false;
        self.load_like_deep(aliases, SOFT_DEPTH)
    }

    /// Removes the module of this name, and those that only it needed.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        if !is_there(name) {
            return self.fail(name, b"/sys/module", Failure::NotLoaded);
        }
        if let Err(errno) = self.remove_one(name) {
            return self.fail(name, b"delete_module", Failure::Remove(errno));
        }
        let Ok(mut lines) = self.lines(c"modules.dep") else { return true };
        if let Ok(Some(line)) = find(&mut lines, name) {
            // What others need stays.
            for path in line.dependencies() {
                let _ = self.remove_one(stem(path));
            }
        }
        true
    }

    fn remove_one(&mut self, name: &[u8]) -> Result<(), Errno> {
        if self.is_dry {
            let _ = writeln!(self.report, "{}", Printable(name));
            return Ok(());
        }
        let mut with_nul = [0; PATH_BYTES];
        let room = with_nul.get_mut(..name.len()).ok_or(Errno::NAMETOOLONG)?;
        // The kernel knows only the one of the two.
        room.iter_mut().zip(name).for_each(|(to, from)| *to = if *from == b'-' { b'_' } else { *from });
        let name = CStr::from_bytes_until_nul(&with_nul).map_err(|_| Errno::NAMETOOLONG)?;
        // Without waiting for whoever uses it.
        rustix::system::delete_module(name, libc::O_NONBLOCK)
    }

    fn load_like_deep(&mut self, aliases: &[u8], depth: u32) -> Found {
        let mut found = Found::Nothing;
        let mut lines = match self.lines(c"modules.alias") {
            Ok(lines) => lines,
            Err(errno) => {
                self.fail(b"auto", b"modules.alias", Failure::Open(errno));
                return Found::Failed;
            }
        };
        while let Ok(Some(line)) = lines.read() {
            let Some((pattern, name)) = alias::alias(line) else { continue };
            let is_wanted = |alias: &[u8]| !alias.is_empty() && alias::is_like(pattern, alias);
            if !aliases.split(|byte| *byte == b'\n').any(is_wanted) || (self.refuses)(name) {
                continue;
            }
            found = match self.load_deep(name, b"", depth) {
                Found::There if found == Found::Nothing => Found::There,
                Found::There => found,
                Found::Nothing | Found::Failed => Found::Failed,
            };
        }
        found
    }

    fn load_deep(&mut self, name: &[u8], parameters: &[u8], depth: u32) -> Found {
        if is_there(name) {
            return Found::There;
        }
        let mut lines = match self.lines(c"modules.dep") {
            Ok(lines) => lines,
            Err(errno) => {
                self.fail(name, b"modules.dep", Failure::Open(errno));
                return Found::Failed;
            }
        };
        let line = match find(&mut lines, name) {
            Ok(Some(line)) => line,
            Ok(None) if is_built_in(self.directory.as_fd(), name) => return Found::There,
            Ok(None) => return Found::Nothing,
            Err(failure) => {
                self.fail(name, b"modules.dep", failure);
                return Found::Failed;
            }
        };
        self.load_soft(name, 0, depth);
        // depmod lists a dependency before what that one depends on, so they are loaded backwards.
        let all = line.dependencies().rev().map(|path| (path, &b""[..])).chain([(line.path, parameters)]);
        for (path, parameters) in all {
            if let Err(failure) = self.load_file(path, parameters) {
                // That a driver finds nothing to drive is no news where it was not asked for by name.
                if self.is_named || failure != Failure::Load(Errno::NODEV) {
                    self.fail(name, path, failure);
                }
                return Found::Failed;
            }
        }
        self.load_soft(name, 1, depth);
        Found::There
    }

    /// Loads what `name` is better off with, before it (0) or behind it (1). It is not missed where it is not there.
    fn load_soft(&mut self, name: &[u8], which: usize, depth: u32) {
        let Some(depth) = depth.checked_sub(1) else { return };
        let Ok(mut lines) = self.lines(c"modules.softdep") else { return };
        while let Ok(Some(line)) = lines.read() {
            for word in alias::soft(line, name).and_then(|both| both.get(which).copied()).into_iter().flat_map(words) {
                let mut quiet = Quiet;
                let Ok(directory) = rustix::io::fcntl_dupfd_cloexec(&self.directory, 3) else { return };
                let mut other = Modules { directory, report: &mut quiet, loaded: 0, ..*self };
                if other.load_deep(word, b"", depth) == Found::Nothing {
                    other.load_like_deep(word, depth);
                }
                self.loaded += other.loaded;
            }
        }
    }

    /// The lines of a file beside the modules.
    fn lines(&self, name: &CStr) -> Result<Lines<OwnedFd, LINE_BYTES>, Errno> {
        files::open_at(self.directory.as_fd(), name).map(Lines::new)
    }

    fn load_file(&mut self, path: &[u8], parameters: &[u8]) -> Result<(), Failure> {
        if is_there(stem(path)) {
            return Ok(());
        }
        self.loaded += 1;
        if self.is_dry {
            let _ = writeln!(self.report, "{}", Printable(path));
            return Ok(());
        }
        let mut with_nul = [0; PATH_BYTES];
        with_nul.get_mut(..path.len()).ok_or(Failure::TooLong)?.copy_from_slice(path);
        let c_path = CStr::from_bytes_until_nul(&with_nul).map_err(|_| Failure::TooLong)?;
        let file = files::open_at(self.directory.as_fd(), c_path).map_err(Failure::Open)?;
        let compressed = !path.ends_with(b".ko");
        let parameters = parameters_of(stem(path), parameters).ok_or(Failure::Parameters)?;
        let parameters = CStr::from_bytes_until_nul(&parameters).unwrap_or_default();
        match rustix::system::finit_module(&file, parameters, if compressed { COMPRESSED } else { 0 }) {
            // Somebody else was faster.
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(Errno::PERM) if are_locked() => Err(Failure::Locked),
            Err(errno) if compressed => Err(Failure::LoadCompressed(errno)),
            Err(errno) => Err(Failure::Load(errno)),
        }
    }

    fn fail(&mut self, name: &[u8], file: &[u8], failure: Failure) -> bool {
        let _ = writeln!(self.report, "module {}: {}: {failure}", Printable(name), Printable(file));
        false
    }
}

/// Who is not told.
struct Quiet;

impl Write for Quiet {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        Ok(())
    }
}

/// Whether no module can be loaded until the next boot (`hardening`).
#[must_use]
pub fn are_locked() -> bool {
    files::read_path(c"/proc/sys/kernel/modules_disabled", &mut [0; 8]).is_ok_and(|text| text.starts_with(b"1"))
}

/// The parameters of module `name`, with a NUL: those of the kernel's command line (`NAME.PARAMETER=VALUE`, as the kernel
/// itself has it for what is built in), and `more`. Nothing where they are too many.
fn parameters_of(name: &[u8], more: &[u8]) -> Option<heapless::Vec<u8, PARAMETER_BYTES>> {
    let mut line = [0; cmdline::BYTES];
    let line = files::read_path(c"/proc/cmdline", &mut line).unwrap_or_default();
    let mut all = heapless::Vec::new();
    for word in cmdline::parameters(line, |other| is_same(other, name)).chain([more]) {
        all.extend_from_slice(word).ok()?;
        all.push(b' ').ok()?;
    }
    all.push(0).ok()?;
    Some(all)
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
    is_same(stem(path), name)
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
