//! What a supervisor leaves to the program that it becomes: a file in memory with a page about itself, and a record a guest.
//!
//! Each is written by one system call, which is over or was never made when a fault comes: none is ever half of one. What can
//! be read from the kernel is not in it. Of a descriptor it has the number and a part of its inode's, so that one that was
//! closed, and whose number went to another, is not taken for it.

use rustix::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use rustix::fs::{MemfdFlags, Mode, OFlags, Stat};
use rustix::io::{Errno, FdFlags};

use crate::host::power::{Bounds, Wanted};
use crate::limits;
use crate::plan::Plan;
use crate::sys::memory::{Image, Static};
use crate::sys::process::Arguments;
use crate::sys::{clock, descriptor, fatal};

/// First bytes of the file.
const MAGIC: u64 = u64::from_le_bytes(*b"inn kept");
/// Raised by every change of what is below, for the program that reads it may be another.
pub const VERSION: u64 = 2;
/// Bytes of the page about the supervisor.
const HOST_BYTES: usize = limits::LINE_BYTES + 4096;
/// Bytes of a guest's record.
const GUEST_BYTES: usize = 448;
/// Deaths within [`limits::DEATHS_WITHIN_MS`] that count.
pub const DEATHS: usize = limits::DEATHS;

/// Puts numbers one behind the other.
#[derive(Debug)]
pub struct Put<'b> {
    bytes: &'b mut [u8],
    at: usize,
}

impl Put<'_> {
    /// One number.
    pub fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// Up to eight flags.
    pub fn flags<const N: usize>(&mut self, flags: [bool; N]) {
        self.number(flags.iter().enumerate().fold(0, |bits, (bit, flag)| bits | u64::from(*flag) << bit));
    }

    /// A text, and how long it is.
    pub fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.bytes(text);
    }

    /// A descriptor; nothing where there is none.
    pub fn descriptor(&mut self, fd: Option<&OwnedFd>) {
        self.number(fd.map_or(0, mark));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // There is room: the sizes above are tested.
        if let Some(room) = self.bytes.get_mut(self.at..self.at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }
}

/// Gets them again. Behind the end everything is zero.
#[derive(Debug)]
pub struct Get<'b> {
    bytes: &'b [u8],
}

impl<'b> Get<'b> {
    /// One number.
    pub fn number(&mut self) -> u64 {
        let Some((number, rest)) = self.bytes.split_first_chunk() else { return 0 };
        self.bytes = rest;
        u64::from_le_bytes(*number)
    }

    /// As many flags as were put.
    pub fn flags<const N: usize>(&mut self) -> [bool; N] {
        let bits = self.number();
        core::array::from_fn(|bit| bits >> bit & 1 != 0)
    }

    /// A text.
    pub fn text(&mut self) -> &'b [u8] {
        let length = self.number() as usize;
        let (text, rest) = self.bytes.split_at_checked(length).unwrap_or_default();
        self.bytes = rest;
        text
    }

    /// A descriptor that is still the same, closed on exec from now on; nothing where it is not.
    pub fn descriptor(&mut self) -> Option<OwnedFd> {
        claim(self.number())
    }
}

/// A descriptor as a number: its own, and what of its inode's fits beside it.
fn mark(fd: &OwnedFd) -> u64 {
    let inode = rustix::fs::fstat(fd).map_or(0, |stat| stat.st_ino);
    inode << 32 | (fd.as_raw_fd() as u64 + 1)
}

/// The descriptor with such a number. What was claimed before, and what this program has opened, is closed on exec.
fn claim(mark: u64) -> Option<OwnedFd> {
    let number = (mark as u32).checked_sub(1)? as RawFd;
    if descriptor::flags(number)?.contains(FdFlags::CLOEXEC) {
        return None;
    }
    let fd = descriptor::adopt(number)?;
    if self::mark(&fd) != mark {
        // It is closed with the others that nobody claims.
        core::mem::forget(fd);
        return None;
    }
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
    Some(fd)
}

