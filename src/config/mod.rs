//! Text → [`Config`]: lexer, grammar, diagnostics. Pure.
//!
//! | file | noun |
//! | --- | --- |
//! | `lexer` | lines and words, with their places |
//! | `grammar` | which section and key a line means, and whether it may stand there |
//! | `option` | guests given as options (`inn run`, the kernel's command line) |
//! | `key` | the table of keys |
//! | `source` | where files come from |
//! | `diagnostic` | what is wrong, and how that is printed |
//! | `edit` | lines put in place of others |
//! | `near` | "did you mean" |

pub mod diagnostic;
pub mod edit;
mod grammar;
pub mod key;
pub mod lexer;
mod near;
mod option;
pub mod source;

pub use diagnostic::{Diagnostics, Report};
pub use grammar::{Entries, Entry};
pub(crate) use near::nearest;

use crate::limits;
use lexer::Span;

/// A config as it was read: text, and where its sections are. What the values mean is not looked at; see
/// [`crate::plan::Plan::build`].
#[derive(Debug)]
pub struct Config {
    /// The name of each file followed by what is in it; one byte more than is allowed shows that a file is too large.
    text: [u8; limits::CONFIG_BYTES + 1],
    used: usize,
    files: heapless::Vec<File, { limits::CONFIG_FILES }>,
    sections: heapless::Vec<Section, { limits::SECTIONS }>,
    incomplete: bool,
}

/// A file, or what is given in place of one: an option.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Its name.
    pub name: Span,
    /// What is in it.
    pub text: Span,
}

/// A section.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its kind, a bit of [`key::section`]; 0 for one that does not exist.
    pub kind: u8,
    /// Its name; of `[host]` the word `host`.
    pub name: Span,
    /// Its number among those with its kind of name: guests and services are counted together.
    pub number: u16,
    body: Body,
}

/// Where the entries of a section are.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// Lines of a file, from this line on.
    Lines { file: u8, line: u32, span: Span },
    /// The files from this number to before that one, each an option.
    Options { first: u16, end: u16 },
    /// `key=value,key=value` in this file.
    Commas { file: u8, span: Span },
}

/// A place for people.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The file's name.
    pub file: Span,
    /// The line, from 1; 0 where the place is the file as such.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// The text of the line, without its newline.
    pub text: Span,
}

impl Config {
    /// An empty config; all zero, so that a static one takes no room in the file.
    #[must_use]
    pub const fn new() -> Self {
        Config {
            text: [0; limits::CONFIG_BYTES + 1],
            used: 0,
            files: heapless::Vec::new(),
            sections: heapless::Vec::new(),
            incomplete: false,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.used = 0;
        self.files.clear();
        self.sections.clear();
        self.incomplete = false;
    }

    /// All of the text; what a [`Span`] counts in.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.text.get(..self.used).unwrap_or_default()
    }

    /// The files, in the order they were read.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The sections, in the order they were read.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The entries of a section that are well formed.
    #[must_use]
    pub fn entries(&self, section: &Section) -> Entries<'_> {
        Entries::new(self, section)
    }

    /// Whether a file could not be read, so that what is missing may be there.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Whether this section is a guest of `inn run`, for which defaults differ.
    #[must_use]
    pub fn is_run(&self, section: &Section) -> bool {
        matches!(section.body, Body::Options { .. })
    }

    /// The profile that `section` takes.
    #[must_use]
    pub fn profile_of(&self, section: &Section) -> Option<&Section> {
        let entry = self.entries(section).find(|entry| entry.key == Some(key::Key::Profile))?;
        let name = entry.value.of(self.text());
        self.sections().iter().find(|other| other.kind == key::section::PROFILE && other.name.of(self.text()) == name)
    }

    /// How the values of `section` are written.
    #[must_use]
    pub fn form(&self, section: &Section) -> lexer::Form {
        match section.body {
            Body::Lines { .. } => lexer::Form::Lines,
            Body::Options { .. } | Body::Commas { .. } => lexer::Form::Option,
        }
    }

    /// Where `span` is, for people.
    #[must_use]
    pub fn place(&self, span: Span) -> Place {
        let start = span.start;
        let Some(file) = self.files.iter().find(|file| start <= file.text.end) else {
            return Place { file: Span::default(), line: 0, column: 0, text: Span::default() };
        };
        if start < file.text.start {
            return Place { file: file.name, line: 0, column: 0, text: Span::default() };
        }
        let before = Span { start: file.text.start, end: start }.of(self.text());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let on_line = before.iter().rev().take_while(|byte| **byte != b'\n').count();
        let column = before[before.len() - on_line..].iter().filter(|byte| !matches!(byte, 0x80..=0xbf)).count() + 1;
        let after = Span { start, end: file.text.end }.of(self.text());
        let rest = after.iter().take_while(|byte| **byte != b'\n').count();
        let mut text = Span::new(start as usize - on_line, start as usize + rest);
        if text.of(self.text()).last() == Some(&b'\r') {
            text.end -= 1;
        }
        Place { file: file.name, line: line as u32, column: column as u32, text }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
