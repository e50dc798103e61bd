//! Strings and lists without a heap: an arena of NUL-terminated strings, and ranges into pools; tables of words.

use core::ffi::CStr;
use core::fmt::{self, Write};
use core::marker::PhantomData;

pub mod pattern;
mod words;

pub use words::{Words, c_words, word, words};

/// A short text for the kernel, made when it is needed: a path in `/proc`, a number, an option. One type for all, so that
/// its code is there once.
#[derive(Debug)]
pub struct Made(heapless::String<112>);

impl Made {
    /// Of these words; empty where they do not fit.
    #[inline(never)]
    pub fn new(words: fmt::Arguments<'_>) -> Made {
        let mut text = heapless::String::new();
        if text.write_fmt(words).is_err() || text.push('\0').is_err() {
            text.clear();
        }
        Made(text)
    }

    /// As a path or a value.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_with_nul(self.0.as_bytes()).unwrap_or_default()
    }

    /// As what is written to a file.
    pub fn as_bytes(&self) -> &[u8] {
        self.as_c_str().to_bytes()
    }
}

/// Sorts numbers so that no later one `is_before` an earlier one. Heap sort: one function for all that is sorted, and no worst
/// case. Those that are the same come in any order, so `is_before` had better know no such.
pub fn sort(numbers: &mut [u16], is_before: &mut dyn FnMut(u16, u16) -> bool) {
    for start in (0..numbers.len() / 2).rev() {
        sift(numbers, start, is_before);
    }
    for end in (1..numbers.len()).rev() {
        // The greatest is on top.
        numbers.swap(0, end);
        sift(numbers.get_mut(..end).unwrap_or_default(), 0, is_before);
    }
}

/// Moves the number at `at` down until none below it is greater.
fn sift(numbers: &mut [u16], mut at: usize, is_before: &mut dyn FnMut(u16, u16) -> bool) {
    loop {
        let mut greatest = at;
        for child in [2 * at + 1, 2 * at + 2] {
            if let (Some(&one), Some(&other)) = (numbers.get(greatest), numbers.get(child))
                && is_before(one, other)
            {
                greatest = child;
            }
        }
        if greatest == at {
            return;
        }
        numbers.swap(at, greatest);
        at = greatest;
    }
}

/// A plain number: digits only, and no more than fits.
#[must_use]
pub fn number<T: TryFrom<u64>>(word: &[u8]) -> Option<T> {
    digits(word)?.try_into().ok()
}

/// A device's number as the kernel writes it: "254:0".
#[must_use]
pub fn device_number(word: &[u8]) -> Option<(u32, u32)> {
    let mut numbers = word.splitn(2, |byte| *byte == b':');
    Some((number(numbers.next()?)?, number(numbers.next()?)?))
}

fn digits(word: &[u8]) -> Option<u64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let (first, rest) = word.split_first()?;
    rest.iter().try_fold(digit(*first)?, |number, byte| number.checked_mul(10)?.checked_add(digit(*byte)?))
}

/// A string in a [`Strings`]: where it is and how long. The empty string is `Text::EMPTY` in every arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    at: u32,
    len: u32,
}

impl Text {
    /// The empty string.
    pub const EMPTY: Text = Text { at: 0, len: 0 };

    /// Whether this is the empty string.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// The arena is full, or the string has a NUL inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What calls what it is given for each of some.
pub type Each<'e, T> = dyn FnMut(&mut dyn FnMut(&mut T)) + 'e;

/// An arena of `N` bytes of NUL-terminated strings, so that each can be handed to the kernel as it stands.
#[derive(Debug)]
#[repr(C)]
pub struct Strings<const N: usize> {
    // First, so that it is in one page with the first strings.
    used: usize,
    bytes: [u8; N],
}

impl<const N: usize> Strings<N> {
    /// An empty arena; all zero, so that a static one takes no room in the file.
    #[must_use]
    pub const fn new() -> Self {
        Strings { used: 0, bytes: [0; N] }
    }

    /// Keeps a copy of `bytes`.
    ///
    /// # Errors
    /// [`Full`] where it does not fit, or holds a NUL.
    pub fn add(&mut self, bytes: &[u8]) -> Result<Text, Full> {
        // The first byte stays NUL: it is the empty string.
        let at = self.used.max(1);
        let end = at.checked_add(bytes.len()).ok_or(Full)?;
        if bytes.contains(&0) || end >= N {
            return Err(Full);
        }
        if bytes.is_empty() {
            return Ok(Text::EMPTY);
        }
        self.bytes.get_mut(at..end).ok_or(Full)?.copy_from_slice(bytes);
        self.used = end + 1;
        Ok(Text { at: at as u32, len: bytes.len() as u32 })
    }

    /// The bytes of `text`.
    pub fn bytes(&self, text: Text) -> &[u8] {
        let at = text.at as usize;
        self.bytes.get(at..at + text.len as usize).unwrap_or_default()
    }

    /// `text` as UTF-8; what is not UTF-8 as `"?"`.
    pub fn str(&self, text: Text) -> &str {
        core::str::from_utf8(self.bytes(text)).unwrap_or("?")
    }

    /// `text` with its NUL, for the kernel.
    pub fn c_str(&self, text: Text) -> &CStr {
        let at = text.at as usize;
        self.bytes
            .get(at..=at + text.len as usize)
            .and_then(|with_nul| CStr::from_bytes_with_nul(with_nul).ok())
            .unwrap_or(c"")
    }

    /// Where the next string will be.
    pub fn mark(&self) -> usize {
        self.used.max(1)
    }

