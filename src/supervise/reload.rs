//! The config read again: by a short-lived child, which makes the plan that follows the one that is being carried out, and
//! says what is otherwise in it. PID 1 takes that plan, and lets guests have it one by one.
//!
//! The child is a copy of this process, so it has the old plan, and what it makes is a plan here as it stands: see
//! [`Image`]. What it says is a file in memory: messages for whoever asked, each with its length before it.

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, getppid};

use super::journal::Journal;
use super::poll::{Interest, Poll, Source};
use crate::config::Report;
use crate::control::wire::{DifferenceInfo, Place, Reply, TEXT_BYTES};
use crate::fault::{At, ErrnoWords, Fault, Step};
use crate::guest::cgroup::Base;
use crate::guest::{self, report};
use crate::host::files::write_all;
use crate::host::{boot, hardening, links, sysctl};
use crate::limits;
use crate::load::Loader;
use crate::plan::difference::{Difference, What, differences};
use crate::plan::users::Old;
use crate::plan::{GuestId, Plan};
use crate::record::Holder;
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::memory::{Image, discard_spare};
use crate::sys::wait::{self, End, Which};
use crate::sys::{Errno, process, signal};

/// The child has a plan.
const DONE: u8 = 0;
/// A step of the child failed, and it has said so.
const FAILED: u8 = 1;
/// Something is wrong with the config.
const WRONG: u8 = 2;
/// Bytes of what is said about the host's settings.
const REPORT_BYTES: usize = 4096;
/// How often a child is looked at that could not be watched.
const LOOK_MS: u64 = 100;

/// Where the config is, and whose guests it has.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// The config's path; of the host's init, the kernel's command line says it.
    pub config: &'a CStr,
    /// The control socket, by which the record of users knows this supervisor.
    pub socket: &'a CStr,
    /// Whether this is the host's init.
    pub is_init: bool,
}

/// What is wanted of the config.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Only to say what is otherwise.
    pub dry: bool,
    /// When it is given up.
    pub deadline_ms: u64,
    /// How often it may be tried once more.
    pub tries: u32,
}

/// A child at work, and its end as it will be told.
#[derive(Debug)]
pub struct Child {
    /// Its pidfd.
    process: OwnedFd,
    /// Where it tells the step that failed.
    reports: OwnedFd,
    is_watched: bool,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All is done.
    Done,
    /// Something is wrong with the config.
    Wrong,
    /// A step failed.
    Failed(Fault),
}

impl Child {
    /// Starts one that does `work`, whose end is told as [`Source::Reload`].
    ///
    /// # Errors
    /// The step that failed.
    pub fn start(poll: &Poll, work: impl FnOnce(BorrowedFd<'_>) -> u8) -> Result<Child, Fault> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .at(Step::ReportSocket)?;
        match clone(Flags::NONE, None).at(Step::ForkReload)? {
            Side::Child => process::exit(work(theirs.as_fd())),
            Side::Parent(_, process) => {
                let is_watched = poll.watch(process.as_fd(), Source::Reload, Interest::Readable).is_ok();
                Ok(Child { process, reports: ours, is_watched })
            }
        }
    }

    /// The code that it ended with; nothing while it is at work.
    #[must_use]
    pub fn code(&self) -> Option<u8> {
        match wait::reap(Which::PidFd(self.process.as_fd())) {
            Ok(None) => None,
            Ok(Some((_, End::Code(code)))) => Some(code),
            Ok(Some((_, End::Signal(_)))) | Err(_) => Some(u8::MAX),
        }
    }

    /// Where it tells what it has found.
    #[must_use]
    pub fn reports(&self) -> BorrowedFd<'_> {
        self.reports.as_fd()
    }

    /// How it ended; nothing while it is at work.
    #[must_use]
    pub fn end(&self) -> Option<Ended> {
        let end = match wait::reap(Which::PidFd(self.process.as_fd())) {
            Ok(None) => return None,
            Ok(Some((_, end))) => end,
            Err(_) => End::Code(FAILED),
        };
        Some(match end {
            End::Code(DONE) => Ended::Done,
            End::Code(WRONG) => Ended::Wrong,
            _ => match guest::receive(self.reports.as_fd()) {
                guest::Report::Failed(fault) => Ended::Failed(fault),
                _ => Ended::Failed(Fault { step: Step::ReloadHelper, errno: libc::ECHILD as u16, detail: 0 }),
            },
        })
    }

    /// Ends it; it is waited for as ever, and where it hangs in the kernel, that takes its time.
    pub fn kill(&self) {
        let _ = signal::send(self.process.as_fd(), libc::SIGKILL as u8);
    }

    /// When to look at it, at the latest.
    #[must_use]
    pub fn look_at_ms(&self, now_ms: u64) -> Option<u64> {
        (!self.is_watched).then(|| now_ms.saturating_add(LOOK_MS))
    }

    /// It has ended.
    pub fn close(self, poll: &Poll) {
        poll.close(self.process);
    }
}

/// A config that is being read.
#[derive(Debug)]
pub struct Reading {
    /// Who reads it.
    pub child: Child,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// Where the child puts the plan.
    pub image: Image<Plan>,
    /// What it says.
    pub told: Told,
}

