//! `inn which`: the guest that a process belongs to.

use core::ffi::CStr;
use core::fmt::Write;

use super::ask::FAILED;
use super::guests::{self, Rows};
use super::json::Json;
use super::lossy::Lossy;
use super::output::{Output, Plain, complain};
use super::parse::{Options, Shown};
use super::tree;
use crate::control::wire::{Code, GuestInfo};
use crate::host::files;
use crate::text::{self, Made};

/// Exit code of a word that is no process number.
const USAGE: u8 = 2;
/// Bytes of a line of `/proc/PID/cgroup`.
const LINE_BYTES: usize = 4096 + 64;

/// Says of each process of `words` to which guest it belongs.
#[inline(never)]
pub fn which(words: &[&'static CStr], options: &Options, out: &mut Output) -> u8 {
    let Some(room) = guests::room() else { return FAILED };
    let mut rows = Rows::new();
    if let Err(code) = guests::read(room, &mut rows, &[], options) {
        return code;
    }
    let mut code = 0;
    for word in words {
        let one = process(word, &rows, options, out);
        code = if code == 0 { one } else { code };
    }
    out.finish(code)
}

fn process(word: &'static CStr, rows: &Rows<'_>, options: &Options, out: &mut Output) -> u8 {
    let Some(pid) = text::number::<u32>(word.to_bytes()).filter(|pid| *pid > 0) else {
        complain(format_args!("{}: not the number of a process", Shown(word)));
        return USAGE;
    };
    let mut buffer = [0; LINE_BYTES];
    let Some(path) = cgroup(pid, &mut buffer) else {
        complain(format_args!("{pid}: there is no such process"));
        return FAILED;
    };
    let guest = owner(path, rows);
    let mut name = [0; tree::COMMAND_BYTES];
    let command = Lossy(tree::command(pid, &mut name));
    if options.json {
        let mut json = Json::new(out);
        json.begin_object();
        json.key("pid");
        json.number(pid.into());
        json.key("guest");
        match guest {
            Some(info) => json.string(info.name),
            None => json.null(),
        }
        json.key("cgroup");
        json.display(Lossy(path));
        json.key("command");
        json.display(command);
        json.end_object();
        json.end_text();
    } else {
        let name = guest.map_or(if options.plain { "-" } else { "(host)" }, |info| info.name);
        let mut path_words = heapless::String::<LINE_BYTES>::new();
        let mut command_words = heapless::String::<{ 4 * tree::COMMAND_BYTES }>::new();
        let _ = (write!(path_words, "{}", Lossy(path)), write!(command_words, "{command}"));
        let tab = if options.plain { "\t" } else { "  " };
        let _ = writeln!(out, "{pid}{tab}{name}{tab}{}{tab}{}", Plain(&path_words), Plain(&command_words));
    }
    if guest.is_some() { 0 } else { Code::NoGuest.exit() }
}

/// The path of a process's cgroup below the root of cgroup v2 that we see (cgroups(7)); nothing where it has ended.
fn cgroup(pid: u32, buffer: &mut [u8; LINE_BYTES]) -> Option<&[u8]> {
    let text = files::read_path(Made::new(format_args!("/proc/{pid}/cgroup")).as_c_str(), buffer).ok()?;
    text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))
}

/// The guest whose cgroup `path` is in: that of its first process is where it is, and what a guest calls its own cgroups does
/// not matter.
fn owner<'g>(path: &[u8], rows: &'g Rows<'g>) -> Option<&'g GuestInfo<'g>> {
    rows.iter().find(|info| {
        let Some(end) = end(path, info.cgroup) else { return false };
        let mut buffer = [0; LINE_BYTES];
        let first = if info.pid == 0 { None } else { cgroup(info.pid, &mut buffer) };
        // Without one, as it is killed, what the supervisor calls it must do.
        let outer = first.and_then(|first| first.get(..self::end(first, info.cgroup)?));
        outer.is_none_or(|outer| path.get(..end) == Some(outer))
    })
}

/// Where in `path` the cgroup that the supervisor calls `name` ends: the outermost of that name, for what is above guests is
/// the host's. The supervisor's root of cgroups may be below ours.
fn end(path: &[u8], name: &str) -> Option<usize> {
    (0..path.len()).find_map(|at| {
        let rest = path.get(at..)?.strip_prefix(b"/")?.strip_prefix(name.as_bytes())?;
        matches!(rest.first(), None | Some(b'/')).then_some(at + 1 + name.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_whole_and_the_outermost() {
        assert_eq!(end(b"/inn/web/guest", "inn/web"), Some(8));
        assert_eq!(end(b"/inn/web", "inn/web"), Some(8));
        assert_eq!(end(b"/a/inn/web/guest/inn/web", "inn/web"), Some(10));
        for other in [&b"/inn/web2/guest"[..], b"/binn/web", b"/", b""] {
            assert_eq!(end(other, "inn/web"), None);
        }
    }
}
