//! What a guest sees of the host by `bind`, and its file systems in memory, on this host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::{must, private};

/// A directory below one that is closed to others, and one below none that is.
struct Folders {
    closed: PathBuf,
    open: PathBuf,
}

impl Folders {
    fn new(name: &str) -> Folders {
        let name = format!("bind-{name}-{}", std::process::id());
        // Where others come through, whatever TMPDIR says.
        let open = PathBuf::from(format!("/tmp/inn-test-{name}"));
        let folders = Folders { closed: private::closed().join(name), open };
        for folder in [&folders.closed, &folders.open] {
            fs::create_dir_all(folder).expect("a directory");
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
            fs::write(folder.join("file"), "of the host\n").expect("a file");
        }
        folders
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.closed);
        let _ = fs::remove_dir_all(&self.open);
    }
}

/// `inn run` with these options, and a script for the shell in it.
fn run(options: &[&str], script: &str) -> Output {
    let mut command = Command::new(must::inn());
    command.arg("run").args(options).args(["--", "/bin/sh", "-c", script]).stdin(Stdio::null());
    command.output().expect("inn starts")
}

fn printed(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

#[test]
fn a_bind_shows_the_hosts_files_with_their_owners_and_forbids_what_is_said() {
    if !must::root("a_bind_shows_the_hosts_files_with_their_owners_and_forbids_what_is_said") {
        return;
    }
    let folders = Folders::new("ro");
    let bind = format!("{} /srv/data ro,noexec", folders.open.display());
    let null = folders.open.join("null");
    assert!(Command::new("mknod").arg(&null).args(["c", "1", "3"]).status().unwrap().success());
    fs::set_permissions(&null, fs::Permissions::from_mode(0o666)).unwrap();
    let script =
        "stat -c '%u %g' /srv/data/file; cat /srv/data/file; grep ' /srv/data ' /proc/self/mountinfo | cut -d ' ' -f 6
        (echo x > /srv/data/file) 2>/dev/null; (echo x > /srv/data/new) 2>/dev/null; cat /srv/data/null 2>&1";
    let output = run(&["--bind", &bind], script);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["0 0", "of the host"], "{text}");
    for word in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(lines[2].split(',').any(|shown| shown == word), "{word} is not in {}", lines[2]);
    }
    assert!(lines[3].contains("ermission denied"), "the device file opens: {text}");
    assert_eq!(fs::read_to_string(folders.open.join("file")).unwrap(), "of the host\n");
    assert!(!folders.open.join("new").exists());
}

#[test]
fn what_a_guest_writes_in_a_bind_is_the_hosts_and_only_where_no_other_user_can_reach_it() {
    if !must::root("what_a_guest_writes_in_a_bind_is_the_hosts_and_only_where_no_other_user_can_reach_it") {
        return;
    }
    let folders = Folders::new("rw");
    let bind = format!("{} /srv/data", folders.closed.display());
    printed(&run(&["--bind", &bind], "echo more >> /srv/data/file && touch /srv/data/new"));
    assert_eq!(fs::read_to_string(folders.closed.join("file")).unwrap(), "of the host\nmore\n");
    assert_eq!(fs::metadata(folders.closed.join("new")).unwrap().uid(), 0);
    let bind = format!("{} /srv/data", folders.open.display());
    let output = run(&["--bind", &bind], "touch /srv/data/new");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{words}");
    assert!(words.contains("chmod 700") && words.contains("bind"), "{words}");
    assert!(!folders.open.join("new").exists());
}

