//! `inn version`.

use core::fmt::Write;

use super::ask::PROMPT_MS;
use super::facts::Value;
use super::json::Json;
use super::output::{Output, Plain};
use super::parse::Options;
use super::screen::WIDTH;
use crate::control::client::{Client, Lost};
use crate::control::server;
use crate::control::wire::{Reply, Request, VERSION as PROTOCOL, Wrong};
use crate::host::features::{self, Feature};
use crate::limits;

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from; empty where the build did not know.
pub const COMMIT: &str = match option_env!("INN_COMMIT") {
    Some(commit) => commit,
    None => "",
};

/// The commit, where the build knew it.
#[must_use]
pub fn commit() -> Value<'static> {
    if COMMIT.is_empty() { Value::Unknown } else { Value::Text(COMMIT) }
}

/// Prints versions and what the kernel has.
#[inline(never)]
pub fn version(options: &Options, out: &mut Output) -> u8 {
    let system = rustix::system::uname();
    let kernel = system.release().to_str().unwrap_or_default();
    let machine = system.machine().to_str().unwrap_or_default();
    let supervisor = supervisor(options);
    if options.json {
        json(kernel, machine, supervisor, out);
    } else {
        let _ = text(kernel, machine, supervisor, out);
    }
    out.finish(0)
}

fn text(kernel: &str, machine: &str, supervisor: Option<Supervisor>, out: &mut Output) -> core::fmt::Result {
    let commit = if COMMIT.is_empty() { "built without git: its commit is not known" } else { COMMIT };
    write!(out, "inn {VERSION} ({commit})")?;
    writeln!(out, "\nkernel {kernel} {machine}")?;
    if let Some(Supervisor { version, protocol }) = supervisor {
        if !version.is_empty() {
            writeln!(out, "supervisor {}", Plain(&version))?;
        }
        if protocol != PROTOCOL {
            writeln!(out, "{}", Lost::Wrong(Wrong::Version(protocol)))?;
        }
    }
    let found = features::probe();
    for (heading, wanted) in [("has:", true), ("lacks:", false)] {
        write!(out, "{heading:INDENT$}")?;
        let mut column = INDENT;
        for feature in Feature::ALL.iter().filter(|feature| found.has(**feature) == wanted) {
            let name = feature.name();
            if column > INDENT {
                // With the comma behind it, too.
                let is_full = column + 2 + name.len() + 1 > WIDTH;
                column = if is_full { INDENT } else { column + 2 };
                if is_full { write!(out, ",\n{:INDENT$}", "")? } else { out.write_str(", ")? }
            }
            out.write_str(name)?;
            column += name.len();
        }
        out.write_str(if column == INDENT { "nothing\n" } else { "\n" })?;
    }
    Ok(())
}

/// Where the names of what a kernel has begin.
const INDENT: usize = 7;

fn json(kernel: &str, machine: &str, supervisor: Option<Supervisor>, out: &mut Output) {
    let mut json = Json::new(out);
    json.begin_object();
    for (key, value) in [
        ("version", Value::Text(VERSION)),
        ("commit", commit()),
        ("kernel", Value::Text(kernel)),
        ("machine", Value::Text(machine)),
    ] {
        json.key(key);
        value.json(&mut json);
    }
    json.key("protocol");
    json.number(PROTOCOL.into());
    json.key("supervisor");
    match &supervisor {
        Some(found) if !found.version.is_empty() => json.string(&found.version),
        _ => json.null(),
    }
    json.key("supervisor_protocol");
    match &supervisor {
        Some(found) => json.number(found.protocol.into()),
        None => json.null(),
    }
    json.key("features");
    json.begin_object();
    let found = features::probe();
    for feature in Feature::ALL {
        json.key(feature.name());
        json.boolean(found.has(*feature));
    }
    json.end_object();
    json.end_object();
    json.end_text();
}

/// What answers at the socket.
struct Supervisor {
    /// Of the program; empty for one that does not say it to this one.
    version: heapless::String<64>,
    /// Of the protocol.
    protocol: u8,
}

/// The supervisor, where one answers: without one there is nothing wrong either.
fn supervisor(options: &Options) -> Option<Supervisor> {
    let client = Client::connect(options.socket.unwrap_or(server::PATH)).ok()?;
    client.request(&Request::Version).ok()?;
    let mut buffer = [0; limits::MESSAGE_BYTES];
    let mut version = heapless::String::new();
    match client.reply(&mut buffer, Some(PROMPT_MS)) {
        // One that does not fit is none.
        Ok((Reply::Version(text), _)) => version.push_str(text).ok()?,
        Err(Lost::Wrong(Wrong::Version(_))) => {}
        _ => return None,
    }
    Some(Supervisor { version, protocol: buffer[0] })
}
