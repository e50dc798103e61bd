//! [`crate::plan::Plan`] → a running guest, and its end.

pub mod cgroup;
pub mod report;
pub mod seccomp;
