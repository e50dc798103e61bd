//! Control messages: what is encoded is decoded again, and no bytes make the decoder panic.

use innkeep::control::wire::*;
use innkeep::fault::{Fault, Step};
use innkeep::limits;
use innkeep::plan::{Confinement, Extents, Kind, User, Users};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

#[path = "../../fuzz/entry/wire.rs"]
mod entry;

fn name() -> impl Strategy<Value = Name> {
    "[a-zA-Z0-9._-]{0,63}".prop_map(|name| Name::new(name.as_bytes()).expect("a guest's name"))
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,100}"
}

fn request() -> impl Strategy<Value = Request> {
    let power = select(vec![Power::PowerOff, Power::Reboot, Power::Halt]);
    (0..12, name(), any::<bool>(), power).prop_map(|(which, guest, wait, how)| match which {
        0 => Request::List,
        1 => Request::Status { guest },
        2 => Request::Start { guest, wait },
        3 => Request::Stop { guest },
        4 => Request::Restart { guest, wait },
        5 => Request::Kill { guest },
        6 => Request::Join { guest },
        7 => Request::Logs { guest },
        8 => Request::HostStatus,
        9 => Request::Power { how },
        10 => Request::Console { guest },
        _ => Request::Version,
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    (select(Step::ALL), any::<u16>(), any::<u32>()).prop_map(|(step, errno, detail)| Fault { step, errno, detail })
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        any::<u8>().prop_map(Exit::Code),
        any::<u8>().prop_map(Exit::Signal),
        Just(Exit::OutOfMemory),
        fault().prop_map(Exit::Failed),
    ]
}

/// The owned parts of a guest's snapshot.
type Parts = ((String, String, String, String, String), Numbers, (Kind, State, Option<Exit>, bool, Option<(u32, u32)>));
type Numbers =
    (u32, Option<u64>, Option<u64>, Option<u64>, Option<u64>, Option<u32>, Option<u32>, Option<u32>, u32, u32);

fn parts() -> impl Strategy<Value = Parts> {
    let kind = select(vec![Kind::Os, Kind::App, Kind::Service]);
    (
        (text(), text(), text(), text(), text()),
        any::<Numbers>(),
        (kind, select(State::ALL), option::of(exit()), any::<bool>(), any::<Option<(u32, u32)>>()),
    )
}

fn guest(((name, root, cgroup, description, file), numbers, rest): &Parts) -> GuestInfo<'_> {
    GuestInfo {
        name,
        kind: rest.0,
        state: rest.1,
        waits_for: Name::new(description.as_bytes()).unwrap_or(Name::ALL),
        is_stuck: rest.3,
        pid: numbers.0,
        uptime_ms: numbers.1,
        memory_bytes: numbers.2,
        memory_limit_bytes: numbers.3,
        swap_limit_bytes: numbers.4,
        cpu_us: numbers.1,
        cpus_limit_milli: numbers.5,
        processes: numbers.6,
        processes_limit: numbers.7,
        oom_kills: numbers.8,
        processes_refused: numbers.9,
        restarts: numbers.8,
        next_start_ms: numbers.2,
        exit: rest.2,
        place: rest.3.then_some(Place { file, line: numbers.0 }),
        // Any number of ranges that there can be.
        users: Extents::new((0..numbers.0 % 17).filter_map(|_| rest.4).map(|(base, count)| Users { base, count }))
            .expect("no more than there can be"),
        autostart: rest.3,
        root,
        cgroup,
        description,
        cpu_throttled: numbers.9,
        victim: rest.3.then_some(VictimInfo {
            name: "hog",
            pid: numbers.0,
            ago_ms: numbers.1.unwrap_or(1),
            full: Full::Host,
        }),
    }
}

fn reply(which: u8, parts: &Parts) -> Reply<'_> {
    let info = guest(parts);
    let (a, b) = (info.name, info.root);
    match which {
        0 => Reply::Guest(info),
        1 => Reply::Host(HostInfo {
            version: a,
            config: b,
            pid: info.pid,
            uptime_ms: info.uptime_ms.unwrap_or(0),
            guests: info.restarts,
            running: info.oom_kills,
            failed: info.processes_refused,
            going_down: info.autostart,
            hardening: info.pid as u16,
        }),
        2 => Reply::Join(JoinInfo {
            name: a,
            kind: info.kind,
            confinement: Confinement {
                capabilities: info.uptime_ms.unwrap_or(u64::MAX),
                given: u64::from(info.restarts) << 20,
                filter: info.is_stuck,
                opened: u128::from(info.pid) << 90,
                nesting: info.autostart,
            },
            users: info.users,
            user: User { uid: info.restarts, gid: info.oom_kills },
            cgroup: info.cgroup,
        }),
        3 => Reply::Logs { guest: a },
        4 => Reply::Version(a),
        5 => Reply::Done,
        6 => Reply::Console { guest: a },
        _ => {
            let fault = Some(Fault { step: Step::ALL[0], errno: 2, detail: info.pid });
            let code = Code::ALL[info.pid as usize % Code::ALL.len()];
            Reply::Error(Failure { code, guest: a, why: b, fault, place: info.place })
        }
    }
}

