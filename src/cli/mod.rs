//! The verbs as a user types them.
//!
//! | file | noun |
//! | --- | --- |
//! | [`verb`], [`parse`] | the table of verbs and options; a command line |
//! | [`ask`] | one request to the supervisor |
//! | [`names`] | the guests that words name |
//! | [`bounds`] | what a guest may do |
//! | [`counters`] | what the kernel counts for a guest |
//! | [`guests`], [`columns`] | all guests at once, and what can be shown of each |
//! | [`facts`], [`table`], [`json`], [`units`], [`lossy`] | what is printed, and how |
//! | [`output`], [`screen`] | where it is printed |
//! | [`follow`] | waiting for more of it |
//! | [`foreground`], [`terminal`] | a program that has our input, output and terminal |
//! | the others | one verb each |
//!
//! No verb is compiled into its caller: the buffers of all of them would lie on the stack of `inn supervise`.

pub mod act;
pub mod ask;
pub mod bounds;
pub mod check;
pub mod columns;
pub mod console;
pub mod counters;
pub mod events;
pub mod excess;
pub mod exec;
pub mod facts;
pub mod follow;
pub mod foreground;
pub mod guests;
pub mod host;
pub mod init;
pub mod json;
pub mod links;
pub mod list;
pub mod logs;
pub mod lossy;
pub mod metrics;
pub mod modprobe;
pub mod names;
pub mod output;
pub mod parse;
pub mod reload;
pub mod reset;
pub mod run;
pub mod scrape;
pub mod screen;
pub mod set;
pub mod stats;
pub mod status;
pub mod switch_root;
pub mod table;
pub mod terminal;
pub mod top;
pub mod tree;
pub mod upgrade;
pub mod verb;
pub mod version;
pub mod which;

use core::ffi::CStr;

pub use crate::units;

use crate::sys::memory::Static;
use crate::sys::process::Arguments;
use crate::sys::signal::{self, Set};
use output::{Errors, Output, complain};
use parse::{Invocation, Wrong};
use verb::{Act, Verb};

static OUTPUT: Static<Output> = Static::new(Output::new());

/// Exit code of a command line that makes no sense.
const USAGE: u8 = 2;

/// What comes after the command line.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// The program's end, with this exit code.
    Exit(u8),
    /// `inn supervise`, with this config and this socket. It is left to the caller, for it stays: what the command line
    /// took of the stack must not.
    Supervise(Option<&'static CStr>, Option<&'static CStr>),
    /// `inn init`, as ordered, of the command that begins at this word, with these signals blocked as they were for this
    /// process. Left to the caller for the same reason.
    Init(init::Orders, usize, Set),
}

/// Runs `inn` as a user typed it.
#[inline(never)]
pub fn main(arguments: &Arguments) -> Next {
    // A closed pipe is then an error of write(2), and told.
    let blocked = signal::exchange_mask(Set::NONE.with(libc::SIGPIPE as u8)).unwrap_or_default();
    screen::read_environment(arguments);
    match parse::parse(arguments) {
        Ok(Invocation { verb: Verb { act: Act::Supervise, .. }, options, .. }) if !options.help => {
            Next::Supervise(options.config, options.socket)
        }
        Ok(Invocation { verb: Verb { act: Act::Init, .. }, options, command, .. }) if !options.help => {
            Next::Init(options.init, command, blocked)
        }
        Ok(invocation) => Next::Exit(OUTPUT.take().map_or(USAGE, |out| dispatch(&invocation, arguments, out))),
        Err(wrong) => {
            complain(format_args!("{wrong}"));
            if wrong == Wrong::NoVerb {
                let _ = verb::overview(&mut Errors::new());
            }
            Next::Exit(USAGE)
        }
    }
}

fn dispatch(invocation: &Invocation, arguments: &Arguments, out: &mut Output) -> u8 {
    let Invocation { verb, options, operands, .. } = invocation;
    let first = operands.first().copied();
    if options.help {
        let _ = verb.explain(out);
        return out.finish(0);
    }
    match verb.act {
        Act::Check => check::check(first, options, out),
        Act::Run => run::run(invocation, arguments),
        Act::Supervise | Act::Init => 0,
        Act::List => list::list(operands, options, out),
        Act::Status => status::status(operands, options, out),
        Act::Start | Act::Stop | Act::Restart | Act::Kill | Act::Freeze | Act::Thaw => {
            act::guests(verb.act, operands, options, out)
        }
        Act::Set => set::set(invocation, out),
        Act::Reload => reload::reload(options, out),
        Act::Upgrade => upgrade::upgrade(first, options, out),
        Act::Exec | Act::Enter => exec::exec(invocation, arguments, verb.act == Act::Enter),
        Act::Console => console::console(first, options),
        Act::Logs => logs::logs(operands, options, out),
        Act::Events => events::events(options, out),
        Act::PowerOff | Act::Reboot | Act::Halt => act::power(verb.act, options, out),
        Act::Reset => reset::reset(options, out),
        Act::Stats => stats::stats(operands, options, out),
        Act::Metrics => metrics::metrics(first, options, out),
        Act::Modprobe => modprobe::modprobe(operands, options, out),
        Act::SwitchRoot => switch_root::switch_root(operands, arguments, options, out),
        Act::Top => top::top(operands, options, out),
        Act::Which => which::which(operands, options, out),
        Act::Version => version::version(options, out),
        Act::Help => help(first, out),
    }
}

fn help(name: Option<&'static CStr>, out: &mut Output) -> u8 {
    let Some(name) = name else {
        let _ = verb::overview(out);
        return out.finish(0);
    };
    match Verb::named(name.to_bytes()) {
        Some(verb) => {
            let _ = verb.explain(out);
            out.finish(0)
        }
        None => {
            complain(format_args!("{}", parse::unknown_verb(name)));
            USAGE
        }
    }
}
