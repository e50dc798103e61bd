//! What a guest may do: `caps`, `seccomp`, `features`, `nesting`, `device`.

use super::build::Builder;
use super::call::{self, Calls};
use super::value::{self, Wrong};
use super::{Confinement, Device, Guest, Kind, capability};
use crate::config::Section;
use crate::config::diagnostic::{Code, Detail, Near};
use crate::config::key::Key;
use crate::config::lexer::Span;
use crate::config::nearest;
use crate::limits;
use crate::text::{List, words};

/// What the keys of a guest change about its kind's bounds.
#[derive(Clone, Copy, Debug)]
pub struct Changes {
    pub caps: Caps,
    pub seccomp: Seccomp,
    pub features: Features,
    pub nesting: bool,
}

impl Changes {
    /// Nothing said.
    pub const NONE: Changes = Changes {
        caps: Caps { given: 0, taken: 0 },
        seccomp: Seccomp { filter: true, opened: 0 },
        features: 0,
        nesting: false,
    };
}

/// Capabilities given and taken.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    given: u64,
    taken: u64,
}

/// Whether calls are filtered, and those that are let through all the same.
#[derive(Clone, Copy, Debug)]
pub struct Seccomp {
    filter: bool,
    opened: Calls,
}

/// A set of the words of [`FEATURES`].
pub type Features = u8;

/// What a device or the clock needs.
pub const FEATURES: &str = "tun\0fuse\0time\0nfs";
const TUN: Features = 1;
const FUSE: Features = 2;
const TIME: Features = 4;
const NFS: Features = 8;

/// What every guest has in its `/dev` in any case.
const OWN_DEVICES: &str =
    "null\0zero\0full\0random\0urandom\0tty\0ptmx\0pts\0shm\0mqueue\0console\0fd\0stdin\0stdout\0stderr";

impl Builder<'_> {
    /// `+cap -cap`, in their order; `all` is every capability.
    pub fn caps(&mut self, section: &Section) -> Caps {
        let mut caps = Changes::NONE.caps;
        self.each_value(section, Key::Caps, &mut |builder| {
            for index in 0..builder.value.len() {
                let meaning = capability_word(builder.value.word(index));
                match builder.checked(index, meaning) {
                    Some((true, set)) => (caps.given, caps.taken) = (caps.given | set, caps.taken & !set),
                    Some((false, set)) => (caps.given, caps.taken) = (caps.given & !set, caps.taken | set),
                    None => {}
                }
            }
        });
        caps
    }

    /// `default`, `none`, or `+call` and more of these.
    pub fn seccomp(&mut self) -> Seccomp {
        let mut seccomp = Changes::NONE.seccomp;
        match self.value.word(0) {
            b"none" => seccomp.filter = !self.is_one_word(),
            b"default" => {
                self.is_one_word();
            }
            _ => {
                for index in 0..self.value.len() {
                    let meaning = call_word(self.value.word(index));
                    seccomp.opened |= self.checked(index, meaning).unwrap_or_default();
                }
            }
        }
        seccomp
    }

    /// Words of [`FEATURES`].
    pub fn features(&mut self, section: &Section) -> Features {
        let mut features = 0;
        self.each_value(section, Key::Features, &mut |builder| {
            for index in 0..builder.value.len() {
                let choice = value::choice(builder.value.word(index), FEATURES);
                let Some(feature) = builder.checked(index, choice).map(|choice| 1 << choice) else { continue };
                if feature == NFS {
                    builder.wrong(Code::NfsFeature.into(), builder.value.at(index));
                }
                features |= feature;
            }
        });
        features
    }

    /// `path [rwm]`
    pub fn devices(&mut self, section: &Section) -> List<Device> {
        let mark = self.plan.devices.mark();
        self.each_value(section, Key::Device, &mut |builder| {
            let device = builder.device();
            if let Some(device) = device.filter(|_| builder.has_words(2)) {
                builder.push_device(device, mark);
            }
        });
        self.plan.devices.since(mark)
    }

    fn device(&mut self) -> Option<Device> {
        let path = device_path(self.value.word(0));
        self.checked(0, path)?;
        let name = self.value.word(0).get(b"/dev/".len()..).unwrap_or_default();
        let first = name.split(|byte| *byte == b'/').next().unwrap_or_default();
        if words(OWN_DEVICES).any(|own| own.as_bytes() == first) {
            self.wrong(Code::OwnDevice.into(), self.value.at(0));
            return None;
        }
        let mut access = 0;
        for byte in self.value.word(1) {
            let bit = match byte {
                b'r' => Device::READ,
                b'w' => Device::WRITE,
                b'm' => Device::MAKE,
                _ => 0,
            };
            if bit == 0 || access & bit != 0 {
                self.wrong(Code::NotAccess.into(), self.value.at(1));
                return None;
            }
            access |= bit;
        }
        if access == 0 {
            access = Device::READ | Device::WRITE;
        }
        Some(Device { path: self.keep(0), access })
    }

    /// Keeps `device` as one more of those since `mark`.
    fn push_device(&mut self, device: Device, mark: usize) {
        let strings = &self.plan.strings;
        let since = self.plan.devices.get(self.plan.devices.since(mark));
        if since.iter().any(|other| strings.bytes(other.path) == strings.bytes(device.path)) {
            self.wrong(Code::WordTwice.into(), self.value.at(0));
        } else if since.len() == limits::DEVICES {
            self.too_many(0, limits::DEVICES, "devices (limits::DEVICES)");
        } else if self.plan.devices.push(device).is_err() {
            self.too_many(0, 2 * limits::GUESTS, "devices in all (twice limits::GUESTS)");
        }
    }

    /// What `guest`, whose kind and users are known, may do.
    pub fn confinement(&mut self, section: &Section, guest: &mut Guest, changes: Changes) {
        let Changes { caps, seccomp, features, nesting } = changes;
        let mapped = guest.users.is_some();
        let base = capability::of(guest.kind, mapped);
        if guest.kind == Kind::Service {
            guest.confinement = Confinement { capabilities: base, given: 0, filter: false, opened: 0, nesting: false };
            return;
        }
        let mut given = caps.given;
        let mut opened = seccomp.opened;
        if nesting && (guest.kind != Kind::Os || !mapped) {
            self.needs(section, Key::Nesting, "kind = os and users of its own");
        }
        if features & TIME != 0 {
            if mapped {
                self.needs(section, Key::Features, "userns = none: the clock is the host's");
            }
            given |= capability::SYS_TIME;
            opened |= call::CLOCK;
        }
        if features & FUSE != 0 && guest.kind != Kind::Os {
            self.needs(section, Key::Features, "kind = os: an app does not mount");
        }
        if features & TUN != 0 && guest.kind == Kind::App {
            given |= capability::NET_ADMIN;
        }
        // What is read-only or masked for an app is so by mounts that nobody locks.
        if guest.kind == Kind::App && given & capability::SYS_ADMIN != 0 {
            self.needs(section, Key::Caps, "kind = os: sys_admin is the power to mount, and an app does not mount");
        }
        guest.features = features;
        self.feature_devices(section, guest, features);
        guest.confinement =
            Confinement { capabilities: base & !caps.taken | given, given, filter: seccomp.filter, opened, nesting };
    }

    /// Adds the devices that features need to those of the guest.
    fn feature_devices(&mut self, section: &Section, guest: &mut Guest, features: Features) {
        if features & (TUN | FUSE) == 0 {
            return;
        }
        let at = self.asked_at(section, Key::Features);
        let mark = self.plan.devices.mark();
        for index in 0..guest.devices.len() {
            let Some(device) = self.plan.devices.get(guest.devices).get(index).copied() else { break };
            self.push_feature_device(device, mark, at);
        }
        for (feature, path) in [(TUN, "/dev/net/tun"), (FUSE, "/dev/fuse")] {
            if features & feature != 0 {
                let path = self.keep_bytes(path.as_bytes(), at);
                self.push_feature_device(Device { path, access: Device::READ | Device::WRITE }, mark, at);
            }
        }
        guest.devices = self.plan.devices.since(mark);
    }

    fn push_feature_device(&mut self, device: Device, mark: usize, at: Span) {
        let strings = &self.plan.strings;
        let since = self.plan.devices.get(self.plan.devices.since(mark));
        let same = |other: &Device| strings.bytes(other.path) == strings.bytes(device.path);
        // One that is given by name already stays as it was said.
        if !since.iter().any(same) && (since.len() == limits::DEVICES || self.plan.devices.push(device).is_err()) {
            let bound = Detail::Bound(limits::DEVICES as u64, "devices (limits::DEVICES)");
            self.diagnostics.detail(Code::TooMany, at, bound);
        }
    }

    /// Reports that what `key` says in `section` needs something else.
    fn needs(&mut self, section: &Section, key: Key, what: &'static str) {
        let at = self.asked_at(section, key);
        self.diagnostics.detail(Code::Needs, at, Detail::Words(what));
    }
}

