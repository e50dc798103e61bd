//! `inn status` without a guest: the host in full. What the supervisor does not know is read from the kernel, here.

use core::fmt::{self, Write};

use rustix::fd::AsFd;

use super::ask::{PROMPT_MS, ask};
use super::facts::{self, Fact, Value};
use super::json::Json;
use super::links;
use super::output::{Output, Plain};
use super::parse::Options;
use super::status::{line, plain};
use super::tree;
use super::units::{Bytes, Milli, Millis};
use super::version;
use crate::control::wire::{HostInfo, MissingInfo, Reply, Request, State};
use crate::guest::cgroup::read_number;
use crate::host::features::{self, Feature};
use crate::host::timeline::{self, Timeline};
use crate::host::{ending, files};

/// How many guests and services are in each state.
type Counts = [u32; State::ALL.len()];

/// Shows the host.
#[inline(never)]
pub fn status(options: &Options, out: &mut Output) -> u8 {
    let timeout_ms = options.timeout_ms.or(Some(PROMPT_MS));
    let mut counts = Counts::default();
    let counted = ask(options.socket, &Request::List, timeout_ms, &mut |reply, _| {
        if let Reply::Guest(info) = reply
            && let Some(count) = counts.get_mut(info.state as usize)
        {
            *count += 1;
        }
    });
    let result = counted.and_then(|()| {
        ask(options.socket, &Request::HostStatus, timeout_ms, &mut |reply, _| {
            let Reply::Host(info) = reply else { return };
            let kernel = Kernel::read(info);
            let (mut this, mut last) = ([0; ending::BYTES], [0; ending::BYTES]);
            let boots = Boots::read(info, &mut this, &mut last);
            let _ = if options.json {
                json(info, &kernel, &boots, &counts, out);
                Ok(())
            } else if options.plain {
                plain(&facts::host(info), out)
                    .and_then(|()| plain(&facts::hardening(info), out))
                    .and_then(|()| plain(&kernel.facts(), out))
                    .and_then(|()| plain(&facts::boot(info), out))
                    .and_then(|()| plain(&boots.facts(), out))
                    .map(|()| links::plain(out))
            } else {
                words(info, &kernel, &boots, &counts, out)
            };
        })
    });
    let result = result.and_then(|()| missing(options, timeout_ms, out));
    out.finish(result.err().unwrap_or(0))
}

/// Shows what is missing of the host's file systems, behind the rest.
fn missing(options: &Options, timeout_ms: Option<u64>, out: &mut Output) -> Result<(), u8> {
    let mut each = |with: &mut dyn FnMut(MissingInfo<'_>)| {
        ask(options.socket, &Request::Missing, timeout_ms, &mut |reply, _| {
            if let Reply::Missing(missing) = reply {
                with(*missing);
            }
        })
    };
    if options.json {
        return missing_json(&mut each, out);
    }
    let mut label = "missing";
    each(&mut |MissingInfo { target, fault, .. }| {
        let _ = if options.plain {
            writeln!(out, "missing\t{}\t{fault}", Plain(target))
        } else {
            line(out, core::mem::take(&mut label), &format_args!("{}: {fault}", Plain(target)))
        };
    })
}

/// What asks, and calls what it is given for each.
type EachMissing<'e> = dyn FnMut(&mut dyn FnMut(MissingInfo<'_>)) -> Result<(), u8> + 'e;

/// The last member of an object.
fn missing_json(each: &mut EachMissing<'_>, out: &mut Output) -> Result<(), u8> {
    let mut json = Json::go_on(out);
    json.key("missing");
    json.begin_array();
    let result = each(&mut |MissingInfo { target, is_optional, fault }| {
        json.begin_object();
        json.key("target");
        json.string(target);
        json.key("optional");
        json.boolean(is_optional);
        json.key("reason");
        json.display(fault);
        json.end_object();
    });
    json.end_array();
    json.end_object();
    json.end_text();
    result
}

/// What the kernel says of the host.
#[derive(Debug, Default)]
struct Kernel {
    /// `/proc/uptime`
    uptime_ms: Option<u64>,
    /// Of one, five and fifteen minutes, in hundredths (`/proc/loadavg`).
    load_centi: [Option<u64>; 3],
    /// `/proc/meminfo`
    memory_bytes: Option<u64>,
    available_bytes: Option<u64>,
    swap_bytes: Option<u64>,
    swap_free_bytes: Option<u64>,
    /// What all guests together use, and may use.
    guests_bytes: Option<u64>,
    guests_limit_bytes: Option<u64>,
    /// In how many hundredths of a percent of the last ten seconds something waited for CPU, memory, disks.
    pressure_centi: [Option<u64>; 3],
}

