//! Control messages: what is encoded is decoded again, and no bytes make the decoder panic.

use innkeep::config::key::Key;
use innkeep::control::wire::*;
use innkeep::fault::{Fault, Step};
use innkeep::limits;
use innkeep::plan::change::{Change, Keys, NUMBERS};
use innkeep::plan::difference::What;
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

/// A change that a config could say.
fn change() -> impl Strategy<Value = Change<'static>> {
    let leaked = |text: String| -> &'static str { String::leak(text) };
    let bytes = (16..1u64 << 40).prop_map(|kib| kib << 10);
    prop_oneof![
        (select(&NUMBERS[..]), any::<prop::sample::Index>(), any::<bool>()).prop_map(
            |((key, _, (from, to)), at, said)| {
                let value = said.then(|| from + at.index((to - from).min(1 << 40) as usize + 1) as i64);
                Change::Number { key, value }
            }
        ),
        "(|0|[1-9]|1-4,7)".prop_map(move |cpus| Change::Cpuset { cpus: leaked(cpus) }),
        ("/dev/[a-z]{1,20}", bytes.clone(), any::<bool>(), option::of(1..1u64 << 60)).prop_map(
            move |(device, rbps, max, wiops)| {
                let limits = Some([Some(rbps), max.then_some(u64::MAX), None, wiops]);
                Change::IoMax { device: leaked(device), limits }
            }
        ),
        (0..16u8, any::<u64>(), any::<u64>())
            .prop_map(|(resource, a, b)| { Change::Rlimit { resource, limits: Some((a.min(b), a.max(b))) } }),
        ("/[a-c]{1,30}", bytes)
            .prop_map(move |(target, bytes)| { Change::Tmpfs { target: leaked(target), bytes: Some(bytes) } }),
    ]
}

