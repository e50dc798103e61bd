//! `inn list`.

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::OwnedFd;

use super::columns::{self, Cell, Item, Items, Key, Row, States};
use super::facts::{self, ExitWords, PlaceWords};
use super::guests::{self, Rows};
use super::json::Json;
use super::output::{Output, Plain};
use super::parse::Options;
use super::screen::Screen;
use super::table::{self, Table, Tone};
use super::tree;
use crate::control::wire::{Exit, GuestInfo, State};
use crate::limits;
use crate::sys::memory::Static;
use crate::text;

static TABLE: Static<Table> = Static::new(Table::new());

/// Prints the guests that `words` name, or all; returns the exit code.
#[inline(never)]
pub fn list(words: &[&'static CStr], options: &Options, out: &mut Output) -> u8 {
    let result = try_list(words, options, out);
    out.finish(result.unwrap_or_else(|code| code))
}

fn try_list(words: &[&'static CStr], options: &Options, out: &mut Output) -> Result<u8, u8> {
    let items = options.columns.map(columns::chosen).transpose()?;
    let sort = options.sort.map(|name| columns::named("sort", name.to_bytes(), name)).transpose()?;
    let states = options.states.map_or(Ok(States::ALL), States::read)?;
    // Taken here only, and once: a command lists once.
    let Some(room) = guests::room() else { return Ok(0) };
    let mut rows = Rows::new();
    let code = guests::read(room, &mut rows, words, options)?;
    if code != 0 && rows.is_empty() {
        return Err(code);
    }
    rows.retain(|info| states.has(info.state));
    let cgroups = tree::cgroups();
    let order = ordered(&rows, sort, cgroups.as_ref());
    let each = order.iter().filter_map(|index| rows.get(usize::from(*index)));
    if options.json {
        json(each, items.as_ref(), cgroups.as_ref(), out);
    } else if options.plain {
        plain(each, items.as_ref(), cgroups.as_ref(), out);
    } else {
        table(each, &items.unwrap_or_else(columns::usual), cgroups.as_ref(), out);
    }
    Ok(code)
}

/// The rows' numbers in the order in which they are shown: that of the config where nobody sorts.
fn ordered(rows: &Rows<'_>, sort: Option<Item>, cgroups: Option<&OwnedFd>) -> heapless::Vec<u16, { limits::GUESTS }> {
    let mut order: heapless::Vec<u16, { limits::GUESTS }> = (0..rows.len() as u16).collect();
    if let Some(item) = sort {
        let keys: heapless::Vec<Key<'_>, { limits::GUESTS }> =
            rows.iter().map(|info| Row::new(info, &[item], cgroups).key(item)).collect();
        let key = |index: u16| keys.get(usize::from(index)).unwrap_or(&Key::Unknown);
        text::sort(&mut order, &mut |one, other| key(one).order(key(other)).then(one.cmp(&other)).is_lt());
    }
    order
}

fn json<'g>(
    rows: impl Iterator<Item = &'g GuestInfo<'g>>,
    items: Option<&Items>,
    cgroups: Option<&OwnedFd>,
    out: &mut Output,
) {
    let mut json = Json::new(out);
    json.begin_array();
    for info in rows {
        match items {
            None => {
                facts::begin_object(&mut json, &facts::guest(info));
                facts::counters(&mut json, cgroups, info);
            }
            Some(items) => {
                let row = Row::new(info, items, cgroups);
                json.begin_object();
                for (name, value) in items.iter().flat_map(|item| row.facts_of(*item)) {
                    json.key(name);
                    value.json(&mut json);
                }
            }
        }
        json.end_object();
    }
    json.end_array();
    json.end_text();
}

fn plain<'g>(
    rows: impl Iterator<Item = &'g GuestInfo<'g>>,
    items: Option<&Items>,
    cgroups: Option<&OwnedFd>,
    out: &mut Output,
) {
    for info in rows {
        let mut separator = "";
        let mut put = |value: facts::Value<'_>| {
            let _ = write!(out, "{separator}{value}");
            separator = "\t";
        };
        match items {
            None => facts::guest(info).into_iter().for_each(|(_, value)| put(value)),
            Some(items) => {
                let row = Row::new(info, items, cgroups);
                items.iter().flat_map(|item| row.facts_of(*item)).for_each(|(_, value)| put(value));
            }
        }
        let _ = out.write_char('\n');
    }
}

fn table<'g>(
    rows: impl Iterator<Item = &'g GuestInfo<'g>>,
    items: &Items,
    cgroups: Option<&OwnedFd>,
    out: &mut Output,
) {
    let Some(table) = TABLE.take() else { return };
    let screen = Screen::new();
    let shapes: heapless::Vec<table::Column, { table::COLUMNS }> =
        items.iter().map(|item| columns::shape(*item)).collect();
    let mut notes = heapless::String::<{ 32 << 10 }>::new();
    for info in rows {
        let row = Row::new(info, items, cgroups);
        let cells: heapless::Vec<Cell<'_, '_>, { table::COLUMNS }> =
            items.iter().map(|item| Cell(&row, *item)).collect();
        let cells: heapless::Vec<&dyn fmt::Display, { table::COLUMNS }> =
            cells.iter().map(|cell| cell as &dyn fmt::Display).collect();
        if table.row(tone(info), &cells).is_err() {
            let _ = table.print(out, &shapes, screen.width, screen.colour);
            let _ = table.row(tone(info), &cells);
        }
        note(&mut notes, info);
    }
    let _ = table.print(out, &shapes, screen.width, screen.colour);
    let _ = out.write_str(&notes);
}

/// How much a guest's row is to be seen.
#[must_use]
pub fn tone(info: &GuestInfo<'_>) -> Tone {
    match info.state {
        State::Failed | State::Delayed => Tone::Bad,
        _ if info.is_stuck => Tone::Bad,
        State::Down | State::Frozen => Tone::Dim,
        _ => Tone::Normal,
    }
}

/// What a guest is to be when it starts again, and why it is not up, on a line of its own below the table.
fn note(notes: &mut heapless::String<{ 32 << 10 }>, info: &GuestInfo<'_>) {
    let before = notes.len();
    if !info.pending.is_empty() && writeln!(notes, "{}: restart pending: {}", Plain(info.name), info.pending).is_err() {
        notes.truncate(before);
    }
    let told = matches!(info.state, State::Failed | State::Delayed);
    let Some(exit) = info.exit.filter(|_| told) else { return };
    let key = if let Exit::Failed(fault) = exit { fault.step.key() } else { None };
    let before = notes.len();
    let place = PlaceWords { key, place: info.place };
    if writeln!(notes, "{}: {}{place}", Plain(info.name), ExitWords(exit)).is_err() {
        // `inn status` tells what found no room here.
        notes.truncate(before);
    }
}
