//! Block devices by path, label and number, waited for where they are not there yet.
//!
//! Reads disks, and so can hang: only for short-lived children.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::child::wait_readable;
use super::superblock::{self, Found};
use super::{files, partitions};
use crate::limits;
use crate::sys::{Errno, clock};
use crate::text::{self, Made};

/// What a device is named by, as a config or the kernel's command line has it.
const TAGS: [(&[u8], Tag); 4] =
    [(b"LABEL=", Tag::Label), (b"UUID=", Tag::Uuid), (b"PARTUUID=", Tag::PartUuid), (b"PARTLABEL=", Tag::PartLabel)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Label,
    Uuid,
    PartUuid,
    PartLabel,
}

/// Bytes of `/sys/class/block/NAME/uevent`.
const UEVENT_BYTES: usize = 1024;

/// Whether `source` names a device, which may have to be waited for.
#[must_use]
pub fn is_one(source: &[u8]) -> bool {
    source.starts_with(b"/dev/") || tag(source).is_some()
}

fn tag(source: &[u8]) -> Option<(Tag, &[u8])> {
    TAGS.iter().find_map(|(name, tag)| Some((*tag, source.strip_prefix(*name)?)))
}

/// The path of the device that `source` names. It is waited for until `deadline_ms` of [`clock::now_ms`]; `waits` is called once
/// that takes a moment.
///
/// # Errors
/// ETIMEDOUT: it has not come. ENAMETOOLONG.
pub fn wait(source: &CStr, deadline_ms: u64, waits: &mut dyn FnMut()) -> Result<Made, Errno> {
    // Before the first look, so that nothing that comes after it is missed.
    let events = listen();
    let mut quiet_ms = Some(clock::now_ms().saturating_add(limits::DEVICE_QUIET_MS));
    loop {
        if let Some(path) = find(source)? {
            return Ok(path);
        }
        let until_ms = quiet_ms.unwrap_or(u64::MAX).min(deadline_ms);
        let has_come = match &events {
            Ok(events) => {
                let has_come = wait_readable(events.as_fd(), until_ms);
                drain(events);
                has_come
            }
            // Without events nobody says when it comes.
            Err(errno) => return Err(*errno),
        };
        if has_come {
            continue;
        }
        if clock::now_ms() >= deadline_ms {
            return Err(Errno::TIMEDOUT);
        }
        if quiet_ms.take().is_some() {
            waits();
        }
    }
}

/// A socket that can be read when the kernel has a new device (netlink(7): NETLINK_KOBJECT_UEVENT, its one group).
fn listen() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 1))?;
    Ok(socket)
}

fn drain(events: &OwnedFd) {
    // What they say is of no interest; ENOBUFS says that there were more than fit.
    while !matches!(rustix::net::recv(events, &mut [0; 64], RecvFlags::TRUNC), Err(Errno::AGAIN | Errno::NOTSOCK)) {}
}

