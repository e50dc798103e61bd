//! The host's network links, as the kernel has them now: a part of `inn status`.

use core::fmt::{self, Write};

use super::json::Json;
use super::output::{Output, Plain};
use crate::host::links::Network;
use crate::netlink::route::{Address, Link};
use crate::plan::links::Mac;

/// Addresses that are shown, of all links together.
const ADDRESSES: usize = 256;

/// All links, with their addresses.
struct Links {
    network: Network,
    addresses: heapless::Vec<Address, ADDRESSES>,
}

impl Links {
    fn read() -> Option<Links> {
        let mut network = Network::open().ok()?;
        let mut addresses = heapless::Vec::new();
        network
            .addresses(&mut |address| {
                // What is beyond so many is not shown.
                let _ = addresses.push(*address);
            })
            .ok()?;
        Some(Links { network, addresses })
    }

    /// Calls `each` for every link, with its addresses.
    fn each(&mut self, each: &mut dyn FnMut(&Link<'_>, &[Address])) {
        let all = &self.addresses;
        // One that fails in the middle has told some.
        let _ = self.network.links(&mut |link| each(link, all));
    }
}

/// A line for each, with `label` before the first.
pub fn words(out: &mut Output) {
    let mut label = "links";
    if let Some(mut links) = Links::read() {
        links.each(&mut |link, addresses| {
            let _ = writeln!(out, "  {label:<12} {:<15} {}", Plain(name(link)), Line { link, addresses });
            label = "";
        });
    }
}

/// A row for each.
pub fn plain(out: &mut Output) {
    if let Some(mut links) = Links::read() {
        links.each(&mut |link, addresses| {
            let _ = writeln!(out, "link_{}\t{}", Plain(name(link)), Line { link, addresses });
        });
    }
}

/// An array of objects.
pub fn json(json: &mut Json<'_, Output>) {
    json.begin_array();
    if let Some(mut links) = Links::read() {
        links.each(&mut |link, addresses| {
            json.begin_object();
            json.key("name");
            json.string(name(link));
            json.key("up");
            json.boolean(link.is_up);
            json.key("carrier");
            json.boolean(link.has_carrier);
            json.key("mtu");
            json.number(link.mtu.into());
            json.key("mac");
            json.display(Mac(link.mac));
            json.key("addresses");
            json.begin_array();
            for address in of(link, addresses) {
                json.display(format_args!("{}/{}", address.ip, address.prefix));
            }
            json.end_array();
            json.end_object();
        });
    }
    json.end_array();
}

fn name<'a>(link: &Link<'a>) -> &'a str {
    core::str::from_utf8(link.name).unwrap_or("?")
}

fn of<'a>(link: &Link<'_>, addresses: &'a [Address]) -> impl Iterator<Item = &'a Address> {
    let index = link.index;
    addresses.iter().filter(move |address| address.index == index)
}

/// "up, no carrier, 192.0.2.1/24 fe80::1/64"
struct Line<'a> {
    link: &'a Link<'a>,
    addresses: &'a [Address],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.link.is_up, self.link.has_carrier) {
            (false, _) => "down",
            (true, false) => "up, no carrier",
            (true, true) => "up",
        })?;
        let mut between = ", ";
        of(self.link, self.addresses).try_for_each(|address| {
            write!(f, "{between}{}/{}", address.ip, address.prefix)?;
            between = " ";
            Ok(())
        })
    }
}
