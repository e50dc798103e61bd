//! What helper and guest tell PID 1 while a start is under way: records on one SEQPACKET socket.
//!
//! The helper says `Born`; either says `Failed`, once; the guest may hand over its terminal; end-of-file means that every
//! end is closed, which, the helper being gone, only a successful exec does.

use core::mem::MaybeUninit;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use rustix::process::{Pid, PidfdFlags};

use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::sys::Errno;

/// What was heard from a start.
#[derive(Debug)]
pub enum Report {
    /// Nothing yet.
    Nothing,
    /// The guest's first process exists: a child of this process, with exit signal 0 (wait by pidfd with `__WALL`).
    Born {
        /// Its number on the host.
        pid: u32,
        /// Its pidfd. Where there is none (no descriptor left), the start has failed, and the guest must be killed and
        /// waited for by number (waitid P_PID, `__WALL`), which is safe: a child's number is not used again before that.
        pidfd: Result<OwnedFd, Fault>,
    },
    /// The master side of the guest's terminal: its output comes from here.
    Console(OwnedFd),
    /// The socket on which the guest says how it is (sd_notify(3)).
    Notify(OwnedFd),
    /// What a hook printed.
    Output(Bytes),
    /// What a hook printed last, before it failed.
    Line(Bytes),
    /// A step failed; what was born is ending.
    Failed(Fault),
    /// Every end of the reports is closed. Exec has worked if the guest was born and no step failed.
    Closed,
}

/// First byte of a record.
const BORN: u8 = 1;
const TERMINAL: u8 = 2;
const FAILED: u8 = 3;
const RELEASE: u8 = 4;
const CONTEXTS: u8 = 5;
const NOTIFY: u8 = 6;
const OUTPUT: u8 = 7;
const LINE: u8 = 8;

/// Bytes of one record.
const RECORD_BYTES: usize = 256;
/// Bytes of what a hook prints in one record.
pub const OUTPUT_BYTES: usize = RECORD_BYTES - 1;
/// Some of what a hook printed.
pub type Bytes = heapless::Vec<u8, OUTPUT_BYTES>;
const _: () = assert!(limits::SAID_BYTES <= OUTPUT_BYTES);

/// A record that finds no memory is sent so often before it is given up.
const SEND_TRIES: u32 = 8;

/// The next report; never blocks.
pub fn receive(reports: BorrowedFd<'_>) -> Report {
    let Record { len, bytes, fds: [fd, _] } = match take(reports, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC) {
        Ok(record) => record,
        Err(Errno::AGAIN | Errno::INTR) => return Report::Nothing,
        Err(error) => return failed(error, Step::Report),
    };
    match (bytes.get(..len), fd) {
        (Some([]), _) => Report::Closed,
        (Some([BORN, a, b, c, d]), _) => born(u32::from_le_bytes([*a, *b, *c, *d])),
        (Some([TERMINAL]), Some(master)) => Report::Console(master),
        // The descriptor was lost on the way: this process has no room for one more.
        (Some([TERMINAL]), None) => failed(Errno::MFILE, Step::ReportTerminal),
        (Some([OUTPUT, text @ ..]), _) => Report::Output(Bytes::from_slice(text).unwrap_or_default()),
        (Some([LINE, text @ ..]), _) => Report::Line(Bytes::from_slice(text).unwrap_or_default()),
        (Some([NOTIFY]), Some(socket)) => Report::Notify(socket),
        (Some([NOTIFY]), None) => failed(Errno::MFILE, Step::ReportNotify),
        (Some([FAILED, fault @ ..]), _) => {
            Fault::decode(fault).map_or(failed(Errno::PROTO, Step::Report), Report::Failed)
        }
        _ => failed(Errno::PROTO, Step::Report),
    }
}

/// Tells of the guest's first process.
///
/// # Errors
/// [`Step::ReportBirth`].
pub fn send_born(reports: BorrowedFd<'_>, pid: Pid) -> Result<(), Fault> {
    let [a, b, c, d] = pid.as_raw_nonzero().get().to_le_bytes();
    send(reports, &[BORN, a, b, c, d]).at(Step::ReportBirth)
}

