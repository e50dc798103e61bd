//! `inn start`, `stop`, `restart`, `kill`, `freeze`, `thaw`, `poweroff`, `reboot`, `halt`: requests that change something.
//!
//! Each guest is told to begin before the first is waited for: so they start and stop together, and one that comes after
//! another finds it begun.

use core::ffi::CStr;
use core::fmt::Write;

use super::ask::{PROMPT_MS, ask};
use super::facts::StateWords;
use super::json::Json;
use super::names::{All, Names};
use super::output::{Errors, Output, Plain, complain};
use super::parse::Options;
use super::verb::Act;
use crate::control::wire::{Code, Doing, GuestInfo, Power, Reply, Request, State, Until};
use crate::limits;
use crate::sys::clock::now_ms;

/// Does `act` to each of the guests that `words` name. Returns the first exit code that is not 0.
#[inline(never)]
pub fn guests(act: Act, words: &[&'static CStr], options: &Options, out: &mut Output) -> u8 {
    let (what, until, done) = match act {
        Act::Start if options.wait => (Doing::Start, Some(Until::Ready), "ready"),
        Act::Start => (Doing::Start, Some(Until::Started), "started"),
        Act::Restart if options.wait => (Doing::Restart, Some(Until::Ready), "ready"),
        Act::Restart => (Doing::Restart, Some(Until::Started), "restarted"),
        Act::Stop => (Doing::Stop, Some(Until::Gone), "stopped"),
        Act::Freeze => (Doing::Freeze, Some(Until::Frozen), "frozen"),
        Act::Thaw => (Doing::Thaw, None, "thawed"),
        _ => (Doing::Kill, Some(Until::Gone), "killed"),
    };
    let names = match Names::read(words, All::Guests, options) {
        Ok(names) => names,
        Err(code) => return out.finish(code),
    };
    let default_ms = (act == Act::Freeze).then_some(limits::FREEZE_TIMEOUT_MS);
    let deadline_ms = options.timeout_ms.or(default_ms).map(|ms| now_ms().saturating_add(ms));
    let mut asked = Asked { codes: heapless::Vec::new(), names: &names, options, deadline_ms };
    asked.begin(what);
    if let Some(until) = until {
        asked.wait(until);
    }
    let told = if options.quiet || !names.by_pattern { "" } else { done };
    let code = asked.print(told, out);
    out.finish(code)
}

/// What became of each guest.
struct Asked<'a> {
    names: &'a Names,
    /// As many as names: exit codes.
    codes: heapless::Vec<u8, { limits::GUESTS }>,
    options: &'a Options,
    deadline_ms: Option<u64>,
}

impl Asked<'_> {
    fn ask(&self, request: &Request) -> u8 {
        let left_ms = self.deadline_ms.map(|deadline_ms| deadline_ms.saturating_sub(now_ms()));
        ask(self.options.socket, request, left_ms, &mut |_, _| {}).err().unwrap_or(0)
    }

    fn begin(&mut self, what: Doing) {
        for &guest in &self.names.all {
            // As many as there are names.
            let _ = self.codes.push(self.ask(&Request::Begin { guest, what }));
        }
    }

    fn wait(&mut self, until: Until) {
        for (index, &guest) in self.names.all.iter().enumerate() {
            if self.codes.get(index) != Some(&0) {
                continue;
            }
            let code = self.ask(&Request::Wait { guest, until });
            if code == Code::TimedOut.exit() {
                return self.find_late(index, until);
            }
            if let Some(slot) = self.codes.get_mut(index) {
                *slot = code;
            }
        }
    }

    /// The time is over: from `first` on, who is not `until` yet is told with what it waits for.
    #[inline(never)]
    fn find_late(&mut self, first: usize, until: Until) {
        let late = Code::TimedOut.exit();
        for (code, name) in self.codes.iter_mut().zip(&self.names.all).skip(first).filter(|(code, _)| **code == 0) {
            *code = late;
            let mut told = false;
            let request = Request::Status { guest: *name };
            let _ = ask(self.options.socket, &request, Some(PROMPT_MS), &mut |reply, _| {
                if let Reply::Guest(info) = reply {
                    told = true;
                    *code = if is(info, until) { 0 } else { tell_late(info, until) };
                }
            });
            if !told {
                // The supervisor does not answer: nor would it for the others.
                complain(format_args!("{}: no answer in time", name.as_str()));
            }
        }
    }

    /// Prints what became of each, `done` for those that are done, and returns the first exit code that is not 0.
    fn print(&self, done: &str, out: &mut Output) -> u8 {
        for (name, code) in self.names.all.iter().zip(&self.codes) {
            if self.options.json {
                let mut json = Json::new(out);
                json.begin_object();
                json.key("guest");
                json.string(name.as_str());
                json.key("done");
                json.boolean(*code == 0);
                json.key("exit");
                json.number((*code).into());
                json.end_object();
                json.end_text();
            } else if *code == 0 && !done.is_empty() {
                let _ = writeln!(out, "{}: {done}", name.as_str());
            }
        }
        core::iter::once(self.names.code).chain(self.codes.iter().copied()).find(|code| *code != 0).unwrap_or(0)
    }
}

/// Whether a guest is what was waited for.
fn is(info: &GuestInfo<'_>, until: Until) -> bool {
    match until {
        Until::Ready => info.state == State::Ready,
        Until::Started => matches!(info.state, State::Running | State::Ready),
        Until::Gone => matches!(info.state, State::Down | State::Failed | State::Waiting | State::Delayed),
        Until::Frozen => info.state == State::Frozen,
    }
}

/// "web: not ready in time: waiting for store".
fn tell_late(info: &GuestInfo<'_>, until: Until) -> u8 {
    let mut line = Errors::new();
    let _ = write!(line, "inn: {}: not {} in time: {}", info.name, until.word(), StateWords(info));
    let _ = if info.awaits.is_empty() { line.write_char('\n') } else { writeln!(line, "; {}", Plain(info.awaits)) };
    if until == Until::Frozen {
        let _ = writeln!(
            Errors::new(),
            "  a process of it waits for the kernel; it stands still after that. `inn thaw {}` takes it back",
            info.name
        );
    }
    Code::TimedOut.exit()
}

/// Takes the host down.
#[inline(never)]
pub fn power(act: Act, options: &Options, out: &mut Output) -> u8 {
    let how = match act {
        Act::PowerOff => Power::PowerOff,
        Act::Reboot => Power::Reboot,
        _ => Power::Halt,
    };
    let result = ask(options.socket, &Request::Power { how }, options.timeout_ms, &mut |_, _| {});
    out.finish(result.err().unwrap_or(0))
}
