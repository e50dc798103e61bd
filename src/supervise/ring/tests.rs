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
fn what_is_written_is_read_with_its_time() {
    let mut ring = ring(KEEP);
    let mut reader = reader(&ring);
    assert_eq!(drain(&mut reader), (std::vec![], 0));
    ring.append(b"one\n", 5).unwrap();
    ring.append(b"two\n", 6).unwrap();
    assert_eq!(reader.next_time_us(), Ok(Some(5)));
    let mut buffer = [0; 3];
    assert_eq!(reader.read(&mut buffer), Ok(Chunk { bytes: 3, lost: 0, time_us: 5 }));
    assert_eq!(drain(&mut reader), (b"\ntwo\n".to_vec(), 0));
    ring.append(b"three\n", 1 << 51).unwrap();
    assert_eq!(reader.next_time_us(), Ok(Some(1 << 51)));
    assert_eq!(drain(&mut reader), (b"three\n".to_vec(), 0));
    assert_eq!(reader.next_time_us(), Ok(None));
}

#[test]
fn a_flood_loses_its_oldest_bytes_and_the_reader_is_told_how_many() {
    let mut ring = ring(KEEP);
    let mut early = reader(&ring);
    let flood: std::vec::Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    for chunk in flood.chunks(APPEND_BYTES) {
        ring.append(chunk, 1).unwrap();
    }
    let (kept, lost) = drain(&mut early);
    assert!(kept.len() as u64 >= KEEP, "{}", kept.len());
    assert_eq!((&kept[..], lost), (&flood[flood.len() - kept.len()..], 100_000 - kept.len() as u64));
    assert_eq!(drain(&mut reader(&ring)), (kept, lost), "one who comes later is told how much was there before");
}

#[test]
fn a_reader_that_is_overtaken_while_it_reads_sees_no_mixed_bytes() {
    let mut ring = ring(KEEP);
    let mut reader = reader(&ring);
    let mut buffer = [0; 64];
    for round in 0..50_u8 {
        for _ in 0..5 {
            ring.append(&[round; 4000], round.into()).unwrap();
        }
        let chunk = reader.read(&mut buffer).unwrap();
        assert!(buffer[..chunk.bytes].iter().all(|&byte| byte == round));
        assert_eq!(chunk.time_us, round.into());
    }
}

#[test]
fn the_last_lines_are_found() {
    let mut ring = ring(KEEP);
    for text in ["one\ntwo\nthree\n", "one\ntwo\nthree"] {
        ring.append(text.as_bytes(), 0).unwrap();
        for (lines, tail) in [(0, ""), (1, "three"), (2, "two\nthree")] {
            let mut reader = reader(&ring);
            reader.skip_to(reader.last_lines(lines).unwrap());
            let (read, lost) = drain(&mut reader);
            assert_eq!((core::str::from_utf8(&read).unwrap().trim_end(), lost), (tail, 0));
        }
    }
    let mut reader = reader(&ring);
    reader.skip_to(reader.last_lines(99).unwrap());
    assert_eq!(drain(&mut reader).0, b"one\ntwo\nthree\none\ntwo\nthree");
    let empty = Ring::new(c"empty", 1).unwrap();
    let mut reader = Reader::open(empty.for_reading().unwrap()).unwrap();
    reader.skip_to(reader.last_lines(3).unwrap());
    assert_eq!(drain(&mut reader), (std::vec![], 0));
}

#[test]
fn lines_are_found_across_the_wrap_and_across_pieces() {
    let mut ring = ring(5000);
    for n in 0..1000 {
        let line = std::format!("line {n:04} {}\n", "x".repeat(40));
        // In two pieces each.
        let (first, second) = line.as_bytes().split_at(7);
        ring.append(first, n).unwrap();
        ring.append(second, n).unwrap();
    }
    let mut by_count = reader(&ring);
    by_count.skip_to(by_count.last_lines(60).unwrap());
    let (read, lost) = drain(&mut by_count);
    assert!(read.starts_with(b"line 0940 "), "{}", core::str::from_utf8(&read[..200.min(read.len())]).unwrap());
    assert_eq!(lost, 0);
    let mut by_time = reader(&ring);
    by_time.skip_to(by_time.since(940).unwrap());
    assert_eq!(drain(&mut by_time), (read, 0));
    for (time, nothing_older) in [(0, true), (5000, false)] {
        let mut reader = reader(&ring);
        reader.skip_to(reader.since(time).unwrap());
        assert_eq!(drain(&mut reader).0.is_empty(), !nothing_older);
    }
}

#[test]
fn a_record_of_one_piece_is_never_cut() {
    let mut ring = ring(KEEP);
    let mut reader = reader(&ring);
    let mut buffer = [0; APPEND_BYTES];
    for n in 0..300_u64 {
        let bytes = std::vec![n as u8; 1 + (n as usize * 37) % APPEND_BYTES];
        ring.append_whole(&bytes, n).unwrap();
        assert_eq!(reader.read(&mut buffer), Ok(Chunk { bytes: bytes.len(), lost: 0, time_us: n }));
        assert_eq!(&buffer[..bytes.len()], &bytes[..]);
    }
    let mut late = Reader::open(ring.for_reading().unwrap()).unwrap();
    let chunk = late.read(&mut buffer).unwrap();
    assert!(chunk.lost > 0 && buffer[..chunk.bytes].iter().all(|byte| *byte == chunk.time_us as u8));
}

