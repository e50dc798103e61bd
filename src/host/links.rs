//! The host's network links, as `[link]` and `[bridge]` say: bridges and VLANs are made, and all are up, with their addresses and default
//! routes.
//!
//! What is there already stays, so that this can be done again whenever a link comes or changes. What it has given to links is
//! kept in `/run/inn/links`: of that, what the config says no more is taken back, and nothing that others gave them. Waits for the
//! kernel, which may hold its network's lock for long; so PID 1 has a child do it.

use core::ffi::CStr;
use core::fmt::{self, Write};
use core::net::IpAddr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Access, CWD};

use super::files;
use crate::fault::ErrnoWords;
use crate::limits;
use crate::netlink::message::{Message, messages};
use crate::netlink::route::{self, Address, Change, Gateway, Link, Made as NewLink};
use crate::plan::links::{Setting, What, lower};
use crate::plan::{At, Plan};
use crate::sys::Errno;
use crate::sys::netlink::{self, About};
use crate::text::Made;

/// What was given to links: a line each, "eth0 192.0.2.1/24", "eth0 via 192.0.2.254", "eth0 in br0"; and links that were made: "br0 made",
/// "eth0.42 made 42".
const KEPT: &CStr = c"/run/inn/links";
const KEPT_NEW: &CStr = c"/run/inn/links.new";
/// Whoever makes links, or takes them back, has this meanwhile.
const LOCK: &CStr = c"/run/inn/links.lock";
/// Bytes of that: the longest line is of an IPv6 address.
const KEPT_BYTES: usize = limits::LINK_SETTINGS * 64;

/// Settings are marked by a bit each.
const _: () = assert!(limits::LINK_SETTINGS <= u128::BITS as usize);

/// Bytes of a request.
const REQUEST_BYTES: usize = 256;
/// Bytes of what the kernel answers at once.
const ANSWER_BYTES: usize = 16 << 10;

/// A way to ask the kernel for its links.
#[derive(Debug)]
pub struct Network {
    socket: OwnedFd,
    number: u32,
}

impl Network {
    /// Of this process's network namespace.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> Result<Network, Errno> {
        Ok(Network { socket: netlink::open(About::Network, 0)?, number: 0 })
    }

    /// Calls `each` for every link.
    ///
    /// # Errors
    /// As [`Network::ask`].
    pub fn links(&mut self, each: &mut dyn FnMut(&Link<'_>)) -> Result<(), Errno> {
        self.ask(&mut |buffer, number| route::all_links(buffer, number), &mut |message| {
            Link::read(message).iter().for_each(&mut *each);
        })
    }

    /// Calls `each` for every address of every link.
    ///
    /// # Errors
    /// As [`Network::ask`].
    pub fn addresses(&mut self, each: &mut dyn FnMut(&Address)) -> Result<(), Errno> {
        self.ask(&mut |buffer, number| route::all_addresses(buffer, number), &mut |message| {
            Address::read(message).iter().for_each(&mut *each);
        })
    }

    /// Sends a request, and calls `each` for what is told in answer.
    ///
    /// # Errors
    /// What the kernel answers; EMSGSIZE for a request that does not fit; as sendto(2) and recvfrom(2).
    fn ask(&mut self, request: &mut Request<'_>, each: &mut dyn FnMut(&Message<'_>)) -> Result<(), Errno> {
        self.number = self.number.wrapping_add(1);
        let mut buffer = [0; REQUEST_BYTES];
        netlink::send(self.socket.as_fd(), request(&mut buffer, self.number).ok_or(Errno::MSGSIZE)?)?;
        let mut buffer = [0; ANSWER_BYTES];
        loop {
            let bytes = match netlink::receive(self.socket.as_fd(), &mut buffer) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            // An earlier answer may be left.
            for message in messages(bytes).filter(|message| message.number == self.number) {
                match message.end() {
                    Some(0) => return Ok(()),
                    Some(code) => return Err(Errno::from_raw_os_error(code)),
                    None => each(&message),
                }
            }
        }
    }

    fn change(&mut self, change: Change) -> Result<(), Errno> {
        self.ask(&mut |buffer, number| change.request(buffer, number), &mut |_| {})
    }

    fn address(&mut self, address: Address, is_there: bool) -> Result<(), Errno> {
        self.ask(&mut |buffer, number| address.request(buffer, number, is_there), &mut |_| {})
    }

    fn gateway(&mut self, gateway: Gateway, is_there: bool) -> Result<(), Errno> {
        self.ask(&mut |buffer, number| gateway.request(buffer, number, is_there), &mut |_| {})
    }

    fn make(&mut self, link: NewLink, name: &[u8]) -> Result<(), Errno> {
        self.ask(&mut |buffer, number| link.request(buffer, number, name), &mut |_| {})
    }

    fn remove(&mut self, index: u32) -> Result<(), Errno> {
        self.ask(&mut |buffer, number| route::remove_link(buffer, number, index), &mut |_| {})
    }

    /// How the link called `name` is.
    fn find(&mut self, name: &[u8]) -> Result<State, Errno> {
        let mut found = None;
        self.ask(&mut |buffer, number| route::link_named(buffer, number, name), &mut |message| {
            found = found.or(Link::read(message).map(|link| State {
                index: link.index,
                is_up: link.is_up,
                mtu: link.mtu,
                mac: link.mac.first_chunk().copied(),
                made: link.made,
                master: link.master,
            }));
        })?;
        found.ok_or(Errno::NODEV)
    }
}

