//! Machines under QEMU with `inn` as PID 1, and checks on them.
//!
//! A machine boots from an initramfs made of `tests/machines/common` and one other folder of `tests/machines`. Commands
//! go to `/bin/agent` there, over the second serial port; the first is the console. A machine serves many checks, each
//! with a name: one that fails says so, and the others are done all the same.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use serde_json::Value;

use crate::must;

/// Bounds against hanging, not expectations: software emulation on a loaded machine is slow.
const BOOT_TIMEOUT: Duration = Duration::from_secs(600);
/// See [`BOOT_TIMEOUT`].
pub const TIMEOUT: Duration = Duration::from_secs(600);
/// All of a machine's life: a host that does not come up must not cost a time-out for each check.
const MACHINE_TIMEOUT: Duration = Duration::from_secs(1800);
/// How long a line is waited for that does not come any more once that is over.
const LAST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the agent lets a command run: less than [`TIMEOUT`], so that it answers still.
const COMMAND_SECONDS: u64 = 570;
/// Machines at once: the test machines have two cores.
const MACHINES: usize = 2;
/// Bytes of a port that nobody has read: what a machine says in all its life.
const PORT_BYTES: usize = 1 << 20;
/// Of a shell that nobody configured, at the root.
pub const PROMPT: &str = "/ # ";
/// Words for QEMU: time goes by as the machine works, and where nobody works it takes none. One that this host lets stand still for
/// a while notices nothing of it. Not for one with a disk: while that answers nobody works, and time would fly.
pub const OWN_TIME: [&str; 2] = ["-icount", "shift=auto,sleep=off"];
/// Lines of a console that a failure shows.
const TAIL_LINES: usize = 40;

/// A recipe for a machine.
#[derive(Clone, Copy)]
pub struct Recipe {
    /// For messages and file names.
    pub name: &'static str,
    /// The kernel's version: "5.10", "6.1" or "6.12".
    pub kernel: &'static str,
    /// The folder of `tests/machines` with its config.
    pub folder: &'static str,
    /// More words for the kernel.
    pub command_line: &'static str,
}

/// A machine that runs.
pub struct Machine {
    name: String,
    qemu: Child,
    /// Its first serial port.
    pub console: Line,
    agent: Line,
    monitor: Line,
    deadline: Instant,
    number: u32,
    checks: usize,
    failures: Vec<String>,
    log: PathBuf,
    sockets: PathBuf,
    _turn: Turn,
}

/// What a command gave.
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// What it printed, standard error included.
    pub text: String,
}

impl Machine {
    /// Boots a machine and waits for its agent; nothing where this host cannot.
    pub fn boot(recipe: Recipe) -> Option<Machine> {
        Machine::power_on(recipe).map(Machine::ready)
    }

    /// The same, with the file `disk` as its disk.
    pub fn boot_with_disk(recipe: Recipe, disk: &Path) -> Option<Machine> {
        Machine::boot_with(recipe, disk, &[], &[])
    }

    /// The same, with more words for QEMU, `devices`, and more in its image: `more` are words for `images/image.py`.
    pub fn boot_with(recipe: Recipe, disk: &Path, devices: &[&str], more: &[&str]) -> Option<Machine> {
        let drive = format!("file={},format=raw,if=virtio", disk.display());
        Machine::power_on_with(recipe, &[&["-drive", &drive], devices].concat(), more).map(Machine::ready)
    }

    /// The same without a disk.
    pub fn boot_with_devices(recipe: Recipe, devices: &[&str], more: &[&str]) -> Option<Machine> {
        Machine::power_on_with(recipe, devices, more).map(Machine::ready)
    }

    /// Waits for its agent.
    pub fn ready(mut self) -> Machine {
        self.agent.wait_for("<<ready>>\n", BOOT_TIMEOUT);
        self
    }

    /// Boots a machine that may have no agent; nothing where this host cannot.
    pub fn power_on(recipe: Recipe) -> Option<Machine> {
        Machine::power_on_with(recipe, &[], &[])
    }

