//! No plan has a guest that is looser than its config says: what the words of any config allow at most is worked out here
//! once more, from the words alone, and every plan is held against it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use innkeep::plan::{Bind, Device, Guest, Kind, Layer, Network, Plan, call, capability};

use crate::config_corpus::Read;

/// capabilities(7), in the order of their numbers.
const CAPABILITIES: &str = "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable \
    net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct \
    sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap \
    mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore";
/// What no distribution has: modules, raw I/O, threads of the kernel, time, log, audit, mandatory access control, bpf,
/// perfmon, wake alarms.
const NEVER: &str = "sys_module sys_rawio sys_resource sys_time syslog audit_write audit_control audit_read mac_override \
    mac_admin bpf perfmon wake_alarm";
/// What makes a namespace a fiction where the guest's root is the host's.
const NEVER_AS_THE_HOST: &str = "sys_admin sys_ptrace dac_read_search sys_boot sys_nice sys_tty_config mknod \
    linux_immutable ipc_lock lease";
const CALLS: &str =
    "bpf keyctl add_key io_uring_setup userfaultfd swapon settimeofday reboot socket clone3 ioctl mount";

/// A line of a guest: the key, and its value.
type Line = (&'static str, String);

/// A guest as it is written: its lines, and those of its profile.
#[derive(Clone, Debug)]
struct Written {
    own: Vec<Line>,
    profile: Vec<Line>,
}

fn line() -> impl Strategy<Value = Line> {
    let word = |words: &'static str| prop::sample::select(words.split_whitespace().collect::<Vec<_>>());
    let cap = (prop::bool::ANY, prop_oneof![9 => word(CAPABILITIES), 1 => Just("all")]);
    let caps = prop::collection::vec(cap, 1..4).prop_map(|caps| {
        caps.iter()
            .map(|(given, name)| format!("{}{name}", if *given { "+" } else { "-" }))
            .collect::<Vec<_>>()
            .join(" ")
    });
    let calls = prop::collection::btree_set(word(CALLS), 1..4)
        .prop_map(|calls| calls.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" "));
    let access = prop::sample::select(vec!["", " r", " w", " rw", " rwm", " m"]);
    let flags = prop::sample::select(vec!["", " ro", " ro,nosuid", " noexec,nodev", " rw"]);
    prop_oneof![
        4 => caps.prop_map(|value| ("caps", value)),
        2 => prop_oneof![calls, Just("none".to_owned()), Just("default".to_owned())].prop_map(|value| ("seccomp", value)),
        2 => prop::sample::select(vec!["tun", "fuse", "time", "tun fuse"]).prop_map(|value| ("features", value.to_owned())),
        1 => any::<bool>().prop_map(|yes| ("nesting", if yes { "yes" } else { "no" }.to_owned())),
        3 => ("[a-c]", access).prop_map(|(name, access)| ("device", format!("/dev/{name}{access}"))),
        3 => ("[a-e]", "[a-e]", flags).prop_map(|(from, to, flags)| ("bind", format!("/host/{from} /mnt/{to}{flags}"))),
        2 => prop_oneof![
            Just("auto".to_owned()),
            Just("none".to_owned()),
            (2..1000u32).prop_map(|slot| format!("{}:65536", slot * 65_536)),
        ].prop_map(|value| ("userns", value)),
        1 => any::<bool>().prop_map(|yes| ("readonly", if yes { "yes" } else { "no" }.to_owned())),
        1 => any::<bool>().prop_map(|yes| ("ephemeral", if yes { "yes" } else { "no" }.to_owned())),
        1 => prop::sample::select(vec!["none", "host"]).prop_map(|value| ("network", value.to_owned())),
        1 => (64..4096u32).prop_map(|kib| ("memory", format!("{kib}K"))),
        1 => (1..2000u32).prop_map(|count| ("processes", count.to_string())),
        1 => (1..64u32).prop_map(|cpus| ("cpus", cpus.to_string())),
        1 => (0..900u32, 900..2000u32).prop_map(|(soft, hard)| ("rlimit", format!("nofile {soft}:{hard}"))),
        1 => prop::sample::select(vec!["0", "1000", "5:6"]).prop_map(|value| ("user", value.to_owned())),
    ]
}

const LISTS: [&str; 5] = ["caps", "features", "device", "bind", "rlimit"];

