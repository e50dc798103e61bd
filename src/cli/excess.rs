//! What `inn check` tells of limits on this host: what is given and not there, and whose disk a partition is on.

use core::fmt;

use super::output::Plain;
use super::units::{Bytes, Milli};
use crate::config::key::Key;
use crate::limits;
use crate::plan::Plan;
use crate::plan::overcommit::{self, Excess, Host};
use crate::sys::{block, machine};

/// What guests are given that this host does not have.
pub fn in_excess(plan: &Plan, each: &mut dyn FnMut(Excess)) {
    let mut buffer = [0; 256];
    let processes = machine::processes().unwrap_or(u64::MAX);
    let host = Host {
        memory_bytes: machine::memory_bytes(),
        swap_bytes: machine::swap_bytes(),
        cpus: machine::cpus(&mut buffer).unwrap_or_default(),
        processes: processes - processes / limits::HOST_PROCESSES_SHARE,
    };
    overcommit::excess(plan, &host, each);
}

/// The guests whose `io-max` names a partition, and which.
pub fn parts(plan: &Plan) -> impl Iterator<Item = (&str, &str)> {
    let is_part = |path| block::disk(plan.strings.c_str(path)).is_ok_and(|disk| disk.is_part);
    plan.guests.iter().flat_map(move |guest| {
        let disks = plan.io_max.get(guest.limits.io_max).iter().map(|disk| disk.device);
        disks.filter(move |path| is_part(*path)).map(|path| (plan.strings.str(guest.name), plan.strings.str(path)))
    })
}

/// "web: memory 2G is more than the host has for guests: 448M"
pub struct ExcessWords<'p>(pub &'p Plan, pub Excess);

impl fmt::Display for ExcessWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExcessWords(plan, excess) = self;
        let who = excess.guest.map_or("all guests together", |name| plan.strings.str(name));
        write!(f, "{}: {} ", Plain(who), excess.key.name())?;
        let amount = |f: &mut fmt::Formatter<'_>, number| match excess.key {
            Key::Cpus => Milli(number).fmt(f),
            Key::Processes | Key::Cpuset => number.fmt(f),
            _ => Bytes(number).fmt(f),
        };
        amount(f, excess.given)?;
        match excess.key {
            Key::Cpuset => return f.write_str(" is a CPU that this host does not have, or that is off"),
            Key::Reserve => f.write_str(" leaves no memory for guests, none will start: the host has ")?,
            _ => f.write_str(" is more than there is: ")?,
        }
        amount(f, excess.there)
    }
}
