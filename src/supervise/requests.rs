//! Requests of clients that are being carried out: one a client.
//!
//! A request becomes a [`Job`]; each turn of the event loop every job goes as far as it can: until its client has to take
//! what was sent, or until a guest has come to the state that it waits for.

use core::fmt::Write;

use rustix::fd::OwnedFd;

use super::awaited::Awaited;
use super::change::{NotBegun, Outcome};
use super::driver::{Driver, Failure, Verdict};
use super::health::Health;
use super::snapshot::{self, Awaits, Cgroup, Facts};
use super::state::{Event, Exit, State};
use super::upgrade;
use crate::control::server::{ClientId, Sent, Server};
use crate::control::wire::{self, Changes, Code, Doing, Name, Place, Power, Reply, Request, Until};
use crate::fault::{Fault, Step};
use crate::limits;
use crate::plan::change::Refused;
use crate::plan::{GuestId, LogTo, Ready};

/// What is left to be done for a client.
#[derive(Clone, Copy, Debug)]
enum Job {
    /// A reply for each guest from `next` to before `end`, then Done.
    Each { what: What, next: u16, end: u16 },
    /// Done when the guest runs, or is ready; an error when it did not start.
    Up { id: GuestId, is_ready: bool },
    /// Done when nothing of the guest exists.
    Gone { id: GuestId },
    /// Done when all of the guest stands still; an error when it is not to any more.
    Still { id: GuestId },
    /// Done when the guest is changed; an error when it is not.
    Changed { id: GuestId, serial: u32 },
    /// An error: a step of a change failed.
    Unchanged { id: GuestId, fault: Fault, why: &'static str },
    /// An error: the plan does not take a change.
    Refused { id: GuestId, refused: Refused },
    /// Tells what is otherwise in the config, from this byte of it on; then what could not be changed, from this one on.
    Reload { serial: u32, next: u64, refused: u16 },
    /// Done, or an error where not all could be changed, when the config's guests alone are there.
    Removed { is_all: bool },
    /// An error, where another program does not come; else that is the one that answers.
    Upgrade,
    /// An error.
    Fail { code: Code, id: Option<GuestId>, why: &'static str },
}

/// What is told of each guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Guest,
    /// The guest, then what it may do.
    Whole,
    Bounds,
    Missing,
    Logs,
    Console,
    Join,
    /// Of the host; the guest does not matter.
    Host,
    Version,
    /// As [`What::Host`].
    Events,
}

/// What became of a job.
enum Progress {
    /// There is more to do, now.
    More,
    /// The client must take what was sent, or a guest must change.
    Waits,
    /// The client got its last reply, or is gone.
    Over,
}

/// Every client's job.
#[derive(Debug, Default)]
pub struct Requests {
    jobs: heapless::Vec<(ClientId, Job), { limits::CLIENTS }>,
}

/// What requests are answered from.
#[derive(Debug)]
pub struct Desk<'r, 'a> {
    /// The guests.
    pub driver: &'r mut Driver<'a>,
    /// The socket.
    pub server: &'r mut Server,
    /// About this supervisor.
    pub facts: &'r Facts<'r>,
    /// Whether this is the host's init.
    pub is_init: bool,
    /// Whether the host is going down.
    pub going_down: bool,
    /// The time.
    pub now_ms: u64,
}

impl Requests {
    /// Takes a client's request. Changes of a guest begin at once; what the host is to do is returned.
    pub fn take(&mut self, client: ClientId, request: &Request<'_>, desk: &mut Desk<'_, '_>) -> Option<Power> {
        self.forget(client);
        let (job, power) = begin(client, request, desk);
        // There is a place for every client.
        let _ = self.jobs.push((client, job));
        power
    }

    /// The client is gone.
    pub fn forget(&mut self, client: ClientId) {
        self.jobs.retain(|(other, _)| *other != client);
    }

    /// Whether a client is still to be told what became of reading the config again.
    #[must_use]
    pub fn has_reload(&self) -> bool {
        self.jobs.iter().any(|(_, job)| matches!(job, Job::Reload { .. }))
    }

