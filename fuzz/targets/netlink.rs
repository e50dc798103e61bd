//! `cargo +nightly fuzz run netlink`, in the folder above.

#![no_main]

#[path = "../entry/netlink.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::netlink(data));