/// What is known of the supervisor itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its process.
    pub pid: u32,
    /// The listening socket, as [`Put::descriptor`] has it.
    pub listener: u64,
    /// The ring of events.
    pub news: u64,
    /// The number of the last.
    pub sequence: u64,
    /// The plan: see [`crate::sys::memory::Image`].
    pub plan: u64,
    /// Whose plan it is: the program, by its device, inode and time.
    pub program: [u64; 3],
    /// Guests and services of that.
    pub guests: u64,
    /// The process that writes log files; 0 for none.
    pub writer: u64,
    /// Its socket.
    pub writer_socket: u64,
    /// The emergency shell; 0 for none.
    pub shell: u64,
    /// When the supervisor began.
    pub started_ms: u64,
    /// The host counts as up by then; 0 where it does.
    pub up_by_ms: u64,
    /// Whether this boot is a good one is to be known by then; 0 where nobody asks, or it is.
    pub judged_by_ms: u64,
    /// The program before, as long as this one has not taken over: its plan, its file, and by what it is known.
    pub before: [u64; 5],
    /// Where the host goes down: what it is to do then (0: it does not go down), and its deadlines.
    pub ending: [u64; 5],
    /// The watchdog.
    pub watchdog: u64,
    /// How often it is petted.
    pub watchdog_ms: u64,
    /// Going down, all was killed.
    pub is_killed: bool,
    /// Nothing is left but to take the machine down.
    pub is_over: bool,
    /// The config is to be read again.
    pub is_asked: bool,
    /// Guests are being changed to what the config says.
    pub is_following: bool,
    /// It starts nothing.
    pub is_safe: bool,
    /// This program was asked for.
    pub is_upgrade: bool,
    /// There is nothing but the emergency shell.
    pub is_emergency: bool,
    /// Leaving that goes on with the boot.
    pub goes_on: bool,
    /// The guest whose limits are being changed, and one; 0 for none.
    pub changing: u64,
    /// When it died lately, the last first; 0 for never.
    pub deaths: [u64; DEATHS],
    /// How often it has died.
    pub died: u64,
    /// How often it was replaced on purpose.
    pub replaced: u64,
    /// What holds the claim to the cgroup of all guests.
    pub claim: u64,
    /// Who has asked for that, and waits.
    pub client: u64,
    /// When each stage of coming up was over; 0 where it was none.
    pub boot_ms: [u64; 8],
}

/// Texts about the supervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Texts<'b> {
    /// The cgroup of all guests.
    pub base: &'b [u8],
    /// The config's path.
    pub config: &'b [u8],
    /// The socket's path.
    pub socket: &'b [u8],
    /// What the kernel calls this process.
    pub name: &'b [u8],
}

impl Host {
    fn put(&self, texts: &Texts<'_>, put: &mut Put<'_>) {
        let Host { is_killed, is_over, is_asked, is_following, is_safe, is_upgrade, is_emergency, goes_on, .. } = *self;
        put.number(MAGIC);
        put.number(VERSION);
        put.flags([is_killed, is_over, is_asked, is_following, is_safe, is_upgrade, is_emergency, goes_on]);
        let numbers = [
            self.pid.into(),
            self.listener,
            self.news,
            self.sequence,
            self.plan,
            self.guests,
            self.writer,
            self.writer_socket,
            self.shell,
            self.started_ms,
            self.up_by_ms,
            self.judged_by_ms,
            self.changing,
            self.died,
            self.replaced,
            self.watchdog,
            self.watchdog_ms,
            self.client,
            self.claim,
        ];
        numbers
            .into_iter()
            .chain(self.program)
            .chain(self.before)
            .chain(self.ending)
            .chain(self.deaths)
            .chain(self.boot_ms)
            .for_each(|n| put.number(n));
        [texts.base, texts.config, texts.socket, texts.name].into_iter().for_each(|text| put.text(text));
    }

    fn get<'b>(get: &mut Get<'b>) -> Option<(Host, Texts<'b>)> {
        if get.number() != MAGIC || get.number() != VERSION {
            return None;
        }
        let [is_killed, is_over, is_asked, is_following, is_safe, is_upgrade, is_emergency, goes_on] = get.flags();
        let mut next = || get.number();
        let host = Host {
            is_killed,
            is_over,
            is_asked,
            is_following,
            is_safe,
            is_upgrade,
            is_emergency,
            goes_on,
            pid: next() as u32,
            listener: next(),
            news: next(),
            sequence: next(),
            plan: next(),
            guests: next(),
            writer: next(),
            writer_socket: next(),
            shell: next(),
            started_ms: next(),
            up_by_ms: next(),
            judged_by_ms: next(),
            changing: next(),
            died: next(),
            replaced: next(),
            watchdog: next(),
            watchdog_ms: next(),
            client: next(),
            claim: next(),
            program: core::array::from_fn(|_| next()),
            before: core::array::from_fn(|_| next()),
            ending: core::array::from_fn(|_| next()),
            deaths: core::array::from_fn(|_| next()),
            boot_ms: core::array::from_fn(|_| next()),
        };
        Some((host, Texts { base: get.text(), config: get.text(), socket: get.text(), name: get.text() }))
    }
}

