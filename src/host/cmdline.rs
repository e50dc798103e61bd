//! The kernel's command line: the words that are for `inn`. Pure.
//!
//! Words are split as the kernel does it (lib/cmdline.c, `next_arg`): a `"` anywhere keeps spaces together, and is
//! dropped at the beginning of a word or value and at its end.

use crate::text;

/// Bytes of the longest command line of any architecture (COMMAND_LINE_SIZE of linux/arch).
pub const BYTES: usize = 4096;

/// A word that is for `inn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// `inn.config=PATH`: the config, in place of the usual one.
    Config(&'a [u8]),
    /// `inn.guest=…`: a guest in one word, as the config language has it.
    Guest(&'a [u8]),
    /// `inn.emergency`: start nothing but the emergency shell.
    Emergency,
    /// `inn.reset`: the factory reset is done at this boot.
    Reset,
    /// `inn.` and something that is none of these, or without the value it needs.
    Unknown(&'a [u8]),
}

/// The words for `inn`, in order. What stands behind a lone `--` is for init's own arguments, and is left alone.
pub fn words(line: &[u8]) -> impl Iterator<Item = Word<'_>> + Clone {
    split(line).take_while(|word| *word != (b"--".as_slice(), None)).filter_map(|(name, value)| {
        let inn = name.strip_prefix(b"inn.")?;
        Some(match (inn, value.filter(|value| !value.is_empty())) {
            (b"config", Some(path)) => Word::Config(path),
            (b"guest", Some(text)) => Word::Guest(text),
            (b"emergency", None) => Word::Emergency,
            (b"reset", None) => Word::Reset,
            _ => Word::Unknown(name),
        })
    })
}

/// The parameters of a module that are on the line: `PARAMETER=VALUE` of each word `NAME.PARAMETER=VALUE` whose NAME `is_name`.
pub fn parameters(line: &[u8], is_name: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = &[u8]> {
    raw(line).take_while(|word| *word != b"--").filter_map(move |word| {
        let (name, parameter) = word.split_at_checked(word.iter().position(|byte| matches!(byte, b'.' | b'='))?)?;
        let parameter = parameter.strip_prefix(b".")?;
        is_name(name).then_some(parameter)
    })
}

/// The value of the last word `name` or `name=value`; empty where it has none. What stands behind a lone `--` is init's.
#[must_use]
pub fn last<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let words = split(line).take_while(|word| *word != (b"--".as_slice(), None));
    words.filter(|(word, _)| *word == name.as_bytes()).last().map(|(_, value)| value.unwrap_or_default())
}

/// What the kernel's command line says of the root file system, where this program comes up in an initramfs
/// (Documentation/admin-guide/kernel-parameters.txt).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root<'a> {
    /// `root=`: its device.
    pub source: &'a [u8],
    /// `rootfstype=`: the first type; empty where it is to be found out.
    pub kind: &'a [u8],
    /// `rootflags=`: the file system's own options.
    pub flags: &'a [u8],
    /// `rw`; without it, or with `ro` behind it, it can only be read.
    pub is_writable: bool,
    /// `init=`; empty where the usual places are looked through.
    pub init: &'a [u8],
    /// `rootwait=`: seconds that the device is waited for.
    pub wait_s: Option<u32>,
}

impl<'a> Root<'a> {
    /// The root that is asked for; nothing where the initramfs is the root.
    #[must_use]
    pub fn of(line: &'a [u8]) -> Option<Root<'a>> {
        let value = |name| last(line, name).unwrap_or_default();
        let source = Some(value("root")).filter(|source| !source.is_empty() && !source.starts_with(b"/dev/ram"))?;
        let access = split(line).filter(|word| matches!(word, (b"ro" | b"rw", None))).last();
        Some(Root {
            source,
            kind: value("rootfstype").split(|byte| *byte == b',').next().unwrap_or_default(),
            flags: value("rootflags"),
            is_writable: access == Some((b"rw", None)),
            init: value("init"),
            wait_s: text::number(value("rootwait")),
        })
    }
}

/// Names with their values.
fn split(line: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + Clone {
    raw(line).map(name_and_value)
}

/// Words as they stand there.
fn raw(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let mut rest = line;
    core::iter::from_fn(move || {
        let start = rest.iter().position(|byte| !is_space(*byte))?;
        rest = rest.get(start..)?;
        let mut in_quotes = false;
        let end = rest
            .iter()
            .position(|byte| {
                in_quotes ^= *byte == b'"';
                !in_quotes && is_space(*byte)
            })
            .unwrap_or(rest.len());
        let (word, later) = rest.split_at(end);
        rest = later;
        Some(word)
    })
}

fn name_and_value(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    // A word that begins with a quote is quoted as a whole, its value not once more.
    let (word, quoted) = match word.strip_prefix(b"\"") {
        Some(inner) => (inner.strip_suffix(b"\"").unwrap_or(inner), true),
        None => (word, false),
    };
    let Some(equals) = word.iter().position(|byte| *byte == b'=') else { return (word, None) };
    let (name, value) = (&word[..equals], &word[equals + 1..]);
    let value = match value.strip_prefix(b"\"") {
        Some(inner) if !quoted => inner.strip_suffix(b"\"").unwrap_or(inner),
        _ => value,
    };
    (name, Some(value))
}

/// C's isspace, and NUL: the kernel ends the line with one.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(line: &str) -> Vec<Word<'_>> {
        words(line.as_bytes()).collect()
    }

