//! The PARTUUID of a partition, for kernels that do not tell it: from the table on its disk. Pure.
//!
//! GPT: UEFI specification 2.10, chapter 5.3; the first table alone is read, for a kernel that found the partition by the
//! second has said so. MBR: the disk's number and that of the partition (linux/block/partitions/msdos.c).

use core::fmt::Write;

use super::superblock::{Read, write_uuid};

/// A PARTUUID as the kernel writes it.
pub type Id = heapless::String<36>;

/// The PARTUUID of partition `number`, from 1, of the disk that `read` reads, whose sectors have `sector` bytes; nothing where
/// there is none.
pub fn id(read: &mut Read<'_>, sector: u64, number: u32) -> Option<Id> {
    let mut mbr = [0; 512];
    if !read(0, &mut mbr) || mbr.get(510..) != Some(&[0x55, 0xaa]) {
        return None;
    }
    let mut id = Id::new();
    // What a GPT has in the place of an MBR covers the disk with one partition of this type.
    let is_gpt = (0..4).any(|index| mbr.get(450 + 16 * index) == Some(&0xee));
    if is_gpt {
        write_uuid(&gpt(read, sector, number)?, &mut id);
    } else {
        let disk = four(&mbr, 440)?;
        if disk != 0 {
            let _ = write!(id, "{disk:08x}-{number:02x}");
        }
    }
    (!id.is_empty()).then_some(id)
}

/// The bytes of a partition's own GUID, in the order they are written.
fn gpt(read: &mut Read<'_>, sector: u64, number: u32) -> Option<[u8; 16]> {
    let mut header = [0; 92];
    if !read(sector, &mut header) || !header.starts_with(b"EFI PART") {
        return None;
    }
    let first = u64::from(four(&header, 72)?) | u64::from(four(&header, 76)?) << 32;
    let (count, size) = (four(&header, 80)?, four(&header, 84)?);
    let index = number.checked_sub(1).filter(|index| *index < count)?;
    let at = first.checked_mul(sector)?.checked_add(u64::from(index) * u64::from(size))?;
    let mut entry = [0; 32];
    // An entry without a type is free.
    if size < 128 || !read(at, &mut entry) || entry.iter().take(16).all(|byte| *byte == 0) {
        return None;
    }
    let [.., a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = entry;
    // Its first three numbers have their little end first.
    Some([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
}

fn four(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_id(disk: &[u8], sector: u64, number: u32) -> Option<String> {
        let mut read = |at: u64, into: &mut [u8]| {
            let Some(bytes) = usize::try_from(at).ok().and_then(|at| disk.get(at..at.checked_add(into.len())?)) else {
                return false;
            };
            into.copy_from_slice(bytes);
            true
        };
        id(&mut read, sector, number).map(|id| id.as_str().into())
    }

    fn gpt_disk(sector: usize) -> Vec<u8> {
        let mut disk = vec![0; 8 * sector + 1024];
        disk[450] = 0xee;
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[sector..sector + 8].copy_from_slice(b"EFI PART");
        disk[sector + 72] = 2;
        disk[sector + 80..sector + 88].copy_from_slice(&[4, 0, 0, 0, 128, 0, 0, 0]);
        let second = 2 * sector + 128;
        disk[second] = 1;
        disk[second + 16..second + 32].copy_from_slice(&(1..=16).collect::<Vec<u8>>());
        disk
    }

    #[test]
    fn of_a_gpt_it_is_the_partitions_own_guid() {
        for sector in [512, 4096] {
            let disk = gpt_disk(sector);
            let id = Some("04030201-0605-0807-090a-0b0c0d0e0f10".into());
            assert_eq!(read_id(&disk, sector as u64, 2), id);
            for free in [0, 1, 3, 5, u32::MAX] {
                assert_eq!(read_id(&disk, sector as u64, free), None);
            }
        }
    }

    #[test]
    fn of_an_mbr_it_is_the_number_of_the_disk_and_of_the_partition() {
        let mut disk = vec![0; 512];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(read_id(&disk, 512, 1), None, "it has no number");
        disk[440..444].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
        assert_eq!(read_id(&disk, 512, 1), Some("1234abcd-01".into()));
        assert_eq!(read_id(&disk, 512, 17), Some("1234abcd-11".into()));
        disk[511] = 0;
        assert_eq!(read_id(&disk, 512, 1), None, "it is no table");
    }

    proptest! {
        #[test]
        fn any_table_is_read_or_refused(
            bytes in proptest::collection::vec((0usize..2048, any::<u8>()), 0..60), number in any::<u32>(), sector in any::<u64>(),
        ) {
            let mut disk = gpt_disk(512);
            for (at, byte) in bytes {
                disk[at] = byte;
            }
            for (sector, number) in [(sector, number), (512, number % 5)] {
                prop_assert!(read_id(&disk, sector, number).is_none_or(|id| id.is_ascii() && id.len() <= 36));
            }
        }
    }
}
