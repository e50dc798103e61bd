//! What the user sees: standard output through one buffer, errors line by line.

use core::fmt::{self, Write};

use rustix::io::Errno;

use crate::fault::ErrnoWords;
use crate::host::files::write_all;
use crate::sys::stdio;

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Standard output. Its errors are kept until [`Output::finish`].
#[derive(Debug)]
pub struct Output {
    buffer: heapless::Vec<u8, BUFFER_BYTES>,
    error: Option<Errno>,
}

impl Output {
    /// Nothing written yet.
    #[must_use]
    pub const fn new() -> Self {
        Output { buffer: heapless::Vec::new(), error: None }
    }

    /// Adds bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(BUFFER_BYTES) {
            if self.buffer.len() + part.len() > BUFFER_BYTES {
                self.flush();
            }
            // It fits: the buffer is empty, or had the room.
            let _ = self.buffer.extend_from_slice(part);
        }
    }

    /// Writes what is in the buffer.
    pub fn flush(&mut self) {
        if self.error.is_none() {
            self.error = write_all(stdio::output(), &self.buffer).err();
        }
        self.buffer.clear();
    }

    /// What is in the buffer.
    #[cfg(test)]
    pub fn taken(&self) -> &[u8] {
        &self.buffer
    }

    /// Forgets what is in the buffer.
    pub fn discard(&mut self) {
        self.buffer.clear();
    }

    /// Whether standard output took everything so far.
    #[must_use]
    pub fn works(&self) -> bool {
        self.error.is_none()
    }

    /// Writes the rest; returns `code`, or 1 with a message where anything could not be written.
    pub fn finish(&mut self, code: u8) -> u8 {
        self.flush();
        match self.error {
            None => code,
            Some(errno) => {
                complain(format_args!("write to standard output: {}", ErrnoWords(errno.raw_os_error() as u16)));
                code.max(1)
            }
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// Standard error, a line at a time.
#[derive(Debug, Default)]
pub struct Errors {
    line: heapless::Vec<u8, 512>,
}

impl Errors {
    /// Nothing written yet.
    #[must_use]
    pub const fn new() -> Self {
        Errors { line: heapless::Vec::new() }
    }

    fn flush(&mut self) {
        // Nobody is left to be told.
        let _ = write_all(stdio::error(), &self.line);
        self.line.clear();
    }
}

impl Write for Errors {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.line.push(byte).is_err() {
                self.flush();
                let _ = self.line.push(byte);
            }
            if byte == b'\n' {
                self.flush();
            }
        }
        Ok(())
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Tells the user of an error: "inn: …" on standard error.
pub fn complain(words: fmt::Arguments<'_>) {
    let _ = writeln!(Errors::new(), "inn: {words}");
}

/// Text for a terminal: control characters, which a terminal would obey, as `?`.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() { '?' } else { c }))
    }
}
