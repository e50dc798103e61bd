//! A supervisor from its plan to its end: in the foreground of another init's host, or as the host's own init.

use core::ffi::CStr;
use core::fmt;

use super::driver::kept::Keeper;
use super::driver::{Driver, Table};
use super::events::{self, Outcome, Role, Supervisor};
use super::journal::{Journal, To};
use super::kept::{self, Before, Host, Kept, Left, Texts};
use super::manager::Manager;
use super::poll::Poll;
use super::reload::From;
use super::snapshot::{CGROUP_BYTES, Facts};
use crate::control::server;
use crate::fault::ErrnoWords;
use crate::guest::cgroup::{self, Base};
use crate::guest::inside;
use crate::host::boot::Report;
use crate::host::console::Console;
use crate::host::emergency::Emergency;
use crate::host::files;
use crate::host::modules::asked;
use crate::host::watchdog::Watchdog;
use crate::limits;
use crate::plan::Plan;
use crate::sys::memory::Static;
use crate::sys::process::Arguments;
use crate::sys::{Errno, clock, fatal, signal, stdio};

static TABLE: Static<Table> = Static::new(Table::new());

/// What the kernel calls this process (prctl(2), PR_SET_NAME).
const NAME: &CStr = c"inn";
/// The name of the cgroup of all guests.
const BASE: &str = "inn";
/// Cgroups of a guest that processes find themselves in without having been put there for a reason: see guest/cgroup.rs.
const COMMON: [&[u8]; 2] = [b"exec", b"inn.init"];
/// PID 1 has nobody to give up to: what its loop cannot do without is tried again after so long.
const RETRY_NS: i64 = 200_000_000;

/// Why a supervisor in the foreground does not start.
#[derive(Debug)]
enum Refused {
    Socket(server::Refusal),
    Cgroup(crate::fault::Fault),
    CgroupTaken,
    Call(&'static str, Errno),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Socket(refusal) if refusal.errno == Errno::ADDRINUSE => {
                f.write_str("another supervisor has this socket; stop it, or choose another with --socket")
            }
            Refused::Socket(refusal) => write!(f, "control socket: {refusal}"),
            Refused::Cgroup(fault) => match fault.advice() {
                Some(advice) => write!(f, "{fault}; {advice}"),
                None => write!(f, "{fault}"),
            },
            Refused::CgroupTaken => {
                f.write_str("another supervisor has its guests in this cgroup; start this one in a cgroup of its own")
            }
            Refused::Call(call, errno) => write!(f, "{call}: {}", ErrnoWords(errno.raw_os_error() as u16)),
        }
    }
}

/// What the process of a supervisor goes by.
#[derive(Debug)]
pub struct Life<'a> {
    /// The words that it was started with.
    pub arguments: &'a Arguments,
    /// What the program before has left, where it has died or was replaced.
    pub left: Option<Left>,
}

/// Supervises the guests of `plan` as an ordinary process, until a signal ends it. Returns the exit code: 0 when every
/// guest was stopped and nothing of it is left.
pub fn foreground(plan: &'static mut Plan, config: &CStr, socket: &CStr, life: Life<'_>) -> u8 {
    let journal = Journal::new(To::Descriptor(stdio::error()));
    match try_foreground(plan, config, socket, life) {
        Ok(outcome) if outcome.all_down => 0,
        Ok(_) => {
            journal.error(format_args!("the time for going down is over; guests are left in cgroup {BASE}"));
            1
        }
        Err(refused) => {
            journal.error(format_args!("{refused}"));
            1
        }
    }
}

fn try_foreground(plan: &'static mut Plan, config: &CStr, socket: &CStr, life: Life<'_>) -> Result<Outcome, Refused> {
    // The program before has done so, and a fault of this one may already lead back to it.
    if life.left.is_none() {
        signal::block(signal::Set::ALL).map_err(|errno| Refused::Call("rt_sigprocmask", errno))?;
        // What our caller ignores, guests must not inherit; and SIGCHLD ignored lets children go without their exit status.
        signal::reset_all();
    }
    raise_files();
    let mut own = [0; CGROUP_BYTES];
    // It may have stepped aside since it began.
    let known = life.left.as_ref().and_then(|left| CStr::from_bytes_with_nul(left.texts.base).ok());
    let name = match known {
        Some(name) => name,
        None => own_cgroup(&mut own).map_err(|errno| Refused::Call("read /proc/self/cgroup", errno))?,
    };
    let base = Base::open(name, plan).map_err(Refused::Cgroup)?;
    let outcome = try_in_base(plan, (config, socket), base, name, life);
    // It stays where a guest is left, or another supervisor has it.
    let _ = cgroup::remove_base(name);
    outcome
}