/// Makes a message of this number in the buffer; nothing where it does not fit.
type Request<'r> = dyn FnMut(&mut [u8], u32) -> Option<&[u8]> + 'r;

/// A link that is there.
#[derive(Clone, Copy, Debug)]
struct State {
    index: u32,
    is_up: bool,
    mtu: u32,
    mac: Option<[u8; 6]>,
    made: Option<NewLink>,
    master: u32,
}

/// Gives the links of `plan` that are there what it says, and takes back what was given before and is not said any more. What fails is
/// written to `report`, a line each; so is which links are not there, where `tell_missing`.
pub fn apply(plan: &Plan, tell_missing: bool, report: &mut dyn Write) {
    if plan.links.is_empty() && rustix::fs::access(KEPT, Access::EXISTS).is_err() {
        return;
    }
    // One at a time: what one makes is not to come between what another reads and keeps. Whoever has the newest plan comes last.
    let _lock = match files::lock(LOCK) {
        Ok(lock) => lock,
        Err(errno) => {
            let _ = writeln!(report, "links: /run/inn/links.lock: {}", words(errno));
            return;
        }
    };
    let mut kept = [0; KEPT_BYTES];
    let kept = files::read_path(KEPT, &mut kept).unwrap_or_default();
    let mut network = match Network::open() {
        Ok(network) => network,
        Err(errno) => {
            let _ = writeln!(report, "links: socket: {}", words(errno));
            return;
        }
    };
    for line in kept.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if !plan.links.iter().any(|setting| Line::of(plan, setting).as_bytes() == line) {
            // It may have gone with its link, or by somebody's hand.
            let _ = take_back(&mut network, line);
        }
    }
    let made = make_links(&mut network, plan, kept, report);
    for setting in plan.links.iter().filter(|setting| setting.what == What::Up) {
        link(&mut network, plan, setting, tell_missing, report);
    }
    let mut text = heapless::String::<KEPT_BYTES>::new();
    for (index, setting) in plan.links.iter().enumerate() {
        let line = Line::of(plan, setting);
        let is_theirs = matches!(setting.what, What::Bridge | What::Vlan(_)) && made >> index & 1 == 0;
        if !line.is_empty() && !is_theirs {
            let _ = writeln!(text, "{line}");
        }
    }
    if let Err(errno) = files::keep(KEPT, KEPT_NEW, text.as_bytes()) {
        let _ = writeln!(report, "links: /run/inn/links: {}", words(errno));
    }
}

/// The line of a setting that can be taken back; empty for others.
struct Line;

impl Line {
    fn of(plan: &Plan, setting: &Setting) -> heapless::String<64> {
        let name = plan.strings.str(setting.link);
        let mut line = heapless::String::new();
        // A name has 15 bytes, an address with its prefix 43.
        let _ = match setting.what {
            What::Address(..) => write!(line, "{name} {}", setting.what),
            What::Gateway(ip) => write!(line, "{name} via {ip}"),
            What::Member(bridge) => write!(line, "{name} in {}", bridge.as_str()),
            What::Bridge => write!(line, "{name} made"),
            What::Vlan(number) => write!(line, "{name} made {number}"),
            _ => Ok(()),
        };
        line
    }
}

