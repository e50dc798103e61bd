//! What a guest may do, as words: numbers come from the supervisor, names from the tables that the config is read with.

use core::fmt::{self, Display, Write};

use super::json::Json;
use super::output::Plain;
use crate::control::wire::{BoundsInfo, GivenDevice};
use crate::plan::{Device, Kind, call, capability};

/// The members of a guest's object in JSON.
pub fn json(json: &mut Json<'_, impl Write>, bounds: &BoundsInfo<'_>) {
    let confinement = bounds.confinement;
    json.key("no_new_privs");
    json.boolean(bounds.kind == Kind::App);
    json.key("filter");
    json.string(filter(bounds));
    json.key("calls_opened");
    list(json, calls(confinement.opened));
    json.key("capabilities");
    list(json, capability::names(confinement.capabilities));
    json.key("capabilities_given");
    list(json, capability::names(confinement.given));
    json.key("masks");
    json.string(masks(bounds));
    json.key("nesting");
    json.boolean(confinement.nesting);
    json.key("devices");
    json.begin_array();
    for device in bounds.devices.list() {
        json.begin_object();
        json.key("path");
        json.string(device.path);
        json.key("access");
        json.display(Access(device));
        json.end_object();
    }
    json.end_array();
}

fn list(json: &mut Json<'_, impl Write>, names: impl Iterator<Item = &'static str>) {
    json.begin_array();
    names.for_each(|name| json.string(name));
    json.end_array();
}

/// What its calls go through: the filter of its kind, or nothing.
fn filter(bounds: &BoundsInfo<'_>) -> &'static str {
    if bounds.confinement.filter { super::facts::kind(bounds.kind) } else { "none" }
}

/// What hides parts of `/proc` and `/sys`: `locked` by the kernel, `kept` for the guest may not unmount, or `removable`.
fn masks(bounds: &BoundsInfo<'_>) -> &'static str {
    match bounds.kind {
        Kind::Service => "none",
        Kind::Os if bounds.confinement.nesting => "removable",
        Kind::Os if bounds.is_mapped => "locked",
        Kind::Os | Kind::App => "kept",
    }
}

fn calls(opened: call::Calls) -> impl Iterator<Item = &'static str> {
    call::names().enumerate().filter(move |(index, _)| opened >> index & 1 == 1).map(|(_, name)| name)
}

/// Calls `line` with a label and words for each thing that is unlike its kind, and for what is always of interest.
///
/// # Errors
/// Those of `line`.
pub fn words(bounds: &BoundsInfo<'_>, line: &mut dyn FnMut(&str, &dyn Display) -> fmt::Result) -> fmt::Result {
    if bounds.kind == Kind::Service {
        return Ok(());
    }
    line("capabilities", &Capabilities(bounds))?;
    line("calls", &Calls(bounds))?;
    line("masks", &masks(bounds))?;
    if bounds.confinement.nesting {
        line("nesting", &"yes")?;
    }
    bounds
        .devices
        .list()
        .iter()
        .try_for_each(|device| line("device", &format_args!("{} {}", Plain(device.path), Access(device))))
}

/// As its kind has, and what is added and taken: "os, +sys_time -net_raw".
struct Capabilities<'a>(&'a BoundsInfo<'a>);

impl Display for Capabilities<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (own, base) = (self.0.confinement.capabilities, capability::of(self.0.kind, self.0.is_mapped));
        f.write_str(if base == 0 { "none" } else { "as every os has" })?;
        let mut before = ", ";
        for (sign, set) in [('+', own & !base), ('-', base & !own)] {
            for name in capability::names(set) {
                write!(f, "{before}{sign}{name}")?;
                before = " ";
            }
        }
        Ok(())
    }
}

/// "filtered, +bpf +keyctl"
struct Calls<'a>(&'a BoundsInfo<'a>);

impl Display for Calls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.confinement.filter {
            return f.write_str("not filtered");
        }
        f.write_str("filtered")?;
        calls(self.0.confinement.opened)
            .enumerate()
            .try_for_each(|(index, name)| write!(f, "{}+{name}", if index == 0 { ", " } else { " " }))
    }
}

/// "rwm"
struct Access<'a>(&'a GivenDevice<'a>);

impl Display for Access<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(Device::READ, 'r'), (Device::WRITE, 'w'), (Device::MAKE, 'm')];
        letters.iter().filter(|(bit, _)| self.0.access & bit != 0).try_for_each(|(_, letter)| f.write_char(*letter))
    }
}
