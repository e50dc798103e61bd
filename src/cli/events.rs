//! `inn events`: what happened to guests, an object a line, decoded here from the supervisor's ring.

use rustix::fd::{BorrowedFd, OwnedFd};

use super::ask::{FAILED, PROMPT_MS, ask};
use super::facts;
use super::follow::{Follower, Wake};
use super::json::Json;
use super::output::{Output, complain};
use super::parse::{Options, Since};
use crate::calendar::Stamp;
use crate::config::key::Key;
use crate::control::wire::{EVENT_BYTES, Event, Happening, Reason, Reply, Request};
use crate::fault::{ErrnoWords, Fault};
use crate::supervise::ring::Reader;
use crate::sys::{Errno, clock};

/// The supervisor's events, being read.
#[derive(Debug)]
pub struct Events {
    reader: Reader<OwnedFd>,
}

/// One of them, as it was kept.
#[derive(Debug)]
pub struct Record {
    bytes: [u8; EVENT_BYTES],
    used: usize,
    time_us: u64,
}

impl Record {
    /// What it says; nothing where this program does not know it: the supervisor's is another.
    #[must_use]
    pub fn event(&self) -> Option<Event<'_>> {
        Event::decode(self.bytes.get(..self.used)?).ok()
    }
}

impl Events {
    /// Asks for them.
    ///
    /// # Errors
    /// The exit code; the user has been told.
    pub fn open(options: &Options) -> Result<Events, u8> {
        let mut opened = Err(Errno::NODEV);
        ask(options.socket, &Request::Events, options.timeout_ms.or(Some(PROMPT_MS)), &mut |reply, descriptor| {
            if let (Reply::Events, Some(ring)) = (reply, descriptor) {
                opened = Reader::open(ring);
            }
        })?;
        opened.map(|reader| Events { reader }).map_err(failed)
    }

    /// What they are read from.
    #[must_use]
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.reader.memory()
    }

    /// Goes behind those that there are.
    ///
    /// # Errors
    /// As pread(2).
    pub fn skip_all(&mut self) -> Result<(), Errno> {
        self.reader.skip_to(self.reader.last_lines(0)?);
        Ok(())
    }

    /// The next one; nothing where no more is there yet.
    ///
    /// # Errors
    /// As pread(2).
    pub fn read(&mut self) -> Result<Option<Record>, Errno> {
        let mut record = Record { bytes: [0; EVENT_BYTES], used: 0, time_us: 0 };
        let chunk = self.reader.read(&mut record.bytes)?;
        (record.used, record.time_us) = (chunk.bytes, chunk.time_us);
        Ok((chunk.bytes > 0).then_some(record))
    }
}

fn failed(errno: Errno) -> u8 {
    complain(format_args!("events: {}", ErrnoWords(errno.raw_os_error() as u16)));
    FAILED
}

/// Prints what is kept of what happened, and with `--follow` what comes.
#[inline(never)]
pub fn events(options: &Options, out: &mut Output) -> u8 {
    let mut follower = options.follow.then(|| Follower::begin(options.socket));
    let mut events = match Events::open(options) {
        Ok(events) => events,
        Err(code) => return code,
    };
    follower.iter_mut().for_each(|follower| follower.add(events.memory()));
    let mut printed = match Printed::new(&mut events, options) {
        Ok(printed) => printed,
        Err(errno) => return failed(errno),
    };
    loop {
        if let Err(errno) = printed.all(&mut events, out) {
            return out.finish(failed(errno));
        }
        out.flush();
        let Some(follower) = follower.as_ref().filter(|_| out.works()) else { return out.finish(0) };
        match follower.wait(None) {
            Wake::More => {}
            Wake::Unread => return out.finish(0),
            Wake::Ended => {
                let _ = printed.all(&mut events, out);
                out.flush();
                complain(format_args!("the supervisor has ended"));
                return out.finish(FAILED);
            }
        }
    }
}

/// How far printing has come.
struct Printed {
    /// What is to be added to the time of an event for that on the wall.
    real_us: u64,
    since: Option<Since>,
    /// The number of the next one, where those before it are missed if they do not come.
    next: Option<u64>,
}

