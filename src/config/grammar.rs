//! Lines → sections and entries: which section and key a line means, and whether it may stand there.

use super::diagnostic::{Code, Detail, Diagnostic, Diagnostics, Near};
use super::key::{Key, section};
use super::lexer::{Form, Line, Lines, Span, Words, unquote};
use super::near::nearest;
use super::source::{FileName, Source, Unreadable};
use super::{Body, Config, File, Section};
use crate::limits;

/// `key = value`, well formed. The key may not exist.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The key, if the section knows it.
    pub key: Option<Key>,
    /// Where the key stands.
    pub name: Span,
    /// Where the value stands.
    pub value: Span,
    /// The file's number.
    pub file: u8,
    /// The line's number in it, from 1.
    pub line: u32,
}

/// The entries of a section.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    config: &'a Config,
    kind: u8,
    rest: Rest<'a>,
}

#[derive(Clone, Debug)]
enum Rest<'a> {
    Lines(u8, Lines<'a>),
    Options { next: u16, end: u16 },
    Commas(u8, Span),
}

impl<'a> Entries<'a> {
    pub(super) fn new(config: &'a Config, section: &Section) -> Self {
        let rest = match section.body {
            Body::Lines { file, line, span } => Rest::Lines(file, Lines::new(config.text(), span, line)),
            Body::Options { first, end } => Rest::Options { next: first, end },
            Body::Commas { file, span } => Rest::Commas(file, span),
        };
        Entries { config, kind: section.kind, rest }
    }

    fn entry(&self, name: Span, value: Span, file: u8, line: u32) -> Entry {
        let key = Key::find(name.of(self.config.text()), self.kind);
        Entry { key, name, value, file, line }
    }
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        match &mut self.rest {
            Rest::Lines(file, lines) => {
                let file = *file;
                let found = lines.find_map(|(line, number)| match line {
                    Line::Entry { key, value } => Some((key, value, number)),
                    Line::Section { .. } | Line::Wrong(..) => None,
                });
                found.map(|(name, value, line)| self.entry(name, value, file, line))
            }
            Rest::Options { next, end } => {
                if next >= end {
                    return None;
                }
                let number = *next;
                *next += 1;
                let File { name, text } = *self.config.files.get(usize::from(number))?;
                let dashes = name.of(self.config.text()).iter().take_while(|byte| **byte == b'-').count() as u32;
                Some(self.entry(Span { start: name.start + dashes, ..name }, text, number as u8, 1))
            }
            Rest::Commas(file, span) => {
                let file = *file;
                if span.is_empty() {
                    return None;
                }
                let start = span.start as usize;
                let text = span.of(self.config.text());
                let end = start + comma_before_key(text);
                let equals = start + text.iter().position(|byte| *byte == b'=')?.min(end - start);
                span.start = (end + 1) as u32;
                Some(self.entry(Span::new(start, equals), Span::new((equals + 1).min(end), end), file, 1))
            }
        }
    }
}

/// Where in `key=value,key=value` the first part ends: at a comma with `key=` behind it.
fn comma_before_key(text: &[u8]) -> usize {
    let begins_key = |rest: &[u8]| {
        let word = rest.iter().take_while(|byte| byte.is_ascii_lowercase() || **byte == b'-').count();
        word > 0 && rest.get(word) == Some(&b'=')
    };
    (0..text.len()).find(|&at| text[at] == b',' && begins_key(&text[at + 1..])).unwrap_or(text.len())
}

impl Config {
    /// Reads the file at `path` and those that it includes. What is wrong is added to `diagnostics`.
    pub fn read(&mut self, path: &[u8], source: &mut dyn Source, diagnostics: &mut Diagnostics) {
        let first = self.sections.len();
        self.read_file(path, source, diagnostics);
        let host = self.sections.get(first..).unwrap_or_default().iter().find(|section| section.kind == section::HOST);
        if let Some(host) = host.copied() {
            self.include(&host, source, diagnostics);
        }
    }

