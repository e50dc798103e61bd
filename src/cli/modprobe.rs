//! `inn modprobe`: kernel modules by hand.

use core::ffi::CStr;
use core::fmt::{self, Write};

use super::output::{Errors, Output, Plain};
use super::parse::Options;
use crate::host::modules::{Found, Modules};

/// Loads or removes the modules that `operands` name, each with the `PARAMETER=VALUE` words behind it.
#[inline(never)]
pub fn modprobe(operands: &[&'static CStr], options: &Options, out: &mut Output) -> u8 {
    let mut told = Told { out, is_dry: options.dry_run, is_quiet: options.quiet };
    let first = operands.first().map_or(&b""[..], |word| word.to_bytes());
    let Some(mut modules) = Modules::open(first, &|_| false, &mut told) else { return 1 };
    modules.is_dry = options.dry_run;
    let mut good = true;
    for (index, name) in operands.iter().map(|word| word.to_bytes()).enumerate() {
        if is_parameter(name) {
            continue;
        }
        let behind = operands.get(index + 1..).unwrap_or_default();
        good &= if options.remove { modules.remove(name) } else { load(&mut modules, name, behind) };
    }
    out.finish(u8::from(!good))
}

/// Loads the module of this name, or else those that have it as an alias.
fn load(modules: &mut Modules<'_>, name: &[u8], behind: &[&CStr]) -> bool {
    let mut parameters = heapless::Vec::<u8, 512>::new();
    let words = behind.iter().map(|word| word.to_bytes()).take_while(|word| is_parameter(word));
    let fits =
        words.into_iter().all(|word| parameters.extend_from_slice(word).is_ok() && parameters.push(b' ').is_ok());
    if !fits {
        return modules.tell_long(name);
    }
    match modules.load(name, &parameters) {
        Found::Nothing => match modules.load_like(name) {
            Found::Nothing => modules.tell_unknown(name),
            found => found == Found::There,
        },
        found => found == Found::There,
    }
}

fn is_parameter(word: &[u8]) -> bool {
    word.contains(&b'=')
}

/// Where is told what would be loaded, or what failed.
struct Told<'a> {
    out: &'a mut Output,
    is_dry: bool,
    is_quiet: bool,
}

impl Write for Told<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match self {
            Told { is_dry: true, out, .. } => write!(out, "{}", Lines(text)),
            Told { is_quiet: true, .. } => Ok(()),
            _ => write!(Errors::new(), "{}", Lines(text)),
        }
    }
}

/// Text whose newlines stay.
struct Lines<'a>(&'a str);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.split_inclusive('\n').try_for_each(|line| match line.strip_suffix('\n') {
            Some(line) => writeln!(f, "{}", Plain(line)),
            None => write!(f, "{}", Plain(line)),
        })
    }
}
