//! All guests as the supervisor told them at one moment, kept until they can be sorted and printed.

use core::ffi::CStr;

use super::ask::{PROMPT_MS, ask, guest};
use super::names::nobody;
use super::parse::Options;
use crate::control::wire::{Code, GuestInfo, Reply, Request};
use crate::limits;
use crate::sys::memory::Static;
use crate::text::pattern::{is_pattern, matches};

/// Bytes of all answers: as many as there can be guests, each as long as it can be.
const BYTES: usize = limits::GUESTS * limits::MESSAGE_BYTES;

/// Where answers are kept; all zero, so that it takes no room in the file, and memory only as far as it is used.
#[derive(Debug)]
pub struct Room([u8; BYTES]);

static ROOM: Static<Room> = Static::new(Room([0; BYTES]));

/// The room, once in the life of the program.
pub fn room() -> Option<&'static mut Room> {
    ROOM.take()
}

/// Guests, in the order of the config.
pub type Rows<'r> = heapless::Vec<GuestInfo<'r>, { limits::GUESTS }>;

/// Asks for the guests that `words` name, or for all where there are none, and adds them to `rows`. Returns the exit code for
/// words that name nobody, of which the user has been told: 0 where there are none.
///
/// # Errors
/// The exit code, where nobody answers; the user has been told.
#[inline(never)]
pub fn read<'r>(room: &'r mut Room, rows: &mut Rows<'r>, words: &[&'static CStr], options: &Options) -> Result<u8, u8> {
    let mut found = [false; limits::GUESTS];
    let mut left = &mut room.0[..];
    let timeout_ms = Some(options.timeout_ms.unwrap_or(PROMPT_MS));
    ask(options.socket, &Request::List, timeout_ms, &mut |reply, _| {
        let Reply::Guest(info) = reply else { return };
        let mut is_named = words.is_empty();
        for (word, found) in words.iter().zip(&mut found) {
            let named = names(word, info.name);
            (is_named, *found) = (is_named | named, *found | named);
        }
        if is_named && let Some(info) = keep(&mut left, reply) {
            // There is room for as many as there can be.
            let _ = rows.push(info);
        }
    })?;
    let mut code = 0;
    for (word, _) in words.iter().zip(&found).filter(|(_, found)| !**found) {
        // A name that no guest can have is told about as such.
        if is_pattern(word.to_bytes()) || guest(word).is_ok() {
            nobody(word, options);
        }
        code = Code::NoGuest.exit();
    }
    Ok(code)
}

/// Whether `word` names, or is a pattern of, `name`.
#[must_use]
pub fn names(word: &CStr, name: &str) -> bool {
    let word = word.to_bytes();
    if is_pattern(word) { matches(word, name.as_bytes()) } else { word == name.as_bytes() }
}

/// A copy of a guest, in the room that is left.
fn keep<'r>(left: &mut &'r mut [u8], reply: &Reply<'_>) -> Option<GuestInfo<'r>> {
    let mut buffer = [0; limits::MESSAGE_BYTES];
    let message = reply.encode(&mut buffer);
    let (room, rest) = core::mem::take(left).split_at_mut_checked(message.len())?;
    *left = rest;
    room.copy_from_slice(message);
    match Reply::decode(room).ok()? {
        Reply::Guest(info) => Some(info),
        _ => None,
    }
}
