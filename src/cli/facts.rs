//! A snapshot as named values: one list that tables, `--plain` and `--json` are made from.

use core::fmt::{self, Write};

use rustix::fd::OwnedFd;

use super::counters::Counters;
use super::json::Json;
use super::output::Plain;
use super::units::{Millis, Signal};
use crate::config::key::Key;
use crate::control::wire::{Activity, Exit, GuestInfo, HealthInfo, HostInfo, Place};
use crate::host::hardening::{self as host, Effect};
use crate::host::timeline::{self, Stage};
use crate::plan::change::Keys;
use crate::plan::{Extents, Kind, hardening};
use crate::text::word;

/// A value with a name.
pub type Fact<'a> = (&'static str, Value<'a>);

/// What a fact says.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Words.
    Text(&'a str),
    /// A number, in the unit that the name ends with.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// How a guest ended.
    Exit(Exit),
    /// Ranges of users, as in the config.
    Users(&'a Extents),
    /// Keys; a list in JSON.
    Keys(Keys),
    /// Nothing known.
    Unknown,
}

/// As in `--plain`: numbers without a unit, `-` for nothing.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Text("") | Value::Unknown => f.write_char('-'),
            Value::Text(text) => write!(f, "{}", Plain(text)),
            Value::Number(number) => write!(f, "{number}"),
            Value::Flag(flag) => f.write_str(if flag { "yes" } else { "no" }),
            Value::Exit(exit) => write!(f, "{}", ExitWords(exit)),
            Value::Users(users) => write!(f, "{}", UsersWords(users)),
            Value::Keys(keys) if keys.is_empty() => f.write_char('-'),
            Value::Keys(keys) => write!(f, "{keys}"),
        }
    }
}

impl Value<'_> {
    /// As a JSON value.
    pub fn json(&self, json: &mut Json<'_, impl Write>) {
        match *self {
            Value::Text(text) => json.string(text),
            Value::Number(number) => json.number(number),
            Value::Flag(flag) => json.boolean(flag),
            Value::Exit(exit) => json.display(ExitWords(exit)),
            Value::Users(users) => json.display(UsersWords(users)),
            Value::Keys(keys) => {
                json.begin_array();
                keys.each().for_each(|key| json.string(key.name()));
                json.end_array();
            }
            Value::Unknown => json.null(),
        }
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Value::Number(number.into())
    }
}

impl<N: Into<u64>> From<Option<N>> for Value<'_> {
    fn from(number: Option<N>) -> Self {
        number.map_or(Value::Unknown, |number| Value::Number(number.into()))
    }
}

/// How many facts are known of a guest.
pub const GUEST: usize = 47;

