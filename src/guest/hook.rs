//! Hooks: host programs that are run at moments of a guest's life, with what there is to know of it in their environment.
//!
//! They are the host's: its root, its namespaces, and none of the guest's limits. Each is in a cgroup of its own, beside
//! services, so that nothing of it is left when it has ended or its time is over. Whoever runs them may wait: the helper of a
//! start, or a child that is there for nothing else.

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::cgroup::{Base, Member};
use super::command::{self, List};
use super::report;
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::{Guest, Kind, Moment, Plan};
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::wait::{self, End, Which};
use crate::sys::{Errno, clock, descriptor, device, process, rlimit, signal};
use crate::text::Made;

/// What the hooks of a guest are told.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Whose words these are.
    pub plan: &'a Plan,
    /// The guest.
    pub guest: &'a Guest,
    /// Where its cgroup is.
    pub base: &'a Base,
    /// Its first process, where there is one.
    pub pid: Option<Pid>,
    /// How it ended: a word, and its code or the signal's number.
    pub exit: Option<(&'static str, u8)>,
}

/// The namespaces that a hook is to have, where the process that runs it has left them.
#[derive(Debug)]
pub struct View {
    mounts: OwnedFd,
    /// Nothing on a kernel without time namespaces.
    time: Option<OwnedFd>,
}

impl View {
    /// Those that this process has now.
    ///
    /// # Errors
    /// [`Step::HookStart`].
    pub fn open() -> Result<View, Fault> {
        let open = |path| rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let mounts = open(c"/proc/self/ns/mnt").at(Step::HookStart)?;
        Ok(View { mounts, time: open(c"/proc/self/ns/time").ok() })
    }

    fn enter(&self) -> Result<(), Errno> {
        if let Some(time) = &self.time {
            move_into_link_name_space(time.as_fd(), Some(LinkNameSpaceType::Time))?;
        }
        move_into_link_name_space(self.mounts.as_fd(), Some(LinkNameSpaceType::Mount))
    }
}

/// A child that runs hooks.
#[derive(Debug)]
pub struct Running {
    /// Its pidfd; readable when it has ended, then it must be waited for (waitid P_PIDFD, `__WALL`). It exits with 0 where all
    /// of them have.
    pub child: OwnedFd,
    /// Its number.
    pub pid: Pid,
    /// What they print, and the first that failed: see [`super::receive`].
    pub reports: OwnedFd,
}

/// Starts a child that runs the hooks of `moment`. Never blocks.
///
/// # Errors
/// The step of this process that failed.
pub fn start(about: &About<'_>, moment: Moment) -> Result<Running, Fault> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .at(Step::ReportSocket)?;
    match clone(Flags::NONE, None).at(moment.step())? {
        Side::Parent(pid, child) => Ok(Running { child, pid, reports: ours }),
        Side::Child => {
            drop(ours);
            process::exit(u8::from(run(about, moment, None, theirs.as_fd()).is_err()))
        }
    }
}

/// Runs the hooks of `moment`, one after the other, and tells `reports` what they print. The first that fails is the last
/// before a guest runs; after that all of them are run.
///
/// # Errors
/// The first that failed, which was reported too.
pub fn run(about: &About<'_>, moment: Moment, view: Option<&View>, reports: BorrowedFd<'_>) -> Result<(), Fault> {
    let hooks = about.plan.hooks(about.guest, moment);
    if hooks.is_empty() {
        return Ok(());
    }
    // Whoever comes after a supervisor that was killed ends the programs, and waits for nobody.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(moment.step())?;
    let mut result = Ok(());
    for (index, hook) in hooks.iter().enumerate() {
        let mut last = Line::new();
        let ran = one(about, moment, hook.command, view, reports, &mut last);
        let Err(fault) = ran else { continue };
        let fault = Fault { step: moment.step(), detail: (index as u32) << 16 | fault.detail & 0xffff, ..fault };
        if result.is_ok() {
            report::send_line(reports, &last);
            report::send_fault(reports, fault);
        }
        result = result.and(Err(fault));
        if matches!(moment, Moment::Create | Moment::Start) {
            break;
        }
    }
    result
}

/// What a pipe holds (pipe(7)).
const PIPE_BYTES: usize = 65_536;
/// What a hook printed last.
type Line = heapless::Vec<u8, { limits::SAID_BYTES }>;

