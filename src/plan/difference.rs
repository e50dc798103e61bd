//! What a plan that follows another changes, and when. Pure.

use super::follow::{is_immediate, keys};
use super::show::Shown;
use super::{At, Guest, GuestId, Plan};
use crate::config::key::{Key, section};
use crate::text::word;

/// What becomes of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// A new guest, which starts.
    Starts,
    /// A new guest, which does not start by itself.
    Added,
    /// A guest that the config has no more, and that is stopped.
    Stops,
    /// The same, which is down.
    Removed,
    /// The key changes at once.
    Now,
    /// The guest runs on as it is, and has it from its next start on.
    Restart,
    /// The guest is down, and has it when it starts.
    Start,
    /// What can be made so is; what cannot be taken back stays until the host boots again.
    Boot,
    /// It is of another's host: this supervisor is not its init.
    Other,
}

impl What {
    const WORDS: &str = "starts\0added\0stops\0removed\0now\0restart\0start\0boot\0other";

    /// The word for it, as machines read it.
    #[must_use]
    pub fn word(self) -> &'static str {
        word(What::WORDS, self as usize)
    }
}

/// One difference.
#[derive(Clone, Copy, Debug)]
pub struct Difference<'p> {
    /// The guest's name; empty for the host.
    pub name: &'p str,
    /// What becomes of it.
    pub what: What,
    /// What of a key is otherwise; nothing where it is the guest as such.
    pub key: Option<Changed<'p>>,
}

/// A key that is otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'p> {
    /// What it was.
    pub from: Shown<'p>,
    /// What it is to be.
    pub to: Shown<'p>,
    /// Where the config says so; nothing where it does not say.
    pub place: Option<(&'p str, u32)>,
}

/// Calls `each` for every difference of `new`, which follows `old`: those of the host, then guest by guest. `is_up` says who
/// has a program that runs, `is_init` whether the host is this supervisor's.
pub fn differences<'p>(
    old: &'p Plan,
    new: &'p Plan,
    is_up: &dyn Fn(GuestId) -> bool,
    is_init: bool,
    each: &mut dyn FnMut(&Difference<'p>),
) {
    let of_host = Key::ALL.iter().filter(|key| key.sections() & (section::HOST | section::LINK) != 0 && key.is_built());
    for key in of_host.copied() {
        if let Some(changed) = changed((old, None), (new, None), key) {
            each(&Difference { name: "", what: host(old, new, key, is_init), key: Some(changed) });
        }
    }
    for index in 0..new.guests.len().max(old.guests.len()) {
        let id = GuestId(index as u16);
        let was = old.guest(id).filter(|guest| !guest.is_removed);
        let Some(running) = new.guest(id) else { continue };
        let name = new.strings.str(running.name);
        let Some(was) = was else {
            if !running.is_removed {
                let what = if running.autostart { What::Starts } else { What::Added };
                each(&Difference { name, what, key: None });
            }
            continue;
        };
        if running.is_removed {
            each(&Difference { name, what: if is_up(id) { What::Stops } else { What::Removed }, key: None });
            continue;
        }
        let next = new.next(id);
        let guest = next.map_or(running, |next| &next.guest);
        for key in keys() {
            let Some(changed) = changed((old, Some(was)), (new, Some(guest)), key) else { continue };
            let is_now = is_immediate(key) || next.is_some_and(|next| next.live.has(key));
            let what = match (is_up(id), is_now) {
                _ if is_immediate(key) => What::Now,
                (true, true) => What::Now,
                (true, false) => What::Restart,
                (false, _) => What::Start,
            };
            each(&Difference { name, what, key: Some(changed) });
        }
    }
}

fn changed<'p>(
    (old, was): (&'p Plan, Option<&'p Guest>),
    (new, guest): (&'p Plan, Option<&'p Guest>),
    key: Key,
) -> Option<Changed<'p>> {
    let (from, to) = (Shown { plan: old, guest: was, key }, Shown { plan: new, guest, key });
    let asked = guest.map_or(&new.host.asked, |guest| &guest.asked);
    let at = asked.get(key as usize).copied().unwrap_or(At::NOWHERE);
    (!from.is_same(&to)).then(|| Changed { from, to, place: new.place(at) })
}

/// Whether each link that has `key` in `old` has it in `new`.
fn has_all(old: &Plan, new: &Plan, key: Key) -> bool {
    let mut was = old.links.iter().filter(|setting| setting.what.key() == Some(key));
    was.all(|setting| new.link(old.strings.bytes(setting.link)).any(|other| other.what.key() == Some(key)))
}

/// Whether the modules that are to be loaded are the same: what is no module is a word about those that others ask for.
fn loads_same(old: &Plan, new: &Plan) -> bool {
    let loads = |plan: &'_ Plan, wanted: &[u8]| {
        let mut words = plan.words.get(plan.host.modules).iter().map(|word| plan.strings.bytes(*word));
        words.any(|word| word == wanted)
    };
    let all_in = |one: &Plan, other: &Plan| {
        let mut words = one.words.get(one.host.modules).iter().map(|word| one.strings.bytes(*word));
        words.all(|word| matches!(word.first(), Some(b'+' | b'-')) || loads(other, word))
    };
    all_in(old, new) && all_in(new, old)
}

/// What becomes of a key of `[host]` or of its links.
fn host(old: &Plan, new: &Plan, key: Key, is_init: bool) -> What {
    let has = |plan: &Plan, path: &[u8]| {
        plan.sysctls.get(plan.host.sysctls).iter().any(|sysctl| plan.strings.bytes(sysctl.path) == path)
    };
    match key {
        Key::ShutdownTimeout | Key::Emergency | Key::Reserve | Key::Healthy | Key::MarkBad | Key::State => What::Now,
        _ if !is_init => What::Other,
        Key::Address | Key::LinkGateway | Key::Vlan | Key::MemberOf => What::Now,
        // What it was before, nobody knows.
        Key::Mtu | Key::LinkMac if has_all(old, new, key) => What::Now,
        Key::Modules if loads_same(old, new) => What::Now,
        Key::Hostname if !new.host.hostname.is_empty() => What::Now,
        // The kernel locks some of what was taken away, and nobody knows what a setting was before.
        Key::Hardening if old.host.hardening & !new.host.hardening == 0 => What::Now,
        Key::Sysctl if old.sysctls.get(old.host.sysctls).iter().all(|one| has(new, old.strings.bytes(one.path))) => {
            What::Now
        }
        _ => What::Boot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::words;

    #[test]
    fn every_outcome_has_its_word() {
        assert_eq!(words(What::WORDS).count(), What::Other as usize + 1);
        assert_eq!((What::Starts.word(), What::Other.word()), ("starts", "other"));
    }
}
