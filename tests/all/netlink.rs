//! What the kernel says of links, damaged in every way.

use innkeep::netlink::message::{Writer, messages};
use innkeep::netlink::route::{Address, Change, Made};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../../fuzz/entry/netlink.rs"]
mod entry;

/// A datagram with two links, an address and an end.
fn datagram() -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 128];
    let change =
        Change { index: 2, is_up: Some(true), mtu: Some(1500), mac: Some([2, 0, 0, 0, 0, 1]), master: Some(3) };
    all.extend_from_slice(change.request(&mut buffer, 1).unwrap());
    all.extend_from_slice(Made::Vlan(5, 2).request(&mut buffer, 1, b"eth0.5").unwrap());
    let address = Address { index: 2, ip: "2001:db8::1".parse().unwrap(), prefix: 64 };
    all.extend_from_slice(address.request(&mut buffer, 1, true).unwrap());
    all.extend_from_slice(Writer::new(&mut buffer, 3, 0, 1).end().unwrap());
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_damaged_message_is_read_or_not_and_nothing_else(
        damage in vec((any::<Index>(), any::<u8>()), 0..6), cut in any::<Index>(), more in vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = datagram();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.extend(more);
        entry::netlink(&bytes);
    }
}

#[test]
fn a_whole_message_is_read() {
    let bytes = datagram();
    assert_eq!(messages(&bytes).count(), 4);
    entry::netlink(&bytes);
}
