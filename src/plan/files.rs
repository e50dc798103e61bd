//! What a guest sees besides its root: `bind`, `tmpfs`.

use super::build::Builder;
use super::guest::MEMORY_MAX;
use super::value::{self, Wrong};
use super::{Bind, Guest, Tmpfs};
use crate::config::Section;
use crate::config::diagnostic::{Code, Detail, Unit};
use crate::config::key::Key;
use crate::limits;
use crate::text::{List, Text};

/// Less than one page holds nothing.
pub const TMPFS_BYTES: (u64, u64) = (4096, MEMORY_MAX);

/// What may be forbidden of a bind, a bit each; and a word for nothing.
pub const OPTIONS: &str = "ro\0nosuid\0nodev\0noexec\0rw";

impl Builder<'_> {
    /// `source target [ro,nosuid,...]`
    pub fn binds(&mut self, section: &Section) -> List<Bind> {
        let mark = self.plan.binds.mark();
        self.each_value(section, Key::Bind, &mut |builder| {
            let Some(bind) = builder.bind() else { return };
            if builder.plan.binds.since(mark).len() == limits::BINDS {
                builder.too_many(0, limits::BINDS, "binds (limits::BINDS)");
            } else if builder.plan.binds.push(bind).is_err() {
                builder.too_many(0, 2 * limits::GUESTS, "binds in all (twice limits::GUESTS)");
            }
        });
        self.plan.binds.since(mark)
    }

    fn bind(&mut self) -> Option<Bind> {
        let source = value::path(self.value.word(0));
        self.checked(0, source)?;
        if self.value.len() < 2 {
            let missing = Wrong::detail(Code::WordMissing, Detail::Words("a path on the host and one inside"));
            self.wrong(missing, self.value.at(0));
            return None;
        }
        let target = target(self.value.word(1));
        self.checked(1, target)?;
        let mut flags = 0;
        for option in self.value.word(2).split(|byte| *byte == b',').filter(|option| !option.is_empty()) {
            match value::choice(option, OPTIONS) {
                // `rw` says what is so in any case.
                Ok(4) => {}
                Ok(bit) => flags |= 1 << bit,
                Err(wrong) => {
                    self.wrong(wrong, self.value.at(2));
                    return None;
                }
            }
        }
        self.has_words(3).then(|| Bind { source: self.keep(0), target: self.keep(1), flags })
    }

    /// `target size`
    pub fn tmpfs(&mut self, section: &Section) -> List<Tmpfs> {
        let mark = self.plan.tmpfs.mark();
        self.each_value(section, Key::Tmpfs, &mut |builder| {
            let Some(tmpfs) = builder.one_tmpfs() else { return };
            if builder.plan.tmpfs.since(mark).len() == limits::BINDS {
                builder.too_many(0, limits::BINDS, "file systems in memory (limits::BINDS)");
            } else if builder.plan.tmpfs.push(tmpfs).is_err() {
                builder.too_many(0, 2 * limits::GUESTS, "file systems in memory in all (twice limits::GUESTS)");
            }
        });
        self.plan.tmpfs.since(mark)
    }

    fn one_tmpfs(&mut self) -> Option<Tmpfs> {
        let target = target(self.value.word(0));
        self.checked(0, target)?;
        if self.value.len() < 2 {
            let missing = Wrong::detail(Code::WordMissing, Detail::Words("a path inside and a size"));
            self.wrong(missing, self.value.at(0));
            return None;
        }
        let bytes = value::amount(self.value.word(1), Unit::Bytes, TMPFS_BYTES);
        let bytes = self.checked(1, bytes)?;
        self.has_words(2).then(|| Tmpfs { target: self.keep(0), bytes })
    }

    /// Sees that nothing of `guest` is mounted twice in one place.
    pub fn targets_agree(&mut self, section: &Section, guest: &Guest) {
        let strings = &self.plan.strings;
        let targets = || {
            let binds = self.plan.binds.get(guest.binds).iter().map(|bind| (Key::Bind, bind.target));
            binds.chain(self.plan.tmpfs.get(guest.tmpfs).iter().map(|tmpfs| (Key::Tmpfs, tmpfs.target)))
        };
        let same = |one: Text, other: Text| strings.bytes(one) == strings.bytes(other);
        let twice =
            |(index, (_, target)): &(usize, (Key, Text))| targets().take(*index).any(|(_, other)| same(*target, other));
        if let Some((_, (key, _))) = targets().enumerate().find(twice) {
            let at = self.asked_at(section, key);
            self.diagnostics.error(Code::TargetTwice, at);
        }
    }
}

/// A path inside that can be mounted on: not the root itself, and nothing of the kernel's file systems, which would show
/// what they mask.
pub fn target(path: &[u8]) -> Result<(), Wrong> {
    value::path(path)?;
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    match (parts.next(), parts.next()) {
        (None, _) | (Some(b"proc" | b"sys"), _) | (Some(b"dev"), None) => Err(Code::NotTarget.into()),
        _ => tidy(path),
    }
}

/// Sees that a path has one way to write it only.
pub fn tidy(path: &[u8]) -> Result<(), Wrong> {
    let has_dot = path.split(|byte| *byte == b'/').any(|part| part == b".");
    if path.ends_with(b"/") || path.windows(2).any(|pair| pair == b"//") || has_dot {
        return Err(Code::NotTidy.into());
    }
    Ok(())
}
