//! File systems told apart by their superblocks: type, UUID and label, as blkid(8) tells them. Pure.
//!
//! Every byte of a disk is hostile: all are looked at, none is believed to be a length or a place.

use core::ffi::CStr;
use core::fmt::Write;

/// Reads so many bytes at a place of a disk or file; whether all were there.
pub type Read<'r> = dyn FnMut(u64, &mut [u8]) -> bool + 'r;

/// Bytes that are looked at in one place.
const WINDOW: usize = 4096;
/// Bytes of the longest label that is kept: btrfs has room for 256.
const LABEL_BYTES: usize = 256;

/// The number that a file system has been given.
#[derive(Clone, Copy, Debug)]
enum Number {
    /// None.
    None,
    /// 16 bytes (RFC 9562), in the order they are written.
    Uuid(usize),
    /// 4 bytes, little end first.
    Serial(usize),
}

/// How a type of file system is known. Places count from `base`.
struct Format {
    kind: &'static CStr,
    base: u64,
    magic: (usize, &'static [u8]),
    number: Number,
    /// Where the label is, and how long at most; ends with a NUL or with blanks.
    label: (usize, usize),
    /// Bytes of one character of it.
    wide: usize,
}

/// linux/magic.h, and the layouts in fs/*: squashfs_fs.h, erofs_fs.h, ext4.h, xfs_format.h, f2fs_fs.h, btrfs_tree.h, swap.h,
/// msdos_fs.h, exfat_raw.h, iso_fs.h. The most certain ones first.
const FORMATS: [Format; 11] = [
    Format { kind: c"squashfs", base: 0, magic: (0, b"hsqs"), number: Number::None, label: (0, 0), wide: 1 },
    Format {
        kind: c"erofs",
        base: 0,
        magic: (1024, b"\xe2\xe1\xf5\xe0"),
        number: Number::Uuid(1072),
        label: (1088, 16),
        wide: 1,
    },
    Format {
        kind: c"ext4",
        base: 0,
        magic: (1080, b"\x53\xef"),
        number: Number::Uuid(1128),
        label: (1144, 16),
        wide: 1,
    },
    Format {
        kind: c"f2fs",
        base: 0,
        magic: (1024, b"\x10\x20\xf5\xf2"),
        number: Number::Uuid(1132),
        label: (1148, 512),
        wide: 2,
    },
    Format { kind: c"xfs", base: 0, magic: (0, b"XFSB"), number: Number::Uuid(32), label: (108, 12), wide: 1 },
    Format {
        kind: c"swap",
        base: 0,
        magic: (4086, b"SWAPSPACE2"),
        number: Number::Uuid(1036),
        label: (1052, 16),
        wide: 1,
    },
    Format {
        kind: c"btrfs",
        base: 65_536,
        magic: (64, b"_BHRfS_M"),
        number: Number::Uuid(32),
        label: (299, 256),
        wide: 1,
    },
    Format { kind: c"iso9660", base: 32_768, magic: (1, b"CD001"), number: Number::None, label: (40, 32), wide: 1 },
    Format { kind: c"exfat", base: 0, magic: (3, b"EXFAT   "), number: Number::Serial(100), label: (0, 0), wide: 1 },
    Format { kind: c"vfat", base: 0, magic: (82, b"FAT32   "), number: Number::Serial(67), label: (71, 11), wide: 1 },
    // FAT12 and FAT16.
    Format { kind: c"vfat", base: 0, magic: (54, b"FAT1"), number: Number::Serial(39), label: (43, 11), wide: 1 },
];

/// What is on a disk.
#[derive(Debug)]
pub struct Found {
    /// Its type, as the kernel calls it; ext2 and ext3 are `ext4`.
    pub kind: &'static CStr,
    /// Its UUID as people write it; empty where it has none.
    pub uuid: heapless::String<36>,
    /// Its label; empty where it has none.
    pub label: heapless::Vec<u8, LABEL_BYTES>,
}

/// The type of what begins with `start`, as far as that tells.
#[must_use]
pub fn kind(start: &[u8]) -> Option<&'static CStr> {
    format_of(0, start).map(|format| format.kind)
}

fn format_of(base: u64, window: &[u8]) -> Option<&'static Format> {
    FORMATS.iter().filter(|format| format.base == base).find(|format| {
        let (at, magic) = format.magic;
        window.get(at..).is_some_and(|bytes| bytes.starts_with(magic))
    })
}

/// What the disk that `read` reads has on it; nothing where that is not known.
pub fn probe(read: &mut Read<'_>) -> Option<Found> {
    let mut window = [0; WINDOW];
    for base in [0, 65_536, 32_768] {
        if read(base, &mut window)
            && let Some(format) = format_of(base, &window)
        {
            return Some(found(format, &window));
        }
    }
    None
}