    /// Forgets the strings kept since `mark`.
    pub fn truncate(&mut self, mark: usize) {
        if mark < self.used {
            self.bytes[mark..self.used.min(N)].fill(0);
            self.used = mark;
        }
    }

    /// Forgets those of the strings kept since `mark` that nobody has any more, and moves the others together. `each`
    /// calls what it is given for every text that may be one of them.
    pub fn compact(&mut self, mark: usize, each: &mut Each<'_, Text>) {
        let (mut from, mut to) = (mark, mark);
        while let Some(rest) = self.bytes.get(from..self.used).filter(|rest| !rest.is_empty()) {
            let end = from + rest.iter().position(|byte| *byte == 0).map_or(rest.len(), |nul| nul + 1);
            let mut is_kept = false;
            each(&mut |text| {
                if text.at as usize == from {
                    text.at = to as u32;
                    is_kept = true;
                }
            });
            if is_kept {
                self.bytes.copy_within(from..end, to);
                to += end - from;
            }
            from = end;
        }
        self.truncate(to);
    }

    /// Forgets every string. Touches no memory that was never used.
    pub fn clear(&mut self) {
        if self.used > 0 {
            self.bytes[..self.used.min(N)].fill(0);
            self.used = 0;
        }
    }
}

impl<const N: usize> Default for Strings<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A run of items in a [`Pool`] of the same type.
#[derive(Debug)]
pub struct List<T> {
    start: u16,
    len: u16,
    of: PhantomData<T>,
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for List<T> {}
impl<T> Default for List<T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<T> List<T> {
    /// No items.
    pub const EMPTY: List<T> = List { start: 0, len: 0, of: PhantomData };

    /// How many items.
    pub fn len(self) -> usize {
        usize::from(self.len)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// At most `N` items, in runs.
#[derive(Debug)]
pub struct Pool<T, const N: usize> {
    items: heapless::Vec<T, N>,
}

impl<T: Copy, const N: usize> Pool<T, N> {
    /// An empty pool.
    #[must_use]
    pub const fn new() -> Self {
        Pool { items: heapless::Vec::new() }
    }

    /// Keeps a copy of `items`.
    ///
    /// # Errors
    /// [`Full`] where they do not all fit; then none is kept.
    pub fn add(&mut self, items: &[T]) -> Result<List<T>, Full> {
        const { assert!(N <= u16::MAX as usize) };
        let start = self.items.len();
        self.items.extend_from_slice(items).map_err(|_| Full)?;
        Ok(List { start: start as u16, len: items.len() as u16, of: PhantomData })
    }

    /// Keeps one item more. Those kept since [`Pool::mark`] are the list that [`Pool::since`] gives.
    ///
    /// # Errors
    /// [`Full`].
    pub fn push(&mut self, item: T) -> Result<(), Full> {
        self.items.push(item).map_err(|_| Full)
    }

    /// Where the next item will be.
    pub fn mark(&self) -> usize {
        self.items.len()
    }

    /// The items kept since `mark`.
    pub fn since(&self, mark: usize) -> List<T> {
        const { assert!(N <= u16::MAX as usize) };
        List { start: mark as u16, len: self.items.len().saturating_sub(mark) as u16, of: PhantomData }
    }

    /// The items of `list`.
    pub fn get(&self, list: List<T>) -> &[T] {
        let start = usize::from(list.start);
        self.items.get(start..start + list.len()).unwrap_or_default()
    }

    /// Every item.
    pub fn items_mut(&mut self) -> &mut [T] {
        &mut self.items
    }

    /// Forgets the items kept since `mark`.
    pub fn truncate(&mut self, mark: usize) {
        self.items.truncate(mark);
    }

    /// Forgets the items that are in no list any more, and moves the others together. `each` calls what it is given for
    /// every list that there is.
    pub fn compact(&mut self, each: &mut Each<'_, List<T>>) {
        let (mut from, mut to) = (0, 0);
        loop {
            let mut next: Option<List<T>> = None;
            each(&mut |list| {
                let is_next = usize::from(list.start) >= from && next.is_none_or(|next| list.start < next.start);
                if is_next && !list.is_empty() {
                    next = Some(*list);
                }
            });
            let Some(run) = next else { break };
            let start = usize::from(run.start);
            // Lists of a profile are those of several guests.
            each(&mut |list| {
                if list.start == run.start && !list.is_empty() {
                    list.start = to as u16;
                }
            });
            if let Some(items) = self.items.get_mut(to..start + run.len()) {
                items.copy_within(start - to.., 0);
            }
            from = start + run.len();
            to += run.len();
        }
        self.items.truncate(to);
    }

    /// Forgets every item. Touches no memory that was never used.
    pub fn clear(&mut self) {
        if !self.items.is_empty() {
            self.items.clear();
        }
    }
}

impl<T: Copy, const N: usize> Default for Pool<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sorted_by_what_they_stand_for() {
        let values: std::vec::Vec<u32> = (0..300u32).map(|n| n.wrapping_mul(2_654_435_761) >> 28).collect();
        for count in [0, 1, 2, 3, 10, 300] {
            let value = |number: u16| (values[usize::from(number)], number);
            let mut numbers: std::vec::Vec<u16> = (0..count).collect();
            sort(&mut numbers, &mut |one, other| value(one) < value(other));
            let mut expected: std::vec::Vec<u16> = (0..count).collect();
            expected.sort_by_key(|number| value(*number));
            assert_eq!(numbers, expected);
        }
    }
}