/// All that is known of a guest. The order is that of the columns of `--plain`: new facts come last.
#[must_use]
pub fn guest<'a>(info: &'a GuestInfo<'a>) -> [Fact<'a>; GUEST] {
    let code = match info.exit {
        Some(Exit::Code(code)) => Value::from(u32::from(code)),
        _ => Value::Unknown,
    };
    let first = info.users.ranges().first();
    let signal = match info.exit {
        Some(Exit::Signal(signal)) => Value::from(u32::from(signal)),
        _ => Value::Unknown,
    };
    [
        ("name", Value::Text(info.name)),
        ("state", Value::Text(info.state.word())),
        ("kind", Value::Text(kind(info.kind))),
        ("pid", Value::from((info.pid != 0).then_some(info.pid))),
        ("uptime_ms", info.uptime_ms.into()),
        ("cpu_us", info.cpu_us.into()),
        ("cpus_limit_milli", info.cpus_limit_milli.into()),
        ("memory_bytes", info.memory_bytes.into()),
        ("memory_limit_bytes", info.memory_limit_bytes.into()),
        ("swap_limit_bytes", info.swap_limit_bytes.into()),
        ("processes", info.processes.into()),
        ("processes_limit", info.processes_limit.into()),
        ("restarts", info.restarts.into()),
        ("oom_kills", info.oom_kills.into()),
        ("processes_refused", info.processes_refused.into()),
        ("next_start_ms", info.next_start_ms.into()),
        ("exit", Value::Text(info.exit.map_or("", exit_kind))),
        ("exit_code", code),
        ("exit_signal", signal),
        ("exit_reason", info.exit.map_or(Value::Unknown, Value::Exit)),
        ("config_file", info.place.map_or(Value::Unknown, |place| Value::Text(place.file))),
        ("config_line", info.place.map(|place| place.line).into()),
        ("users_base", first.map(|users| users.base).into()),
        ("users_count", first.map(|users| users.count).into()),
        ("autostart", Value::Flag(info.autostart)),
        ("root", Value::Text(info.root)),
        ("cgroup", Value::Text(info.cgroup)),
        ("description", Value::Text(info.description)),
        ("waits_for", Value::Text(info.waits_for.as_str())),
        ("stuck", Value::Flag(info.is_stuck)),
        ("users", if first.is_some() { Value::Users(&info.users) } else { Value::Unknown }),
        ("cpu_throttled", info.cpu_throttled.into()),
        ("oom_victim", info.victim.map_or(Value::Unknown, |victim| Value::Text(victim.name))),
        ("oom_victim_pid", info.victim.map(|victim| victim.pid).into()),
        ("oom_victim_ago_ms", info.victim.map(|victim| victim.ago_ms).into()),
        ("oom_victim_of", info.victim.map_or(Value::Unknown, |victim| Value::Text(victim.full.word()))),
        ("awaits", Value::Text(info.awaits)),
        ("said", Value::Text(info.said)),
        ("activity", Value::Text(info.activity.word())),
        ("watchdog_ms", info.watchdog_ms.into()),
        ("pending", Value::Keys(info.pending)),
        ("removed", Value::Flag(info.is_removed)),
        ("health", info.health.map_or(Value::Unknown, |health| Value::Text(health_word(&health)))),
        ("health_failures", info.health.map(|health| u32::from(health.failures)).into()),
        ("health_failures_limit", info.health.map(|health| u32::from(health.limit)).into()),
        ("health_checked_ago_ms", info.health.and_then(|health| health.ago_ms).into()),
        (
            "health_reason",
            info.health
                .and_then(|health| health.fault)
                .map_or(Value::Unknown, |fault| Value::Exit(Exit::Failed(fault))),
        ),
    ]
}

/// The names of those facts.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    guest(&GuestInfo::EMPTY).map(|(name, _)| name).into_iter()
}

/// All that is known of the host.
#[must_use]
pub fn host<'a>(info: &HostInfo<'a>) -> [Fact<'a>; 13] {
    [
        ("version", Value::Text(info.version)),
        ("config", Value::Text(info.config)),
        ("pid", info.pid.into()),
        ("uptime_ms", Value::Number(info.uptime_ms)),
        ("guests", info.guests.into()),
        ("running", info.running.into()),
        ("failed", info.failed.into()),
        ("going_down", Value::Flag(info.going_down)),
        ("cgroup", Value::Text(info.cgroup)),
        ("reserve_bytes", info.reserve_bytes.into()),
        ("died", info.died.into()),
        ("replaced", info.replaced.into()),
        ("safe_mode", Value::Flag(info.is_safe)),
    ]
}

/// How long each stage of coming up took, milliseconds; nothing where this is not the host's init, or the stage was not there.
#[must_use]
pub fn boot(info: &HostInfo<'_>) -> [Fact<'static>; Stage::COUNT] {
    core::array::from_fn(|index| {
        let name = word(Stage::NAMES, index);
        let took = timeline::took(&info.boot_ms).find(|(stage, _)| *stage == name);
        (name, took.map(|(_, took_ms)| took_ms).into())
    })
}

/// What is taken from everybody on the host, and whether it is: read from the kernel, here.
#[must_use]
pub fn hardening(info: &HostInfo<'_>) -> [Fact<'static>; hardening::COUNT] {
    core::array::from_fn(|index| {
        let wanted = info.hardening >> index & 1 == 1;
        let effect = match (host::effect(index), wanted) {
            (Effect::On, _) => "on",
            (Effect::Off, false) => "off",
            (Effect::Off, true) if 1 << index == hardening::MODULES => "on once the host is up",
            (Effect::Off, true) => "off (asked for)",
            (Effect::Unknown, _) => "not in this kernel",
        };
        (word(hardening::NAMES, index), Value::Text(effect))
    })
}