/// Hands the master side of the guest's terminal over.
///
/// # Errors
/// [`Step::ReportTerminal`].
pub fn send_terminal(reports: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<(), Fault> {
    send_with(reports, TERMINAL, &[master]).at(Step::ReportTerminal)
}

/// Hands the socket over on which the guest says how it is.
///
/// # Errors
/// [`Step::ReportNotify`].
pub fn send_notify(reports: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> Result<(), Fault> {
    send_with(reports, NOTIFY, &[socket]).at(Step::ReportNotify)
}

/// Tells what a hook printed: nobody waits for it, so that it may be lost.
pub fn send_output(reports: BorrowedFd<'_>, text: &[u8]) {
    if !text.is_empty() {
        send_text(reports, OUTPUT, text);
    }
}

/// Tells what a hook that failed printed last.
pub fn send_line(reports: BorrowedFd<'_>, text: &[u8]) {
    send_text(reports, LINE, text);
}

fn send_text(reports: BorrowedFd<'_>, tag: u8, text: &[u8]) {
    let mut record = heapless::Vec::<u8, RECORD_BYTES>::new();
    // It has room for them.
    let _ = record.push(tag);
    let _ = record.extend_from_slice(text.get(..text.len().min(OUTPUT_BYTES)).unwrap_or_default());
    let _ = send(reports, &record);
}

/// Lets the guest go on, the helper's work being done; `root` is its root if not the one that it knows.
///
/// # Errors
/// [`Step::Release`].
pub fn release(go: BorrowedFd<'_>, root: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
    send_with(go, RELEASE, root.as_slice()).at(Step::Release)
}

/// Waits for [`release`], and returns the root that came with it.
///
/// # Errors
/// [`Step::AwaitRelease`]: the helper died, or its message could not be taken.
pub fn await_release(go: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Fault> {
    match take(go, RecvFlags::CMSG_CLOEXEC).at(Step::AwaitRelease)? {
        Record { len: 1, bytes: [RELEASE, ..], fds: [root, _] } => Ok(root),
        _ => Err(Errno::PIPE).at(Step::AwaitRelease),
    }
}

/// Hands over what only the guest could open: its `/proc`, and its `/sys` where that is its own, to be mounted.
///
/// # Errors
/// [`Step::HandOver`].
pub fn hand_over(go: BorrowedFd<'_>, contexts: &[BorrowedFd<'_>]) -> Result<(), Fault> {
    send_with(go, CONTEXTS, contexts).at(Step::HandOver)
}

/// Waits for [`hand_over`].
///
/// # Errors
/// [`Step::TakeOver`]: the guest died, or its message could not be taken.
pub fn take_over(go: BorrowedFd<'_>) -> Result<(OwnedFd, Option<OwnedFd>), Fault> {
    match take(go, RecvFlags::CMSG_CLOEXEC).at(Step::TakeOver)? {
        Record { len: 1, bytes: [CONTEXTS, ..], fds: [Some(proc), sys] } => Ok((proc, sys)),
        Record { len: 1, bytes: [CONTEXTS, ..], .. } => Err(Errno::MFILE).at(Step::TakeOver),
        _ => Err(Errno::PIPE).at(Step::TakeOver),
    }
}

/// Tells of a failed step. There is nobody to tell if this fails too.
pub fn send_fault(reports: BorrowedFd<'_>, fault: Fault) {
    let mut record = [FAILED; 1 + Fault::BYTES];
    record[1..].copy_from_slice(&fault.encode());
    let _ = send(reports, &record);
}

fn send(reports: BorrowedFd<'_>, record: &[u8]) -> Result<(), Errno> {
    let mut result = Ok(());
    for _ in 0..SEND_TRIES {
        result = rustix::net::send(reports, record, SendFlags::NOSIGNAL).map(drop);
        if result.is_ok() || result == Err(Errno::PIPE) {
            break;
        }
    }
    result
}

fn send_with(socket: BorrowedFd<'_>, tag: u8, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&[tag])], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// What came in one message: so many bytes, and descriptors.
struct Record {
    len: usize,
    bytes: [u8; RECORD_BYTES],
    fds: [Option<OwnedFd>; 2],
}

fn take(socket: BorrowedFd<'_>, flags: RecvFlags) -> Result<Record, Errno> {
    let mut bytes = [0; RECORD_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
    let mut lists = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = lists.next().map_or([None, None], |mut fds| [fds.next(), fds.next()]);
    Ok(Record { len: message.bytes, bytes, fds })
}

fn born(pid: u32) -> Report {
    let child = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pidfd = child.ok_or(Errno::SRCH).and_then(|child| rustix::process::pidfd_open(child, PidfdFlags::empty()));
    Report::Born { pid, pidfd: pidfd.at(Step::WatchGuest) }
}

fn failed(error: Errno, step: Step) -> Report {
    Report::Failed(Fault { step, errno: error.raw_os_error() as u16, detail: 0 })
}

#[cfg(test)]
mod tests {
    use rustix::fd::AsFd;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_silent_start_reports_nothing_and_a_closed_one_says_so() {
        let (ours, theirs) = pair();
        assert!(matches!(receive(ours.as_fd()), Report::Nothing));
        drop(theirs);
        assert!(matches!(receive(ours.as_fd()), Report::Closed));
    }

    #[test]
    fn a_fault_arrives_as_it_was_sent() {
        let (ours, theirs) = pair();
        let fault = Fault { step: Step::PivotRoot, errno: 22, detail: 7 };
        send_fault(theirs.as_fd(), fault);
        assert!(matches!(receive(ours.as_fd()), Report::Failed(got) if got == fault));
    }

    #[test]
    fn a_birth_brings_a_pidfd() {
        let (ours, theirs) = pair();
        send_born(theirs.as_fd(), rustix::process::getpid()).unwrap();
        let Report::Born { pid, pidfd } = receive(ours.as_fd()) else { panic!("not a birth") };
        assert_eq!(pid, std::process::id());
        assert!(pidfd.is_ok());
    }

    #[test]
    fn a_terminal_arrives_as_a_descriptor() {
        let (ours, theirs) = pair();
        let (read, write) = rustix::pipe::pipe().unwrap();
        send_terminal(theirs.as_fd(), write.as_fd()).unwrap();
        drop(write);
        let Report::Console(master) = receive(ours.as_fd()) else { panic!("not a terminal") };
        rustix::io::write(&master, b"x").unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(&read, &mut byte), Ok(1));
    }

    #[test]
    fn what_a_hook_printed_arrives_in_its_order_and_is_cut() {
        let (ours, theirs) = pair();
        send_output(theirs.as_fd(), b"one\n");
        send_output(theirs.as_fd(), b"");
        send_output(theirs.as_fd(), &[b'x'; 1000]);
        send_line(theirs.as_fd(), b"");
        assert!(matches!(receive(ours.as_fd()), Report::Output(text) if text == b"one\n"));
        assert!(matches!(receive(ours.as_fd()), Report::Output(text) if text == [b'x'; OUTPUT_BYTES]));
        assert!(matches!(receive(ours.as_fd()), Report::Line(text) if text.is_empty()));
        assert!(matches!(receive(ours.as_fd()), Report::Nothing));
    }

    #[test]
    fn a_notification_socket_arrives_as_a_descriptor_or_fails_the_start() {
        let (ours, theirs) = pair();
        send_notify(theirs.as_fd(), ours.as_fd()).unwrap();
        assert!(matches!(receive(ours.as_fd()), Report::Notify(_)));
        send_with(theirs.as_fd(), NOTIFY, &[]).unwrap();
        assert!(matches!(receive(ours.as_fd()), Report::Failed(fault) if fault.step == Step::ReportNotify));
    }

    #[test]
    fn what_a_guest_hands_over_arrives_in_its_order_and_a_dead_guest_is_heard() {
        let (ours, theirs) = pair();
        let (read, write) = rustix::pipe::pipe().unwrap();
        hand_over(theirs.as_fd(), &[read.as_fd(), write.as_fd()]).unwrap();
        let (proc, sys) = take_over(ours.as_fd()).unwrap();
        rustix::io::write(sys.unwrap(), b"x").unwrap();
        assert_eq!(rustix::io::read(proc, &mut [0]), Ok(1));
        hand_over(theirs.as_fd(), &[read.as_fd()]).unwrap();
        assert!(take_over(ours.as_fd()).unwrap().1.is_none());
        hand_over(theirs.as_fd(), &[]).unwrap();
        assert_eq!(take_over(ours.as_fd()).unwrap_err().errno, libc::EMFILE as u16);
        drop(theirs);
        assert_eq!(take_over(ours.as_fd()).unwrap_err().errno, libc::EPIPE as u16);
    }

    #[test]
    fn garbage_is_a_protocol_error() {
        let (ours, theirs) = pair();
        for garbage in [&[9u8][..], &[FAILED, 255, 0, 0, 0, 0, 0, 0], &[BORN, 1], &[0; 16]] {
            rustix::net::send(&theirs, garbage, SendFlags::empty()).unwrap();
            assert!(matches!(receive(ours.as_fd()), Report::Failed(fault) if fault.errno == libc::EPROTO as u16));
        }
    }
}
