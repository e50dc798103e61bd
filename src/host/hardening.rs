//! What is taken from everybody on the host (`hardening` of `[host]`; Documentation/admin-guide/sysctl).
//!
//! Each item is one setting of the kernel, so the kernel is asked whether it holds.

use core::fmt::Write;

use rustix::fs::CWD;

use super::files;
use crate::fault::ErrnoWords;
use crate::plan::hardening::{Items, MODULES, NAMES};
use crate::text::{Made, number, word, words};

/// The setting of each item of [`NAMES`], below `/proc/sys`, and the value that takes it away.
const SETTINGS: &str = "dev/tty/legacy_tiocsti=0\0kernel/io_uring_disabled=1\0kernel/kexec_load_disabled=1\0\
kernel/unprivileged_bpf_disabled=1\0kernel/dmesg_restrict=1\0kernel/kptr_restrict=2\0kernel/sysrq=0\0\
kernel/core_pattern=core\0kernel/modules_disabled=1";

/// Whether an item is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is.
    On,
    /// It is not.
    Off,
    /// The kernel has no such setting.
    Unknown,
}

/// Takes the items of `wanted` away. What fails is written to `report`, a line for each; the others are done. What this
/// kernel has no setting for is left to `inn status`.
pub fn apply(wanted: Items, report: &mut dyn Write) {
    for (index, name) in words(NAMES).enumerate().filter(|(index, _)| wanted >> index & 1 == 1) {
        if effect(index) != Effect::Off {
            continue;
        }
        let Some((path, value)) = setting(index) else { continue };
        if let Err(errno) = files::write_setting(CWD, whole_path(path).as_c_str(), value.as_bytes()) {
            let words = ErrnoWords(errno.raw_os_error() as u16);
            let _ = writeln!(report, "hardening {name}: write {value} to /proc/sys/{path}: {words}");
        }
    }
}

/// Whether item `index` of [`NAMES`] is taken away now: by us, or by the kernel itself.
#[must_use]
pub fn effect(index: usize) -> Effect {
    let Some((path, value)) = setting(index) else { return Effect::Unknown };
    let mut buffer = [0; 256];
    match files::read_path(whole_path(path).as_c_str(), &mut buffer) {
        Ok(now) if holds(now, value.as_bytes()) => Effect::On,
        Ok(_) => Effect::Off,
        Err(_) => Effect::Unknown,
    }
}

/// Whether a setting that is `now` takes away as much as `wanted` does: the value 0 is exact, another number is a least.
fn holds(now: &[u8], wanted: &[u8]) -> bool {
    let now = now.trim_ascii_end();
    match (number::<u32>(now), number::<u32>(wanted)) {
        (Some(now), Some(0)) => now == 0,
        (Some(now), Some(wanted)) => now >= wanted,
        _ => now == wanted,
    }
}

fn setting(index: usize) -> Option<(&'static str, &'static str)> {
    let setting = word(SETTINGS, index);
    let end = setting.bytes().position(|byte| byte == b'=')?;
    Some((setting.get(..end)?, setting.get(end + 1..)?))
}

fn whole_path(path: &str) -> Made {
    Made::new(format_args!("/proc/sys/{path}"))
}

/// What is taken away before any guest starts: all but loading modules, which a start may need.
#[must_use]
pub const fn at_boot(wanted: Items) -> Items {
    wanted & !MODULES
}

/// What is taken away once the host is up.
#[must_use]
pub const fn once_up(wanted: Items) -> Items {
    wanted & MODULES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_its_setting() {
        assert_eq!(words(SETTINGS).count(), words(NAMES).count());
        assert!((0..words(NAMES).count()).all(|index| setting(index).is_some()));
        assert_eq!(setting(8), Some(("kernel/modules_disabled", "1")));
        assert_eq!(word(NAMES, 8), "modules");
        assert_eq!(MODULES, 1 << 8);
    }

    #[test]
    fn a_setting_that_takes_more_away_holds_too() {
        assert!(holds(b"2\n", b"1") && holds(b"1\n", b"1") && !holds(b"0\n", b"1"));
        assert!(holds(b"0\n", b"0") && !holds(b"16\n", b"0"));
        assert!(holds(b"core\n", b"core") && !holds(b"|/bin/x\n", b"core"));
    }
}
