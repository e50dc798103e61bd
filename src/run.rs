//! The composition root: argv → a verb, PID 1, or a helper of the kernel.

use core::ffi::CStr;
use core::fmt::Write;

use crate::cli::Next;
use crate::cli::output::{Errors, complain};
use crate::config::Report;
use crate::control::server;
use crate::guest::{self, inside};
use crate::host::boot::{self, Host};
use crate::host::console::{Console, Level};
use crate::host::modules::asked;
use crate::host::power::{self, Bounds, Wanted};
use crate::host::watchdog::Watchdog;
use crate::limits;
use crate::load::{CONFIG, Loader};
use crate::plan::Plan;
use crate::record::{self, Holder};
use crate::supervise::kept::{self, Left};
use crate::supervise::serve::{self, Life};
use crate::sys::memory::{Static, discard};
use crate::sys::process::Arguments;
use crate::sys::{clock, descriptor, signal};

/// Exit code where the config cannot be used.
const BAD_CONFIG: u8 = 2;

/// What follows where there is no record of users.
const NOT_RECORDED: &str = "a guest of `inn run` may be given users of another, for /run/inn/users cannot be kept";

/// Runs `inn` and returns its exit code.
pub fn run(arguments: &Arguments) -> u8 {
    guest::resume(arguments);
    if let Some(left) = Left::find(arguments) {
        return go_on(left, arguments);
    }
    let is_init = rustix::process::getpid() == rustix::process::Pid::INIT;
    // `inn init -- COMMAND` is PID 1 of somebody else's container.
    // And in a guest a verb is a verb.
    let is_verb = arguments.get(1) == Some(c"init") || arguments.len() > 1 && is_init && inside::is_so();
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
    let Some(buffer) = record::buffer() else { return BAD_CONFIG };
    let socket = socket.unwrap_or(server::PATH);
    loader.read(config);
    let (good, unrecorded) = loader.build_for(&Holder { name: socket.to_bytes(), only: b"" }, buffer);
    if let Some(why) = unrecorded {
        complain(format_args!("{why}: {NOT_RECORDED}"));
    }
    discard(buffer);
    if !good {
        let _ = write!(Errors::new(), "{}", Report(&loader.config, &loader.diagnostics));
        return BAD_CONFIG;
    }
    serve::foreground(loader.into_plan(), config, socket, Life { arguments, left: None })
}

/// The plan of a host whose config cannot be used: no guests, and the defaults.
static NO_PLAN: Static<Plan> = Static::new(Plan::new());

/// PID 1, from the kernel's hand-over to the end of the machine.
fn run_host(arguments: &Arguments) -> ! {
    let (console, plan, config) = come_up();
    let mut watchdog = Watchdog::none();
    let (plan, needs_shell) = match plan.or_else(|| NO_PLAN.take()) {
        Some(plan) => {
            let is_empty = plan.guests.is_empty();
            (plan, is_empty)
        }
        None => power::finish(&console, Wanted::Halt, &Bounds::new(clock::now_ms(), limits::FINAL_MS), &mut watchdog),
    };
    let life = Life { arguments, left: None };
    let outcome = serve::init(&console, plan, config, needs_shell, (life, &mut watchdog));
    power::finish(&console, outcome.wanted.unwrap_or(Wanted::PowerOff), &outcome.bounds, &mut watchdog)
}

/// A supervisor that has died of a fault, or was replaced, goes on in this program.
fn go_on(mut left: Left, arguments: &Arguments) -> u8 {
    let is_init = rustix::process::getpid() == rustix::process::Pid::INIT;
    let (host, texts) = (left.host, left.texts);
    let _ = signal::block(signal::Set::ALL);
    let console = is_init.then(Console::open);
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
    let outcome = serve::init(&console, plan, config, false, (life, &mut watchdog));
    power::finish(&console, outcome.wanted.unwrap_or(Wanted::PowerOff), &outcome.bounds, &mut watchdog)
}

/// What comes before the supervisor. Apart, for its memory is not to stay as long as that.
#[inline(never)]
fn come_up() -> (Console, Option<&'static mut Plan>, &'static CStr) {
    let host = boot::early();
    let plan = load(&host);
    let config = config(&host);
    if let Some(plan) = &plan {
        let (version, count) = (env!("CARGO_PKG_VERSION"), plan.guests.len());
        let config = config.to_str().unwrap_or("its config");
        host.console
            .say(Level::Info, format_args!("{version}: the host comes up; {config} has {count} guests and services"));
        boot::configure(&host.console, plan);
    }
    (host.console, plan, config)
}

/// A config's path that was named, with a NUL.
static PATH: Static<[u8; limits::LINE_BYTES]> = Static::new([0; limits::LINE_BYTES]);

/// The config's path.
fn config(host: &Host) -> &'static CStr {
    let named = host.config().and_then(|named| {
        let path = PATH.take()?;
        // The byte behind it stays NUL.
        path.get_mut(..named.len())?.copy_from_slice(named);
        CStr::from_bytes_until_nul(path).ok()
    });
    named.unwrap_or(CONFIG)
}

/// The plan of the config and of the kernel's command line; nothing where something is wrong with them, which is said.
fn load(host: &Host) -> Option<&'static mut Plan> {
    if host.wants_emergency() {
        return None;
    }
    let loader = Loader::take()?;
    boot::read_config(host, &mut loader.config, &mut loader.diagnostics);
    let (good, unrecorded) = match record::buffer() {
        Some(buffer) => {
            let outcome = loader.build_for(&Holder { name: server::PATH.to_bytes(), only: b"" }, buffer);
            discard(buffer);
            outcome
        }
        None => (loader.build(), None),
    };
    if let Some(why) = unrecorded {
        host.console.say(Level::Warning, format_args!("{why}: {NOT_RECORDED}"));
    }
    if good {
        return Some(loader.into_plan());
    }
    let report = Report(&loader.config, &loader.diagnostics);
    host.console.say(Level::Error, format_args!("{report}\nnothing is started"));
    None
}