/// A number for a descriptor; 0 for none.
#[must_use]
pub fn number_of(fd: Option<&OwnedFd>) -> u64 {
    fd.map_or(0, mark)
}

/// The descriptor with this number, where it is still the same.
#[must_use]
pub fn descriptor_of(number: u64) -> Option<OwnedFd> {
    claim(number)
}

impl Host {
    /// What the host is to do when it is down, and when each part of going down is over; nothing where it does not.
    #[must_use]
    pub fn ending(&self) -> Option<(Option<Wanted>, Bounds)> {
        let [wanted, kill_at_ms, give_up_at_ms, processes_by_ms, over_at_ms] = self.ending;
        let bounds = Bounds { kill_at_ms, give_up_at_ms, processes_by_ms, over_at_ms };
        wanted.checked_sub(1).map(|wanted| (Wanted::from_number(wanted), bounds))
    }

    /// The other way round.
    pub fn set_ending(&mut self, ending: Option<(Option<Wanted>, Bounds)>) {
        self.ending = ending.map_or([0; 5], |(wanted, bounds)| {
            let Bounds { kill_at_ms, give_up_at_ms, processes_by_ms, over_at_ms } = bounds;
            [1 + wanted.map_or(0, Wanted::number), kill_at_ms, give_up_at_ms, processes_by_ms, over_at_ms]
        });
    }

    /// Whether the program that is known by `identity` is the one before, and its successor has died too early: it has its
    /// own plan again.
    fn come_back(&mut self, identity: [u64; 3]) -> bool {
        let [plan, _, known @ ..] = self.before;
        let is_back = known == identity;
        if is_back {
            (self.plan, self.program, self.before) = (plan, identity, [0; 5]);
            if !core::mem::take(&mut self.is_upgrade) {
                // The other has found this, and counted itself.
                self.replaced = self.replaced.saturating_sub(1);
            }
        }
        is_back
    }

    /// This process has died, or was replaced, and goes on at `now_ms`.
    pub fn go_on(&mut self, now_ms: u64) {
        if core::mem::take(&mut self.is_upgrade) {
            self.replaced += 1;
            (self.deaths, self.is_safe) = ([0; DEATHS], false);
            return;
        }
        self.died += 1;
        self.deaths.rotate_right(1);
        self.deaths[0] = now_ms.max(1);
        let first = self.deaths[DEATHS - 1];
        self.is_safe |= first != 0 && now_ms.saturating_sub(first) <= limits::DEATHS_WITHIN_MS;
    }
}

/// All that a program before this one has left.
#[derive(Debug)]
pub struct Left {
    /// The file.
    pub file: Kept,
    /// About the supervisor.
    pub host: Host,
    /// About the supervisor.
    pub texts: Texts<'static>,
    /// The plan, where this program has made it; taken over by [`Left::plan`].
    pub plan: Option<Image<Plan>>,
    /// The program that is come back to where this one dies before it has taken over.
    pub before: Option<Before>,
    /// This is that program.
    pub is_back: bool,
}

/// The program that this one has replaced, and its plan, kept open until this one has taken over.
#[derive(Debug)]
pub struct Before {
    program: OwnedFd,
    _plan: Option<OwnedFd>,
}

static PAGE: Static<Page> = Static::new(EMPTY);

impl Before {
    /// Its file.
    #[must_use]
    pub fn program(&self) -> RawFd {
        self.program.as_raw_fd()
    }
}

impl Left {
    /// Finds it, and writes there that this program goes on with it; nothing where there is none.
    #[must_use]
    pub fn find(arguments: &Arguments) -> Option<Left> {
        let file = fatal::kept(arguments).and_then(Kept::find)?;
        let (mut host, texts) = file.host(PAGE.take()?)?;
        let is_back = program().is_ok_and(|(_, identity)| host.come_back(identity));
        host.go_on(clock::now_ms());
        let _ = file.put_host(&host, &texts);
        if let Ok(name) = core::ffi::CStr::from_bytes_until_nul(texts.name) {
            // Of execveat(2) it has the name of a descriptor.
            let _ = rustix::thread::set_name(name);
        }
        Some(Left { file, host, texts, plan: None, before: None, is_back })
    }

    /// Until this program has taken over, a fault of it leads back to the one before, where that is another.
    pub fn fall_back(&mut self, arguments: &Arguments) {
        let [plan, program, ..] = self.host.before;
        let Some(program) = claim(program) else { return };
        if fatal::arm(&program, self.file.number(), arguments).is_ok() {
            self.before = Some(Before { program, _plan: claim(plan) });
        }
    }

