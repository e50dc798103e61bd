//! The last steps before exec, the same for a guest's first process and for a command that joins it: privilege goes down,
//! and never comes back.

use rustix::fs::Mode;
use rustix::process::{Gid, Uid};

use super::seccomp::Filter;
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::{Confinement, Kind, User};
use crate::sys::privilege::{self, Capabilities};
use crate::sys::{Errno, signal};

/// Who a program in a guest is.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The guest's kind.
    pub kind: Kind,
    /// What it may do.
    pub confinement: Confinement,
    /// User and group.
    pub user: User,
    /// Supplementary groups, at most [`limits::GROUPS`].
    pub groups: &'a [u32],
}

/// Leaves everything that this program must not have.
///
/// # Errors
/// The step that failed.
pub fn confine(identity: &Identity<'_>) -> Result<(), Fault> {
    let Identity { kind, confinement, user, groups } = *identity;
    let (bounds, given) = (Capabilities(confinement.capabilities), Capabilities(confinement.given));
    match privilege::new_session_keyring() {
        // A kernel without keyrings has none to leak; and where calls about keyrings are refused us, no guest of ours
        // can make one either.
        Ok(()) | Err(Errno::NOSYS | Errno::PERM) => {}
        Err(error) => return Err(error).at(Step::Keyring),
    }
    if kind == Kind::App {
        rustix::thread::set_no_new_privs(true).at(Step::NoNewPrivs)?;
    }
    // Before the capability that allows it goes; the filter lets all that follows through.
    if confinement.filter {
        privilege::filter(Filter::new(kind, confinement).instructions()).at(Step::Filter)?;
    }
    if kind != Kind::Service {
        privilege::bound(bounds).at(Step::BoundCapabilities)?;
    }
    if kind == Kind::App {
        // To be raised before that, too, is locked.
        let permitted = privilege::permitted().at(Step::DropCapabilities)?;
        privilege::set_capabilities(permitted, given).at(Step::GiveCapabilities)?;
        privilege::raise_ambient(given).at(Step::GiveCapabilities)?;
        privilege::root_is_nobody().at(Step::Securebits)?;
    } else if given != Capabilities::default() {
        privilege::keep_over_users().at(Step::GiveCapabilities)?;
    }
    set_user(user, groups)?;
    set_capabilities(kind, user, bounds, given)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // The supervisor blocks signals to read them from a descriptor; a program must not be born deaf.
    signal::block(signal::Set::NONE).at(Step::DropCapabilities)
}

/// What is left, and what of it a program hands down: nothing but what was given by word. What whoever started us hands
/// down ends here.
fn set_capabilities(kind: Kind, user: User, bounds: Capabilities, given: Capabilities) -> Result<(), Fault> {
    let none = Capabilities::default();
    match kind {
        // Of the host: what its user has.
        Kind::Service => {
            let permitted = privilege::permitted().at(Step::DropCapabilities)?;
            privilege::set_capabilities(permitted, none).at(Step::DropCapabilities)
        }
        // Root has all that is within the bounds, by being root.
        Kind::Os if user.uid == 0 => privilege::set_capabilities(bounds, none).at(if given == none {
            Step::DropCapabilities
        } else {
            Step::GiveCapabilities
        }),
        // Anybody else, and an app's root, has what was given, in the ambient set.
        Kind::Os => privilege::set_capabilities(given, given)
            .and_then(|()| privilege::raise_ambient(given))
            .at(Step::GiveCapabilities),
        Kind::App => privilege::set_capabilities(given, given).at(Step::DropCapabilities),
    }
}

fn set_user(user: User, groups: &[u32]) -> Result<(), Fault> {
    let mut list = [Gid::ROOT; limits::GROUPS];
    let mut len = 0;
    for (slot, group) in list.iter_mut().zip(groups) {
        *slot = Gid::from_raw(*group);
        len += 1;
    }
    // A list that was cut short would be a group silently not given.
    if len < groups.len() {
        return Err(Errno::INVAL).at(Step::SetGroups);
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_groups(&list[..len]).at(Step::SetGroups)?;
    // Real, effective and saved: this process has one thread, so the thread is the process.
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Step::SetGroup)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Step::SetUser)
}
