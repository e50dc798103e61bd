//! Netlink messages ↔ bytes. Pure.
//!
//! | file | noun |
//! | --- | --- |
//! | [`uevent`] | what the kernel says of devices (NETLINK_KOBJECT_UEVENT) |

pub mod uevent;
