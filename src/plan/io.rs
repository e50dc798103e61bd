//! `io-max`.

use super::IoMax;
use super::build::Builder;
use super::confinement::device_path;
use super::value::{self, Wrong};
use crate::config::Section;
use crate::config::diagnostic::{Code, Detail, Unit};
use crate::config::key::Key;
use crate::limits;
use crate::text::{List, words};

/// What the kernel takes: a number above 0.
pub const LIMITS: (u64, u64) = (1, i64::MAX as u64);

impl Builder<'_> {
    /// `device rbps= wbps= riops= wiops=`
    pub fn io_max(&mut self, section: &Section) -> List<IoMax> {
        let mark = self.plan.io_max.mark();
        self.each_value(section, Key::IoMax, &mut |builder| {
            let Some(disk) = builder.one_io_max() else { return };
            let strings = &builder.plan.strings;
            let since = builder.plan.io_max.get(builder.plan.io_max.since(mark));
            if since.iter().any(|other| strings.bytes(other.device) == strings.bytes(disk.device)) {
                builder.wrong(Code::WordTwice.into(), builder.value.at(0));
            } else if since.len() == limits::DISKS {
                builder.too_many(0, limits::DISKS, "disks (limits::DISKS)");
            } else if builder.plan.io_max.push(disk).is_err() {
                builder.too_many(0, 2 * limits::GUESTS, "disks in all (twice limits::GUESTS)");
            }
        });
        self.plan.io_max.since(mark)
    }

    fn one_io_max(&mut self) -> Option<IoMax> {
        let path = device_path(self.value.word(0));
        self.checked(0, path)?;
        if self.value.len() < 2 {
            let missing = Wrong::detail(Code::WordMissing, Detail::Words("one of rbps= wbps= riops= wiops="));
            self.wrong(missing, self.value.at(0));
            return None;
        }
        let mut limits = [None; 4];
        for index in 1..self.value.len() {
            let limit = limit(self.value.word(index));
            let (kind, limit) = self.checked(index, limit)?;
            if limits[kind].replace(limit).is_some() {
                self.wrong(Code::WordTwice.into(), self.value.at(index));
                return None;
            }
        }
        Some(IoMax { device: self.keep(0), limits })
    }
}

/// Which limit, and how much.
fn limit(word: &[u8]) -> Result<(usize, u64), Wrong> {
    let mut parts = word.splitn(2, |byte| *byte == b'=');
    let name = parts.next().unwrap_or_default();
    let kind = words(IoMax::NAMES).position(|known| known.as_bytes() == name).ok_or(Code::NotIoLimit)?;
    let unit = if kind < 2 { Unit::Bytes } else { Unit::Count };
    match parts.next() {
        Some(b"max") => Ok((kind, u64::MAX)),
        Some(amount) => Ok((kind, value::amount(amount, unit, LIMITS)?)),
        None => Err(Code::NotIoLimit.into()),
    }
}