fn found(format: &Format, window: &[u8; WINDOW]) -> Found {
    let mut uuid = heapless::String::new();
    let bytes = |at: usize, len: usize| window.get(at..at + len).unwrap_or_default();
    match format.number {
        Number::None => {}
        Number::Uuid(at) => write_uuid(bytes(at, 16), &mut uuid),
        Number::Serial(at) => {
            if let [a, b, c, d] = *bytes(at, 4) {
                let _ = write!(uuid, "{d:02X}{c:02X}-{b:02X}{a:02X}");
            }
        }
    }
    let (at, len) = format.label;
    let mut label = heapless::Vec::new();
    for character in bytes(at, len).chunks(format.wide) {
        let (first, rest) = character.split_first().unwrap_or((&0, &[]));
        // Beyond Latin no label is known: it does not match.
        let byte = if rest.iter().all(|byte| *byte == 0) { *first } else { b'?' };
        if byte == 0 || label.push(byte).is_err() {
            break;
        }
    }
    while label.last() == Some(&b' ') {
        label.pop();
    }
    Found { kind: format.kind, uuid, label }
}

/// Writes 16 bytes as a UUID is written; nothing for none, which is all zero.
pub fn write_uuid(bytes: &[u8], into: &mut heapless::String<36>) {
    if bytes.iter().all(|byte| *byte == 0) {
        return;
    }
    for (index, byte) in bytes.iter().enumerate() {
        let hyphen = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
        let _ = write!(into, "{hyphen}{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A disk of 128 KiB with these bytes at these places.
    fn disk(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut disk = vec![0; 128 << 10];
        for (at, bytes) in parts {
            disk[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        disk
    }

    pub fn reader(disk: &[u8]) -> impl FnMut(u64, &mut [u8]) -> bool + '_ {
        |at, into| {
            let Some(bytes) = disk.get(at as usize..at as usize + into.len()) else { return false };
            into.copy_from_slice(bytes);
            true
        }
    }

    fn told(disk: &[u8]) -> Option<(String, String, String)> {
        let found = probe(&mut reader(disk))?;
        let label = String::from_utf8(found.label.to_vec()).unwrap();
        Some((found.kind.to_str().unwrap().into(), found.uuid.as_str().into(), label))
    }

    #[test]
    fn each_file_system_is_told_with_its_number_and_label() {
        let uuid: Vec<u8> = (1..=16).collect();
        let words = "01020304-0506-0708-090a-0b0c0d0e0f10";
        let wide: Vec<u8> = b"flash".iter().flat_map(|byte| [*byte, 0]).collect();
        type Case<'a> = (&'a [(usize, &'a [u8])], &'a str, &'a str, &'a str);
        let cases: [Case; 10] = [
            (&[(1080, b"\x53\xef"), (1128, &uuid), (1144, b"data")], "ext4", words, "data"),
            (&[(0, b"XFSB"), (32, &uuid), (108, b"twelve bytes")], "xfs", words, "twelve bytes"),
            (&[(65_600, b"_BHRfS_M"), (65_568, &uuid), (65_835, b"pool")], "btrfs", words, "pool"),
            (&[(1024, b"\xe2\xe1\xf5\xe0"), (1072, &uuid)], "erofs", words, ""),
            (&[(1024, b"\x10\x20\xf5\xf2"), (1132, &uuid), (1148, &wide)], "f2fs", words, "flash"),
            (&[(4086, b"SWAPSPACE2"), (1036, &uuid), (1052, b"swap")], "swap", words, "swap"),
            (&[(82, b"FAT32   "), (67, b"\x78\x56\x34\x12"), (71, b"EFI        ")], "vfat", "1234-5678", "EFI"),
            (&[(54, b"FAT16   "), (39, b"\x78\x56\x34\x12")], "vfat", "1234-5678", ""),
            (&[(0, b"hsqs")], "squashfs", "", ""),
            (&[(32_769, b"CD001"), (32_808, b"DISC            ")], "iso9660", "", "DISC"),
        ];
        for (parts, kind, uuid, label) in cases {
            assert_eq!(told(&disk(parts)), Some((kind.into(), uuid.into(), label.into())));
        }
        assert_eq!(told(&disk(&[])), None);
    }

    #[test]
    fn what_is_shorter_than_a_superblock_is_nothing() {
        let whole = disk(&[(1080, b"\x53\xef")]);
        assert_eq!(told(&whole[..4095]), None);
        assert_eq!(kind(&whole[..1082]), Some(c"ext4"), "of a file the start is enough");
        assert_eq!(kind(&whole[..1081]), None);
    }

    proptest! {
        #[test]
        fn any_disk_is_told_or_not(mut disk in proptest::collection::vec(any::<u8>(), 128 << 10), format in 0..FORMATS.len()) {
            let Format { base, magic: (at, magic), .. } = &FORMATS[format];
            let at = *base as usize + at;
            disk[at..at + magic.len()].copy_from_slice(magic);
            // Another may stand there too; some is found.
            let found = probe(&mut reader(&disk)).unwrap();
            prop_assert!(found.label.len() <= LABEL_BYTES && [0, 9, 36].contains(&found.uuid.len()));
        }
    }
}
