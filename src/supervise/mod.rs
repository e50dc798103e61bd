//! Events → state → actions: what keeps guests running, in order, and takes them down.
//!
//! [`state`] and [`order`] are pure.

pub mod driver;
pub mod journal;
pub mod order;
pub mod poll;
pub mod ring;
pub mod state;
