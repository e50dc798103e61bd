//! A supervisor on this very host, apart from everything else on it: its own mount namespace, and a cgroup that is the
//! root of all that it sees. It is gone, with all of its guests, when the value is dropped, also by a failed test.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::must;

/// The names that were given, and by which test.
static NAMES: Mutex<BTreeMap<String, Option<String>>> = Mutex::new(BTreeMap::new());

/// A running `inn supervise`.
pub struct Supervisor {
    child: Child,
    cgroup: PathBuf,
    /// Where its config, socket and log are, and what else a test puts there.
    pub directory: PathBuf,
}

/// Enters cgroup `$1`, hides the rest, has a `/run` of its own, and becomes the supervisor.
const ENTER: &str = r#"
echo $$ > "$1/cgroup.procs" && exec unshare --cgroup --mount sh -c '
    mount -t cgroup2 none /sys/fs/cgroup && mkdir -p "$1/run" && mount --bind "$1/run" /run && exec setpriv --pdeathsig TERM "$0" supervise --config "$1/inn.conf" --socket "$1/control"
' "$2" "$3"
"#;

impl Supervisor {
    /// Starts one with `config`; `name` tells it from others.
    pub fn start(name: &str, config: &str) -> Supervisor {
        Supervisor::spawn(name, config, |_| {})
    }

    /// The same, with a last word on how the process is made.
    pub fn spawn(name: &str, config: &str, prepare: impl FnOnce(&mut Command)) -> Supervisor {
        is_one_tests("supervisor", name);
        let name = format!("inn-test-{name}-{}", std::process::id());
        let directory = closed().join(&name);
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("inn.conf"), config).expect("a config");
        let cgroup = cgroup2().join(&name);
        fs::create_dir(&cgroup).expect("a cgroup");
        let mut command = enter(&cgroup, &directory);
        prepare(&mut command);
        let child = command.spawn().expect("sh starts");
        Supervisor { child, cgroup, directory }
    }

    /// Kills the supervisor alone, and starts another where it was.
    pub fn start_again(&mut self) {
        self.start_again_after(|| ());
    }

    /// The same, and has `meanwhile` happen while there is none.
    pub fn start_again_after(&mut self, meanwhile: impl FnOnce()) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it ends");
        meanwhile();
        self.child = enter(&self.cgroup, &self.directory).spawn().expect("sh starts");
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs `inn` with `arguments` against it.
    pub fn inn(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("inn starts")
    }

    /// `inn` with `arguments`, to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let (verb, rest) = arguments.split_first().expect("a verb");
        let mut command = Command::new(must::inn());
        command.arg(verb).arg("--socket").arg(self.directory.join("control")).args(rest).stdin(Stdio::null());
        if ["list", "status"].contains(verb) && !rest.contains(&"--timeout") {
            // These give up after ten seconds, in which a busy machine may not let the supervisor run.
            command.args(["--timeout", "1m"]);
        }
        command
    }

    /// What `inn status` says about `guest`.
    pub fn facts(&self, guest: &str) -> serde_json::Value {
        let output = self.inn(&["status", "--json", guest]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The same, once it is ready.
    pub fn await_ready(&self, guest: &str) -> serde_json::Value {
        self.wait_for(&format!("{guest} to be ready"), |this| this.facts(guest)["state"] == "ready");
        self.facts(guest)
    }

    /// The cgroup of `guest`.
    pub fn cgroup(&self, guest: &str) -> PathBuf {
        self.cgroup.join(self.facts(guest)["cgroup"].as_str().expect("a cgroup"))
    }

    /// The processes in the cgroup of `guest`.
    pub fn members(&self, guest: &str) -> Vec<u32> {
        let mut found = Vec::new();
        processes_below(&self.cgroup(guest), &mut found);
        found
    }

    /// The one of them that is not `first` and runs the probe.
    pub fn entered(&self, guest: &str, first: u32) -> Option<u32> {
        let is = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "probe\n");
        self.members(guest).into_iter().filter(|pid| *pid != first).find(is)
    }

    /// Runs `inn` with `arguments` beside it: in its cgroup and its mount namespace.
    pub fn inside(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--cgroup", "--target"]).arg(self.pid().to_string()).arg("--").arg("sh");
        command.args(["-c", "echo $$ > /sys/fs/cgroup/cgroup.procs && exec \"$0\" \"$@\""]).arg(must::inn());
        command.args(arguments).stdin(Stdio::null()).output().expect("nsenter starts")
    }

    /// Runs a command in `guest`.
    pub fn inside_of(&self, guest: &str, command: &[&str]) -> Output {
        let (socket, mut exec) = (self.directory.join("control"), vec!["exec", "--socket"]);
        exec.push(socket.to_str().expect("a path"));
        exec.push(guest);
        exec.extend(command);
        self.inside(&exec)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("it ends")
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        // A line that was cut may end within a character.
        String::from_utf8_lossy(&fs::read(self.directory.join("log")).unwrap_or_default()).into_owned()
    }

    /// Waits until it answers.
    pub fn await_answer(&self) {
        self.wait_for("an answer", |this| this.inn(&["list"]).status.success());
    }

    /// Waits until `condition` holds; fails after a generous time, with what was waited for.
    pub fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + must::PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited in vain for {what}; the supervisor said:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The cgroups of guests that there are.
    pub fn cgroups(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cgroup.join("inn")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    /// The processes below the supervisor's cgroup that are not the supervisor.
    pub fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        processes_below(&self.cgroup, &mut found);
        found.retain(|pid| *pid != self.pid());
        found
    }
}