fn try_in_base(
    plan: &'static mut Plan,
    (config, socket): (&CStr, &CStr),
    base: Base,
    name: &CStr,
    life: Life<'_>,
) -> Result<Outcome, Refused> {
    let left = life.left.as_ref().map(|left| (left.host, left.is_back));
    let host = left.map(|(host, _)| host);
    // The claim of the program before is this one's until it gives up what it has not taken over.
    if host.is_none() {
        claim(&base)?;
    }
    let poll = Poll::new().map_err(|errno| Refused::Call("epoll_create1", errno))?;
    let table = TABLE.take().ok_or(Refused::Call("take the table", Errno::BUSY))?;
    let facts = facts(config, name, host.as_ref());
    let journal = Journal::new(To::Descriptor(stdio::error()));
    tell_unbounded(&journal, &base, plan);
    let from = From { config, socket, is_init: false };
    let manager = Manager::find(life.arguments).unwrap_or_else(|errno| {
        let errno = ErrnoWords(errno.raw_os_error() as u16);
        journal.error(format_args!("who started this is told nothing: NOTIFY_SOCKET: {errno}"));
        None
    });
    let signals = events::hear_signals(&poll).map_err(|errno| Refused::Call("signalfd4", errno))?;
    let mut driver = Driver::new(plan, (base, name), table, &poll, journal, from);
    leave(&mut driver, life, facts.started_ms, (name, config, socket));
    let outcome = {
        let mut supervisor = Supervisor::new(&poll, signals, Role::Process, driver, facts, socket);
        if let Some(manager) = manager {
            supervisor.report_to(manager);
        }
        match left {
            Some((host, is_back)) => supervisor.go_on(host, is_back),
            None => {
                supervisor.listen().map_err(Refused::Socket)?;
                supervisor.clear_leftovers();
            }
        }
        let outcome = supervisor.run();
        fatal::disarm();
        outcome
    };
    // The socket belongs to nobody from here on.
    let _ = rustix::fs::unlink(socket);
    Ok(outcome)
}

/// Where `needs_shell`, there is a shell on the console, and leaving it `goes_on` with the boot where there is nothing else: see
/// [`Outcome`].
///
/// Supervises the guests of `plan` as the host's init, or offers the emergency shell, until the host is to go down. Every
/// signal is blocked.
pub fn init(
    console: &Console,
    plan: &'static mut Plan,
    config: &CStr,
    (needs_shell, goes_on): (bool, bool),
    (life, report, watchdog): (Life<'_>, Report, &mut Watchdog),
) -> Outcome {
    let left = life.left.as_ref().map(|left| (left.host, left.is_back));
    let host = left.map(|(host, _)| host);
    let mut journal = Journal::new(To::Console(console));
    // None of these can fail for long, unless the kernel lacks what nothing goes without; then that is said, again and
    // again, and Ctrl-Alt-Del still works.
    let poll = insist(&mut journal, "epoll_create1", Poll::new);
    let name = c"inn";
    if let Err(errno) = asked::narrow(plan) {
        let errno = ErrnoWords(errno.raw_os_error() as u16);
        journal.error(format_args!("guests may have the kernel load modules: /run/inn/modules: {errno}"));
    }
    let mut is_nowhere = false;
    let base = Base::open(name, plan).unwrap_or_else(|fault| {
        journal.error(format_args!("no guest can start: {fault}"));
        is_nowhere = true;
        insist(&mut journal, "open a directory without cgroups", || Base::none(fault))
    });
    let table = insist(&mut journal, "take the table", || TABLE.take().ok_or(Errno::BUSY));
    let signals = insist(&mut journal, "signalfd4", || events::hear_signals(&poll));
    let emergency = match &host {
        Some(host) => host.is_emergency.then(|| Emergency::adopt(host.shell as u32, host.goes_on)),
        None => (needs_shell || is_nowhere).then(|| Emergency::start(console, Some(plan), goes_on)),
    };
    let role = Role::Init { console, emergency, watchdog };
    tell_unbounded(&journal, &base, plan);
    let from = From { config, socket: server::PATH, is_init: true };
    let mut driver = Driver::new(plan, (base, name), table, &poll, journal, from);
    let facts = Facts { report, ..facts(config, name, host.as_ref()) };
    leave(&mut driver, life, facts.started_ms, (name, config, server::PATH));
    let mut supervisor = Supervisor::new(&poll, signals, role, driver, facts, server::PATH);
    if let Some((host, is_back)) = left {
        supervisor.go_on(host, is_back);
    }
    supervisor.run()
}

/// From here on a fault is not the end: what a program after this one has to know is kept. Where that cannot be, a fault ends
/// the supervisor, and that is said.
fn leave<'a>(driver: &mut Driver<'a>, life: Life<'_>, started_ms: u64, texts: (&'a CStr, &'a CStr, &'a CStr)) {
    if let Err(errno) = try_to_leave(driver, life, started_ms, texts) {
        let words = ErrnoWords(errno.raw_os_error() as u16);
        driver
            .journal
            .error(format_args!("a fault would be the end of this supervisor, for nothing can be kept: {words}"));
    }
}

