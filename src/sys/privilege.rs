//! Giving privilege up: capabilities, securebits, `no_new_privs`, seccomp, session keyring.

use rustix::process::Uid;

use super::{Errno, call};

/// A set of capabilities (capabilities(7)): bit N is capability number N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

/// Takes every capability that is not in `keep` out of the bounding set.
///
/// # Errors
/// EPERM without CAP_SETPCAP.
pub fn bound(keep: Capabilities) -> Result<(), Errno> {
    for number in 0..u64::BITS {
        if keep.0 >> number & 1 == 1 {
            continue;
        }
        // SAFETY: takes no pointer.
        match unsafe { call(libc::SYS_prctl, [libc::PR_CAPBSET_DROP as usize, number as usize, 0, 0, 0]) } {
            Ok(_) => {}
            // Past the last capability of this kernel.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `_LINUX_CAPABILITY_VERSION_3`
const VERSION: u32 = 0x2008_0522;

/// The permitted set (capget(2)).
///
/// # Errors
/// None that a kernel with version 3 of the sets knows.
pub fn permitted() -> Result<Capabilities, Errno> {
    let header = [VERSION, 0];
    let mut data = [0u32; 6];
    // SAFETY: version 3 reads two words of header and writes six of data; both arrays live beyond the call.
    unsafe { call(libc::SYS_capget, [header.as_ptr() as usize, data.as_mut_ptr() as usize]) }?;
    let [_, low, _, _, high, _] = data.map(u64::from);
    Ok(Capabilities(high << 32 | low))
}

/// Sets the permitted and effective sets to `keep`, and the inheritable set to `inheritable`; the ambient set loses what is
/// not in both (capset(2)).
///
/// # Errors
/// EPERM where one is not permitted now.
pub fn set_capabilities(keep: Capabilities, inheritable: Capabilities) -> Result<(), Errno> {
    let header = [VERSION, 0];
    let words = |set: Capabilities| (set.0 as u32, (set.0 >> 32) as u32);
    let ((low, high), (inheritable_low, inheritable_high)) = (words(keep), words(inheritable));
    // effective, permitted, inheritable: low words, then high words
    let data = [low, low, inheritable_low, high, high, inheritable_high];
    // SAFETY: version 3 reads two words of header and six of data; both arrays live beyond the call.
    unsafe { call(libc::SYS_capset, [header.as_ptr() as usize, data.as_ptr() as usize]) }.map(drop)
}

/// Raises `set` in the ambient set: whatever user executes a program, it has them.
///
/// # Errors
/// EPERM where one is not both permitted and inheritable.
pub fn raise_ambient(set: Capabilities) -> Result<(), Errno> {
    for number in (0..u64::BITS).filter(|number| set.0 >> number & 1 == 1) {
        let list = [libc::PR_CAP_AMBIENT as usize, libc::PR_CAP_AMBIENT_RAISE as usize, number as usize, 0, 0];
        // SAFETY: takes no pointer.
        unsafe { call(libc::SYS_prctl, list) }?;
    }
    Ok(())
}

/// Lets the permitted set outlive the next change from user 0 to another, until exec.
///
/// # Errors
/// EPERM where that is locked.
pub fn keep_over_users() -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    unsafe { call(libc::SYS_prctl, [libc::PR_SET_KEEPCAPS as usize, 1, 0, 0, 0]) }.map(drop)
}

/// Makes user 0 as powerless as any other, for ever: no capability comes from being root or by changing users.
///
/// # Errors
/// EPERM without CAP_SETPCAP.
pub fn root_is_nobody() -> Result<(), Errno> {
    let bits = libc::SECBIT_NOROOT
        | libc::SECBIT_NOROOT_LOCKED
        | libc::SECBIT_NO_SETUID_FIXUP
        | libc::SECBIT_NO_SETUID_FIXUP_LOCKED
        | libc::SECBIT_KEEP_CAPS_LOCKED
        | libc::SECBIT_NO_CAP_AMBIENT_RAISE
        | libc::SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    securebits(bits)
}

/// Makes this process user `user` in effect, with all that it may do: what it makes is that user's, and charged to that
/// user (user_namespaces(7), namespaces(7)). [`stop_acting`] ends that.
///
/// # Errors
/// EPERM without CAP_SETPCAP or CAP_SETUID, EINVAL for a user that is not mapped here.
pub fn act_as(user: Uid) -> Result<(), Errno> {
    // Without this bit the effective capabilities would go with user 0 (capabilities(7)).
    securebits(libc::SECBIT_NO_SETUID_FIXUP)?;
    set_effective_user(user)
}

/// Makes this process user 0 again.
///
/// # Errors
/// As [`act_as`].
pub fn stop_acting() -> Result<(), Errno> {
    set_effective_user(Uid::ROOT)?;
    securebits(0)
}

fn set_effective_user(user: Uid) -> Result<(), Errno> {
    let same = usize::MAX;
    // SAFETY: takes no pointer. Real and saved stay; this program has one thread.
    unsafe { call(libc::SYS_setresuid, [same, user.as_raw() as usize, same]) }.map(drop)
}

fn securebits(bits: i32) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    unsafe { call(libc::SYS_prctl, [libc::PR_SET_SECUREBITS as usize, bits as usize, 0, 0, 0]) }.map(drop)
}

/// One instruction of a filter: `struct sock_filter` (linux/filter.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if true.
    pub if_true: u8,
    /// Instructions to skip if false.
    pub if_false: u8,
    /// Operand.
    pub k: u32,
}

/// Puts every system call from now on, and of all children, through `filter` (seccomp(2)).
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN or `no_new_privs`, EINVAL for a bad filter, ENOMEM, ENOSYS.
pub fn filter(filter: &[Instruction]) -> Result<(), Errno> {
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const Instruction,
    }
    let len = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = Program { len, filter: filter.as_ptr() };
    let list = [libc::SECCOMP_SET_MODE_FILTER as usize, 0, &raw const program as usize];
    // SAFETY: a sock_fprog of `len` instructions, all alive beyond the call.
    unsafe { call(libc::SYS_seccomp, list) }.map(drop)
}

/// Leaves the session keyring of whoever started this process for a new, empty one (keyctl(2)).
///
/// # Errors
/// EDQUOT, ENOMEM; ENOSYS in a kernel without keyrings, where there is nothing to leave.
pub fn new_session_keyring() -> Result<(), Errno> {
    // SAFETY: a null name asks for an anonymous keyring; no pointer is passed.
    unsafe { call(libc::SYS_keyctl, [libc::KEYCTL_JOIN_SESSION_KEYRING as usize, 0]) }.map(drop)
}
