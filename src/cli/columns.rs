//! Columns that a user can choose and sort by: those of the table, and every fact and counter by its name in JSON.

use core::cmp::Ordering;
use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::{AsFd, OwnedFd};

use super::counters::{Counter, Counters};
use super::facts::{self, Fact, StateWords, Value};
use super::output::complain;
use super::parse::Shown;
use super::table;
use super::units::{Bytes, Millis};
use crate::config::nearest;
use crate::control::wire::{GuestInfo, State};
use crate::text::{word, words};

/// Exit code of a column that does not exist.
const USAGE: u8 = 2;

macro_rules! columns {
    ($($variant:ident $name:literal $heading:literal $drop:literal $right:literal $facts:literal;)+) => {
        /// A column of the table of guests.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Column { $(#[doc = $heading] $variant,)+ }

        impl Column {
            /// All of them, in their order.
            pub const ALL: &'static [Column] = &[$(Column::$variant,)+];

            const NAMES: &'static str = concat!($($name, "\0",)+);
            const HEADINGS: &'static str = concat!($($heading, "\0",)+);
            /// When each is dropped; whether its cells stand at the right.
            const SHAPES: &'static [(u8, bool)] = &[$(($drop, $right),)+];
            /// The facts that it shows.
            const FACTS: &'static str = concat!($($facts, "\0",)+);
        }
    };
}

columns! {
    Name "name" "NAME" 0 false "name";
    State "state" "STATE" 0 false "state";
    Pid "pid" "PID" 6 true "pid";
    Uptime "uptime" "UPTIME" 3 true "uptime_ms";
    Cpu "cpu" "CPU" 7 true "cpu_us";
    Memory "memory" "MEMORY" 2 true "memory_bytes";
    Processes "processes" "PROCS" 4 true "processes";
    Restarts "restarts" "RESTARTS" 8 true "restarts";
    Fails "fails" "FAILS" 5 true "oom_kills processes_refused cpu_throttled";
    Description "description" "DESCRIPTION" 9 false "description";
    Kind "kind" "KIND" 1 false "kind";
    Exit "exit" "EXIT" 1 false "exit_reason";
}

/// What the table has where nobody chooses.
const USUAL: &[Column] = &[
    Column::Name,
    Column::State,
    Column::Pid,
    Column::Uptime,
    Column::Cpu,
    Column::Memory,
    Column::Processes,
    Column::Restarts,
    Column::Fails,
    Column::Description,
];

/// Something to show of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A column of the table.
    Column(Column),
    /// A fact of this name.
    Fact(&'static str),
    /// A counter of this name.
    Counter(&'static str),
}

/// Those that are shown, in their order.
pub type Items = heapless::Vec<Item, { table::COLUMNS }>;

/// Those of the table where nobody chooses.
#[must_use]
pub fn usual() -> Items {
    USUAL.iter().map(|column| Item::Column(*column)).collect()
}

/// Those that a list with commas names.
///
/// # Errors
/// The exit code; the user has been told.
pub fn chosen(list: &'static CStr) -> Result<Items, u8> {
    let mut items = Items::new();
    for name in list.to_bytes().split(|byte| *byte == b',') {
        if items.push(named("columns", name, list)?).is_err() {
            complain(format_args!("--columns: more than {} of them", table::COLUMNS));
            return Err(USAGE);
        }
    }
    Ok(items)
}

/// The one of that name; `list` is what the user typed.
///
/// # Errors
/// The exit code; the user has been told.
pub fn named(option: &str, name: &[u8], list: &CStr) -> Result<Item, u8> {
    let names = words(Column::NAMES).zip(Column::ALL);
    let columns = names.map(|(name, column)| (name, Item::Column(*column)));
    let facts = facts::names().map(|name| (name, Item::Fact(name)));
    let counters = Counter::names().map(|name| (name, Item::Counter(name)));
    let all = || columns.clone().chain(facts.clone()).chain(counters.clone());
    if let Some((_, item)) = all().find(|(other, _)| other.as_bytes() == name) {
        return Ok(item);
    }
    unknown(option, "column", name, list, nearest(name, all().map(|(name, _)| (name, name.as_bytes()))));
    complain(format_args!("there are {}", Listed(Column::NAMES)));
    Err(USAGE)
}

fn unknown(option: &str, what: &str, name: &[u8], list: &CStr, near: Option<&str>) {
    let name = core::str::from_utf8(name).unwrap_or("?");
    let list = Shown(list);
    match near {
        Some(near) => complain(format_args!("--{option} {list}: there is no {what} {name}; did you mean {near}?")),
        None => complain(format_args!("--{option} {list}: there is no {what} {name}")),
    }
}

/// "a, b, c"
struct Listed(&'static str);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        words(self.0).enumerate().try_for_each(|(index, word)| {
            f.write_str(if index == 0 { "" } else { ", " })?;
            f.write_str(word)
        })
    }
}

