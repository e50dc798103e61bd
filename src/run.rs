//! The composition root: argv → a verb, PID 1, or a helper of the kernel.

use core::ffi::CStr;
use core::fmt::Write;

use crate::cli::Next;
use crate::cli::init::name_of_init;
use crate::cli::output::{Errors, complain};
use crate::config;
use crate::control::server;
use crate::fault::ErrnoWords;
use crate::guest::{self, inside};
use crate::host::boot::{self, Host, Report};
use crate::host::console::{Console, Level};
use crate::host::ending;
use crate::host::filesystems::{self, Mounted};
use crate::host::modules::asked;
use crate::host::power::{self, Bounds, Wanted};
use crate::host::reset;
use crate::host::root;
use crate::host::timeline::{self, Stage};
use crate::host::watchdog::Watchdog;
use crate::limits;
use crate::load::{CONFIG, Loader};
use crate::plan::Plan;
use crate::record::Holder;
use crate::supervise::events::Outcome;
use crate::supervise::kept::{self, Left};
use crate::supervise::serve::{self, Life};
use crate::supervise::upgrade;
use crate::sys::exec::{Words, execute};
use crate::sys::memory::Static;
use crate::sys::process::{Arguments, WORDS};
use crate::sys::{clock, descriptor, signal};

/// Exit code where the config cannot be used.
const BAD_CONFIG: u8 = 2;

/// What follows where there is no record of users.
const NOT_RECORDED: &str = "a guest of `inn run` may be given users of another, for /run/inn/users cannot be kept";

/// Runs `inn` and returns its exit code.
pub fn run(arguments: &Arguments) -> u8 {
    guest::resume(arguments);
    if let Some(code) = upgrade::answer(arguments) {
        return code;
    }
    if let Some(left) = Left::find(arguments) {
        return go_on(left, arguments);
    }
    let is_init = rustix::process::getpid() == rustix::process::Pid::INIT;
    // `inn init -- COMMAND` is PID 1 of somebody else's container.
    // And in a guest a verb is a verb.
    let is_verb = arguments.get(1) == Some(c"init")
        || arguments.get(0).is_some_and(|name| name_of_init(name).is_some())
        || arguments.len() > 1 && is_init && inside::is_so()
        || arguments.get(1) == Some(c"switch-root");
    if !is_init && arguments.get(0) == Some(asked::PROGRAM) && arguments.len() == 4 {
        // The kernel's call: PROGRAM -q -- ALIAS.
        return asked::answer(arguments.get(3).unwrap_or_default());
    }
    if is_init && !is_verb {
        run_host(arguments);
    }
    // One that our caller closed would be the number of something of ours.
    descriptor::fill_standard();
    match crate::cli::main(arguments) {
        Next::Exit(code) => code,
        Next::Supervise(config, socket) => supervise(config, socket, arguments),
        Next::Init(orders, command, blocked) => crate::cli::init::init(arguments, &orders, command, blocked),
    }
}

/// `inn supervise` with this config and this socket.
fn supervise(config: Option<&'static CStr>, socket: Option<&'static CStr>, arguments: &Arguments) -> u8 {
    let config = config.unwrap_or(CONFIG);
    let Some(loader) = Loader::take() else { return BAD_CONFIG };
    let socket = socket.unwrap_or(server::PATH);
    loader.read(config);
    let (good, unrecorded) = loader.build_for(&Holder { name: socket.to_bytes(), only: b"" });
    if let Some(why) = unrecorded {
        complain(format_args!("{why}: {NOT_RECORDED}"));
    }
    if !good {
        let _ = write!(Errors::new(), "{}", config::Report(&loader.config, &loader.diagnostics));
        return BAD_CONFIG;
    }
    serve::foreground(loader.into_plan(), config, socket, Life { arguments, left: None })
}

/// The plan of a host whose config cannot be used: no guests, and the defaults.
static NO_PLAN: Static<Plan> = Static::new(Plan::new());

/// It goes down in its time, as any does.
fn no_plan() -> Option<&'static mut Plan> {
    let plan = NO_PLAN.take()?;
    plan.host.shutdown_timeout_ms = limits::SHUTDOWN_TIMEOUT_MS;
    Some(plan)
}

/// PID 1, from the kernel's hand-over to the end of the machine.
fn run_host(arguments: &Arguments) -> ! {
    let mut watchdog = Watchdog::none();
    let Up { console, plan, config, needs_shell, boots_on, needs_reboot, report } = come_up(arguments, &mut watchdog);
    let console = &console;
    let at_once = || Bounds::new(clock::now_ms(), limits::FINAL_MS);
    let Some(plan) = plan.or_else(no_plan) else { power::finish(console, Wanted::Halt, &at_once(), &mut watchdog) };
    let needs_shell = needs_shell || plan.guests.is_empty();
    if needs_reboot {
        console.say(Level::Warning, format_args!("the root was repaired, and its checker asks for it: starting again"));
        power::finish(console, Wanted::Reboot, &at_once(), &mut watchdog);
    }
    let life = Life { arguments, left: None };
    let outcome = serve::init(console, plan, config, (needs_shell, boots_on), (life, report, &mut watchdog));
    leave(console, &outcome, &report, arguments, &mut watchdog)
}

