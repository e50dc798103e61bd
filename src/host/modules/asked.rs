//! Modules that the kernel asks for: what is in `kernel.modprobe` is run as `PROGRAM -q -- ALIAS`, as the host's root, and the
//! kernel waits for its end.
//!
//! A guest's root can make the kernel ask, for a file system or a protocol, so it gets what the config lets it have (`+PATTERN`)
//! and nothing else. Before the first guest is there, it is the host that asks, for what it mounts: it gets all.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fs::CWD;

use super::alias::Word;
use super::{Found, Modules, Quiet};
use crate::host::files;
use crate::limits;
use crate::plan::Plan;
use crate::sys::Errno;

/// What the kernel runs: the program that PID 1 is, wherever that is now.
pub const PROGRAM: &CStr = c"/proc/1/exe";
const SETTING: &CStr = c"/proc/sys/kernel/modprobe";

/// What it may have: words as of `modules`, a line each. Where there is no such file, nothing.
const FILE: &CStr = c"/run/inn/modules";
const NEW_FILE: &CStr = c"/run/inn/modules.new";

/// Bytes of that.
const BYTES: usize = limits::MODULES * (limits::NAME_BYTES + 2);
type Text = heapless::String<BYTES>;

/// Has the kernel ask this program, and gives it all that it asks for: the host is alone. A kernel without modules asks nobody.
pub fn begin() {
    if files::write_setting(CWD, SETTING, PROGRAM.to_bytes()).is_ok() {
        let mut all = Text::new();
        let _ = all.push_str("+*\n");
        // Where it cannot be kept the kernel gets nothing, and what is missing says so itself.
        let _ = files::keep(FILE, NEW_FILE, all.as_bytes());
    }
}

/// Gives the kernel only what `plan` lets it have from now on, for there are guests. Where there are none, it goes on to have all:
/// whoever is at the console mounts what he wants.
///
/// # Errors
/// As open(2), write(2) and rename(2). The kernel may have all, then.
pub fn narrow(plan: &Plan) -> Result<(), Errno> {
    if plan.guests.is_empty() || rustix::fs::access(FILE, rustix::fs::Access::EXISTS) == Err(Errno::NOENT) {
        return Ok(());
    }
    let mut text = Text::new();
    for word in plan.words.get(plan.host.modules).iter().map(|word| plan.strings.str(*word)) {
        if matches!(Word::of(word.as_bytes()), Word::Not(_) | Word::May(_)) {
            let _ = writeln!(text, "{word}");
        }
    }
    files::keep(FILE, NEW_FILE, text.as_bytes())
}

/// Has the kernel ask nobody any more: modules are locked.
pub fn end() {
    let _ = files::write_setting(CWD, SETTING, b"\n");
}

/// Answers the kernel, which wants what it calls `alias`. Returns the exit code: 0 where it is there now.
#[inline(never)]
pub fn answer(alias: &CStr) -> u8 {
    let alias = alias.to_bytes();
    let mut buffer = [0; BYTES];
    let text = files::read_path(FILE, &mut buffer).unwrap_or_default();
    let mut words = text.split(|byte| *byte == b'\n').map(Word::of);
    if !words.clone().any(|word| word.lets(alias)) || words.any(|word| word.refuses(alias)) {
        return 1;
    }
    let refuses = |name: &[u8]| text.split(|byte| *byte == b'\n').any(|word| Word::of(word).refuses(name));
    // Nobody listens, and the kernel's own caller says that it is missing.
    let mut quiet = Quiet;
    let Some(mut modules) = Modules::open(alias, &refuses, &mut quiet) else { return 1 };
    let found = match modules.load(alias, b"") {
        Found::Nothing => modules.load_like(alias),
        found => found,
    };
    u8::from(found != Found::There)
}