fn written() -> impl Strategy<Value = Written> {
    let lines = |most| {
        prop::collection::vec(line(), 0..most).prop_map(|mut lines: Vec<Line>| {
            // One value is one line.
            let mut seen = BTreeSet::new();
            lines.retain(|(key, _)| LISTS.contains(key) || seen.insert(*key));
            lines
        })
    };
    (any::<bool>(), lines(9), lines(5)).prop_map(|(os, mut own, profile)| {
        own.insert(0, ("kind", if os { "os" } else { "app" }.to_owned()));
        own.push(("root", "/srv/a".to_owned()));
        own.push(("command", "/bin/a".to_owned()));
        Written { own, profile }
    })
}

impl Written {
    fn text(&self) -> String {
        let lines = |lines: &[Line]| lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect::<String>();
        format!("[profile p]\n{}[guest a]\nprofile = p\n{}", lines(&self.profile), lines(&self.own))
    }

    /// The values of `key`: the guest's own stand for all of its profile's.
    fn values(&self, key: &str) -> Vec<&str> {
        let of = |lines: &'_ [Line]| {
            lines.iter().filter(|line| line.0 == key).map(|line| line.1.clone()).collect::<Vec<_>>()
        };
        let own: Vec<&str> = self.own.iter().filter(|line| line.0 == key).map(|line| line.1.as_str()).collect();
        if of(&self.own).is_empty() {
            self.profile.iter().filter(|line| line.0 == key).map(|line| line.1.as_str()).collect()
        } else {
            own
        }
    }

    fn words(&self, key: &str) -> Vec<&str> {
        self.values(key).into_iter().flat_map(str::split_whitespace).collect()
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.values(key).first() == Some(&value)
    }
}

/// What a guest may do, in words: more in any of them is looser.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Freedom {
    capabilities: BTreeSet<String>,
    given: BTreeSet<String>,
    no_filter: bool,
    opened: BTreeSet<String>,
    nesting: bool,
    users_of_the_host: bool,
    network_of_the_host: bool,
    writes_to_its_root: bool,
    /// Of each device, what is allowed.
    devices: BTreeMap<String, BTreeSet<char>>,
    /// Of each place inside, what of the host is there, and what is allowed.
    binds: BTreeMap<String, (String, BTreeSet<&'static str>)>,
    memory: u64,
    processes: u64,
    cpus_milli: u64,
    files: u64,
}

fn set(words: &str) -> BTreeSet<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

/// What the words allow at most.
fn allowed(written: &Written) -> Freedom {
    let (os, host) = (written.is("kind", "os"), written.is("userns", "none"));
    let features = written.words("features");
    let mut capabilities = if os { set(CAPABILITIES) } else { BTreeSet::new() };
    capabilities.retain(|name| !(set(NEVER).contains(name) || host && set(NEVER_AS_THE_HOST).contains(name)));
    let mut given = BTreeSet::new();
    for word in written.words("caps") {
        let (sign, name) = word.split_at(1);
        for name in if name == "all" { set(CAPABILITIES) } else { set(name) } {
            if sign == "+" {
                given.insert(name.clone());
                capabilities.insert(name);
            } else {
                given.remove(&name);
                capabilities.remove(&name);
            }
        }
    }
    let mut opened: BTreeSet<String> =
        written.words("seccomp").into_iter().filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect();
    let mut devices = BTreeMap::<String, BTreeSet<char>>::new();
    for value in written.values("device") {
        let (path, access) = value.split_once(' ').unwrap_or((value, "rw"));
        devices.insert(path.to_owned(), access.chars().collect());
    }
    for (feature, capability, calls, device) in [
        ("tun", if os { "" } else { "net_admin" }, "", "/dev/net/tun"),
        ("fuse", "", "", "/dev/fuse"),
        ("time", "sys_time", "settimeofday clock_settime clock_adjtime adjtimex", ""),
    ] {
        if features.contains(&feature) {
            given.extend(set(capability));
            capabilities.extend(set(capability));
            opened.extend(set(calls));
            for path in set(device) {
                devices.entry(path).or_insert_with(|| "rw".chars().collect());
            }
        }
    }
    let binds = written.values("bind").into_iter().map(|value| {
        let words: Vec<&str> = value.split(' ').collect();
        let flags: Vec<&str> = words.get(2).copied().unwrap_or_default().split(',').collect();
        let mut free: BTreeSet<&str> = ["write", "suid", "exec"].into();
        for (flag, freedom) in [("ro", "write"), ("nosuid", "suid"), ("noexec", "exec")] {
            if flags.contains(&flag) {
                free.remove(freedom);
            }
        }
        (words[1].to_owned(), (words[0].to_owned(), free))
    });
    let number =
        |key: &str| written.values(key).first().and_then(|value| value.trim_end_matches('K').parse::<u64>().ok());
    Freedom {
        capabilities,
        given,
        no_filter: written.is("seccomp", "none"),
        opened,
        nesting: written.is("nesting", "yes"),
        users_of_the_host: host,
        network_of_the_host: written.is("network", "host"),
        writes_to_its_root: (os || written.is("readonly", "no"))
            && !written.is("readonly", "yes")
            && !written.is("ephemeral", "yes"),
        devices,
        binds: binds.collect(),
        memory: number("memory").map_or(u64::MAX, |kib| kib << 10),
        processes: number("processes").unwrap_or(1024),
        cpus_milli: number("cpus").map_or(u64::MAX, |cpus| cpus * 1000),
        files: written.words("rlimit").last().and_then(|word| word.split(':').nth(1)?.parse().ok()).unwrap_or(u64::MAX),
    }
}