/// Takes back what `line` says that was given.
fn take_back(network: &mut Network, line: &[u8]) -> Option<()> {
    let mut words = core::str::from_utf8(line).ok()?.split(' ');
    let name = words.next()?;
    let State { index, made, master, .. } = network.find(name.as_bytes()).ok()?;
    match words.next()? {
        // What has its name now may be something else.
        "made" => network.remove(made.map(|_| index)?).ok(),
        "in" => {
            let bridge = network.find(words.next()?.as_bytes()).ok()?;
            // Somebody may have put it elsewhere.
            (bridge.index == master).then_some(())?;
            network.change(Change { index, master: Some(0), ..Change::default() }).ok()
        }
        "via" => {
            let ip: IpAddr = words.next()?.parse().ok()?;
            network.gateway(Gateway { index, ip, is_apart: false }, false).ok()
        }
        word => {
            let (ip, prefix) = word.split_once('/')?;
            // Otherwise others of the same network, which came later, would go with it.
            let setting = Made::new(format_args!("/proc/sys/net/ipv4/conf/{name}/promote_secondaries"));
            let _ = files::write_setting(CWD, setting.as_c_str(), b"1");
            network.address(Address { index, ip: ip.parse().ok()?, prefix: prefix.parse().ok()? }, false).ok()
        }
    }
}

/// Makes the bridges, and then the VLANs, that are not there. Which settings have links of our making, a bit each: those of before too.
fn make_links(network: &mut Network, plan: &Plan, kept: &[u8], report: &mut dyn Write) -> u128 {
    let mut made = 0;
    let bridges = plan.links.iter().enumerate().filter(|(_, setting)| setting.what == What::Bridge);
    let vlans = plan.links.iter().enumerate().filter(|(_, setting)| matches!(setting.what, What::Vlan(_)));
    for (index, setting) in bridges.chain(vlans) {
        let is_ours = match make(network, plan, setting, report) {
            Ok(Fate::Made) => true,
            Ok(Fate::There) => kept.split(|byte| *byte == b'\n').any(|line| line == Line::of(plan, setting).as_bytes()),
            Ok(Fate::Nothing) => false,
            Err(errno) => {
                Told { plan, report }.failed(setting, "RTM_NEWLINK", errno);
                false
            }
        };
        made |= u128::from(is_ours) << index;
    }
    made
}

/// What has become of a link that is to be made.
enum Fate {
    /// It was not there.
    Made,
    /// It is there.
    There,
    /// It cannot be yet, or something else is there.
    Nothing,
}

fn make(network: &mut Network, plan: &Plan, setting: &Setting, report: &mut dyn Write) -> Result<Fate, Errno> {
    let name = plan.strings.bytes(setting.link);
    let wanted = match setting.what {
        What::Vlan(number) => match network.find(lower(name).unwrap_or_default()) {
            Ok(lower) => NewLink::Vlan(number, lower.index),
            // That the VLAN is not there will be told.
            Err(Errno::NODEV) => return Ok(Fate::Nothing),
            Err(errno) => return Err(errno),
        },
        _ => NewLink::Bridge,
    };
    match network.find(name) {
        Ok(State { made, .. }) if made == Some(wanted) => Ok(Fate::There),
        Ok(_) => {
            Told { plan, report }.other(setting);
            Ok(Fate::Nothing)
        }
        Err(Errno::NODEV) => network.make(wanted, name).map(|()| Fate::Made),
        Err(errno) => Err(errno),
    }
}

