use proptest::prelude::*;

use super::*;

const A: GuestId = GuestId(0);
const B: GuestId = GuestId(1);
const C: GuestId = GuestId(2);
const D: GuestId = GuestId(700);

fn members(mut set: Set) -> std::vec::Vec<GuestId> {
    std::iter::from_fn(|| set.take_first()).collect()
}

#[test]
fn a_set_holds_every_guest_once_and_gives_them_in_order() {
    let mut set = Set::EMPTY;
    assert!(set.add(D) && set.add(B) && !set.add(D));
    assert!(set.has(B) && set.has(D) && !set.has(A));
    assert_eq!(members(set), [B, D]);
    for id in ids(limits::GUESTS) {
        set.add(id);
    }
    assert_eq!(members(set).len(), limits::GUESTS);
    assert!(!set.add(GuestId(u16::MAX)) && !set.has(GuestId(u16::MAX)), "no guest has that number");
}

#[test]
fn a_guest_waits_for_the_first_that_is_not_ready() {
    assert_eq!(waits_for(&[], |_| false), None);
    assert_eq!(waits_for(&[A, B, C], |id| id == A), Some(B));
    assert_eq!(waits_for(&[A, B], |_| true), None);
}

#[test]
fn what_is_wanted_is_pulled_in_to_the_last_one() {
    let wants = |id: GuestId| -> &'static [GuestId] {
        match id {
            A => &[B],
            B => &[D, C],
            C => &[B],
            _ => &[],
        }
    };
    assert_eq!(members(wanted_with(A, wants)), [A, B, C, D]);
    assert_eq!(members(wanted_with(D, wants)), [D]);
}

#[test]
fn the_host_goes_down_from_those_that_nothing_comes_after() {
    // C after B after A; D alone.
    let after = |id: GuestId| -> &'static [GuestId] {
        match id {
            B => &[A],
            C => &[B],
            _ => &[],
        }
    };
    let is_down = |down: &'static [GuestId]| move |id: GuestId| id.0 > 2 || down.contains(&id);
    assert_eq!(members(may_stop(3, after, is_down(&[]))), [C]);
    assert_eq!(members(may_stop(3, after, is_down(&[C]))), [B]);
    assert_eq!(members(may_stop(3, after, is_down(&[C, B]))), [A]);
    assert_eq!(members(may_stop(3, after, is_down(&[B]))), [A, C], "what is between is down already");
    assert!(may_stop(3, after, is_down(&[A, B, C])).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any plan without a cycle (each comes only after ones before it) starts to the last guest, and stops in an order in
    /// which nobody goes before those that come after it.
    #[test]
    fn everything_starts_and_everything_stops_in_order(
        links in proptest::collection::vec(proptest::collection::vec(any::<prop::sample::Index>(), 0..4), 1..200),
    ) {
        let count = links.len();
        let plan: std::vec::Vec<std::vec::Vec<GuestId>> = links.iter().enumerate()
            .map(|(place, links)| {
                links.iter().filter(|_| place > 0).map(|link| GuestId(link.index(place) as u16)).collect()
            })
            .collect();
        let after = |id: GuestId| &plan[usize::from(id.0)][..];
        let mut ready = Set::EMPTY;
        for _ in 0..count {
            for id in ids(count) {
                if waits_for(after(id), |other| ready.has(other)).is_none() {
                    ready.add(id);
                }
            }
        }
        prop_assert_eq!(members(ready).len(), count);
        let mut down = Set::EMPTY;
        let mut rounds = 0;
        while members(down).len() < count {
            let free = may_stop(count, after, |id| down.has(id));
            prop_assert!(!free.is_empty(), "somebody can always go");
            for id in members(free) {
                let waited_for = ids(count).filter(|&other| after(other).contains(&id));
                for other in waited_for {
                    prop_assert!(down.has(other), "{other:?} comes after {id:?}");
                }
                down.add(id);
            }
            rounds += 1;
            prop_assert!(rounds <= count);
        }
    }
}