/// What a guest is doing: "ready", "delayed 3.2s", "waiting for store", "killing, stuck".
#[derive(Debug)]
pub struct StateWords<'a>(pub &'a GuestInfo<'a>);

impl fmt::Display for StateWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.0;
        f.write_str(info.state.word())?;
        if let Some(ms) = info.next_start_ms {
            write!(f, " {}", Millis(ms))?;
        }
        if !info.waits_for.is_all() {
            write!(f, " for {}", info.waits_for.as_str())?;
        }
        if info.activity != Activity::None {
            write!(f, ", {}", info.activity.word())?;
        }
        if let Some(health) = info.health.filter(|health| health.failures > 0) {
            write!(f, ", failing {}/{}", health.failures, health.limit)?;
        }
        f.write_str(if info.is_stuck { ", stuck" } else { "" })?;
        f.write_str(if info.is_removed { ", removed" } else { "" })
    }
}

/// The facts as one JSON object, which the caller ends: more members may follow.
pub fn begin_object(json: &mut Json<'_, impl Write>, facts: &[Fact<'_>]) {
    json.begin_object();
    for (name, value) in facts {
        json.key(name);
        value.json(json);
    }
}

/// What the kernel counts for a guest, as more members of an object.
pub fn counters(json: &mut Json<'_, impl Write>, cgroups: Option<&OwnedFd>, info: &GuestInfo<'_>) {
    for (name, value) in Counters::of(cgroups, info).all() {
        json.key(name);
        Value::from(value).json(json);
    }
}

/// The word for what health checks found.
#[must_use]
pub fn health_word(health: &HealthInfo) -> &'static str {
    match (health.ago_ms, health.failures) {
        (None, _) => "unknown",
        (Some(_), 0) => "well",
        (Some(_), _) => "failing",
    }
}

/// The word for a kind, as in the config.
#[must_use]
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Os => "os",
        Kind::App => "app",
        Kind::Service => "service",
    }
}

fn exit_kind(exit: Exit) -> &'static str {
    match exit {
        Exit::Code(_) => "code",
        Exit::Signal(_) => "signal",
        Exit::OutOfMemory => "out-of-memory",
        Exit::Failed(_) => "start-failed",
        Exit::Unhealthy(_) => "unhealthy",
    }
}

/// "524288:65536 100000:1000"
struct UsersWords<'a>(&'a Extents);

impl fmt::Display for UsersWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, users) in self.0.ranges().iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{}:{}", users.base, users.count)?;
        }
        Ok(())
    }
}

/// How a guest ended, in words.
#[derive(Clone, Copy, Debug)]
pub struct ExitWords(pub Exit);

impl fmt::Display for ExitWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Exit::Code(code) => write!(f, "exit code {}", u32::from(code)),
            Exit::Signal(signal) => write!(f, "killed by {}", Signal(signal)),
            Exit::OutOfMemory => f.write_str("killed: out of memory"),
            Exit::Failed(fault) => write!(f, "could not {fault}"),
            Exit::Unhealthy(illness) => write!(f, "unhealthy: {}", illness.word()),
        }
    }
}

/// Which key asked for it, and where the config says so: " (root, /etc/inn.conf:12)", or nothing.
#[derive(Clone, Copy, Debug)]
pub struct PlaceWords<'a> {
    /// The key.
    pub key: Option<Key>,
    /// The place.
    pub place: Option<Place<'a>>,
}

impl fmt::Display for PlaceWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key, self.place) {
            (None, None) => Ok(()),
            (Some(key), None) => write!(f, " (key {})", key.name()),
            (None, Some(place)) => write!(f, " ({}:{})", Plain(place.file), place.line),
            (Some(key), Some(place)) => write!(f, " (key {}, {}:{})", key.name(), Plain(place.file), place.line),
        }
    }
}
