//! Lines of a file put in place of others: every other byte of it stays. Pure.

use super::key::{Key, section};
use super::lexer::{Form, Line, Lines, Span, Words, unquote};
use super::{Body, Config, File, Section};
use crate::limits;

/// What is to stand in a section.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The key.
    pub key: Key,
    /// Its value as a file has it; empty for no line. Of a list the line with the same first word is meant.
    pub value: &'a [u8],
}

/// Why a section cannot be edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// No file has it.
    NoSection,
    /// Its profile has the key, and so it cannot be without.
    Inherited(Key),
    /// There are more changes than [`EDITS`].
    TooMany,
}

/// Takes a text piece by piece.
pub type Out<'o> = dyn FnMut(&[u8]) + 'o;

/// Changes of one file at most.
const EDITS: usize = 2 * limits::VALUE_WORDS;

/// What is done to a file, in the order of its text.
#[derive(Debug)]
pub struct Edits {
    file: u8,
    edits: heapless::Vec<Edit, EDITS>,
    like: Like,
}

/// One change: what stands in `at` is replaced.
#[derive(Clone, Copy, Debug)]
struct Edit {
    at: Span,
    by: By,
}

#[derive(Clone, Copy, Debug)]
enum By {
    Nothing,
    /// The value of this one of those wanted, from this byte on.
    Value(usize, usize),
    /// A line with the value of this one of those wanted.
    Line(usize),
    /// A line with a value that stands elsewhere.
    Copy(Key, Span),
}

/// An entry that new lines are made to look like.
#[derive(Clone, Copy, Debug, Default)]
struct Like {
    indent: Span,
    /// Between key and `=`.
    before: Span,
    /// Between `=` and value.
    after: Span,
    /// Bytes from the beginning of the key to `=`.
    width: usize,
    /// Whether entries have their `=` one below the other.
    is_aligned: bool,
}

