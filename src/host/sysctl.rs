//! The host's kernel settings: `sysctl = name value` of `[host]`.

use core::fmt::Write;

use rustix::fd::AsFd;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::config::key::Key;
use crate::fault::ErrnoWords;
use crate::plan::{Plan, Sysctl};
use crate::sys::Errno;

/// Makes the host's settings. What failed is written to `report`, a line for each; the others are made.
pub fn apply(plan: &Plan, report: &mut dyn Write) {
    for sysctl in plan.sysctls.get(plan.host.sysctls) {
        if let Err((call, errno)) = set(plan, *sysctl) {
            let path = plan.strings.str(sysctl.path);
            let _ = match plan.host.asked[Key::Sysctl as usize].place() {
                Some((file, line)) => {
                    let file = plan.files.get(usize::from(file)).map_or("?", |name| plan.strings.str(*name));
                    write!(report, "{file}:{line}: ")
                }
                None => Ok(()),
            };
            let words = ErrnoWords(errno.raw_os_error() as u16);
            let _ = writeln!(report, "sysctl {path} = {}: {call}: {words}", plan.strings.str(sysctl.value));
        }
    }
}

fn set(plan: &Plan, sysctl: Sysctl) -> Result<(), (&'static str, Errno)> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::openat(CWD, c"/proc/sys", directory, Mode::empty()).map_err(|errno| ("open /proc/sys", errno))?;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // The name came from a config: it stays below /proc/sys whatever it is.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = rustix::fs::openat2(root.as_fd(), plan.strings.c_str(sysctl.path), flags, Mode::empty(), resolve)
        .map_err(|errno| ("open", errno))?;
    let value = plan.strings.bytes(sysctl.value);
    // In one call: the kernel takes a setting whole.
    match rustix::io::retry_on_intr(|| rustix::io::write(&file, value)) {
        Ok(taken) if taken == value.len() => Ok(()),
        Ok(_) => Err(("write", Errno::IO)),
        Err(errno) => Err(("write", errno)),
    }
}
