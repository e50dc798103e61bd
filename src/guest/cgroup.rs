//! Control groups (cgroups(7), Documentation/admin-guide/cgroup-v2.rst): where guests' limits are.
//!
//! `BASE/NAME` holds the limits; below it `guest` is what the guest sees as the root of all cgroups, delegated to an
//! `os` guest, `exec` holds what entered from outside, and `check` what looks whether it is well. A service is the host's: it
//! is in `BASE.services/NAME`, out of what bounds all guests together; so are a guest's hooks, in `BASE.services/NAME+hooks`.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::event::Timespec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RawDir};
use rustix::process::Pid;

use super::inside;
use super::limit::Limit;
use crate::fault::{At, Fault, Step};
use crate::host::files;
use crate::limits;
use crate::plan::{Extents, Guest, Kind, Plan};
use crate::sys::{Errno, clock, machine, signal};
use crate::text::{self, Made};

/// The controllers that limits need.
pub const CONTROLLERS: [&str; 5] = ["memory", "pids", "cpu", "cpuset", "io"];

/// Behind the name of the base: the one of services.
pub const SERVICES: &str = ".services";
/// Where a supervisor goes that is alone in its cgroup: one with processes could give none below it a controller.
const OWN: &CStr = c"inn.supervisor";

/// Where the processes of a guest go that has guests of its own and left its first ones in the root of its cgroups.
const INIT: &CStr = c"inn.init";
/// A fork bomb may be faster.
const CLEAR_TRIES: u32 = 1000;

/// The cgroup below which every guest has its own.
#[derive(Debug)]
pub struct Base {
    guests: OwnedFd,
    /// Nothing where services are not kept apart.
    services: Option<OwnedFd>,
    /// Bit N: `CONTROLLERS[N]` is enabled below.
    controllers: u8,
    /// Why all guests together are not bounded as the config asks: then none starts.
    unbounded: Option<Fault>,
    /// Why there are no cgroups: then services do not start either.
    nowhere: Option<Fault>,
}

/// A guest or service, as its cgroup goes by.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'a CStr,
}

/// What a guest uses, and how often it ran into its limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// memory.current, bytes; nothing where the controller is missing.
    pub memory_bytes: Option<u64>,
    /// cpu.stat usage_usec.
    pub cpu_us: u64,
    /// pids.current; nothing where the controller is missing.
    pub processes: Option<u32>,
    /// pids.events max: how often a fork was refused.
    pub processes_refused: u32,
    /// cpu.stat nr_throttled: in how many tenths of a second it came to the end of its CPU time.
    pub cpu_throttled: u32,
}

/// What a kernel that does not list them lets a guest's root have.
const DELEGATED: &[u8] = b"cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n";

