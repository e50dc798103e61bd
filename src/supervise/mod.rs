//! Events → state → actions: what keeps guests running, in order, and takes them down.
//!
//! [`state`], [`order`] are pure; [`driver`] carries their actions out; [`events`] is where the outside world becomes
//! events.

pub mod state;
