//! Roots that are made to lead a start astray: links, devices, loops, and directories that are exchanged while it goes on.
//! The verdict is the host's: its mounts are what they were, and nothing outside of the root was touched.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, RenameFlags};

use crate::must;
use crate::private::{Supervisor, busybox};

const NAMES: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

/// What a start must leave alone: files beside the root, and the mounts of the supervisor.
struct Outside {
    decoy: PathBuf,
    before: (BTreeMap<PathBuf, String>, String),
}

impl Outside {
    /// A directory beside `root` that looks like all that is mounted on.
    fn new(root: &Path, supervisor: &Supervisor) -> Outside {
        let decoy = root.with_extension("decoy");
        let _ = fs::remove_dir_all(&decoy);
        for name in ["proc/sys", "sys/fs/cgroup", "dev/pts", "dev/shm", "dev/mqueue", "run", "tmp"] {
            fs::create_dir_all(decoy.join(name)).unwrap();
        }
        for name in ["proc/keys", "dev/null", "dev/console", "dev/pts/ptmx", "canary"] {
            fs::write(decoy.join(name), "host").unwrap();
        }
        let before = Outside::look(&decoy, supervisor);
        Outside { decoy, before }
    }

    fn look(decoy: &Path, supervisor: &Supervisor) -> (BTreeMap<PathBuf, String>, String) {
        let mut all = BTreeMap::new();
        let mut left = vec![decoy.to_owned()];
        while let Some(path) = left.pop() {
            let about = path.symlink_metadata().unwrap();
            let content = if about.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            let times = (about.mode(), about.uid(), about.dev(), about.mtime_nsec(), about.ctime_nsec());
            if about.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            all.insert(path, format!("{times:?} {content}"));
        }
        (all, fs::read_to_string(format!("/proc/{}/mountinfo", supervisor.pid())).unwrap())
    }

    fn is_untouched(&self, supervisor: &Supervisor, what: &str) {
        assert_eq!(Outside::look(&self.decoy, supervisor), self.before, "{what}");
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.decoy);
    }
}

/// Two guests in one root, whose mounts are made in different ways.
fn supervisor(name: &str, root: &Path) -> Supervisor {
    let guest = |kind: &str| {
        format!(
            "[guest {kind}]\nkind = {kind}\nroot = {}\ncommand = /bin/sleep 1000\nautostart = no\nrestart = never\n\
             stop = SIGKILL\n",
            root.display()
        )
    };
    let supervisor = Supervisor::start(name, &(guest("app") + &guest("os")));
    supervisor.await_answer();
    supervisor
}

fn clear(path: &Path) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir_all(path);
}

#[test]
fn what_is_no_directory_is_not_mounted_on_and_the_message_says_what_it_is() {
    if !must::root("what_is_no_directory_is_not_mounted_on_and_the_message_says_what_it_is") {
        return;
    }
    let root = busybox("hostile");
    let supervisor = supervisor("hostile", &root);
    let outside = Outside::new(&root, &supervisor);
    let decoy = outside.decoy.clone();
    let link = "it is a symbolic link there";
    let other = "it is something else there";
    type Make = fn(&Path, &Path);
    let kinds: [(&str, Make, &str); 9] = [
        ("an absolute link", |at, decoy| symlink(decoy.join(at.file_name().unwrap()), at).unwrap(), link),
        ("a link upwards", |at, decoy| symlink(upwards(decoy).join(at.file_name().unwrap()), at).unwrap(), link),
        ("a link to the root", |at, _| symlink("/", at).unwrap(), link),
        ("a loop", |at, _| symlink(at.file_name().unwrap(), at).unwrap(), link),
        ("a magic link", |at, _| symlink("/proc/self/root", at).unwrap(), link),
        ("a file", |at, _| fs::write(at, "").unwrap(), other),
        ("a fifo", |at, _| node(at, FileType::Fifo), other),
        ("a socket", |at, _| drop(std::os::unix::net::UnixListener::bind(at).unwrap()), other),
        ("a device", |at, _| node(at, FileType::CharacterDevice), other),
    ];
    for name in NAMES {
        let at = root.join(name);
        for (kind, make, words) in kinds {
            clear(&at);
            make(&at, &decoy);
            refused(&supervisor, name, words, kind);
            outside.is_untouched(&supervisor, &format!("{name} is {kind}"));
        }
        clear(&at);
        refused(&supervisor, name, "make that directory in its root", "nothing");
        fs::create_dir(&at).unwrap();
    }
}