fn one(
    about: &About<'_>,
    moment: Moment,
    words: crate::text::List<crate::text::Text>,
    view: Option<&View>,
    reports: BorrowedFd<'_>,
    last: &mut Line,
) -> Result<(), Fault> {
    let step = moment.step();
    let member = Member { kind: about.guest.kind, name: about.plan.strings.c_str(about.guest.name) };
    let cgroup = about.base.make_hooks(member).at(step)?;
    let (output, output_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).at(step)?;
    let (failure, failure_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).at(step)?;
    let pidfd = match clone(Flags::NONE, Some(cgroup.as_fd())).at(step)? {
        Side::Parent(_, pidfd) => pidfd,
        Side::Child => {
            let fault = become_hook(about, moment, words, view, output_write.as_fd(), failure_write.as_fd());
            let _ = rustix::io::write(&failure_write, &fault.encode());
            process::exit(1)
        }
    };
    drop((output_write, failure_write));
    let deadline_ms = clock::now_ms().saturating_add(limits::HOOK_TIMEOUT_MS);
    let mut relay = Relay { output: output.as_fd(), reports, left: limits::HOOK_OUTPUT_BYTES, last, is_over: false };
    // What was printed before it ended is in the pipe, which has room for so much; whom it left behind may go on for ever.
    let mut reads_left = PIPE_BYTES / report::OUTPUT_BYTES + 1;
    while reads_left > 0 && clock::now_ms() < deadline_ms {
        match relay.wait(pidfd.as_fd(), deadline_ms) {
            (false, _) => {}
            (true, true) => reads_left -= 1,
            (true, false) => break,
        }
    }
    let end = wait::reap(Which::PidFd(pidfd.as_fd())).at(step)?;
    // What it has left behind, or all of it.
    about.base.clear_hooks(member);
    if end.is_none() {
        let _ = wait::reap(Which::PidFd(pidfd.as_fd()));
    }
    let mut record = [0; Fault::BYTES];
    match end {
        None => Err(Errno::TIMEDOUT).at(step),
        // Of a program that was executed nothing comes.
        Some(_) if rustix::io::read(&failure, &mut record) == Ok(Fault::BYTES) => {
            Err(Fault::decode(&record).unwrap_or(Fault { step, errno: libc::EPROTO as u16, detail: 0 }))
        }
        Some((_, End::Code(0))) => Ok(()),
        Some((_, end)) => Err(Fault { step, errno: 0, detail: end.as_detail() }),
    }
}

/// Passes on what a hook prints.
struct Relay<'r> {
    output: BorrowedFd<'r>,
    reports: BorrowedFd<'r>,
    /// So many bytes more.
    left: usize,
    last: &'r mut Line,
    is_over: bool,
}

impl Relay<'_> {
    /// Waits for more, or for the end of the process, and takes what there is. Whether the process has ended, and whether
    /// there was something to read.
    fn wait(&mut self, pidfd: BorrowedFd<'_>, deadline_ms: u64) -> (bool, bool) {
        let mut both =
            [PollFd::from_borrowed_fd(pidfd, PollFlags::IN), PollFd::from_borrowed_fd(self.output, PollFlags::IN)];
        let watched = if self.is_over { both.get_mut(..1) } else { both.get_mut(..) };
        let left_ms = deadline_ms.saturating_sub(clock::now_ms());
        let timeout = Timespec { tv_sec: (left_ms / 1000) as i64, tv_nsec: (left_ms % 1000) as i64 * 1_000_000 };
        let _ = rustix::event::poll(watched.unwrap_or_default(), Some(&timeout));
        let [has_ended, is_readable] = both.map(|one| !one.revents().is_empty());
        if is_readable && !self.is_over {
            self.take();
        }
        (has_ended, is_readable && !self.is_over)
    }

    fn take(&mut self) {
        let mut buffer = [0; report::OUTPUT_BYTES];
        let len = rustix::io::read(self.output, &mut buffer).unwrap_or(0);
        let bytes = buffer.get(..len).unwrap_or_default();
        self.is_over = bytes.is_empty();
        for byte in bytes {
            self.keep(*byte);
        }
        let told = bytes.get(..len.min(self.left)).unwrap_or_default();
        self.left -= told.len();
        report::send_output(self.reports, told);
    }

    /// Keeps the last line that is not empty.
    fn keep(&mut self, byte: u8) {
        if self.last.last() == Some(&b'\n') && byte != b'\n' {
            self.last.clear();
        }
        if !self.last.is_empty() || byte != b'\n' {
            if self.last.is_full() && byte == b'\n' {
                self.last.pop();
            }
            // What does not fit is cut.
            let _ = self.last.push(byte);
        }
    }
}