/// Begins to read the config again. Never blocks.
///
/// # Errors
/// The step of this process that failed.
pub fn read(
    plan: &Plan,
    is_up: &dyn Fn(GuestId) -> bool,
    from: From<'_>,
    wanted: Wanted,
    poll: &Poll,
) -> Result<Reading, Fault> {
    let image = Image::new().at(Step::ReloadMemory)?;
    let told = Told::new().at(Step::ReloadMemory)?;
    let child = Child::start(poll, |reports| {
        // It hangs where its storage hangs, and dies with the host.
        work(plan, is_up, from, wanted.dry, (&image, &told)).unwrap_or_else(|fault| {
            report::send_fault(reports, fault);
            FAILED
        })
    })?;
    Ok(Reading { child, wanted, image, told })
}

/// What the child does.
fn work(
    plan: &Plan,
    is_up: &dyn Fn(GuestId) -> bool,
    from: From<'_>,
    dry: bool,
    (image, told): (&Image<Plan>, &Told),
) -> Result<u8, Fault> {
    let nothing = || Err(Errno::BUSY).at(Step::ReloadMemory);
    let Some(loader) = Loader::take_again() else { return nothing() };
    if from.is_init {
        boot::read_config_again(&mut loader.config, &mut loader.diagnostics);
    } else {
        loader.read(from.config);
    }
    let holder = Holder { name: from.socket.to_bytes(), only: b"" };
    let up: [bool; limits::GUESTS] = core::array::from_fn(|index| is_up(GuestId(index as u16)));
    let old = Old { plan, is_up: &up };
    // The namespace of a process is its parent's.
    let owner = getppid().unwrap_or(Pid::INIT);
    match loader.build_after(old, (&holder, owner), dry) {
        Ok(true) => {}
        Ok(false) => {
            let mut pages = Pages { told, text: heapless::String::new(), failed: None };
            let _ = write!(pages, "{}", Report(&loader.config, &loader.diagnostics));
            return pages.finish().map(|()| WRONG);
        }
        Err(_) => {
            let mut pages = Pages { told, text: heapless::String::new(), failed: None };
            let _ = pages.write_str(
                "the new config has no room beside what still runs by the old one: stop or restart those that the change \
                 is about, and try again\n",
            );
            return pages.finish().map(|()| WRONG);
        }
    }
    let mut result = Ok(());
    let is_up = |id: GuestId| up.get(usize::from(id.0)).copied().unwrap_or_default();
    differences(plan, &loader.plan, &is_up, from.is_init, &mut |difference| {
        if result.is_ok() {
            result = told.difference(difference);
        }
    });
    result.at(Step::ReloadMemory)?;
    if !dry {
        // What it was built from is of no use any more, and not to be copied.
        discard_spare(&mut loader.plan.profiles);
        image.put(&loader.plan).at(Step::ReloadMemory)?;
    }
    Ok(DONE)
}

/// What is said of a config: messages in a file in memory.
#[derive(Debug)]
pub struct Told(OwnedFd);

impl Told {
    fn new() -> Result<Told, Errno> {
        rustix::fs::memfd_create(c"inn-reload", MemfdFlags::CLOEXEC).map(Told)
    }

    /// Adds `reply`.
    fn add(&self, reply: &Reply<'_>) -> Result<(), Errno> {
        let mut buffer = [0; limits::MESSAGE_BYTES];
        let message = reply.encode(&mut buffer);
        write_all(self.0.as_fd(), &(message.len() as u16).to_le_bytes())?;
        write_all(self.0.as_fd(), message)
    }

    fn difference(&self, difference: &Difference<'_>) -> Result<(), Errno> {
        let (mut from, mut to) = (Cut::new(), Cut::new());
        let mut info =
            DifferenceInfo { guest: difference.name, what: difference.what, key: None, from: "", to: "", place: None };
        if let Some(changed) = &difference.key {
            let _ = write!(from, "{}", changed.from);
            let _ = write!(to, "{}", changed.to);
            info.key = Some(changed.from.key);
            info.place = changed.place.map(|(file, line)| Place { file, line });
        }
        self.add(&Reply::Difference(DifferenceInfo { from: from.text(), to: to.text(), ..info }))
    }

    /// The message at byte `at`, and where the next one is; nothing behind the last one.
    #[must_use]
    pub fn message<'b>(&self, at: u64, buffer: &'b mut [u8; limits::MESSAGE_BYTES]) -> Option<(Reply<'b>, u64)> {
        let mut length = [0; 2];
        if rustix::io::pread(&self.0, &mut length, at).ok()? != length.len() {
            return None;
        }
        let length = usize::from(u16::from_le_bytes(length));
        let start = at + 2;
        let bytes = buffer.get_mut(..length)?;
        if rustix::io::pread(&self.0, &mut *bytes, start).ok()? != length {
            return None;
        }
        Some((Reply::decode(bytes).ok()?, start + length as u64))
    }

    /// Tells what is wrong with the config, or how much is otherwise in it.
    pub fn journal(&self, journal: &Journal<'_>) {
        let mut buffer = [0; limits::MESSAGE_BYTES];
        let (mut at, mut lines, mut counts) = (0, 0, Counts::default());
        while let Some((reply, next)) = self.message(at, &mut buffer) {
            at = next;
            match reply {
                Reply::Report(text) => {
                    for line in text.lines().take(limits::RELOAD_LINES.saturating_sub(lines)) {
                        lines += 1;
                        journal.error(format_args!("{line}"));
                    }
                }
                Reply::Difference(info) => counts.add(&info),
                _ => {}
            }
        }
        if lines > 0 {
            journal.error(format_args!("the config cannot be used; nothing is changed"));
        } else {
            journal.line(format_args!("the config was read again: {counts}"));
        }
    }
}