/// How a cgroup directory is opened: to name it, never to be read by who inherits it.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Base {
    /// Opens `name` below the root of the cgroup v2 file system, and its neighbour for services where `plan` has some,
    /// making what is missing, enables every controller that can be had, and keeps for the host what guests must not take.
    ///
    /// # Errors
    /// The step that failed.
    pub fn open(name: &CStr, plan: &Plan) -> Result<Base, Fault> {
        let root = find().at(Step::FindCgroup)?;
        let parent = parent(root.as_fd(), name).at(Step::MakeBase)?;
        let guests = directory(root.as_fd(), name).at(Step::MakeBase)?;
        let services = plan.needs_services().then(|| with_services(name, |name| directory(root.as_fd(), name)));
        let services = services.transpose().at(Step::MakeBase)?;
        let mut base = Base { guests, services, controllers: 0, unbounded: None, nowhere: None };
        let mut buffer = [0; 256];
        let available = read(parent.as_fd(), c"cgroup.controllers", &mut buffer).at(Step::EnableControllers)?;
        for (bit, controller) in CONTROLLERS.iter().enumerate() {
            if !available.split(|byte| byte.is_ascii_whitespace()).any(|name| name == controller.as_bytes()) {
                continue;
            }
            match base.enable(parent.as_fd(), controller) {
                Ok(()) => base.controllers |= 1 << bit,
                // Kept by processes beside us: guests that ask are refused.
                Err(Errno::INVAL | Errno::NOENT | Errno::BUSY | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error).at(Step::EnableControllers),
            }
        }
        base.unbounded = base.keep_for_host(parent.as_fd(), plan).err();
        Ok(base)
    }

    /// One at a time: one that is refused would make the whole write fail.
    fn enable(&self, parent: BorrowedFd<'_>, controller: &str) -> Result<(), Errno> {
        match enable(parent, controller) {
            Err(Errno::BUSY) if step_aside(parent)? || clear_root(parent)? => enable(parent, controller)?,
            result => result?,
        }
        self.services.as_ref().map_or(Ok(()), |services| enable(services.as_fd(), controller))?;
        enable(self.guests.as_fd(), controller)
    }

    /// Bounds all guests together: some memory as the config asks, and some processes always, are the host's.
    fn keep_for_host(&self, parent: BorrowedFd<'_>, plan: &Plan) -> Result<(), Fault> {
        if let Some(left) = left_of(parent, plan)? {
            write_number(self.guests.as_fd(), c"memory.max", left).at(Step::LimitReserve)?;
        } else if self.has("memory") {
            // An earlier supervisor that was killed may have left another.
            write(self.guests.as_fd(), c"memory.max", b"max").at(Step::LimitReserve)?;
        }
        if let Some(processes) = machine::processes().filter(|_| self.has("pids")) {
            let left = processes - processes / limits::HOST_PROCESSES_SHARE;
            write_number(self.guests.as_fd(), c"pids.max", left).at(Step::LimitAllProcesses)?;
        }
        Ok(())
    }

    /// The same once more, by a child: the guests are there, and nothing of them is to be killed for it.
    ///
    /// # Errors
    /// The step that failed; all is as it was then.
    pub fn keep_again(&self, plan: &Plan) -> Result<(), Fault> {
        let guests = self.guests.as_fd();
        let parent = rustix::fs::openat(guests, c"..", DIRECTORY, Mode::empty()).at(Step::LimitReserve)?;
        let left = left_of(parent.as_fd(), plan)?;
        let used = || read_number(guests, c"memory.current", b"").unwrap_or(0);
        if left.is_some_and(|left| used() > left) {
            // Takes back what guests can do without, and kills nobody.
            let high = left.map_or(Ok(()), |left| write_number(guests, c"memory.high", left));
            let (used, back) = (used(), write(guests, c"memory.high", b"max"));
            high.and(back).at(Step::LimitReserve)?;
            if left.is_some_and(|left| used > left) {
                let detail = u32::try_from(used >> 10).unwrap_or(u32::MAX);
                return Err(Fault { step: Step::ReserveInUse, errno: Errno::BUSY.raw_os_error() as u16, detail });
            }
        }
        self.keep_for_host(parent.as_fd(), plan)
    }

    /// What the host keeps is bounded now.
    pub fn bounded(&mut self) {
        self.unbounded = None;
    }

    /// Sees that there is a place for services, where there were none before; `name` is that of the base.
    ///
    /// # Errors
    /// The step that failed.
    pub fn serve(&mut self, name: &CStr) -> Result<(), Fault> {
        if self.services.is_some() {
            return Ok(());
        }
        let root = find().at(Step::FindCgroup)?;
        let services = with_services(name, |name| directory(root.as_fd(), name)).at(Step::MakeBase)?;
        for (bit, controller) in CONTROLLERS.iter().enumerate() {
            if self.controllers >> bit & 1 == 1 {
                enable(services.as_fd(), controller).at(Step::EnableControllers)?;
            }
        }
        self.services = Some(services);
        Ok(())
    }

    /// Why guests cannot start, where what the host keeps for itself could not be had.
    #[must_use]
    pub fn unbounded(&self) -> Option<Fault> {
        self.unbounded
    }

    /// A base for a host without cgroup v2: no guest can start there, and each says so; the host comes up all the same.
    ///
    /// # Errors
    /// As open(2).
    pub fn none(why: Fault) -> Result<Base, Errno> {
        // Nothing can be made in either: the first is empty, the second where even that is missing.
        let open = |path| rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty());
        let guests = open(c"/sys/fs/cgroup").or_else(|_| open(c"/sys")).or_else(|_| open(c"/"))?;
        Ok(Base { guests, services: None, controllers: 0, unbounded: None, nowhere: Some(why) })
    }

    /// What [`Base::claim`] locks: the claim lasts as long as it is open anywhere.
    #[must_use]
    pub fn claimed(&self) -> &OwnedFd {
        &self.guests
    }

    /// Makes this process the one whose guests are here, as long as it has the base open. What one that was killed had under
    /// way holds its claim a moment longer.
    ///
    /// # Errors
    /// As flock(2); EAGAIN where another has it.
    pub fn claim(&self) -> Result<(), Errno> {
        files::lock_within(self.guests.as_fd(), FlockOperation::NonBlockingLockExclusive, limits::CLAIM_TIMEOUT_MS)
    }

    /// Whether the controller `CONTROLLERS[number]` works here.
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        CONTROLLERS.iter().position(|name| *name == controller).is_some_and(|bit| self.controllers >> bit & 1 == 1)
    }

    /// Makes the cgroups of `guest`, which is `member`, with its limits, and returns the one it is to start in.
    ///
    /// # Errors
    /// The step that failed: a limit that the kernel does not take is never dropped.
    pub fn make(&self, member: Member<'_>, guest: &Guest, users: &Extents, plan: &Plan) -> Result<OwnedFd, Fault> {
        if let Some(fault) = self.nowhere.or(self.unbounded.filter(|_| member.kind != Kind::Service)) {
            return Err(fault);
        }
        let outer = directory(self.of(member.kind), member.name).at(Step::MakeCgroup)?;
        // Of a run before this one, whose end the kernel has not brought about: it would be part of this one.
        if populated(outer.as_fd()).at(Step::MakeCgroup)? {
            return Err(Errno::BUSY).at(Step::MakeCgroup);
        }
        self.limit(outer.as_fd(), guest, plan)?;
        let inner = directory(outer.as_fd(), c"guest").at(Step::MakeCgroup)?;
        if guest.runs_checks() {
            // As long as the guest has made none there is room for it.
            directory(outer.as_fd(), CHECK).at(Step::MakeCgroup)?;
        }
        if guest.kind == Kind::Os {
            self.delegate(outer.as_fd(), inner.as_fd(), guest, users)?;
        }
        Ok(inner)
    }

    /// Sets what the config says, and the default number of processes on hosts that can.
    fn limit(&self, cgroup: BorrowedFd<'_>, guest: &Guest, plan: &Plan) -> Result<(), Fault> {
        for limit in Limit::ALL {
            let is_wanted = match limit {
                Limit::Processes => self.has("pids") || guest.asked[limit.key() as usize] != crate::plan::At::NOWHERE,
                limit => limit.is_said(&guest.limits),
            };
            if is_wanted {
                limit.set(cgroup, &guest.limits, plan)?;
            }
        }
        Ok(())
    }

    /// Hands `inner` to the guest's root: it may make cgroups there, so many and so deep, and no limit of `outer` is its.
    /// The two bounds are those of `inner`, which are not handed over with it: on `outer` they would count what enters too.
    fn delegate(
        &self,
        outer: BorrowedFd<'_>,
        inner: BorrowedFd<'_>,
        guest: &Guest,
        users: &Extents,
    ) -> Result<(), Fault> {
        bound(inner, 0).at(Step::LimitCgroups)?;
        if users.is_empty() {
            // Its root is the host's: only with nsdelegate does the kernel keep it from writing those of `inner`.
            bound(outer, OUTSIDE + u32::from(guest.runs_checks())).at(Step::LimitCgroups)?;
        }
        for (bit, controller) in CONTROLLERS.iter().enumerate() {
            if self.controllers >> bit & 1 == 1 {
                enable(outer, controller).at(Step::DelegateCgroup)?;
            }
        }
        if users.is_empty() {
            return Ok(());
        }
        own(inner, c"", users).at(Step::DelegateCgroup)?;
        let mut buffer = [0; 512];
        // cgroup-v2.rst, "Model of Delegation": the directory and these files, and no others.
        let listed = read(CWD, c"/sys/kernel/cgroup/delegate", &mut buffer).unwrap_or(DELEGATED);
        // What stands behind the last line's end was cut.
        for line in listed.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n")) {
            let mut name = heapless::Vec::<u8, 64>::new();
            let fits = !line.contains(&b'/') && name.extend_from_slice(line).is_ok() && name.push(0).is_ok();
            let Some(name) = CStr::from_bytes_with_nul(&name).ok().filter(|_| fits) else { continue };
            match own(inner, name, users) {
                // Of a controller that this host lacks.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error).at(Step::DelegateCgroup),
            }
        }
        Ok(())
    }

    /// Moves this process into the cgroup `exec` of `member`, making it where it is missing.
    ///
    /// # Errors
    /// As mkdir(2), open(2) and write(2).
    pub fn join(&self, member: Member<'_>) -> Result<(), Errno> {
        self.open_member(member).and_then(|outer| join(outer.as_fd()))
    }

    /// Moves this process into the cgroup `check` of `member`, making it where it is missing.
    ///
    /// # Errors
    /// As mkdir(2), open(2) and write(2).
    pub fn enter_check(&self, member: Member<'_>) -> Result<(), Errno> {
        let outer = self.open_member(member)?;
        write(directory(outer.as_fd(), CHECK)?.as_fd(), c"cgroup.procs", b"0")
    }

    /// Kills what is left in the cgroup `check` of `member`. It may be gone.
    pub fn kill_check(&self, member: Member<'_>) {
        let outer = self.open_member(member);
        let check = outer.and_then(|outer| rustix::fs::openat(outer, CHECK, DIRECTORY, Mode::empty()));
        // What cannot be killed now goes with the guest.
        let _ = check.and_then(|check| kill(check.as_fd()));
    }

    /// Makes the cgroup that a hook of `member` runs in, beside services, and returns it.
    ///
    /// # Errors
    /// As mkdir(2) and open(2).
    pub fn make_hooks(&self, member: Member<'_>) -> Result<OwnedFd, Errno> {
        // They come and go with those of services.
        let beside = self.services.as_ref().ok_or(Errno::NOENT)?;
        directory(beside.as_fd(), hooks_name(member).as_c_str())
    }

    /// Kills what a hook of `member` has left, waits for its end as long as the kernel may take, and removes its cgroup.
    pub fn clear_hooks(&self, member: Member<'_>) {
        let Ok(cgroup) = self.open_hooks(member) else { return };
        let until_ms = clock::now_ms().saturating_add(limits::KILL_TIMEOUT_MS);
        while populated(cgroup.as_fd()) == Ok(true) && clock::now_ms() < until_ms {
            let _ = kill(cgroup.as_fd());
            let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            let _ = rustix::event::poll(&mut [], Some(&pause));
        }
        // What is left is tried again with the guest's own.
        let _ = self.remove_hooks(member);
    }

    fn remove_hooks(&self, member: Member<'_>) -> Result<(), Errno> {
        let Some(beside) = &self.services else { return Ok(()) };
        match rustix::fs::unlinkat(beside, hooks_name(member).as_c_str(), AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            result => result,
        }
    }

    fn open_hooks(&self, member: Member<'_>) -> Result<OwnedFd, Errno> {
        let beside = self.services.as_ref().ok_or(Errno::NOENT)?;
        rustix::fs::openat(beside, hooks_name(member).as_c_str(), DIRECTORY, Mode::empty())
    }

    /// Opens `cgroup.events` of `member`, or of its hooks where only of those something is left: EPOLLPRI when `populated`
    /// changes.
    ///
    /// # Errors
    /// The step that failed.
    pub fn events(&self, member: Member<'_>) -> Result<OwnedFd, Fault> {
        let open = |cgroup: OwnedFd| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let events = rustix::fs::openat(cgroup, c"cgroup.events", flags, Mode::empty())?;
            // What was read is what a change is told from.
            rustix::io::read(&events, &mut [0; 64]).map(|_| events)
        };
        let own = self.open_member(member);
        let is_over = || own.as_ref().is_ok_and(|own| populated(own.as_fd()) != Ok(true));
        let cgroup = match self.open_hooks(member) {
            Ok(hooks) if own.is_err() || is_over() => Ok(hooks),
            _ => own,
        };
        cgroup.and_then(open).at(Step::CgroupEvents)
    }

    /// Whether any process is left in `member`, or of its hooks; none where the cgroups do not exist.
    ///
    /// # Errors
    /// The step that failed.
    pub fn is_populated(&self, member: Member<'_>) -> Result<bool, Fault> {
        let is = |cgroup: Result<OwnedFd, Errno>| match cgroup.and_then(|cgroup| populated(cgroup.as_fd())) {
            Err(Errno::NOENT | Errno::NODEV) => Ok(false),
            result => result.at(Step::CgroupEvents),
        };
        Ok(is(self.open_member(member))? || is(self.open_hooks(member))?)
    }

    /// Kills all of `member` (cgroup.kill; before 5.14 freeze, kill, thaw). Asks only: it is over when not populated.
    ///
    /// # Errors
    /// The step that failed.
    pub fn kill(&self, member: Member<'_>) -> Result<(), Fault> {
        let kill = |cgroup: Result<OwnedFd, Errno>| match cgroup.and_then(|cgroup| kill(cgroup.as_fd())) {
            Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            result => result.at(Step::KillCgroup),
        };
        kill(self.open_hooks(member)).and(kill(self.open_member(member)))
    }

    /// Removes the cgroups of `member`, which has no process left. Nothing to remove is fine.
    ///
    /// # Errors
    /// The step that failed.
    pub fn remove(&self, member: Member<'_>) -> Result<(), Fault> {
        let result = self
            .remove_hooks(member)
            .and_then(|()| self.open_member(member))
            .and_then(|cgroup| remove_below(cgroup.as_fd(), DEPTH))
            .and_then(|()| rustix::fs::unlinkat(self.of(member.kind), member.name, AtFlags::REMOVEDIR));
        match result {
            Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            result => result.at(Step::RemoveCgroup),
        }
    }

    /// What `member` uses now.
    pub fn usage(&self, member: Member<'_>) -> Usage {
        let Ok(cgroup) = self.open_member(member) else { return Usage::default() };
        let cgroup = cgroup.as_fd();
        let mut buffer = [0; 512];
        let cpu = read(cgroup, c"cpu.stat", &mut buffer).unwrap_or_default();
        let has_pids = self.has("pids");
        let (cpu_us, throttled) = (number(cpu, b"usage_usec "), number(cpu, b"nr_throttled "));
        Usage {
            // Where there is no controller there is no file: looking for one takes as long as reading it.
            memory_bytes: if self.has("memory") { read_number(cgroup, c"memory.current", b"") } else { None },
            cpu_us: cpu_us.unwrap_or(0),
            processes: if has_pids { read_number(cgroup, c"pids.current", b"").map(narrow) } else { None },
            processes_refused: if has_pids { refused(cgroup) } else { 0 },
            cpu_throttled: throttled.map_or(0, narrow),
        }
    }

    /// Opens `memory.events` of `member`: EPOLLPRI when a number in it changes. Nothing where the controller is missing.
    pub fn memory_events(&self, member: Member<'_>) -> Option<OwnedFd> {
        let cgroup = self.open_member(member).ok()?;
        rustix::fs::openat(cgroup, c"memory.events", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    }

    /// Has `member` stand still, or go on. Asks only: see [`Base::is_frozen`].
    ///
    /// # Errors
    /// The step that failed.
    pub fn hold(&self, member: Member<'_>, still: bool) -> Result<(), Fault> {
        let value: &[u8] = if still { b"1" } else { b"0" };
        self.open_member(member).and_then(|cgroup| write(cgroup.as_fd(), c"cgroup.freeze", value)).at(Step::Freeze)
    }

    /// Whether all of `member` stands still.
    #[must_use]
    pub fn is_frozen(&self, member: Member<'_>) -> bool {
        let frozen = |cgroup: OwnedFd| read_number(cgroup.as_fd(), c"cgroup.events", b"frozen ");
        self.open_member(member).ok().and_then(frozen) == Some(1)
    }

    /// Where the cgroups of guests, or of services, are.
    fn of(&self, kind: Kind) -> BorrowedFd<'_> {
        let services = self.services.as_ref().filter(|_| kind == Kind::Service);
        services.unwrap_or(&self.guests).as_fd()
    }

    /// Opens the cgroup of `member`, that with its limits.
    ///
    /// # Errors
    /// As open(2).
    pub fn open_member(&self, member: Member<'_>) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(self.of(member.kind), member.name, DIRECTORY, Mode::empty())
    }
}

