//! Bytes → lines → words, each with its place. Sees no keys and keeps no state between lines.
//!
//! A line is a section header, `key = value`, blank, or a comment. `\` at its end goes on with the next line; `#` at the
//! start of a word makes the rest a comment; inside `"…"` blanks and `#` are part of the word, `\"` and `\\` stand for
//! `"` and `\`.

use super::diagnostic::Code;

/// A place in the text of a [`super::Config`]: from byte `start` to before byte `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte behind the last.
    pub end: u32,
}

impl Span {
    /// The bytes from `start` to before `end`.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Its part of `text`.
    #[must_use]
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// How a text was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines of a file.
    Lines,
    /// One value, given as an option: a newline is a blank (or, in quotes, part of the word), `#` is nothing special.
    Option,
}

/// A line that is not blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// `[kind name]`; the name is empty where there is none.
    Section {
        /// Its first word.
        kind: Span,
        /// Its second.
        name: Span,
    },
    /// `key = value`.
    Entry {
        /// What stands before `=`.
        key: Span,
        /// What stands behind it, without blanks and comments around it.
        value: Span,
    },
    /// Neither.
    Wrong(Code, Span),
}

/// The lines of a text.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Lines<'a> {
    /// The lines of `span` of `text`, whose first has number `line`.
    #[must_use]
    pub fn new(text: &'a [u8], span: Span, line: u32) -> Self {
        Lines { cursor: Cursor { text, at: span.start as usize, end: span.end as usize, line, form: Form::Lines } }
    }

    /// Where the next line begins, and its number.
    #[must_use]
    pub fn place(&self) -> (usize, u32) {
        (self.cursor.at, self.cursor.line)
    }

    fn section(&mut self) -> Line {
        let cursor = &mut self.cursor;
        let start = cursor.at;
        cursor.at += 1;
        let kind = cursor.until(b"]");
        let name = cursor.until(b"]");
        cursor.skip_plain_blanks();
        let closed = cursor.peek() == Some(b']');
        cursor.at += usize::from(closed);
        let end = cursor.at;
        let rest = cursor.word();
        if !closed || kind.is_empty() || rest.is_some() {
            return Line::Wrong(Code::SectionSyntax, Span::new(start, end));
        }
        Line::Section { kind, name }
    }

    fn entry(&mut self) -> Line {
        let cursor = &mut self.cursor;
        let line_start = cursor.at;
        let key = cursor.until(b"=");
        cursor.skip_plain_blanks();
        let wrong = if cursor.peek() != Some(b'=') {
            Some(Code::EqualsExpected)
        } else if key.is_empty() {
            Some(Code::KeyExpected)
        } else {
            None
        };
        if let Some(code) = wrong {
            let here = Span::new(line_start, cursor.at.max(line_start + 1));
            return Line::Wrong(code, if key.is_empty() { here } else { key });
        }
        cursor.at += 1;
        let mut value = Span::default();
        let mut unclosed = None;
        while let Some(word) = cursor.word() {
            if value.is_empty() {
                value.start = word.span.start;
            }
            value.end = word.span.end;
            if !word.closed {
                unclosed = Some(word.span);
            }
        }
        if let Some(span) = unclosed {
            return Line::Wrong(Code::QuoteOpen, span);
        }
        if cursor.at - line_start > crate::limits::LINE_BYTES {
            return Line::Wrong(Code::LineTooLong, key);
        }
        Line::Entry { key, value }
    }
}

impl Iterator for Lines<'_> {
    /// The line, and the number of its first physical line.
    type Item = (Line, u32);

    fn next(&mut self) -> Option<(Line, u32)> {
        loop {
            self.cursor.skip_plain_blanks();
            let number = self.cursor.line;
            let line = match self.cursor.peek()? {
                b'\n' | b'#' => {
                    self.cursor.skip_line();
                    continue;
                }
                b'[' => self.section(),
                _ => self.entry(),
            };
            self.cursor.skip_line();
            return Some((line, number));
        }
    }
}

