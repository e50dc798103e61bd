//! Links, addresses and default routes (rtnetlink(7)).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{ALL, CREATE, DO, Message, NEW, REPLACE, Writer, attributes, half, number};

/// The multicast group of links that come, go and change.
pub const LINKS: u32 = 1;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;

/// Bytes of the fixed parts: `struct ifinfomsg`, `ifaddrmsg`.
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;

/// `IFLA_ADDRESS`, `IFLA_IFNAME`, `IFLA_MTU`, `IFLA_LINK`, `IFLA_MASTER`, `IFLA_LINKINFO`
const LINK_MAC: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MTU: u16 = 4;
const LINK_LOWER: u16 = 5;
const LINK_MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
/// `IFLA_INFO_KIND`, `IFLA_INFO_DATA`, and in that of a VLAN `IFLA_VLAN_ID`
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VLAN_NUMBER: u16 = 1;
/// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_FLAGS`
const ADDRESS_PEER: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_FLAGS: u16 = 8;
/// `RTA_OIF`, `RTA_GATEWAY`
const ROUTE_LINK: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;

/// `IFF_UP`, `IFF_RUNNING`
const UP: u32 = 1;
const RUNNING: u32 = 0x40;
/// `IFA_F_NODAD`: an address that was given is used at once, and not first looked for on the network for a second.
const NO_LOOK: u32 = 2;
/// `RT_TABLE_MAIN`, `RT_SCOPE_UNIVERSE`, `RTN_UNICAST`
const MAIN: u8 = 254;
const UNICAST: u8 = 1;
/// `RTPROT_STATIC`: an administrator's.
const STATIC: u8 = 4;
/// `RTNH_F_ONLINK`: the gateway is there, whatever the addresses say.
const ON_LINK: u32 = 4;

/// A link as the kernel tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// Its number.
    pub index: u32,
    /// Its name, without a NUL.
    pub name: &'a [u8],
    /// Whether it is up.
    pub is_up: bool,
    /// Whether anything is at its other end.
    pub has_carrier: bool,
    /// Bytes of its largest packet.
    pub mtu: u32,
    /// Its hardware address; empty for none.
    pub mac: &'a [u8],
    /// What it is, where it was made.
    pub made: Option<Made>,
    /// The number of the bridge that it is a port of; 0 for none.
    pub master: u32,
}

/// A link that is no device of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// A bridge.
    Bridge,
    /// The VLAN of this number, on the link of that number.
    Vlan(u16, u32),
}

impl Made {
    /// Asks for one called `name`, which must not be there yet.
    #[must_use]
    pub fn request<'b>(self, buffer: &'b mut [u8], number: u32, name: &[u8]) -> Option<&'b [u8]> {
        let mut writer = Writer::new(buffer, NEW_LINK, DO | CREATE | NEW, number);
        writer.put(&[0; LINK_BYTES]);
        writer.attribute(LINK_NAME, name);
        if let Made::Vlan(_, lower) = self {
            writer.attribute(LINK_LOWER, &lower.to_ne_bytes());
        }
        writer.nest(LINK_INFO, &mut |info| match self {
            Made::Bridge => info.attribute(INFO_KIND, b"bridge"),
            Made::Vlan(vlan, _) => {
                info.attribute(INFO_KIND, b"vlan");
                info.nest(INFO_DATA, &mut |data| data.attribute(VLAN_NUMBER, &vlan.to_ne_bytes()));
            }
        });
        writer.end()
    }

    /// From the link's own number of what it is on, and what is told of its kind.
    fn read(info: &[u8], lower: u32) -> Option<Made> {
        let find = |wanted| attributes(info, 0).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        // The kernel ends the word with a NUL.
        match find(INFO_KIND)?.split(|byte| *byte == 0).next()? {
            b"bridge" => Some(Made::Bridge),
            b"vlan" => {
                let (_, vlan) = attributes(find(INFO_DATA)?, 0).find(|(kind, _)| *kind == VLAN_NUMBER)?;
                Some(Made::Vlan(half(vlan, 0)?, lower))
            }
            _ => None,
        }
    }
}

/// Asks to remove the link of this number.
#[must_use]
pub fn remove_link(buffer: &mut [u8], number: u32, index: u32) -> Option<&[u8]> {
    let mut writer = Writer::new(buffer, DELETE_LINK, DO, number);
    writer.put(&[0; 4]);
    writer.put(&index.to_ne_bytes());
    writer.put(&[0; 8]);
    writer.end()
}