/// How much memory the host leaves to guests; nothing where it keeps none. `parent` is the cgroup around theirs.
fn left_of(parent: BorrowedFd<'_>, plan: &Plan) -> Result<Option<u64>, Fault> {
    let Some(reserve) = plan.host.reserve_bytes else { return Ok(None) };
    // Of a supervisor that is bounded itself: what it has.
    let all = read_number(parent, c"memory.max", b"").unwrap_or(u64::MAX).min(machine::memory_bytes());
    let left = all.checked_sub(reserve).filter(|left| *left > 0);
    left.ok_or(Errno::OVERFLOW).at(Step::LimitReserve).map(Some)
}

/// No service has such a name.
fn hooks_name(member: Member<'_>) -> Made {
    Made::new(format_args!("{}+hooks", member.name.to_str().unwrap_or_default()))
}

/// Moves this process into the cgroup `exec` of the guest whose first process is `first` and whose cgroup the supervisor
/// calls `cgroup` ("inn/web"). It is found by that process: the supervisor's cgroup namespace may be another than ours.
///
/// Of a guest with cgroups of its own it is among those, where its init can move processes from: a login makes a session
/// of them. Beside those, where the guest leaves no room for one more.
///
/// # Errors
/// [`Step::FindCgroup`], [`Step::JoinCgroup`].
pub fn join_running(first: BorrowedFd<'_>, cgroup: &str, is_delegated: bool) -> Result<(), Fault> {
    let root = find().at(Step::FindCgroup)?;
    let mut buffer = [0; libc::PATH_MAX as usize];
    let text = read(first, c"cgroup", &mut buffer).at(Step::FindCgroup)?;
    // cgroups(7): "0::" and the path below the root that this process sees.
    let path = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::/")).unwrap_or_default();
    let end = (0..path.len()).find_map(|at| {
        let rest = path.get(at..)?.strip_prefix(cgroup.as_bytes())?;
        let whole = at == 0 || path.get(at - 1) == Some(&b'/');
        (whole && rest.first() == Some(&b'/')).then_some(at + cgroup.len())
    });
    let path = path.get(..end.ok_or(Errno::NOENT).at(Step::FindCgroup)?).unwrap_or_default();
    let outer = rustix::fs::openat(root, path, DIRECTORY, Mode::empty()).at(Step::JoinCgroup)?;
    let within = || rustix::fs::openat(&outer, c"guest", DIRECTORY, Mode::empty()).and_then(|own| join(own.as_fd()));
    if is_delegated && within().is_ok() {
        return Ok(());
    }
    join(outer.as_fd()).at(Step::JoinCgroup)
}