/// What follows the supervisor: the boot once more, the real root, or the end of the machine.
fn leave(console: &Console, outcome: &Outcome, report: &Report, arguments: &Arguments, watchdog: &mut Watchdog) -> ! {
    if outcome.boots_on {
        // The next boot may have another config to go by, or none.
        watchdog.stop();
        boot_on(console, arguments);
    }
    if outcome.wanted == Some(Wanted::SwitchRoot) {
        power::end_processes(console, &outcome.bounds, watchdog);
        watchdog.leave();
        root::enter_next(console, (arguments, report.timeline[Stage::Kernel as usize]));
    }
    power::finish(console, outcome.wanted.unwrap_or(Wanted::PowerOff), &outcome.bounds, watchdog)
}

/// A supervisor that has died of a fault, or was replaced, goes on in this program.
fn go_on(mut left: Left, arguments: &Arguments) -> u8 {
    let _ = signal::block(signal::Set::ALL);
    left.fall_back(arguments);
    let is_init = rustix::process::getpid() == rustix::process::Pid::INIT;
    let (host, texts) = (left.host, left.texts);
    let console = is_init.then(Console::adopt);
    let mut watchdog = Watchdog::adopt(kept::descriptor_of(host.watchdog), host.watchdog_ms, clock::now_ms());
    if let (Some(console), Some((wanted, bounds)), true) = (&console, host.ending(), host.is_over) {
        power::finish(console, wanted.unwrap_or(Wanted::PowerOff), &bounds, &mut watchdog);
    }
    let Some(plan) = NO_PLAN.take() else { return BAD_CONFIG };
    // Without it guests go on alone.
    let (Ok(plan) | Err(plan)) = left.plan(plan);
    let text = |bytes| CStr::from_bytes_with_nul(bytes).unwrap_or_default();
    let (config, socket) = (text(texts.config), text(texts.socket));
    let life = Life { arguments, left: Some(left) };
    let Some(console) = console else { return serve::foreground(plan, config, socket, life) };
    let timeline = host.boot_ms.map(|ms| (ms != 0).then_some(ms as u32));
    let report = Report { timeline, ..Report::default() };
    let outcome = serve::init(&console, plan, config, (false, false), (life, report, &mut watchdog));
    leave(&console, &outcome, &report, arguments, &mut watchdog)
}

/// In the environment of a boot that goes on behind the emergency shell, which `inn.emergency` does not hold up again.
const GOES_ON: &CStr = c"INN_GOES_ON=1";

/// Boots from the beginning, in the place of this program: whatever was repaired counts, and nothing else runs that could be
/// harmed. Returns where that cannot be.
fn boot_on(console: &Console, arguments: &Arguments) {
    let (mut words, mut environment) = (Words::<WORDS>::new(), Words::<WORDS>::new());
    for word in (0..arguments.len()).filter_map(|index| arguments.get(index)) {
        let _ = words.push(word);
    }
    for word in arguments.environment().filter(|word| *word != GOES_ON).chain([GOES_ON]) {
        let _ = environment.push(word);
    }
    let errno = execute(c"/proc/self/exe", &words, &environment);
    console
        .say(Level::Error, format_args!("going on with the boot: exec: {}", ErrnoWords(errno.raw_os_error() as u16)));
}

/// A host that has come up as far as it can before its guests.
struct Up {
    console: Console,
    plan: Option<&'static mut Plan>,
    config: &'static CStr,
    needs_shell: bool,
    /// Leaving that shell goes on with the boot: it has held up what comes behind.
    boots_on: bool,
    needs_reboot: bool,
    report: Report,
}

/// What comes before the supervisor, in its order. Apart, for its memory is not to stay as long as that.
#[inline(never)]
fn come_up(arguments: &Arguments, watchdog: &mut Watchdog) -> Up {
    let mut host = boot::early();
    host.goes_on = arguments.variable(b"INN_GOES_ON").is_some();
    host.wants_emergency &= !host.goes_on;
    if host.wants_emergency {
        host.console
            .say(Level::Warning, format_args!("inn.emergency on the kernel's command line: nothing is started"));
    }
    let wants_root = root::wanted(host.line()).is_some();
    if let Some(entered_ms) = root::entered_at_ms() {
        host.timeline[Stage::Initramfs as usize] = host.timeline[Stage::Kernel as usize];
        timeline::mark(&mut host.timeline, Stage::Kernel, entered_ms.saturating_mul(1000));
    }
    let (plan, mut mounted, is_held_up) = load(&mut host, wants_root, watchdog);
    if wants_root && !host.wants_emergency {
        mounted.needs_reboot = root::enter(&host, arguments, watchdog);
    }
    let config = config_path(&host);
    if let Some(plan) = plan.as_deref().filter(|_| !is_held_up) {
        let (version, count) = (env!("CARGO_PKG_VERSION"), plan.guests.len());
        let config = config.to_str().unwrap_or("its config");
        host.console
            .say(Level::Info, format_args!("{version}: the host comes up; {config} has {count} guests and services"));
    }
    // The file systems are there, and nothing is mounted over the guests' yet.
    boot::settle(&host.console, watchdog);
    let lacks = if let Some(plan) = plan.as_deref().filter(|_| !wants_root && !is_held_up) {
        // What is to be emptied may be on one that is missing; then the next boot does it.
        if !mounted.is_wanting() {
            reset::at_boot(&host.console, plan, host.wants_reset(), watchdog);
        }
        ending::begin_boot(&host.console, plan, watchdog);
        boot::tell_lacks(&host.console, plan)
    } else {
        false
    };
    host.mark(Stage::State);
    Up {
        plan,
        config,
        // What would come up here belongs to the real root.
        needs_shell: mounted.is_wanting() || wants_root || host.is_wanting || lacks,
        boots_on: is_held_up || wants_root,
        needs_reboot: mounted.needs_reboot,
        report: Report { timeline: host.timeline, missing: mounted.missing },
        console: host.console,
    }
}

