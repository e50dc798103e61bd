//! The table of every key of the config language: name, sections, whether this version carries it out, and its help.
//!
//! The grammar, `--help`, the manual and the options of `inn run` all read this one table.

/// Where a key may stand: a set of section kinds.
pub mod section {
    /// `[host]`
    pub const HOST: u8 = 1;
    /// `[link NAME]`
    pub const LINK: u8 = 2;
    /// `[bridge NAME]`
    pub const BRIDGE: u8 = 4;
    /// `[profile NAME]`
    pub const PROFILE: u8 = 8;
    /// `[service NAME]`
    pub const SERVICE: u8 = 16;
    /// `[guest NAME]`
    pub const GUEST: u8 = 32;

    /// Every kind: its bit and its word.
    pub const ALL: &[(u8, &str)] = &[
        (HOST, "host"),
        (LINK, "link"),
        (BRIDGE, "bridge"),
        (PROFILE, "profile"),
        (SERVICE, "service"),
        (GUEST, "guest"),
    ];

    /// The word for a kind.
    #[must_use]
    pub fn name(kind: u8) -> &'static str {
        ALL.iter().find(|(bit, _)| *bit & kind != 0).map_or("", |(_, name)| name)
    }
}
use crate::text::{word, words};
use section::{BRIDGE, GUEST, HOST, LINK, PROFILE, SERVICE};

/// Guest keys that a profile may hold and a service has no use for.
const G: u8 = GUEST | PROFILE;
/// Guest keys that a service may have too.
const GS: u8 = GUEST | PROFILE | SERVICE;

/// Beside the sections: the key takes a list, and may be repeated in a section.
const LIST: u8 = 128;
/// Beside the sections: this version does not carry the key out.
const LATER: u8 = 64;

macro_rules! keys {
    ($($variant:ident $name:literal $sections:expr, $ready:ident, $help:literal;)+) => {
        /// A key of the config language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Key { $(#[doc = $help] $variant,)+ }

        impl Key {
            /// Every key, in the order of the manual.
            pub const ALL: &'static [Key] = &[$(Key::$variant,)+];

            const NAMES: &'static str = concat!($($name, "\0",)+);
            const SECTIONS: &'static [u8] = &[$($sections | built::$ready,)+];
            const HELP: &'static str = concat!($($help, "\0",)+);
        }
    };
}

#[allow(non_upper_case_globals, reason = "these are the words of the table below")]
mod built {
    /// Carried out by this version.
    pub const now: u8 = 0;
    /// Known, and refused: its mechanism has not been built yet.
    pub const later: u8 = super::LATER;
}

