//! Who has which users, as a text that outlives a supervisor: one line a range, `NAME BASE COUNT PID START HOLDER`.
//!
//! A holder is a supervisor, by its socket, or [`RUN`]. PID is its process, and START when that began, for numbers are used
//! again; PID 0 stands for one that has ended, whose guests are to have the same users when it comes back.

use core::fmt;

use super::Users;
use crate::text;

/// The holder of a guest of `inn run`, which is forgotten when that has ended.
pub const RUN: &[u8] = b"run";

/// One range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The guest.
    pub name: &'a [u8],
    /// Its users.
    pub users: Users,
    /// Whose guest it is, as a process; 0 once that has ended.
    pub pid: u32,
    /// When that process began: proc(5), starttime.
    pub start: u64,
    /// Whose guest it is.
    pub holder: &'a [u8],
}

impl<'a> Line<'a> {
    /// From one line; nothing where it is none.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let mut words = line.splitn(6, |byte| *byte == b' ');
        let name = words.next().filter(|name| !name.is_empty())?;
        let mut number = || text::number::<u32>(words.next()?);
        let (base, count, pid) = (number()?, number()?, number()?);
        let start = text::number(words.next()?)?;
        base.checked_add(count).filter(|_| count > 0)?;
        let holder = words.next().filter(|word| !word.is_empty())?;
        Some(Line { name, users: Users { base, count }, pid, start, holder })
    }

    /// From every line of `record` that is one.
    pub fn all(record: &[u8]) -> impl Iterator<Item = Line<'_>> {
        record.split(|byte| *byte == b'\n').filter_map(Line::parse)
    }
}

/// With its end.
impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |bytes| core::str::from_utf8(bytes).unwrap_or("?");
        let Users { base, count } = self.users;
        writeln!(f, "{} {base} {count} {} {} {}", word(self.name), self.pid, self.start, word(self.holder))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_is_read_as_it_was_written(
            name in "[a-zA-Z0-9._-]{1,63}", base in 0..u32::MAX / 2, count in 1..u32::MAX / 2, pid: u32, start: u64,
            holder in "/[a-z /]{0,40}"
        ) {
            let line = Line { name: name.as_bytes(), users: Users { base, count }, pid, start, holder: holder.as_bytes() };
            let text = line.to_string();
            prop_assert_eq!(Line::all(text.as_bytes()).collect::<std::vec::Vec<_>>(), [line]);
        }

        #[test]
        fn any_bytes_are_a_record(record in proptest::collection::vec(any::<u8>(), 0..200)) {
            for line in Line::all(&record) {
                prop_assert!(line.users.count > 0 && !line.name.is_empty());
            }
        }
    }

    #[test]
    fn what_is_no_line_is_passed_over() {
        let record =
            b"a 1 2 3 4\n\na 1 0 3 4 run\na x 2 3 4 run\na 4294967295 1 0 0 run\n a 1 2 3 4 run\nb 1 2 3 4 run\n";
        assert_eq!(Line::all(record).map(|line| line.name).collect::<std::vec::Vec<_>>(), [b"b"]);
    }
}