/// The path of the device that `source` names, if it is there.
///
/// # Errors
/// ENAMETOOLONG.
pub fn find(source: &CStr) -> Result<Option<Made>, Errno> {
    let Some((tag, value)) = tag(source.to_bytes()) else {
        let path = Made::new(format_args!("{}", source.to_str().unwrap_or_default()));
        if path.as_bytes().is_empty() {
            return Err(Errno::NAMETOOLONG);
        }
        let is_there =
            rustix::fs::stat(source).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice);
        return Ok(is_there.then_some(path));
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(all) = rustix::fs::open(c"/sys/class/block", flags, Mode::empty()) else { return Ok(None) };
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(all, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !name.starts_with('.')
            && let Some(path) = is_it(name, tag, value)
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The path of block device `name`, if it is the one with this value.
fn is_it(name: &str, tag: Tag, value: &[u8]) -> Option<Made> {
    let mut buffer = [0; UEVENT_BYTES];
    let uevent =
        files::read_path(Made::new(format_args!("/sys/class/block/{name}/uevent")).as_c_str(), &mut buffer).ok()?;
    let path = path(uevent)?;
    let is_it = match tag {
        Tag::PartLabel => field(uevent, b"PARTNAME=") == Some(value),
        Tag::PartUuid => match field(uevent, b"PARTUUID=") {
            Some(id) => id.eq_ignore_ascii_case(value),
            None => part_uuid(name, uevent)?.as_bytes().eq_ignore_ascii_case(value),
        },
        Tag::Label => probe(path.as_c_str())?.label == value,
        Tag::Uuid => probe(path.as_c_str())?.uuid.as_bytes().eq_ignore_ascii_case(value),
    };
    is_it.then_some(path)
}

fn field<'a>(uevent: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    uevent.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))
}

fn path(uevent: &[u8]) -> Option<Made> {
    let name = core::str::from_utf8(field(uevent, b"DEVNAME=")?).ok()?;
    Some(Made::new(format_args!("/dev/{name}")))
}

/// What the table of its disk says, where the kernel does not (before Linux 6.10).
fn part_uuid(name: &str, uevent: &[u8]) -> Option<partitions::Id> {
    let number = text::number(field(uevent, b"PARTN=")?)?;
    let mut buffer = [0; UEVENT_BYTES];
    // A partition's directory is in that of its disk.
    let disk = format_args!("/sys/class/block/{name}/../uevent");
    let disk = path(files::read_path(Made::new(disk).as_c_str(), &mut buffer).ok()?)?;
    let sector = format_args!("/sys/class/block/{name}/../queue/logical_block_size");
    let sector = files::read_path(Made::new(sector).as_c_str(), &mut buffer).ok();
    let sector = sector.and_then(|text| text::number(text.trim_ascii_end())).unwrap_or(512);
    partitions::id(&mut reader(&open(disk.as_c_str())?), sector, number)
}

/// What is on the device, or in the file, at `path`.
#[must_use]
pub fn probe(path: &CStr) -> Option<Found> {
    superblock::probe(&mut reader(&open(path)?))
}

fn open(path: &CStr) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()
}

fn reader(disk: &OwnedFd) -> impl FnMut(u64, &mut [u8]) -> bool + '_ {
    move |at, into| {
        let mut used = 0;
        while let Some(rest) = into.get_mut(used..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(disk, rest, at.saturating_add(used as u64)) {
                Ok(0) => return false,
                Ok(count) => used += count,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_dev_and_a_tag_name_devices() {
        for (source, is) in [
            ("/dev/vda1", true),
            ("LABEL=a", true),
            ("PARTUUID=1", true),
            ("/srv/image", false),
            ("tmpfs", false),
            ("label=a", false),
        ] {
            assert_eq!(is_one(source.as_bytes()), is, "{source}");
        }
    }

    #[test]
    fn what_does_not_come_is_waited_for_and_that_is_told_once_it_takes_a_moment() {
        let mut told = 0;
        // So much later that a machine that stands still for a while comes to the moment of telling first.
        let deadline_ms = clock::now_ms() + limits::DEVICE_QUIET_MS + 10_000;
        for source in [c"/dev/no-such-device", c"PARTLABEL=no such partition"] {
            let outcome = wait(source, deadline_ms, &mut || told += 1);
            assert!(matches!(outcome, Err(Errno::TIMEDOUT)), "{outcome:?}");
        }
        assert_eq!(told, 1, "there was time for one to be told");
    }

    #[test]
    fn the_fields_of_a_devices_own_file_are_read() {
        let uevent = b"MAJOR=254\nMINOR=2\nDEVNAME=vda2\nDEVTYPE=partition\nPARTN=2\nPARTNAME=a b\n";
        assert_eq!(path(uevent).unwrap().as_c_str(), c"/dev/vda2");
        assert_eq!((field(uevent, b"PARTNAME="), field(uevent, b"PARTUUID=")), (Some(&b"a b"[..]), None));
    }
}
