//! In a mount namespace of the test's own thread.

use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use rustix::fs::CWD;
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::*;
use crate::guest::devices;
use crate::sys::clone;
use crate::sys::mount::Attributes;

fn c(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().to_str().unwrap()).unwrap()
}

/// What `attach` and `mount` are given to mount, a directory or a file, told by its device number.
fn tree(place: Place) -> (OwnedFd, u64) {
    let memory = devices::memory(&[(c"size", c"4k")], Attributes::NONE).unwrap();
    let device = rustix::fs::fstat(&memory).unwrap().st_dev;
    if place == Place::Directory {
        return (memory, device);
    }
    rustix::fs::openat(&memory, c"file", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).unwrap();
    let flags = rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC;
    (rustix::mount::open_tree(&memory, c"file", flags).unwrap(), device)
}

/// Calls `test` with the guest's root, and the directory that it is seen at; what is beside it, is outside.
fn in_a_root<T: Send>(test: impl FnOnce(BorrowedFd<'_>, &Path) -> T + Send) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        let must = std::env::var_os("INN_MUST_RUN").is_some_and(|value| value == "1");
        assert!(!must, "this test must run, and cannot: it needs root");
        return None;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            clone::unshare_mounts().unwrap();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change(c"/", private).unwrap();
            let outside = devices::memory(&[], Attributes::NONE).unwrap();
            let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(&outside, c"", CWD, c"/tmp", whole).unwrap();
            let place = Path::new("/tmp/root");
            fs::create_dir(place).unwrap();
            fs::create_dir_all("/tmp/decoy/sub").unwrap();
            fs::write("/tmp/decoy/file", "").unwrap();
            let root = devices::memory(&[], Attributes::NONE).unwrap();
            rustix::mount::move_mount(&root, c"", CWD, &*c(place), whole).unwrap();
            let result = test(root.as_fd(), place);
            rustix::mount::unmount(c"/tmp", UnmountFlags::DETACH).unwrap();
            result
        });
        Some(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Where the mount of `device` is, as the thread sees it.
fn places(device: u64) -> Vec<String> {
    let wanted = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|fields| fields[2] == wanted).map(|fields| fields[4].to_owned()).collect()
}

/// One entry of a root. Paths in it are of the guest's making, and may lead anywhere.
fn make_entry(kind: u8, at: &Path, link: &str) {
    match kind {
        0 => drop(fs::create_dir(at)),
        1 => drop(fs::write(at, "")),
        2 => drop(std::os::unix::fs::symlink(link, at)),
        3 => drop(rustix::fs::mknodat(CWD, &*c(at), FileType::Fifo, Mode::from_raw_mode(0o600), 0)),
        4 => drop(std::os::unix::net::UnixListener::bind(at)),
        _ => drop(rustix::fs::mknodat(CWD, &*c(at), FileType::CharacterDevice, Mode::from_raw_mode(0o600), 0x103)),
    }
}

#[test]
fn a_directory_right_in_the_root_is_mounted_on_and_anything_else_is_refused_by_what_it_is() {
    in_a_root(|root, place| {
        for (kind, expected) in [
            (0, Ok(())),
            (1, Err(Errno::NOTDIR)),
            (2, Err(Errno::LOOP)),
            (3, Err(Errno::NOTDIR)),
            (4, Err(Errno::NOTDIR)),
            (5, Err(Errno::NOTDIR)),
        ] {
            let name = CString::new(format!("entry{kind}")).unwrap();
            make_entry(kind, &place.join(name.to_str().unwrap()), "/tmp/decoy");
            let (tree, device) = tree(Place::Directory);
            assert_eq!(attach(tree.as_fd(), c"", root, &name), expected, "{name:?}");
            let seen = if expected.is_ok() { vec!["/tmp/root/entry0".to_owned()] } else { vec![] };
            assert_eq!(places(device), seen);
        }
        let (tree, _) = tree(Place::Directory);
        assert_eq!(attach(tree.as_fd(), c"", root, c"missing"), Err(Errno::NOENT));
    });
}

