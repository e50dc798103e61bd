//! Roots from images, on this host and on machines with the kernels that are supported.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::machine::{Machine, Recipe};
use crate::must;
use crate::private::{self, Supervisor, busybox};

/// What images hold, and the number of the image in [`images`].
const KINDS: [&str; 3] = ["squashfs", "erofs", "ext4"];

/// Images of `root` in a directory of the test's own, with names that say nothing, in the order of [`KINDS`].
pub fn images(name: &str) -> [PathBuf; 3] {
    let root = busybox(&format!("image-{name}"));
    for program in ["cat", "stat", "sync"] {
        must::install(root.join("bin/sh"), root.join("bin").join(program));
    }
    fs::write(root.join("theirs"), "").unwrap();
    std::os::unix::fs::chown(root.join("theirs"), Some(1000), Some(100)).unwrap();
    let directory = root.with_file_name(format!("images-{name}"));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    let [squashfs, erofs, ext4] = ["a.ext4", "b.txt", "c"].map(|name| directory.join(name));
    let make = |words: &[&dyn AsRef<std::ffi::OsStr>]| {
        let output = Command::new(words[0]).args(&words[1..]).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    make(&[&"mksquashfs", &root, &squashfs, &"-quiet", &"-no-progress"]);
    make(&[&"mkfs.erofs", &erofs, &root]);
    make(&[&"mke2fs", &"-q", &"-t", &"ext4", &"-d", &root, &ext4, &"24M"]);
    fs::set_permissions(&ext4, fs::Permissions::from_mode(0o600)).unwrap();
    [squashfs, erofs, ext4]
}

fn run(image: &Path, more: &[&str], script: &str) -> Output {
    let mut command = Command::new(must::inn());
    command.arg("run").arg(format!("--image={}", image.display())).args(more);
    command.args(["--", "/bin/sh", "-c", script]).stdin(Stdio::null()).output().expect("inn starts")
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// Whether a loop device has the file.
pub fn is_attached(image: &Path) -> bool {
    let devices = fs::read_dir("/sys/block").expect("block devices").flatten();
    let files = devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    files.into_iter().any(|file| Path::new(file.trim_end()) == image)
}

/// Waits until no loop device has the file: the kernel lets it go when the last process is gone for good.
fn let_go(image: &Path) {
    let deadline = std::time::Instant::now() + must::PATIENCE;
    while is_attached(image) {
        assert!(std::time::Instant::now() < deadline, "a loop device still has {}", image.display());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Whether the test runs: it needs root, and loop devices.
pub fn can(test: &str) -> bool {
    must::root(test) && must::may_run(test, Path::new("/dev/loop-control").exists(), "it needs loop devices")
}

/// A guest that has the image and waits for its input to end.
fn holder(image: &Path, more: &[&str]) -> Child {
    let mut command = Command::new(must::inn());
    command.arg("run").arg(format!("--image={}", image.display())).args(more);
    command.args(["--", "/bin/sh", "-c", "echo; read line"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("inn starts");
    assert_eq!(child.stdout.as_mut().expect("a pipe").read(&mut [0]).expect("a pipe"), 1, "it is up");
    child
}

fn finish(mut child: Child) {
    drop(child.stdin.take());
    child.wait().expect("it ends");
}

#[test]
fn an_image_is_known_by_what_is_in_it_and_is_not_changed() {
    if !can("an_image_is_known_by_what_is_in_it_and_is_not_changed") {
        return;
    }
    for (image, kind) in images("kinds").iter().zip(KINDS) {
        let before = fs::read(image).unwrap();
        for (more, writes) in [
            (&["--kind=app"][..], false),
            (&["--kind=os", "--readonly=yes"], false),
            (&["--kind=os"], true),
            (&["--kind=app", "--ephemeral=yes"], true),
            (&["--kind=app", "--userns=none"], false),
        ] {
            let output = run(image, more, "stat -c '%u %g' /theirs; echo x > /new && cat /new; cat /proc/mounts");
            let said = said(&output);
            let mount = said.lines().find(|line| line.contains(" / ")).unwrap_or_else(|| panic!("{said}"));
            assert!(said.starts_with("1000 100\n"), "{kind} {more:?}: {said}");
            assert_eq!(said.contains("\nx\n"), writes, "{kind} {more:?}: {said}");
            let options = mount.split(' ').nth(3).unwrap_or_default();
            assert!(mount.contains(if writes { " overlay " } else { kind }), "{kind} {more:?}: {mount}");
            assert!(options.split(',').any(|option| option == "nodev"), "{mount}");
            let_go(image);
        }
        assert!(fs::read(image).unwrap() == before, "{kind} was changed");
    }
}

#[test]
fn only_an_ext4_that_is_closed_to_others_is_written_to() {
    if !can("only_an_ext4_that_is_closed_to_others_is_written_to") {
        return;
    }
    let images = images("written");
    for image in &images[..2] {
        let output = run(image, &["--readonly=no"], ":");
        assert_eq!(output.status.code(), Some(125));
        assert!(said(&output).contains("only ext4 can be written to"), "{}", said(&output));
    }
    let ext4 = &images[2];
    let write = |script| run(ext4, &["--kind=os", "--readonly=no"], script);
    assert!(write("echo kept > /new; sync").status.success());
    // A disk that is busy may take longer than is waited for by who comes next.
    let_go(ext4);
    let again = write("cat /new; stat -c %u /new");
    assert_eq!(said(&again), "kept\n0\n", "it is there the next time, and root's, whatever range there is");
    for (mode, owner) in [(0o644, 0), (0o620, 0), (0o600, 1000)] {
        fs::set_permissions(ext4, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(ext4, Some(owner), None).unwrap();
        let output = write(":");
        assert!(said(&output).contains("chmod 600"), "{mode:o} {owner}: {}", said(&output));
        assert!(run(ext4, &[], ":").status.success(), "to be read it need not be closed");
    }
    let_go(ext4);
}

#[test]
fn an_image_is_read_by_several_guests_or_written_by_one() {
    if !can("an_image_is_read_by_several_guests_or_written_by_one") {
        return;
    }
    let images = images("shared");
    for image in &images {
        let both = [holder(image, &[]), holder(image, &["--kind=os"])];
        both.into_iter().for_each(finish);
        let_go(image);
    }
    let ext4 = &images[2];
    let refused = |more: &[&str]| {
        let output = run(ext4, more, ":");
        assert!(said(&output).contains("can have one guest only"), "{}", said(&output));
    };
    let reader = holder(ext4, &[]);
    refused(&["--readonly=no"]);
    finish(reader);
    let_go(ext4);
    let writer = holder(ext4, &["--readonly=no"]);
    refused(&["--readonly=no"]);
    refused(&[]);
    finish(writer);
    assert!(run(ext4, &["--readonly=no"], ":").status.success(), "one that has just been let go can be had");
}

#[test]
fn what_is_no_image_is_refused_with_the_reason() {
    if !can("what_is_no_image_is_refused_with_the_reason") {
        return;
    }
    let [squashfs, ..] = images("wrong");
    let refused = |image: &Path, words: &str| {
        let output = run(image, &[], ":");
        assert_eq!(output.status.code(), Some(125));
        assert!(said(&output).contains(words), "{}: {}", image.display(), said(&output));
    };
    let text = squashfs.with_file_name("text.squashfs");
    fs::write(&text, "hello").unwrap();
    refused(&text, "find a squashfs, erofs or ext4 in its image");
    refused(squashfs.parent().unwrap(), "find a squashfs, erofs or ext4 in its image");
    refused(Path::new("/dev/null"), "find a squashfs, erofs or ext4 in its image");
    refused(Path::new("/no/such/image"), "open its image: openat: ENOENT");
    let mut damaged = fs::read(&squashfs).unwrap();
    damaged[8..96].fill(0xff);
    fs::write(&squashfs, damaged).unwrap();
    refused(&squashfs, "the file system in it is damaged");
    let_go(&squashfs);
}

#[test]
fn an_image_is_let_go_whoever_is_killed() {
    if !can("an_image_is_let_go_whoever_is_killed") {
        return;
    }
    let [squashfs, _, ext4] = images("killed");
    for (image, more) in [(&squashfs, "--kind=os"), (&ext4, "--readonly=no")] {
        let mut child = holder(image, &[more]);
        assert!(is_attached(image));
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        private::remove_run(child.id());
        let_go(image);
    }
    let config = format!("[guest a]\nkind = app\nimage = {}\ncommand = /bin/sleep 1000\n", squashfs.display());
    let mut supervisor = Supervisor::start("image", &config);
    supervisor.await_answer();
    supervisor.wait_for("the guest", |_| is_attached(&squashfs));
    // The next one kills the guest that this one leaves, and has it again.
    supervisor.start_again();
    supervisor.await_answer();
    supervisor.wait_for("the guest", |this| this.inn(&["exec", "a", "/bin/sh", "-c", ":"]).status.success());
    drop(supervisor);
    let_go(&squashfs);
}

/// Where the kernel cannot map the owners of a file system it is copied to memory.
fn roots_are(kernel: &'static str, expected: [&str; 3]) {
    let recipe = Recipe { name: "images", kernel, folder: "images", command_line: "" };
    let images = images(&format!("machine-{kernel}"));
    let disk = images[0].with_file_name("disk");
    let content = images[0].with_file_name("content");
    fs::create_dir(&content).unwrap();
    for (image, kind) in images.iter().zip(KINDS) {
        fs::copy(image, content.join(kind)).unwrap();
    }
    let made = Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&content).arg(&disk).arg("96M").status();
    assert!(made.expect("mke2fs starts").success());
    let Some(mut machine) = Machine::boot_with_disk(recipe, &disk) else { return };
    machine.ok("mkdir -p /images && mount -t ext4 /dev/vda /images && chmod 600 /images/*");
    for (kind, expected) in KINDS.into_iter().zip(expected) {
        machine.check("an image becomes a root", |machine| {
            machine.ok(&format!("inn start --wait {kind}"));
            let mounts = machine.ok(&format!("inn exec {kind} /bin/cat /proc/mounts"));
            let root = mounts.lines().find(|line| line.contains(" / ")).expect("a root");
            assert!(root.contains(&format!(" {expected} ")), "{kind}: {root}");
            assert_eq!(machine.ok(&format!("inn exec {kind} /bin/stat -c '%u %g' /theirs")), "1000 100");
            assert_ne!(machine.run(&format!("inn exec {kind} /bin/sh -c 'echo x > /new'")).code, 0);
            machine.ok(&format!("inn stop {kind}"));
        });
        machine.check("an image can have a layer in memory", |machine| {
            machine.ok(&format!("inn run --kind=os --image=/images/{kind} -- /bin/sh -c 'echo x > /new'"));
        });
    }
    machine.check("an ext4 is written to where its owners can be mapped, else refused", |machine| {
        let write = "inn run --readonly=no --image=/images/ext4 -- /bin/sh -c";
        let output = machine.run(&format!("{write} 'echo kept > /new'"));
        if kernel == "5.10" {
            assert!(output.code != 0 && output.text.contains("map the owners of its root"), "{}", output.text);
        } else {
            assert_eq!(
                (output.code, machine.ok(&format!("{write} 'cat /new'"))),
                (0, "kept".into()),
                "{}",
                output.text
            );
        }
    });
    machine.check("no loop device is left", |machine| {
        machine.until("cat /sys/block/loop*/loop/backing_file 2>/dev/null | wc -l", |output| output.text == "0");
    });
    machine.end();
}

#[test]
fn images_are_copied_on_5_10() {
    roots_are("5.10", ["tmpfs"; 3]);
}

#[test]
fn images_are_mapped_or_copied_on_6_1() {
    roots_are("6.1", ["tmpfs", "erofs", "ext4"]);
}

#[test]
fn images_are_mapped_on_6_12() {
    roots_are("6.12", KINDS);
}