fn changes() -> impl Strategy<Value = Changes<'static>> {
    vec(change(), 1..20).prop_map(|changes| {
        let buffer: &'static mut ChangesBuffer = Box::leak(Box::default());
        assert!(changes.into_iter().all(|change| Changes::push(buffer, change)));
        Changes::of(buffer)
    })
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let power = select(vec![Power::PowerOff, Power::Reboot, Power::Halt, Power::SwitchRoot]);
    (0..18, name(), any::<bool>(), power, changes()).prop_map(|(which, guest, wait, how, changes)| match which {
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
        11 => Request::Set { guest, changes },
        12 => Request::Begin { guest, what: Doing::ALL[usize::from(guest.as_str().len() as u8) % Doing::ALL.len()] },
        13 => Request::Wait { guest, until: Until::ALL[guest.as_str().len() % Until::ALL.len()] },
        14 => Request::Reload { dry: wait },
        15 => Request::Events,
        16 => Request::Upgrade { path: "/sbin/inn" },
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
        select(Illness::ALL).prop_map(Exit::Unhealthy),
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
        awaits: &description[..description.floor_char_boundary(AWAITS_BYTES)],
        said: &root[..root.floor_char_boundary(limits::SAID_BYTES)],
        activity: if rest.3 { Activity::Reloading } else { Activity::Stopping },
        watchdog_ms: numbers.2,
        pending: Keys::from_bits(u128::from(numbers.0) << 60 | u128::from(numbers.8)),
        is_removed: rest.3,
        health: rest.3.then_some(HealthInfo {
            failures: numbers.0 as u16,
            limit: 3,
            ago_ms: numbers.1,
            fault: Some(Fault { step: Step::CheckCommand, errno: 0, detail: numbers.0 }),
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
            cgroup: "inn",
            reserve_bytes: info.memory_limit_bytes,
            boot_ms: [Some(info.pid), None, Some(info.restarts), None, None, None, None, Some(7)],
            died: info.restarts,
            replaced: info.oom_kills,
            is_safe: info.is_stuck,
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
        3 => Reply::Logs { guest: a, file: b },
        4 => Reply::Version(a),
        5 => Reply::Done,
        6 => Reply::Console { guest: a },
        7 => Reply::Bounds(BoundsInfo {
            kind: info.kind,
            is_mapped: info.is_stuck,
            confinement: Confinement {
                capabilities: info.uptime_ms.unwrap_or(1),
                given: u64::from(info.oom_kills),
                filter: info.autostart,
                opened: u128::from(info.pid) << 64,
                nesting: info.is_stuck,
            },
            // Any number that there can be, and their paths as long as they can be.
            devices: GivenDevices::new((0..info.pid as usize % (limits::DEVICES + 1)).map(|index| GivenDevice {
                path: b.get(..b.floor_char_boundary(DEVICE_BYTES)).unwrap_or_default(),
                access: index as u8,
            })),
        }),
        8 => Reply::Report(b),
        9 => Reply::Difference(DifferenceInfo {
            guest: a,
            what: WHATS[info.pid as usize % WHATS.len()],
            key: info.autostart.then_some(Key::ALL[info.restarts as usize % Key::COUNT]),
            from: b,
            to: info.description,
            place: info.place,
        }),
        12 => Reply::Missing(MissingInfo {
            target: a,
            is_optional: info.is_stuck,
            fault: Fault { step: Step::CheckDisk, errno: 0, detail: info.pid },
        }),
        _ => {
            let fault = Some(Fault { step: Step::ALL[0], errno: 2, detail: info.pid });
            let code = Code::ALL[info.pid as usize % Code::ALL.len()];
            let failure = Failure { code, guest: a, why: b, fault, place: info.place };
            if which == 10 { Reply::Refused(failure) } else { Reply::Error(failure) }
        }
    }
}

const WHATS: [What; 9] = [
    What::Starts,
    What::Added,
    What::Stops,
    What::Removed,
    What::Now,
    What::Restart,
    What::Start,
    What::Boot,
    What::Other,
];

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
    fn a_damaged_request_is_another_request_or_wrong(request in request(), at: prop::sample::Index, to: u8) {
        let mut bytes = request.encode(&mut [0; REQUEST_BYTES]).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        entry::wire(&bytes);
    }

    #[test]
    fn changes_come_out_as_they_went_in(all in vec(change(), 1..20)) {
        let mut buffer = ChangesBuffer::new();
        for change in &all {
            prop_assert!(Changes::push(&mut buffer, *change));
            let reply = Reply::Was(*change);
            let bytes = encoded(&reply);
            prop_assert_eq!(Reply::decode(&bytes), Ok(reply));
        }
        prop_assert_eq!(Changes::of(&buffer).iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_reply_is_decoded_as_it_was_encoded(which in 0u8..12, parts in parts()) {
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
    fn a_damaged_reply_is_another_reply_or_wrong(which in 0u8..9, parts in parts(), at: prop::sample::Index, to: u8) {
        let mut bytes = encoded(&reply(which, &parts));
        let at = at.index(bytes.len());
        bytes[at] = to;
        entry::wire(&bytes);
    }

    #[test]
    fn a_request_that_is_cut_short_is_wrong(request in request(), at: prop::sample::Index) {
        let bytes = request.encode(&mut [0; REQUEST_BYTES]).to_vec();
        prop_assert!(Request::decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_reply_that_ends_early_is_wrong_or_what_is_missing_is_zero(
        which in 0u8..9, parts in parts(), at: prop::sample::Index
    ) {
        let bytes = encoded(&reply(which, &parts));
        let cut = &bytes[..at.index(bytes.len())];
        if let Ok(reply) = Reply::decode(cut) {
            let mut whole = encoded(&reply);
            prop_assert!(whole.starts_with(cut), "{:x?}", whole);
            prop_assert!(whole.split_off(cut.len()).iter().all(|byte| *byte == 0), "{:x?}", whole);
        }
    }

    #[test]
    fn what_a_newer_server_adds_to_a_reply_is_left_out(which in 0u8..9, parts in parts(), more in vec(any::<u8>(), 1..9)) {
        let reply = reply(which, &parts);
        let mut bytes = encoded(&reply);
        bytes.extend(more);
        prop_assert_eq!(Reply::decode(&bytes), Ok(reply));
    }

    #[test]
    fn a_request_with_something_behind_it_is_wrong(request in request(), more in vec(any::<u8>(), 1..9)) {
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
fn a_change_that_no_config_could_say_is_none() {
    let (low, much) = (Some(1), "x".repeat(TEXT_BYTES));
    let number = |key, value| Change::Number { key, value };
    for change in [
        number(Key::Memory, low),
        number(Key::MemoryLow, Some(-1)),
        number(Key::OomScore, Some(1001)),
        number(Key::Processes, Some(0)),
        number(Key::Kind, low),
        Change::Cpuset { cpus: "0-" },
        Change::Cpuset { cpus: "0\n" },
        Change::IoMax { device: "/dev/a", limits: None },
        Change::IoMax { device: "/dev/a", limits: Some([None; 4]) },
        Change::IoMax { device: "/dev/a", limits: Some([Some(0), None, None, None]) },
        Change::IoMax { device: "/etc/a", limits: Some([Some(1), None, None, None]) },
        Change::IoMax { device: "/dev/../a", limits: Some([Some(1), None, None, None]) },
        Change::IoMax { device: &format!("/dev/{much}"), limits: Some([Some(1), None, None, None]) },
        Change::Rlimit { resource: 16, limits: Some((1, 1)) },
        Change::Rlimit { resource: 1, limits: Some((2, 1)) },
        Change::Rlimit { resource: 1, limits: None },
        Change::Tmpfs { target: "/proc", bytes: Some(1 << 20) },
        Change::Tmpfs { target: "/tmp", bytes: Some(1) },
        Change::Tmpfs { target: "/tmp", bytes: None },
    ] {
        let mut buffer = ChangesBuffer::new();
        assert!(!Changes::push(&mut buffer, change), "{change:?}");
        assert!(buffer.is_empty());
    }
    // No changes at all are none either.
    let bytes = Request::Set { guest: Name::ALL, changes: Changes::of(&ChangesBuffer::new()) }
        .encode(&mut [0; REQUEST_BYTES])
        .to_vec();
    assert_eq!(Request::decode(&bytes), Err(Wrong::Malformed));
}

#[test]
fn a_reply_without_the_fields_that_are_newest_is_an_older_servers() {
    let info = HostInfo {
        version: "1",
        config: "/c",
        pid: 1,
        uptime_ms: 2,
        guests: 3,
        running: 4,
        failed: 5,
        going_down: true,
        hardening: 9,
        cgroup: "inn",
        reserve_bytes: Some(1),
        boot_ms: [None, None, None, None, None, None, None, Some(1)],
        died: 7,
        replaced: 8,
        is_safe: true,
    };
    let bytes = encoded(&Reply::Host(info));
    // A text of three bytes, a number that is there, a list of eight of which one is, two numbers and a flag.
    let older = &bytes[..bytes.len() - (2 + 3) - (1 + 8) - (1 + 4 + 7) - (4 + 4 + 1)];
    let older_info =
        HostInfo { cgroup: "", reserve_bytes: None, boot_ms: [None; 8], died: 0, replaced: 0, is_safe: false, ..info };
    assert_eq!(Reply::decode(older), Ok(Reply::Host(older_info)));
    assert_eq!(Reply::decode(&bytes[..bytes.len() - 2]), Err(Wrong::Malformed), "half a field is none");
}

#[test]
fn what_all_versions_have_is_understood_whatever_the_version() {
    for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
        for request in [Request::Version, Request::Power { how: Power::Reboot }] {
            let mut bytes = request.encode(&mut [0; REQUEST_BYTES]).to_vec();
            bytes[0] = version;
            assert_eq!(Request::decode(&bytes), Ok(request));
        }
        for reply in [Reply::Version("9.9.9"), Reply::Done] {
            let mut bytes = encoded(&reply);
            bytes[0] = version;
            bytes.extend([0xff; 5]);
            assert_eq!(Reply::decode(&bytes), Ok(reply));
        }
        // As it was in version 1, with a code and a fault that only its sender knows.
        let failure = [&[version, 7, 4, 1, 0][..], b"g", &[3, 0], b"why", &[1, 255, 9, 9, 9, 9, 9, 9]].concat();
        assert_eq!(Reply::decode(&failure), Ok(Reply::Error(Failure::new(Code::TimedOut, "g", "why"))));
        let failure = [version, 7, 200, 0, 0, 0, 0];
        assert_eq!(Reply::decode(&failure), Ok(Reply::Error(Failure::new(Code::Failed, "", ""))));
        for number in (0..=u8::MAX).filter(|number| ![10, 11].contains(number)) {
            assert_eq!(Request::decode(&[version, number]), Err(Wrong::Version(version)));
        }
        for number in (0..=u8::MAX).filter(|number| ![5, 6, 7].contains(number)) {
            assert_eq!(Reply::decode(&[version, number]), Err(Wrong::Version(version)));
        }
    }
}

#[test]
fn an_event_survives_its_record_however_long_its_words_are() {
    let fault = Fault { step: Step::Execute, errno: 2, detail: u32::MAX };
    let victim = VictimInfo { name: &"v".repeat(16), pid: u32::MAX, ago_ms: u64::MAX, full: Full::Host };
    let mut keys = innkeep::plan::change::Keys::default();
    Key::ALL.iter().for_each(|key| keys.add(*key));
    let all = [
        Happening::Supervising { pid: 1, version: env!("CARGO_PKG_VERSION") },
        Happening::GoingDown,
        Happening::Starting,
        Happening::Started { pid: u32::MAX },
        Happening::Ready,
        Happening::Stopping,
        Happening::Ended { reason: Reason::StartFailed, number: 255, fault: Some(fault) },
        Happening::Down,
        Happening::Failed,
        Happening::Delayed { ms: u64::MAX },
        Happening::Stuck,
        Happening::Trouble { fault },
        Happening::Killed { count: u32::MAX, victim: Some(victim), limit_bytes: Some(u64::MAX) },
        Happening::Changed { keys },
        Happening::Frozen,
        Happening::Thawed,
        Happening::Unhealthy { illness: Illness::Trigger },
        Happening::CheckFailed { count: u16::MAX, most: u16::MAX, fault },
        Happening::Well,
        Happening::Reloaded { refused: u16::MAX },
        Happening::Removed,
        Happening::LogTrouble { fault },
        Happening::LogWritten,
        Happening::HookFailed { fault },
        Happening::GivenUp { count: u16::MAX, within_ms: u64::MAX, then: "mark-bad" },
    ];
    for what in all {
        let guest = Name::new(&[b'g'; limits::NAME_BYTES]).unwrap();
        let event = Event { sequence: u64::MAX, guest, kind: Kind::Service, what };
        assert_eq!(Event::decode(event.encode(&mut [0; EVENT_BYTES])), Ok(event));
    }
}

#[test]
fn a_message_that_came_later_is_told_apart_from_garbage() {
    assert_eq!(Request::decode(&[VERSION, 200]), Err(Wrong::Unknown));
    assert_eq!(Request::decode(&[VERSION, 1, 1]), Err(Wrong::Malformed));
    assert_eq!(Reply::decode(&[VERSION, 200, 1]), Err(Wrong::Unknown));
    assert_eq!(Request::decode(&[VERSION]), Err(Wrong::Malformed));
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