/// What the plan gives.
fn planned(plan: &Plan, guest: &Guest) -> Freedom {
    let text = |text| plan.strings.str(text).to_owned();
    let confinement = guest.confinement;
    let names = |bits: u64| -> BTreeSet<String> { capability::names(bits).map(str::to_owned).collect() };
    let opened = call::names().enumerate().filter(|(index, _)| confinement.opened >> index & 1 == 1);
    let access = [(Device::READ, 'r'), (Device::WRITE, 'w'), (Device::MAKE, 'm')];
    let devices = plan.devices.get(guest.devices).iter().map(|device| {
        (text(device.path), access.iter().filter(|(bit, _)| device.access & bit != 0).map(|(_, word)| *word).collect())
    });
    let freedoms = [(Bind::READ_ONLY, "write"), (Bind::NO_SUID, "suid"), (Bind::NO_EXEC, "exec")];
    let binds = plan.binds.get(guest.binds).iter().map(|bind| {
        let free = freedoms.iter().filter(|(bit, _)| bind.flags & bit == 0).map(|(_, word)| *word).collect();
        (text(bind.target), (text(bind.source), free))
    });
    // RLIMIT_NOFILE
    let files = plan.rlimits.get(guest.rlimits).iter().filter(|limit| limit.resource == 7).map(|limit| limit.hard);
    Freedom {
        capabilities: names(confinement.capabilities),
        given: names(confinement.given),
        no_filter: !confinement.filter,
        opened: opened.map(|(_, name)| name.to_owned()).collect(),
        nesting: confinement.nesting,
        users_of_the_host: guest.users.is_none(),
        network_of_the_host: guest.network == Network::Host,
        writes_to_its_root: guest.layer == Layer::Shared,
        devices: devices.collect(),
        binds: binds.collect(),
        memory: guest.limits.memory_bytes.unwrap_or(u64::MAX),
        processes: guest.limits.processes.into(),
        cpus_milli: guest.limits.cpus_milli.map_or(u64::MAX, u64::from),
        files: files.max().unwrap_or(u64::MAX),
    }
}

/// What of `one` is looser than `other`; nothing where that holds it.
fn looser(one: &Freedom, other: &Freedom) -> Option<String> {
    let more = |what: &str, one: &BTreeSet<String>, other: &BTreeSet<String>| {
        one.difference(other).next().map(|word| format!("{what} {word}"))
    };
    let flag = |what: &str, one: bool, other: bool| (one && !other).then(|| what.to_owned());
    let limit = |what: &str, one: u64, other: u64| (one > other).then(|| format!("{what}: {one} > {other}"));
    let device =
        one.devices.iter().find(|(path, access)| !other.devices.get(*path).is_some_and(|held| access.is_subset(held)));
    let bind = one.binds.iter().find(|(target, (source, free))| {
        !other.binds.get(*target).is_some_and(|(from, held)| from == source && free.is_subset(held))
    });
    more("capability", &one.capabilities, &other.capabilities)
        .or(more("given capability", &one.given, &other.given))
        .or(more("bounds without given capability", &one.given, &one.capabilities))
        .or(flag("no filter", one.no_filter, other.no_filter))
        .or(more("call", &one.opened, &other.opened))
        .or(flag("nesting", one.nesting, other.nesting))
        .or(flag("users of the host", one.users_of_the_host, other.users_of_the_host))
        .or(flag("network of the host", one.network_of_the_host, other.network_of_the_host))
        .or(flag("writes to its root", one.writes_to_its_root, other.writes_to_its_root))
        .or(device.map(|device| format!("device {device:?}")))
        .or(bind.map(|bind| format!("bind {bind:?}")))
        .or(limit("memory", one.memory, other.memory))
        .or(limit("processes", one.processes, other.processes))
        .or(limit("cpus", one.cpus_milli, other.cpus_milli))
        .or(limit("open files", one.files, other.files))
}

