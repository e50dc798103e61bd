//! The event loop: where the outside world (a signal, a descriptor, a client, the clock) becomes events.
//!
//! No call that fails here ends the loop: it is told, and the loop goes on. It cannot spin over one, for a turn with
//! trouble is followed by a pause.

use core::fmt::Write;

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::change::NotBegun;
use super::devices::{Devices, Subject};
use super::driver::Driver;
use super::kept::{self, Host};
use super::manager::{Doing, Manager};
use super::poll::{self, EVENTS, Happened, Interest, Part, Poll, Source};
use super::requests::{Desk, Requests};
use super::snapshot::Facts;
use super::state::{Event, State};
use super::upgrade::Refused;
use super::wellness::{Call, Reason, Wellness};
use crate::config::diagnostic::{Amount, Unit};
use crate::control::server::{self, ClientId, Incoming, Refusal, Server, Wants};
use crate::control::wire::{Happening, Power, REQUEST_BYTES};
use crate::fault::{Fault, Step};
use crate::host::console::{Console, Level};
use crate::host::emergency::Emergency;
use crate::host::power::{Bounds, Wanted};
use crate::host::timeline::{self, Stage};
use crate::host::watchdog::Watchdog;
use crate::host::{hardening, modules};
use crate::limits;
use crate::plan::{GiveUp, GuestId, Kind, Remedy};
use crate::sys::memory::discard_old_stack;
use crate::sys::{clock, descriptor, fatal, signal};

/// How long the loop rests after a turn with trouble.
const PAUSE_NS: i64 = 10_000_000;
/// How long PID 1 waits before it tries again to make its socket.
const SOCKET_RETRY_MS: u64 = 1_000;

/// What this process is.
#[derive(Debug)]
pub enum Role<'a> {
    /// The host's init.
    Init {
        /// Where it speaks.
        console: &'a Console,
        /// The shell that runs in place of guests, where there is no config to go by.
        emergency: Option<Emergency>,
        /// What resets the machine where this loop hangs.
        watchdog: &'a mut Watchdog,
    },
    /// An ordinary process.
    Process,
}

/// The host is going down.
#[derive(Clone, Copy, Debug)]
struct Ending {
    wanted: Option<Wanted>,
    bounds: Bounds,
    killed: bool,
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the machine is to do; nothing where this is not its init.
    pub wanted: Option<Wanted>,
    /// When each part of going down is over.
    pub bounds: Bounds,
    /// Whether every guest is down.
    pub all_down: bool,
    /// The emergency shell was left, and nothing else was there: the boot goes on, from its beginning.
    pub boots_on: bool,
}

/// The supervisor.
#[derive(Debug)]
pub struct Supervisor<'a> {
    poll: &'a Poll,
    signals: OwnedFd,
    role: Role<'a>,
    driver: Driver<'a>,
    devices: Devices,
    facts: Facts<'a>,
    socket: &'a core::ffi::CStr,
    server: Option<Server>,
    /// When to try again to make the socket.
    socket_at_ms: Option<u64>,
    requests: Requests,
    wellness: Wellness,
    ending: Option<Ending>,
    reap_more: bool,
    /// The host counts as up by then, if not before; nothing once it does.
    up_by_ms: Option<u64>,
    /// Something was done that takes much stack. Orphans and guests' output come too often to give it back each time.
    was_deep: bool,
    /// A signal has asked for the config to be read again.
    hang_ups: bool,
    /// What the program before has left.
    left: Option<(Host, bool)>,
    /// Another init, which wants to know how this process is.
    manager: Option<Manager>,
    /// Who has asked for this program, and is told when it has taken over.
    asker: Option<OwnedFd>,
}

