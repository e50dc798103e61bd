//! How a host goes down.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::pipe::PipeFlags;
use rustix::system::RebootCommand;

use super::child::{self, Outcome};
use super::console::{Console, Level};
use super::files;
use super::mountinfo;
use crate::fault::ErrnoWords;
use crate::limits;
use crate::sys::wait::{self, Which};
use crate::sys::{Errno, clock, process, signal};

/// What the machine is to do when everything is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Switch itself off.
    PowerOff,
    /// Start again.
    Reboot,
    /// Stand still.
    Halt,
}

/// glibc's SIGRTMIN, which the signals of systemd count from.
const RTMIN: u8 = 34;

/// What other programs' `poweroff`, `reboot` and `halt` send to PID 1: of busybox (USR1, USR2, TERM), of sysvinit (PWR; INT
/// is Ctrl-Alt-Del) and of systemd (RTMIN+3 and on, "at once" from +13). Where they conflict busybox is right, for it is
/// what small images have: systemd would execute itself anew on TERM, and look for its bus on USR1.
const SIGNALS: [(u8, Wanted); 11] = [
    (libc::SIGUSR1 as u8, Wanted::Halt),
    (libc::SIGUSR2 as u8, Wanted::PowerOff),
    (libc::SIGTERM as u8, Wanted::Reboot),
    (libc::SIGINT as u8, Wanted::Reboot),
    (libc::SIGPWR as u8, Wanted::PowerOff),
    (RTMIN + 3, Wanted::Halt),
    (RTMIN + 4, Wanted::PowerOff),
    (RTMIN + 5, Wanted::Reboot),
    (RTMIN + 13, Wanted::Halt),
    (RTMIN + 14, Wanted::PowerOff),
    (RTMIN + 15, Wanted::Reboot),
];

impl Wanted {
    /// What signal number `signal` asks PID 1 for.
    #[must_use]
    pub fn from_signal(signal: u8) -> Option<Wanted> {
        SIGNALS.iter().find(|(number, _)| *number == signal).map(|(_, wanted)| *wanted)
    }

    /// The signals that ask for something.
    #[must_use]
    pub fn signals() -> signal::Set {
        SIGNALS.iter().fold(signal::Set::NONE, |set, (number, _)| set.with(*number))
    }
}

/// Takes the host down, the guests being down already: ends every process, writes the file systems back and unmounts
/// them, and lets go of the machine. `deadline_ms` is of [`clock::now_ms`]; only the writing back may take
/// [`limits::FINAL_SYNC_MS`] beyond it. Only for PID 1.
pub fn finish(console: &Console, wanted: Wanted, deadline_ms: u64) -> ! {
    if !rustix::process::getpid().is_init() {
        // A mistake of the caller's must not take a whole machine with it.
        process::exit(70);
    }
    // From here on nothing interrupts; a second Ctrl-Alt-Del changes nothing.
    let _ = signal::block(signal::Set::ALL);
    end_processes(console, deadline_ms);
    release_file_systems(console, deadline_ms);
    let command = match wanted {
        Wanted::PowerOff => RebootCommand::PowerOff,
        Wanted::Reboot => RebootCommand::Restart,
        Wanted::Halt => RebootCommand::Halt,
    };
    if let Err(error) = rustix::system::reboot(command) {
        console.say(Level::Error, format_args!("reboot: {}; everything is down, switch it off", words(error)));
    }
    loop {
        // No descriptor, no time-out: for ever.
        let _ = rustix::event::poll(&mut [], None);
    }
}

fn end_processes(console: &Console, deadline_ms: u64) {
    // HUP is what an interactive shell ends on; CONT, as what is stopped hears no other.
    for number in [libc::SIGTERM, libc::SIGHUP, libc::SIGCONT] {
        let _ = signal::send_to_all(number as u8);
    }
    let now = clock::now_ms();
    if all_end(deadline_ms.min(now.saturating_add(limits::FINAL_TERM_MS))) {
        return;
    }
    let _ = signal::send_to_all(libc::SIGKILL as u8);
    if !all_end(clock::now_ms().saturating_add(limits::FINAL_KILL_MS)) {
        let mut buffer = [0; 256];
        let list = files::read_path(c"/proc/thread-self/children", &mut buffer).unwrap_or_default();
        let list = core::str::from_utf8(list).unwrap_or_default();
        console.say(Level::Error, format_args!("killed, and still there: process {list}"));
    }
}

