//! Which capabilities a guest keeps (capabilities(7)).

use crate::plan::Kind;
use crate::sys::privilege::Capabilities;

/// What a guest of this kind may ever have; `mapped` if it has users of its own.
#[must_use]
pub const fn of(kind: Kind, mapped: bool) -> Capabilities {
    match (kind, mapped) {
        (Kind::App, _) => Capabilities(0),
        (Kind::Os, true) => Capabilities(OS),
        (Kind::Os, false) => Capabilities(OS & !OF_THE_HOST),
        (Kind::Service, _) => Capabilities(u64::MAX),
    }
}

const fn set(numbers: &[u32]) -> u64 {
    let mut all = 0;
    let mut i = 0;
    while i < numbers.len() {
        all |= 1 << numbers[i];
        i += 1;
    }
    all
}

/// What a distribution's init and its services use, all of it over the guest's own namespaces only. Not here: modules, raw
/// I/O, time, syslog, audit, MAC, bpf, perfmon, wake alarms, suspend, accounting, checkpoints.
const OS: u64 = set(&[
    CHOWN,
    DAC_OVERRIDE,
    DAC_READ_SEARCH,
    FOWNER,
    FSETID,
    KILL,
    SETGID,
    SETUID,
    SETPCAP,
    LINUX_IMMUTABLE,
    NET_BIND_SERVICE,
    NET_BROADCAST,
    NET_ADMIN,
    NET_RAW,
    IPC_LOCK,
    IPC_OWNER,
    SYS_CHROOT,
    SYS_PTRACE,
    SYS_ADMIN,
    SYS_BOOT,
    SYS_NICE,
    SYS_RESOURCE,
    SYS_TTY_CONFIG,
    MKNOD,
    LEASE,
    SETFCAP,
]);

/// Without a user namespace these reach past every other: into the host's mounts, devices, memory, processes and limits.
const OF_THE_HOST: u64 = set(&[
    DAC_READ_SEARCH,
    LINUX_IMMUTABLE,
    IPC_LOCK,
    SYS_PTRACE,
    SYS_ADMIN,
    SYS_BOOT,
    SYS_NICE,
    SYS_RESOURCE,
    SYS_TTY_CONFIG,
    MKNOD,
    LEASE,
]);

// linux/capability.h
const CHOWN: u32 = 0;
const DAC_OVERRIDE: u32 = 1;
const DAC_READ_SEARCH: u32 = 2;
const FOWNER: u32 = 3;
const FSETID: u32 = 4;
const KILL: u32 = 5;
const SETGID: u32 = 6;
const SETUID: u32 = 7;
const SETPCAP: u32 = 8;
const LINUX_IMMUTABLE: u32 = 9;
const NET_BIND_SERVICE: u32 = 10;
const NET_BROADCAST: u32 = 11;
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const IPC_LOCK: u32 = 14;
const IPC_OWNER: u32 = 15;
const SYS_CHROOT: u32 = 18;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const SYS_BOOT: u32 = 22;
const SYS_NICE: u32 = 23;
const SYS_RESOURCE: u32 = 24;
const SYS_TTY_CONFIG: u32 = 26;
const MKNOD: u32 = 27;
const LEASE: u32 = 28;
const SETFCAP: u32 = 31;

#[cfg(test)]
mod tests {
    use super::*;

    /// CAP_SYS_MODULE, SYS_RAWIO, SYS_TIME, AUDIT_WRITE, AUDIT_CONTROL, MAC_OVERRIDE, MAC_ADMIN, SYSLOG, WAKE_ALARM,
    /// AUDIT_READ, PERFMON, BPF
    const NEVER: [u32; 12] = [16, 17, 25, 29, 30, 32, 33, 34, 35, 37, 38, 39];

    #[test]
    fn an_app_has_none() {
        assert_eq!(of(Kind::App, true), Capabilities(0));
        assert_eq!(of(Kind::App, false), Capabilities(0));
    }

    #[test]
    fn a_distribution_has_none_that_reaches_the_host() {
        assert_eq!(of(Kind::Os, true).0 & set(&NEVER), 0);
        assert_eq!(of(Kind::Os, false).0 & (set(&NEVER) | OF_THE_HOST), 0);
        assert_ne!(of(Kind::Os, true).0 & set(&[SYS_ADMIN]), 0);
    }
}
