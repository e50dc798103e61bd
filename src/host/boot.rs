//! What PID 1 does between its entry and the event loop; [`crate::run`] has the order. Nothing here stops a boot: what fails
//! is said, and the rest is done.

use rustix::fs::{CWD, Mode};
use rustix::process::{Resource, Rlimit};
use rustix::system::RebootCommand;

use super::child::{self, Outcome};
use super::cmdline::{self, Word};
use super::console::{Console, Level};
use super::disk::Disk;
use super::features::{self, Feature};
use super::filesystems::Missing;
use super::timeline::{self, Stage, Timeline};
use super::watchdog::Watchdog;
use super::{bounds, files, hardening, links, machine_id, modules, mounts, seed, sysctl};
use crate::config::key::Key;
use crate::config::{Config, Diagnostics};
use crate::fault::ErrnoWords;
use crate::limits;
use crate::load::CONFIG;
use crate::plan::Plan;
use crate::sys::{Errno, clock, link, signal};

/// When this program was made, seconds since 1970.
const BUILT_AT: i64 = match i64::from_str_radix(env!("INN_BUILT_AT"), 10) {
    Ok(seconds) => seconds,
    Err(_) => 0,
};

/// The exit code of who loads modules and makes settings, where a module is not there.
const MODULE_MISSING: u8 = 1;

/// A host that has come up as far as it can without a config.
#[derive(Debug)]
pub struct Host {
    /// Where to speak.
    pub console: Console,
    /// Whether only the emergency shell is asked for.
    pub wants_emergency: bool,
    /// Whether something is missing that the host needs, which was told.
    pub is_wanting: bool,
    /// Whether this is a boot that goes on behind the emergency shell.
    pub goes_on: bool,
    /// How long it takes to come up.
    pub timeline: Timeline,
    line: [u8; cmdline::BYTES],
    used: usize,
}

/// What is to be known of a boot while the host is up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// How long it took.
    pub timeline: Timeline,
    /// File systems that are not mounted, and swap that is not used.
    pub missing: &'static [Missing],
}

impl Host {
    /// Notes that a stage of coming up is over.
    pub fn mark(&mut self, stage: Stage) {
        timeline::mark(&mut self.timeline, stage, clock::boot_us());
    }

    /// The kernel's command line.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        self.line.get(..self.used).unwrap_or_default()
    }

    /// The words for `inn` on the kernel's command line.
    pub fn words(&self) -> impl Iterator<Item = Word<'_>> + Clone {
        cmdline::words(self.line())
    }

    /// The path of the config, where it is named.
    #[must_use]
    pub fn config(&self) -> Option<&[u8]> {
        self.words().filter_map(|word| if let Word::Config(path) = word { Some(path) } else { None }).last()
    }

    /// Whether a factory reset is asked for.
    #[must_use]
    pub fn wants_reset(&self) -> bool {
        self.words().any(|word| word == Word::Reset)
    }
}

/// Mounts, console, command line, and what the kernel lets only PID 1 decide. Every signal is blocked from here on, to
/// wait for the event loop.
#[must_use]
pub fn early() -> Host {
    let mut timeline = Timeline::default();
    timeline::mark(&mut timeline, Stage::Kernel, clock::boot_us());
    signal::reset_all();
    let _ = signal::block(signal::Set::ALL);
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let _ = rustix::process::chdir(c"/");
    // Before anything is written: no clock is right that is before this program was made.
    let is_early = clock::not_before(BUILT_AT).unwrap_or_default();
    let mut failures = mounts::Failures::new();
    mounts::early(&mut failures);
    let console = Console::open();
    for failure in &failures {
        console.say(if failure.is_wanting() { Level::Error } else { Level::Warning }, format_args!("{failure}"));
    }
    if is_early {
        console.say(Level::Warning, format_args!("the clock was before this program was made, and is set to that day"));
    }
    // From the kernel PID 1 has session 0, which can have no terminal.
    let _ = rustix::process::setsid();
    // Ctrl-Alt-Del becomes SIGINT to PID 1, in place of a reboot with nothing written back.
    note(&console, "Ctrl-Alt-Del", rustix::system::reboot(RebootCommand::CadOff));
    // Whoever is out of memory, it is not PID 1 that goes.
    note(&console, "oom_score_adj", files::write_setting(CWD, c"/proc/self/oom_score_adj", b"-1000"));
    raise_files(&console);
    modules::asked::begin();
    let is_wanting = failures.iter().any(mounts::Failure::is_wanting);
    let line = [0; cmdline::BYTES];
    let mut host = Host { console, is_wanting, goes_on: false, timeline, wants_emergency: false, line, used: 0 };
    read_line(&mut host);
    let wants_emergency = host.words().any(|word| word == Word::Emergency);
    host.wants_emergency = wants_emergency;
    host.mark(Stage::Base);
    host
}