impl Kernel {
    fn read(info: &HostInfo<'_>) -> Kernel {
        let mut kernel = Kernel::default();
        let mut buffer = [0; 4096];
        if let Ok(text) = files::read_path(c"/proc/uptime", &mut buffer) {
            kernel.uptime_ms = centi(text).map(|centi| centi.saturating_mul(10));
        }
        if let Ok(text) = files::read_path(c"/proc/loadavg", &mut buffer) {
            let mut words = text.split(|byte| *byte == b' ');
            kernel.load_centi = core::array::from_fn(|_| centi(words.next()?));
        }
        if let Ok(text) = files::read_path(c"/proc/meminfo", &mut buffer) {
            let of = |label| kib(text, label);
            kernel.memory_bytes = of(b"MemTotal:");
            kernel.available_bytes = of(b"MemAvailable:");
            kernel.swap_bytes = of(b"SwapTotal:");
            kernel.swap_free_bytes = of(b"SwapFree:");
        }
        for (path, pressure) in [c"/proc/pressure/cpu", c"/proc/pressure/memory", c"/proc/pressure/io"]
            .into_iter()
            .zip(&mut kernel.pressure_centi)
        {
            let text = files::read_path(path, &mut buffer).ok();
            *pressure = text.and_then(|text| centi(text.strip_prefix(b"some avg10=")?));
        }
        if let Some(guests) = tree::cgroups().and_then(|root| tree::open(root.as_fd(), info.cgroup).ok()) {
            kernel.guests_bytes = read_number(guests.as_fd(), c"memory.current", b"");
            kernel.guests_limit_bytes = read_number(guests.as_fd(), c"memory.max", b"");
        }
        kernel
    }

    fn facts(&self) -> [Fact<'static>; 13] {
        let ([one, five, fifteen], [cpu, memory, io]) = (self.load_centi, self.pressure_centi);
        [
            ("host_uptime_ms", self.uptime_ms.into()),
            ("load1_centi", one.into()),
            ("load5_centi", five.into()),
            ("load15_centi", fifteen.into()),
            ("memory_bytes", self.memory_bytes.into()),
            ("memory_available_bytes", self.available_bytes.into()),
            ("swap_bytes", self.swap_bytes.into()),
            ("swap_free_bytes", self.swap_free_bytes.into()),
            ("guests_memory_bytes", self.guests_bytes.into()),
            ("guests_memory_limit_bytes", self.guests_limit_bytes.into()),
            ("cpu_pressure_centi", cpu.into()),
            ("memory_pressure_centi", memory.into()),
            ("io_pressure_centi", io.into()),
        ]
    }
}

/// What is known of this boot and of the one before.
#[derive(Debug)]
struct Boots<'a> {
    /// "healthy", "waiting", or why it is not a good one.
    this: Option<&'a str>,
    /// How it ended.
    last: Option<&'a str>,
}

impl<'a> Boots<'a> {
    /// Of a supervisor that is the host's init.
    fn read(info: &HostInfo<'_>, this: &'a mut [u8], last: &'a mut [u8]) -> Boots<'a> {
        if info.pid != 1 {
            return Boots { this: None, last: None };
        }
        let text = |path, buffer: &'a mut [u8]| {
            let text = core::str::from_utf8(files::read_path(path, buffer).ok()?).ok()?.trim_ascii_end();
            Some(if text.is_empty() { "it ended without a word: by a power cut, a reset, or the kernel" } else { text })
        };
        Boots { this: text(ending::VERDICT, this), last: text(ending::LAST, last) }
    }

    fn facts(&self) -> [Fact<'a>; 2] {
        let value = |text: Option<&'a str>| text.map_or(Value::Unknown, Value::Text);
        [("this_boot", value(self.this)), ("last_boot", value(self.last))]
    }
}

/// "12.34" is 1234.
fn centi(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.').unwrap_or(text.len());
    let mut parts = text.get(..end)?.splitn(2, |byte| *byte == b'.');
    let whole = crate::text::number::<u64>(parts.next()?)?;
    let rest = parts.next().and_then(|rest| crate::text::number::<u64>(rest.get(..2)?)).unwrap_or(0);
    whole.checked_mul(100)?.checked_add(rest)
}

/// The number of a line "MemTotal:  16384 kB", bytes.
fn kib(text: &[u8], label: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(label))?;
    let number = line.split(|byte| *byte == b' ').find(|word| !word.is_empty())?;
    crate::text::number::<u64>(number)?.checked_mul(1024)
}

fn json(info: &HostInfo<'_>, kernel: &Kernel, boots: &Boots<'_>, counts: &Counts, out: &mut Output) {
    let mut json = Json::new(out);
    facts::begin_object(&mut json, &facts::host(info));
    json.key("hardening");
    facts::begin_object(&mut json, &facts::hardening(info));
    json.end_object();
    for (name, value) in kernel.facts().into_iter().chain(boots.facts()) {
        json.key(name);
        value.json(&mut json);
    }
    json.key("states");
    json.begin_object();
    for (state, count) in State::ALL.iter().zip(counts) {
        json.key(state.word());
        json.number((*count).into());
    }
    json.end_object();
    json.key("links");
    links::json(&mut json);
    json.key("commit");
    version::commit().json(&mut json);
    json.key("lacks");
    json.begin_array();
    lacks(&mut |name| json.string(name));
    json.end_array();
    json.key("boot_ms");
    facts::begin_object(&mut json, &facts::boot(info));
    json.end_object();
}