/// Whether a capability is given, and which.
fn capability_word(text: &[u8]) -> Result<(bool, u64), Wrong> {
    let (given, name) = match text {
        [b'+', name @ ..] => (true, name),
        [b'-', name @ ..] => (false, name),
        _ => return Err(Code::NotCap.into()),
    };
    if name == b"all" {
        return Ok((given, capability::ALL));
    }
    // As capabilities(7) and most tools write it, too.
    let name = match name.split_at_checked(4) {
        Some((prefix, rest)) if is_in_any_case(b"cap_", prefix) => rest,
        _ => name,
    };
    let found = words(capability::NAMES).position(|known| is_in_any_case(known.as_bytes(), name));
    found.map(|number| (given, 1 << number)).ok_or_else(|| {
        let near = nearest(name, words(capability::NAMES).map(|word| (word, word.as_bytes())));
        Wrong { near: near.map_or(Near::Nothing, Near::Word), ..Code::NotCap.into() }
    })
}

fn is_in_any_case(known: &[u8], word: &[u8]) -> bool {
    known.iter().copied().eq(word.iter().map(u8::to_ascii_lowercase))
}

/// The call that `+call` opens.
fn call_word(text: &[u8]) -> Result<Calls, Wrong> {
    let [b'+', name @ ..] = text else { return Err(Code::NotCall.into()) };
    call::names().position(|known| known.as_bytes() == name).map(|index| 1 << index).ok_or_else(|| {
        let near = nearest(name, call::names().map(|word| (word, word.as_bytes())));
        Wrong { near: near.map_or(Near::Nothing, Near::Word), ..Code::NotCall.into() }
    })
}

/// A path below `/dev`.
pub fn device_path(path: &[u8]) -> Result<(), Wrong> {
    value::path(path)?;
    let is_below = path.strip_prefix(b"/dev/").is_some_and(|name| !name.is_empty());
    if is_below { super::files::tidy(path) } else { Err(Code::NotDevice.into()) }
}