/// Whether process `pid` is in the cgroup of `member`, where the base is called `base`. One that has ended is in none.
#[must_use]
pub fn is_in(pid: u32, base: &CStr, member: Member<'_>) -> bool {
    let mut buffer = [0; libc::PATH_MAX as usize];
    let path = Made::new(format_args!("/proc/{pid}/cgroup"));
    let Ok(text) = read(CWD, path.as_c_str(), &mut buffer) else { return false };
    let path = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::/")).unwrap_or_default();
    let services = if member.kind == Kind::Service { SERVICES } else { "" };
    let parts = [base.to_bytes(), services.as_bytes(), b"/", member.name.to_bytes()];
    let rest = parts.iter().try_fold(path, |path, part| path.strip_prefix(*part));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

fn join(outer: BorrowedFd<'_>) -> Result<(), Errno> {
    let inner = directory(outer, c"exec")?;
    write(inner.as_fd(), c"cgroup.procs", b"0")
}

/// Removes the base `name` itself, which has no guest left, and comes back from where [`Base::open`] may have moved us.
///
/// # Errors
/// The step that failed.
pub fn remove_base(name: &CStr) -> Result<(), Fault> {
    let root = find().at(Step::RemoveCgroup)?;
    match with_services(name, |services| rustix::fs::unlinkat(&root, services, AtFlags::REMOVEDIR)) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error).at(Step::RemoveCgroup),
    }
    rustix::fs::unlinkat(&root, name, AtFlags::REMOVEDIR).at(Step::RemoveCgroup)?;
    parent(root.as_fd(), name).and_then(|parent| step_back(parent.as_fd())).at(Step::RemoveCgroup)
}

