//! Bytes that may be no text, and text that may be more than text.

use core::fmt::{self, Write};

/// Bytes as text: what is not UTF-8 becomes the replacement character (U+FFFD).
#[derive(Clone, Copy, Debug)]
pub struct Lossy<'a>(pub &'a [u8]);

impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.utf8_chunks().try_for_each(|chunk| {
            f.write_str(chunk.valid())?;
            f.write_str(if chunk.invalid().is_empty() { "" } else { "\u{fffd}" })
        })
    }
}

/// Bytes as base64 (RFC 4648, section 4).
#[derive(Clone, Copy, Debug)]
pub struct Base64<'a>(pub &'a [u8]);

impl fmt::Display for Base64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for three in self.0.chunks(3) {
            let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for index in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * index) & 63) as usize];
                f.write_char(if index <= three.len() { char::from(digit) } else { '=' })?;
            }
        }
        Ok(())
    }
}

/// What a terminal is shown of a guest's output: text, tabs, newlines and colours. Whatever else a terminal would obey
/// (its title, its answers, the cursor) is left out: a guest's output is hostile input.
#[derive(Debug, Default)]
pub struct Tame {
    /// The sequence that has begun: empty, or from ESC on.
    sequence: heapless::Vec<u8, 24>,
}

const ESCAPE: u8 = 0x1b;

impl Tame {
    /// Gives what may be shown of `bytes` to `show`.
    pub fn filter(&mut self, bytes: &[u8], mut show: impl FnMut(&[u8])) {
        for &byte in bytes {
            if self.sequence.is_empty() {
                match byte {
                    // It fits: nothing is in it.
                    ESCAPE => drop(self.sequence.push(byte)),
                    b'\n' | b'\t' => show(&[byte]),
                    _ if byte.is_ascii_control() => {}
                    _ => show(&[byte]),
                }
            } else if self.continues(byte) {
                if self.sequence.push(byte).is_err() {
                    self.sequence.clear();
                }
                // "Select graphic rendition": colours (ECMA-48, 8.3.117).
                if byte == b'm' {
                    show(&self.sequence);
                    self.sequence.clear();
                }
            } else {
                // The end of a sequence that is not shown; a newline is shown nevertheless.
                self.sequence.clear();
                if byte == b'\n' {
                    show(&[byte]);
                }
            }
        }
    }

    /// Whether `byte` goes on with what may still become a colour.
    fn continues(&self, byte: u8) -> bool {
        match self.sequence.len() {
            1 => byte == b'[',
            _ => byte.is_ascii_digit() || matches!(byte, b';' | b':' | b'm'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tamed(bytes: &[u8]) -> String {
        let mut shown = Vec::new();
        let mut tame = Tame::default();
        // In pieces of every size that a sequence could be cut at.
        for piece in bytes.chunks(3) {
            tame.filter(piece, |part| shown.extend_from_slice(part));
        }
        Lossy(&shown).to_string()
    }

    #[test]
    fn colours_stay_and_commands_go() {
        assert_eq!(tamed(b"\x1b[1;31mred\x1b[0m\n"), "\x1b[1;31mred\x1b[0m\n");
        assert_eq!(tamed(b"a\x1b[2Jb\x1b[6nc\n"), "abc\n");
        assert_eq!(tamed(b"a\r\x07\x08\x7fb\tc"), "ab\tc");
        // A title: the text of it is no command any more.
        assert_eq!(tamed(b"\x1b]0;title\x07x"), "0;titlex");
        assert_eq!(tamed(b"\x1b[99999999999999999999999999999999mx"), "999999999mx");
    }

    #[test]
    fn bytes_are_written_as_base64() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(Base64(bytes.as_bytes()).to_string(), text);
        }
        assert_eq!(Base64(b"\xff\xfe\xfd\0").to_string(), "//79AA==");
    }

    #[test]
    fn what_is_not_text_is_replaced() {
        assert_eq!(Lossy(b"a\xffb\xc3").to_string(), "a\u{fffd}b\u{fffd}");
        assert_eq!(tamed("é".as_bytes()), "é");
    }
}