impl Printed {
    fn new(events: &mut Events, options: &Options) -> Result<Printed, Errno> {
        let real_us = clock::wall_us();
        let mut since = options.since;
        if let Some(Since::Number(number)) = since {
            let (begin, mut last) = (events.reader.place(), 0);
            while let Some(record) = events.read()? {
                last = record.event().map_or(last, |event| event.sequence);
            }
            events.reader.go_back(begin, 0);
            // That number is another supervisor's, which was before this one: all of this one's are new.
            since = since.filter(|_| number <= last);
        }
        let next = match since {
            None => Some(1),
            Some(Since::Number(number)) => Some(number.saturating_add(1)),
            Some(Since::Moment(_)) => None,
        };
        Ok(Printed { real_us, since, next })
    }

    /// Prints what there is.
    fn all(&mut self, events: &mut Events, out: &mut Output) -> Result<(), Errno> {
        while let Some(record) = events.read()? {
            // One that this program does not know is missed.
            let Some(event) = record.event() else { continue };
            let real_us = record.time_us.wrapping_add(self.real_us);
            let is_wanted = match self.since {
                None => true,
                Some(Since::Number(number)) => event.sequence > number,
                Some(Since::Moment(from_us)) => real_us >= from_us,
            };
            if !is_wanted {
                continue;
            }
            let missed = self.next.map_or(0, |next| event.sequence.saturating_sub(next));
            if missed > 0 {
                gap(missed, out);
            }
            self.next = Some(event.sequence.saturating_add(1));
            print(&event, Stamp(real_us), out);
        }
        Ok(())
    }
}

/// `{"event":"gap","missed":17}`: so many were written over before they were read.
fn gap(missed: u64, out: &mut Output) {
    let mut json = Json::new(out);
    json.begin_object();
    json.key("event");
    json.string("gap");
    json.key("missed");
    json.number(missed);
    json.end_object();
    json.end_text();
}

fn print(event: &Event<'_>, stamp: Stamp, out: &mut Output) {
    let mut json = Json::new(out);
    json.begin_object();
    json.key("seq");
    json.number(event.sequence);
    json.key("time");
    json.display(stamp);
    json.key("event");
    json.string(word(&event.what));
    if !event.guest.is_all() {
        json.key("guest");
        json.string(event.guest.as_str());
        json.key("kind");
        json.string(facts::kind(event.kind));
    }
    details(&event.what, &mut json);
    json.end_object();
    json.end_text();
}