#[test]
fn links_on_the_way_lead_to_places_inside_the_root() {
    in_a_root(|root, place| {
        fs::create_dir_all(place.join("tmp/decoy")).unwrap();
        fs::create_dir_all(place.join("deep/er")).unwrap();
        for (name, link, expected) in [
            (c"absolute", "/tmp/decoy", "/tmp/root/tmp/decoy"),
            (c"up", "../../../../tmp/decoy", "/tmp/root/tmp/decoy"),
            (c"deep/er/relative", "../../deep", "/tmp/root/deep"),
        ] {
            std::os::unix::fs::symlink(link, place.join(name.to_str().unwrap())).unwrap();
            let (tree, device) = tree(Place::Directory);
            assert_eq!(mount(tree.as_fd(), root, name, Place::Directory, false), Ok(()), "{name:?}");
            assert_eq!(places(device), [expected]);
        }
    });
}

#[test]
fn a_mount_point_that_is_missing_is_made_if_that_was_asked_for() {
    in_a_root(|root, place| {
        let (directory, device) = tree(Place::Directory);
        let path = c"/srv/data//of/it";
        assert_eq!(mount(directory.as_fd(), root, path, Place::Directory, false), Err(Errno::NOENT));
        assert!(!place.join("srv").exists());
        assert_eq!(mount(directory.as_fd(), root, path, Place::Directory, true), Ok(()));
        assert_eq!(places(device), ["/tmp/root/srv/data/of/it"]);
        let (file, device) = tree(Place::File);
        assert_eq!(mount(file.as_fd(), root, c"srv/file", Place::File, true), Ok(()));
        assert_eq!(places(device), ["/tmp/root/srv/file"]);
        // Through a link, still inside; over one to nothing, never.
        std::os::unix::fs::symlink("/srv", place.join("link")).unwrap();
        std::os::unix::fs::symlink("/tmp/decoy/new", place.join("dangling")).unwrap();
        let (directory, device) = tree(Place::Directory);
        assert_eq!(mount(directory.as_fd(), root, c"link/more", Place::Directory, true), Ok(()));
        assert_eq!(places(device), ["/tmp/root/srv/more"]);
        for (path, place) in [(c"dangling", Place::Directory), (c"dangling", Place::File)] {
            let (tree, _) = tree(place);
            assert_eq!(mount(tree.as_fd(), root, path, place, true), Err(Errno::LOOP));
        }
        assert!(!Path::new("/tmp/decoy/new").exists());
    });
}

#[test]
fn a_mount_point_of_the_wrong_kind_is_refused_by_what_it_is() {
    in_a_root(|root, place| {
        fs::create_dir(place.join("directory")).unwrap();
        fs::write(place.join("file"), "").unwrap();
        std::os::unix::fs::symlink("loop", place.join("loop")).unwrap();
        for (path, kind, error) in [
            (c"directory", Place::File, Errno::ISDIR),
            (c"file", Place::Directory, Errno::NOTDIR),
            (c"file/below", Place::Directory, Errno::NOTDIR),
            (c"loop", Place::Directory, Errno::LOOP),
            (c"/", Place::Directory, Errno::BUSY),
            (c"directory/..", Place::Directory, Errno::BUSY),
        ] {
            let (tree, device) = tree(kind);
            assert_eq!(mount(tree.as_fd(), root, path, kind, true), Err(error), "{path:?}");
            assert_eq!(places(device), Vec::<String>::new());
        }
        let long = CString::new("x/".repeat(2048)).unwrap();
        let (tree, _) = tree(Place::Directory);
        assert_eq!(mount(tree.as_fd(), root, &long, Place::Directory, true), Err(Errno::NAMETOOLONG));
    });
}

#[test]
fn nothing_is_mounted_in_proc_or_sys_whatever_leads_there() {
    in_a_root(|root, place| {
        for (name, kind) in [("proc", c"proc"), ("sys", c"sysfs")] {
            fs::create_dir(place.join(name)).unwrap();
            let context = rustix::mount::fsopen(kind, rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
            rustix::mount::fsconfig_create(context.as_fd()).unwrap();
            let flags = rustix::mount::FsMountFlags::FSMOUNT_CLOEXEC;
            let mounted = rustix::mount::fsmount(context.as_fd(), flags, Attributes::NONE.for_fsmount()).unwrap();
            attach(mounted.as_fd(), c"", root, &c(name)).unwrap();
        }
        std::os::unix::fs::symlink("/proc/sys", place.join("link")).unwrap();
        std::os::unix::fs::symlink("/proc/self/root", place.join("magic")).unwrap();
        for (path, error) in [
            (c"proc/sys", Errno::XDEV),
            (c"sys/kernel", Errno::XDEV),
            (c"link/kernel", Errno::XDEV),
            (c"magic/tmp", Errno::XDEV),
        ] {
            let (tree, device) = tree(Place::Directory);
            assert_eq!(mount(tree.as_fd(), root, path, Place::Directory, true), Err(error), "{path:?}");
            assert_eq!(places(device), Vec::<String>::new());
        }
    });
}

#[test]
fn a_read_only_root_says_that_a_mount_point_is_missing() {
    in_a_root(|_, place| {
        let root = devices::memory(&[], Attributes::READ_ONLY).unwrap();
        fs::create_dir(place.join("sealed")).unwrap();
        let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&root, c"", CWD, &*c(place.join("sealed")), whole).unwrap();
        let (tree, _) = tree(Place::Directory);
        assert_eq!(mount(tree.as_fd(), root.as_fd(), c"new", Place::Directory, true), Err(Errno::ROFS));
    });
}