/// Reads the config of this host, and the guests on the kernel's command line. What is wrong goes to `diagnostics`.
///
/// Where guests are given there and no config is named, there need not be one.
pub fn read_config(host: &Host, config: &mut Config, diagnostics: &mut Diagnostics) {
    read_as(host.line(), config, diagnostics);
}

/// The same, by who is not PID 1 itself.
pub fn read_config_again(config: &mut Config, diagnostics: &mut Diagnostics) {
    let mut buffer = [0; cmdline::BYTES];
    read_as(files::read_path(c"/proc/cmdline", &mut buffer).unwrap_or_default(), config, diagnostics);
}

/// As the kernel's command line has it.
fn read_as(line: &[u8], config: &mut Config, diagnostics: &mut Diagnostics) {
    let words = cmdline::words(line);
    let named = words.clone().filter_map(|word| if let Word::Config(path) = word { Some(path) } else { None }).last();
    let guests = words.filter_map(|word| if let Word::Guest(text) = word { Some(text) } else { None });
    let missing = rustix::fs::access(CONFIG, rustix::fs::Access::EXISTS) == Err(Errno::NOENT);
    if named.is_some() || !missing || guests.clone().next().is_none() {
        config.read(named.unwrap_or(CONFIG.to_bytes()), &mut Disk, diagnostics);
    }
    guests.for_each(|text| config.add_kernel_guest(text, diagnostics));
}

/// Says what this kernel lacks that guests of `plan` that start with the host cannot start without, a line each. Whether there is anything.
#[must_use]
pub fn tell_lacks(console: &Console, plan: &Plan) -> bool {
    let found = features::probe();
    // What comes with a module may come later; without cgroup v2 the supervisor says that nothing starts, for lack of all below it.
    let is_looked_for = |feature: &&Feature| !matches!(feature, Feature::Overlay | Feature::Loop);
    let known = Feature::ALL.iter().take_while(|feature| **feature != Feature::Cgroup2 || found.has(Feature::Cgroup2));
    let mut lacks = false;
    for feature in known.filter(is_looked_for) {
        let down = found.keeps_down(plan, *feature);
        if down > 0 {
            lacks = true;
            let (name, purpose) = (feature.name(), feature.purpose());
            console.say(
                Level::Error,
                format_args!("this kernel lacks {name} ({purpose}): guests and services that cannot start: {down}"),
            );
        }
    }
    lacks
}

/// Host name, loopback, hardening, then [`prepare`].
#[must_use]
pub fn configure(console: &Console, plan: &Plan, watchdog: &mut Watchdog) -> bool {
    let name = plan.strings.bytes(plan.host.hostname);
    if !name.is_empty() {
        note(console, "hostname", rustix::system::sethostname(name));
    }
    note(console, "loopback", link::loopback_up());
    // Before the settings of the config, which may say otherwise.
    hardening::apply(hardening::at_boot(plan.host.hardening), &mut console.lines(Level::Warning));
    bounds::set(|path, errno| note(console, path, Err(errno)));
    prepare(console, plan, watchdog)
}

