//! `inn run`: one guest in the foreground, with no supervisor.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::AsFd;

use super::check::BAD_CONFIG;
use super::foreground::{self, Kill, NOT_STARTED, Signals};
use super::output::{Errors, complain};
use super::parse::{Invocation, Shown};
use crate::config::{Report, nearest};
use crate::control::wire::{Code, Place};
use crate::fault::Fault;
use crate::guest::cgroup::{self, Base, Member};
use crate::guest::{Stdio, hook, start};
use crate::limits;
use crate::load::{CONFIG, Loader};
use crate::plan::record::RUN;
use crate::plan::{Guest, GuestId, Moment, Plan, StopStep};
use crate::record::{self, Holder, Record};
use crate::sys::clock::now_ms;
use crate::sys::process::Arguments;
use crate::text::Made;

/// The name of a guest that is made from options.
const NAME: &[u8] = b"run";

/// Runs the guest; returns its program's exit code.
#[inline(never)]
pub fn run(invocation: &Invocation, arguments: &Arguments) -> u8 {
    let Some(loader) = Loader::take() else { return NOT_STARTED };
    let mut only = NAME;
    if invocation.dashes {
        from_options(loader, invocation, arguments);
    } else if let Some(wrong) = unwanted(invocation, arguments) {
        complain(format_args!(
            "run GUEST takes neither keys nor a command, but there is {wrong}; a command follows `--`"
        ));
        return BAD_CONFIG;
    } else {
        only = arguments.get(invocation.command).unwrap_or_default().to_bytes();
        loader.read(invocation.options.config.unwrap_or(CONFIG));
    }
    let (good, unrecorded) = loader.build_for(&Holder { name: RUN, only });
    if let Some(why) = unrecorded {
        complain(format_args!("{why}: another guest may be given the same users, for {} cannot be kept", record::PATH));
    }
    if !good {
        let _ = write!(Errors::new(), "{}", Report(&loader.config, &loader.diagnostics));
        return BAD_CONFIG;
    }
    let (plan, record) = loader.into_plan_and_record();
    let found = if invocation.dashes {
        plan.find(NAME)
    } else {
        let word = arguments.get(invocation.command).unwrap_or_default();
        plan.find(word.to_bytes()).or_else(|| unknown(plan, word))
    };
    let code = found.map_or(Code::NoGuest.exit(), |id| foreground(plan, id, invocation.dashes));
    if unrecorded.is_none()
        && let Err(why) = Record::open(record).and_then(Record::forget)
    {
        // Once this process is gone it holds nothing in any case.
        complain(format_args!("{}: {why}", record::PATH));
    }
    code
}

/// What does not belong behind `run GUEST`.
fn unwanted(invocation: &Invocation, arguments: &Arguments) -> Option<Shown<'static>> {
    let word = arguments.get(invocation.command + 1).map(Shown);
    word.or_else(|| invocation.keys.first().map(|(_, value)| Shown(value)))
}

fn from_options(loader: &mut Loader, invocation: &Invocation, arguments: &Arguments) {
    let Loader { config, diagnostics, .. } = loader;
    config.begin_run(NAME, diagnostics);
    for (key, value) in &invocation.keys {
        let option = Made::new(format_args!("--{}", key.name()));
        config.option(option.as_bytes(), value.to_bytes(), diagnostics);
    }
    let words = (invocation.command..arguments.len()).filter_map(|index| arguments.get(index));
    config.option_words(b"--command", words.map(CStr::to_bytes), diagnostics);
    config.end_run(diagnostics);
}

fn unknown(plan: &Plan, word: &CStr) -> Option<GuestId> {
    complain(format_args!("there is no guest {}", Shown(word)));
    let names = plan.guests.iter().map(|guest| (guest.name, plan.strings.bytes(guest.name)));
    if let Some(near) = nearest(word.to_bytes(), names) {
        let _ = writeln!(Errors::new(), "  did you mean {}?", plan.strings.str(near));
    }
    None
}

