//! The system calls that guests are refused by name, and that `seccomp` can give back. What is allowed stands in the
//! filter's own table (`guest/seccomp`).

/// Numbers and names of calls. The comments are the reasons that README.md gives.
macro_rules! calls {
    ($numbers:ident $names:ident $($name:ident)*) => {
        /// Their numbers.
        const $numbers: &[libc::c_long] = &[$(libc::$name,)*];
        /// Their names, with `SYS_` before them.
        const $names: &str = concat!($(stringify!($name), "\0",)*);
    };
}

calls! { EVERYWHERE EVERYWHERE_NAMES
    // keyrings: not of any namespace but by user number
    SYS_add_key SYS_request_key SYS_keyctl
    // programs in the kernel, and a look into it
    SYS_bpf SYS_perf_event_open SYS_syslog SYS_lookup_dcookie
    // another kernel, or more of this one
    SYS_kexec_load SYS_kexec_file_load SYS_init_module SYS_finit_module SYS_delete_module
    // large attack surface: faults in user space, and a ring that no filter sees into
    SYS_userfaultfd SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register
    // files by handle: past every directory's permission
    SYS_open_by_handle_at
    // the host's swap, quotas, accounting, file watches of whole file systems
    SYS_swapon SYS_swapoff SYS_quotactl SYS_quotactl_fd SYS_acct SYS_fanotify_init SYS_fanotify_mark
    // the host's clock
    SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex
}

#[cfg(target_arch = "x86_64")]
calls! { HERE HERE_NAMES
// ports, segments, and old ways to load libraries and to ask about file systems (x86_64)
SYS_iopl SYS_ioperm SYS_modify_ldt SYS_uselib SYS_ustat SYS_sysfs }
#[cfg(target_arch = "aarch64")]
calls! { HERE HERE_NAMES }

calls! { APPS APPS_NAMES
    // of an app only: it has no capability, and no business with mounts, namespaces and file handles
    SYS_mount SYS_umount2 SYS_pivot_root SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick SYS_move_mount SYS_open_tree
    SYS_mount_setattr SYS_setns SYS_chroot SYS_reboot SYS_vhangup SYS_sethostname SYS_setdomainname
    SYS_name_to_handle_at
}

// Allowed by their arguments, or not known to the filter for it cannot see them.
calls! { CHECKED CHECKED_NAMES
    // families other than UNIX, IPv4, IPv6, and netlink other than for routes and uevents: rarely used code of the kernel
    SYS_socket SYS_socketpair
    // namespaces of users within a guest's own without `nesting`, of an app any: they open the rest of the kernel to all
    SYS_clone SYS_unshare
    // always, as unknown: what it asks for is in memory, where no filter sees it, and libraries ask again by clone
    SYS_clone3
    // TIOCSTI and TIOCLINUX: they type for a terminal's owner
    SYS_ioctl
    // other than of Linux, 64 and 32 bits: they undo protections of memory
    SYS_personality
}

/// A set of the calls of this file: bit N is call number N of [`name`].
pub type Calls = u128;

const FIRST_HERE: usize = EVERYWHERE.len();
const FIRST_APPS: usize = FIRST_HERE + HERE.len();
const FIRST_CHECKED: usize = FIRST_APPS + APPS.len();
/// How many there are.
pub const COUNT: usize = FIRST_CHECKED + CHECKED.len();
const _: () = assert!(COUNT <= Calls::BITS as usize);

/// What the numbers up to here are refused to: every guest.
pub const REFUSED: usize = FIRST_APPS;
/// The same for those from [`REFUSED`] up to here: apps.
pub const REFUSED_TO_APPS: usize = FIRST_CHECKED;

/// The kernel's number of call `index`.
#[must_use]
pub const fn number(index: usize) -> libc::c_long {
    if index < FIRST_HERE {
        EVERYWHERE[index]
    } else if index < FIRST_APPS {
        HERE[index - FIRST_HERE]
    } else if index < FIRST_CHECKED {
        APPS[index - FIRST_APPS]
    } else {
        CHECKED[index - FIRST_CHECKED]
    }
}

/// The names of all of them.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    let tables = [EVERYWHERE_NAMES, HERE_NAMES, APPS_NAMES, CHECKED_NAMES];
    tables.into_iter().flat_map(crate::text::words).map(|name| name.strip_prefix("SYS_").unwrap_or(name))
}

/// The set of the calls with these numbers.
#[must_use]
pub const fn set(numbers: &[libc::c_long]) -> Calls {
    let mut all = 0;
    let mut index = 0;
    while index < COUNT {
        let mut i = 0;
        while i < numbers.len() {
            if numbers[i] == number(index) {
                all |= 1 << index;
            }
            i += 1;
        }
        index += 1;
    }
    all
}

/// The calls that set the host's clock.
pub const CLOCK: Calls =
    set(&[libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_numbers() {
        let names: std::vec::Vec<_> = names().collect();
        assert_eq!(names.len(), COUNT);
        assert_eq!((names[0], number(0)), ("add_key", libc::SYS_add_key));
        assert_eq!((names[COUNT - 1], number(COUNT - 1)), ("personality", libc::SYS_personality));
        let at = names.iter().position(|name| *name == "umount2").unwrap();
        assert_eq!(number(at), libc::SYS_umount2);
        assert!((REFUSED..REFUSED_TO_APPS).contains(&at));
        assert_eq!(CLOCK.count_ones(), 4);
    }
}