/// Calls `each` with the name of each feature that this kernel lacks.
fn lacks(each: &mut dyn FnMut(&'static str)) {
    let found = features::probe();
    Feature::ALL.iter().filter(|feature| !found.has(**feature)).for_each(|feature| each(feature.name()));
}

fn words(info: &HostInfo<'_>, kernel: &Kernel, boots: &Boots<'_>, counts: &Counts, out: &mut Output) -> fmt::Result {
    let down = if info.going_down { ", going down" } else { "" };
    writeln!(out, "supervisor {}, pid {}, up {}{down}", Plain(info.version), info.pid, Millis(info.uptime_ms))?;
    if info.is_safe {
        line(out, "safe mode", &"it has died too often, and starts nothing: `inn upgrade` ends that")?;
    }
    if info.died > 0 || info.replaced > 0 {
        line(out, "lives", &format_args!("{} by death, {} by upgrade", info.died, info.replaced))?;
    }
    line(out, "config", &Plain(info.config))?;
    if let Some(uptime_ms) = kernel.uptime_ms {
        line(out, "host", &format_args!("up {}", Millis(uptime_ms)))?;
    }
    for (label, text) in [("this boot", boots.this), ("last boot", boots.last)] {
        if let Some(text) = text {
            line(out, label, &Plain(text))?;
        }
    }
    write!(out, "  {:<12} {}", "guests", info.guests)?;
    for (state, count) in State::ALL.iter().zip(counts).filter(|(_, count)| **count > 0) {
        write!(out, ", {count} {}", state.word())?;
    }
    out.write_char('\n')?;
    if let Some((all, available)) = kernel.memory_bytes.zip(kernel.available_bytes) {
        line(out, "memory", &format_args!("{} of {} available", Bytes(available), Bytes(all)))?;
    }
    if let Some((all, free)) = kernel.swap_bytes.zip(kernel.swap_free_bytes).filter(|(all, _)| *all > 0) {
        line(out, "swap", &format_args!("{} of {} free", Bytes(free), Bytes(all)))?;
    }
    if let Some(used) = kernel.guests_bytes {
        match kernel.guests_limit_bytes {
            Some(limit) => line(out, "of guests", &format_args!("{} used, {} at most", Bytes(used), Bytes(limit)))?,
            None => line(out, "of guests", &format_args!("{} used, as much as there is at most", Bytes(used)))?,
        }
    }
    line(out, "reserve", &info.reserve_bytes.map_or(Reserve(None), |bytes| Reserve(Some(Bytes(bytes)))))?;
    if let [Some(one), Some(five), Some(fifteen)] = kernel.load_centi.map(|centi| centi.map(|centi| Milli(centi * 10)))
    {
        line(out, "load", &format_args!("{one}, {five}, {fifteen}"))?;
    }
    if let [Some(cpu), Some(memory), Some(io)] = kernel.pressure_centi.map(|centi| centi.map(|centi| Milli(centi * 10)))
    {
        line(out, "waits for", &format_args!("CPU {cpu}%, memory {memory}%, disks {io}% of the last 10s"))?;
    }
    links::words(out);
    let mut label = "hardening";
    for (name, value) in facts::hardening(info) {
        line(out, label, &format_args!("{name:<12} {value}"))?;
        label = "";
    }
    if info.boot_ms.iter().any(Option::is_some) {
        line(out, "boot", &Boot(info.boot_ms))?;
    }
    write!(out, "  {:<12}", "kernel lacks")?;
    let mut separator = " ";
    lacks(&mut |name| {
        let _ = write!(out, "{separator}{name}");
        separator = ", ";
    });
    out.write_str(if separator == " " { " nothing\n" } else { "\n" })
}

/// Where the time of coming up went: "kernel 1.2s, config 3ms; 1.3s in all".
struct Boot(Timeline);

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all_ms = 0;
        for (name, took_ms) in timeline::took(&self.0) {
            write!(f, "{name} {}, ", Millis(took_ms.into()))?;
            all_ms += u64::from(took_ms);
        }
        write!(f, "{} in all", Millis(all_ms))
    }
}

/// What is kept for the host.
struct Reserve(Option<Bytes>);

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "{bytes} of the memory is the host's"),
            None => f.write_str("nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc_are_read() {
        assert_eq!(centi(b"12.34 56.78\n"), Some(1234));
        assert_eq!(centi(b"0.00 avg60=1.00"), Some(0));
        assert_eq!(centi(b"7\n"), Some(700));
        assert_eq!(centi(b"x"), None);
        assert_eq!(kib(b"MemTotal:       16384 kB\nMemFree: 1 kB\n", b"MemFree:"), Some(1024));
        assert_eq!(kib(b"MemTotal: x kB\n", b"MemTotal:"), None);
        assert_eq!(kib(b"", b"MemTotal:"), None);
    }
}