/// A word of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Where it stands, quotes included.
    pub span: Span,
    /// Whether every quote was closed.
    pub closed: bool,
}

/// The words of a value.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Words<'a> {
    /// The words of `value` in `text`.
    #[must_use]
    pub fn new(text: &'a [u8], value: Span, form: Form) -> Self {
        Words { cursor: Cursor { text, at: value.start as usize, end: value.end as usize, line: 0, form } }
    }
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        self.cursor.word()
    }
}

/// The bytes of a word as it is meant: without quotes, with `\"` and `\\` in quotes as what they stand for.
pub fn unquote(word: &[u8]) -> impl Iterator<Item = u8> {
    let mut bytes = word.iter().copied().peekable();
    let mut quoted = false;
    core::iter::from_fn(move || {
        loop {
            match bytes.next()? {
                b'"' => quoted = !quoted,
                b'\\' if quoted => return Some(bytes.next_if(|next| matches!(next, b'"' | b'\\')).unwrap_or(b'\\')),
                byte => return Some(byte),
            }
        }
    })
}

#[derive(Clone, Debug)]
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    end: usize,
    line: u32,
    form: Form,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.peek_at(self.at)
    }

    fn peek_at(&self, at: usize) -> Option<u8> {
        if at < self.end { self.text.get(at).copied() } else { None }
    }

    fn is_blank(&self, byte: u8) -> bool {
        matches!(byte, b' ' | b'\t' | b'\r') || byte == b'\n' && self.form == Form::Option
    }

    fn skip_plain_blanks(&mut self) {
        while self.peek().is_some_and(|byte| self.is_blank(byte)) {
            self.at += 1;
        }
    }

    /// Skips blanks, and what goes on with the next line.
    fn skip_blanks(&mut self) {
        loop {
            self.skip_plain_blanks();
            let Some(next) = self.continuation() else { return };
            self.at = next;
            self.line += 1;
        }
    }

    /// Where the next line begins, if here is a `\` with only blanks between it and the end of the line.
    fn continuation(&self) -> Option<usize> {
        if self.form == Form::Option || self.peek() != Some(b'\\') {
            return None;
        }
        let mut at = self.at + 1;
        while self.peek_at(at).is_some_and(|byte| self.is_blank(byte)) {
            at += 1;
        }
        match self.peek_at(at) {
            Some(b'\n') => Some(at + 1),
            None => Some(at),
            Some(_) => None,
        }
    }

    /// A plain word up to a blank, the end of the line, a comment or one of `stops`, with blanks before it skipped.
    fn until(&mut self, stops: &[u8]) -> Span {
        self.skip_plain_blanks();
        let start = self.at;
        while let Some(byte) = self.peek() {
            if self.is_blank(byte) || matches!(byte, b'\n' | b'#') || stops.contains(&byte) {
                break;
            }
            self.at += 1;
        }
        Span::new(start, self.at)
    }

    /// The next word of this line.
    fn word(&mut self) -> Option<Word> {
        self.skip_blanks();
        let first = self.peek()?;
        if self.form == Form::Lines && matches!(first, b'\n' | b'#') {
            return None;
        }
        let start = self.at;
        let mut quoted = false;
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' if self.form == Form::Lines => break,
                b'"' => quoted = !quoted,
                b'\\' if quoted && matches!(self.peek_at(self.at + 1), Some(b'"' | b'\\')) => self.at += 1,
                b'\\' if !quoted && self.continuation().is_some() => break,
                _ if !quoted && self.is_blank(byte) => break,
                _ => {}
            }
            self.at += 1;
        }
        Some(Word { span: Span::new(start, self.at), closed: !quoted })
    }

    /// Skips what is left of this line, continuation lines and the newline included.
    fn skip_line(&mut self) {
        while self.word().is_some() {}
        while let Some(byte) = self.peek() {
            self.at += 1;
            if byte == b'\n' {
                self.line += 1;
                return;
            }
        }
    }
}
