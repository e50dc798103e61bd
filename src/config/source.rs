//! Where config files come from: this room opens none itself.

/// Why a file or a directory cannot be read: the kernel's error number (errno(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable(pub u16);

/// A file's name within its directory (Linux: at most 255 bytes).
pub type FileName = heapless::Vec<u8, 255>;

/// Reads files and directories. The composition root implements it with system calls, the tests with a table.
pub trait Source {
    /// Reads the file at `path` into `into`, and returns how many bytes that were: all of `into` where the file is
    /// larger than that.
    ///
    /// # Errors
    /// [`Unreadable`]; a directory is EISDIR.
    fn read(&mut self, path: &[u8], into: &mut [u8]) -> Result<usize, Unreadable>;

    /// Of the names in `directory` that [`matches`] `pattern`, the first in byte order that comes after `after`.
    ///
    /// # Errors
    /// [`Unreadable`].
    fn next_name(&mut self, directory: &[u8], pattern: &[u8], after: &[u8]) -> Result<Option<FileName>, Unreadable>;
}

/// Whether a file's `name` matches `pattern`, in which `*` stands for any bytes and `?` for one (glob(7)). A dot at the
/// start must be written.
#[must_use]
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    // The last `*`, and how much of the name it has taken.
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// A step of [`Source::next_name`]: whether `name` is nearer than `best` found so far.
#[must_use]
pub fn is_next(name: &[u8], pattern: &[u8], after: &[u8], best: Option<&[u8]>) -> bool {
    name > after && best.is_none_or(|best| name < best) && matches(pattern, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        for (pattern, name) in
            [("*.conf", "a.conf"), ("*", "x"), ("a*b*c", "aXbYbZc"), ("?.conf", "a.conf"), (".*", ".a"), ("a**", "a")]
        {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.conf", "a.conf~"), ("*", ".x"), ("a*b*c", "aXbY"), ("?.conf", "ab.conf"), ("?", ""), ("", "a")]
        {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }
}
