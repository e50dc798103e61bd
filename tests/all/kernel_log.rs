//! Records of the kernel's log about processes killed for want of memory, damaged in every way.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

#[path = "../../fuzz/entry/oom.rs"]
mod entry;

const RECORDS: [&str; 3] = [
    "6,339,5140900,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=guest,mems_allowed=0,oom_memcg=/inn/web,task_memcg=/inn/web/guest,task=hog,pid=123,uid=1000\n SUBSYSTEM=x\n",
    "6,340,5140901,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/inn.services/sshd/guest,task=sshd,pid=77,uid=0\n",
    "6,341,5140902,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/inn/a/guest/b,task_memcg=/inn/a/guest/b,task=\\x1b[2J,pid=1,uid=1\n",
];

/// What stands between other things in a record.
const PARTS: &[&str] = &[
    "oom_memcg=",
    "task_memcg=",
    "global_oom",
    ",task=",
    ",pid=",
    ",uid=",
    "/inn/",
    "/inn.services/",
    "/guest",
    ";",
    ",",
    "\\x",
    "\n",
    "6,",
    "oom-kill:constraint=",
    "4294967296",
    "\u{e9}",
    "\0",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_damaged_record_names_nobody_or_somebody_who_can_be(
        record in select(&RECORDS[..]),
        damage in vec((any::<Index>(), any::<Index>(), select(PARTS), any::<u8>(), 0..4), 1..6),
    ) {
        let mut bytes = record.as_bytes().to_vec();
        for (at, to, part, byte, how) in damage {
            if bytes.is_empty() {
                break;
            }
            let (at, to) = (at.index(bytes.len()), to.index(bytes.len()));
            match how {
                0 => bytes[at] = byte,
                1 => drop(bytes.splice(at..at, part.bytes())),
                2 => drop(bytes.drain(at.min(to)..at.max(to))),
                _ => {
                    let copy = bytes[at.min(to)..at.max(to)].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        entry::oom(&bytes);
    }

    #[test]
    fn any_bytes_name_nobody_or_somebody_who_can_be(bytes in vec(any::<u8>(), 0..600)) {
        entry::oom(&bytes);
    }
}

#[test]
fn the_records_that_are_damaged_name_somebody_while_they_are_whole() {
    let names =
        RECORDS.map(|record| innkeep::supervise::oom::parse(record.as_bytes(), b"inn").map(|(_, name, _)| name));
    assert_eq!(names, [Some(&b"web"[..]), Some(b"sshd"), Some(b"a")]);
}