/// From anywhere, for `..` at the root is the root.
fn upwards(path: &Path) -> PathBuf {
    Path::new(&"../".repeat(20)).join(path.strip_prefix("/").unwrap())
}

fn node(at: &Path, kind: FileType) {
    rustix::fs::mknodat(CWD, at.to_str().unwrap(), kind, Mode::from_raw_mode(0o666), 0x103).unwrap();
}

fn refused(supervisor: &Supervisor, name: &str, words: &str, kind: &str) {
    for guest in ["app", "os"] {
        let output = supervisor.inn(&["start", "--wait", guest]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{guest}: /{name} is {kind}: {said}");
        assert!(
            said.contains(&format!("mount /{name} ")) && said.contains(words),
            "{guest}: /{name} is {kind}: {said}"
        );
    }
}

#[test]
fn what_is_below_what_is_mounted_on_leads_nowhere() {
    if !must::root("what_is_below_what_is_mounted_on_leads_nowhere") {
        return;
    }
    let root = busybox("below");
    let supervisor = supervisor("below", &root);
    let outside = Outside::new(&root, &supervisor);
    let decoy = &outside.decoy;
    clear(&root.join("etc"));
    symlink(decoy, root.join("etc")).unwrap();
    for name in
        ["dev/pts", "dev/shm", "dev/mqueue", "dev/null", "dev/console", "proc/keys", "proc/sys", "sys/fs", "run/x"]
    {
        clear(&root.join(name));
        symlink(decoy.join(name), root.join(name)).unwrap();
    }
    for guest in ["app", "os"] {
        let output = supervisor.inn(&["start", "--wait", guest]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(supervisor.inn(&["kill", guest]).status.code(), Some(0));
    }
    outside.is_untouched(&supervisor, "links below what is mounted on");
    for name in ["etc", "dev", "proc", "sys", "run"] {
        clear(&root.join(name));
    }
}

/// Starts of each kind of guest while its root changes.
const STARTS: usize = 80;

#[test]
fn directories_that_are_exchanged_for_links_during_a_start_lead_nowhere() {
    if !must::root("directories_that_are_exchanged_for_links_during_a_start_lead_nowhere") {
        return;
    }
    let root = busybox("exchange");
    let supervisor = supervisor("exchange", &root);
    let outside = Outside::new(&root, &supervisor);
    for name in NAMES {
        let link = root.join(format!("{name}.link"));
        clear(&link);
        symlink(outside.decoy.join(name), link).unwrap();
    }
    let over = AtomicBool::new(false);
    let (mut started, mut failed) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for name in NAMES {
                    exchange(&root, name);
                    // Longer than a start takes to come by, now and then, so that some come through.
                    std::thread::sleep(std::time::Duration::from_micros(300));
                }
            }
        });
        let _over = Over(&over);
        for _ in 0..STARTS {
            for guest in ["app", "os"] {
                let output = supervisor.inn(&["start", "--wait", guest]);
                match output.status.code() {
                    Some(0) => started += 1,
                    _ => failed += 1,
                }
                supervisor.inn(&["kill", guest]);
            }
        }
    });
    outside.is_untouched(&supervisor, "exchanged directories");
    must::say(&format!("{started} starts came through, {failed} were refused"));
    assert!(failed > 0, "nothing was ever exchanged at the wrong moment");
    for name in NAMES {
        clear(&root.join(name));
        clear(&root.join(format!("{name}.link")));
    }
}

fn exchange(root: &Path, name: &str) {
    let (one, other) = (root.join(name), root.join(format!("{name}.link")));
    let (one, other) = (one.to_str().unwrap(), other.to_str().unwrap());
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

/// Says so, also where the test has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_host_that_shares_its_mounts_receives_none_of_a_guests() {
    if !must::root("a_host_that_shares_its_mounts_receives_none_of_a_guests") {
        return;
    }
    let root = busybox("shared");
    for kind in ["app", "os"] {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "shared"]).arg(must::inn());
        command.args(["run", "--kind", kind, "--root"]).arg(&root);
        command.args(["--", "/bin/sh", "-c", "echo up; read x"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut up = [0; 3];
        let heard = child.stdout.as_mut().unwrap().read_exact(&mut up);
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", child.id())).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(heard.is_ok() && &up == b"up\n", "{kind} did not start");
        assert!(mounts.contains(" shared:"), "{mounts}");
        assert!(!mounts.contains(root.to_str().unwrap()), "{mounts}");
    }
}
