//! A login inside: shell, home and environment of a user, as the guest's own `/etc/passwd` has them (passwd(5), su(1)).

use core::ffi::CStr;

use rustix::fs::{CWD, Mode, OFlags};

use super::command::{self, List};
use crate::fault::{At, Fault, Step};
use crate::plan::Kind;
use crate::sys::Errno;
use crate::text;

/// Bytes of `/etc/passwd` that are read: the guest's own, so it may be of any length.
const PASSWD_BYTES: usize = 16 << 10;
/// Bytes of the words of a login.
const WORDS_BYTES: usize = 1024;

/// The shell where none is named, or the one named is not there.
const SHELL: &[u8] = b"/bin/sh";

/// Becomes the login shell of user `uid`, with `term` in its environment where the user has a terminal. To be called inside,
/// as that user. Returns what went wrong.
pub fn run(uid: u32, term: &[&CStr], kind: Kind) -> Fault {
    let mut buffer = [0; PASSWD_BYTES];
    let len = read(&mut buffer).unwrap_or_default();
    let passwd = buffer.get(..len).unwrap_or_default();
    let (name, home, shell) = entry(passwd, uid).unwrap_or((if uid == 0 { b"root" } else { b"" }, b"/", SHELL));
    let Err(fault) = begin(name, home, if shell.is_empty() { SHELL } else { shell }, term, kind);
    if fault.step != Step::NoCommand || shell == SHELL {
        return fault;
    }
    let Err(fault) = begin(name, home, SHELL, term, kind);
    fault
}

fn begin(
    name: &[u8],
    home: &[u8],
    shell: &[u8],
    term: &[&CStr],
    kind: Kind,
) -> Result<core::convert::Infallible, Fault> {
    let mut words = heapless::Vec::<u8, WORDS_BYTES>::new();
    let base = shell.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // The program, its name as a login shell, where it begins, then the environment.
    let parts: [&[&[u8]]; 7] = [
        &[shell],
        &[b"-", base],
        &[home],
        &[b"HOME=", home],
        &[b"USER=", name],
        &[b"LOGNAME=", name],
        &[b"SHELL=", shell],
    ];
    for part in parts.iter().flat_map(|parts| parts.iter().copied().chain([&b"\0"[..]])) {
        words.extend_from_slice(part).map_err(|_| Errno::NAMETOOLONG).at(Step::Words)?;
    }
    let mut all = words.split_inclusive(|byte| *byte == 0).filter_map(|word| CStr::from_bytes_with_nul(word).ok());
    let mut next = || all.next().ok_or(Errno::INVAL).at(Step::Words);
    let (program, login, directory) = (next()?, next()?, next()?);
    // A home that is not there is no reason to stay out.
    let _ = rustix::process::chdir(directory);
    let mut arguments = List::new();
    arguments.push(login).at(Step::Words)?;
    Err(command::run(program, &arguments, all.chain(term.iter().copied()), kind))
}

/// What the guest has there may be anything: a pipe is not waited for.
fn read(buffer: &mut [u8]) -> Result<usize, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, c"/etc/passwd", flags, Mode::empty())?;
    let mut used = 0;
    while let Some(room) = buffer.get_mut(used..).filter(|room| !room.is_empty()) {
        match rustix::io::read(&file, room)? {
            0 => break,
            len => used += len,
        }
    }
    Ok(used)
}

/// Name, home and shell of user `uid`.
fn entry(passwd: &[u8], uid: u32) -> Option<(&[u8], &[u8], &[u8])> {
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        let (home, shell) = (fields.nth(2)?, fields.next()?);
        (text::number(number) == Some(uid) && !line.contains(&0)).then_some((name, home, shell))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number_in_a_file_that_may_be_anything() {
        let passwd =
            b"root:x:0:0:root:/root:/bin/bash\nbad\n:::\nx:y:z\nuser:x:1000:50:A, B:/home/u:\nevil:x:7:7:\0:/:/bin/sh";
        assert_eq!(entry(passwd, 0), Some((&b"root"[..], &b"/root"[..], &b"/bin/bash"[..])));
        assert_eq!(entry(passwd, 1000), Some((&b"user"[..], &b"/home/u"[..], &b""[..])));
        assert_eq!(entry(passwd, 7), None);
        assert_eq!(entry(passwd, 5), None);
        assert_eq!(entry(b"", 0), None);
    }
}