#[test]
fn a_place_that_is_exchanged_all_the_time_is_inside_or_refused() {
    in_a_root(|root, place| {
        fs::create_dir_all(place.join("a/inner")).unwrap();
        std::os::unix::fs::symlink("../../decoy", place.join("b")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                while !done.load(Ordering::Relaxed) {
                    // Refused while something is mounted on it.
                    let _ = rustix::fs::renameat_with(root, c"a", root, c"b", exchange);
                }
            });
            let _over = Done(&done);
            let mut mounted = 0;
            for round in 0..2000 {
                let (tree, device) = tree(Place::Directory);
                let result = match round % 3 {
                    0 => attach(tree.as_fd(), c"", root, c"a"),
                    1 => mount(tree.as_fd(), root, c"a/inner", Place::Directory, false),
                    _ => mount(tree.as_fd(), root, c"a/sub", Place::Directory, true),
                };
                let seen = places(device);
                assert_eq!(result.is_ok(), !seen.is_empty(), "{result:?} {seen:?}");
                assert!(seen.iter().all(|place| place.starts_with("/tmp/root/")), "{seen:?}");
                mounted += seen.len();
                // Where it is now: it moves with its directory.
                while let Some(place) = places(device).first() {
                    let _ = rustix::mount::unmount(&*c(place), UnmountFlags::DETACH);
                }
            }
            assert!(mounted > 0, "never was it a directory");
        });
        assert_eq!(fs::read_dir("/tmp/decoy/sub").unwrap().count(), 0);
        assert_eq!(fs::read_dir("/tmp/decoy").unwrap().count(), 2);
    });
}

/// Says that the test is over, also when it has failed.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Short words, so that they meet.
const WORDS: [&str; 6] = ["a", "b", "c", "..", ".", "tmp"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_in_a_root_a_mount_is_inside_it_or_refused(
        entries in prop::collection::vec((0u8..6, prop::collection::vec(0usize..3, 1..4),
            prop::collection::vec(0usize..6, 1..6), any::<bool>()), 0..24),
        paths in prop::collection::vec((prop::collection::vec(0usize..6, 1..6), any::<bool>(), any::<bool>()), 1..8),
    ) {
        let path = |words: &[usize]| words.iter().map(|word| WORDS[*word]).collect::<Vec<_>>().join("/");
        in_a_root(move |root, place| {
            for (kind, at, link, absolute) in &entries {
                let slash = if *absolute { "/" } else { "" };
                // Not through links that were made before: they would lead this test out.
                let at = at.iter().fold(place.to_owned(), |at, word| {
                    if at.symlink_metadata().is_ok_and(|kind| kind.is_dir()) { at.join(WORDS[*word]) } else { at }
                });
                if at.symlink_metadata().is_err() {
                    make_entry(*kind, &at, &format!("{slash}{}", path(link)));
                }
            }
            let outside = fs::read_dir("/tmp/decoy").unwrap().count();
            for (words, file, make) in &paths {
                let kind = if *file { Place::File } else { Place::Directory };
                let (tree, device) = tree(kind);
                let result = mount(tree.as_fd(), root, &c(path(words)), kind, *make);
                let seen = places(device);
                assert_eq!(result.is_ok(), !seen.is_empty(), "{result:?} {seen:?}");
                assert!(seen.iter().all(|place| place.starts_with("/tmp/root/")), "{seen:?}");
            }
            assert_eq!(fs::read_dir("/tmp/decoy").unwrap().count(), outside);
            assert_eq!(fs::read_dir("/tmp").unwrap().count(), 2);
        });
    }
}
