//! Everything that is tested from outside, in one program, one module for each subject: the library as its users see it,
//! the whole program as a file, on this host as root, and as PID 1 of machines under QEMU.
//!
//! What needs root or QEMU says so and passes where it has neither, unless `INN_MUST_RUN=1` makes that a failure.

mod acting;
mod attackers;
mod bad_input;
mod binds;
mod boot;
mod change;
mod command_line;
mod config_corpus;
mod config_plan;
mod config_properties;
mod confinement;
mod control;
mod day;
mod distribution;
mod elf;
mod entering;
mod faults;
mod following;
mod foreground;
mod guests;
mod happenings;
mod host;
mod hostile;
mod images;
mod json;
mod kernel_log;
mod limits;
mod log_files;
mod logs;
mod loosening;
mod machine;
mod manual;
mod masks;
mod metrics;
mod must;
mod nesting;
mod private;
mod protocol;
mod ready;
mod reasons;
mod reload;
mod resources;
mod schemas;
mod server;
mod set;
mod set_machine;
mod supervise;
mod supervision;
mod top;
mod users;
mod verbs;
mod versions;
mod wire;