fn enter(cgroup: &Path, directory: &Path) -> Command {
    let log = fs::File::options().create(true).append(true).open(directory.join("log")).expect("a log");
    let mut command = Command::new("sh");
    command.args(["-c", ENTER, "enter"]).arg(cgroup).arg(must::inn()).arg(directory);
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log).process_group(0);
    command
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let mut pids = Vec::new();
        // All of them at once, the supervisor too: whatever it holds up, nothing is left.
        for _ in 0..100 {
            pids.clear();
            processes_below(&self.cgroup, &mut pids);
            if pids.is_empty() {
                break;
            }
            let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
            let _ = self.child.try_wait();
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        remove(&self.cgroup);
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Fails where another test has what is called so: they would get on until they happened to run at once.
pub fn is_one_tests(what: &str, name: &str) {
    // A thread is called like its test.
    let test = std::thread::current().name().map(str::to_owned);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let before = names.insert(format!("{what} {name}"), test.clone());
    let is_own = before.is_none_or(|before| before.is_some() && before == test);
    assert!(is_own, "{name} is the name of another test's {what}");
}

/// A directory that other users of this host cannot reach, as a root that is written to must be.
pub fn closed() -> PathBuf {
    let directory = must::target().join("private");
    fs::create_dir_all(&directory).expect("a directory");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).expect("it is ours");
    directory
}

/// The static busybox that the images have too.
fn fetched() -> &'static Path {
    static BUSYBOX: OnceLock<PathBuf> = OnceLock::new();
    BUSYBOX.get_or_init(|| {
        let mut command = Command::new("python3");
        let output = command.current_dir(must::project()).args(["images/debian.py", "busybox"]).output();
        let output = output.expect("python3 starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("busybox")
    })
}

/// A root with busybox in it.
pub fn busybox(name: &str) -> PathBuf {
    is_one_tests("root", name);
    let root = closed().join(format!("root-{name}"));
    for folder in ["", "bin", "dev", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
        // Users of the guest go in, whatever this process's umask is.
        fs::set_permissions(root.join(folder), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for program in ["sh", "sleep", "reboot"] {
        must::install(fetched(), root.join("bin").join(program));
    }
    root
}

/// Where cgroup v2 is on this host: alone, or beside version 1.
fn cgroup2() -> &'static Path {
    let beside = Path::new("/sys/fs/cgroup/unified");
    if beside.join("cgroup.procs").exists() { beside } else { Path::new("/sys/fs/cgroup") }
}

fn processes_below(cgroup: &Path, found: &mut Vec<u32>) {
    let lines = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    found.extend(lines.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        processes_below(&entry.path(), found);
    }
}

/// Removes the cgroup of an `inn run` that was killed, which nobody else does; it takes its guest along.
pub fn remove_run(pid: u32) {
    remove(&cgroup2().join(format!("inn-run-{pid}")));
}

/// Removes a cgroup whose processes end, once they have.
fn remove(cgroup: &Path) {
    let deadline = Instant::now() + must::PATIENCE;
    while cgroup.exists() && Instant::now() < deadline {
        remove_below(cgroup);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!cgroup.exists() || std::thread::panicking(), "{} cannot be removed", cgroup.display());
}

fn remove_below(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        remove_below(&entry.path());
    }
    let _ = fs::remove_dir(cgroup);
}
