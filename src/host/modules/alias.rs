//! What depmod(8) writes of modules besides their files: `modules.alias` and `modules.softdep`. And what the config says of
//! them. Pure.

use crate::text::pattern;

/// What a module is wanted by, and the module: a line `alias PATTERN MODULE`.
#[must_use]
pub fn alias(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(b"alias ")?;
    let space = rest.iter().rposition(|byte| *byte == b' ')?;
    Some((rest.get(..space)?.trim_ascii(), rest.get(space + 1..)?))
}

/// What is to be loaded before module `name`, and behind it: a line `softdep NAME pre: WORD... post: WORD...`.
#[must_use]
pub fn soft<'a>(line: &'a [u8], name: &[u8]) -> Option<[&'a [u8]; 2]> {
    let rest = line.strip_prefix(b"softdep ")?;
    let end = rest.iter().position(|byte| *byte == b' ')?;
    if !is_same(rest.get(..end)?, name) {
        return None;
    }
    let rest = rest.get(end..)?;
    let post = rest.windows(5).position(|word| word == b"post:").unwrap_or(rest.len());
    let (before, behind) = rest.split_at_checked(post)?;
    let before = before.trim_ascii_start();
    Some([before.strip_prefix(b"pre:").unwrap_or_default(), behind.strip_prefix(b"post:").unwrap_or_default()])
}

/// Words with blanks between them.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

/// Whether `pattern` of `modules.alias` stands for `alias`.
#[must_use]
pub fn is_like(pattern: &[u8], alias: &[u8]) -> bool {
    pattern::is_like(pattern, alias, |own, other| fold(own) == fold(other))
}

/// Whether both are the name of one module, in which `-` and `_` are the same.
#[must_use]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.iter().copied().map(fold).eq(other.iter().copied().map(fold))
}

fn fold(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

/// A word of `modules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// Load the module of this name.
    Load(&'a [u8]),
    /// `auto`: load what the devices want.
    Auto,
    /// `-NAME`: neither the devices nor the kernel get this one.
    Not(&'a [u8]),
    /// `+PATTERN`: the kernel gets what it asks for by such an alias.
    May(&'a [u8]),
}

impl<'a> Word<'a> {
    /// What `word` means.
    #[must_use]
    pub fn of(word: &'a [u8]) -> Word<'a> {
        match word {
            b"auto" => Word::Auto,
            [b'-', name @ ..] => Word::Not(name),
            [b'+', pattern @ ..] => Word::May(pattern),
            name => Word::Load(name),
        }
    }

    /// Whether it keeps module `name` out.
    #[must_use]
    pub fn refuses(self, name: &[u8]) -> bool {
        matches!(self, Word::Not(other) if is_same(other, name))
    }

    /// Whether it lets the kernel have what it calls `alias`.
    #[must_use]
    pub fn lets(self, alias: &[u8]) -> bool {
        matches!(self, Word::May(pattern) if is_like(pattern, alias))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_depmod_are_read() {
        assert_eq!(
            alias(b"alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000"),
            Some((&b"pci:v00008086d0000100Esv*sd*bc*sc*i*"[..], &b"e1000"[..]))
        );
        for line in ["", "# Aliases", "alias", "alias x", "softdep a pre: b"] {
            assert_eq!(alias(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn soft_dependencies_come_before_or_behind() {
        let both = |line: &'static str| {
            let [pre, post] = soft(line.as_bytes(), b"sctp_x")?;
            Some([pre, post].map(|text| words(text).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")))
        };
        let expected = |pre: &str, post: &str| Some([pre, post].map(str::to_owned));
        assert_eq!(both("softdep sctp-x pre: a b"), expected("a b", ""));
        assert_eq!(both("softdep sctp_x post: c"), expected("", "c"));
        assert_eq!(both("softdep sctp_x pre: a post: b c"), expected("a", "b c"));
        assert_eq!(both("softdep other pre: a"), None);
        assert_eq!(both("softdep sctp_x"), None);
    }

    #[test]
    fn patterns_are_those_of_depmod() {
        for (pattern, yes, no) in [
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4", "virtio:d00000002v00001AF4"),
            ("usb:v0525pA4A[1-2]d*", "usb:v0525pA4A2d0100", "usb:v0525pA4A3d0100"),
            ("usb:v*p*d0[0-7][0-9]*dc*", "usb:v1p2d0712dcFF", "usb:v1p2d0812dcFF"),
            ("fs-iso9660", "fs-iso9660", "fs-iso"),
            ("crypto-crc32c_generic", "crypto-crc32c-generic", "crypto-crc32c"),
            (
                "cpu:type:x86,ven*fam*mod*:feature:*00AD*",
                "cpu:type:x86,ven0000fam0006mod003D:feature:,0000,00AD,",
                "cpu:x",
            ),
        ] {
            assert!(is_like(pattern.as_bytes(), yes.as_bytes()), "{pattern} {yes}");
            assert!(!is_like(pattern.as_bytes(), no.as_bytes()), "{pattern} {no}");
        }
    }

    #[test]
    fn words_of_the_config_keep_out_and_let_in() {
        assert_eq!(Word::of(b"auto"), Word::Auto);
        assert_eq!(Word::of(b"overlay"), Word::Load(b"overlay"));
        assert!(Word::of(b"-pc-spkr").refuses(b"pc_spkr") && !Word::of(b"pcspkr").refuses(b"pcspkr"));
        assert!(Word::of(b"+fs-*").lets(b"fs-ext4") && !Word::of(b"+fs-*").lets(b"net-pf-10"));
        assert!(!Word::of(b"fs-ext4").lets(b"fs-ext4"));
    }

    /// As slowly and plainly as can be: what `*`, `?` and letters mean.
    fn plainly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|taken| plainly(rest, &text[taken..])),
            ([b'?', rest @ ..], [_, text @ ..]) => plainly(rest, text),
            ([own, rest @ ..], [letter, text @ ..]) => fold(*own) == fold(*letter) && plainly(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_it_plainly_means(pattern in "[ab*?:_-]{0,10}", text in "[ab:_-]{0,10}") {
            prop_assert_eq!(is_like(pattern.as_bytes(), text.as_bytes()), plainly(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn a_device_is_found_by_a_pattern_made_of_it(text in "[a-z]{2,5}:v[0-9A-F]{8}d[0-9A-F]{8}", at in 0usize..20) {
            let at = at.min(text.len());
            let pattern = format!("{}*", &text[..at]);
            prop_assert!(is_like(pattern.as_bytes(), text.as_bytes()));
            let line = format!("alias {pattern} some_module");
            prop_assert_eq!(alias(line.as_bytes()), Some((pattern.as_bytes(), &b"some_module"[..])));
        }

        #[test]
        fn any_bytes_are_read(line in proptest::collection::vec(any::<u8>(), 0..200), other in proptest::collection::vec(any::<u8>(), 0..50)) {
            if let Some((pattern, _)) = alias(&line) { let _ = is_like(pattern, &other); }
            let _ = soft(&line, &other);
            let _ = is_like(&line, &other);
            let _ = Word::of(&line).lets(&other);
        }
    }
}
