//! Any bytes as a control message: what is decoded is encoded to the same bytes again, or, where a reply ends early or late,
//! to the same reply.
//!
//! Included by the fuzz target and by the ordinary tests.

use innkeep::control::wire::{EVENT_BYTES, Event, REQUEST_BYTES, Reply, Request};
use innkeep::limits;

/// `data` as a request, as a reply and as an event.
pub fn wire(data: &[u8]) {
    let data = &data[..data.len().min(limits::MESSAGE_BYTES)];
    if let Ok(request) = Request::decode(data) {
        // The first byte is its sender's version.
        assert_eq!(request.encode(&mut [0; REQUEST_BYTES])[1..], data[1..]);
    }
    if let Ok(reply) = Reply::decode(data) {
        let (mut buffer, mut again) = ([0; limits::MESSAGE_BYTES], [0; limits::MESSAGE_BYTES]);
        let bytes = reply.encode(&mut buffer);
        let decoded = Reply::decode(bytes).expect("what was encoded is decoded");
        assert_eq!(decoded.encode(&mut again), bytes);
    }
    if let Ok(event) = Event::decode(data) {
        let (mut buffer, mut again) = ([0; EVENT_BYTES], [0; EVENT_BYTES]);
        let bytes = event.encode(&mut buffer);
        // Where its words are longer than those of any supervisor it is cut.
        if let Ok(decoded) = Event::decode(bytes) {
            assert_eq!(decoded.encode(&mut again), bytes);
        }
    }
}