/// Reaps until there is nobody left, and returns whether that was before `deadline_ms`. PID 1 inherits every child of
/// every process that ends, so without children it is alone.
fn all_end(deadline_ms: u64) -> bool {
    let Ok(ended) = signal::descriptor(signal::Set::NONE.with(libc::SIGCHLD as u8)) else { return false };
    loop {
        while let Ok(Some(_)) = signal::next(ended.as_fd()) {}
        let ordinary = reap_all(Which::Ordinary);
        let silent = reap_all(Which::Silent);
        if ordinary && silent {
            return true;
        }
        let now = clock::now_ms();
        if now >= deadline_ms {
            return false;
        }
        // A child without exit signal ends silently: those few are looked for now and then.
        let until = if silent { deadline_ms } else { deadline_ms.min(now.saturating_add(50)) };
        let _ = child::wait_readable(ended.as_fd(), until);
    }
}

/// Reaps those that have ended; whether there are none left.
fn reap_all(which: Which<'_>) -> bool {
    loop {
        match wait::reap(which) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

/// Writes back and unmounts in a child, for a device that hangs hangs whoever waits for it.
fn release_file_systems(console: &Console, deadline_ms: u64) {
    let deadline_ms = deadline_ms.max(clock::now_ms().saturating_add(limits::FINAL_SYNC_MS));
    let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok();
    let outcome = child::run(deadline_ms, || {
        let progress = Progress(pipe.as_ref().map(|(_, write)| write));
        progress.at(b"write back");
        rustix::fs::sync();
        unmount_all(console, &progress);
        0
    });
    match outcome {
        Outcome::Ended(_) => {}
        Outcome::Late => {
            let mut buffer = [0; Progress::BYTES];
            let at = pipe.as_ref().map_or("?", |(read, _)| Progress::last(read.as_fd(), &mut buffer));
            console.say(Level::Error, format_args!("given up: {at} hangs; what was not written is lost"));
        }
        Outcome::NotStarted(error) => {
            console.say(Level::Error, format_args!("file systems stay as they are: clone3: {}", words(error)));
        }
    }
}

/// What the child is doing, told to its parent record by record.
struct Progress<'a>(Option<&'a OwnedFd>);

impl Progress<'_> {
    /// Bytes of a record.
    const BYTES: usize = 128;

    fn at(&self, what: &[u8]) {
        let mut record = [0; Progress::BYTES];
        let len = what.len().min(Progress::BYTES);
        if let (Some(into), Some(from)) = (record.get_mut(..len), what.get(..len)) {
            into.copy_from_slice(from);
        }
        // A full pipe costs only this record.
        let _ = self.0.map(|pipe| rustix::io::write(pipe, &record));
    }

    fn last<'b>(pipe: BorrowedFd<'_>, buffer: &'b mut [u8; Progress::BYTES]) -> &'b str {
        while rustix::io::read(pipe, &mut *buffer).is_ok_and(|read| read > 0) {}
        let text = buffer.split(|byte| *byte == 0).next().unwrap_or_default();
        core::str::from_utf8(text).unwrap_or("?")
    }
}

/// Bytes of all mount points handled in one go; if there are more, the others come in the next.
const POINTS_BYTES: usize = 32 << 10;
/// Bytes of one mount point.
const POINT_BYTES: usize = 4096;

/// Mount points, each with a byte before that says whether it matters, and a NUL behind.
type Points = heapless::Vec<u8, POINTS_BYTES>;

/// Unmounts backwards what can be, until nothing more can; then makes read-only what is left.
#[inline(never)]
fn unmount_all(console: &Console, progress: &Progress) {
    let mut points = Points::new();
    loop {
        collect(&mut points);
        if each_backwards(&points, |_, path| {
            // Unmounting the root succeeds, and makes it read-only; that comes at the end. /proc tells what is mounted.
            if path == c"/" || path == c"/proc" {
                return false;
            }
            progress.at(path.to_bytes());
            // Never detached: that only hides a mount, and leaves its file system in use.
            rustix::mount::unmount(path, UnmountFlags::NOFOLLOW).is_ok()
        }) == 0
        {
            break;
        }
    }
    each_backwards(&points, |matters, path| {
        if !matters {
            return true;
        }
        progress.at(path.to_bytes());
        // This acts on the file system, wherever else it is mounted.
        let outcome = rustix::mount::mount_remount(path, MountFlags::RDONLY, c"");
        if let Err(error) = outcome {
            let path = path.to_str().unwrap_or("?");
            console.say(Level::Error, format_args!("{path} is in use, and not made read-only: {}", words(error)));
        }
        outcome.is_ok()
    });
}

