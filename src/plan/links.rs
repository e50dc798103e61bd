//! `[link]`: the host's network links, their addresses and default routes.

use core::fmt;
use core::net::IpAddr;

use super::build::Builder;
use super::value::Wrong;
use super::{At, Plan};
use crate::config::Section;
use crate::config::diagnostic::{Code, Detail, Unit};
use crate::config::key::{Key, section};
use crate::limits;
use crate::text::Text;

/// Bytes of a link's name (IFNAMSIZ, without the NUL).
const NAME_BYTES: usize = 15;
/// Of a packet: the least that IPv4 takes, and more than any device does.
const MTU: (u64, u64) = (68, 65_536);

/// Numbers of VLANs (IEEE 802.1Q): 0 is none, and 4095 is not to be used.
const VLANS: (u64, u64) = (1, 4094);
/// Sections of links.
const LINKS: u8 = section::LINK | section::BRIDGE;

/// One thing that the config says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The link's name.
    pub link: Text,
    /// What.
    pub what: What,
    /// Where the config says so.
    pub at: At,
}

/// What a link is to be or have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Up. Each link has this once, before all else.
    Up,
    /// A bridge, which is made where it is not there.
    Bridge,
    /// The VLAN of this number on the link that its name begins with (see [`lower`]), made where it is not there.
    Vlan(u16),
    /// A port of a bridge.
    Member(Name),
    /// An address, and how many of its bits are the network's.
    Address(IpAddr, u8),
    /// The default route.
    Gateway(IpAddr),
    /// Its largest packet, bytes.
    Mtu(u32),
    /// Its hardware address.
    Mac([u8; 6]),
}

impl What {
    /// The key that says so; nothing for what the section itself says.
    #[must_use]
    pub fn key(self) -> Option<Key> {
        match self {
            What::Up | What::Bridge => None,
            What::Vlan(_) => Some(Key::Vlan),
            What::Member(_) => Some(Key::MemberOf),
            What::Address(..) => Some(Key::Address),
            What::Gateway(_) => Some(Key::LinkGateway),
            What::Mtu(_) => Some(Key::Mtu),
            What::Mac(_) => Some(Key::LinkMac),
        }
    }
}

/// A link's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name([u8; NAME_BYTES]);

impl Name {
    fn new(name: &[u8]) -> Option<Name> {
        let mut bytes = [0; NAME_BYTES];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        Some(Name(bytes))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let name = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        core::str::from_utf8(name).unwrap_or_default()
    }
}

/// The link that a VLAN's `name` says it is on: "eth0" of "eth0.42".
#[must_use]
pub fn lower(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    name.get(..dot).filter(|lower| !lower.is_empty())
}

/// As the config has it.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Up => f.write_str("up"),
            What::Bridge => f.write_str("bridge"),
            What::Vlan(number) => write!(f, "{number}"),
            What::Member(bridge) => f.write_str(bridge.as_str()),
            What::Address(ip, prefix) => write!(f, "{ip}/{prefix}"),
            What::Gateway(ip) => write!(f, "{ip}"),
            What::Mtu(bytes) => write!(f, "{bytes}"),
            What::Mac(bytes) => write!(f, "{}", Mac(bytes)),
        }
    }
}

/// A hardware address, as "52:54:00:12:34:56".
#[derive(Clone, Copy, Debug)]
pub struct Mac<'a>(pub &'a [u8]);

impl fmt::Display for Mac<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut colon = "";
        for byte in self.0 {
            write!(f, "{colon}{byte:02x}")?;
            colon = ":";
        }
        Ok(())
    }
}

impl Plan {
    /// Whether its links are to be as `other` has them.
    #[must_use]
    pub fn has_links_of(&self, other: &Plan) -> bool {
        let mut pairs = self.links.iter().zip(&other.links);
        self.links.len() == other.links.len()
            && pairs
                .all(|(one, its)| one.what == its.what && self.strings.bytes(one.link) == other.strings.bytes(its.link))
    }

    /// What the config says of the link called `name`.
    pub fn link<'p>(&'p self, name: &'p [u8]) -> impl Iterator<Item = &'p Setting> {
        self.links.iter().filter(move |setting| self.strings.bytes(setting.link) == name)
    }
}

