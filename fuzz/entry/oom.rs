//! Any bytes as a record of the kernel's log: who is named as a victim is one that there can be, and its name prints.
//!
//! Included by the fuzz target and by the ordinary tests.

use innkeep::limits;
use innkeep::supervise::oom;

/// `data` as a record, below several cgroups of all guests.
pub fn oom(data: &[u8]) {
    for base in [&b"inn"[..], b"", b"a/b/inn"] {
        let Some((_, name, victim)) = oom::parse(data, base) else { continue };
        assert!((1..=limits::NAME_BYTES).contains(&name.len()));
        assert!(name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte)), "{name:?}");
        assert!(victim.name().len() <= 16 && victim.name().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        // It names a cgroup of the record, not what is put together of it.
        assert!(data.windows(name.len()).any(|window| window == name));
        assert!(oom::parse(&data[..data.len().min(4)], base).is_none(), "four bytes name nobody");
    }
}
