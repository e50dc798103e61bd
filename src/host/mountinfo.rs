//! What is mounted: `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use core::ffi::CStr;

use rustix::fd::OwnedFd;

use super::files::{self, Lines};
use crate::sys::Errno;
use crate::text::number;

/// Where this is read.
const PATH: &CStr = c"/proc/self/mountinfo";

/// One mount. Paths are as the kernel writes them: space, tab, newline and backslash as `\` and three octal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Its number.
    pub id: u32,
    /// The number of the mount it is on; its own number where it is on none.
    pub parent: u32,
    /// Where it is.
    pub target: &'a [u8],
    /// File system type.
    pub kind: &'a [u8],
    /// What is mounted.
    pub source: &'a [u8],
}

impl<'a> Mount<'a> {
    /// From a line; nothing where it is none.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Mount<'a>> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = number(fields.next()?)?;
        let parent = number(fields.next()?)?;
        // device, root within it, target, options
        let target = fields.nth(2)?;
        // Then any number of optional fields, and a dash.
        fields.find(|field| *field == b"-")?;
        Some(Mount { id, parent, target, kind: fields.next()?, source: fields.next()? })
    }
}

/// Calls `each` with every mount that can be seen, in the order they can be unmounted backwards.
///
/// # Errors
/// As open(2) and read(2); ENOENT where `/proc` is not mounted.
pub fn each(each: &mut dyn FnMut(&Mount)) -> Result<(), Errno> {
    let mut lines = Lines::<OwnedFd, { files::LINE_BYTES }>::new(files::open(PATH)?);
    while let Some(line) = lines.read()? {
        // A line that was too long has paths longer than any this host makes. A piece of it is no mount, or lacks what comes at the end.
        if let Some(mount) = Mount::parse(line) {
            each(&mount);
        }
    }
    Ok(())
}

/// Undoes the kernel's escapes in `path`, into `into`, with a NUL behind; nothing where it does not fit.
pub fn unescape<'a>(path: &[u8], into: &'a mut [u8]) -> Option<&'a CStr> {
    let mut used = 0;
    let mut rest = path;
    while let Some((byte, later)) = rest.split_first() {
        let (byte, later) = match later {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', later @ ..] if *byte == b'\\' => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), later)
            }
            _ => (*byte, later),
        };
        *into.get_mut(used)? = byte;
        used += 1;
        rest = later;
    }
    *into.get_mut(used)? = 0;
    CStr::from_bytes_with_nul(into.get(..=used)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_with_optional_fields_is_read() {
        let line = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue";
        let expected = Mount { id: 36, parent: 35, target: b"/mnt2", kind: b"ext3", source: b"/dev/root" };
        assert_eq!(Mount::parse(line), Some(expected));
        assert_eq!(Mount::parse(b"1 1 0:2 / / rw - rootfs none rw").map(|root| (root.id, root.parent)), Some((1, 1)));
    }

    #[test]
    fn a_line_without_its_end_is_none() {
        for line in
            [&b""[..], b"36", b"36 35 98:0 /mnt1 /mnt2 rw,noatime", b"36 35 98:0 / / rw - ext3", b"x y z a b c - d e"]
        {
            assert_eq!(Mount::parse(line), None);
        }
    }

    #[test]
    fn this_machine_has_a_root_and_proc() {
        let (mut root, mut proc) = (false, false);
        each(&mut |mount| {
            root |= mount.target == b"/";
            proc |= mount.target == b"/proc" && mount.kind == b"proc";
        })
        .unwrap();
        assert!(root && proc);
    }

    #[test]
    fn escapes_are_undone() {
        let mut buffer = [0; 16];
        assert_eq!(unescape(br"/a\040b\134c\n", &mut buffer), Some(c"/a b\\c\\n"));
        assert_eq!(unescape(b"/0123456789abcdef", &mut buffer), None);
        assert_eq!(unescape(br"/\000", &mut buffer), None);
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(mount) = Mount::parse(&line) {
                prop_assert!(unescape(mount.target, &mut [0; 256]).is_none_or(|path| path.count_bytes() <= mount.target.len()));
            }
        }
    }
}
