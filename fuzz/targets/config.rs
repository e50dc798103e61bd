//! `cargo +nightly fuzz run config tests/config/accepted tests/config/rejected`, in the folder above.

#![no_main]

#[path = "../entry/config.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::config(data));
