//! The composition root: argv → a verb, PID 1, or a helper of the kernel.

use core::ffi::CStr;
use core::fmt::Write;

use crate::cli::Next;
use crate::cli::output::Errors;
use crate::config::Report;
use crate::control::server;
use crate::host::boot::{self, Host};
use crate::host::console::Level;
use crate::host::power::{self, Wanted};
use crate::limits;
use crate::load::{CONFIG, Loader};
use crate::plan::Plan;
use crate::supervise::serve;
use crate::sys::memory::Static;
use crate::sys::process::Arguments;

/// Exit code where the config cannot be used.
const BAD_CONFIG: u8 = 2;

/// Runs `inn` and returns its exit code.
pub fn run(arguments: &Arguments) -> u8 {
    let is_init = rustix::process::getpid() == rustix::process::Pid::INIT;
    // `inn init -- COMMAND` is PID 1 of somebody else's container.
    if is_init && arguments.get(1) != Some(c"init") {
        run_host();
    }
    match crate::cli::main(arguments) {
        Next::Exit(code) => code,
        Next::Supervise(config, socket) => supervise(config, socket),
    }
}

/// `inn supervise` with this config and this socket.
fn supervise(config: Option<&'static CStr>, socket: Option<&'static CStr>) -> u8 {
    let config = config.unwrap_or(CONFIG);
    let Some(loader) = Loader::take() else { return BAD_CONFIG };
    if !loader.load(config) {
        let _ = write!(Errors::new(), "{}", Report(&loader.config, &loader.diagnostics));
        return BAD_CONFIG;
    }
    serve::foreground(loader.into_plan(), config, socket.unwrap_or(server::PATH))
}

/// The plan of a host whose config cannot be used: no guests, and the defaults.
static NO_PLAN: Static<Plan> = Static::new(Plan::new());

/// PID 1, from the kernel's hand-over to the end of the machine.
fn run_host() -> ! {
    let host = boot::early();
    let mut path = heapless::Vec::new();
    let config = config(&host, &mut path);
    let plan = load(&host);
    if let Some(plan) = plan {
        boot::configure(&host.console, plan);
    }
    let (plan, needs_shell) = match plan.or_else(|| NO_PLAN.take().map(|plan| &*plan)) {
        Some(plan) => (plan, plan.guests.is_empty()),
        None => power::finish(&host.console, Wanted::Halt, 0),
    };
    let outcome = serve::init(&host.console, plan, config, needs_shell);
    power::finish(&host.console, outcome.wanted.unwrap_or(Wanted::PowerOff), outcome.deadline_ms)
}

/// The config's path, with its NUL.
fn config<'p>(host: &Host, path: &'p mut heapless::Vec<u8, { limits::LINE_BYTES }>) -> &'p CStr {
    let fits = path.extend_from_slice(host.config()).and_then(|()| path.push(0).map_err(|_| Default::default()));
    match CStr::from_bytes_with_nul(path) {
        Ok(path) if fits.is_ok() => path,
        Ok(_) | Err(_) => CONFIG,
    }
}

/// The plan of the config and of the kernel's command line; nothing where something is wrong with them, which is said.
fn load(host: &Host) -> Option<&'static Plan> {
    if host.wants_emergency() {
        return None;
    }
    let loader = Loader::take()?;
    boot::read_config(host, &mut loader.config, &mut loader.diagnostics);
    if loader.build() {
        return Some(loader.into_plan());
    }
    let report = Report(&loader.config, &loader.diagnostics);
    host.console.say(Level::Error, format_args!("{report}\nnothing is started"));
    None
}
