//! Events → state → actions: what keeps guests running, in order, and takes them down.
//!
//! [`state`] and [`order`] are pure.

pub mod order;
pub mod ring;
pub mod state;