    fn read_file(&mut self, path: &[u8], source: &mut dyn Source, diagnostics: &mut Diagnostics) {
        if let Some(twice) = self.files.iter().find(|file| file.name.of(self.text()) == path) {
            return diagnostics.error(Code::IncludedTwice, twice.name);
        }
        let Some(name) = self.add_name(path, diagnostics) else { return };
        let (head, room) = self.text.split_at_mut(self.used);
        let read = source.read(name.of(head), room);
        let length = match read {
            Ok(length) if length < room.len() => length,
            Ok(_) => {
                self.incomplete = true;
                let bound = Detail::Bound(limits::CONFIG_BYTES as u64, "bytes in all (limits::CONFIG_BYTES)");
                return diagnostics.detail(Code::TooLarge, name, bound);
            }
            Err(Unreadable(errno)) => {
                self.incomplete = true;
                return diagnostics.detail(Code::Unreadable, name, Detail::Errno(errno));
            }
        };
        let file = self.files.len() - 1;
        let mut text = Span::new(self.used, self.used + length);
        self.used += length;
        if let Some(entry) = self.files.last_mut() {
            entry.text = text;
        }
        if let Some(at) = not_text(text.of(&self.text)) {
            self.incomplete = true;
            let at = text.start as usize + at;
            return diagnostics.error(Code::NotText, Span::new(at, at + 1));
        }
        if text.of(&self.text).starts_with(BYTE_ORDER_MARK) {
            text.start += BYTE_ORDER_MARK.len() as u32;
        }
        let first = self.sections.len();
        self.find_sections(file as u8, text, diagnostics);
        for index in first..self.sections.len() {
            self.check_keys(index, diagnostics);
        }
    }

    /// Adds a file without text.
    pub(super) fn add_name(&mut self, name: &[u8], diagnostics: &mut Diagnostics) -> Option<Span> {
        let last = self.files.last().map_or(Span::default(), |file| file.name);
        if !self.files.is_empty() {
            // So that the end of one file is not the beginning of the next.
            self.add_text(b"\n", last, diagnostics)?;
        }
        let span = self.add_text(name, last, diagnostics)?;
        let empty = Span { start: span.end, end: span.end };
        if self.files.push(File { name: span, text: empty }).is_err() {
            self.incomplete = true;
            let bound = Detail::Bound(limits::CONFIG_FILES as u64, "files (limits::CONFIG_FILES)");
            diagnostics.detail(Code::TooManyFiles, last, bound);
            return None;
        }
        Some(span)
    }

    /// Keeps `bytes`.
    pub(super) fn add_text(&mut self, bytes: &[u8], at: Span, diagnostics: &mut Diagnostics) -> Option<Span> {
        let end = self.used.saturating_add(bytes.len());
        if end > limits::CONFIG_BYTES {
            self.incomplete = true;
            let bound = Detail::Bound(limits::CONFIG_BYTES as u64, "bytes in all (limits::CONFIG_BYTES)");
            diagnostics.detail(Code::TooLarge, at, bound);
            return None;
        }
        self.text.get_mut(self.used..end)?.copy_from_slice(bytes);
        let span = Span::new(self.used, end);
        self.used = end;
        Some(span)
    }

    fn find_sections(&mut self, file: u8, text: Span, diagnostics: &mut Diagnostics) {
        let mut at = text.start as usize;
        let mut number = 1;
        let mut open = false;
        loop {
            let mut lines = Lines::new(&self.text, Span { start: at as u32, ..text }, number);
            let Some((line, _)) = lines.next() else { break };
            let start = at;
            (at, number) = lines.place();
            match line {
                Line::Wrong(code, span) => {
                    let bound = Detail::Bound(limits::LINE_BYTES as u64, "bytes (limits::LINE_BYTES)");
                    diagnostics.detail(code, span, bound);
                }
                Line::Entry { .. } if open => {}
                Line::Entry { key, .. } => diagnostics.error(Code::OutsideSection, key),
                Line::Section { kind, name } => {
                    if open {
                        self.end_section(start);
                    }
                    let body = Body::Lines { file, line: number, span: Span { start: at as u32, ..text } };
                    self.add_section(kind, name, body, diagnostics);
                    open = true;
                }
            }
        }
    }

