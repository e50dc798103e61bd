//! File systems and swap of the host: `mount`, `swap`.

use super::At;
use super::build::Builder;
use super::files::tidy;
use super::value::{self, Wrong};
use crate::config::Section;
use crate::config::diagnostic::{Code, Detail, Unit};
use crate::config::key::Key;
use crate::limits;
use crate::text::{List, Text, words};

/// A file system that is mounted at boot, or swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount {
    /// A device, `LABEL=`, `UUID=`, `PARTUUID=` or `PARTLABEL=` and its value, or what the file system takes.
    pub source: Text,
    /// Where it is mounted; empty for swap.
    pub target: Text,
    /// The type of the file system: `auto` for what is found on it.
    pub kind: Text,
    /// Options that are the file system's own, with commas between them.
    pub data: Text,
    /// A bit for each of [`Mount::OPTIONS`].
    pub options: u32,
    /// How long its device is waited for, milliseconds.
    pub wait_ms: u32,
    /// Where the config says so.
    pub at: At,
}

impl Mount {
    /// What may be said of each, a bit for each; behind them words for what is so in any case.
    pub const OPTIONS: &'static str = "ro\0nosuid\0nodev\0noexec\0sync\0dirsync\0noatime\0nodiratime\0relatime\0strictatime\0lazytime\0bind\0\
        rbind\0noauto\0nofail\0fsck\0rw\0defaults\0auto\0suid\0dev\0exec\0async\0atime";
    /// How many of them are bits.
    pub const BITS: usize = 16;
    /// `ro`
    pub const READ_ONLY: u32 = 1;
    /// `bind`
    pub const BIND: u32 = 1 << 11;
    /// `rbind`
    pub const BIND_ALL: u32 = 1 << 12;
    /// Not at boot.
    pub const NO_AUTO: u32 = 1 << 13;
    /// The host is well without it.
    pub const NO_FAIL: u32 = 1 << 14;
    /// The file system's own checker runs before.
    pub const CHECK: u32 = 1 << 15;

    /// Those of `text`, which has commas between them, that are in the table; the file system's own go to `own`.
    pub fn options_of<'t>(text: &'t [u8], own: &mut dyn FnMut(&'t [u8])) -> u32 {
        let mut options = 0;
        for option in text.split(|byte| *byte == b',').filter(|option| !option.is_empty()) {
            match words(Mount::OPTIONS).position(|word| word.as_bytes() == option) {
                Some(bit) if bit < Mount::BITS => options |= 1 << bit,
                Some(_) => {}
                None => own(option),
            }
        }
        options
    }

    /// Whether all of `options` are said.
    #[must_use]
    pub fn has(&self, options: u32) -> bool {
        self.options & options == options
    }
}

impl Builder<'_> {
    /// `source target type [options]`
    pub fn mounts(&mut self, section: &Section) -> List<Mount> {
        self.each_mount(section, Key::Mount, &mut |builder| {
            if builder.value.len() < 3 {
                let missing = Wrong::detail(Code::WordMissing, Detail::Words("a source, a target and a type"));
                builder.wrong(missing, builder.value.at(0));
                return None;
            }
            let target = builder.value.word(1);
            let target = if target == b"/" { Ok(()) } else { value::path(target).and_then(|()| tidy(target)) };
            builder.checked(1, target)?;
            let mount = builder.options(3)?;
            Some(Mount { source: builder.keep(0), target: builder.keep(1), kind: builder.keep(2), ..mount })
        })
    }

    /// `source [options]`
    pub fn swaps(&mut self, section: &Section) -> List<Mount> {
        self.each_mount(section, Key::Swap, &mut |builder| {
            let mount = builder.options(1)?;
            let own =
                builder.plan.strings.bytes(mount.data).split(|byte| *byte == b',').filter(|word| !word.is_empty());
            for word in own {
                let priority = word.strip_prefix(b"pri=").map(|number| value::amount(number, Unit::Count, (0, 32767)));
                let checked =
                    priority.map_or_else(|| value::choice(word, "discard\0pri=").map(drop), |pri| pri.map(drop));
                if let Err(wrong) = checked {
                    builder.wrong(wrong, builder.value.at(1));
                    return None;
                }
            }
            Some(Mount { source: builder.keep(0), ..mount })
        })
    }

    fn each_mount(
        &mut self,
        section: &Section,
        key: Key,
        one: &mut dyn FnMut(&mut Self) -> Option<Mount>,
    ) -> List<Mount> {
        let config = self.config;
        let mark = self.plan.mounts.mark();
        for entry in config.entries(section).filter(|entry| entry.key == Some(key)) {
            if !self.take(key, entry.value, config.form(section)) {
                continue;
            }
            let Some(mount) = one(self) else { continue };
            if self.plan.mounts.push(Mount { at: At::new(entry.file, entry.line), ..mount }).is_err() {
                self.too_many(0, limits::MOUNTS, "mounts and swap (limits::MOUNTS)");
                break;
            }
        }
        self.plan.mounts.since(mark)
    }

    /// The words from number `first` on as options, each word some with commas between them.
    fn options(&mut self, first: usize) -> Option<Mount> {
        let mut data = value::Joined::new();
        let (mut options, mut wait) = (0, None);
        for index in first..self.value.len() {
            options |= Mount::options_of(self.value.word(index), &mut |own| match own.strip_prefix(b"wait=") {
                Some(time) => wait = Some((index, value::amount(time, Unit::Time, (0, 3_600_000)))),
                // They are a part of the value's own line, so there is room.
                None => {
                    let comma = if data.is_empty() { &b""[..] } else { b"," };
                    let _ = data.extend_from_slice(comma).and_then(|()| data.extend_from_slice(own));
                }
            });
        }
        let wait_ms = match wait {
            Some((index, time)) => self.checked(index, time)? as u32,
            None => limits::DEVICE_WAIT_MS as u32,
        };
        let data = self.keep_bytes(&data, self.value.span);
        Some(Mount {
            source: Text::EMPTY,
            target: Text::EMPTY,
            kind: Text::EMPTY,
            data,
            options,
            wait_ms,
            at: At::NOWHERE,
        })
    }
}