keys! {
    Hostname "hostname" HOST | G, now, "host name; a guest's is its name where not given";
    Modules "modules" HOST | LIST, now, "kernel modules to load; auto: those that devices want, without -NAME; +ALIAS: the kernel may ask for it";
    Sysctl "sysctl" HOST | G | LIST, now, "kernel setting: name value";
    Mount "mount" HOST | LIST, now, "source target type [options]: a file system that is mounted at boot, in this order";
    Swap "swap" HOST | LIST, now, "source [options]: a device or file that is swapped to";
    HostConsole "console" HOST, now, "console of PID 1 and the emergency shell: device and speed";
    Watchdog "watchdog" HOST, now, "device and time-out, 30s where not given: it resets a machine whose PID 1 hangs, or whose critical guests stay down";
    LogSize "log-size" HOST, now, "bytes of output kept per guest, where the guest does not say";
    Reserve "reserve" HOST, now, "memory kept for the host";
    Hardening "hardening" HOST, now, "on, off, and -item or +item: tiocsti io-uring kexec bpf dmesg pointers sysrq core-pattern modules";
    ShutdownTimeout "shutdown-timeout" HOST, now, "bound on the whole power-off";
    Emergency "emergency" HOST, now, "command of the emergency shell";
    Healthy "healthy" HOST, now, "command to run once every critical guest is ready; within 2m else reboot may follow";
    MarkBad "mark-bad" HOST, now, "command that tells the boot loader that this boot is a bad one";
    State "state" HOST, now, "directory on storage that stays, where the host keeps how each boot ended: /var/lib/inn";
    Reset "reset" HOST | LIST, now, "directories that a factory reset empties";
    Include "include" HOST | LIST, now, "more config files, in name order";

    Address "address" LINK | BRIDGE | LIST, now, "address/prefix, IPv4 or IPv6";
    LinkGateway "gateway" LINK | BRIDGE | LIST, now, "default route; one of IPv4 and one of IPv6";
    Mtu "mtu" LINK | BRIDGE, now, "largest packet, bytes";
    LinkMac "mac" LINK | BRIDGE, now, "hardware address";
    MemberOf "member-of" LINK, now, "the bridge it is a port of";
    Vlan "vlan" LINK, now, "number of the VLAN that it is, on the link that its name begins with: eth0.42";
    Uplink "uplink" BRIDGE, later, "translate the guests' traffic out of this link";

    Kind "kind" G, now, "os: an init of its own; app: one program, tighter; must be said";
    Profile "profile" GUEST | SERVICE, now, "take the keys of this profile; a key said here replaces the profile's, lists too";
    Template "template" G, later, "read-only template with a private layer";
    Root "root" G, now, "directory that is its root; os writes to it, app does not, where readonly and ephemeral do not say";
    Image "image" G, now, "squashfs, erofs or ext4 file that is its root; os changes it in memory, app not at all, where readonly does not say";
    Ephemeral "ephemeral" G, now, "private layer in memory, gone when it stops";
    Readonly "readonly" G, now, "root is read-only: where not given, yes for app, no for os";
    Disk "disk" G, later, "bytes its private layer may hold";
    Inodes "inodes" G, later, "files its private layer may hold";
    Bind "bind" G | LIST, now, "source target [ro,nosuid,nodev,noexec]: a file or directory of the host that it sees";
    Tmpfs "tmpfs" G | LIST, now, "target size: a file system in memory; also the size of /run, /tmp and /dev/shm";
    Device "device" G | LIST, now, "path [rwm]: a device of the host that it may use; rw where not given";
    Command "command" GS, now, "program and arguments; of os: /sbin/init where not given";
    Env "env" GS | LIST, now, "NAME=VALUE";
    User "user" GS, now, "uid[:gid] it runs as, 0:0 where not given; gid is uid where not given";
    Groups "groups" GS | LIST, now, "supplementary gids";
    Directory "directory" GS, now, "working directory, / where not given";
    MachineId "machine-id" G, later, "32 hex digits";
    Console "console" G, now, "pty or none: whether it has a terminal; where not given, pty for os, none for app";
    Tty "tty" SERVICE, now, "terminal that is its standard input, output and error";
    Memory "memory" GS, now, "hard limit of memory";
    MemoryHigh "memory-high" GS, now, "memory above which it is throttled";
    MemoryLow "memory-low" GS, now, "memory that is kept for it";
    GuestSwap "swap" GS, now, "hard limit of swap";
    Cpus "cpus" GS, now, "cap, in CPUs: 0.5 is half of one";
    CpuWeight "cpu-weight" GS, now, "share when CPUs are short, 1 to 10000, default 100";
    Cpuset "cpuset" GS, now, "CPUs it may use: 0-3,7";
    Processes "processes" GS, now, "processes and threads it may have, 1024 where not given";
    IoWeight "io-weight" GS, now, "share when a disk is busy, 1 to 10000, default 100";
    IoMax "io-max" GS | LIST, now, "device rbps= wbps= riops= wiops=: bytes and operations a second";
    Rlimit "rlimit" GS | LIST, now, "per-process limit: name soft[:hard]";
    OomScore "oom-score" GS, now, "who dies first when the host is out of memory, -1000 to 1000";
    OomGroup "oom-group" GS, now, "out of memory ends all of it, or one process (no, where not given)";
    Network "network" G | LIST, now, "none (loopback only), host";
    Gateway "gateway" G, later, "default route";
    Nameserver "nameserver" G | LIST, later, "DNS server";
    Search "search" G | LIST, later, "DNS search domain";
    Publish "publish" G | LIST, later, "hostport:guestport/tcp";
    Bandwidth "bandwidth" G, later, "rate limit";
    Mac "mac" G, later, "hardware address";
    Userns "userns" G, now, "auto (own range), BASE:COUNT and more of these, none";
    Caps "caps" G | LIST, now, "+cap -cap: capabilities given and taken, all is every one";
    Seccomp "seccomp" G, now, "default, none, or +call: calls let through that guests are refused";
    Features "features" G | LIST, now, "tun, fuse, time: what a device or the clock needs";
    Nesting "nesting" G, now, "it may have guests of its own, in its own range of users";
    After "after" GS | LIST, now, "start when these are ready";
    Before "before" GS | LIST, now, "these start when this is ready";
    Wants "wants" GS | LIST, now, "start these too, and start when they are ready";
    Autostart "autostart" GS, now, "start with the host, yes where not given";
    Restart "restart" GS, now, "never, on-failure (where not given), always";
    RestartDelay "restart-delay" GS, now, "back-off between restarts: from to, 100ms 1m where not given";
    GiveUp "give-up" GS, now, "never (where not given), or after N within TIME then what: stop, rescue, reboot, mark-bad";
    Critical "critical" GS, now, "yes: while it is not ready the host is ill; within TIME may follow, 2m where not given";
    Ready "ready" GS, now, "exec (where not given); fd N: when it writes a newline to descriptor N; notify: when it says READY=1 to NOTIFY_SOCKET; port N: when something listens there; file PATH: when that is there; command WORDS: when that exits with 0, inside; exit: when it has ended with 0; within TIME may follow, 2m where not given";
    Health "health" GS, now, "a command, run inside; every 30s timeout 5s failures 3 may follow; or notify every TIME: it has to say WATCHDOG=1";
    Stop "stop" GS, now, "signals and time-outs: SIGTERM 10s SIGKILL where not given, of os SIGRTMIN+3 30s SIGUSR2 10s SIGKILL";
    HookCreate "hook-create" G | LIST, now, "program of the host, run before it is made; where it fails there is no start";
    HookStart "hook-start" G | LIST, now, "program of the host, run when it is made, before its command; where it fails there is no start";
    HookStop "hook-stop" G | LIST, now, "program of the host, run when its last process has ended";
    HookDestroy "hook-destroy" G | LIST, now, "program of the host, run when nothing of it is left";
    Log "log" GS, now, "off, kmsg, SIZE kept in memory (64K where neither this nor log-size is given), or PATH SIZE COUNT: files";
    Description "description" GS, now, "free text, shown by list";
}

impl Key {
    /// The number of keys.
    pub const COUNT: usize = Key::ALL.len();

    /// As it is written in a config.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(Key::NAMES, self as usize)
    }

    /// The sections it may stand in, as bits of [`section`].
    #[must_use]
    pub fn sections(self) -> u8 {
        Key::SECTIONS[self as usize] & !(LIST | LATER)
    }

    /// Whether this version carries it out.
    #[must_use]
    pub fn is_built(self) -> bool {
        Key::SECTIONS[self as usize] & LATER == 0
    }

    /// Whether it takes a list, and so may be repeated in a section.
    #[must_use]
    pub fn is_list(self) -> bool {
        Key::SECTIONS[self as usize] & LIST != 0
    }

    /// The key called `name` in sections of the kinds `kinds` (bits of [`section`]).
    #[must_use]
    pub fn find(name: &[u8], kinds: u8) -> Option<Key> {
        let mut named = Key::ALL.iter().zip(words(Key::NAMES)).filter(|(_, word)| word.as_bytes() == name);
        named.find(|(key, _)| key.sections() & kinds != 0).map(|(key, _)| *key)
    }

    /// One line for people.
    #[must_use]
    pub fn help(self) -> &'static str {
        word(Key::HELP, self as usize)
    }
}