/// A config's path that was named, with a NUL.
static PATH: Static<[u8; limits::LINE_BYTES]> = Static::new([0; limits::LINE_BYTES]);

/// The config's path.
fn config_path(host: &Host) -> &'static CStr {
    let named = host.config().and_then(|named| {
        let path = PATH.take()?;
        // The byte behind it stays NUL.
        path.get_mut(..named.len())?.copy_from_slice(named);
        CStr::from_bytes_until_nul(path).ok()
    });
    named.unwrap_or(CONFIG)
}

/// The plan of the config and of the kernel's command line, and whether the boot is held up: where something is wrong with them,
/// which is said, or nothing is to be started, there is nothing in it but how the host is rescued. The modules, settings and
/// file systems of the plan are there.
fn load(host: &mut Host, wants_root: bool, watchdog: &mut Watchdog) -> (Option<&'static mut Plan>, Mounted, bool) {
    let mut mounted = Mounted::default();
    let Some(loader) = Loader::take() else { return (None, mounted, true) };
    if host.wants_emergency {
        boot::read_config(host, &mut loader.config, &mut loader.diagnostics);
        let _ = loader.build();
        return (Some(only_rescue(loader)), mounted, true);
    }
    if wants_root {
        return (load_initramfs(host, loader, watchdog), mounted, true);
    }
    boot::read_config(host, &mut loader.config, &mut loader.diagnostics);
    let comes_first = loader.mounts_come_first();
    if comes_first {
        // What is wrong is told when all of it could be read.
        let _ = loader.build();
        mounted = prepare(host, &loader.plan, watchdog);
        loader.clear();
        boot::read_config(host, &mut loader.config, &mut loader.diagnostics);
    }
    let (good, unrecorded) = loader.build_for(&Holder { name: server::PATH.to_bytes(), only: b"" });
    if let Some(why) = unrecorded {
        host.console.say(Level::Warning, format_args!("{why}: {NOT_RECORDED}"));
    }
    if !good {
        tell_wrong(host, loader);
        return (Some(only_rescue(loader)), mounted, true);
    }
    let plan = loader.into_plan();
    if !comes_first {
        mounted = prepare(host, plan, watchdog);
    }
    (Some(plan), mounted, false)
}

/// What can be used of a config that is not carried out.
fn only_rescue(loader: &'static mut Loader) -> &'static mut Plan {
    loader.plan.keep_rescue();
    loader.into_plan()
}

fn tell_wrong(host: &Host, loader: &Loader) {
    let report = config::Report(&loader.config, &loader.diagnostics);
    host.console.say(Level::Error, format_args!("{report}\nnothing is started"));
}

/// The plan of an initramfs that only leads to the real root: it has modules at most, and need not have a config.
fn load_initramfs(host: &mut Host, loader: &'static mut Loader, watchdog: &mut Watchdog) -> Option<&'static mut Plan> {
    if rustix::fs::access(CONFIG, rustix::fs::Access::EXISTS).is_err() {
        return None;
    }
    loader.read(CONFIG);
    if !loader.build() {
        tell_wrong(host, loader);
        return Some(only_rescue(loader));
    }
    boot::prepare(&host.console, &loader.plan, watchdog);
    Some(loader.into_plan())
}

/// Modules, settings and file systems.
fn prepare(host: &mut Host, plan: &Plan, watchdog: &mut Watchdog) -> Mounted {
    host.mark(Stage::Config);
    let is_there = host.console.follow(plan).is_ok();
    host.is_wanting |= !boot::configure(&host.console, plan, watchdog);
    // Its device may come with a module.
    if !is_there && let Err(errno) = host.console.follow(plan) {
        boot::tell_console(&host.console, plan, errno);
    }
    host.mark(Stage::Modules);
    let mounted = filesystems::mount_all(&host.console, plan, host.goes_on, watchdog);
    host.mark(Stage::Mounts);
    mounted
}