fn foreground(plan: &Plan, id: GuestId, from_options: bool) -> u8 {
    let Some(guest) = plan.guest(id) else { return NOT_STARTED };
    let name = plan.strings.c_str(guest.name);
    let member = Member { kind: guest.kind, name };
    let program = plan.words.get(guest.command).first().map(|word| plan.strings.c_str(*word));
    let told = |fault: Fault| {
        // An option is found without its line.
        let key = fault.step.key().filter(|_| !from_options);
        let place = key.and_then(|_| plan.place_of_fault(guest, fault)).map(|(file, line)| Place { file, line });
        let hook = plan.hook_of(guest, fault).and_then(|hook| plan.words.get(hook.command).first());
        foreground::tell(name, hook.map(|word| plan.strings.c_str(*word)).or(program), fault, place);
        foreground::failed_code(fault)
    };
    let signals = match Signals::block() {
        Ok(signals) => signals,
        Err(code) => return code,
    };
    // Beside the cgroups of this host's own manager: below our own there could be no limits, for it has processes.
    let base_name = Made::new(format_args!("inn-run-{}", rustix::process::getpid().as_raw_nonzero()));
    let base = match Base::open(base_name.as_c_str(), plan) {
        Ok(base) => base,
        Err(fault) => return told(fault),
    };
    let steps = plan.stop(guest);
    let throwaway = Throwaway { base: &base, member, patience_ms: patience_ms(steps), plan, guest };
    let (code, fault) = match start(plan, id, &base, Stdio::Caller) {
        Ok(starting) => foreground::follow(starting, &signals, &throwaway),
        Err(fault) => (NOT_STARTED, Some(fault)),
    };
    let exit = fault.map_or(("code", code), |_| ("start-failed", 0));
    let was_born = fault.is_none();
    let code = fault.map_or(code, told);
    let cleared = throwaway.end(was_born, exit, &told).and_then(|()| cgroup::remove_base(base_name.as_c_str()));
    match cleared {
        Ok(()) => code,
        Err(fault) => {
            foreground::tell(name, None, fault, None);
            if code == 0 { NOT_STARTED } else { code }
        }
    }
}

/// How long its `stop` takes at most.
fn patience_ms(steps: &[StopStep]) -> u64 {
    steps.iter().fold(0, |sum: u64, step| sum.saturating_add(step.timeout_ms))
}

/// The guest, as something that can be ended.
struct Throwaway<'a> {
    base: &'a Base,
    member: Member<'a>,
    patience_ms: u64,
    plan: &'a Plan,
    guest: &'a Guest,
}

impl Throwaway<'_> {
    /// Ends what is left of it, and removes its cgroup; runs the host's programs for that, and tells which failed.
    fn end(&self, was_born: bool, exit: (&'static str, u8), tell: &dyn Fn(Fault) -> u8) -> Result<(), Fault> {
        if self.base.is_populated(self.member)? {
            self.base.kill(self.member)?;
            self.wait()?;
        }
        if was_born {
            self.hooks(Moment::Stop, exit, tell);
        }
        self.base.remove(self.member)?;
        self.hooks(Moment::Destroy, exit, tell);
        Ok(())
    }

    fn hooks(&self, moment: Moment, exit: (&'static str, u8), tell: &dyn Fn(Fault) -> u8) {
        let Throwaway { base, plan, guest, .. } = *self;
        if plan.hooks(guest, moment).is_empty() {
            return;
        }
        let about = hook::About { plan, guest, base, pid: None, exit: Some(exit) };
        let failed = match hook::start(&about, moment) {
            Ok(running) => foreground::follow_hooks(&running),
            Err(fault) => Some(fault),
        };
        failed.map(tell);
    }

    fn wait(&self) -> Result<(), Fault> {
        let events = self.base.events(self.member)?;
        let give_up_ms = now_ms().saturating_add(limits::KILL_TIMEOUT_MS);
        while self.base.is_populated(self.member)? && now_ms() < give_up_ms {
            let left_ms = give_up_ms.saturating_sub(now_ms());
            let timeout = Timespec { tv_sec: (left_ms / 1000) as i64, tv_nsec: (left_ms % 1000) as i64 * 1_000_000 };
            // An error makes this one more look.
            let _ =
                rustix::event::poll(&mut [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)], Some(&timeout));
        }
        Ok(())
    }
}

impl Kill for Throwaway<'_> {
    fn kill(&self) {
        // Failing, it is tried again, and told, when it is cleared.
        let _ = self.base.kill(self.member);
    }

    fn patience_ms(&self) -> Option<u64> {
        Some(self.patience_ms)
    }

    fn start_ms(&self) -> u64 {
        let hooks = [Moment::Create, Moment::Start].map(|moment| self.plan.hooks(self.guest, moment).len() as u64);
        limits::START_TIMEOUT_MS + hooks.iter().sum::<u64>() * limits::HOOK_TIMEOUT_MS
    }

    fn is_init(&self) -> bool {
        true
    }
}