#[test]
fn another_goes_on_where_one_was() {
    let mut ring = ring(KEEP);
    ring.append(b"one two", 0).unwrap();
    let writable = ring.memory().try_clone_to_owned().unwrap();
    let mut first = Reader::open(&writable).unwrap();
    first.read(&mut [0; 4]).unwrap();
    first.keep(first.place()).unwrap();
    assert_eq!((ring.passed(), ring.written()), (Ok(4), 7));
    let mut second = reader(&ring);
    second.resume().unwrap();
    assert_eq!(drain(&mut second), (b"two".to_vec(), 0));
}

#[test]
fn who_waits_for_changes_is_told_of_each_append() {
    use rustix::fs::inotify;
    let mut ring = ring(1);
    let reader = reader(&ring);
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let path = std::format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&reader.memory()));
    inotify::add_watch(&watch, path.as_str(), inotify::WatchFlags::MODIFY).unwrap();
    for _ in 0..2 {
        assert_eq!(rustix::io::read(&watch, &mut [0; 64]), Err(Errno::AGAIN));
        ring.append(b"x", 0).unwrap();
        assert!(rustix::io::read(&watch, &mut [0; 64]).is_ok());
    }
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
            ring.append(&bytes, length as u64).unwrap();
            written.extend_from_slice(&bytes);
            if then_read {
                let (read, lost) = drain(&mut reader);
                seen += lost;
                prop_assert_eq!(&read[..], &written[seen as usize..]);
                seen += read.len() as u64;
                // Pieces are counted with eight bytes more.
                prop_assert!(lost == 0 || read.len() as u64 + 8 >= keep.min(written.len() as u64) * 9 / 10);
            }
        }
        prop_assert_eq!(ring.written(), written.len() as u64);
        let mut all = Reader::open(ring.for_reading().unwrap()).unwrap();
        let (kept, lost) = drain(&mut all);
        prop_assert_eq!(lost + kept.len() as u64, written.len() as u64);
        for lines in 0..9 {
            let mut reader = Reader::open(ring.for_reading().unwrap()).unwrap();
            reader.skip_to(reader.last_lines(lines).unwrap());
            let (tail, _) = drain(&mut reader);
            prop_assert!(kept.ends_with(&tail));
            let ends = tail.iter().filter(|byte| **byte == b'\n').count() as u64;
            let open = u64::from(tail.last().is_some_and(|last| *last != b'\n'));
            prop_assert!(ends + open == lines || tail.len() == kept.len(), "{} {} {}", ends, open, lines);
        }
    }
}

#[test]
fn a_copy_has_what_was_there_whatever_is_written_after_it() {
    let mut ring = ring(KEEP);
    ring.append(b"before\n", 0).unwrap();
    let mut reader = reader(&ring).of_copy().unwrap();
    // More than it keeps: all of it is written over.
    for _ in 0..10 * KEEP / APPEND_BYTES as u64 + 10 {
        ring.append(&[b'x'; APPEND_BYTES], 0).unwrap();
    }
    assert_eq!(drain(&mut reader), (b"before\n".to_vec(), 0));
}

#[test]
fn what_is_written_over_while_it_is_copied_is_lost_and_counted_and_nothing_is_mixed() {
    let mut ring = ring(KEEP);
    let (count, over) = (std::sync::atomic::AtomicU64::new(0), std::sync::atomic::AtomicBool::new(false));
    let memory = ring.for_reading().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Each line is a number: one that was mixed of two would be out of order.
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                ring.append(std::format!("{number:015}\n").as_bytes(), 0).unwrap();
            }
        });
        for _ in 0..200 {
            let mut copy = Reader::open(rustix::io::dup(&memory).unwrap()).unwrap().of_copy().unwrap();
            let (kept, lost) = drain(&mut copy);
            let text = std::str::from_utf8(&kept).unwrap();
            for (line, number) in text.lines().zip(lost / 16..) {
                assert_eq!(line.parse(), Ok(number));
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn the_smallest_and_the_largest_ring_keep_what_they_promise() {
    for keep in [1, crate::limits::LOG_BYTES_MAX] {
        let mut ring = ring(keep);
        let chunk = [b'x'; APPEND_BYTES];
        let chunks = keep.div_ceil(APPEND_BYTES as u64) + 10;
        for _ in 0..chunks {
            ring.append(&chunk, 0).unwrap();
        }
        let mut reader = reader(&ring);
        let (mut kept, mut lost, mut buffer) = (0, 0, [0; APPEND_BYTES]);
        loop {
            let part = reader.read(&mut buffer).unwrap();
            if part.bytes == 0 {
                break;
            }
            (kept, lost) = (kept + part.bytes as u64, lost + part.lost);
        }
        assert!(kept >= keep, "{kept}");
        assert_eq!(kept + lost, chunks * APPEND_BYTES as u64);
    }
}

#[test]
fn what_comes_behind_a_stop_is_for_one_that_is_let_on() {
    let mut ring = ring(KEEP);
    let mut reader = reader(&ring);
    ring.stop().unwrap();
    ring.append(b"second", 2).unwrap();
    // Another time says nothing new.
    ring.stop().unwrap();
    assert_eq!([(); 2].map(|()| reader.heed_stop()), [Ok(true), Ok(false)]);
    assert_eq!(drain(&mut reader).0, b"");
    ring.let_on().unwrap();
    assert_eq!(reader.heed_stop(), Ok(true));
    assert_eq!(drain(&mut reader).0, b"second");
    ring.stop().unwrap();
    ring.append(b"third", 3).unwrap();
    assert_eq!(reader.heed_stop(), Ok(true));
    assert_eq!(drain(&mut reader).0, b"");
}
