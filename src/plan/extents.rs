//! All the users of a guest: its ranges of host users, one behind the other inside.

use super::Users;
use crate::limits;

/// A guest's ranges, in order. None of them: its users are the host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    list: [Users; limits::USER_RANGES],
    len: u8,
}

impl Extents {
    /// No ranges.
    pub const NONE: Extents = Extents { list: [Users { base: 0, count: 0 }; limits::USER_RANGES], len: 0 };

    /// This range alone.
    #[must_use]
    pub const fn one(users: Users) -> Extents {
        let mut all = Extents { len: 1, ..Extents::NONE };
        all.list[0] = users;
        all
    }

    /// These ranges; nothing where there are more than [`limits::USER_RANGES`].
    #[must_use]
    pub fn new(ranges: impl Iterator<Item = Users>) -> Option<Extents> {
        let mut all = Extents::NONE;
        for users in ranges {
            *all.list.get_mut(usize::from(all.len))? = users;
            all.len += 1;
        }
        Some(all)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ranges.
    #[must_use]
    pub fn ranges(&self) -> &[Users] {
        self.list.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Each range, with the number inside of its first user.
    pub fn each(&self) -> impl Iterator<Item = (u32, Users)> {
        self.ranges().iter().scan(0u32, |inside, users| {
            let first = *inside;
            *inside = inside.saturating_add(users.count);
            Some((first, *users))
        })
    }

    /// The host's number of the guest's root.
    #[must_use]
    pub fn root(&self) -> u32 {
        self.ranges().first().map_or(0, |users| users.base)
    }

    /// How many users there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.ranges().iter().fold(0, |sum, users| sum.saturating_add(users.count))
    }

    /// The host's number of the user that is `inside`; nothing where the guest has none of that number.
    #[must_use]
    pub fn outside(&self, inside: u32) -> Option<u32> {
        self.each().find_map(|(first, users)| {
            let behind = inside.checked_sub(first)?;
            (behind < users.count).then(|| users.base.saturating_add(behind))
        })
    }

    /// The number inside of the host's user `outside`; nothing where that is not the guest's.
    #[must_use]
    pub fn inside(&self, outside: u32) -> Option<u32> {
        self.each().find_map(|(first, users)| {
            let behind = outside.checked_sub(users.base)?;
            (behind < users.count).then(|| first.saturating_add(behind))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_goes_on_inside_where_the_one_before_ends() {
        let ranges = [Users { base: 100_000, count: 1000 }, Users { base: 70_000, count: 10 }];
        let extents = Extents::new(ranges.into_iter()).unwrap();
        assert_eq!((extents.root(), extents.count()), (100_000, 1010));
        for (inside, outside) in [(0, 100_000), (999, 100_999), (1000, 70_000), (1009, 70_009)] {
            assert_eq!(extents.outside(inside), Some(outside));
            assert_eq!(extents.inside(outside), Some(inside));
        }
        assert_eq!(extents.outside(1010), None);
        for outside in [0, 69_999, 70_010, 101_000, u32::MAX] {
            assert_eq!(extents.inside(outside), None);
        }
        assert!(Extents::new([ranges[0]; limits::USER_RANGES + 1].into_iter()).is_none());
        assert_eq!((Extents::NONE.outside(0), Extents::NONE.is_empty()), (None, true));
    }
}
