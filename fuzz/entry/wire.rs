//! Any bytes as a control message: what is decoded is encoded to the same bytes again.
//!
//! Included by the fuzz target and by the ordinary tests.

use innkeep::control::wire::{REQUEST_BYTES, Reply, Request};
use innkeep::limits;

/// `data` as a request and as a reply.
pub fn wire(data: &[u8]) {
    if let Ok(request) = Request::decode(data) {
        assert_eq!(request.encode(&mut [0; REQUEST_BYTES]), data);
    }
    if let Ok(reply) = Reply::decode(data) {
        assert_eq!(reply.encode(&mut [0; limits::MESSAGE_BYTES]), data);
    }
}
