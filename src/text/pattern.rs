//! Patterns of names: `*` any letters, `?` any one, `[a-c]` one of these, `[!a-c]` one of the others (glob(7)).

/// Whether `word` is a pattern rather than a name.
#[must_use]
pub fn is_pattern(word: &[u8]) -> bool {
    word.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// Whether `pattern` stands for any name at all: it has no letter of its own.
#[must_use]
pub fn is_all(pattern: &[u8]) -> bool {
    pattern.iter().all(|byte| matches!(byte, b'*' | b'?'))
}

/// Whether `name` is like `pattern`. Takes no longer than the product of their lengths, whatever they are.
#[must_use]
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    is_like(pattern, name, |own, other| own == other)
}

/// The same, where two letters are one if they are the `same`.
#[must_use]
pub fn is_like(pattern: &[u8], name: &[u8], same: fn(u8, u8) -> bool) -> bool {
    let (mut rest, mut left) = (pattern, name);
    // Behind the last `*`: the pattern, and the name's letters that it has not been tried on.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some(behind) = rest.strip_prefix(b"*") {
            again = Some((behind, left));
            rest = behind;
        } else if let Some((behind, after)) = one(rest, left, same) {
            (rest, left) = (behind, after);
        } else if rest.is_empty() && left.is_empty() {
            return true;
        } else {
            // The last `*` takes one letter more.
            let Some((behind, [_, after @ ..])) = again else { return false };
            again = Some((behind, after));
            (rest, left) = (behind, after);
        }
    }
}

/// What is left of both, where the first item of `pattern`, not a `*`, stands for the first letter of `name`.
fn one<'p, 'n>(pattern: &'p [u8], name: &'n [u8], same: fn(u8, u8) -> bool) -> Option<(&'p [u8], &'n [u8])> {
    let (&letter, after) = name.split_first()?;
    let (&first, behind) = pattern.split_first()?;
    let behind = match first {
        b'?' => behind,
        b'[' => match set(behind, letter) {
            Some((true, behind)) => behind,
            Some((false, _)) => return None,
            // A bracket that is not closed is itself, and no name has one.
            None => return None,
        },
        first if same(first, letter) => behind,
        _ => return None,
    };
    Some((behind, after))
}

/// Whether `letter` is one of the set that begins with `pattern`, behind its bracket, and what stands behind the set; nothing
/// where the set has no end.
fn set(pattern: &[u8], letter: u8) -> Option<(bool, &[u8])> {
    let (others, mut rest) = match pattern {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut is_in = false;
    let mut is_first = true;
    loop {
        rest = match *rest {
            // Right behind the bracket it is a letter of the set.
            [b']', ref behind @ ..] if !is_first => return Some((is_in != others, behind)),
            [from, b'-', to, ref behind @ ..] if to != b']' => {
                is_in |= (from..=to).contains(&letter);
                behind
            }
            [one, ref behind @ ..] => {
                is_in |= one == letter;
                behind
            }
            [] => return None,
        };
        is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_these_names_and_no_others() {
        for (pattern, names, others) in [
            ("web-*", &["web-", "web-1", "web-10"][..], &["web", "a-web-1", ""][..]),
            ("*", &["", "a", "web.1"], &[]),
            ("*-*-c", &["a-b-c", "--c", "a-b-b-c"], &["a-c", "a-b-d"]),
            ("w?b", &["web", "wxb"], &["wb", "weeb"]),
            ("web-[0-2]", &["web-0", "web-2"], &["web-3", "web-", "web-01"]),
            ("web-[!0-2x]", &["web-3", "web-a"], &["web-0", "web-x"]),
            ("[^a]", &["b"], &["a", ""]),
            ("[]a]", &["a", "]"], &["b"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("web-[", &[], &["web-", "web-["]),
            ("web", &["web"], &["we", "webs"]),
        ] {
            assert!(names.iter().all(|name| matches(pattern.as_bytes(), name.as_bytes())), "{pattern}");
            assert!(!others.iter().any(|name| matches(pattern.as_bytes(), name.as_bytes())), "{pattern}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let pattern = "*a".repeat(100);
        assert!(!matches(pattern.as_bytes(), "a".repeat(63).as_bytes()));
        assert!(!matches(("*a".repeat(20) + "b").as_bytes(), "a".repeat(63).as_bytes()));
    }

    #[test]
    fn a_pattern_is_told_from_a_name() {
        for (word, pattern, all) in
            [("web", false, false), ("web-*", true, false), ("*", true, true), ("??", true, true), ("[a]", true, false)]
        {
            assert_eq!((is_pattern(word.as_bytes()), is_all(word.as_bytes())), (pattern, all), "{word}");
        }
    }
}