impl Config {
    /// How `wanted` is brought into the file that has guest or service `name`.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn edit(&self, name: &[u8], wanted: &[Wanted<'_>]) -> Result<Edits, Unwritable> {
        let is = |section: &&Section| {
            section.kind & (section::GUEST | section::SERVICE) != 0 && section.name.of(self.text()) == name
        };
        let found = self.sections().iter().find(is).ok_or(Unwritable::NoSection)?;
        let Body::Lines { file, line, span } = found.body else { return Err(Unwritable::NoSection) };
        let mut edits = Edits { file, edits: heapless::Vec::new(), like: Like::default() };
        let mut is_there = [false; limits::VALUE_WORDS];
        let mut lines = Lines::new(self.text(), span, line);
        let mut end = span.start as usize;
        while let Some((line, _)) = lines.next() {
            let Line::Entry { key: name, value } = line else { continue };
            let start = self.line_start(name);
            end = lines.place().0;
            edits.like = Like::of(self.text(), start, name, value, edits.like.width);
            let key = Key::find(name.of(self.text()), found.kind);
            let is_it = |wanted: &Wanted<'_>| key == Some(wanted.key) && self.is_same_item(wanted, value);
            let Some(number) = wanted.iter().position(is_it) else { continue };
            if let Some(is_there) = is_there.get_mut(number) {
                *is_there = true;
            }
            let Some(Wanted { key, value: new }) = wanted.get(number).copied() else { continue };
            edits.push(match () {
                () if new.is_empty() => Edit { at: Span::new(start, end), by: By::Nothing },
                () if key.is_list() => self.behind_first(number, value, new),
                () => Edit { at: value, by: By::Value(number, 0) },
            })?;
        }
        let end = Span::new(end, end);
        for (number, one) in wanted.iter().enumerate().filter(|(number, _)| is_there.get(*number) == Some(&false)) {
            if one.key.is_list() {
                self.copy_inherited(found, wanted, number, end, &mut edits)?;
            }
            let inherited = self.profile_of(found).is_some_and(|profile| self.says(profile, one.key));
            match one.value.is_empty() {
                true if inherited => return Err(Unwritable::Inherited(one.key)),
                true => {}
                false => edits.push(Edit { at: end, by: By::Line(number) })?,
            }
        }
        Ok(edits)
    }

    /// A list of the section replaces that of its profile: what else that has comes along.
    fn copy_inherited(
        &self,
        found: &Section,
        wanted: &[Wanted<'_>],
        number: usize,
        at: Span,
        edits: &mut Edits,
    ) -> Result<(), Unwritable> {
        let Some(Wanted { key, .. }) = wanted.get(number).copied() else { return Ok(()) };
        let is_first = !wanted.iter().take(number).any(|other| other.key == key);
        let Some(profile) = self.profile_of(found).filter(|_| is_first && !self.says(found, key)) else {
            return Ok(());
        };
        for entry in self.entries(profile).filter(|entry| entry.key == Some(key)) {
            if !wanted.iter().any(|wanted| wanted.key == key && self.is_same_item(wanted, entry.value)) {
                edits.push(Edit { at, by: By::Copy(key, entry.value) })?;
            }
        }
        Ok(())
    }

    fn says(&self, section: &Section, key: Key) -> bool {
        self.entries(section).any(|entry| entry.key == Some(key))
    }

    /// Whether the value at `value` is that of `wanted`: of a list, whether their first words mean the same.
    fn is_same_item(&self, wanted: &Wanted<'_>, value: Span) -> bool {
        let all = Span::new(0, wanted.value.len());
        let first = |text, span| Words::new(text, span, Form::Lines).next().map(|word| word.span.of(text));
        let (Some(old), Some(new)) = (first(self.text(), value), first(wanted.value, all)) else {
            return !wanted.key.is_list();
        };
        !wanted.key.is_list() || unquote(old).eq(unquote(new))
    }

    /// The words behind the first are replaced.
    fn behind_first(&self, number: usize, value: Span, new: &[u8]) -> Edit {
        let second = |text, span| Words::new(text, span, Form::Lines).nth(1).map(|word| word.span.start);
        match (second(self.text(), value), second(new, Span::new(0, new.len()))) {
            (Some(start), Some(from)) => Edit { at: Span { start, ..value }, by: By::Value(number, from as usize) },
            _ => Edit { at: value, by: By::Value(number, 0) },
        }
    }

    fn line_start(&self, at: Span) -> usize {
        let before = Span { start: 0, end: at.start }.of(self.text());
        before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
    }

    /// The same number for configs that say the same; what `[guest name]` says of `keys` does not matter.
    #[must_use]
    pub fn digest(&self, name: &[u8], keys: &dyn Fn(Key) -> bool) -> u64 {
        // FNV-1a, 64 bits.
        let mut digest = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |byte: u8| digest = (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let text = self.text();
        for section in self.sections() {
            let is_it = section.kind & (section::GUEST | section::SERVICE) != 0 && section.name.of(text) == name;
            add(section.kind);
            section.name.of(text).iter().copied().for_each(&mut add);
            for entry in self.entries(section) {
                if is_it && entry.key.is_some_and(keys) {
                    continue;
                }
                add(b'\n');
                entry.name.of(text).iter().copied().for_each(&mut add);
                for word in Words::new(text, entry.value, self.form(section)) {
                    add(0);
                    unquote(word.span.of(text)).for_each(&mut add);
                }
            }
        }
        digest
    }
}

impl Like {
    /// `width` is that of the entry before.
    fn of(text: &[u8], line_start: usize, name: Span, value: Span, width_before: usize) -> Like {
        let behind = Span { start: name.end, end: value.start };
        let equals = name.end as usize + behind.of(text).iter().position(|byte| *byte == b'=').unwrap_or(0);
        let width = equals - name.start as usize;
        let is_aligned = equals > name.end as usize + 1 || width == width_before;
        Like {
            indent: Span::new(line_start, name.start as usize),
            before: Span::new(name.end as usize, equals),
            after: Span::new(equals + 1, value.start as usize),
            width,
            is_aligned,
        }
    }

    /// `key = ` as this entry has it.
    fn begin(&self, config: &Config, key: Key, out: &mut Out<'_>) {
        let text = config.text();
        let before = self.before.of(text);
        out(self.indent.of(text));
        out(key.name().as_bytes());
        if before.contains(&b'\t') {
            out(before);
        } else {
            let width = if self.is_aligned { self.width } else { 0 };
            let blanks = width.saturating_sub(key.name().len()).max(usize::from(!before.is_empty()));
            (0..blanks).for_each(|_| out(b" "));
        }
        out(b"=");
        let after = self.after.of(text);
        out(if after.contains(&b'\\') { b" " } else { after });
    }
}

impl Edits {
    fn push(&mut self, edit: Edit) -> Result<(), Unwritable> {
        self.edits.push(edit).map_err(|_| Unwritable::TooMany)
    }

    /// The file that is changed.
    #[must_use]
    pub fn file<'c>(&self, config: &'c Config) -> Option<&'c File> {
        config.files().get(usize::from(self.file))
    }

    /// Writes the file as it is to be, piece by piece. `config` and `wanted` are what it was made from.
    pub fn write(&self, config: &Config, wanted: &[Wanted<'_>], out: &mut Out<'_>) {
        let Some(file) = self.file(config) else { return };
        // A byte order mark stands before the text.
        let (text, mut at) = (config.text(), file.text.start);
        let is_dos = file.text.of(text).windows(2).any(|pair| pair == b"\r\n");
        let newline: &[u8] = if is_dos { b"\r\n" } else { b"\n" };
        for edit in &self.edits {
            out(Span { start: at, end: edit.at.start }.of(text));
            at = edit.at.end;
            let is_open = edit.at.start > 0 && text.get(edit.at.start as usize - 1) != Some(&b'\n');
            let mut line = |key, value: &mut dyn FnMut(&mut Out<'_>)| {
                out(if is_open { newline } else { b"" });
                self.like.begin(config, key, out);
                value(out);
                out(if is_open { b"" } else { newline });
            };
            match edit.by {
                By::Nothing => {}
                By::Value(number, from) => {
                    out(wanted.get(number).and_then(|wanted| wanted.value.get(from..)).unwrap_or_default())
                }
                By::Line(number) => {
                    if let Some(wanted) = wanted.get(number) {
                        line(wanted.key, &mut |out| out(wanted.value));
                    }
                }
                By::Copy(key, value) => line(key, &mut |out| render(text, value, Form::Lines, out)),
            }
        }
        out(Span { start: at, end: file.text.end }.of(text));
    }
}

/// Writes the words at `value` as a file has them, with one blank between each two.
pub fn render(text: &[u8], value: Span, form: Form, out: &mut Out<'_>) {
    for (index, word) in Words::new(text, value, form).enumerate() {
        let bytes = || unquote(word.span.of(text));
        let is_plain = !bytes().any(|byte| matches!(byte, b' ' | b'\t' | b'"' | b'\\' | b'\n'))
            && !matches!(bytes().next(), None | Some(b'#'));
        out(if index > 0 { b" " } else { b"" });
        out(if is_plain { b"" } else { b"\"" });
        for byte in bytes() {
            out(if !is_plain && matches!(byte, b'"' | b'\\') { b"\\" } else { b"" });
            out(&[byte]);
        }
        out(if is_plain { b"" } else { b"\"" });
    }
}
