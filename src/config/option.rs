//! Guests given as options rather than in a file: those of `inn run`, and `inn.guest=` of the kernel's command line.

use super::diagnostic::{Code, Diagnostics};
use super::key::section;
use super::lexer::Span;
use super::{Body, Config};

impl Config {
    /// Begins the guest of `inn run`, called `name`; its keys follow by [`Config::option`] and [`Config::option_words`].
    ///
    /// For this guest `kind` may be left out (`app`), and `root` too: then it is the host's own, with a private layer in
    /// memory.
    pub fn begin_run(&mut self, name: &[u8], diagnostics: &mut Diagnostics) {
        let Some(name) = self.add_option(b"inn run", name, diagnostics) else { return };
        self.check_name(name, diagnostics);
        let next = self.files.len() as u16;
        self.push_section(section::GUEST, name, Body::Options { first: next, end: next }, diagnostics);
    }

    /// Adds a key to the guest begun last: `--memory` and `64M`. The value is written as in a config; a flag's is `yes`.
    pub fn option(&mut self, option: &[u8], value: &[u8], diagnostics: &mut Diagnostics) {
        if self.add_option(option, value, diagnostics).is_some() {
            self.extend_run();
        }
    }

    /// Adds a key whose words are already apart: `--command` and an argv.
    pub fn option_words<'w>(
        &mut self,
        option: &[u8],
        words: impl Iterator<Item = &'w [u8]>,
        diagnostics: &mut Diagnostics,
    ) {
        let Some(value) = self.add_option(option, b"", diagnostics) else { return };
        for word in words {
            let escaped = word.iter().flat_map(|byte| match byte {
                b'"' => b"\\\"".as_slice(),
                b'\\' => b"\\\\",
                byte => core::slice::from_ref(byte),
            });
            let bytes = b"\"".iter().chain(escaped).chain(b"\" ");
            for byte in bytes {
                if self.add_text(core::slice::from_ref(byte), value, diagnostics).is_none() {
                    return;
                }
            }
        }
        let end = self.used as u32;
        if let Some(file) = self.files.last_mut() {
            file.text.end = end;
        }
        self.extend_run();
    }

    /// Ends the guest begun by [`Config::begin_run`]: checks its keys.
    pub fn end_run(&mut self, diagnostics: &mut Diagnostics) {
        self.check_keys(self.sections.len().wrapping_sub(1), diagnostics);
    }

    /// Adds the guest of an `inn.guest=` on the kernel's command line; `value` is what follows the `=`:
    /// `NAME,key=value,key=value…`. A comma is part of a value unless `key=` follows it: `cpuset=0-3,7,memory=64M`.
    pub fn add_kernel_guest(&mut self, value: &[u8], diagnostics: &mut Diagnostics) {
        let Some(text) = self.add_option(b"inn.guest", value, diagnostics) else { return };
        let length = value.iter().position(|byte| *byte == b',').unwrap_or(value.len()) as u32;
        let name = Span { end: text.start + length, ..text };
        let keys = Span { start: (name.end + 1).min(text.end), ..text };
        if name.is_empty() {
            return diagnostics.error(Code::OptionForm, text);
        }
        self.check_name(name, diagnostics);
        if !keys.is_empty() && !keys.of(&self.text).contains(&b'=') {
            diagnostics.error(Code::OptionForm, text);
        }
        let file = (self.files.len() - 1) as u8;
        self.push_section(section::GUEST, name, Body::Commas { file, span: keys }, diagnostics);
        self.end_run(diagnostics);
    }

    fn add_option(&mut self, option: &[u8], value: &[u8], diagnostics: &mut Diagnostics) -> Option<Span> {
        let name = self.add_name(option, diagnostics)?;
        let text = self.add_text(value, name, diagnostics)?;
        self.files.last_mut()?.text = text;
        Some(text)
    }

    fn extend_run(&mut self) {
        let next = self.files.len() as u16;
        if let Some(super::Section { body: Body::Options { end, .. }, .. }) = self.sections.last_mut() {
            *end = next;
        }
    }
}
