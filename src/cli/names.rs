//! The guests that words of a command line name: each by its name, or many by a pattern.

use core::ffi::CStr;

use super::ask::{PROMPT_MS, ask, guest, suggest};
use super::output::complain;
use super::parse::{Options, Shown};
use crate::control::wire::{Code, Name, Reply, Request};
use crate::limits;
use crate::plan::Kind;
use crate::text::pattern::{is_all, is_pattern, matches};

/// Guests, each once, in the order in which they were named; those of a pattern in the order of the config.
#[derive(Debug)]
pub struct Names {
    /// They.
    pub all: heapless::Vec<Name, { limits::GUESTS }>,
    /// Whether a pattern stands for some of them.
    pub by_pattern: bool,
    /// The exit code for words that name nobody, of which the user has been told; 0 where there are none.
    pub code: u8,
}

/// What a pattern without a letter of its own, as `*`, stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum All {
    /// Guests and services.
    Everything,
    /// Guests: services are the host's, and whoever stops all guests does not mean the shell at which it is typed.
    Guests,
}

/// What a pattern can stand for.
type Known = heapless::Vec<(Name, Kind), { limits::GUESTS }>;

impl Names {
    /// Those that `words` name. The supervisor is asked only where there is a pattern.
    ///
    /// # Errors
    /// The exit code, where nobody can be asked; the user has been told.
    #[inline(never)]
    pub fn read(words: &[&'static CStr], all: All, options: &Options) -> Result<Names, u8> {
        let mut names = Names { all: heapless::Vec::new(), by_pattern: false, code: 0 };
        names.by_pattern = words.iter().any(|word| is_pattern(word.to_bytes()));
        let mut known = Known::new();
        if names.by_pattern {
            ask(options.socket, &Request::List, Some(options.timeout_ms.unwrap_or(PROMPT_MS)), &mut |reply, _| {
                if let Reply::Guest(info) = reply
                    && let Some(name) = Name::new(info.name.as_bytes())
                {
                    // It holds as many as a config can have.
                    let _ = known.push((name, info.kind));
                }
            })?;
        }
        for word in words {
            let result = if is_pattern(word.to_bytes()) {
                names.add_like(word, all, &known, options)
            } else {
                guest(word).map(|name| names.add(name))
            };
            names.code = if names.code == 0 { result.err().unwrap_or(0) } else { names.code };
        }
        Ok(names)
    }

    fn add(&mut self, name: Name) {
        if !self.all.contains(&name) {
            // As many words as a config can have guests.
            let _ = self.all.push(name);
        }
    }

    fn add_like(&mut self, word: &CStr, all: All, known: &Known, options: &Options) -> Result<(), u8> {
        let pattern = word.to_bytes();
        let is_meant = |kind: Kind| kind != Kind::Service || all == All::Everything || !is_all(pattern);
        let like = || known.iter().filter(|(name, _)| matches(pattern, name.as_str().as_bytes()));
        let mut is_any = false;
        for (name, _) in like().filter(|(_, kind)| is_meant(*kind)) {
            is_any = true;
            self.add(*name);
        }
        if is_any {
            return Ok(());
        }
        if like().next().is_some() {
            complain(format_args!("{}: only services are like that, and they are named one by one", Shown(word)));
        } else {
            nobody(word, options);
        }
        Err(Code::NoGuest.exit())
    }
}

/// Tells the user that `word` names nobody, with the nearest that there is.
pub fn nobody(word: &CStr, options: &Options) {
    let kind = if is_pattern(word.to_bytes()) { "a name like that" } else { "that name" };
    complain(format_args!("{}: no guest or service has {kind}", Shown(word)));
    suggest(options.socket, word.to_bytes());
}