/// Whether this process, if it is alone in the cgroup `parent`, has left it for one of its own below: no internal
/// processes (cgroup-v2.rst, "No Internal Process Constraint").
fn step_aside(parent: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut buffer = [0; 32];
    let alone = Made::new(format_args!("{}\n", rustix::process::getpid().as_raw_nonzero()));
    if read(parent, c"cgroup.procs", &mut buffer)? != alone.as_bytes() {
        return Ok(false);
    }
    let own = directory(parent, OWN)?;
    write(own.as_fd(), c"cgroup.procs", b"0").map(|()| true)
}

/// Whether `parent` is the root of all cgroups that a guest has, and its processes have left it for one below: where we
/// are a guest ourselves, those of its init and of whoever else has not made itself a cgroup.
fn clear_root(parent: BorrowedFd<'_>) -> Result<bool, Errno> {
    let root = find()?;
    let number = |cgroup| rustix::fs::fstat(cgroup).map(|stat| stat.st_ino);
    if !inside::is_so() || number(parent)? != number(root.as_fd())? {
        return Ok(false);
    }
    let own = directory(parent, INIT)?;
    let mut buffer = [0; 512];
    // Those that are made meanwhile are found the next time round.
    for _ in 0..CLEAR_TRIES {
        let listed = read(parent, c"cgroup.procs", &mut buffer)?;
        if listed.is_empty() {
            return Ok(true);
        }
        // The last number may have been cut.
        for line in listed.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            match write(own.as_fd(), c"cgroup.procs", line) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(false)
}

/// Undoes [`step_aside`], where that was done.
fn step_back(parent: BorrowedFd<'_>) -> Result<(), Errno> {
    if rustix::fs::accessat(parent, OWN, rustix::fs::Access::EXISTS, AtFlags::empty()).is_err() {
        return Ok(());
    }
    for controller in CONTROLLERS {
        // Not enabled here, or not known.
        let _ = switch(parent, '-', controller);
    }
    write(parent, c"cgroup.procs", b"0")?;
    rustix::fs::unlinkat(parent, OWN, AtFlags::REMOVEDIR)
}

/// Beside what a guest makes in `guest`: that itself, and `exec`.
const OUTSIDE: u32 = 2;
/// Where what looks whether a guest is well runs.
const CHECK: &CStr = c"check";

/// The directories below a guest's cgroup: its own depth, and the two levels that are ours.
const DEPTH: u32 = limits::CGROUP_DEPTH + 2;

/// The root of the cgroup v2 file system, where systems mount it: alone, or beside version 1.
fn find() -> Result<OwnedFd, Errno> {
    for path in [c"/sys/fs/cgroup", c"/sys/fs/cgroup/unified"] {
        let Ok(root) = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty()) else { continue };
        if rustix::fs::fstatfs(&root)?.f_type == libc::CGROUP2_SUPER_MAGIC as _ {
            return Ok(root);
        }
    }
    Err(Errno::NOENT)
}