/// States: bit N is the state with number N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// Every state.
    pub const ALL: States = States(u32::MAX);

    /// Those that a list with commas names. A guest that is ready runs, too.
    ///
    /// # Errors
    /// The exit code; the user has been told.
    pub fn read(list: &'static CStr) -> Result<States, u8> {
        let mut states = States(0);
        for name in list.to_bytes().split(|byte| *byte == b',') {
            let all = State::ALL.iter();
            let Some(state) = all.clone().find(|state| state.word().as_bytes() == name) else {
                let near = nearest(name, all.map(|state| (state.word(), state.word().as_bytes())));
                unknown("state", "state", name, list, near);
                return Err(USAGE);
            };
            states.0 |= 1 << *state as u32;
            if *state == State::Running {
                states.0 |= 1 << State::Ready as u32;
            }
        }
        Ok(states)
    }

    /// Whether `state` is one of them.
    #[must_use]
    pub fn has(self, state: State) -> bool {
        self.0 >> state as u32 & 1 == 1
    }
}

/// A guest, with all that can be shown of it.
pub struct Row<'g> {
    /// What the supervisor said.
    pub info: &'g GuestInfo<'g>,
    facts: [Fact<'g>; facts::GUEST],
    /// What the kernel counts; nothing where that was not asked for.
    counters: Option<Counters>,
}

impl<'g> Row<'g> {
    /// A guest; its counters are read where `items` has one of them.
    #[must_use]
    pub fn new(info: &'g GuestInfo<'g>, items: &[Item], cgroups: Option<&OwnedFd>) -> Row<'g> {
        let has_counter = items.iter().any(|item| matches!(item, Item::Counter(_)));
        let cgroups = cgroups.filter(|_| has_counter);
        let counters = cgroups.map(|cgroups| Counters::read(cgroups.as_fd(), info.cgroup));
        Row { info, facts: facts::guest(info), counters }
    }

    /// The facts that `item` shows, with their names.
    pub fn facts_of(&self, item: Item) -> impl Iterator<Item = Fact<'g>> {
        let names = match item {
            Item::Column(column) => word(Column::FACTS, column as usize),
            Item::Fact(name) | Item::Counter(name) => name,
        };
        names.split(' ').map(|name| (name, self.value(name)))
    }

    fn value(&self, name: &str) -> Value<'g> {
        let fact = self.facts.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        let counter = || self.counters.as_ref()?.all().find(|(other, _)| *other == name)?.1;
        fact.unwrap_or_else(|| Value::from(counter()))
    }

    /// What rows are sorted by where they are sorted by `item`.
    #[must_use]
    pub fn key(&self, item: Item) -> Key<'g> {
        self.facts_of(item).fold(Key::Unknown, |key, (_, value)| match (key, value) {
            (Key::Number(sum), Value::Number(number)) => Key::Number(sum.saturating_add(number)),
            (_, Value::Number(number)) => Key::Number(number),
            (_, Value::Flag(flag)) => Key::Number(flag.into()),
            (_, Value::Text(text)) if !text.is_empty() => Key::Text(text),
            (key, _) => key,
        })
    }
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'g> {
    /// The greatest first.
    Number(u64),
    /// As in a dictionary.
    Text(&'g str),
    /// Last.
    Unknown,
}

impl Key<'_> {
    /// Which of two comes first.
    #[must_use]
    pub fn order(&self, other: &Key<'_>) -> Ordering {
        match (self, other) {
            (Key::Number(one), Key::Number(other)) => other.cmp(one),
            (Key::Text(one), Key::Text(other)) => one.cmp(other),
            (Key::Unknown, Key::Unknown) => Ordering::Equal,
            (Key::Unknown, _) => Ordering::Greater,
            (_, Key::Unknown) => Ordering::Less,
            (Key::Number(_), Key::Text(_)) => Ordering::Less,
            (Key::Text(_), Key::Number(_)) => Ordering::Greater,
        }
    }
}

