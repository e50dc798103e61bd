//! Which capabilities a guest keeps, and their names (capabilities(7)). A set is a `u64`: bit N is capability number N.

use super::Kind;
use crate::text::words;

/// What a guest of this kind keeps where `caps` does not say; `mapped` if it has users of its own.
#[must_use]
pub const fn of(kind: Kind, mapped: bool) -> u64 {
    match (kind, mapped) {
        (Kind::App, _) => 0,
        (Kind::Os, true) => OS,
        (Kind::Os, false) => OS & !OF_THE_HOST,
        (Kind::Service, _) => u64::MAX,
    }
}

macro_rules! capabilities {
    ($($name:ident)+) => {
        /// Every name, without `cap_`, in the order of the numbers (linux/capability.h).
        pub const NAMES: &str = concat!($(stringify!($name), "\0",)+);

        #[allow(non_camel_case_types, reason = "these are the words of the table below")]
        // Only some are named by code; the others give those behind them their numbers.
        #[allow(dead_code, reason = "most are only counted")]
        enum Number { $($name,)+ }
    };
}

capabilities! {
    chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service
    net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin
    sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override
    mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore
}

/// All that have a name.
pub const ALL: u64 = (1 << (Number::checkpoint_restore as u32 + 1)) - 1;

/// CAP_NET_ADMIN: what making a network device takes.
pub const NET_ADMIN: u64 = 1 << Number::net_admin as u32;
/// CAP_SYS_ADMIN: what mounting takes.
pub const SYS_ADMIN: u64 = 1 << Number::sys_admin as u32;
/// CAP_SYS_TIME: what setting the clock takes.
pub const SYS_TIME: u64 = 1 << Number::sys_time as u32;

/// The names in `set`.
pub fn names(set: u64) -> impl Iterator<Item = &'static str> {
    words(NAMES).enumerate().filter(move |(number, _)| set >> number & 1 == 1).map(|(_, name)| name)
}

macro_rules! set {
    ($($name:ident)+) => { $(1 << Number::$name as u32)|+ };
}

/// What a distribution's init and its services use, all of it over the guest's own namespaces only. README.md has what is
/// not here, with these reasons:
// sys_module: loads code into the host's kernel
// sys_rawio: ports and memory of the machine
// sys_time: the host's clock, which all guests share
// syslog: the kernel's log, and what it says of addresses
// audit_write audit_control audit_read: the host's audit trail
// mac_override mac_admin: the host's mandatory access control
// bpf perfmon: programs in the kernel, and a look into everybody's
// wake_alarm block_suspend: whether the machine sleeps
// sys_pacct: a file that the kernel writes of every process to
// checkpoint_restore: process numbers chosen, and other processes' files
// sys_resource: threads of the kernel, one for each trigger on a pressure file; hard limits are not raised by it in a guest
const OS: u64 = set! {
    chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service
    net_broadcast net_admin net_raw ipc_lock ipc_owner sys_chroot sys_ptrace sys_admin sys_boot sys_nice
    sys_tty_config mknod lease setfcap
};

/// Without a user namespace these reach past every other, and are not kept either:
// sys_admin: mounts, namespaces and settings of the host
// sys_ptrace: memory of the host's processes
// dac_read_search: files by handle, past every directory
// mknod: files of any device
// linux_immutable: attributes of the host's files
// lease: holds up who opens the host's files
// sys_boot: the machine's power, and another kernel
// sys_nice ipc_lock: shares and limits of everybody on the host
// sys_tty_config: the host's consoles
const OF_THE_HOST: u64 = set! {
    dac_read_search linux_immutable ipc_lock sys_ptrace sys_admin sys_boot sys_nice sys_tty_config mknod lease
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::word;

    const NEVER: u64 = set! {
        sys_module sys_rawio sys_resource sys_time audit_write audit_control mac_override mac_admin syslog wake_alarm
        audit_read perfmon bpf
    };

    #[test]
    fn an_app_has_none() {
        assert_eq!(of(Kind::App, true), 0);
        assert_eq!(of(Kind::App, false), 0);
    }

    #[test]
    fn a_distribution_has_none_that_reaches_the_host() {
        assert_eq!(of(Kind::Os, true) & NEVER, 0);
        assert_eq!(of(Kind::Os, false) & (NEVER | OF_THE_HOST), 0);
        assert_ne!(of(Kind::Os, true) & set! { sys_admin }, 0);
    }

    #[test]
    fn names_stand_at_their_numbers() {
        assert_eq!(word(NAMES, 21), "sys_admin");
        assert_eq!(word(NAMES, 40), "checkpoint_restore");
        assert_eq!(words(NAMES).count(), 41);
        assert_eq!(ALL.count_ones(), 41);
        assert_eq!((NET_ADMIN, SYS_TIME), (1 << 12, 1 << 25));
    }
}
