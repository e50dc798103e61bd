//! What this kernel has, found at run time, and what a plan asks of it.

use core::ffi::CStr;

use rustix::fd::OwnedFd;
use rustix::fs::Access;

use super::files::{self, Lines};
use super::mountinfo;
use crate::config::key::Key;
use crate::plan::{Guest, GuestId, Kind, Layer, Network, Plan};
use crate::sys::bpf;
use crate::sys::probe::{self, Probe};
use crate::text::{self, Made, word};

/// The oldest kernel that is supported: version and patch level.
pub const OLDEST: Release = Release(5, 10);

/// A kernel's version and patch level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u16, pub u16);

impl Release {
    /// From what uname(2) says: `6.1.0-50-cloud-amd64`.
    #[must_use]
    pub fn parse(release: &[u8]) -> Option<Release> {
        let mut numbers = release.split(|byte| !byte.is_ascii_digit());
        let mut number = || text::number(numbers.next()?);
        Some(Release(number()?, number()?))
    }

    /// The running kernel's; 0.0 where it cannot be read.
    #[must_use]
    pub fn running() -> Release {
        Release::parse(rustix::system::uname().release().to_bytes()).unwrap_or_default()
    }
}

/// How a feature is found.
#[derive(Clone, Copy)]
enum How {
    /// The kernel is at least this old.
    Since(Release),
    /// The system call is there.
    Call(Probe),
    /// The file is there.
    File(&'static CStr),
    /// Namespaces of this kind: there, and not forbidden by a limit of none.
    Namespace(&'static str),
    /// cgroup v2 is mounted.
    Cgroup,
    /// This controller is in the root that we see of cgroup v2.
    Controller(&'static [u8]),
    /// A scheduler of disks that knows shares.
    DiskShares,
    /// Programs that guard devices can be loaded, or we are in a guest that is guarded itself.
    DeviceGuard,
    /// The file system is known.
    FileSystem(&'static [u8]),
}

macro_rules! features {
    ($($variant:ident $name:literal, $how:expr, $purpose:literal;)+) => {
        /// Something a kernel may lack.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Feature { $(#[doc = $purpose] $variant,)+ }

        impl Feature {
            /// All of them, in the order they are shown.
            pub const ALL: &'static [Feature] = &[$(Feature::$variant,)+];

            const NAMES: &'static str = concat!($($name, "\0",)+);
            const HOW: &'static [How] = &[$($how,)+];
            const PURPOSES: &'static str = concat!($($purpose, "\0",)+);
        }
    };
}

features! {
    Oldest "Linux 5.10", How::Since(OLDEST), "the oldest kernel that is supported";
    Clone3 "clone3", How::Call(Probe::CLONE3), "start a process in its namespaces and cgroup";
    Pidfd "pidfd", How::Call(Probe::PIDFD), "watch processes";
    CloseRange "close_range", How::Call(Probe::CLOSE_RANGE), "leave a guest no descriptor";
    Seccomp "seccomp", How::File(c"/proc/sys/kernel/seccomp/actions_avail"), "filter a guest's system calls";
    PidNamespace "pid namespaces", How::Namespace("pid"), "processes of its own";
    NetworkNamespace "network namespaces", How::Namespace("net"), "network of its own";
    IpcNamespace "IPC namespaces", How::Namespace("ipc"), "shared memory and queues of its own";
    UtsNamespace "UTS namespaces", How::Namespace("uts"), "host name of its own";
    CgroupNamespace "cgroup namespaces", How::Namespace("cgroup"), "cgroups of its own";
    TimeNamespace "time namespaces", How::Namespace("time"), "uptime of its own";
    UserNamespace "user namespaces", How::Namespace("user"), "users of its own";
    IdMap "id-mapped mounts", How::Call(Probe::MOUNT_SETATTR), "map a root's owners to the guest's users";
    Overlay "overlay", How::FileSystem(b"overlay"), "a private layer over a root";
    Loop "loop devices", How::File(c"/dev/loop-control"), "mount an image";
    Cgroup2 "cgroup v2", How::Cgroup, "limits, and killing all of a guest";
    Memory "memory controller", How::Controller(b"memory"), "limits of memory and swap";
    Cpu "cpu controller", How::Controller(b"cpu"), "CPU cap and share";
    Cpuset "cpuset controller", How::Controller(b"cpuset"), "CPU pinning";
    Io "io controller", How::Controller(b"io"), "limits of disks";
    DiskShares "shares of disks", How::DiskShares, "share of a busy disk: iocost, or the scheduler BFQ";
    Pids "pids controller", How::Controller(b"pids"), "limit of processes";
    DeviceGuard "cgroup device programs", How::DeviceGuard, "keep a guest from every device that it was not given";
    CgroupKill "cgroup.kill", How::Since(Release(5, 14)), "end all of a guest at once";
    CompressedModules "compressed modules", How::Since(Release(5, 17)), "load .ko.xz, .ko.zst, .ko.gz";
}

impl Feature {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(Feature::NAMES, self as usize)
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(self) -> &'static str {
        word(Feature::PURPOSES, self as usize)
    }

    /// Whether `guest` of `plan` needs it on a kernel that lacks it and has `others`.
    fn lacked_by(self, plan: &Plan, guest: &Guest, others: Features) -> Option<Missing> {
        let limits = &guest.limits;
        let isolated = guest.kind != Kind::Service;
        let layered = guest.layer == Layer::Memory
            || (guest.kind == Kind::Os && guest.layer == Layer::ReadOnly && guest.image.is_empty());
        let root = if guest.image.is_empty() { Key::Root } else { Key::Image };
        let for_all = |needed: bool| needed.then_some(Missing { feature: self, key: None, instead: None });
        let by = |key: Key, needed: bool| for_all(needed).map(|missing| Missing { key: Some(key), ..missing });
        let but = |instead: &'static str| move |missing| Missing { instead: Some(instead), ..missing };
        match self {
            Feature::Oldest | Feature::Clone3 | Feature::Pidfd | Feature::CloseRange | Feature::Cgroup2 => {
                for_all(true)
            }
            Feature::CgroupKill => for_all(true).map(but("it is ended by freezing it and killing each process")),
            Feature::TimeNamespace => for_all(isolated).map(but("it reads the host's uptime")),
            Feature::Seccomp
            | Feature::PidNamespace
            | Feature::IpcNamespace
            | Feature::UtsNamespace
            | Feature::CgroupNamespace => for_all(isolated),
            Feature::NetworkNamespace => by(Key::Network, isolated && guest.network != Network::Host),
            Feature::UserNamespace => by(Key::Userns, guest.users.is_some()),
            Feature::Loop => by(Key::Image, !guest.image.is_empty() && !loads(plan, b"loop")),
            Feature::IdMap if guest.layer == Layer::Shared => by(root, guest.users.is_some()),
            Feature::IdMap => by(root, guest.users.is_some()).map(but("its root is copied to memory")),
            // A root that is copied needs no layer over it.
            Feature::Overlay => {
                let layered = layered && (guest.users.is_none() || others.has(Feature::IdMap));
                let key = if guest.layer == Layer::Memory { Key::Ephemeral } else { Key::Readonly };
                let missing = by(key, layered && !loads(plan, b"overlay"))?;
                let copied = "only a root that cannot be id-mapped works, for it is copied to memory";
                Some(if guest.users.is_some() { but(copied)(missing) } else { missing })
            }
            Feature::Memory => {
                let keys = [
                    (Key::Memory, limits.memory_bytes.is_some()),
                    (Key::MemoryHigh, limits.memory_high_bytes.is_some()),
                    (Key::MemoryLow, limits.memory_low_bytes.is_some()),
                    (Key::GuestSwap, limits.swap_bytes.is_some()),
                    (Key::OomGroup, limits.oom_group),
                    (Key::Reserve, isolated && plan.host.reserve_bytes.is_some()),
                ];
                keys.iter().find_map(|(key, asked)| by(*key, *asked))
            }
            Feature::Cpu => {
                by(Key::Cpus, limits.cpus_milli.is_some()).or(by(Key::CpuWeight, limits.cpu_weight.is_some()))
            }
            Feature::Io => by(Key::IoMax, !limits.io_max.is_empty()),
            Feature::DiskShares => by(Key::IoWeight, limits.io_weight.is_some()),
            Feature::Cpuset => by(Key::Cpuset, !limits.cpuset.is_empty()),
            // Every guest has this limit; one that nobody asked for is for hosts that can.
            Feature::Pids if guest.asked[Key::Processes as usize].place().is_some() => by(Key::Processes, true),
            Feature::Pids => for_all(true).map(but("it has no limit of processes, for it asks for none")),
            Feature::DeviceGuard if guest.needs_device_guard() => {
                for_all(guest.devices.is_empty()).or(by(Key::Device, true))
            }
            Feature::DeviceGuard => for_all(isolated).map(but("its mounts alone keep it from devices")),
            // That is the host's.
            Feature::CompressedModules => None,
        }
    }
}

/// Something that a guest needs and the kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What.
    pub feature: Feature,
    /// The key that asks for it; nothing for what every guest needs.
    pub key: Option<Key>,
    /// What is done in its place; nothing where the guest will not start.
    pub instead: Option<&'static str>,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features(u32);

const _: () = assert!(Feature::ALL.len() <= u32::BITS as usize);

impl Features {
    /// Whether the kernel has `feature`.
    #[must_use]
    pub fn has(self, feature: Feature) -> bool {
        self.0 >> feature as u32 & 1 == 1
    }

    /// How many guests and services of `plan` that are to start with the host cannot, for lack of `feature`.
    #[must_use]
    pub fn keeps_down(self, plan: &Plan, feature: Feature) -> usize {
        let lacks =
            |guest: &&Guest| feature.lacked_by(plan, guest, self).is_some_and(|missing| missing.instead.is_none());
        let is_wanted = |guest: &&Guest| guest.autostart && lacks(guest);
        if self.has(feature) { 0 } else { plan.guests.iter().filter(is_wanted).count() }
    }

    /// What guest `id` of `plan` needs and the kernel lacks.
    pub fn missing_for(self, plan: &Plan, id: GuestId) -> impl Iterator<Item = Missing> {
        let guest = plan.guests.get(usize::from(id.0));
        Feature::ALL
            .iter()
            .filter(move |feature| !self.has(**feature))
            .filter_map(move |feature| feature.lacked_by(plan, guest?, self))
    }
}

/// Looks for every feature. Changes nothing; reads a few files of /proc and /sys.
#[must_use]
pub fn probe() -> Features {
    let release = Release::running();
    let mut buffer = [0; 256];
    let controllers = controllers(&mut buffer);
    let found = |how: How| match how {
        How::Since(since) => release >= since,
        How::Call(call) => probe::has(call),
        How::File(path) => rustix::fs::access(path, Access::EXISTS).is_ok(),
        How::Namespace(kind) => has_namespaces(kind),
        How::Cgroup => controllers.is_some(),
        How::Controller(name) => words(controllers.unwrap_or_default()).any(|word| word == name),
        How::DiskShares => controllers.is_some_and(|found| words(found).any(|word| word == b"io")) && has_disk_shares(),
        How::DeviceGuard => bpf::has_device_programs() || !is_of_the_host(),
        How::FileSystem(name) => knows_file_system(name),
    };
    let bit = |feature: &Feature| u32::from(found(Feature::HOW[*feature as usize])) << *feature as u32;
    Features(Feature::ALL.iter().fold(0, |set, feature| set | bit(feature)))
}

/// The content of `cgroup.controllers` in the topmost cgroup that can be seen; nothing without cgroup v2.
fn controllers(buffer: &mut [u8]) -> Option<&[u8]> {
    let mut path = [0; 256];
    let mut len = None;
    mountinfo::each(&mut |mount| {
        if mount.kind == b"cgroup2" && len.is_none() {
            len = mountinfo::unescape(mount.target, &mut path).map(CStr::count_bytes);
        }
    })
    .ok()?;
    let len = len?;
    let file = b"/cgroup.controllers\0";
    path.get_mut(len..len + file.len())?.copy_from_slice(file);
    files::read_path(CStr::from_bytes_until_nul(&path).ok()?, buffer).ok()
}

/// iocost shows itself in the root of cgroup v2, and below it; BFQ is a module or built in.
fn has_disk_shares() -> bool {
    let paths = [
        c"/sys/fs/cgroup/io.cost.qos",
        c"/sys/fs/cgroup/io.weight",
        c"/sys/fs/cgroup/unified/io.cost.qos",
        c"/sys/module/bfq",
    ];
    paths.into_iter().any(|path| rustix::fs::access(path, Access::EXISTS).is_ok())
}

/// They can be built in and still be forbidden.
fn has_namespaces(kind: &str) -> bool {
    let mut buffer = [0; 32];
    let (own, limit) = (
        Made::new(format_args!("/proc/self/ns/{kind}")),
        Made::new(format_args!("/proc/sys/user/max_{kind}_namespaces")),
    );
    rustix::fs::access(own.as_c_str(), Access::EXISTS).is_ok()
        && !files::read_path(limit.as_c_str(), &mut buffer).is_ok_and(|limit| limit == b"0\n")
}

/// Whether this process has all users that there are: in the namespace of a guest it has fewer.
fn is_of_the_host() -> bool {
    let mut map = [0; 64];
    files::read_path(c"/proc/self/uid_map", &mut map).is_ok_and(|map| map.ends_with(b" 4294967295\n"))
}

/// Whether `/proc/filesystems` has it: built in, or its module is loaded.
fn knows_file_system(name: &[u8]) -> bool {
    let Ok(file) = files::open(c"/proc/filesystems") else { return false };
    let mut lines = Lines::<OwnedFd, { files::LINE_BYTES }>::new(file);
    while let Ok(Some(line)) = lines.read() {
        if words(line).last() == Some(name) {
            return true;
        }
    }
    false
}

/// Whether the host is to load this module.
fn loads(plan: &Plan, name: &[u8]) -> bool {
    plan.words.get(plan.host.modules).iter().any(|module| plan.strings.bytes(*module) == name)
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Diagnostics};
    use crate::sys::memory::Static;
    use proptest::prelude::*;

    #[test]
    fn releases_are_read_and_ordered() {
        assert_eq!(Release::parse(b"6.1.0-50-cloud-amd64"), Some(Release(6, 1)));
        assert_eq!(Release::parse(b"6.12.107+deb13-cloud-amd64"), Some(Release(6, 12)));
        assert_eq!(Release::parse(b"5.10"), Some(Release(5, 10)));
        assert_eq!(Release::parse(b"linux"), None);
        assert!(Release(5, 4) < OLDEST && OLDEST < Release(5, 14) && Release(6, 1) < Release(6, 12));
        assert!(Release::running() >= OLDEST);
    }

    #[test]
    fn this_machine_has_what_every_supported_kernel_has() {
        let found = probe();
        for feature in [Feature::Oldest, Feature::Clone3, Feature::Pidfd, Feature::CloseRange, Feature::PidNamespace] {
            assert!(found.has(feature), "{}", feature.name());
        }
    }

    #[test]
    fn namespaces_of_a_kind_are_known_by_its_name() {
        assert!(has_namespaces("pid") && !has_namespaces("none"));
    }

    #[test]
    fn a_file_system_is_known_by_its_whole_name() {
        assert!(knows_file_system(b"proc") && knows_file_system(b"tmpfs"));
        assert!(!knows_file_system(b"nodev") && !knows_file_system(b"pro"));
    }

    #[test]
    fn what_a_guest_lacks_is_told_with_its_key_and_what_replaces_it() {
        static CONFIG: Static<Config> = Static::new(Config::new());
        static PLAN: Static<Plan> = Static::new(Plan::new());
        static DIAGNOSTICS: Static<Diagnostics> = Static::new(Diagnostics::new());
        let (config, plan) = (CONFIG.take().unwrap(), PLAN.take().unwrap());
        let diagnostics = DIAGNOSTICS.take().unwrap();
        let path = std::env::temp_dir().join(format!("inn-features-{}", std::process::id()));
        std::fs::write(
            &path,
            "[guest a]\nkind=app\nroot=/a\nreadonly=yes\ncommand=/x\ncpus=1\n[guest b]\nkind=os\nroot=/b\n\
             [guest c]\nkind=os\nroot=/c\nautostart=no\n",
        )
        .unwrap();
        config.read(path.to_str().unwrap().as_bytes(), &mut crate::host::disk::Disk, diagnostics);
        std::fs::remove_file(&path).unwrap();
        assert!(plan.build(config, diagnostics));

        let lacking = |features: &[Feature], guest: u16| -> Vec<(Feature, Option<&str>, bool)> {
            let found = Features(features.iter().fold(u32::MAX, |set, feature| set & !(1 << *feature as u32)));
            let missing = found.missing_for(plan, GuestId(guest));
            missing.map(|missing| (missing.feature, missing.key.map(Key::name), missing.instead.is_some())).collect()
        };
        let old = [Feature::IdMap, Feature::Cpu, Feature::CgroupKill, Feature::CompressedModules];
        // A read-only root is copied, one that is written to cannot be.
        assert_eq!(
            lacking(&old, 0),
            [
                (Feature::IdMap, Some("root"), true),
                (Feature::Cpu, Some("cpus"), false),
                (Feature::CgroupKill, None, true)
            ]
        );
        assert_eq!(lacking(&old, 1), [(Feature::IdMap, Some("root"), false), (Feature::CgroupKill, None, true)]);
        // A distribution may take `nodev` from a mount, an app may not.
        let guard = [Feature::DeviceGuard];
        assert_eq!(lacking(&guard, 0), [(Feature::DeviceGuard, None, true)]);
        assert_eq!(lacking(&guard, 1), [(Feature::DeviceGuard, None, false)]);
        assert_eq!(lacking(&[], 0), []);
        // Of these only what nothing stands in for keeps a guest down, and one that would not start anyhow is not missed.
        let without = |feature: Feature| Features(!(1 << feature as u32)).keeps_down(plan, feature);
        assert_eq!([Feature::IdMap, Feature::Cpu, Feature::CgroupKill].map(without), [1, 1, 0]);
        assert_eq!(Features(u32::MAX).keeps_down(plan, Feature::Cpu), 0);
        assert_eq!(lacking(&old, 3), []);
    }

    proptest! {
        #[test]
        fn any_release_is_read_or_refused(release in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(Release::parse(&release).is_none() || release.first().is_some_and(u8::is_ascii_digit));
        }
    }
}