fn word(what: &Happening<'_>) -> &'static str {
    match what {
        Happening::Supervising { .. } => "supervising",
        Happening::GoingDown => "going-down",
        Happening::Starting => "starting",
        Happening::Started { .. } => "started",
        Happening::Ready => "ready",
        Happening::Stopping => "stopping",
        Happening::Ended { .. } => "ended",
        Happening::Down => "down",
        Happening::Failed => "failed",
        Happening::Delayed { .. } => "delayed",
        Happening::Stuck => "stuck",
        Happening::Trouble { .. } => "trouble",
        Happening::Killed { .. } => "out-of-memory",
        Happening::Changed { .. } => "changed",
        Happening::Frozen => "frozen",
        Happening::Thawed => "thawed",
        Happening::Unhealthy { .. } => "unhealthy",
        Happening::CheckFailed { .. } => "check-failed",
        Happening::Well => "well",
        Happening::Reloaded { .. } => "reloaded",
        Happening::Removed => "removed",
        Happening::LogTrouble { .. } => "log-trouble",
        Happening::LogWritten => "log-written",
        Happening::HookFailed { .. } => "hook-failed",
        Happening::GivenUp { .. } => "given-up",
    }
}

fn details(what: &Happening<'_>, json: &mut Json<'_, Output>) {
    let mut number = |key: &str, value: u64| {
        json.key(key);
        json.number(value);
    };
    match *what {
        Happening::Supervising { pid, version } => {
            number("pid", pid.into());
            json.key("version");
            json.string(version);
        }
        Happening::Started { pid } => number("pid", pid.into()),
        Happening::Delayed { ms } => number("delay_ms", ms),
        Happening::Ended { reason, number: value, fault } => {
            match reason {
                Reason::Code => number("exit_code", value.into()),
                Reason::Signal => number("exit_signal", value.into()),
                _ => {}
            }
            json.key("exit");
            json.string(reason.word());
            error(fault, json);
        }
        Happening::Trouble { fault } | Happening::LogTrouble { fault } | Happening::HookFailed { fault } => {
            error(Some(fault), json);
        }
        Happening::Killed { count, victim, limit_bytes } => {
            number("killed", count.into());
            limit_bytes.into_iter().for_each(|bytes| number("limit_bytes", bytes));
            if let Some(victim) = victim {
                number("victim_pid", victim.pid.into());
                json.key("victim");
                json.string(victim.name);
                json.key("full");
                json.string(victim.full.word());
            }
        }
        Happening::Changed { keys } => {
            json.key("keys");
            json.begin_array();
            Key::ALL.iter().filter(|key| keys.has(**key)).for_each(|key| json.string(key.name()));
            json.end_array();
        }
        Happening::Unhealthy { illness } => {
            json.key("illness");
            json.string(illness.word());
        }
        Happening::CheckFailed { count, most, fault } => {
            number("failures", count.into());
            number("failures_limit", most.into());
            error(Some(fault), json);
        }
        Happening::Reloaded { refused } => number("refused", refused.into()),
        Happening::GivenUp { count, within_ms, then } => {
            number("ends", count.into());
            number("within_ms", within_ms);
            json.key("then");
            json.string(then);
        }
        Happening::Well
        | Happening::Removed
        | Happening::LogWritten
        | Happening::Frozen
        | Happening::Thawed
        | Happening::GoingDown
        | Happening::Starting
        | Happening::Ready
        | Happening::Stopping
        | Happening::Down
        | Happening::Failed
        | Happening::Stuck => {}
    }
}

fn error(fault: Option<Fault>, json: &mut Json<'_, Output>) {
    let Some(fault) = fault else { return };
    json.key("error");
    json.display(fault);
    if let Some(key) = fault.step.key() {
        json.key("key");
        json.string(key.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::Name;
    use crate::plan::Kind;
    use crate::supervise::ring::Ring;

    fn told(ring: &mut Ring, sequence: u64) {
        let guest = Name::new(&[b'g'; 63]).unwrap();
        let event = Event { sequence, guest, kind: Kind::Os, what: Happening::Delayed { ms: sequence } };
        ring.append_whole(event.encode(&mut [0; EVENT_BYTES]), sequence * 1_000_000).unwrap();
    }

    fn lines(events: &mut Events, printed: &mut Printed) -> std::vec::Vec<std::string::String> {
        let out: &mut Output = std::boxed::Box::leak(std::boxed::Box::new(Output::new()));
        printed.all(events, out).unwrap();
        core::str::from_utf8(out.taken()).unwrap().lines().map(std::string::String::from).collect()
    }

    #[test]
    fn who_does_not_keep_up_is_told_how_many_events_it_missed() {
        let mut ring = Ring::new(c"events", 1).unwrap();
        let mut events = Events { reader: Reader::open(ring.for_reading().unwrap()).unwrap() };
        let mut printed = Printed::new(&mut events, &Options::default()).unwrap();
        (1..=3).for_each(|sequence| told(&mut ring, sequence));
        let first = lines(&mut events, &mut printed);
        assert_eq!(first.len(), 3);
        assert!(first[0].starts_with("{\"seq\":1,") && first[0].ends_with("\"delay_ms\":1}"), "{first:?}");
        (4..=1000).for_each(|sequence| told(&mut ring, sequence));
        let later = lines(&mut events, &mut printed);
        let missed = 1000 - 3 - (later.len() - 1);
        assert_eq!(later[0], std::format!("{{\"event\":\"gap\",\"missed\":{missed}}}"));
        assert!(later[1].starts_with(&std::format!("{{\"seq\":{},", 4 + missed)), "{}", later[1]);
        assert_eq!(lines(&mut events, &mut printed), [""; 0]);

        // One who comes only now, and asks for all behind a number, or for all, or from a moment on.
        let since = |since| {
            let mut events = Events { reader: Reader::open(ring.for_reading().unwrap()).unwrap() };
            let mut printed = Printed::new(&mut events, &Options { since, ..Options::default() }).unwrap();
            lines(&mut events, &mut printed)
        };
        assert_eq!(since(Some(Since::Number(3))), later);
        assert_eq!(since(Some(Since::Number(999))).len(), 1);
        assert_eq!(since(None)[0], std::format!("{{\"event\":\"gap\",\"missed\":{}}}", missed + 3));
        assert_eq!(since(Some(Since::Number(5000))), since(None), "another supervisor's number");
        assert_eq!(since(Some(Since::Moment(0)))[..], later[1..]);
    }
}