/// Says why the console is not where the config wants it.
pub fn tell_console(console: &Console, plan: &Plan, errno: Errno) {
    let (file, line) = plan.place(plan.host.asked[Key::HostConsole as usize]).unwrap_or_default();
    let (path, why) = (plan.strings.str(plan.host.console), ErrnoWords(errno.raw_os_error() as u16));
    console.say(
        Level::Error,
        format_args!("{file}:{line}: console {path}: {why}; it stays the kernel's until the next boot"),
    );
}

/// What the host keeps from one boot to the next: random numbers first, for they make the others.
pub fn settle(console: &Console, watchdog: &mut Watchdog) {
    let deadline_ms = clock::now_ms().saturating_add(limits::STATE_TIMEOUT_MS);
    let outcome = child::run(watchdog, deadline_ms, || {
        match seed::settle() {
            // A host that nothing can be written on is one that was made so.
            Err(Errno::ROFS) => {}
            outcome => note(console, "keep a seed in /var/lib/inn", outcome),
        }
        note(console, "/etc/machine-id", machine_id::settle());
        0
    });
    if outcome == Outcome::Late {
        console.say(Level::Error, format_args!("/var/lib/inn or /etc hangs; going on without a seed"));
    }
}

/// Kernel modules and settings of `plan`. Whether the modules are there that it names.
pub fn prepare(console: &Console, plan: &Plan, watchdog: &mut Watchdog) -> bool {
    // As early as it can be had: its driver may be one of the modules.
    watchdog.begin(console, plan);
    if plan.host.modules.is_empty() && plan.host.sysctls.is_empty() && plan.links.is_empty() {
        return true;
    }
    // Modules are on storage, and start devices; both can hang.
    let deadline_ms = clock::now_ms().saturating_add(limits::PREPARE_TIMEOUT_MS);
    let outcome = child::run(watchdog, deadline_ms, || {
        let mut report = console.lines(Level::Error);
        let is_all = modules::load_all(plan, &mut report);
        // Some settings come with a module.
        sysctl::apply(plan, &mut report);
        links::apply(plan, true, &mut report);
        if is_all { 0 } else { MODULE_MISSING }
    });
    watchdog.begin(console, plan);
    match outcome {
        Outcome::Ended(0 | MODULE_MISSING) => {}
        Outcome::Ended(code) => {
            console.say(
                Level::Error,
                format_args!("loading modules, making settings and configuring links ended with {code}"),
            );
        }
        Outcome::Late => console.say(Level::Error, format_args!("a module, setting or link hangs; going on without")),
        Outcome::NotStarted(error) => note(console, "load modules", Err(error)),
    }
    outcome == Outcome::Ended(0)
}

fn read_line(host: &mut Host) {
    match files::read_path(c"/proc/cmdline", &mut host.line).map(<[u8]>::len) {
        Ok(used) => host.used = used,
        Err(error) => note(&host.console, "/proc/cmdline", Err(error)),
    }
    for word in host.words() {
        if let Word::Unknown(name) = word {
            let name = core::str::from_utf8(name).unwrap_or("?");
            host.console.say(
                Level::Warning,
                format_args!(
                    "{name} on the kernel's command line: known are inn.config=, inn.guest=, inn.emergency, inn.reset"
                ),
            );
        }
    }
}

/// Raises the limit of open files to what all guests need.
fn raise_files(console: &Console) {
    let was = rustix::process::getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.map(|limit| limit.max(limits::DESCRIPTORS));
    let wanted = Rlimit { current: enough(was.current), maximum: enough(was.maximum) };
    note(console, "limit of open files", rustix::process::setrlimit(Resource::Nofile, wanted));
}

fn note(console: &Console, what: &str, outcome: Result<(), Errno>) {
    if let Err(error) = outcome {
        console.say(Level::Warning, format_args!("{what}: {}", ErrnoWords(error.raw_os_error() as u16)));
    }
}
