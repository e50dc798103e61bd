//! innkeep: PID 1, guests and their supervisor in one small static binary.
//!
//! The map of the rooms; data flows down this list, and no room calls back up:
//!
//! | room | what it turns into what |
//! | --- | --- |
//! | [`limits`] | every capacity and time-out |
//! | [`text`] | strings and lists without a heap |
//! | [`calendar`] | moments as people write them |
//! | [`fault`] | what failed: step, errno, where |
//! | [`config`] | text → `Config` (may be wrong) |
//! | [`plan`] | `Config` → `Plan` (cannot be wrong) |
//! | [`netlink`] | netlink messages ↔ bytes |
//! | [`record`] | who has which users on this host: the file of it |
//! | [`load`] | config files → `Plan` |
//! | [`sys`] | raw system calls → safe typed functions; the only unsafe code of the library |
//! | [`guest`] | `Plan` → a running guest |
//! | [`host`] | PID 1's own duties |
//! | [`supervise`] | events → state → actions |
//! | [`control`] | the socket: bytes ↔ requests and replies |
//! | [`cli`] | the verbs as a user types them |
//! | [`run`] | the composition root: argv → one of the above |
//!
//! Invariants: no heap; `unsafe` only under `sys/` (and the binary's `start/`); `config`, `plan`, `supervise::state`
//! and `control::wire` import neither `sys` nor rustix; PID 1 never panics, blocks or waits without a deadline.

#![cfg_attr(not(test), no_std)]

pub mod calendar;
pub mod cli;
pub mod config;
pub mod control;
pub mod fault;
pub mod guest;
pub mod host;
pub mod limits;
pub mod load;
pub mod netlink;
pub mod plan;
pub mod record;
pub mod run;
pub mod supervise;
pub mod sys;
pub mod text;
pub mod units;