/// Opens a cgroup, making it where it is missing: it may be there from a start that failed half-way, or from this program's
/// earlier life.
fn directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()),
        Err(error) => Err(error),
    }
}

/// The cgroup that `name` is in.
fn parent(root: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let name = name.to_bytes();
    match name.iter().rposition(|byte| *byte == b'/') {
        Some(end) => rustix::fs::openat(root, name.get(..end).unwrap_or_default(), DIRECTORY, Mode::empty()),
        None => rustix::fs::openat(root, c".", DIRECTORY, Mode::empty()),
    }
}

/// Does `work` with the name of the base of services beside `name`.
fn with_services<T>(name: &CStr, work: impl FnOnce(&CStr) -> Result<T, Errno>) -> Result<T, Errno> {
    let mut services = heapless::Vec::<u8, { libc::PATH_MAX as usize / 4 }>::new();
    let parts = [name.to_bytes(), SERVICES.as_bytes(), b"\0"];
    parts.into_iter().try_for_each(|part| services.extend_from_slice(part)).map_err(|_| Errno::NAMETOOLONG)?;
    work(CStr::from_bytes_with_nul(&services).map_err(|_| Errno::INVAL)?)
}

/// Gives `file` of a cgroup to the guest's root, and the cgroup itself where that is empty.
fn own(cgroup: BorrowedFd<'_>, file: &CStr, users: &Extents) -> Result<(), Errno> {
    let flags = if file.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
    let (user, group) = (rustix::fs::Uid::from_raw(users.root()), rustix::fs::Gid::from_raw(users.root()));
    rustix::fs::chownat(cgroup, file, Some(user), Some(group), flags)
}

