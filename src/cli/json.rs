//! A JSON writer (RFC 8259): commas and escapes are its business, the order of calls the caller's.

use core::fmt::{self, Write};

/// Writes one JSON text to `to`. Errors of `to` are its own to keep.
#[derive(Debug)]
pub struct Json<'w, W> {
    to: &'w mut W,
    /// Whether a value stands before, so that a comma is due.
    comma: bool,
}

impl<'w, W: Write> Json<'w, W> {
    /// Nothing written yet.
    pub fn new(to: &'w mut W) -> Self {
        Json { to, comma: false }
    }

    /// Goes on with a text that `to` has already: an object, or a list, with a member.
    pub fn go_on(to: &'w mut W) -> Self {
        Json { to, comma: true }
    }

    /// `{`
    pub fn begin_object(&mut self) {
        self.begin("{");
    }

    /// `}`
    pub fn end_object(&mut self) {
        self.end("}");
    }

    /// `[`
    pub fn begin_array(&mut self) {
        self.begin("[");
    }

    /// `]`
    pub fn end_array(&mut self) {
        self.end("]");
    }

    /// The name of the member whose value comes next.
    pub fn key(&mut self, name: &str) {
        self.string(name);
        self.raw(":");
        self.comma = false;
    }

    /// A string.
    pub fn string(&mut self, text: &str) {
        self.display(text);
    }

    /// The words of `value`, as a string.
    pub fn display(&mut self, value: impl fmt::Display) {
        self.begin("\"");
        let _ = write!(Escaped(self.to), "{value}");
        self.end("\"");
    }

    /// A number.
    pub fn number(&mut self, number: u64) {
        self.separate();
        let _ = write!(self.to, "{number}");
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, value: bool) {
        self.separate();
        self.raw(if value { "true" } else { "false" });
    }

    /// `null`
    pub fn null(&mut self) {
        self.separate();
        self.raw("null");
    }

    /// The end of the text: a newline, after which another text may come.
    pub fn end_text(&mut self) {
        self.raw("\n");
        self.comma = false;
    }

    fn begin(&mut self, bracket: &str) {
        self.separate();
        self.raw(bracket);
        self.comma = false;
    }

    fn end(&mut self, bracket: &str) {
        self.raw(bracket);
        self.comma = true;
    }

    fn separate(&mut self) {
        if self.comma {
            self.raw(",");
        }
        self.comma = true;
    }

    fn raw(&mut self, text: &str) {
        let _ = self.to.write_str(text);
    }
}

struct Escaped<'w, W>(&'w mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '"' | '\\' => write!(self.0, "\\{c}"),
            '\n' => self.0.write_str("\\n"),
            // DEL and what follows it need no escape; the controls among them would still act on a terminal.
            c if c.is_control() => write!(self.0, "\\u{:04x}", c as u32),
            c => self.0.write_char(c),
        })
    }
}