/// The straight line of a hook's own process. Returns what went wrong.
fn become_hook(
    about: &About<'_>,
    moment: Moment,
    words: crate::text::List<crate::text::Text>,
    view: Option<&View>,
    output: BorrowedFd<'_>,
    failure: BorrowedFd<'_>,
) -> Fault {
    let mut environment = Environment(heapless::Vec::new());
    // First, so that what it is told is as the host sees it.
    let entered = view.map_or(Ok(()), View::enter).at(moment.step());
    let told = entered.and_then(|()| environment.tell(about, moment).map_err(|_| Errno::TOOBIG).at(Step::Words));
    let ready = told.and_then(|()| alone(output, failure).at(moment.step()));
    let mut arguments = List::new();
    let listed = about
        .plan
        .words
        .get(words)
        .iter()
        .try_for_each(|word| arguments.push(about.plan.strings.c_str(*word)).at(Step::Words));
    if let Err(fault) = ready.and(listed) {
        return fault;
    }
    let program = about.plan.words.get(words).first().map_or(c"", |word| about.plan.strings.c_str(*word));
    command::run(program, &arguments, environment.words(), Kind::Service)
}

/// Has nothing of who runs it: no descriptor, no signal that is blocked, no limit that was raised.
fn alone(output: BorrowedFd<'_>, failure: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::setsid()?;
    let null = device::open(c"/dev/null", OFlags::RDWR)?;
    descriptor::place(null.as_fd(), 0)?;
    descriptor::place(output, 1)?;
    descriptor::place(output, 2)?;
    let mut keep = [null.as_raw_fd(), output.as_raw_fd(), failure.as_raw_fd()];
    descriptor::close_all_but(&mut keep)?;
    rlimit::set_open_files(None)?;
    ordinary_oom_score()?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::chdir(c"/")?;
    signal::reset_all();
    signal::block(signal::Set::NONE)
}

/// PID 1's own is one that nothing else may have; of another supervisor it is what it was started with.
fn ordinary_oom_score() -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, c"/proc/self/oom_score_adj", flags, Mode::empty())?;
    match rustix::io::write(file, b"0") {
        // It may not lower what it was started with.
        Ok(_) | Err(Errno::ACCESS) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Bytes of all that a hook is told: two paths, and short words.
const ENVIRONMENT_BYTES: usize = 2 * libc::PATH_MAX as usize + 512;

/// Words, each with its NUL.
struct Environment(heapless::Vec<u8, ENVIRONMENT_BYTES>);

impl Environment {
    fn tell(&mut self, about: &About<'_>, moment: Moment) -> fmt::Result {
        let About { plan, guest, base, pid, exit } = *about;
        let text = |text| plan.strings.str(text);
        write!(self, "INN_HOOK={}\0", moment.word())?;
        write!(self, "INN_GUEST={}\0", text(guest.name))?;
        write!(self, "INN_KIND={}\0", if guest.kind == Kind::Os { "os" } else { "app" })?;
        let root = if guest.image.is_empty() { guest.root } else { guest.image };
        write!(self, "INN_ROOT={}\0", text(root))?;
        if moment != Moment::Destroy {
            let member = Member { kind: guest.kind, name: plan.strings.c_str(guest.name) };
            let mut path = [0; libc::PATH_MAX as usize];
            write!(self, "INN_CGROUP={}\0", path_of(base, member, &mut path))?;
        }
        if let Some(pid) = pid {
            write!(self, "INN_PID={}\0", pid.as_raw_nonzero())?;
        }
        if let Some((word, status)) = exit {
            write!(self, "INN_EXIT={word}\0INN_EXIT_STATUS={status}\0")?;
        }
        Ok(())
    }

    fn words(&self) -> impl Iterator<Item = &CStr> + Clone {
        self.0.split_inclusive(|byte| *byte == 0).filter_map(|word| CStr::from_bytes_with_nul(word).ok())
    }
}

impl Write for Environment {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Where a guest's cgroup is on this host, as the kernel says; empty where it is not.
fn path_of<'b>(base: &Base, member: Member<'_>, buffer: &'b mut [u8]) -> &'b str {
    let read = base.open_member(member).and_then(|cgroup| {
        let link = Made::new(format_args!("/proc/self/fd/{}", cgroup.as_raw_fd()));
        rustix::fs::readlinkat_raw(CWD, link.as_c_str(), &mut *buffer)
    });
    let path = read.ok().and_then(|len| buffer.get(..len));
    path.and_then(|path| core::str::from_utf8(path).ok()).unwrap_or_default()
}