impl<'a> Link<'a> {
    /// The link that a message tells of.
    #[must_use]
    pub fn read(message: &Message<'a>) -> Option<Link<'a>> {
        if message.kind != NEW_LINK {
            return None;
        }
        let (index, flags) = (number(message.body, 4)?, number(message.body, 8)?);
        let (is_up, has_carrier) = (flags & UP != 0, flags & RUNNING != 0);
        let mut link = Link { index, name: &[], is_up, has_carrier, mtu: 0, mac: &[], made: None, master: 0 };
        let (mut lower, mut info) = (0, &[][..]);
        for (kind, value) in attributes(message.body, LINK_BYTES) {
            match kind {
                LINK_NAME => link.name = value.split(|byte| *byte == 0).next().unwrap_or_default(),
                LINK_MTU => link.mtu = number(value, 0).unwrap_or(0),
                LINK_MAC => link.mac = value,
                LINK_MASTER => link.master = number(value, 0).unwrap_or(0),
                LINK_LOWER => lower = number(value, 0).unwrap_or(0),
                LINK_INFO => info = value,
                _ => {}
            }
        }
        link.made = Made::read(info, lower);
        Some(link)
    }
}

/// Asks for all links.
#[must_use]
pub fn all_links(buffer: &mut [u8], number: u32) -> Option<&[u8]> {
    let mut writer = Writer::new(buffer, GET_LINK, ALL, number);
    writer.put(&[0; LINK_BYTES]);
    writer.end()
}

/// Asks for the link called `name`.
#[must_use]
pub fn link_named<'b>(buffer: &'b mut [u8], number: u32, name: &[u8]) -> Option<&'b [u8]> {
    let mut writer = Writer::new(buffer, GET_LINK, DO, number);
    writer.put(&[0; LINK_BYTES]);
    writer.attribute(LINK_NAME, name);
    writer.end()
}

/// What a link is to be; nothing where that stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The link's number.
    pub index: u32,
    /// Up or down.
    pub is_up: Option<bool>,
    /// Its largest packet, bytes.
    pub mtu: Option<u32>,
    /// Its hardware address.
    pub mac: Option<[u8; 6]>,
    /// The number of the bridge that it is a port of; 0 for none.
    pub master: Option<u32>,
}

impl Change {
    /// Asks for it.
    #[must_use]
    pub fn request(self, buffer: &mut [u8], number: u32) -> Option<&[u8]> {
        let mut writer = Writer::new(buffer, NEW_LINK, DO, number);
        writer.put(&[0; 4]);
        writer.put(&self.index.to_ne_bytes());
        let (flags, mask) = self.is_up.map_or((0, 0), |is_up| (if is_up { UP } else { 0 }, UP));
        writer.put(&flags.to_ne_bytes());
        writer.put(&mask.to_ne_bytes());
        if let Some(mtu) = self.mtu {
            writer.attribute(LINK_MTU, &mtu.to_ne_bytes());
        }
        if let Some(mac) = self.mac {
            writer.attribute(LINK_MAC, &mac);
        }
        if let Some(master) = self.master {
            writer.attribute(LINK_MASTER, &master.to_ne_bytes());
        }
        writer.end()
    }
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// How many of its bits are the network's.
    pub prefix: u8,
}

impl Address {
    /// The address that a message tells of.
    #[must_use]
    pub fn read(message: &Message<'_>) -> Option<Address> {
        if message.kind != NEW_ADDRESS {
            return None;
        }
        let prefix = *message.body.get(1)?;
        let find = |wanted| attributes(message.body, ADDRESS_BYTES).find(|(kind, _)| *kind == wanted);
        // Of a link between two, the one is the other end's.
        let (_, bytes) = find(ADDRESS_LOCAL).or_else(|| find(ADDRESS_PEER))?;
        Some(Address { index: number(message.body, 4)?, ip: ip(bytes)?, prefix })
    }

    /// Asks to add it, or to remove it.
    #[must_use]
    pub fn request<'b>(&self, buffer: &'b mut [u8], number: u32, is_there: bool) -> Option<&'b [u8]> {
        let (kind, flags) = if is_there { (NEW_ADDRESS, DO | CREATE | REPLACE) } else { (DELETE_ADDRESS, DO) };
        let mut writer = Writer::new(buffer, kind, flags, number);
        let (octets, len) = octets(self.ip);
        writer.put(&[family(self.ip), self.prefix, 0, 0]);
        writer.put(&self.index.to_ne_bytes());
        let bytes = octets.get(..len).unwrap_or_default();
        writer.attribute(ADDRESS_LOCAL, bytes);
        writer.attribute(ADDRESS_PEER, bytes);
        if is_there && self.ip.is_ipv6() {
            writer.attribute(ADDRESS_FLAGS, &NO_LOOK.to_ne_bytes());
        }
        writer.end()
    }
}

/// Asks for the addresses of all links.
#[must_use]
pub fn all_addresses(buffer: &mut [u8], number: u32) -> Option<&[u8]> {
    let mut writer = Writer::new(buffer, GET_ADDRESS, ALL, number);
    writer.put(&[0; ADDRESS_BYTES]);
    writer.end()
}