    /// The plan, in `room`; nothing where it was lost, or made by another program.
    ///
    /// # Errors
    /// With `room`, which is empty then.
    pub fn plan(&mut self, room: &'static mut Plan) -> Result<&'static mut Plan, &'static mut Plan> {
        let is_ours = program().is_ok_and(|(_, identity)| identity == self.host.program);
        let image = if is_ours { descriptor_of(self.host.plan).map(Image::adopt) } else { None };
        let Some(image) = image else { return Err(room) };
        let plan = image.take(room).map_err(|(_, room)| room)?;
        self.plan = Some(image);
        Ok(plan)
    }
}

/// This program's file, opened to be executed, and by what it is known.
///
/// # Errors
/// As open(2).
pub fn program() -> Result<(OwnedFd, [u64; 3]), Errno> {
    // Not with O_PATH: it has to be found among the open descriptors.
    let file = rustix::fs::open(c"/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    Ok((file, identity(&stat)))
}

/// By what a program is known: device, inode, and when it was written.
#[must_use]
pub fn identity(stat: &Stat) -> [u64; 3] {
    let written_ns = (stat.st_mtime as u64).wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec);
    [stat.st_dev, stat.st_ino, written_ns]
}

/// What a page about the supervisor is read into.
pub type Page = [u8; HOST_BYTES];

/// An empty page.
pub const EMPTY: Page = [0; HOST_BYTES];

/// The file.
#[derive(Debug)]
pub struct Kept {
    file: OwnedFd,
}

