//! The nearest valid word to a wrong one.

/// Longer words are not compared.
const LONGEST: usize = 32;

/// The candidate that is nearest to `word`, if one is near enough to have been meant: one slip for each three letters.
pub fn nearest<'a, T: Copy>(word: &[u8], candidates: impl Iterator<Item = (T, &'a [u8])>) -> Option<T> {
    let mut bound = (word.len() / 3).max(1);
    candidates
        .fold(None, |best, (item, candidate)| if is_nearer(word, candidate, &mut bound) { Some(item) } else { best })
}

/// Whether `candidate` is within `bound` of `word`; then only what is nearer still is, from now on.
#[inline(never)]
fn is_nearer(word: &[u8], candidate: &[u8], bound: &mut usize) -> bool {
    let distance = distance(word, candidate);
    // A word of one or two letters is near to any other.
    let near = distance <= *bound && distance.saturating_mul(2) < word.len().min(candidate.len() + 1);
    if near {
        *bound = distance.saturating_sub(1);
    }
    near
}

/// How many letters are inserted, left out, replaced or swapped with their neighbour (optimal string alignment
/// distance); case and `_` for `-` cost nothing.
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len() > LONGEST || b.len() > LONGEST || a.len().abs_diff(b.len()) > LONGEST / 3 {
        return usize::MAX;
    }
    let same = |x: u8, y: u8| fold(x) == fold(y);
    let mut rows = [[0u8; LONGEST + 1]; 3];
    for (column, cell) in rows[0].iter_mut().enumerate() {
        *cell = column as u8;
    }
    for i in 1..=a.len() {
        rows[i % 3][0] = i as u8;
        for j in 1..=b.len() {
            let (row, above, above_that) = (i % 3, (i + 2) % 3, (i + 1) % 3);
            let replaced = rows[above][j - 1] + u8::from(!same(a[i - 1], b[j - 1]));
            let mut cost = replaced.min(rows[above][j] + 1).min(rows[row][j - 1] + 1);
            if i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]) {
                cost = cost.min(rows[above_that][j - 2] + 1);
            }
            rows[row][j] = cost;
        }
    }
    usize::from(rows[a.len() % 3][b.len()])
}

fn fold(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(word: &str, words: &[&'static str]) -> Option<&'static str> {
        nearest(word.as_bytes(), words.iter().map(|word| (*word, word.as_bytes())))
    }

    #[test]
    fn a_slip_finds_the_word() {
        let words = ["memory", "memory-high", "memory-low", "swap", "cpus"];
        for slip in ["memroy", "memori", "emory", "Memory", "memoryy"] {
            assert_eq!(near(slip, &words), Some("memory"), "{slip}");
        }
        assert_eq!(near("memory_high", &words), Some("memory-high"));
        assert_eq!(near("swp", &words), Some("swap"));
    }

    #[test]
    fn a_strange_word_finds_nothing() {
        for strange in ["", "x", "on", "turnip", "a-word-that-is-much-longer-than-any-key-of-the-language"] {
            assert_eq!(near(strange, &["memory", "no", "swap"]), None, "{strange}");
        }
    }
}