fn try_to_leave<'a>(
    driver: &mut Driver<'a>,
    life: Life<'_>,
    started_ms: u64,
    (base, config, socket): (&'a CStr, &'a CStr, &'a CStr),
) -> Result<(), Errno> {
    let Life { arguments, left } = life;
    let (file, identity) = kept::program()?;
    let (kept, host, image, before) = match left {
        Some(Left { file, host, plan, before, .. }) => {
            if plan.is_none() {
                driver
                    .journal
                    .error(format_args!("the plan was lost: guests that run go on, and nobody looks after them"));
            }
            (file, Host { program: identity, ..host }, plan, before)
        }
        None => {
            let pid = rustix::process::getpid().as_raw_nonzero().get() as u32;
            (Kept::new()?, Host { pid, started_ms, program: identity, ..Host::default() }, None, None)
        }
    };
    let number = kept.number();
    let [base, config, socket] = [base, config, socket].map(CStr::to_bytes_with_nul);
    let texts = Texts { base, config, socket, name: NAME.to_bytes_with_nul() };
    let leads_back = before.as_ref().map(Before::program);
    driver.keeper = Some(Keeper::new(kept, (host, texts), image, (&file, before))?);
    if !driver.keep_all(|_| ()) {
        return Err(Errno::NOMEM);
    }
    fatal::arm(&file, number, arguments)?;
    if let Some(program) = leads_back {
        fatal::lead_to(program);
    }
    // It stays open for as long as this process is this program.
    core::mem::forget(file);
    Ok(())
}

/// Makes this the supervisor of the guests in `base`.
fn claim(base: &Base) -> Result<(), Refused> {
    base.claim().map_err(|errno| match errno {
        Errno::AGAIN => Refused::CgroupTaken,
        errno => Refused::Call("flock", errno),
    })
}

/// Says so where the host cannot keep what it is to keep.
fn tell_unbounded(journal: &Journal<'_>, base: &Base, plan: &Plan) {
    let Some(fault) = base.unbounded() else { return };
    let at = fault.step.key().and_then(|key| plan.place(*plan.host.asked.get(key as usize)?));
    let (file, line) = at.unwrap_or(("", 0));
    journal.error(format_args!("no guest can start: {fault} ({file}:{line}); {}", fault.advice().unwrap_or_default()));
}

fn insist<T>(journal: &mut Journal<'_>, what: &str, mut attempt: impl FnMut() -> Result<T, Errno>) -> T {
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(errno) => journal.trouble(what, errno, clock::now_ms()),
        }
        let _ = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 0, tv_nsec: RETRY_NS });
    }
}

fn facts<'a>(config: &'a CStr, base: &'a CStr, host: Option<&Host>) -> Facts<'a> {
    Facts {
        base: base.to_str().unwrap_or_default(),
        config: config.to_str().unwrap_or("?"),
        started_ms: host.map_or_else(clock::now_ms, |host| host.started_ms),
        report: Report::default(),
    }
}

/// The name of the cgroup `inn` below this process's own, in `buffer` (cgroups(7): the line of version 2 is `0::/PATH`).
fn own_cgroup(buffer: &mut [u8; CGROUP_BYTES]) -> Result<&CStr, Errno> {
    let mut text = [0; 2 * CGROUP_BYTES];
    let text = files::read_path(c"/proc/self/cgroup", &mut text)?;
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::/")).ok_or(Errno::NOENT)?;
    // In a guest, what its root's processes and what entered it are in is nobody's: its cgroups are all its own.
    let is_common = inside::is_so() && COMMON.contains(&line);
    let line = if is_common { b"".as_slice() } else { line };
    let mut used = 0;
    let mut put = |bytes: &[u8]| -> Result<(), Errno> {
        let room = buffer.get_mut(used..used + bytes.len()).ok_or(Errno::NAMETOOLONG)?;
        room.copy_from_slice(bytes);
        used += bytes.len();
        Ok(())
    };
    put(line)?;
    if !line.is_empty() {
        put(b"/")?;
    }
    put(BASE.as_bytes())?;
    put(b"\0")?;
    // A guest's name comes behind it.
    if used + cgroup::SERVICES.len() + limits::NAME_BYTES >= CGROUP_BYTES {
        return Err(Errno::NAMETOOLONG);
    }
    CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::INVAL)
}

/// Raises the limit of open files as far as it goes: what all guests need, or what is allowed. Where it stays, a guest for
/// which there is no descriptor does not start, and says so.
fn raise_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.map(|limit| limit.max(limits::DESCRIPTORS));
    let wanted = Rlimit { current: enough(now.current), maximum: enough(now.maximum) };
    if setrlimit(Resource::Nofile, wanted).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_of_all_guests_is_below_our_own() {
        let mut buffer = [0; CGROUP_BYTES];
        let name = own_cgroup(&mut buffer).unwrap().to_str().unwrap();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        assert_eq!(name, std::format!("{}/inn", own.trim_end_matches('/')).trim_start_matches('/'));
    }
}