impl<'a> Supervisor<'a> {
    /// A supervisor with nothing started yet. Every signal must be blocked, and `signals` be what [`hear_signals`] gave.
    pub fn new(
        poll: &'a Poll,
        signals: OwnedFd,
        role: Role<'a>,
        driver: Driver<'a>,
        facts: Facts<'a>,
        socket: &'a core::ffi::CStr,
    ) -> Supervisor<'a> {
        Supervisor {
            poll,
            signals,
            role,
            driver,
            devices: Devices::default(),
            facts,
            socket,
            server: None,
            socket_at_ms: None,
            requests: Requests::default(),
            wellness: Wellness::new(),
            ending: None,
            // What ended before the signals were heard.
            reap_more: true,
            up_by_ms: None,
            was_deep: true,
            hang_ups: false,
            left: None,
            manager: None,
            asker: None,
        }
    }

    /// This goes on with what the program before has left, in place of starting anything; `is_back` where a program that was
    /// to take the place of this one has died too early.
    pub fn go_on(&mut self, host: Host, is_back: bool) {
        self.left = Some((host, is_back));
    }

    /// Kills and removes what an earlier supervisor left of these guests.
    pub fn clear_leftovers(&mut self) {
        self.driver.clear_leftovers();
    }

    /// Has `manager` told what this process does.
    pub fn report_to(&mut self, manager: Manager) {
        self.manager = Some(manager);
    }

    /// Makes the control socket.
    ///
    /// # Errors
    /// The call that failed.
    pub fn listen(&mut self) -> Result<(), Refusal> {
        let server = Server::bind(self.socket)?;
        let watched = self.poll.watch(server.listener(), Source::Listener, Interest::Readable);
        watched.map_err(|errno| Refusal { call: "epoll_ctl", errno })?;
        self.server = Some(server);
        Ok(())
    }

    /// Makes the control socket, unless it is there; where that fails, it is tried again later.
    fn insist_on_socket(&mut self, now_ms: u64) {
        self.socket_at_ms = None;
        if self.server.is_none()
            && let Err(refusal) = self.listen()
        {
            self.driver.journal.error(format_args!("no control socket: {refusal}; trying again"));
            self.socket_at_ms = Some(now_ms.saturating_add(SOCKET_RETRY_MS));
        }
    }

    /// Starts the guests that start with the host, or goes on with those that there are, and runs until all is to go down
    /// and is.
    pub fn run(&mut self) -> Outcome {
        let now_ms = clock::now_ms();
        match self.left.take() {
            Some((host, is_back)) => {
                self.recall(&host, is_back, now_ms);
                self.insist_on_socket(now_ms);
            }
            None => {
                // Whoever starts with the host may ask for something at once.
                self.insist_on_socket(now_ms);
                self.begin(now_ms);
            }
        }
        self.watch_shell();
        let mut events = poll::no_events();
        loop {
            let now_ms = clock::now_ms();
            let hurry = self.settle(now_ms);
            let outcome = self.outcome(now_ms);
            self.keep(outcome.is_some());
            self.take_over();
            if let Some(outcome) = outcome {
                return outcome;
            }
            self.upgrade();
            if !hurry && core::mem::take(&mut self.was_deep) {
                discard_old_stack();
            }
            let timeout_ms = if hurry { Some(0) } else { self.deadline_ms().map(|due| due.saturating_sub(now_ms)) };
            fatal::rest();
            let count = self.poll.wait(&mut events, timeout_ms).unwrap_or_else(|errno| {
                if errno != Errno::INTR {
                    self.driver.journal.trouble("epoll_wait", errno, now_ms);
                }
                0
            });
            fatal::work();
            let now_ms = clock::now_ms();
            for happened in events.iter().take(count.min(EVENTS)).filter_map(|&event| poll::decode(event)) {
                self.happened(happened, now_ms);
            }
            self.time_out(now_ms);
            if self.driver.journal.take_trouble() {
                // It may end early; it only has to keep a failing call from being made without end.
                let _ = rustix::thread::nanosleep(&Timespec { tv_sec: 0, tv_nsec: PAUSE_NS });
            }
        }
    }

    fn begin(&mut self, now_ms: u64) {
        self.tell_began();
        self.driver.prepare_logs();
        for id in self.driver.ids() {
            if self.driver.guest(id).is_some_and(|guest| guest.autostart) {
                self.driver.start(id, now_ms);
            }
        }
        if matches!(self.role, Role::Init { .. }) || self.manager.is_some() {
            self.up_by_ms = Some(now_ms.saturating_add(limits::UP_TIMEOUT_MS));
        }
        if let Role::Init { .. } = self.role {
            self.wellness.begin(&self.driver, 0, now_ms);
        }
        self.watch_devices(now_ms);
    }

    fn tell_began(&mut self) {
        let pid = rustix::process::getpid().as_raw_nonzero().get() as u32;
        let version = env!("CARGO_PKG_VERSION");
        self.driver.news.tell(b"", Kind::Service, Happening::Supervising { pid, version });
    }

    // What is left to the program that this one becomes.

    fn recall(&mut self, host: &Host, is_back: bool, now_ms: u64) {
        self.server = kept::descriptor_of(host.listener).and_then(|listener| Server::adopt(listener).ok());
        if let Some(server) = &self.server
            && let Err(errno) = self.poll.watch(server.listener(), Source::Listener, Interest::Readable)
        {
            self.driver.journal.trouble("epoll_ctl", errno, now_ms);
            self.server = None;
        }
        let recalled = self.driver.recall(host, now_ms);
        self.up_by_ms = Some(host.up_by_ms).filter(|by| *by != 0);
        self.hang_ups = host.is_asked;
        self.ending = host.ending().map(|(wanted, bounds)| Ending { wanted, bounds, killed: host.is_killed });
        if self.ending.is_some() {
            self.driver.refuse_reload();
        } else if let Role::Init { .. } = self.role {
            self.wellness.begin(&self.driver, host.judged_by_ms, now_ms);
        }
        self.driver.is_safe = host.is_safe;
        self.asker = kept::descriptor_of(host.client).filter(|_| host.deaths[0] == 0 || is_back);
        descriptor::close_unclaimed();
        self.tell_began();
        let journal = &self.driver.journal;
        if is_back {
            journal.error(format_args!("{}", server::CAME_BACK));
            if let Some(client) = self.asker.take() {
                server::tell_failed(&client, server::CAME_BACK);
            }
        }
        match (host.is_safe, host.deaths[0]) {
            (true, _) => journal.error(format_args!(
                "died {} times within a minute: safe mode: it goes on, and starts nothing until `inn upgrade` or the next boot",
                kept::DEATHS
            )),
            (false, 0) => journal.line(format_args!("replaced by {}; all guests go on", env!("CARGO_PKG_VERSION"))),
            (false, _) => journal.error(format_args!("died and goes on; no guest was stopped")),
        }
        self.driver.go_on_with(&recalled, host.shell as u32, now_ms);
        self.watch_devices(now_ms);
    }

    /// Leaves all that is known now; `is_over` where nothing is left but to take the machine down.
    fn keep(&mut self, is_over: bool) {
        let shell = match &self.role {
            Role::Init { emergency, .. } => emergency.as_ref().map(|emergency| (emergency.pid(), emergency.goes_on())),
            Role::Process => None,
        };
        let listener = kept::number_of(self.server.as_ref().map(Server::descriptor_of_listener));
        let ending = self.ending.map(|ending| (ending.wanted, ending.bounds));
        let (watchdog, watchdog_ms) = match &self.role {
            Role::Init { watchdog, .. } => watchdog.kept(),
            Role::Process => (None, 0),
        };
        let watchdog = kept::number_of(watchdog);
        let (up_by_ms, hang_ups) = (self.up_by_ms.unwrap_or(0), self.hang_ups);
        let boot_ms = self.facts.report.timeline.map(|ms| ms.map_or(0, u64::from));
        let is_killed = self.ending.is_some_and(|ending| ending.killed);
        let judged_by_ms = self.wellness.judged_by_ms();
        self.driver.keep_all(|host| {
            let (pid, goes_on) = shell.unwrap_or_default();
            (host.shell, host.is_emergency, host.goes_on) = (pid.into(), shell.is_some(), goes_on);
            (host.listener, host.up_by_ms, host.judged_by_ms) = (listener, up_by_ms, judged_by_ms);
            (host.watchdog, host.watchdog_ms, host.boot_ms) = (watchdog, watchdog_ms, boot_ms);
            host.set_ending(ending);
            (host.is_killed, host.is_over) = (is_killed, is_over);
            host.is_asked |= hang_ups;
        });
    }

    /// The first turn is over, where this program has come in another's place: it stays.
    fn take_over(&mut self) {
        self.driver.take_over();
        if let Some(client) = self.asker.take() {
            server::tell_done(&client);
        }
    }

    /// Becomes the program that has been asked, and could go on; where that fails, this one does.
    fn upgrade(&mut self) {
        let Some((answer, client)) = self.driver.take_answer() else { return };
        let socket = client.and_then(|client| self.server.as_ref()?.owned(client));
        let errno = self.driver.become_other(&answer, kept::number_of(socket));
        let fault = Fault { step: Step::ExecuteProgram, errno: errno.raw_os_error() as u16, detail: 0 };
        self.driver.journal.error(format_args!("not replaced: could not {fault}"));
        self.driver.refuse_upgrade(Refused::Failed(fault));
        self.keep(false);
    }

    // One turn.

    /// Does what follows from the state of things; whether there is more to do at once.
    fn settle(&mut self, now_ms: u64) -> bool {
        if self.reap_more {
            self.shell_ended();
            let shell = match &self.role {
                Role::Init { emergency: Some(emergency), .. } => emergency.pid(),
                _ => 0,
            };
            // Among the orphans it would be lost how it ended.
            self.reap_more = self.driver.reap(shell, now_ms);
        }
        self.go_down(now_ms);
        self.attend_devices(now_ms);
        self.come_up(now_ms);
        let came_up = self.reload(now_ms);
        let starts = self.driver.start_waiting(now_ms);
        let killed = self.driver.tell_killed(now_ms);
        self.driver.keep_logs(now_ms);
        self.look_after_host(now_ms);
        let requests = self.answer(now_ms);
        // What kept it waiting may be over with the last answer.
        self.driver.keep_verdict(self.requests.has_reload());
        self.report(now_ms);
        let hung_up = self.hang_ups && !self.driver.is_changing() && self.ending.is_none();
        self.reap_more || starts || killed || requests || came_up || hung_up
    }

    /// Tells another init what this process does.
    fn report(&mut self, now_ms: u64) {
        let Some(manager) = &mut self.manager else { return };
        let doing = if self.ending.is_some() {
            Doing::Stopping(self.driver.plan().host.shutdown_timeout_ms)
        } else if self.up_by_ms.is_some() {
            Doing::Starting
        } else if self.driver.is_reloading() {
            Doing::Reloading
        } else {
            Doing::Supervising(self.driver.ids().count())
        };
        if let Err(errno) = manager.tell(doing, now_ms) {
            self.driver.journal.trouble("NOTIFY_SOCKET: sendto", errno, now_ms);
            self.manager = None;
        }
    }

    /// Takes away what only a host that comes up needs, once every guest that starts with it has started or failed.
    fn come_up(&mut self, now_ms: u64) {
        let Some(by_ms) = self.up_by_ms else { return };
        let is_awaited = self.manager.is_some();
        let comes_up = |id: &GuestId| {
            let starts = match self.driver.state(*id) {
                State::Waiting | State::Starting => true,
                // Another init goes on when all are ready.
                State::Running => is_awaited,
                _ => false,
            };
            starts && self.driver.guest(*id).is_some_and(|guest| guest.autostart)
        };
        let is_busy = self.devices.is_busy(Subject::Modules) || self.driver.ids().any(|id| comes_up(&id));
        if now_ms < by_ms && self.ending.is_none() && is_busy {
            return;
        }
        self.up_by_ms = None;
        if let Role::Init { console, .. } = &self.role
            && self.ending.is_none()
        {
            timeline::mark(&mut self.facts.report.timeline, Stage::Guests, clock::boot_us());
            let wanted = hardening::once_up(self.driver.plan().host.hardening);
            hardening::apply(wanted, &mut console.lines(Level::Warning));
            if modules::are_locked() {
                self.devices.forget(Subject::Modules, self.poll);
                modules::asked::end();
            }
        }
    }

    /// Waits for devices that come later, on a host of our own.
    fn watch_devices(&mut self, now_ms: u64) {
        if let Role::Init { .. } = &self.role {
            let (plan, journal) = self.driver.plan_and_journal();
            self.devices.watch(plan, self.poll, journal, now_ms);
        }
    }

    fn attend_devices(&mut self, now_ms: u64) {
        if let Role::Init { console, .. } = &self.role
            && self.ending.is_none()
            && !self.driver.is_changing_host()
        {
            let (plan, journal) = self.driver.plan_and_journal();
            self.devices.attend(plan, console, self.poll, journal, now_ms);
        }
    }

    fn deadline_ms(&self) -> Option<u64> {
        let shell = match &self.role {
            Role::Init { emergency: Some(emergency), .. } => emergency.due_ms(),
            Role::Init { emergency: None, .. } | Role::Process => None,
        };
        let ending = self
            .ending
            .map(|ending| if ending.killed { ending.bounds.give_up_at_ms } else { ending.bounds.kill_at_ms });
        let wellness = match &self.role {
            Role::Init { watchdog, .. } => self.wellness.deadline_ms(&self.driver, watchdog),
            Role::Process => None,
        };
        let clients = self.server.as_ref().and_then(Server::next_deadline_ms);
        let manager = self.manager.as_ref().and_then(Manager::due_ms);
        [self.driver.next_deadline_ms(), clients, ending, shell, wellness, self.socket_at_ms, self.up_by_ms, manager]
            .into_iter()
            .flatten()
            .min()
    }

    fn happened(&mut self, happened: Happened, now_ms: u64) {
        self.was_deep |= !matches!(happened.source, Source::Signals | Source::Guest(Part::Output, _));
        match happened.source {
            Source::Signals => self.signals(now_ms),
            Source::Listener => self.accept(now_ms),
            Source::Client(client) => self.client(client, happened.hung_up, now_ms),
            Source::Guest(part, id) => self.driver.happened(part, id, now_ms),
            Source::Shell => self.shell_ended(),
            Source::Errand => self.wellness.look_at_errand(self.poll),
            Source::Change => self.driver.look_at_change(now_ms),
            Source::Reload => self.driver.look_at_reload(now_ms),
            Source::Devices(subject) => self.devices.hear(subject, self.driver.plan()),
            Source::Loader(subject) => self.devices.look(subject, self.poll),
            Source::Writer | Source::WriterReports => self.driver.look_at_logs(now_ms),
        }
    }

    fn time_out(&mut self, now_ms: u64) {
        self.driver.time_out(now_ms);
        while let Some(client) = self.server.as_mut().and_then(|server| server.expire(now_ms)) {
            self.requests.forget(client);
        }
        if self.socket_at_ms.is_some_and(|due| due <= now_ms) {
            self.insist_on_socket(now_ms);
        }
        let stays = self.boots_on(now_ms).is_none();
        if let Role::Init { console, emergency: Some(emergency), .. } = &mut self.role
            && stays
            && emergency.due_ms().is_some_and(|due| due <= now_ms)
        {
            emergency.offer(console, Some(self.driver.plan()));
            self.watch_shell();
        }
    }

    fn signals(&mut self, now_ms: u64) {
        // So many at once that a flood of them cannot keep the loop here; the rest is read in the next turn.
        for _ in 0..EVENTS {
            match signal::next(self.signals.as_fd()) {
                Ok(Some(number)) => self.signal(number, now_ms),
                Ok(None) | Err(Errno::INTR) => return,
                Err(errno) => {
                    self.driver.journal.trouble("read the signals", errno, now_ms);
                    // It may have been a child's.
                    self.reap_more = true;
                    return;
                }
            }
        }
    }

    fn signal(&mut self, number: u8, now_ms: u64) {
        let number = i32::from(number);
        if number == libc::SIGCHLD {
            self.reap_more = true;
            return;
        }
        if number == libc::SIGHUP {
            self.hang_ups = true;
            return;
        }
        match self.role {
            Role::Init { .. } => {
                if let Some(wanted) = Wanted::from_signal(number as u8) {
                    self.begin_ending(Some(wanted), now_ms);
                    if Wanted::is_at_once(number as u8) {
                        self.kill_at_once(now_ms);
                    }
                } else if Wanted::is_for_shell(number as u8) {
                    let mut reason = Reason::new();
                    let _ = write!(reason, "signal {number}");
                    self.remedy(&Call { remedy: Remedy::Rescue, reason }, now_ms);
                }
            }
            Role::Process => {
                if matches!(number, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT) {
                    self.begin_ending(None, now_ms);
                }
            }
        }
    }

    /// Reads the config again where a signal asks for it, and carries out what is otherwise. Whether the host is to be looked
    /// at as one that has just come up.
    fn reload(&mut self, now_ms: u64) -> bool {
        self.driver.go_on(now_ms);
        if self.hang_ups && !self.driver.is_changing() && self.ending.is_none() {
            self.hang_ups = false;
            if let Err(NotBegun::Failed(fault)) = self.driver.begin_reload(false, false, now_ms) {
                self.driver.journal.error(format_args!("the config was not read again: {fault}"));
            }
        }
        // What is taken away when the host is up may be more now.
        let is_otherwise = self.driver.take_otherwise() && matches!(self.role, Role::Init { .. });
        if is_otherwise {
            // There may be the first guests, and other words for what the kernel may have.
            if let Err(errno) = modules::asked::narrow(self.driver.plan()) {
                self.driver.journal.trouble("/run/inn/modules", errno, now_ms);
            }
            self.watch_devices(now_ms);
            self.up_by_ms = self.up_by_ms.or(Some(now_ms.saturating_add(limits::UP_TIMEOUT_MS)));
            if self.ending.is_none() {
                self.wellness.follow(&self.driver, now_ms);
            }
        }
        is_otherwise
    }

    // Clients.

    fn accept(&mut self, now_ms: u64) {
        let Some(server) = &mut self.server else { return };
        let Some(client) = server.accept(now_ms) else { return };
        let Some(socket) = server.descriptor(client) else { return };
        if let Err(errno) = self.poll.watch(socket, Source::Client(client), Interest::Request) {
            self.driver.journal.trouble("epoll_ctl", errno, now_ms);
            server.close(client);
        }
    }

    fn client(&mut self, client: ClientId, hung_up: bool, now_ms: u64) {
        let Some(server) = &mut self.server else { return };
        match server.wants(client) {
            Wants::Request => match server.receive(client, &mut [0; REQUEST_BYTES]) {
                Incoming::Request(request) => {
                    let mut desk = Desk {
                        driver: &mut self.driver,
                        server,
                        facts: &self.facts,
                        is_init: matches!(self.role, Role::Init { .. }),
                        going_down: self.ending.is_some(),
                        now_ms,
                    };
                    if let Some(how) = self.requests.take(client, &request, &mut desk) {
                        self.power(how, now_ms);
                    }
                }
                Incoming::Nothing => {}
                Incoming::Gone => self.requests.forget(client),
            },
            Wants::Room | Wants::Nothing if hung_up => {
                server.close(client);
                self.requests.forget(client);
            }
            // Its job goes on when all jobs do.
            Wants::Room | Wants::Nothing => {}
        }
        if let Some(server) = &mut self.server {
            rewatch(self.poll, server, client);
        }
    }

    fn answer(&mut self, now_ms: u64) -> bool {
        let Some(server) = &mut self.server else { return false };
        let mut desk = Desk {
            driver: &mut self.driver,
            server,
            facts: &self.facts,
            is_init: matches!(self.role, Role::Init { .. }),
            going_down: self.ending.is_some(),
            now_ms,
        };
        self.requests.advance(&mut desk, |server, client| rewatch(self.poll, server, client))
    }

    fn power(&mut self, how: Power, now_ms: u64) {
        let wanted = match how {
            Power::PowerOff => Wanted::PowerOff,
            Power::Reboot => Wanted::Reboot,
            Power::Halt => Wanted::Halt,
            Power::SwitchRoot => Wanted::SwitchRoot,
        };
        self.begin_ending(Some(wanted), now_ms);
    }

    // What is done about the host.

    fn look_after_host(&mut self, now_ms: u64) {
        while let Some(id) = self.driver.take_given_up() {
            let Some(guest) = self.driver.guest(id) else { continue };
            let GiveUp { count, within_ms, then } = guest.give_up;
            let (name, within) = (self.driver.plan().strings.str(guest.name), Amount(within_ms.into(), Unit::Time));
            let mut reason = Reason::new();
            // What does not fit is cut.
            let _ = write!(reason, "{name} ended {count} times within {within}");
            self.remedy(&Call { remedy: then, reason }, now_ms);
        }
        let Role::Init { console, watchdog, .. } = &mut self.role else { return };
        let call = self.wellness.turn(&self.driver, (console, watchdog), self.poll, now_ms);
        if let Some(call) = call {
            self.remedy(&call, now_ms);
        }
        self.driver.spares_children = self.wellness.is_recording();
    }

    fn remedy(&mut self, call: &Call, now_ms: u64) {
        let Call { remedy, reason } = call;
        if self.ending.is_some() {
            return;
        }
        let word = remedy.word();
        let Role::Init { console, emergency, .. } = &mut self.role else {
            if *remedy != Remedy::Stop {
                self.driver.journal.error(format_args!("{reason}: {word} is for the host's own init; nothing is done"));
            }
            return;
        };
        console.say(Level::Error, format_args!("{reason}: {word}"));
        match remedy {
            Remedy::Stop => {}
            Remedy::Rescue if emergency.is_some() => {}
            Remedy::Rescue => {
                *emergency = Some(Emergency::start(console, Some(self.driver.plan()), false));
                self.watch_shell();
            }
            Remedy::Reboot | Remedy::MarkBad => {
                let mut words = Reason::new();
                let _ = write!(words, "reboot: {reason}");
                self.wellness.record(&self.driver, self.poll, &words, *remedy == Remedy::MarkBad, now_ms);
                self.begin_ending(Some(Wanted::Reboot), now_ms);
            }
        }
    }

    // The end.

    /// A second demand kills at once.
    fn begin_ending(&mut self, wanted: Option<Wanted>, now_ms: u64) {
        if let Some(ending) = &mut self.ending {
            ending.wanted = wanted.or(ending.wanted);
            return self.kill_at_once(now_ms);
        }
        let time_ms = self.driver.plan().host.shutdown_timeout_ms;
        self.driver.journal.line(format_args!("going down"));
        self.driver.refuse_reload();
        if let Some(wanted) = wanted {
            let mut words = Reason::new();
            let _ = write!(words, "{}: asked for", wanted.word());
            self.wellness.record(&self.driver, self.poll, &words, false, now_ms);
        }
        self.driver.news.tell(b"", Kind::Service, Happening::GoingDown);
        self.ending = Some(Ending { wanted, bounds: Bounds::new(now_ms, time_ms), killed: false });
        for id in self.driver.ids() {
            self.driver.feed(id, Event::HostGoingDown, now_ms);
        }
    }

    /// Whoever is to stop is killed.
    fn kill_at_once(&mut self, now_ms: u64) {
        if let Some(ending) = &mut self.ending {
            ending.bounds.kill_at_ms = ending.bounds.kill_at_ms.min(now_ms);
        }
    }

    /// Stops those that nothing up comes after; when the time is over, kills all.
    fn go_down(&mut self, now_ms: u64) {
        let Some(ending) = &mut self.ending else { return };
        let is_late = now_ms >= ending.bounds.kill_at_ms;
        if is_late && core::mem::replace(&mut ending.killed, true) {
            return;
        }
        for id in self.driver.ids().filter(|_| is_late) {
            self.driver.feed(id, Event::Kill, now_ms);
        }
        let mut next = self.driver.may_stop();
        while let Some(id) = next.take_first() {
            if matches!(self.driver.state(id), State::Running | State::Ready) {
                self.driver.feed(id, Event::Stop, now_ms);
            }
        }
    }

    fn outcome(&mut self, now_ms: u64) -> Option<Outcome> {
        let Some(ending) = self.ending else { return self.boots_on(now_ms) };
        let all_down = self.driver.ids().all(|id| self.driver.is_down(id));
        // What guests wrote last is to be in their files.
        let is_over = all_down && self.driver.finish_logs(now_ms) && !self.wellness.is_recording();
        (is_over || now_ms >= ending.bounds.give_up_at_ms).then_some(Outcome {
            wanted: ending.wanted,
            bounds: ending.bounds,
            all_down,
            boots_on: false,
        })
    }

    /// How the loop ends where the emergency shell leads on to the boot that it has held up.
    fn boots_on(&self, now_ms: u64) -> Option<Outcome> {
        let Role::Init { emergency: Some(emergency), .. } = &self.role else { return None };
        let leads_on = emergency.leads_on(now_ms) && self.driver.plan().guests.is_empty();
        leads_on.then(|| Outcome {
            wanted: None,
            bounds: Bounds::new(now_ms, limits::FINAL_MS),
            all_down: true,
            boots_on: true,
        })
    }

    // The emergency shell.

    fn watch_shell(&mut self) {
        if let Role::Init { emergency: Some(emergency), .. } = &self.role
            && let Some(shell) = emergency.pidfd()
            && let Err(errno) = self.poll.watch(shell, Source::Shell, Interest::Readable)
        {
            self.driver.journal.trouble("epoll_ctl", errno, clock::now_ms());
        }
    }

    fn shell_ended(&mut self) {
        if let Role::Init { console, emergency: Some(emergency), .. } = &mut self.role {
            emergency.ended(console);
            if emergency.is_left() && !self.driver.plan().guests.is_empty() {
                // It was for what the host lacked; what it has runs, and goes on.
                console.say(Level::Info, format_args!("the host goes on with what it has"));
                if let Role::Init { emergency, .. } = &mut self.role {
                    *emergency = None;
                }
            }
        }
    }
}

/// A descriptor that every signal comes by, watched.
///
/// # Errors
/// Of signalfd(2) or epoll_ctl(2).
pub fn hear_signals(poll: &Poll) -> Result<OwnedFd, Errno> {
    let signals = signal::descriptor(signal::Set::ALL)?;
    poll.watch(signals.as_fd(), Source::Signals, Interest::Readable)?;
    Ok(signals)
}

/// Watches a client for what it is now expected to do.
fn rewatch(poll: &Poll, server: &Server, client: ClientId) {
    let interest = match server.wants(client) {
        Wants::Request => Interest::Request,
        Wants::Room => Interest::Room,
        Wants::Nothing => Interest::HangUp,
    };
    if let Some(socket) = server.descriptor(client) {
        // It was watched before; where this fails, the client's own deadline ends it.
        let _ = poll.change(socket, Source::Client(client), interest);
    }
}