/// The column of a table for `item`.
#[must_use]
pub fn shape(item: Item) -> table::Column {
    match item {
        Item::Column(column) => {
            let (drop, right) = Column::SHAPES.get(column as usize).copied().unwrap_or_default();
            table::Column { heading: word(Column::HEADINGS, column as usize), drop, right }
        }
        Item::Fact(name) | Item::Counter(name) => table::Column { heading: name, drop: 1, right: false },
    }
}

/// What a table shows of a guest in one column.
pub struct Cell<'r, 'g>(pub &'r Row<'g>, pub Item);

impl fmt::Display for Cell<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (row, info) = (self.0, self.0.info);
        match self.1 {
            Item::Column(Column::State) => StateWords(info).fmt(f),
            Item::Column(Column::Uptime) => Known(info.uptime_ms.map(Millis)).fmt(f),
            Item::Column(Column::Cpu) => Known(info.cpu_us.map(|us| Millis(us / 1000))).fmt(f),
            Item::Column(Column::Memory) => {
                Use(info.memory_bytes.map(Bytes), info.memory_limit_bytes.map(Bytes)).fmt(f)
            }
            Item::Column(Column::Processes) => Use(info.processes, info.processes_limit).fmt(f),
            Item::Column(Column::Fails) => Fails(info).fmt(f),
            Item::Column(Column::Description) => f.write_str(info.description),
            item => row.facts_of(item).try_for_each(|(_, value)| value.fmt(f)),
        }
    }
}

/// "m1 p20 c300": how often it ran into its limits of memory, processes and CPU; "0" where it did not.
pub struct Fails<'a>(pub &'a GuestInfo<'a>);

impl fmt::Display for Fails<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blank = "";
        let Fails(info) = self;
        for (letter, count) in [('m', info.oom_kills), ('p', info.processes_refused), ('c', info.cpu_throttled)] {
            if count > 0 {
                write!(f, "{blank}{letter}{count}")?;
                blank = " ";
            }
        }
        f.write_str(if blank.is_empty() { "0" } else { "" })
    }
}

/// A value, or `-`.
pub struct Known<T>(pub Option<T>);

impl<T: fmt::Display> fmt::Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_char('-'),
        }
    }
}

/// "12.3M/64M": what is used, and what may be.
pub struct Use<T>(pub Option<T>, pub Option<T>);

impl<T: fmt::Display + Copy> fmt::Display for Use<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Known(self.0).fmt(f)?;
        self.1.map_or(Ok(()), |limit| write!(f, "/{limit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_has_a_name_a_heading_a_shape_and_facts() {
        let all = Column::ALL.len();
        let tables = [Column::NAMES, Column::HEADINGS, Column::FACTS];
        assert_eq!(tables.map(|table| words(table).count()), [all; 3]);
        assert_eq!(Column::SHAPES.len(), all);
        for name in words(Column::FACTS).flat_map(|names| names.split(' ')) {
            assert!(facts::names().any(|other| other == name), "{name}");
        }
    }

    #[test]
    fn numbers_go_down_texts_go_up_and_what_is_not_known_comes_last() {
        let mut keys = [Key::Unknown, Key::Number(1), Key::Text("b"), Key::Number(7), Key::Text("a")];
        keys.sort_by(Key::order);
        assert_eq!(keys, [Key::Number(7), Key::Number(1), Key::Text("a"), Key::Text("b"), Key::Unknown]);
    }

    #[test]
    fn a_guest_that_is_ready_runs() {
        let states = States::read(c"running,failed").unwrap();
        let are = State::ALL.iter().filter(|state| states.has(**state));
        assert_eq!(are.copied().collect::<Vec<_>>(), [State::Running, State::Ready, State::Failed]);
        assert_eq!(States::read(c"runing"), Err(USAGE));
        assert_eq!(States::read(c""), Err(USAGE));
    }

    #[test]
    fn columns_are_found_by_their_names_and_those_of_json() {
        let items = chosen(c"name,memory,memory_limit_bytes,io_reads").unwrap();
        assert_eq!(
            items.as_slice(),
            [
                Item::Column(Column::Name),
                Item::Column(Column::Memory),
                Item::Fact("memory_limit_bytes"),
                Item::Counter("io_reads"),
            ]
        );
        for wrong in [c"", c"name,", c"nam", c"name,name,name,name,name,name,name,name,name,name,name,name,name"] {
            assert_eq!(chosen(wrong), Err(USAGE), "{wrong:?}");
        }
    }
}