impl Builder<'_> {
    /// The links of the config.
    pub fn links(&mut self) {
        let config = self.config;
        for section in config.sections().iter().filter(|section| section.kind & LINKS != 0) {
            let name = section.name.of(config.text());
            if name.len() > NAME_BYTES {
                self.diagnostics.error(Code::NotLink, section.name);
                continue;
            }
            let link = self.keep_bytes(name, section.name);
            let place = config.place(section.name);
            let file = config.files().iter().position(|file| file.name == place.file);
            let at = file.map_or(At::NOWHERE, |file| At::new(file as u8, place.line));
            self.push_link(Setting { link, what: What::Up, at }, section);
            if section.kind == section::BRIDGE {
                self.push_link(Setting { link, what: What::Bridge, at }, section);
            }
            self.link(section, link);
        }
    }

    fn link(&mut self, section: &Section, link: Text) {
        let config = self.config;
        for entry in config.entries(section) {
            let Some(key) = entry.key.filter(|key| key.is_built()) else { continue };
            if !self.take(key, entry.value, config.form(section)) {
                continue;
            }
            let at = At::new(entry.file, entry.line);
            let asked = &mut self.plan.host.asked[key as usize];
            if *asked == At::NOWHERE {
                *asked = at;
            }
            if key == Key::Vlan && lower(section.name.of(config.text())).is_none() {
                self.diagnostics.error(Code::VlanName, section.name);
                continue;
            }
            if key == Key::MemberOf && self.named(0, section::BRIDGE, Code::UnknownBridge).is_none() {
                continue;
            }
            let words = if key.is_list() { self.value.len() } else { 1 };
            if words == 1 && !self.is_one_word() {
                continue;
            }
            for index in 0..words {
                let meaning = self.meaning(key, index);
                let Some(what) = self.checked(index, meaning) else { continue };
                if self.is_given(what) {
                    let code = if key == Key::LinkGateway { Code::GatewayTwice } else { Code::WordTwice };
                    self.wrong(code.into(), self.value.at(index));
                } else {
                    self.push_link(Setting { link, what, at }, section);
                }
            }
        }
    }

    /// Whether some link has what only one can have.
    fn is_given(&self, what: What) -> bool {
        self.plan.links.iter().any(|other| match (what, other.what) {
            (What::Address(ip, _), What::Address(other, _)) => ip == other,
            (What::Gateway(ip), What::Gateway(other)) => ip.is_ipv4() == other.is_ipv4(),
            _ => false,
        })
    }

    fn meaning(&self, key: Key, index: usize) -> Result<What, Wrong> {
        let word = self.value.word(index);
        match key {
            Key::Address => address(word).ok_or(Code::NotAddress.into()),
            Key::LinkGateway => {
                ip(word).filter(|ip| !ip.is_loopback()).map(What::Gateway).ok_or(Code::NotGateway.into())
            }
            Key::Vlan => super::value::amount(word, Unit::Count, VLANS).map(|number| What::Vlan(number as u16)),
            Key::MemberOf => Name::new(word).map(What::Member).ok_or(Code::NotLink.into()),
            Key::Mtu => super::value::amount(word, Unit::Count, MTU).map(|bytes| What::Mtu(bytes as u32)),
            _ => mac(word).map(What::Mac).ok_or(Code::NotMac.into()),
        }
    }

    fn push_link(&mut self, setting: Setting, section: &Section) {
        if self.plan.links.push(setting).is_err() {
            let bound = Detail::Bound(limits::LINK_SETTINGS as u64, "settings of links (limits::LINK_SETTINGS)");
            self.diagnostics.detail(Code::TooMany, section.name, bound);
        }
    }
}

/// "192.0.2.1/24"
fn address(word: &[u8]) -> Option<What> {
    let slash = word.iter().position(|byte| *byte == b'/')?;
    let ip = ip(word.get(..slash)?)?;
    let prefix = crate::text::number::<u8>(word.get(slash + 1..)?)?;
    (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some(What::Address(ip, prefix))
}

/// An address that a device can have.
fn ip(word: &[u8]) -> Option<IpAddr> {
    let ip: IpAddr = core::str::from_utf8(word).ok()?.parse().ok()?;
    (!ip.is_multicast() && !ip.is_unspecified()).then_some(ip)
}

/// "52:54:00:12:34:56", of one device, not of several.
fn mac(word: &[u8]) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = word.split(|byte| *byte == b':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2 && part.iter().all(u8::is_ascii_hexdigit))?;
        *byte = u8::from_str_radix(core::str::from_utf8(part).ok()?, 16).ok()?;
    }
    let is_group = bytes.first().is_some_and(|first| first & 1 == 1);
    (parts.next().is_none() && !is_group && bytes != [0; 6]).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_is_read_is_shown_as_it_was() {
        for text in ["192.0.2.1/24", "10.0.0.1/32", "2001:db8::1/64", "fe80::1/10"] {
            assert_eq!(address(text.as_bytes()).unwrap().to_string(), text);
        }
        assert_eq!(What::Mac(mac(b"52:54:00:aB:34:06").unwrap()).to_string(), "52:54:00:ab:34:06");
    }

    #[test]
    fn what_no_device_can_have_is_refused() {
        for text in [
            "192.0.2.1",
            "192.0.2.1/33",
            "192.0.2/24",
            "224.0.0.1/24",
            "0.0.0.0/0",
            "::/0",
            "ff02::1/64",
            "::1/129",
            "/24",
            "1.2.3.4/",
            "1.2.3.4/+1",
            "1.2.3.4/24/1",
        ] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
        for text in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "53:54:00:12:34:56",
            "00:00:00:00:00:00",
            "5:54:00:12:34:567",
            "52-54-00-12-34-56",
            "+2:54:00:12:34:56",
        ] {
            assert_eq!(mac(text.as_bytes()), None, "{text}");
        }
    }
}