/// How many cgroups there may be below this one, and how deep: what a guest may make, and `more` of each.
fn bound(cgroup: BorrowedFd<'_>, more: u32) -> Result<(), Errno> {
    write_number(cgroup, c"cgroup.max.descendants", u64::from(limits::CGROUP_DESCENDANTS + more))?;
    write_number(cgroup, c"cgroup.max.depth", u64::from(limits::CGROUP_DEPTH + more))
}

fn enable(cgroup: BorrowedFd<'_>, controller: &str) -> Result<(), Errno> {
    switch(cgroup, '+', controller)
}

fn switch(cgroup: BorrowedFd<'_>, sign: char, controller: &str) -> Result<(), Errno> {
    write(cgroup, c"cgroup.subtree_control", Made::new(format_args!("{sign}{controller}")).as_bytes())
}

/// Writes `bytes` to `file` in one call: the kernel takes a value whole.
///
/// # Errors
/// As open(2) and write(2).
pub(super) fn write(cgroup: BorrowedFd<'_>, file: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::openat(cgroup, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, bytes).map(drop)
}

/// Writes a number to `file` of `cgroup`.
///
/// # Errors
/// As open(2) and write(2).
pub fn write_number(cgroup: BorrowedFd<'_>, file: &CStr, value: u64) -> Result<(), Errno> {
    write(cgroup, file, Made::new(format_args!("{value}")).as_bytes())
}

/// How many processes were killed for want of memory, by what [`Base::memory_events`] opened.
pub fn oom_kills(events: BorrowedFd<'_>) -> u32 {
    let mut buffer = [0; 256];
    let len = rustix::io::pread(events, &mut buffer, 0).unwrap_or(0);
    number(buffer.get(..len).unwrap_or_default(), b"oom_kill ").map_or(0, narrow)
}

