use proptest::prelude::*;

use super::*;

const KEEP: u64 = 10_000;

fn ring(keep: u64) -> Ring {
    Ring::new(c"test", keep).unwrap()
}

fn reader(ring: &Ring) -> Reader<OwnedFd> {
    Reader::open(ring.for_reading().unwrap()).unwrap()
}

/// All that there is to read, and how much was lost.
fn drain(reader: &mut Reader<OwnedFd>) -> (std::vec::Vec<u8>, u64) {
    let (mut all, mut lost) = (std::vec![], 0);
    let mut buffer = [0; 777];
    loop {
        let chunk = reader.read(&mut buffer).unwrap();
        if chunk.bytes == 0 {
            return (all, lost + chunk.lost);
        }
        all.extend_from_slice(&buffer[..chunk.bytes]);
        lost += chunk.lost;
    }
}

#[test]
fn what_is_written_is_read() {
    let mut ring = ring(KEEP);
    let mut reader = reader(&ring);
    assert_eq!(drain(&mut reader), (std::vec![], 0));
    ring.append(b"one\n").unwrap();
    ring.append(b"two\n").unwrap();
    assert_eq!(drain(&mut reader), (b"one\ntwo\n".to_vec(), 0));
    ring.append(b"three\n").unwrap();
    assert_eq!(drain(&mut reader), (b"three\n".to_vec(), 0));
}

#[test]
fn a_flood_loses_its_oldest_bytes_and_the_reader_is_told_how_many() {
    let mut ring = ring(KEEP);
    let mut early = reader(&ring);
    let flood: std::vec::Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    for chunk in flood.chunks(APPEND_BYTES) {
        ring.append(chunk).unwrap();
    }
    let kept = &flood[flood.len() - KEEP as usize..];
    assert_eq!(drain(&mut early), (kept.to_vec(), 100_000 - KEEP));
    assert_eq!(drain(&mut reader(&ring)), (kept.to_vec(), 0), "one who comes later has lost nothing");
}

#[test]
fn a_reader_that_is_overtaken_while_it_reads_sees_no_mixed_bytes() {
    let mut ring = ring(KEEP);
    let mut reader = reader(&ring);
    let mut buffer = [0; 64];
    for round in 0..50_u8 {
        for _ in 0..3 {
            ring.append(&[round; 4000]).unwrap();
        }
        let chunk = reader.read(&mut buffer).unwrap();
        assert_eq!(chunk.bytes, 64);
        assert!(buffer.iter().all(|&byte| byte == round));
    }
}

#[test]
fn the_last_lines_are_found() {
    let mut ring = ring(KEEP);
    for text in ["one\ntwo\nthree\n", "one\ntwo\nthree"] {
        ring.append(text.as_bytes()).unwrap();
        let mut reader = reader(&ring);
        for (lines, tail) in [(0, ""), (1, "three"), (2, "two\nthree")] {
            reader.skip_to_last_lines(lines).unwrap();
            let (read, _) = drain(&mut reader);
            assert_eq!(core::str::from_utf8(&read).unwrap().trim_end(), tail);
        }
    }
    let mut reader = reader(&ring);
    reader.skip_to_last_lines(99).unwrap();
    assert_eq!(drain(&mut reader).0, b"one\ntwo\nthree\none\ntwo\nthree");
}

#[test]
fn lines_are_found_across_the_wrap_and_across_chunks() {
    let mut ring = ring(5000);
    for n in 0..1000 {
        ring.append(std::format!("line {n:04} {}\n", "x".repeat(40)).as_bytes()).unwrap();
    }
    let mut reader = reader(&ring);
    reader.skip_to_last_lines(60).unwrap();
    let (read, lost) = drain(&mut reader);
    assert!(read.starts_with(b"line 0940 "));
    assert_eq!(lost, 0);
}

#[test]
fn a_reader_cannot_write_and_a_stranger_is_no_ring() {
    let ring = ring(KEEP);
    let read_only = ring.for_reading().unwrap();
    assert_eq!(rustix::io::pwrite(&read_only, b"x", 0), Err(Errno::BADF));
    let empty = rustix::fs::memfd_create("stranger", MemfdFlags::CLOEXEC).unwrap();
    assert_eq!(Reader::open(&empty).err(), Some(Errno::PROTO));
    rustix::fs::ftruncate(&empty, 10_000).unwrap();
    assert_eq!(Reader::open(&empty).err(), Some(Errno::PROTO));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_is_read_or_counted_as_lost(
        keep in 1_u64..9_000,
        writes in proptest::collection::vec((0_usize..4_500, any::<bool>()), 1..40),
    ) {
        let mut ring = ring(keep);
        let mut reader = reader(&ring);
        let (mut written, mut seen) = (std::vec![], 0_u64);
        for (length, then_read) in writes {
            let bytes: std::vec::Vec<u8> = (0..length).map(|n| (written.len() + n) as u8 ^ (length as u8)).collect();
            ring.append(&bytes).unwrap();
            written.extend_from_slice(&bytes[length.saturating_sub(APPEND_BYTES)..]);
            if then_read {
                let (read, lost) = drain(&mut reader);
                seen += lost;
                prop_assert_eq!(&read[..], &written[seen as usize..]);
                seen += read.len() as u64;
                prop_assert!(lost == 0 || read.len() as u64 == keep.min(written.len() as u64));
            }
        }
    }
}

#[test]
fn a_reader_that_stops_here_reads_no_more_than_was_there() {
    let mut ring = ring(KEEP);
    ring.append(b"before\n").unwrap();
    let mut reader = reader(&ring);
    reader.stop_here().unwrap();
    ring.append(b"after\n").unwrap();
    assert_eq!(drain(&mut reader), (b"before\n".to_vec(), 0));
}