    /// Goes on with every job, and calls `touched` for each client that something was sent to. Whether there is more to
    /// do now.
    pub fn advance(&mut self, desk: &mut Desk<'_, '_>, mut touched: impl FnMut(&Server, ClientId)) -> bool {
        let mut hurry = false;
        self.jobs.retain_mut(|(client, job)| {
            let progress = advance(*client, job, desk);
            touched(desk.server, *client);
            hurry |= matches!(progress, Progress::More);
            !matches!(progress, Progress::Over)
        });
        desk.driver.forget_outcome();
        hurry
    }
}

fn begin(client: ClientId, request: &Request<'_>, desk: &mut Desk<'_, '_>) -> (Job, Option<Power>) {
    let count = desk.driver.ids().count() as u16;
    let all = |what, end| (Job::Each { what, next: 0, end }, None);
    match *request {
        Request::List => return all(What::Guest, count),
        Request::HostStatus => return all(What::Host, 1),
        Request::Missing => return all(What::Missing, desk.facts.report.missing.len() as u16),
        Request::Version => return all(What::Version, 1),
        Request::Reload { dry } => return (reload(dry, desk), None),
        Request::Upgrade { path } => return (begin_upgrade(client, path, desk), None),
        Request::Events if desk.driver.news.ring().is_some() => return all(What::Events, 1),
        Request::Events => {
            let why = "there was no memory to keep events in";
            return (Job::Fail { code: Code::WrongState, id: None, why }, None);
        }
        Request::Logs { guest } if guest.is_all() => return all(What::Logs, count),
        Request::Power { .. } if !desk.is_init => {
            let why = "the host has another init; this supervisor ends with SIGTERM";
            return (Job::Fail { code: Code::WrongState, id: None, why }, None);
        }
        Request::Power { how } => return (Job::Each { what: What::Host, next: 0, end: 0 }, Some(how)),
        Request::Status { .. }
        | Request::Start { .. }
        | Request::Stop { .. }
        | Request::Restart { .. }
        | Request::Kill { .. }
        | Request::Join { .. }
        | Request::Logs { .. }
        | Request::Console { .. }
        | Request::Set { .. }
        | Request::Begin { .. }
        | Request::Wait { .. } => {}
    }
    let job = match find(request.guest(), desk) {
        Ok(id) => match *request {
            Request::Set { changes, .. } => set(client, id, changes, desk),
            _ => of_guest(request, id, desk),
        },
        Err(job) => job,
    };
    (job, None)
}

fn find(name: Name, desk: &Desk<'_, '_>) -> Result<GuestId, Job> {
    if name.is_all() {
        return Err(Job::Fail { code: Code::Usage, id: None, why: "say which guest" });
    }
    let found = desk.driver.plan().find(name.as_str().as_bytes());
    found.ok_or(Job::Fail { code: Code::NoGuest, id: None, why: "no guest or service has that name" })
}

fn of_guest(request: &Request<'_>, id: GuestId, desk: &mut Desk<'_, '_>) -> Job {
    let one = |what| Job::Each { what, next: id.0, end: id.0 + 1 };
    let wrong_state = |why| Job::Fail { code: Code::WrongState, id: Some(id), why };
    let up = |id, is_ready| Job::Up { id, is_ready };
    match *request {
        Request::Status { .. } => one(What::Whole),
        Request::Logs { .. } if desk.driver.need_ring(id).is_none() => {
            let to_kernel = desk.driver.guest(id).is_some_and(|guest| guest.log_to == LogTo::Kernel);
            wrong_state(if to_kernel { "its output goes to the kernel's log" } else { "nothing of its output is kept" })
        }
        Request::Logs { .. } => one(What::Logs),
        Request::Console { .. } if desk.driver.guest(id).is_none_or(|guest| !guest.has_console) => {
            wrong_state("it has no console: guests of kind os have one, others with console = pty")
        }
        Request::Console { .. } if desk.driver.console_of(id).is_none() => wrong_state("it does not run"),
        // What it writes is seen there; where no log is kept, from now on.
        Request::Console { .. } if desk.driver.need_console(id).is_none() => wrong_state("there is no memory for it"),
        Request::Console { .. } => one(What::Console),
        Request::Join { .. } if desk.driver.is_held(id) => wrong_state("it is frozen: thaw it first"),
        Request::Join { .. } if desk.driver.process(id).is_none() || !snapshot::is_up(desk.driver.state(id)) => {
            wrong_state("it does not run")
        }
        Request::Join { .. } => one(What::Join),
        Request::Start { wait, .. } => begun(Doing::Start, id, desk).unwrap_or_else(|| up(id, wait)),
        Request::Restart { wait, .. } => begun(Doing::Restart, id, desk).unwrap_or_else(|| up(id, wait)),
        Request::Stop { .. } => begun(Doing::Stop, id, desk).unwrap_or(Job::Gone { id }),
        Request::Kill { .. } => begun(Doing::Kill, id, desk).unwrap_or(Job::Gone { id }),
        Request::Begin { what, .. } => begun(what, id, desk).unwrap_or(Job::Each { what: What::Host, next: 0, end: 0 }),
        Request::Wait { until, .. } => match until {
            Until::Started => up(id, false),
            Until::Ready => up(id, true),
            Until::Gone => Job::Gone { id },
            Until::Frozen => Job::Still { id },
        },
        Request::List
        | Request::Set { .. }
        | Request::HostStatus
        | Request::Missing
        | Request::Power { .. }
        | Request::Version
        | Request::Reload { .. }
        | Request::Upgrade { .. }
        | Request::Events => one(What::Host),
    }
}

/// Begins to do something to a guest; the error, where its state or the host's does not allow that.
fn begun(what: Doing, id: GuestId, desk: &mut Desk<'_, '_>) -> Option<Job> {
    let Desk { driver, going_down, now_ms, .. } = desk;
    let wrong_state = |why| Some(Job::Fail { code: Code::WrongState, id: Some(id), why });
    let is_removed = driver.guest(id).is_some_and(|guest| guest.is_removed);
    match what {
        Doing::Start | Doing::Restart if is_removed => return wrong_state("the config has it no more"),
        Doing::Start | Doing::Restart if *going_down => return wrong_state("the host is going down"),
        Doing::Start | Doing::Restart if driver.is_safe => {
            return wrong_state("the supervisor has died too often, and starts nothing: `inn upgrade` ends that");
        }
        Doing::Start => driver.start(id, *now_ms),
        Doing::Restart => driver.feed(id, Event::Restart, *now_ms),
        Doing::Stop => driver.feed(id, Event::Stop, *now_ms),
        Doing::Kill => driver.feed(id, Event::Kill, *now_ms),
        Doing::Freeze | Doing::Thaw => {
            match driver.state(id) {
                State::Running | State::Ready => {}
                State::Stopping { .. } if what == Doing::Thaw => {}
                State::Stopping { .. } => return wrong_state("it is stopping"),
                State::Starting => return wrong_state("it is starting: try again"),
                _ => return wrong_state("it does not run"),
            }
            if let Err(fault) = driver.hold(id, what == Doing::Freeze, *now_ms) {
                return Some(Job::Unchanged { id, fault, why: "" });
            }
        }
    }
    None
}

fn reload(dry: bool, desk: &mut Desk<'_, '_>) -> Job {
    let fail = |code, why| Job::Fail { code, id: None, why };
    if desk.going_down {
        return fail(Code::WrongState, "the host is going down");
    }
    match desk.driver.begin_reload(dry, true, desk.now_ms) {
        Ok(serial) => Job::Reload { serial, next: 0, refused: 0 },
        Err(NotBegun::Failed(fault)) => Job::Unchanged { id: NOBODY, fault, why: "nothing was changed" },
        Err(_) => fail(Code::Busy, "another change is being made"),
    }
}

fn begin_upgrade(client: ClientId, path: &str, desk: &mut Desk<'_, '_>) -> Job {
    let fail = |code, why| Job::Fail { code, id: None, why };
    if desk.going_down {
        return fail(Code::WrongState, "the host is going down");
    }
    let mut name = heapless::Vec::<u8, { wire::TEXT_BYTES + 1 }>::new();
    // There is room for every text that comes.
    let _ = name.extend_from_slice(path.as_bytes()).map(|()| name.push(0));
    let name = core::ffi::CStr::from_bytes_until_nul(&name).unwrap_or_default();
    match desk.driver.begin_upgrade(client, name, desk.now_ms) {
        Ok(()) => Job::Upgrade,
        Err(NotBegun::Failed(fault)) => Job::Unchanged { id: NOBODY, fault, why: "nothing was changed" },
        Err(_) => fail(Code::Busy, "another change is being made"),
    }
}

/// No guest: it has no name.
const NOBODY: GuestId = GuestId(u16::MAX);

/// Begins changes, and sends what they replace.
fn set(client: ClientId, id: GuestId, changes: Changes<'_>, desk: &mut Desk<'_, '_>) -> Job {
    let fail = |code, why| Job::Fail { code, id: Some(id), why };
    let Desk { driver, server, now_ms, .. } = desk;
    if driver.is_changing() {
        return fail(Code::Busy, "another change is being made");
    }
    if let Some(guest) = driver.guest(id) {
        for change in changes.iter() {
            let was = driver.plan().present(guest, change);
            // There is room for all of them, unless the client has not taken what it asked for before.
            if server.send(client, &Reply::Was(was), None, *now_ms) != Sent::Done {
                return fail(Code::Busy, "earlier answers have not been taken");
            }
        }
    }
    match driver.change(id, changes.iter(), *now_ms) {
        Ok(serial) => Job::Changed { id, serial },
        Err(NotBegun::Busy) => fail(Code::Busy, "another change is being made"),
        Err(NotBegun::Between) => fail(Code::WrongState, "it is starting or ending: try again"),
        Err(NotBegun::Refused(refused)) => Job::Refused { id, refused },
        Err(NotBegun::Failed(fault)) => Job::Unchanged { id, fault, why: "nothing was changed" },
    }
}

fn advance(client: ClientId, job: &mut Job, desk: &mut Desk<'_, '_>) -> Progress {
    match *job {
        Job::Each { what, next, end } => each(client, job, desk, what, next, end),
        Job::Up { id, is_ready } => match desk.driver.state(id) {
            State::Ready => last(client, desk, &Reply::Done),
            State::Running if !is_ready => last(client, desk, &Reply::Done),
            State::Waiting if !is_ready && desk.driver.waits_for(id).is_some() => last(client, desk, &Reply::Done),
            // It may have started, and have done its work, since it was looked at.
            State::Failed | State::Delayed | State::Down if has_been(desk, id, is_ready) => {
                last(client, desk, &Reply::Done)
            }
            State::Failed | State::Delayed | State::Down => {
                let why = if has_been(desk, id, false) { "it ended before it was ready" } else { "it did not start" };
                *job = Job::Fail { code: Code::Failed, id: Some(id), why };
                advance(client, job, desk)
            }
            State::Waiting
            | State::Starting
            | State::Running
            | State::Stopping { .. }
            | State::Killing
            | State::StopHook
            | State::Clearing
            | State::DestroyHook => Progress::Waits,
        },
        Job::Reload { serial, next, refused } => reloaded(client, job, desk, (serial, next, refused)),
        Job::Upgrade => {
            let fail = |why| Job::Fail { code: Code::Failed, id: None, why };
            *job = match desk.driver.refused_upgrade(client) {
                None => return Progress::Waits,
                Some(upgrade::Refused::Failed(fault)) => {
                    Job::Unchanged { id: NOBODY, fault, why: "nothing was changed" }
                }
                Some(upgrade::Refused::Late) => fail("the new program does not answer in time; nothing was changed"),
                Some(upgrade::Refused::Stranger) => fail("it does not answer as an inn does; nothing was changed"),
                Some(upgrade::Refused::Version) => {
                    fail("it cannot read what this version keeps, so it would lose the guests; nothing was changed")
                }
                Some(upgrade::Refused::Config) => fail("it finds the config wrong; nothing was changed"),
            };
            advance(client, job, desk)
        }
        Job::Removed { .. } if desk.driver.is_removing() => Progress::Waits,
        Job::Removed { is_all: true } => last(client, desk, &Reply::Done),
        Job::Removed { is_all: false } => {
            fail(client, desk, Code::Failed, None, "not all of it could be changed; the rest holds")
        }
        Job::Gone { id } if desk.driver.is_down(id) => last(client, desk, &Reply::Done),
        // Somebody else has started it, so soon that nobody saw it down: it may be up for ever.
        Job::Gone { id } if matches!(desk.driver.state(id), State::Starting | State::Running | State::Ready) => {
            *job = Job::Fail { code: Code::WrongState, id: Some(id), why: "it was started again meanwhile" };
            advance(client, job, desk)
        }
        Job::Gone { .. } => Progress::Waits,
        Job::Still { id } if desk.driver.is_frozen(id) => last(client, desk, &Reply::Done),
        Job::Still { id } if desk.driver.is_held(id) && snapshot::is_up(desk.driver.state(id)) => Progress::Waits,
        Job::Still { id } => {
            *job = Job::Fail { code: Code::WrongState, id: Some(id), why: "it does not stand still any more" };
            advance(client, job, desk)
        }
        Job::Changed { id, serial } => {
            *job = match desk.driver.outcome(serial) {
                None => return Progress::Waits,
                Some(Outcome::Changed) => Job::Each { what: What::Host, next: 0, end: 0 },
                Some(Outcome::Unchanged(fault)) => Job::Unchanged { id, fault, why: "nothing was changed" },
                Some(Outcome::Half(fault)) => Job::Unchanged { id, fault, why: "what was changed could not be undone" },
                Some(Outcome::Ended) => {
                    Job::Fail { code: Code::WrongState, id: Some(id), why: "it ended meanwhile; nothing was changed" }
                }
            };
            advance(client, job, desk)
        }
        Job::Unchanged { id, fault, why } => {
            let failure = wire::Failure { fault: Some(fault), ..wire::Failure::new(Code::Failed, "", why) };
            fail_with(client, desk, id, failure)
        }
        Job::Refused { id, refused } => {
            let mut words = heapless::String::<256>::new();
            // It fits.
            let _ = write!(words, "{refused}; nothing was changed");
            fail_with(client, desk, id, wire::Failure::new(Code::Failed, "", &words))
        }
        Job::Fail { code, id, why } => fail(client, desk, code, id, why),
    }
}

/// Tells what came of reading the config again, as far as it is known.
fn reloaded(client: ClientId, job: &mut Job, desk: &mut Desk<'_, '_>, at: (u32, u64, u16)) -> Progress {
    let (serial, mut next, mut refused) = at;
    let Desk { driver, server, now_ms, .. } = desk;
    let mut buffer = [0; limits::MESSAGE_BYTES];
    for _ in 0..limits::LIST_BATCH {
        let Some((reply, behind)) = driver.told(serial).and_then(|told| told.message(next, &mut buffer)) else { break };
        match server.send(client, &reply, None, *now_ms) {
            Sent::Done => next = behind,
            Sent::Later => return Progress::Waits,
            Sent::Gone => return Progress::Over,
        }
        *job = Job::Reload { serial, next, refused };
    }
    if driver.told(serial).is_some_and(|told| told.message(next, &mut buffer).is_some()) {
        return Progress::More;
    }
    let Some(verdict) = driver.verdict(serial) else { return Progress::Waits };
    while let Some(failure) = driver.refused().get(usize::from(refused)) {
        let guest = failure.id.and_then(|id| driver.guest(id));
        // What it is to be says where that is asked for.
        let asked = failure.id.and_then(|id| driver.plan().next(id)).map(|next| &next.guest).or(guest);
        let place = asked.zip(failure.fault).and_then(|(guest, fault)| driver.place(guest, fault));
        let why = match failure {
            Failure { fault: None, .. } => "not all of [host] could be changed; the console says what",
            Failure { is_half: true, .. } => "what was changed could not be undone",
            _ => "it stays as it was",
        };
        let reply = Reply::Refused(wire::Failure {
            guest: guest.map_or("", |guest| driver.plan().strings.str(guest.name)),
            fault: failure.fault,
            place: place.map(|(file, line)| Place { file, line }),
            ..wire::Failure::new(Code::Failed, "", why)
        });
        match server.send(client, &reply, None, *now_ms) {
            Sent::Done => refused += 1,
            Sent::Later => return Progress::Waits,
            Sent::Gone => return Progress::Over,
        }
        *job = Job::Reload { serial, next, refused };
    }
    let fail = |code, why| Job::Fail { code, id: None, why };
    *job = match verdict {
        Verdict::Done => Job::Removed { is_all: driver.refused().is_empty() },
        Verdict::Dry => Job::Each { what: What::Host, next: 0, end: 0 },
        Verdict::Wrong => fail(Code::Usage, "the config cannot be used; nothing was changed"),
        Verdict::Late => {
            fail(Code::TimedOut, "reading the config took too long, its storage hangs; nothing was changed")
        }
        Verdict::GoingDown => fail(Code::WrongState, "the host is going down"),
        Verdict::Failed(fault) => Job::Unchanged { id: NOBODY, fault, why: "nothing was changed" },
    };
    advance(client, job, desk)
}

/// Whether the last run of a guest that is down got as far as its program, or as being ready.
fn has_been(desk: &Desk<'_, '_>, id: GuestId, is_ready: bool) -> bool {
    let has_run = desk.driver.now(id).is_some_and(|now| now.machine.has_run());
    let is_said = desk.driver.guest(id).is_some_and(|guest| guest.ready != Ready::Exec);
    has_run && (!(is_ready && is_said) || desk.driver.is_done(id))
}

fn each(client: ClientId, job: &mut Job, desk: &mut Desk<'_, '_>, what: What, next: u16, end: u16) -> Progress {
    let until = end.min(next.saturating_add(limits::LIST_BATCH as u16));
    for number in next..until {
        match tell(client, desk, what, GuestId(number)) {
            Sent::Done if what == What::Whole => {
                *job = Job::Each { what: What::Bounds, next: number, end };
                return Progress::More;
            }
            Sent::Done => *job = Job::Each { what, next: number + 1, end },
            Sent::Later => return Progress::Waits,
            Sent::Gone => return Progress::Over,
        }
    }
    if until < end { Progress::More } else { last(client, desk, &Reply::Done) }
}

fn tell(client: ClientId, desk: &mut Desk<'_, '_>, what: What, id: GuestId) -> Sent {
    let (mut cgroup, mut awaits) = (Cgroup::new(), Awaits::new());
    let Desk { driver, server, facts, going_down, now_ms, is_init: _ } = desk;
    let now_ms = *now_ms;
    match what {
        What::Bounds => match snapshot::bounds(driver, id) {
            Some(bounds) => server.send(client, &Reply::Bounds(bounds), None, now_ms),
            None => Sent::Done,
        },
        What::Missing => match snapshot::missing(facts, id.0) {
            Some(missing) => server.send(client, &Reply::Missing(missing), None, now_ms),
            None => Sent::Done,
        },
        What::Guest | What::Whole => match snapshot::guest(driver, facts, id, now_ms, (&mut cgroup, &mut awaits)) {
            Some(info) => server.send(client, &Reply::Guest(info), None, now_ms),
            None => Sent::Done,
        },
        What::Host => {
            server.send(client, &Reply::Host(snapshot::host(driver, facts, *going_down, now_ms)), None, now_ms)
        }
        What::Version => server.send(client, &Reply::Version(env!("CARGO_PKG_VERSION")), None, now_ms),
        What::Join => match snapshot::join(driver, facts, id, &mut cgroup).zip(driver.process(id)) {
            Some((info, process)) => server.send(client, &Reply::Join(info), Some(process), now_ms),
            None => Sent::Done,
        },
        What::Console => {
            let Some((master, guest)) = driver.console_of(id).zip(driver.guest(id)) else { return Sent::Done };
            let guest = driver.plan().strings.str(guest.name);
            server.send(client, &Reply::Console { guest }, Some(master), now_ms)
        }
        What::Logs | What::Events => {
            let ring = if what == What::Events { driver.news.ring() } else { driver.ring(id) };
            let Some(ring) = ring else { return Sent::Done };
            let guest = driver.guest(id).map_or("", |guest| driver.plan().strings.str(guest.name));
            let file = driver.guest(id).map_or("", |guest| driver.plan().strings.str(guest.log_to.path()));
            let reply = if what == What::Events { Reply::Events } else { Reply::Logs { guest, file } };
            match ring.for_reading() {
                Ok(memory) => server.send(client, &reply, Some(as_fd(&memory)), now_ms),
                Err(errno) => {
                    driver.journal.trouble("open a log", errno, now_ms);
                    Sent::Done
                }
            }
        }
    }
}

fn as_fd(fd: &OwnedFd) -> rustix::fd::BorrowedFd<'_> {
    rustix::fd::AsFd::as_fd(fd)
}

