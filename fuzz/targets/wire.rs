//! `cargo +nightly fuzz run wire`, in the folder above.

#![no_main]

#[path = "../entry/wire.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::wire(data));