/// How many guests are added, removed and changed.
#[derive(Debug, Default)]
struct Counts {
    added: u32,
    removed: u32,
    changed: u32,
    restart: u32,
    of: heapless::String<{ limits::NAME_BYTES }>,
    is_restart: bool,
    host: bool,
}

impl Counts {
    fn add(&mut self, info: &DifferenceInfo<'_>) {
        if info.guest.is_empty() {
            self.host = true;
            return;
        }
        if info.guest != self.of.as_str() {
            self.of.clear();
            // A name fits.
            let _ = self.of.push_str(info.guest);
            self.is_restart = false;
            let count = match info.what {
                What::Starts | What::Added => &mut self.added,
                What::Stops | What::Removed => &mut self.removed,
                _ => &mut self.changed,
            };
            *count += 1;
        }
        if info.what == What::Restart && !core::mem::replace(&mut self.is_restart, true) {
            self.restart += 1;
        }
    }
}

/// "2 added, 1 changed, 1 of them from its next start on".
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.added, "added"), (self.removed, "removed"), (self.changed, "changed")];
        let mut comma = if self.host { "the host changed" } else { "" };
        f.write_str(comma)?;
        for (count, word) in all.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{}{count} {word}", if comma.is_empty() { "" } else { ", " })?;
            comma = ", ";
        }
        match self.restart {
            0 if comma.is_empty() => f.write_str("nothing changed"),
            0 => Ok(()),
            count => write!(f, ", {count} of them from the next start on"),
        }
    }
}

/// Text that is cut where it is too long for a message, which is shown.
struct Cut {
    text: heapless::String<TEXT_BYTES>,
    is_cut: bool,
}

/// What stands for what was cut.
const MORE: &str = "…";

impl Cut {
    fn new() -> Cut {
        Cut { text: heapless::String::new(), is_cut: false }
    }

    fn text(&mut self) -> &str {
        if self.is_cut {
            self.text.truncate(self.text.floor_char_boundary(TEXT_BYTES - MORE.len()));
            // There is room now.
            let _ = self.text.push_str(MORE);
        }
        &self.text
    }
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_BYTES - self.text.len();
        let fits = text.get(..text.floor_char_boundary(room)).unwrap_or_default();
        // There is room for it.
        let _ = self.text.push_str(fits);
        self.is_cut |= fits.len() < text.len();
        if self.is_cut { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Text in as many messages as it takes.
struct Pages<'t> {
    told: &'t Told,
    text: heapless::String<TEXT_BYTES>,
    failed: Option<Errno>,
}

impl Pages<'_> {
    fn turn(&mut self) {
        if let Err(errno) = self.told.add(&Reply::Report(&self.text)) {
            self.failed = self.failed.or(Some(errno));
        }
        self.text.clear();
    }

    fn finish(mut self) -> Result<(), Fault> {
        self.turn();
        self.failed.map_or(Ok(()), Err).at(Step::ReloadMemory)
    }
}

impl Write for Pages<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            if self.text.push(char).is_err() {
                self.turn();
                let _ = self.text.push(char);
            }
            if char == '\n' && self.text.len() > TEXT_BYTES / 2 {
                self.turn();
            }
        }
        Ok(())
    }
}

/// Begins to make the settings of the host that `plan` has. Never blocks.
///
/// # Errors
/// The step of this process that failed.
pub fn settle_host(
    plan: &Plan,
    base: &Base,
    is_init: bool,
    journal: &Journal<'_>,
    poll: &Poll,
) -> Result<Child, Fault> {
    Child::start(poll, |reports| {
        let mut report = heapless::String::<REPORT_BYTES>::new();
        if is_init {
            let name = plan.strings.bytes(plan.host.hostname);
            if !name.is_empty()
                && let Err(errno) = rustix::system::sethostname(name)
            {
                let _ = writeln!(report, "hostname: {}", ErrnoWords(errno.raw_os_error() as u16));
            }
            // What only a host that is up does without, it is rid of as ever.
            hardening::apply(hardening::at_boot(plan.host.hardening), &mut report);
            sysctl::apply(plan, &mut report);
            links::apply(plan, false, &mut report);
        }
        report.lines().for_each(|line| journal.error(format_args!("{line}")));
        match base.keep_again(plan) {
            Err(fault) => {
                report::send_fault(reports, fault);
                FAILED
            }
            Ok(()) if report.is_empty() => DONE,
            Ok(()) => WRONG,
        }
    })
}
