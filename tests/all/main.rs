//! The whole program at work: as a file, on this host as root, and as PID 1 of machines under QEMU.
//!
//! What needs root or QEMU says so and passes where it has neither, unless `INN_MUST_RUN=1` makes that a failure.

mod boot;
mod control;
mod elf;
mod guests;
mod host;
mod limits;
mod machine;
mod must;
mod supervision;