    #[test]
    fn words_of_others_are_not_ours() {
        assert_eq!(all("console=ttyS0 quiet root=/dev/vda inner.config=x inn\n"), []);
    }

    #[test]
    fn config_guest_and_emergency_are_found_in_order() {
        assert_eq!(
            all("quiet inn.config=/data/inn.conf\tinn.guest=a inn.emergency inn.guest=b\n"),
            [Word::Config(b"/data/inn.conf"), Word::Guest(b"a"), Word::Emergency, Word::Guest(b"b")]
        );
    }

    #[test]
    fn the_root_is_what_the_last_words_say() {
        assert_eq!(Root::of(b"quiet root= ro"), None);
        assert_eq!(Root::of(b"root=/dev/ram0"), None);
        let plain = Root { source: b"/dev/vda1", kind: b"", flags: b"", is_writable: false, init: b"", wait_s: None };
        assert_eq!(Root::of(b"root=/dev/vda1"), Some(plain));
        assert_eq!(Root::of(b"rw root=/dev/vda1 ro rootwait"), Some(plain));
        let line = b"root=LABEL=a root=\"LABEL=a b\" rootfstype=ext4,xfs rootflags=noatime,x=1 ro rw init=/bin/x rootwait=5 -- root=no";
        let full = Root {
            source: b"LABEL=a b",
            kind: b"ext4",
            flags: b"noatime,x=1",
            is_writable: true,
            init: b"/bin/x",
            wait_s: Some(5),
        };
        assert_eq!(Root::of(line), Some(full));
    }

    #[test]
    fn quotes_keep_spaces_together_around_the_value_or_the_whole_word() {
        let expected = [Word::Guest(b"web command=/bin/httpd -f")];
        assert_eq!(all(r#"inn.guest="web command=/bin/httpd -f" x"#), expected);
        assert_eq!(all(r#""inn.guest=web command=/bin/httpd -f" x"#), expected);
    }

    #[test]
    fn a_quote_inside_a_value_stays() {
        assert_eq!(all(r#"inn.guest=a="b c" d"#), [Word::Guest(br#"a="b c""#)]);
    }

    #[test]
    fn a_quote_that_is_never_closed_goes_to_the_end() {
        assert_eq!(all(r#"inn.config="a b"#), [Word::Config(b"a b")]);
    }

    #[test]
    fn a_missing_value_or_an_unknown_name_is_told() {
        assert_eq!(
            all("inn.config inn.guest= inn.emergency=1 inn.color=red"),
            [
                Word::Unknown(b"inn.config"),
                Word::Unknown(b"inn.guest"),
                Word::Unknown(b"inn.emergency"),
                Word::Unknown(b"inn.color")
            ]
        );
    }

    #[test]
    fn parameters_of_modules_stand_behind_their_names() {
        let line = b"loop.max_loop=4 quiet root=/dev/vda loopy.x=1 loop.y=\"a b\" x.loop.y=1 loop -- loop.z=1\n";
        let found: Vec<_> = parameters(line, |name| name == b"loop").collect();
        assert_eq!(found, [&b"max_loop=4"[..], b"y=\"a b\""]);
    }

    #[test]
    fn what_is_for_init_itself_is_left_alone() {
        assert_eq!(all("inn.emergency -- inn.config=/x"), [Word::Emergency]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_words_that_are_part_of_them(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            for word in words(&line) {
                let (Word::Config(part) | Word::Guest(part) | Word::Unknown(part)) = word else { continue };
                prop_assert!(line.windows(part.len()).any(|window| window == part));
            }
        }

        #[test]
        fn a_quoted_value_comes_back(value in "[a-z =/,.-]{1,40}") {
            let line = format!("a inn.guest=\"{value}\" b");
            prop_assert_eq!(words(line.as_bytes()).collect::<Vec<_>>(), [Word::Guest(value.as_bytes())]);
        }
    }
}
