//! PID 1's own duties, and what `inn check` tells about this host.
//!
//! | file | what it is about |
//! | --- | --- |
//! | [`boot`] | the straight line from PID 1's entry to the event loop |
//! | [`bounds`] | what guests share of the kernel's own limits |
//! | [`mounts`], [`mountinfo`] | proc, sys, dev, run, tmp, cgroup2; what is mounted |
//! | [`console`] | where boot messages go |
//! | [`filesystems`] | those that the config names, and swap: mounted in order |
//! | [`device`] | block devices by label and number, waited for |
//! | [`superblock`], [`partitions`] | what is on a disk. Pure |
//! | [`checker`] | a file system's own checker |
//! | [`seed`], [`machine_id`] | what the host keeps from one boot to the next |
//! | [`root`] | from the initramfs to the real root |
//! | [`cmdline`] | `inn.` words of the kernel's command line |
//! | [`files`], [`disk`] | reading small files through bounded windows; config files |
//! | [`modules`], [`sysctl`] | kernel modules and settings |
//! | [`links`] | network links, their addresses and default routes |
//! | [`hardening`] | what is taken from everybody on the host |
//! | [`features`] | what this kernel has, and what a plan asks of it |
//! | [`child`], [`wait`] | short-lived children for what can hang; waiting for them, the watchdog petted |
//! | [`children`] | who the children of this process are |
//! | [`emergency`] | the shell on the console when nothing else is left |
//! | [`watchdog`] | the machine's watchdog |
//! | [`reset`] | directories emptied by a factory reset |
//! | [`ending`] | how each boot ended, kept on storage that stays |
//! | [`power`] | how a host goes down |

pub mod boot;
pub mod bounds;
pub mod checker;
pub mod child;
pub mod children;
pub mod cmdline;
pub mod console;
pub mod device;
pub mod disk;
pub mod emergency;
pub mod ending;
pub mod features;
pub mod files;
pub mod filesystems;
pub mod hardening;
pub mod links;
pub mod machine_id;
pub mod modules;
pub mod mountinfo;
pub mod mounts;
pub mod partitions;
pub mod power;
pub mod replace;
pub mod reset;
pub mod root;
pub mod seed;
pub mod superblock;
pub mod sysctl;
pub mod timeline;
pub mod wait;
pub mod watchdog;
