//! `cargo +nightly fuzz run oom`, in the folder above.

#![no_main]

#[path = "../entry/oom.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::oom(data));