/// Gives one link what it is to have.
fn link(network: &mut Network, plan: &Plan, up: &Setting, tell_missing: bool, report: &mut dyn Write) {
    let name = plan.strings.bytes(up.link);
    let mut told = Told { plan, report };
    let state = match network.find(name) {
        Ok(state) => state,
        Err(Errno::NODEV) => {
            if tell_missing {
                told.missing(up);
            }
            return;
        }
        Err(errno) => return told.failed(up, "RTM_GETLINK", errno),
    };
    let index = state.index;
    let mut is_up = state.is_up;
    for setting in plan.link(name) {
        let change = match setting.what {
            What::Member(bridge) => match network.find(bridge.as_str().as_bytes()) {
                Ok(bridge) if bridge.index == state.master => continue,
                Ok(bridge) => Change { index, master: Some(bridge.index), ..Change::default() },
                Err(errno) => {
                    told.failed(setting, "RTM_GETLINK", errno);
                    continue;
                }
            },
            What::Mtu(mtu) if mtu != state.mtu => Change { index, mtu: Some(mtu), ..Change::default() },
            What::Mac(mac) if Some(mac) != state.mac => {
                // Most devices take another address only while they are down.
                is_up = is_up && network.change(Change { index, is_up: Some(false), ..Change::default() }).is_err();
                Change { index, mac: Some(mac), ..Change::default() }
            }
            _ => continue,
        };
        if let Err(errno) = network.change(change) {
            told.failed(setting, "RTM_NEWLINK", errno);
        }
    }
    if !is_up && let Err(errno) = network.change(Change { index, is_up: Some(true), ..Change::default() }) {
        // It has no default route then; its addresses it can have.
        told.failed(up, "RTM_NEWLINK", errno);
    }
    for setting in plan.link(name) {
        if let What::Address(ip, prefix) = setting.what {
            let address = Address { index, ip, prefix };
            let mut is_there = false;
            let asked = network.addresses(&mut |other| is_there |= *other == address);
            if let Err(errno) = asked.and_then(|()| if is_there { Ok(()) } else { network.address(address, true) }) {
                told.failed(setting, "RTM_NEWADDR", errno);
            }
        }
    }
    for setting in plan.link(name) {
        if let What::Gateway(ip) = setting.what {
            let gateway = Gateway { index, ip, is_apart: is_apart(plan, name, ip) };
            if let Err(errno) = network.gateway(gateway, true) {
                told.failed(setting, "RTM_NEWROUTE", errno);
            }
        }
    }
}

/// Whether the link has an address without a network, as hosting providers give it: then its gateway is in none.
fn is_apart(plan: &Plan, name: &[u8], gateway: IpAddr) -> bool {
    plan.link(name).any(|setting| match setting.what {
        What::Address(ip, prefix) if ip.is_ipv4() == gateway.is_ipv4() => prefix == if ip.is_ipv4() { 32 } else { 128 },
        _ => false,
    })
}

/// Where failures are told.
struct Told<'a> {
    plan: &'a Plan,
    report: &'a mut dyn Write,
}

impl Told<'_> {
    fn place(&mut self, at: At) {
        if let Some((file, line)) = self.plan.place(at) {
            let _ = write!(self.report, "{file}:{line}: ");
        }
    }

    fn missing(&mut self, up: &Setting) {
        self.place(up.at);
        let name = self.plan.strings.str(up.link);
        let _ = writeln!(self.report, "link {name} is not there; it is configured when it comes");
    }

    fn other(&mut self, setting: &Setting) {
        self.place(setting.at);
        let name = self.plan.strings.str(setting.link);
        let what = if setting.what == What::Bridge { "bridge" } else { "VLAN of that number" };
        let _ = writeln!(self.report, "link {name}: it is there already, and is no {what}");
    }

    fn failed(&mut self, setting: &Setting, call: &str, errno: Errno) {
        self.place(setting.at);
        let key = setting.what.key().map_or("", |key| key.name());
        let name = self.plan.strings.str(setting.link);
        let _ = writeln!(self.report, "link {name}: {key} {}: {call}: {}", setting.what, words(errno));
    }
}

fn words(errno: Errno) -> impl fmt::Display {
    ErrnoWords(errno.raw_os_error() as u16)
}

/// Whether `message` tells of a link of `plan`.
#[must_use]
pub fn is_meant(plan: &Plan, message: &[u8]) -> bool {
    let links = messages(message).filter_map(|message| Link::read(&message).map(|link| link.name));
    let is_of = |setting: &Setting, name: &[u8]| {
        let link = plan.strings.bytes(setting.link);
        // A VLAN comes with the link that it is on.
        link == name || matches!(setting.what, What::Vlan(_)) && lower(link) == Some(name)
    };
    links.into_iter().any(|name| plan.links.iter().any(|setting| is_of(setting, name)))
}
