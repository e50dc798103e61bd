//! What a test needs, and what is to happen where that is missing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// How long anything is waited for: a bound against hanging, for a machine that is busy with other tests too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The top directory of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where outputs go.
pub fn target() -> PathBuf {
    project().join("target")
}

/// The released program, built if need be: what is tested is what is shipped.
pub fn inn() -> &'static Path {
    static INN: OnceLock<PathBuf> = OnceLock::new();
    INN.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(project()).args(["build", "--release", "--quiet", "--target-dir"]).arg(target());
        assert!(cargo.status().expect("cargo starts").success(), "cargo build --release failed");
        target().join("release/inn")
    })
}

/// Whether this process is root; says so where it is not, or fails where the test must run.
pub fn root(test: &str) -> bool {
    may_run(test, rustix::process::geteuid().is_root(), "it needs root")
}

/// Whether QEMU is here; says so where it is not, or fails where the test must run.
pub fn qemu(test: &str) -> bool {
    let found = Command::new("qemu-system-x86_64").arg("--version").output().is_ok_and(|done| done.status.success());
    may_run(test, found, "it needs qemu-system-x86_64 (Debian: qemu-system-x86)")
}

/// Whether `can`; says so where not, or fails where the test must run.
pub fn may_run(test: &str, can: bool, why_not: &str) -> bool {
    // The files that it makes are for users of guests too, whatever this process was started with.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let must = std::env::var_os("INN_MUST_RUN").is_some_and(|value| value == "1");
    assert!(can || !must, "{test} must run, and cannot: {why_not}");
    if !can {
        say(&format!("{test} was skipped: {why_not}"));
    }
    can
}

/// A pipe that nobody reads any more: a child that another test starts has a copy of each end until it executes its program.
pub fn unread() -> std::io::PipeWriter {
    let (_, mut write) = std::io::pipe().expect("a pipe");
    while write.write(b".").is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    write
}

/// Prints a line that is seen even when the test passes.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Puts a copy of the program `from` at `to`; what is there, a link too, is replaced.
///
/// Another process writes it. Of a descriptor of ours each child that another test starts meanwhile would have a copy until
/// it executes its own program, and what somebody can write to cannot be executed (ETXTBSY).
pub fn install(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    installing(from.as_ref(), to.as_ref()).stdin(Stdio::null()).status().map(installed).expect("install(1) starts");
}

/// Makes a program of `text`, as [`install`] does.
pub fn script(to: impl AsRef<Path>, text: &str) {
    let mut child = installing(Path::new("/dev/stdin"), to.as_ref()).stdin(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    child.wait().map(installed).expect("it ends");
}

fn installing(from: &Path, to: &Path) -> Command {
    let mut command = Command::new("install");
    command.args(["-m", "755", "-T", "--"]).args([from, to]);
    command
}

fn installed(status: ExitStatus) {
    assert!(status.success(), "install(1) failed");
}