    /// The same, with more words for QEMU and for its image.
    pub fn power_on_with(recipe: Recipe, devices: &[&str], more: &[&str]) -> Option<Machine> {
        let name = format!("{}-{}", recipe.name, recipe.kernel);
        if !must::qemu(&name) {
            return None;
        }
        let turn = Turn::take();
        let image = image(&recipe, more);
        let sockets = must::target().join(format!("machines/{name}.{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&sockets);
        std::fs::create_dir_all(&sockets).expect("a directory for its ports");
        let logs = must::target().join("machine-logs");
        std::fs::create_dir_all(&logs).expect("a directory for its log");
        let log = logs.join(format!("{name}.log"));
        let ports = ["console", "agent", "monitor"].map(|port| Port::make(sockets.join(port).display().to_string()));
        let character = |port: &str, more: &str| format!("pipe,id={port},path={}{more}", sockets.join(port).display());
        // The kernel ends QEMU when this thread ends, however that happens.
        let mut qemu = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(["-accel", "tcg", "-cpu", "max,cx16=off,la57=off", "-m", "512", "-display", "none", "-vga", "none"])
            .args(["-no-reboot", "-nodefaults", "-nic", "none"])
            .args([
                "-chardev",
                &character("console", &format!(",logfile={}", log.display())),
                "-serial",
                "chardev:console",
            ])
            .args(["-chardev", &character("agent", ""), "-serial", "chardev:agent"])
            .args(["-chardev", &character("monitor", ""), "-mon", "chardev=monitor,mode=readline"])
            .arg("-kernel")
            .arg(must::target().join("kernels").join(recipe.kernel).join("vmlinuz"))
            .arg("-initrd")
            .arg(image)
            .args(devices)
            // Whether its timer works is not asked: where this host has other things to do just then, it does not seem to.
            .args(["-append", &format!("console=ttyS0 panic=-1 no_timer_check {}", recipe.command_line)])
            .spawn()
            .expect("QEMU starts");
        let deadline = Instant::now() + MACHINE_TIMEOUT;
        let [console, agent, monitor] = ports.map(|port| Line::open(port, &mut qemu, deadline));
        let (checks, failures, number) = (0, Vec::new(), 0);
        Some(Machine {
            name,
            qemu,
            console,
            agent,
            monitor,
            deadline,
            number,
            checks,
            failures,
            log,
            sockets,
            _turn: turn,
        })
    }

    /// Has the machine's shell run `command`, after which it may never be heard of again.
    pub fn tell(&mut self, command: &str) {
        assert!(!command.contains('\n'), "a command is one line");
        self.number += 1;
        self.agent.send(&format!("{} {COMMAND_SECONDS} {command}\n", self.number));
    }

    /// Runs `command` with the machine's shell, as root of the host.
    pub fn run(&mut self, command: &str) -> Output {
        self.tell(command);
        let number = self.number;
        let text = self.agent.wait_for(&format!("<<{number} "), TIMEOUT);
        let code = self.agent.wait_for(">>\n", TIMEOUT);
        let text = text.trim_end_matches(&format!("<<{number} ")).trim_end_matches('\n').to_owned();
        Output { code: code.trim_end_matches(">>\n").parse().expect("an exit code"), text }
    }

    /// The output of a command that must succeed.
    pub fn ok(&mut self, command: &str) -> String {
        let Output { code, text } = self.run(command);
        assert!(code == 0, "`{command}` gave {code}: {text}");
        text
    }

    /// Runs `command` again and again until `holds` of its output: how soon is the machine's affair, only never fails.
    pub fn until(&mut self, command: &str, holds: impl Fn(&Output) -> bool) -> Output {
        let now = Instant::now();
        let deadline = (now + TIMEOUT).min(self.deadline.max(now + LAST_TIMEOUT));
        loop {
            let look = Instant::now();
            let output = self.run(command);
            if holds(&output) {
                return output;
            }
            let is_over = Instant::now() >= deadline;
            assert!(!is_over, "`{command}` never gave what it should; last: {} {}", output.code, output.text);
            // What is waited for needs the machine's time as well.
            thread::sleep(look.elapsed().max(Duration::from_millis(100)));
        }
    }

    /// What `inn list` says about `guest`.
    pub fn guest(&mut self, guest: &str) -> Guest {
        let text = self.ok("inn list --json");
        match Guest::find(&text, guest) {
            Some(found) => found,
            None => panic!("inn list says nothing about {guest}: {text}"),
        }
    }

    /// Waits until what `inn list` says about `guest` holds.
    pub fn guest_until(&mut self, guest: &str, holds: impl Fn(&Guest) -> bool) -> Guest {
        let output =
            self.until("inn list --json", |output| Guest::find(&output.text, guest).is_some_and(|it| holds(&it)));
        Guest::find(&output.text, guest).expect("it was there")
    }

    /// Presses a key of a keyboard, as the monitor of QEMU names it: "ctrl-alt-delete". The machine has an agent.
    pub fn press(&mut self, key: &str) {
        // What comes before is lost. On the console the driver tells of itself a moment before it hears, here when it does.
        self.until("grep -A 5 'AT Translated Set 2 keyboard' /proc/bus/input/devices | grep -w kbd", |it| it.code == 0);
        self.monitor.send(&format!("sendkey {key}\n"));
    }

    /// The same where there is no agent: again and again, until the console says `words`, be they the machine's last.
    pub fn press_until(&mut self, key: &str, words: &str) {
        self.console.has_said("AT Translated Set 2 keyboard", BOOT_TIMEOUT);
        let deadline = Instant::now() + TIMEOUT;
        while !self.console.all().contains(words) {
            assert!(Instant::now() < deadline, "never came: {words:?}; the console: {}", self.console.all());
            let _ = rustix::io::write(&self.monitor.input, format!("sendkey {key}\n").as_bytes());
            thread::sleep(Duration::from_secs(2));
        }
    }

    /// Runs a command with the shell on the console, which has shown its prompt, and does so again: what is typed before a shell
    /// has its terminal is lost with what was there before.
    pub fn type_on_console(&mut self, command: &str) -> Output {
        self.number += 1;
        let number = self.number;
        // The echo of the line must not look like the mark.
        self.console.send(&format!("{command}; echo \"<<\"{number} $?\">>\"\n"));
        let text = self.console.wait_for(&format!("<<{number} "), TIMEOUT);
        let code = self.console.wait_for(">>", TIMEOUT);
        self.console.wait_for(PROMPT, TIMEOUT);
        Output { code: code.trim_end_matches(">>").parse().expect("an exit code"), text }
    }

    /// One check: what it panics with is kept, and the next check is done all the same.
    pub fn check(&mut self, name: &str, check: impl FnOnce(&mut Machine)) {
        self.checks += 1;
        let result = catch_unwind(AssertUnwindSafe(|| check(self)));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        must::say(&format!("{}: {name} ... {verdict}", self.name));
        if let Err(reason) = result {
            let reason = reason.downcast_ref::<String>().cloned();
            let reason = reason.unwrap_or_else(|| "see above".into());
            self.failures.push(format!("{name}: {reason}"));
        }
    }

    /// Waits for the machine to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.qemu.try_wait().expect("QEMU can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "the machine does not end");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The check that this command, whatever it sends to PID 1, takes the host down, which ends with these words.
    pub fn goes_down(&mut self, command: &str, last_words: &str) {
        self.check(&format!("`{command}` takes the host down"), |machine| {
            machine.tell(command);
            machine.console.wait_for(&format!("reboot: {last_words}"), TIMEOUT);
        });
    }

    /// Ends the machine; fails if a check failed.
    pub fn end(mut self) {
        assert!(self.checks > 0, "a machine without a check");
        let failures = std::mem::take(&mut self.failures);
        if failures.is_empty() {
            return;
        }
        panic!("{} of {} checks failed on {}:\n{}", failures.len(), self.checks, self.name, failures.join("\n"));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = std::fs::remove_dir_all(&self.sockets);
        if thread::panicking() {
            let console = String::from_utf8_lossy(&self.console.heard.lock().bytes).into_owned();
            let lines: Vec<&str> = console.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            must::say(&format!("{}: the console is in {}; it ends with:", self.name, self.log.display()));
            must::say(&tail.join("\n"));
        } else {
            let _ = std::fs::remove_file(&self.log);
        }
    }
}

/// What `inn list --json` says about one guest.
#[derive(Debug)]
pub struct Guest(Value);

impl Guest {
    /// What `text` has about `guest`: JSON that is an array, or several values.
    pub fn find(text: &str, guest: &str) -> Option<Guest> {
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>().map_while(Result::ok);
        let guests = values.flat_map(|value| match value {
            Value::Array(guests) => guests,
            other => vec![other],
        });
        guests.into_iter().find(|facts| facts["name"] == guest).map(Guest)
    }

    /// A word: `state`, `exit_reason`, …; empty for none.
    pub fn text(&self, fact: &str) -> &str {
        self.0[fact].as_str().unwrap_or_default()
    }

    /// A number: `pid`, `restarts`, …
    pub fn number(&self, fact: &str) -> u64 {
        self.0[fact].as_u64().unwrap_or_else(|| panic!("no number {fact} in {}", self.0))
    }

    /// The same, where it is known.
    pub fn number_or_none(&self, fact: &str) -> Option<u64> {
        self.0[fact].as_u64()
    }

    /// Its state.
    pub fn state(&self) -> &str {
        self.text("state")
    }

    /// Whether its program runs and is ready.
    pub fn is_ready(&self) -> bool {
        self.state() == "ready"
    }

    /// The directory of its cgroup.
    pub fn cgroup(&self) -> String {
        format!("/sys/fs/cgroup/{}", self.text("cgroup"))
    }

    /// Its first process.
    pub fn pid(&self) -> u64 {
        self.number("pid")
    }
}

/// What an image was made of: its words, and its files with their times.
type Made = (Vec<String>, Vec<(PathBuf, Option<SystemTime>)>);

fn made_of(trees: &[PathBuf], more: &[&str]) -> Made {
    let mut files = vec![(must::inn().to_owned(), None)];
    let mut left: Vec<PathBuf> = trees
        .iter()
        .cloned()
        .chain(more.iter().map(|word| word.split(':').next().unwrap_or_default().into()))
        .collect();
    while let Some(path) = left.pop() {
        if path.is_dir() && !path.is_symlink() {
            left.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        let time = path.symlink_metadata().and_then(|found| found.modified()).ok();
        files.push((path, time));
    }
    files.sort();
    (more.iter().map(|word| (*word).to_owned()).collect(), files)
}

/// Makes the image, unless that was done already, of the same.
fn image(recipe: &Recipe, more: &[&str]) -> PathBuf {
    static MADE: Mutex<BTreeMap<PathBuf, Made>> = Mutex::new(BTreeMap::new());
    let mut all = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    // Each has a file of its own: QEMU may not have read that of another yet.
    let mut hasher = DefaultHasher::new();
    more.hash(&mut hasher);
    let name = format!("images/{}-{}-{:x}.cpio.gz", recipe.folder, recipe.kernel, hasher.finish());
    let image = must::target().join(name);
    let machines = must::project().join("tests/machines");
    let made = made_of(&[machines.join("common"), machines.join(recipe.folder)], more);
    if all.get(&image) == Some(&made) {
        return image;
    }
    // The modules that its config asks for.
    let config = std::fs::read_to_string(machines.join(recipe.folder).join("etc/inn.conf")).unwrap_or_default();
    let modules = config.lines().filter_map(|line| line.strip_prefix("modules")?.trim_start().strip_prefix('='));
    let is_name = |word: &&str| *word != "auto" && !word.starts_with(['-', '+']);
    let modules = modules.flat_map(str::split_whitespace).filter(is_name).flat_map(|name| ["--module", name]);
    let status = Command::new("python3")
        .arg(must::project().join("images/image.py"))
        .arg(&image)
        .args(["--kernel", recipe.kernel])
        .args(modules)
        .arg("--inn")
        .arg(must::inn())
        .args(["--template", "/", "--template", "/guests/busybox", "--tree"])
        .arg(machines.join("common"))
        .arg("--tree")
        .arg(machines.join(recipe.folder))
        .args(more)
        .status()
        .expect("python3 starts");
    assert!(status.success(), "images/image.py failed");
    all.insert(image.clone(), made);
    image
}

/// A port of a machine that is not there yet: two pipes. They hold all that it says, so it never waits for this end, which may be
/// late: a serial port that does drops what the kernel says.
struct Port {
    path: String,
    output: OwnedFd,
}

impl Port {
    fn make(path: String) -> Port {
        for end in ["in", "out"] {
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, &*format!("{path}.{end}"), FileType::Fifo, mode, 0).expect("a pipe");
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let output = rustix::fs::open(&*format!("{path}.out"), flags, Mode::empty()).expect("a pipe");
        rustix::pipe::fcntl_setpipe_size(&output, PORT_BYTES).expect("a large pipe");
        Port { path, output }
    }
}

/// One end of a serial port: a thread reads it.
pub struct Line {
    input: OwnedFd,
    heard: Arc<Heard>,
    looked_at: usize,
    deadline: Instant,
}

#[derive(Default)]
struct Heard {
    state: Mutex<HeardState>,
    more: Condvar,
}

#[derive(Default)]
struct HeardState {
    bytes: Vec<u8>,
    closed: bool,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, HeardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn open(port: Port, qemu: &mut Child, deadline: Instant) -> Line {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let input = loop {
            match rustix::fs::open(&*format!("{}.in", port.path), flags, Mode::empty()) {
                Ok(input) => break input,
                // Nobody reads it yet.
                Err(Errno::NXIO) => {}
                Err(error) => panic!("a pipe: {error}"),
            }
            let ended = qemu.try_wait().expect("QEMU can be waited for");
            assert!(ended.is_none(), "QEMU ended at once");
            thread::sleep(Duration::from_millis(10));
        };
        let heard = Arc::<Heard>::default();
        let (reader, writer) = (port.output, heard.clone());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                // It hangs up once somebody has had it open.
                let _ = rustix::event::poll(&mut [PollFd::new(&reader, PollFlags::IN)], None);
                let count = match rustix::io::read(&reader, &mut buffer) {
                    Err(Errno::AGAIN) => continue,
                    other => other.unwrap_or(0),
                };
                let mut state = writer.lock();
                state.bytes.extend_from_slice(&buffer[..count]);
                state.closed = count == 0;
                writer.more.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Line { input, heard, looked_at: 0, deadline }
    }

    /// Types `text`.
    pub fn send(&mut self, text: &str) {
        assert_eq!(rustix::io::write(&self.input, text.as_bytes()), Ok(text.len()), "the machine is there");
    }

    /// What has not been looked at, up to and with `end`, which must come.
    pub fn wait_for(&mut self, end: &str, timeout: Duration) -> String {
        let looked_at = self.looked_at;
        let text = self.wait_behind(looked_at, end, timeout);
        self.looked_at = text.1;
        text.0
    }

    /// Waits until `words` were heard, be that before what was looked at.
    pub fn has_said(&self, words: &str, timeout: Duration) {
        self.wait_behind(0, words, timeout);
    }

    /// What is behind `start`, up to and with `end`, and where that is over.
    fn wait_behind(&self, start: usize, end: &str, timeout: Duration) -> (String, usize) {
        let now = Instant::now();
        let deadline = (now + timeout).min(self.deadline.max(now + LAST_TIMEOUT));
        let mut state = self.heard.lock();
        loop {
            let new = &state.bytes[start..];
            if let Some(at) = new.windows(end.len()).position(|window| window == end.as_bytes()) {
                return (String::from_utf8_lossy(&new[..at + end.len()]).into_owned(), start + at + end.len());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!state.closed, "the machine ended before {end:?}; last: {}", String::from_utf8_lossy(new));
            assert!(!left.is_zero(), "never came: {end:?}; last: {}", String::from_utf8_lossy(new));
            state = self.heard.more.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All that was ever heard.
    pub fn all(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().bytes).into_owned()
    }
}

/// The right to run a machine.
struct Turn;

static TURNS: Mutex<usize> = Mutex::new(MACHINES);
static TURN_IS_FREE: Condvar = Condvar::new();

impl Turn {
    fn take() -> Turn {
        let turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut turns = TURN_IS_FREE.wait_while(turns, |turns| *turns == 0).unwrap_or_else(PoisonError::into_inner);
        *turns -= 1;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TURNS.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        TURN_IS_FREE.notify_one();
    }
}
