//! What PID 1 takes from everybody on the host: `hardening`.

use super::build::Builder;
use super::value;
use crate::config::diagnostic::{Code, Detail, Near};
use crate::config::nearest;
use crate::text::words;

/// A set of the words of [`NAMES`]: bit N is word N.
pub type Items = u16;

/// Each thing that is taken, in the order of the manual: typing into another's terminal, io_uring without privilege, loading
/// another kernel, BPF without privilege, the kernel's log and its addresses for everybody, the magic SysRq key, core dumps
/// by other than a fixed pattern, and, once the host is up, loading modules.
pub const NAMES: &str = "tiocsti\0io-uring\0kexec\0bpf\0dmesg\0pointers\0sysrq\0core-pattern\0modules";

/// `modules`, which is taken when the host is up.
pub const MODULES: Items = 1 << 8;

/// All of them.
pub const ALL: Items = (1 << COUNT) - 1;

/// How many there are.
pub const COUNT: usize = 9;

impl Builder<'_> {
    /// `on`, `off`, and `-item` or `+item`, in their order.
    pub fn hardening(&mut self) -> Items {
        let mut items = ALL;
        for index in 0..self.value.len() {
            let word = self.value.word(index);
            let named = |name: &[u8]| words(NAMES).position(|known| known.as_bytes() == name).map(|item| 1 << item);
            match (word, word.split_first()) {
                (b"on", _) => items = ALL,
                (b"off", _) => items = 0,
                (_, Some((sign @ (b'+' | b'-'), name))) if named(name).is_some() => {
                    let item: Items = named(name).unwrap_or_default();
                    items = if *sign == b'+' { items | item } else { items & !item };
                }
                _ => {
                    let name = word.strip_prefix(b"-").or(word.strip_prefix(b"+")).unwrap_or(word);
                    let near = nearest(name, words(NAMES).map(|word| (word, word.as_bytes())));
                    let near = near.map_or(Near::Nothing, Near::Word);
                    let wrong = value::Wrong { code: Code::NotHardening, detail: Detail::Choice(NAMES), near };
                    self.wrong(wrong, self.value.at(index));
                }
            }
        }
        items
    }
}