impl Kept {
    /// An empty one.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> Result<Kept, Errno> {
        let file = rustix::fs::memfd_create(c"inn-kept", MemfdFlags::CLOEXEC)?;
        Ok(Kept { file })
    }

    /// The one in `file`.
    #[must_use]
    pub fn of(file: OwnedFd) -> Kept {
        Kept { file }
    }

    /// The one that the program before has left as descriptor `number`: nothing where it is none, or of another version, or
    /// was another process's.
    #[must_use]
    pub fn find(number: RawFd) -> Option<Kept> {
        descriptor::flags(number)?;
        // SAFETY is `adopt`'s affair: the number is open, and was left to this program.
        let kept = Kept { file: descriptor::adopt(number)? };
        let pid = rustix::process::getpid().as_raw_nonzero().get() as u32;
        match kept.host(&mut [0; HOST_BYTES]) {
            Some((host, _)) if host.pid == pid => {
                let _ = rustix::io::fcntl_setfd(&kept.file, FdFlags::CLOEXEC);
                Some(kept)
            }
            _ => {
                core::mem::forget(kept);
                None
            }
        }
    }

    /// Its number, for the program that comes after.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The page about the supervisor, in `buffer`.
    #[must_use]
    pub fn host<'b>(&self, buffer: &'b mut Page) -> Option<(Host, Texts<'b>)> {
        let length = rustix::io::pread(&self.file, &mut buffer[..], 0).ok()?;
        Host::get(&mut Get { bytes: buffer.get(..length)? })
    }

    /// Writes that page.
    ///
    /// # Errors
    /// ENOMEM, ENOSPC.
    pub fn put_host(&self, host: &Host, texts: &Texts<'_>) -> Result<(), Errno> {
        let mut bytes = [0; HOST_BYTES];
        let mut put = Put { bytes: &mut bytes, at: 0 };
        host.put(texts, &mut put);
        let used = put.at.min(HOST_BYTES);
        rustix::io::pwrite(&self.file, bytes.get(..used).unwrap_or_default(), 0).map(drop)
    }

    /// Writes the record of guest number `index`.
    ///
    /// # Errors
    /// ENOMEM, ENOSPC.
    pub fn put_guest(&self, index: usize, fill: impl FnOnce(&mut Put<'_>)) -> Result<(), Errno> {
        let mut bytes = [0; GUEST_BYTES];
        let mut put = Put { bytes: &mut bytes, at: 0 };
        fill(&mut put);
        debug_assert!(put.at <= GUEST_BYTES);
        rustix::io::pwrite(&self.file, &bytes, place(index)).map(drop)
    }

    /// Reads the record of guest number `index`; all zero where there is none.
    pub fn guest<T>(&self, index: usize, read: impl FnOnce(&mut Get<'_>) -> T) -> T {
        let mut bytes = [0; GUEST_BYTES];
        let length = rustix::io::pread(&self.file, &mut bytes, place(index)).unwrap_or(0);
        read(&mut Get { bytes: bytes.get(..length).unwrap_or_default() })
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn place(index: usize) -> u64 {
    (HOST_BYTES + index * GUEST_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use rustix::fd::AsFd;

    use super::*;
    use crate::supervise::health::Health;
    use crate::supervise::state::Machine;

    #[test]
    fn the_page_about_a_supervisor_is_read_as_it_was_written_and_no_other_version_is() {
        let kept = Kept::new().unwrap();
        let host = Host {
            pid: 1,
            listener: 2,
            news: 3,
            sequence: u64::MAX,
            plan: 5,
            program: [6, 7, 8],
            guests: 9,
            writer: 10,
            writer_socket: 11,
            shell: 12,
            started_ms: 13,
            up_by_ms: 14,
            judged_by_ms: 33,
            before: [34, 35, 36, 37, 38],
            ending: [15, 16, 17, 18, 19],
            watchdog: 20,
            watchdog_ms: 21,
            is_killed: true,
            is_over: false,
            is_asked: true,
            is_following: false,
            is_safe: true,
            is_upgrade: false,
            is_emergency: true,
            goes_on: true,
            changing: 18,
            deaths: [19, 20, 21],
            died: 22,
            replaced: 23,
            client: 24,
            claim: 32,
            boot_ms: [25, 0, 26, 27, 28, 29, 30, 31],
        };
        let config = [b'c'; limits::LINE_BYTES];
        let texts = Texts { base: b"a/inn", config: &config, socket: &[b's'; 108], name: b"inn" };
        kept.put_host(&host, &texts).unwrap();
        assert_eq!(kept.host(&mut EMPTY.clone()), Some((host, texts)));
        rustix::io::pwrite(kept.as_fd(), &(VERSION + 1).to_le_bytes(), 8).unwrap();
        assert_eq!(kept.host(&mut EMPTY.clone()), None);
    }

    #[test]
    fn a_record_has_room_for_the_longest() {
        let mut bytes = [0; GUEST_BYTES];
        let mut health = Health::new();
        health.keep_line(&[b'x'; 2 * limits::SAID_BYTES]);
        let mut put = Put { bytes: &mut bytes, at: 0 };
        put.number(0);
        Machine::new().keep(&mut put);
        put.flags([false; 3]);
        (0..11).for_each(|number| put.number(number));
        health.keep(&mut put);
        assert!(put.at <= GUEST_BYTES, "{}", put.at);
    }

    #[test]
    fn a_descriptor_is_claimed_once_and_not_where_its_number_has_gone_to_another() {
        let open = || rustix::fs::memfd_create(c"x", MemfdFlags::empty()).unwrap();
        let fd = open();
        let number = number_of(Some(&fd));
        core::mem::forget(fd);
        let fd = descriptor_of(number).unwrap();
        assert!(descriptor_of(number).is_none(), "it is this program's");
        drop(fd);
        assert!(descriptor_of(number).is_none() && descriptor_of(0).is_none());
        let (fd, other) = (open(), open());
        let number = number_of(Some(&fd)) & 0xffff_ffff | number_of(Some(&other)) >> 32 << 32;
        assert!(descriptor_of(number).is_none(), "the inode is another's");
    }

    #[test]
    fn only_the_program_before_has_its_plan_again() {
        let own = [7, 8, 9];
        let left = Host { plan: 1, program: [4, 5, 6], before: [2, 3, 7, 8, 9], is_upgrade: true, ..Host::default() };
        let mut new = left;
        new.go_on(1000);
        assert!(new.replaced == 1 && new.come_back(own) && new.replaced == 0, "it was found");
        let mut host = left;
        assert!(!host.come_back(left.program) && host == left);
        assert!(host.come_back(own));
        host.go_on(1000);
        assert_eq!((host.plan, host.program, host.before, host.died, host.replaced), (2, own, [0; 5], 1, 0));
        assert!(!host.come_back(own), "it is itself now");
    }

    #[test]
    fn the_third_death_within_a_minute_is_the_last_that_starts_anything_and_an_upgrade_forgets_them() {
        let mut host = Host::default();
        for (now_ms, is_safe) in [(0, false), (50_000, false), (60_002, false), (109_000, true), (900_000, true)] {
            host.go_on(now_ms);
            assert_eq!(host.is_safe, is_safe, "{now_ms}");
        }
        host.is_upgrade = true;
        host.go_on(900_001);
        assert_eq!((host.is_safe, host.died, host.replaced, host.deaths[0]), (false, 5, 1, 0));
    }
}
