//! Any bytes as what the kernel says of devices and links: what is read of them is a part of them.
//!
//! Included by the fuzz target and by the ordinary tests.

use innkeep::netlink::message::{attributes, messages};
use innkeep::netlink::route::{Address, Link};
use innkeep::netlink::uevent;

/// `data` as one datagram.
pub fn netlink(data: &[u8]) {
    let _ = uevent::is_wanting(data);
    let mut left = data.len();
    for message in messages(data) {
        assert!(message.body.len() + 16 <= left, "messages do not overlap");
        left -= message.body.len() + 16;
        let _ = message.end();
        for (_, value) in attributes(message.body, 0) {
            assert!(value.len() + 4 <= message.body.len());
        }
        if let Some(link) = Link::read(&message) {
            assert!(!link.name.contains(&0) && link.name.len() + link.mac.len() <= data.len());
        }
        if let Some(address) = Address::read(&message) {
            let mut buffer = [0; 128];
            let bytes = address.request(&mut buffer, 1, true).expect("it fits");
            assert_eq!(messages(bytes).next().and_then(|message| Address::read(&message)), Some(address));
        }
    }
}
