//! Messages and their attributes (netlink(7), rtnetlink(7)): a header, a fixed body, then attributes, all aligned to four bytes.
//! Numbers are the processor's own.

/// `NLM_F_REQUEST | NLM_F_ACK`: do it, and say how it went.
pub const DO: u16 = 1 | 4;
/// `NLM_F_REQUEST | NLM_F_DUMP`: tell of all.
pub const ALL: u16 = 1 | 0x300;
/// `NLM_F_CREATE`
pub const CREATE: u16 = 0x400;
/// `NLM_F_EXCL`: not where it is there.
pub const NEW: u16 = 0x200;
/// `NLM_F_REPLACE`
pub const REPLACE: u16 = 0x100;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;

/// A message that is being made.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    len: usize,
    fits: bool,
}

impl<'b> Writer<'b> {
    /// Begins a message of this kind, with these flags and this number.
    pub fn new(buffer: &'b mut [u8], kind: u16, flags: u16, number: u32) -> Writer<'b> {
        let mut writer = Writer { buffer, len: 0, fits: true };
        writer.put(&[0; 4]);
        writer.put(&[kind.to_ne_bytes(), flags.to_ne_bytes()].concat_pair());
        writer.put(&number.to_ne_bytes());
        writer.put(&[0; 4]);
        writer
    }

    /// Adds bytes of the body, and fills up to where the next may begin.
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        let padded = end.next_multiple_of(4);
        match self.buffer.get_mut(self.len..padded) {
            Some(room) => {
                room.fill(0);
                room.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                self.len = padded;
            }
            None => self.fits = false,
        }
    }

    /// Adds an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(0);
        self.fits &= length > 0;
        self.put(&[length.to_ne_bytes(), kind.to_ne_bytes()].concat_pair());
        self.put(value);
    }

    /// Adds an attribute that is made of others, which `inside` adds.
    pub fn nest(&mut self, kind: u16, inside: &mut dyn FnMut(&mut Self)) {
        let start = self.len;
        self.attribute(kind, &[]);
        inside(self);
        let length = u16::try_from(self.len - start).unwrap_or(0);
        self.fits &= length > 0;
        if let Some(head) = self.buffer.get_mut(start..start + 2) {
            head.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// The message; nothing where the buffer was too small.
    #[must_use]
    pub fn end(self) -> Option<&'b [u8]> {
        let length = u32::try_from(self.len).ok().filter(|_| self.fits)?;
        self.buffer.get_mut(..4)?.copy_from_slice(&length.to_ne_bytes());
        self.buffer.get(..self.len)
    }
}

/// Two halves of a word.
trait Pair {
    fn concat_pair(self) -> [u8; 4];
}

impl Pair for [[u8; 2]; 2] {
    fn concat_pair(self) -> [u8; 4] {
        let [[a, b], [c, d]] = self;
        [a, b, c, d]
    }
}

/// A message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is about: `RTM_` number.
    pub kind: u16,
    /// The number of the request that it answers.
    pub number: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// Whether it is the last of an answer, and then how the request went: an error's number, 0 for none.
    #[must_use]
    pub fn end(&self) -> Option<i32> {
        match self.kind {
            DONE | ERROR => Some(number(self.body, 0).map_or(0, |code| (code as i32).wrapping_neg())),
            _ => None,
        }
    }
}

/// The messages that came in one piece. What is no message ends them.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    core::iter::from_fn(move || {
        let length = number(bytes, 0)? as usize;
        let body = bytes.get(HEADER..length)?;
        let message = Message { kind: half(bytes, 4)?, number: number(bytes, 8)?, body };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes of a body that begins with `fixed` bytes of its own. What is none ends them.
pub fn attributes(body: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut bytes = body.get(fixed..).unwrap_or_default();
    core::iter::from_fn(move || {
        let length = usize::from(half(bytes, 0)?);
        let value = bytes.get(4..length)?;
        // The two highest bits say how a value is made, not what it is.
        let kind = half(bytes, 2)? & 0x3fff;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The number at byte `at`.
#[must_use]
pub fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The number of two bytes at byte `at`.
#[must_use]
pub fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_ends_with_how_it_went() {
        let mut buffer = [0; 64];
        for (code, expected) in [(0i32, 0), (-17, 17), (i32::MIN, i32::MIN)] {
            let mut writer = Writer::new(&mut buffer, ERROR, 0, 7);
            writer.put(&code.to_ne_bytes());
            let message = messages(writer.end().unwrap()).next().unwrap();
            assert_eq!((message.end(), message.number), (Some(expected), 7));
        }
        assert_eq!(Message { kind: DONE, number: 0, body: &[] }.end(), Some(0));
        assert_eq!(Message { kind: 16, number: 0, body: &[] }.end(), None);
    }

    #[test]
    fn what_does_not_fit_is_no_message() {
        let mut buffer = [0; 24];
        let mut writer = Writer::new(&mut buffer, 16, DO, 1);
        writer.attribute(1, b"four");
        assert!(writer.end().is_some());
        let mut writer = Writer::new(&mut buffer, 16, DO, 1);
        writer.attribute(1, b"longer");
        assert!(writer.end().is_none());
        assert!(Writer::new(&mut [0; 15], 16, DO, 1).end().is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            kind in any::<u16>(), number in any::<u32>(),
            list in proptest::collection::vec((0u16..0x4000, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
        ) {
            let mut buffer = [0xff; 512];
            let mut writer = Writer::new(&mut buffer, kind, DO, number);
            writer.put(&[9; 8]);
            list.iter().for_each(|(kind, value)| writer.attribute(*kind, value));
            let bytes = writer.end().unwrap().repeat(2);
            let all: Vec<_> = messages(&bytes).collect();
            prop_assert_eq!(all.len(), 2);
            for message in all {
                prop_assert_eq!((message.kind, message.number), (kind, number));
                let read: Vec<_> = attributes(message.body, 8).map(|(kind, value)| (kind, value.to_vec())).collect();
                prop_assert_eq!(&read, &list);
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), fixed in 0usize..40) {
            for message in messages(&bytes) {
                let _ = message.end();
                prop_assert!(attributes(message.body, fixed).all(|(_, value)| value.len() <= bytes.len()));
            }
        }
    }
}
