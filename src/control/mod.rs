//! The control socket: bytes ↔ [`wire::Request`] and [`wire::Reply`] (pure), the server's end and the client's.

pub mod client;
pub mod server;
pub mod wire;