    /// The last section ends before byte `end`.
    fn end_section(&mut self, end: usize) {
        if let Some(Section { body: Body::Lines { span, .. }, .. }) = self.sections.last_mut() {
            span.end = end as u32;
        }
    }

    fn add_section(&mut self, kind_at: Span, name: Span, body: Body, diagnostics: &mut Diagnostics) {
        let word = kind_at.of(&self.text);
        let kind = section::ALL.iter().find(|(_, name)| name.as_bytes() == word).map_or(0, |(bit, _)| *bit);
        let named = kind & section::HOST == 0;
        let unnamed = named && name.is_empty();
        if kind == 0 {
            let near = nearest(word, section::ALL.iter().map(|(_, name)| (*name, name.as_bytes())));
            let near = near.map_or(Near::Nothing, Near::Word);
            diagnostics.add(Diagnostic { code: Code::UnknownSection, at: kind_at, detail: Detail::None, near });
        } else if unnamed {
            diagnostics.detail(Code::SectionUnnamed, kind_at, Detail::Section(kind));
        } else if !named && !name.is_empty() {
            diagnostics.error(Code::HostNamed, name);
        } else if named {
            self.check_name(name, diagnostics);
        }
        let name = if named { name } else { kind_at };
        // What has no name cannot be looked at further.
        self.push_section(if unnamed { 0 } else { kind }, name, body, diagnostics);
    }

    /// Adds a section, unless there is one of its name.
    pub(super) fn push_section(&mut self, kind: u8, name: Span, body: Body, diagnostics: &mut Diagnostics) {
        let alike = kinds_that_share_names(kind);
        let text = name.of(&self.text);
        let mut number = 0u16;
        let mut twice = None;
        for other in self.sections.iter().filter(|other| other.kind & alike != 0) {
            number += 1;
            if twice.is_none() && !text.is_empty() && other.name.of(&self.text) == text {
                twice = Some(other.name);
            }
        }
        if let Some(first) = twice {
            diagnostics.detail(Code::SectionTwice, name, Detail::Place(first));
        }
        if self.sections.push(Section { kind, name, number, body }).is_err() {
            self.incomplete = true;
            let bound = Detail::Bound(limits::SECTIONS as u64, "sections (limits::SECTIONS)");
            diagnostics.detail(Code::TooManySections, name, bound);
        }
    }

    pub(super) fn check_name(&self, name: Span, diagnostics: &mut Diagnostics) {
        /// What control group files begin with (Documentation/admin-guide/cgroup-v2.rst, "Avoid Name Collisions").
        const CONTROLLERS: &[&[u8]] =
            &[b"cgroup", b"cpu", b"cpuset", b"memory", b"io", b"pids", b"rdma", b"hugetlb", b"misc", b"irq", b"dmem"];
        let text = name.of(&self.text);
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let first = text.first().is_some_and(u8::is_ascii_alphanumeric);
        if !first || text.len() > limits::NAME_BYTES || !text.iter().all(inner) {
            diagnostics.error(Code::BadName, name);
        } else if let Some(dot) = text.iter().position(|byte| *byte == b'.')
            && CONTROLLERS.contains(&&text[..dot])
        {
            diagnostics.error(Code::CgroupName, name);
        }
    }

    /// Checks the keys of section number `index`: known here, supported, given once, with a value.
    pub(super) fn check_keys(&self, index: usize, diagnostics: &mut Diagnostics) {
        let Some(section) = self.sections.get(index).filter(|section| section.kind != 0) else { return };
        let mut first = [Span::default(); Key::COUNT];
        for entry in self.entries(section) {
            let Some(key) = entry.key else {
                self.unknown_key(section, entry.name, diagnostics);
                continue;
            };
            let before = core::mem::replace(&mut first[key as usize], entry.name);
            if !key.is_built() {
                diagnostics.error(Code::NotSupported, entry.name);
            } else if Words::new(&self.text, entry.value, self.form(section)).next().is_none() {
                diagnostics.error(Code::NoValue, entry.name);
            } else if !before.is_empty() && !key.is_list() {
                diagnostics.detail(Code::KeyTwice, entry.name, Detail::Place(before));
            }
        }
    }