fn encoded(reply: &Reply<'_>) -> Vec<u8> {
    reply.encode(&mut [0; limits::MESSAGE_BYTES]).to_vec()
}

proptest! {
    #[test]
    fn a_request_is_decoded_as_it_was_encoded(request in request()) {
        let mut buffer = [0; REQUEST_BYTES];
        prop_assert_eq!(Request::decode(request.encode(&mut buffer)), Ok(request));
    }

    #[test]
    fn a_reply_is_decoded_as_it_was_encoded(which in 0u8..8, parts in parts()) {
        let reply = reply(which, &parts);
        let bytes = encoded(&reply);
        prop_assert_eq!(Reply::decode(&bytes), Ok(reply));
    }

    #[test]
    fn any_bytes_are_a_message_or_wrong(mut bytes in vec(any::<u8>(), 0..400), version: bool) {
        if version && let Some(first) = bytes.first_mut() {
            *first = VERSION;
        }
        entry::wire(&bytes);
    }

    #[test]
    fn a_damaged_reply_is_another_reply_or_wrong(which in 0u8..8, parts in parts(), at: prop::sample::Index, to: u8) {
        let mut bytes = encoded(&reply(which, &parts));
        let at = at.index(bytes.len());
        bytes[at] = to;
        entry::wire(&bytes);
    }

    #[test]
    fn a_message_that_is_cut_short_is_wrong(which in 0u8..8, parts in parts(), at: prop::sample::Index) {
        let bytes = encoded(&reply(which, &parts));
        prop_assert!(Reply::decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_message_with_something_behind_it_is_wrong(request in request(), more in vec(any::<u8>(), 1..9)) {
        let mut bytes = request.encode(&mut [0; REQUEST_BYTES]).to_vec();
        bytes.extend(more);
        prop_assert_eq!(Request::decode(&bytes), Err(Wrong::Malformed));
    }
}

#[test]
fn the_longest_texts_fit_and_are_cut_between_characters() {
    let long = "é".repeat(limits::MESSAGE_BYTES) + "x";
    // One byte before the characters puts a character across the bound.
    let odd = format!("x{long}");
    let users = Some((1, 2));
    let parts = (
        (odd.clone(), long.clone(), odd.clone(), long, odd),
        (16, Some(9), Some(9), Some(9), Some(9), Some(9), Some(9), Some(9), 9, 9),
        (Kind::Os, State::Failed, Some(Exit::Failed(Fault { step: Step::ALL[0], errno: 1, detail: 1 })), true, users),
    );
    for which in 0..9 {
        let bytes = encoded(&reply(which, &parts));
        let reply = Reply::decode(&bytes).expect("a whole message");
        if let Reply::Guest(info) = reply {
            assert_eq!(info.root.len(), TEXT_BYTES);
            assert_eq!(info.name.len(), TEXT_BYTES - 1);
            assert_eq!(info.users.ranges(), [Users { base: 1, count: 2 }; limits::USER_RANGES]);
        }
    }
}

#[test]
fn another_version_is_told_apart_from_garbage() {
    let mut bytes = Request::List.encode(&mut [0; REQUEST_BYTES]).to_vec();
    bytes[0] = VERSION + 1;
    assert_eq!(Request::decode(&bytes), Err(Wrong::Version(VERSION + 1)));
    assert_eq!(Request::decode(&[]), Err(Wrong::Malformed));
}

#[test]
fn a_name_that_no_guest_can_have_is_none() {
    for name in ["a b", "a/b", "a\n", "é", "..\0", &"x".repeat(64)] {
        assert_eq!(Name::new(name.as_bytes()), None, "{name:?}");
    }
    assert_eq!(Name::new(&[b'x'; 63]).map(|name| name.as_str().len()), Some(63));
    assert!(Name::ALL.is_all());
}
