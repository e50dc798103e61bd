//! What guests are given that a host does not have: by each guest, and by all together. That is legitimate, for most never
//! use what they may; so it is told, not refused.

use super::{Guest, Kind, Plan};
use crate::config::key::Key;
use crate::text::{Text, number};

/// What a host has.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Swap, bytes.
    pub swap_bytes: u64,
    /// CPUs that run, in the kernel's list format.
    pub cpus: &'a [u8],
    /// Processes that guests may have, all together.
    pub processes: u64,
}

/// Something that is given and not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Whose; nothing for all guests together.
    pub guest: Option<Text>,
    /// What. Of [`Key::Reserve`] no guest starts.
    pub key: Key,
    /// How much is given: bytes, thousandths of a CPU, or a number; of `cpuset` the CPU that is not there.
    pub given: u64,
    /// How much there is.
    pub there: u64,
}

/// What is given of a key, and what there is of it.
type Rule = (Key, fn(&Plan, &Guest) -> u64, u64);

/// Gives everything that `plan` has in excess of `host` to `each`.
pub fn excess(plan: &Plan, host: &Host<'_>, each: &mut dyn FnMut(Excess)) {
    let reserve = plan.host.reserve_bytes.unwrap_or(0);
    let memory = host.memory_bytes.saturating_sub(reserve);
    if memory == 0 {
        each(Excess { guest: None, key: Key::Reserve, given: reserve, there: host.memory_bytes });
    }
    let rules: [Rule; 6] = [
        (Key::Memory, |_, guest| guest.limits.memory_bytes.unwrap_or(0), memory),
        (Key::MemoryLow, |_, guest| guest.limits.memory_low_bytes.unwrap_or(0), memory),
        (Key::GuestSwap, |_, guest| guest.limits.swap_bytes.unwrap_or(0), host.swap_bytes),
        (Key::Cpus, |_, guest| guest.limits.cpus_milli.unwrap_or(0).into(), 1000 * count(host.cpus)),
        (Key::Processes, |_, guest| guest.limits.processes.into(), host.processes),
        (Key::Tmpfs, |plan, guest| tmpfs(plan, guest), memory),
    ];
    // A service is the host's own.
    let guests = || plan.guests.iter().filter(|guest| guest.kind != Kind::Service);
    for (key, given_to, there) in rules {
        let mut sum = 0u64;
        for guest in guests() {
            let given = given_to(plan, guest);
            let within =
                if key == Key::Tmpfs { guest.limits.memory_bytes.map_or(there, |own| own.min(there)) } else { there };
            if given > within {
                each(Excess { guest: Some(guest.name), key, given, there: within });
            }
            sum = sum.saturating_add(given);
        }
        if sum > there && guests().count() > 1 {
            each(Excess { guest: None, key, given: sum, there });
        }
    }
    for guest in &plan.guests {
        let cpuset = plan.strings.bytes(guest.limits.cpuset);
        let missing = ranges(cpuset).find_map(|(first, last)| (first..=last).find(|cpu| !has(host.cpus, *cpu)));
        if let Some(cpu) = missing {
            each(Excess { guest: Some(guest.name), key: Key::Cpuset, given: cpu, there: count(host.cpus) });
        }
    }
}

/// The file systems in memory whose size the config says.
fn tmpfs(plan: &Plan, guest: &Guest) -> u64 {
    plan.tmpfs.get(guest.tmpfs).iter().fold(0, |sum, tmpfs| sum.saturating_add(tmpfs.bytes))
}

/// The ranges of a list of CPUs: "0-3,7".
fn ranges(list: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    list.split(|byte| *byte == b',').filter_map(move |range| {
        let mut ends = range.splitn(2, |byte| *byte == b'-');
        let first = number(ends.next()?)?;
        Some((first, ends.next().map_or(Some(first), number)?))
    })
}

fn count(list: &[u8]) -> u64 {
    ranges(list).map(|(first, last)| last.saturating_sub(first) + 1).sum()
}

fn has(list: &[u8], cpu: u64) -> bool {
    ranges(list).any(|(first, last)| (first..=last).contains(&cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted_in_a_list() {
        assert_eq!(count(b"0-3,7"), 5);
        assert_eq!(count(b""), 0);
        assert!(has(b"0-3,7", 2) && has(b"0-3,7", 7) && !has(b"0-3,7", 5));
    }
}
