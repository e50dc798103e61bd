//! Dependencies: who waits for whom, and that nobody waits for himself.

use super::GuestId;
use super::build::Builder;
use crate::config::diagnostic::{Code, Detail};
use crate::config::lexer::Span;
use crate::limits;
use crate::text::List;

type Ids = heapless::Vec<GuestId, { limits::GUESTS }>;

impl Builder<'_> {
    /// Settles `after` and `wants` of every guest, and reports cycles.
    pub fn order(&mut self) {
        let mut with_before = Ids::new();
        for (index, guest) in self.plan.guests.iter().enumerate() {
            if !guest.before.is_empty() {
                let _ = with_before.push(GuestId(index as u16));
            }
        }
        for index in 0..self.plan.guests.len() {
            self.settle(GuestId(index as u16), &with_before);
        }
        self.cycles();
    }

    /// Guest `id` is after those it names, those it wants, and those that are before it.
    fn settle(&mut self, id: GuestId, with_before: &Ids) {
        let Some(guest) = self.plan.guest(id) else { return };
        let mut wants = Ids::new();
        let mut after = Ids::new();
        let references = &self.plan.references;
        for other in references.get(guest.wants) {
            add(&mut wants, *other);
        }
        for other in wants.iter().chain(references.get(guest.after)) {
            add(&mut after, *other);
        }
        for other in with_before {
            let before = self.plan.guest(*other).map_or(List::EMPTY, |other| other.before);
            if references.get(before).contains(&id) {
                add(&mut after, *other);
            }
        }
        let after = self.keep_ids(&after);
        let wants = self.keep_ids(&wants);
        if let Some(guest) = self.plan.guests.get_mut(usize::from(id.0)) {
            guest.after = after;
            guest.wants = wants;
        }
    }

    fn keep_ids(&mut self, ids: &Ids) -> List<GuestId> {
        self.plan.dependencies.add(ids).unwrap_or_else(|_| {
            let bound = Detail::Bound(limits::DEPENDENCIES as u64, "dependencies (limits::DEPENDENCIES)");
            let last = self.config.sections().last().map_or(Span::default(), |section| section.name);
            self.diagnostics.detail(Code::TooMany, last, bound);
            List::EMPTY
        })
    }

    /// Walks from each guest along `after`, depth first; a guest met again on the way there closes a cycle.
    fn cycles(&mut self) {
        let mut state = [Visit::New; limits::GUESTS];
        for start in 0..self.plan.guests.len() {
            let mut way = heapless::Vec::<(GuestId, u16), { limits::GUESTS }>::new();
            if state[start] == Visit::New {
                state[start] = Visit::OnTheWay;
                let _ = way.push((GuestId(start as u16), 0));
            }
            while let Some((id, next)) = way.last_mut() {
                let after = self.plan.guests.get(usize::from(id.0)).map_or(List::EMPTY, |guest| guest.after);
                let Some(&other) = self.plan.dependencies.get(after).get(usize::from(*next)) else {
                    state[usize::from(id.0)] = Visit::Done;
                    way.pop();
                    continue;
                };
                *next += 1;
                match state.get(usize::from(other.0)) {
                    Some(Visit::New) => {
                        state[usize::from(other.0)] = Visit::OnTheWay;
                        // A guest is on the way once at most, so there is room.
                        let _ = way.push((other, 0));
                    }
                    Some(Visit::OnTheWay) => self.cycle(&way, other),
                    Some(Visit::Done) | None => {}
                }
            }
        }
    }

    fn cycle(&mut self, way: &[(GuestId, u16)], first: GuestId) {
        let start = way.iter().position(|(id, _)| *id == first).unwrap_or_default();
        let config = self.config;
        let name = |id: &GuestId| {
            let mut sections = config.sections().iter();
            let section = sections.find(|section| section.kind & super::build::GUESTS != 0 && section.number == id.0);
            section.map_or(Span::default(), |section| section.name)
        };
        let chain = self.diagnostics.keep_chain(way[start..].iter().map(|(id, _)| name(id)));
        self.diagnostics.detail(Code::Cycle, name(&first), chain);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    New,
    OnTheWay,
    Done,
}

fn add(ids: &mut Ids, id: GuestId) {
    if !ids.contains(&id) {
        // Each guest at most once, so there is room.
        let _ = ids.push(id);
    }
}