/// How often the limit of processes kept a process from being made. Since 6.11 the limit's own cgroup counts that; before,
/// the one where it was tried.
fn refused(cgroup: BorrowedFd<'_>) -> u32 {
    let max = |file| read_number(cgroup, file, b"max ").map(narrow);
    max(c"pids.events.local").unwrap_or_else(|| {
        let files = [c"pids.events", c"guest/pids.events", c"exec/pids.events", c"check/pids.events"];
        files.into_iter().filter_map(max).fold(0, u32::saturating_add)
    })
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The number behind `label` at a line's start in `file`; nothing where the file or the line is missing.
pub fn read_number(cgroup: BorrowedFd<'_>, file: &CStr, label: &[u8]) -> Option<u64> {
    let mut buffer = [0; 512];
    number(read(cgroup, file, &mut buffer).ok()?, label)
}

fn number(text: &[u8], label: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(label))?;
    text::number(line)
}

/// What `file` holds, as far as the buffer goes.
///
/// # Errors
/// As open(2) and read(2).
pub(super) fn read<'a>(cgroup: BorrowedFd<'_>, file: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let file = rustix::fs::openat(cgroup, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let len = rustix::io::read(file, &mut *buffer)?;
    Ok(buffer.get(..len).unwrap_or_default())
}

fn populated(cgroup: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(read_number(cgroup, c"cgroup.events", b"populated ").ok_or(Errno::NOENT)? != 0)
}

fn kill(cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
    match write(cgroup, c"cgroup.kill", b"1") {
        Err(Errno::NOENT) => kill_frozen(cgroup),
        result => result,
    }
}

/// For kernels without cgroup.kill: frozen, no process makes another while it is being killed.
fn kill_frozen(cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
    write(cgroup, c"cgroup.freeze", b"1")?;
    let killed = kill_below(cgroup, DEPTH);
    // Thawed whatever happened: a frozen guest would neither die nor live.
    write(cgroup, c"cgroup.freeze", b"0").and(killed)
}

fn kill_below(cgroup: BorrowedFd<'_>, depth: u32) -> Result<(), Errno> {
    // ESRCH: it has died by itself. It cannot have been replaced: the kernel lists members of this cgroup, and a frozen
    // cgroup takes the signal when it is delivered.
    each_below(cgroup, depth, &mut |pid| {
        let _ = signal::send_to(pid, libc::SIGKILL as u8);
    })
}

/// Does `act` for each process of `cgroup` and those below it.
///
/// # Errors
/// Of listing them.
pub fn each_process(cgroup: BorrowedFd<'_>, act: &mut dyn FnMut(Pid)) -> Result<(), Errno> {
    each_below(cgroup, DEPTH, act)
}

fn each_below(cgroup: BorrowedFd<'_>, depth: u32, act: &mut dyn FnMut(Pid)) -> Result<(), Errno> {
    let file = rustix::fs::openat(cgroup, c"cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0; 512];
    let mut pid = 0i32;
    loop {
        let len = match rustix::io::read(&file, &mut buffer) {
            // One of threads: its processes are listed further up.
            Err(Errno::OPNOTSUPP) => 0,
            len => len?,
        };
        for byte in buffer.iter().take(len) {
            if let digit @ b'0'..=b'9' = byte {
                pid = pid.saturating_mul(10).saturating_add(i32::from(digit - b'0'));
            } else if let Some(pid) = Pid::from_raw(core::mem::take(&mut pid)) {
                act(pid);
            }
        }
        if len == 0 {
            break;
        }
    }
    each_directory(cgroup, |child| if depth == 0 { Err(Errno::LOOP) } else { each_below(child, depth - 1, act) })
}

fn remove_below(cgroup: BorrowedFd<'_>, depth: u32) -> Result<(), Errno> {
    each_directory(cgroup, |child| if depth == 0 { Err(Errno::LOOP) } else { remove_below(child, depth - 1) })?;
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut directory = RawDir::new(cgroup, &mut buffer);
    while let Some(entry) = directory.next() {
        let entry = entry?;
        if is_directory(&entry) {
            rustix::fs::unlinkat(cgroup, entry.file_name(), AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

/// Does `work` for each cgroup right below `cgroup`, then goes back to its beginning.
fn each_directory(
    cgroup: BorrowedFd<'_>,
    mut work: impl FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    // Where it stands may be where an earlier attempt has failed.
    rustix::fs::seek(cgroup, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut directory = RawDir::new(cgroup, &mut buffer);
    while let Some(entry) = directory.next() {
        let entry = entry?;
        if is_directory(&entry) {
            let child = rustix::fs::openat(cgroup, entry.file_name(), DIRECTORY, Mode::empty())?;
            work(child.as_fd())?;
        }
    }
    rustix::fs::seek(cgroup, rustix::fs::SeekFrom::Start(0)).map(drop)
}

fn is_directory(entry: &rustix::fs::RawDirEntry<'_>) -> bool {
    entry.file_type() == rustix::fs::FileType::Directory && !matches!(entry.file_name().to_bytes(), b"." | b"..")
}
