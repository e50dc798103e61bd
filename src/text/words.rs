//! Tables of words. Without anything else of the program, for what is made of those tables while it is built (build.rs).

use core::ffi::CStr;

/// The words of a table, which stand in one string with a NUL behind each but perhaps the last: an address and a length for
/// each would be larger than most of them.
#[must_use]
pub fn words(table: &'static str) -> Words {
    Words(table)
}

/// What [`words`] returns.
#[derive(Clone, Debug)]
pub struct Words(&'static str);

impl Iterator for Words {
    type Item = &'static str;

    #[inline(never)]
    fn next(&mut self) -> Option<&'static str> {
        let end = self.0.bytes().position(|byte| byte == 0).unwrap_or(self.0.len());
        let word = self.0.get(..end).filter(|_| !self.0.is_empty())?;
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(word)
    }
}

/// The same words for the kernel, each with its NUL, which the last one must have too.
pub fn c_words(table: &'static str) -> impl Iterator<Item = &'static CStr> {
    let mut rest = table.as_bytes();
    core::iter::from_fn(move || {
        let word = CStr::from_bytes_until_nul(rest).ok()?;
        rest = rest.get(word.to_bytes_with_nul().len()..)?;
        Some(word)
    })
}

/// Word number `index` of a table; empty where there is none.
#[must_use]
pub fn word(table: &'static str, index: usize) -> &'static str {
    words(table).nth(index).unwrap_or_default()
}