fn fail_with(client: ClientId, desk: &mut Desk<'_, '_>, id: GuestId, failure: wire::Failure<'_>) -> Progress {
    let Desk { driver, server, now_ms, .. } = desk;
    let guest = driver.guest(id).map_or("", |guest| driver.plan().strings.str(guest.name));
    sent(server.send(client, &Reply::Error(wire::Failure { guest, ..failure }), None, *now_ms))
}

fn fail(client: ClientId, desk: &mut Desk<'_, '_>, code: Code, id: Option<GuestId>, why: &str) -> Progress {
    let plan = desk.driver.plan();
    let mut words = heapless::String::<256>::new();
    let mut failure = wire::Failure::new(code, "", why);
    if let Some((id, guest)) = id.and_then(|id| Some((id, desk.driver.guest(id)?))) {
        failure.guest = plan.strings.str(guest.name);
        let exit = desk.driver.now(id).and_then(|now| now.machine.exit());
        match exit.filter(|_| code == Code::Failed) {
            Some(Exit::Failed(fault)) if let Some(culprit) = desk.driver.culprit_of(fault) => {
                // What does not fit is cut.
                let _ = write!(words, "{why}: {culprit}");
                failure.why = &words;
            }
            Some(Exit::Failed(fault)) if fault.step == Step::ReadyInTime => {
                let awaited = Awaited { plan, guest };
                let _ = write!(words, "{why} in time: it still waited for {awaited}");
                failure.why = &words;
            }
            Some(Exit::Failed(fault)) => {
                failure.fault = Some(fault);
                failure.place = desk.driver.place(guest, fault).map(|(file, line)| Place { file, line });
                // A value that does not fit is left out.
                let said = desk.driver.health(id).map_or("", Health::said);
                let value = desk.driver.value(guest, fault);
                let written = match fault.step.is_hook() && !said.is_empty() {
                    true => write!(words, "{why} ({value} said: {said})"),
                    false => write!(words, "{why} ({value})"),
                };
                if fault.step.key().is_some() && written.is_ok() {
                    failure.why = &words;
                }
            }
            Some(exit) => {
                // It fits.
                let _ = write!(words, "{why}: {exit}");
                failure.why = &words;
            }
            None => {}
        }
    }
    sent(desk.server.send(client, &Reply::Error(failure), None, desk.now_ms))
}

fn last(client: ClientId, desk: &mut Desk<'_, '_>, reply: &Reply<'_>) -> Progress {
    sent(desk.server.send(client, reply, None, desk.now_ms))
}

fn sent(sent: Sent) -> Progress {
    match sent {
        Sent::Later => Progress::Waits,
        Sent::Done | Sent::Gone => Progress::Over,
    }
}