/// Notes every mount point, in the order they were mounted.
fn collect(points: &mut Points) {
    points.clear();
    let mut buffer = [0; POINT_BYTES];
    let outcome = mountinfo::each(&mut |mount| {
        let matters = !IN_MEMORY.contains(&mount.kind);
        let Some(path) = mountinfo::unescape(mount.target, &mut buffer) else { return };
        let path = path.to_bytes_with_nul();
        if points.capacity() - points.len() > path.len() {
            let _ = points.push(u8::from(matters) + b'0');
            let _ = points.extend_from_slice(path);
        }
    });
    // Without /proc there is still the root to be made read-only.
    if outcome.is_err() || points.is_empty() {
        let _ = points.extend_from_slice(b"1/\0");
    }
}

/// File systems with nothing on them that outlives the machine.
const IN_MEMORY: [&[u8]; 20] = [
    b"proc",
    b"sysfs",
    b"devtmpfs",
    b"devpts",
    b"tmpfs",
    b"ramfs",
    b"rootfs",
    b"cgroup",
    b"cgroup2",
    b"mqueue",
    b"securityfs",
    b"debugfs",
    b"tracefs",
    b"configfs",
    b"bpf",
    b"pstore",
    b"efivarfs",
    b"hugetlbfs",
    b"binfmt_misc",
    b"autofs",
];

/// Calls `each` for every mount point, the last one first, and returns how often it said yes.
fn each_backwards(points: &Points, mut each: impl FnMut(bool, &core::ffi::CStr) -> bool) -> usize {
    let mut rest = points.as_slice();
    let mut count = 0;
    while let Some((_, before)) = rest.split_last() {
        let start = before.iter().rposition(|byte| *byte == 0).map_or(0, |nul| nul + 1);
        let (head, point) = rest.split_at(start);
        rest = head;
        let Some((matters, path)) = point.split_first() else { break };
        if let Ok(path) = core::ffi::CStr::from_bytes_with_nul(path) {
            count += usize::from(each(*matters == b'1', path));
        }
    }
    count
}

fn words(error: Errno) -> ErrnoWords {
    ErrnoWords(error.raw_os_error() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_programs_power_signals_are_understood() {
        let cases = [
            ("busybox poweroff", libc::SIGUSR2 as u8, Some(Wanted::PowerOff)),
            ("busybox halt", libc::SIGUSR1 as u8, Some(Wanted::Halt)),
            ("busybox reboot", libc::SIGTERM as u8, Some(Wanted::Reboot)),
            ("Ctrl-Alt-Del", libc::SIGINT as u8, Some(Wanted::Reboot)),
            ("power failure", libc::SIGPWR as u8, Some(Wanted::PowerOff)),
            ("systemctl halt", 37, Some(Wanted::Halt)),
            ("systemctl poweroff", 38, Some(Wanted::PowerOff)),
            ("systemctl reboot", 39, Some(Wanted::Reboot)),
            ("a child's end", libc::SIGCHLD as u8, None),
            ("reload", libc::SIGHUP as u8, None),
            ("nothing", 0, None),
        ];
        for (who, signal, wanted) in cases {
            assert_eq!(Wanted::from_signal(signal), wanted, "{who}");
        }
    }

    #[test]
    fn mount_points_come_backwards() {
        let mut points = Points::new();
        points.extend_from_slice(b"1/\x000/proc\x001/a b\0").unwrap();
        let mut seen = Vec::new();
        let count = each_backwards(&points, |matters, path| {
            seen.push((matters, path.to_str().unwrap().to_owned()));
            matters
        });
        assert_eq!(seen, [(true, "/a b".to_owned()), (false, "/proc".to_owned()), (true, "/".to_owned())]);
        assert_eq!(count, 2);
    }

    #[test]
    fn the_last_progress_is_read_back() {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK).unwrap();
        let progress = Progress(Some(&write));
        for what in [&b"write back"[..], b"/data"] {
            progress.at(what);
        }
        assert_eq!(Progress::last(read.as_fd(), &mut [0; Progress::BYTES]), "/data");
    }
}
