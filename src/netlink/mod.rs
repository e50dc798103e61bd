//! Netlink messages ↔ bytes. Pure.
//!
//! | file | noun |
//! | --- | --- |
//! | [`message`] | messages and their attributes |
//! | [`route`] | links, addresses and default routes (NETLINK_ROUTE) |
//! | [`uevent`] | what the kernel says of devices (NETLINK_KOBJECT_UEVENT) |

pub mod message;
pub mod route;
pub mod uevent;
