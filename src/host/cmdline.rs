//! The kernel's command line: the words that are for `inn`. Pure.
//!
//! Words are split as the kernel does it (lib/cmdline.c, `next_arg`): a `"` anywhere keeps spaces together, and is
//! dropped at the beginning of a word or value and at its end.

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