/// The plan's guest, where the config is good.
fn read(written: &Written) -> Option<Freedom> {
    let read = Read::text(written.text());
    let guest = read.good.then(|| read.plan.guest(read.plan.find(b"a")?))??;
    assert!(guest.kind != Kind::Service);
    Some(planned(&read.plan, guest))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_global_rejects: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn no_guest_is_looser_than_its_config_says(written in written()) {
        let planned = read(&written);
        prop_assume!(planned.is_some());
        let looser = looser(&planned.unwrap(), &allowed(&written));
        prop_assert!(looser.is_none(), "{}\n{}", looser.unwrap(), written.text());
    }

    #[test]
    fn a_guest_without_one_of_the_lines_that_loosen_it_is_not_looser(written in written(), which: prop::sample::Index) {
        // Where the guest says nothing its profile does, and what takes something away does not loosen.
        let loosens = |(index, (key, value)): (usize, &Line)| {
            let gives = match *key {
                "caps" => !value.contains('-'),
                "seccomp" | "features" | "device" | "bind" => true,
                "nesting" => value == "yes",
                "userns" => value == "none",
                "network" => value == "host",
                _ => false,
            };
            let is_alone = !written.profile.iter().any(|line| line.0 == *key);
            (gives && is_alone).then_some(index)
        };
        let lines: Vec<usize> = written.own.iter().enumerate().filter_map(loosens).collect();
        prop_assume!(!lines.is_empty());
        let mut without = written.clone();
        without.own.remove(lines[which.index(lines.len())]);
        let (with, without) = (read(&written), read(&without));
        prop_assume!(with.is_some() && without.is_some());
        let (with, without) = (with.unwrap(), without.unwrap());
        // Users of its own bring back what the host's were refused.
        let without = Freedom {
            capabilities: if with.users_of_the_host && !without.users_of_the_host { with.given.clone() } else { without.capabilities },
            given: if with.users_of_the_host && !without.users_of_the_host { BTreeSet::new() } else { without.given },
            ..without
        };
        let looser = looser(&without, &with);
        prop_assert!(looser.is_none(), "{}\n{}", looser.unwrap(), written.text());
    }
}

#[test]
fn the_words_of_this_test_are_those_of_the_program() {
    let names: Vec<&str> = CAPABILITIES.split_whitespace().collect();
    assert_eq!(capability::names(capability::ALL).collect::<Vec<_>>(), names);
    assert!(CALLS.split_whitespace().all(|call| call::names().any(|name| name == call)));
    assert!(set(NEVER).is_subset(&set(CAPABILITIES)) && set(NEVER_AS_THE_HOST).is_subset(&set(CAPABILITIES)));
    // What is held against the plan is not merely more than anything: a guest at its loosest is seen to be.
    let loosest = Written {
        own: [
            ("kind", "os"),
            ("root", "/srv/a"),
            ("command", "/bin/a"),
            ("caps", "+all"),
            ("seccomp", "none"),
            ("userns", "none"),
            ("network", "host"),
            ("device", "/dev/a rwm"),
        ]
        .map(|(key, value)| (key, value.to_owned()))
        .to_vec(),
        profile: Vec::new(),
    };
    let bare = Written { own: loosest.own[..3].to_vec(), profile: Vec::new() };
    let looser = looser(&read(&loosest).unwrap(), &allowed(&bare));
    assert!(looser.is_some());
    assert_eq!(read(&loosest).unwrap(), allowed(&loosest));
}