#[test]
fn a_directory_that_a_group_may_go_through_closes_nothing() {
    if !must::root("a_directory_that_a_group_may_go_through_closes_nothing") {
        return;
    }
    let folders = Folders::new("group");
    let inside = folders.open.join("inside");
    fs::create_dir(&inside).unwrap();
    let bind = format!("{} /srv/data", inside.display());
    // Of root's group: whoever an access control list names comes through by the same bits.
    for (mode, code) in [(0o750, 125), (0o710, 125), (0o740, 0), (0o700, 0)] {
        fs::set_permissions(&folders.open, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(run(&["--bind", &bind], "exit 0").status.code(), Some(code), "{mode:o}");
    }
}

#[test]
fn what_a_guest_writes_to_closes_nothing_by_itself() {
    if !must::root("what_a_guest_writes_to_closes_nothing_by_itself") {
        return;
    }
    let folders = Folders::new("itself");
    // The guest could open the first for all, and the second has no way through that could be closed.
    fs::set_permissions(&folders.open, fs::Permissions::from_mode(0o700)).unwrap();
    for source in [folders.open.clone(), folders.open.join("file")] {
        let bind = format!("{} /srv/data", source.display());
        let root = ["--root", source.to_str().unwrap(), "--readonly=no"];
        fs::set_permissions(&folders.open, fs::Permissions::from_mode(if source.is_dir() { 0o700 } else { 0o755 }))
            .unwrap();
        for options in [&["--bind", bind.as_str()][..], &root] {
            let output = run(options, "true");
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(125), "{options:?}: {words}");
            assert!(words.contains("chmod 700 a directory above it"), "{options:?}: {words}");
        }
    }
}

#[test]
fn binds_and_memory_lie_in_each_other_whatever_their_order() {
    if !must::root("binds_and_memory_lie_in_each_other_whatever_their_order") {
        return;
    }
    let folders = Folders::new("order");
    let file = format!("{} /a/b/c/file ro", folders.open.join("file").display());
    let directory = format!("{} /a/b/c/d/e ro", folders.open.display());
    let options = ["--bind", &directory, "--bind", &file, "--tmpfs", "/a/b/c 1M"];
    let script = "cat /a/b/c/file /a/b/c/d/e/file; df -k /a/b/c | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2";
    assert_eq!(printed(&run(&options, script)), "of the host\nof the host\n1024");
}

#[test]
fn a_size_is_the_size_of_what_every_guest_has_too() {
    if !must::root("a_size_is_the_size_of_what_every_guest_has_too") {
        return;
    }
    let options = ["--tmpfs", "/tmp 2M", "--tmpfs", "/dev/shm 3M", "--tmpfs", "/run 4M"];
    let script = "for at in /tmp /dev/shm /run; do df -k $at | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2; done
        head -c 3000000 /dev/zero > /tmp/full 2>/dev/null; stat -c %s /tmp/full; grep -c ' /tmp ' /proc/self/mountinfo";
    assert_eq!(printed(&run(&options, script)), "2048\n3072\n4096\n2097152\n1");
}

#[test]
fn a_mount_point_that_a_read_only_root_lacks_is_told() {
    if !must::root("a_mount_point_that_a_read_only_root_lacks_is_told") {
        return;
    }
    let folders = Folders::new("lacks");
    let root = private::busybox("lacks");
    let bind = format!("{} /srv/data ro", folders.open.display());
    for options in [["--bind", &bind], ["--tmpfs", "/srv/cache 1M"]] {
        let options = [&["--root", root.to_str().unwrap(), "--kind", "app"], &options[..]].concat();
        let output = run(&options, "true");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{words}");
        assert!(
            words.contains("its root is read-only") && words.contains(options[4].trim_start_matches('-')),
            "{words}"
        );
    }
    let output = run(&["--bind", "/no/such/directory /srv ro"], "true");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("ENOENT") && words.contains("bind"), "{words}");
    // What is mounted on was made nowhere on the host.
    assert!(!root.join("srv").exists());
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_distributions_root_cannot_write_to_what_is_bound_read_only() {
    if !must::root("a_distributions_root_cannot_write_to_what_is_bound_read_only") {
        return;
    }
    let folders = Folders::new("os");
    for source in [folders.closed.clone(), folders.closed.join("file")] {
        let bind = format!("{} /srv/data ro", source.display());
        let script = "mount -o remount,bind,rw /srv/data; mount -o remount,rw /srv/data; mount --bind /srv/data /mnt &&
            mount -o remount,bind,rw /mnt; for at in /srv/data /mnt; do echo x > $at; echo x > $at/file; done; cat /srv/data/file /srv/data";
        let output = run(&["--kind", "os", "--bind", &bind], script);
        assert!(String::from_utf8_lossy(&output.stdout).contains("of the host"), "{output:?}");
        assert_eq!(fs::read_to_string(folders.closed.join("file")).unwrap(), "of the host\n", "{bind}");
    }
}