/// A default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The link's number.
    pub index: u32,
    /// Where to.
    pub ip: IpAddr,
    /// Whether it can be reached though it is in no network of the link's addresses.
    pub is_apart: bool,
}

impl Gateway {
    /// Asks to make it the default route, or to remove it.
    #[must_use]
    pub fn request<'b>(&self, buffer: &'b mut [u8], number: u32, is_there: bool) -> Option<&'b [u8]> {
        let (kind, flags) = if is_there { (NEW_ROUTE, DO | CREATE | REPLACE) } else { (DELETE_ROUTE, DO) };
        let mut writer = Writer::new(buffer, kind, flags, number);
        let (octets, len) = octets(self.ip);
        // Family, length of both networks, type of service; table, protocol, scope, type; flags.
        writer.put(&[family(self.ip), 0, 0, 0, MAIN, STATIC, 0, UNICAST]);
        let flags = if self.is_apart && is_there { ON_LINK } else { 0 };
        writer.put(&flags.to_ne_bytes());
        writer.attribute(ROUTE_GATEWAY, octets.get(..len).unwrap_or_default());
        writer.attribute(ROUTE_LINK, &self.index.to_ne_bytes());
        writer.end()
    }
}

/// `AF_INET` or `AF_INET6`
fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 2 } else { 10 }
}

/// The bytes of an address, and how many of them count.
fn octets(ip: IpAddr) -> ([u8; 16], usize) {
    match ip {
        IpAddr::V4(ip) => {
            let mut all = [0; 16];
            all.iter_mut().zip(ip.octets()).for_each(|(to, from)| *to = from);
            (all, 4)
        }
        IpAddr::V6(ip) => (ip.octets(), 16),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk().map(|bytes: &[u8; 4]| Ipv4Addr::from(*bytes).into()),
        16 => bytes.first_chunk().map(|bytes: &[u8; 16]| Ipv6Addr::from(*bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::messages;
    use super::*;
    use proptest::prelude::*;

    fn any_ip() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    fn first(bytes: &[u8]) -> Message<'_> {
        messages(bytes).next().unwrap()
    }

    proptest! {
        #[test]
        fn an_address_that_is_asked_for_is_read_back(index in any::<u32>(), ip in any_ip(), prefix in any::<u8>()) {
            let address = Address { index, ip, prefix };
            let mut buffer = [0; 128];
            let message = first(address.request(&mut buffer, 1, true).unwrap());
            prop_assert_eq!(Address::read(&message), Some(address));
            let mut buffer = [0; 128];
            let message = first(address.request(&mut buffer, 1, false).unwrap());
            prop_assert_eq!(message.kind, DELETE_ADDRESS);
        }

        #[test]
        fn a_link_that_is_changed_is_read_back(
            index in any::<u32>(), is_up in any::<bool>(), mtu in any::<u32>(), mac in any::<[u8; 6]>(), master in any::<u32>(),
        ) {
            let change = Change { index, is_up: Some(is_up), mtu: Some(mtu), mac: Some(mac), master: Some(master) };
            let mut buffer = [0; 128];
            let message = first(change.request(&mut buffer, 1).unwrap());
            let expected = Link { index, name: &[], is_up, has_carrier: false, mtu, mac: &mac, made: None, master };
            prop_assert_eq!(Link::read(&message), Some(expected));
        }

        #[test]
        fn a_link_that_is_made_is_read_back(name in "[a-z0-9.]{1,15}", vlan in any::<u16>(), lower in any::<u32>(), is_bridge in any::<bool>()) {
            let made = if is_bridge { Made::Bridge } else { Made::Vlan(vlan, lower) };
            let mut buffer = [0; 128];
            let link = Link::read(&first(made.request(&mut buffer, 1, name.as_bytes()).unwrap())).unwrap();
            prop_assert_eq!((link.name, link.made), (name.as_bytes(), Some(made)));
        }

        #[test]
        fn a_gateway_names_its_link_and_where_it_leads(index in any::<u32>(), ip in any_ip(), is_apart in any::<bool>()) {
            let gateway = Gateway { index, ip, is_apart };
            let mut buffer = [0; 128];
            let message = first(gateway.request(&mut buffer, 1, true).unwrap());
            let all: Vec<_> = attributes(message.body, 12).collect();
            let (octets, len) = octets(ip);
            prop_assert_eq!(all, [(ROUTE_GATEWAY, &octets[..len]), (ROUTE_LINK, &index.to_ne_bytes()[..])]);
            prop_assert_eq!(number(message.body, 8), Some(if is_apart { ON_LINK } else { 0 }));
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..100), kind in prop_oneof![Just(NEW_LINK), Just(NEW_ADDRESS)]) {
            let message = Message { kind, number: 0, body: &bytes };
            let _ = Link::read(&message);
            let _ = Address::read(&message);
        }
    }
}