    fn unknown_key(&self, section: &Section, name: Span, diagnostics: &mut Diagnostics) {
        let word = name.of(&self.text);
        if word.is_empty() {
            return diagnostics.error(Code::KeyExpected, name);
        }
        if Key::find(word, u8::MAX).is_some() {
            return diagnostics.detail(Code::WrongSection, name, Detail::Section(section.kind));
        }
        let here = Key::ALL.iter().filter(|key| key.sections() & section.kind != 0);
        let near = nearest(word, here.map(|key| (key.name(), key.name().as_bytes())));
        let near = near.map_or(Near::Nothing, Near::Word);
        diagnostics.add(Diagnostic { code: Code::UnknownKey, at: name, detail: Detail::None, near });
    }

    /// Reads the files that `[host]` includes.
    fn include(&mut self, host: &Section, source: &mut dyn Source, diagnostics: &mut Diagnostics) {
        let mut skip = 0;
        // The text grows meanwhile, so each pattern is looked up anew.
        while let Some(at) = self.nth_include(host, skip) {
            skip += 1;
            let mut pattern = heapless::Vec::<u8, { limits::LINE_BYTES }>::new();
            for byte in unquote(at.of(&self.text)) {
                // No word is longer than a line may be, so there is room.
                let _ = pattern.push(byte);
            }
            self.include_pattern(&pattern, at, source, diagnostics);
        }
    }

    fn nth_include(&self, host: &Section, skip: usize) -> Option<Span> {
        self.entries(host)
            .filter(|entry| entry.key == Some(Key::Include))
            .flat_map(|entry| Words::new(&self.text, entry.value, Form::Lines))
            .map(|word| word.span)
            .nth(skip)
    }

    fn include_pattern(&mut self, pattern: &[u8], at: Span, source: &mut dyn Source, diagnostics: &mut Diagnostics) {
        let is_wild = |bytes: &[u8]| bytes.iter().any(|byte| matches!(byte, b'*' | b'?'));
        if pattern.first() != Some(&b'/') {
            return diagnostics.error(Code::NotPath, at);
        }
        let base = pattern.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (directory, file) = pattern.split_at(base);
        if is_wild(directory) {
            return diagnostics.error(Code::Glob, at);
        }
        if !is_wild(file) {
            return self.read_file(pattern, source, diagnostics);
        }
        let mut name = FileName::new();
        loop {
            match source.next_name(directory, file, &name) {
                Ok(Some(next)) if next > name => name = next,
                // A directory that is not there holds no files.
                Ok(_) | Err(Unreadable(ENOENT)) => return,
                Err(Unreadable(errno)) => {
                    self.incomplete = true;
                    return diagnostics.detail(Code::Unreadable, at, Detail::Errno(errno));
                }
            }
            let mut path = heapless::Vec::<u8, { limits::LINE_BYTES + 256 }>::new();
            let _ = path.extend_from_slice(directory);
            let _ = path.extend_from_slice(&name);
            let full = self.files.is_full();
            self.read_file(&path, source, diagnostics);
            if full {
                // That was the first that is too many; one message is enough.
                return;
            }
        }
    }
}

/// No such file (errno(3)).
const ENOENT: u16 = libc::ENOENT as u16;

/// What some editors put first (Unicode Standard, 23.8).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Guests and services have their control groups side by side, so that they share names; a bridge is a link.
fn kinds_that_share_names(kind: u8) -> u8 {
    let shared = [section::GUEST | section::SERVICE, section::LINK | section::BRIDGE];
    shared.into_iter().find(|kinds| kinds & kind != 0).unwrap_or(kind)
}

/// The first byte that is not part of a text: not UTF-8, or a control character other than tab and the end of a line.
fn not_text(bytes: &[u8]) -> Option<usize> {
    let valid = match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(bytes.get(..error.valid_up_to())?).unwrap_or_default(),
    };
    let mut chars = valid.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        let mut ends_line = || chars.peek().is_none_or(|(_, next)| *next == '\n');
        if char.is_control() && !matches!(char, '\t' | '\n') && !(char == '\r' && ends_line()) {
            return Some(at);
        }
    }
    (valid.len() < bytes.len()).then_some(valid.len())
}
