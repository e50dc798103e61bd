//! `inn status`: guests in full, or the host ([`host`]).

use core::ffi::CStr;
use core::fmt::{self, Write};

use super::ask::{PROMPT_MS, ask};
use super::bounds;
use super::columns::Known;
use super::counters::{Counter, Counters};
use super::facts::{self, ExitWords, Fact, PlaceWords, StateWords};
use super::host;
use super::json::Json;
use super::logs::{self, Printer};
use super::lossy::Lossy;
use super::names::{All, Names};
use super::output::{Output, Plain};
use super::parse::Options;
use super::tree::{self, Process, Tree};
use super::units::{Bytes, Milli, Millis};
use crate::control::wire::{Exit, GuestInfo, HealthInfo, Name, Reply, Request};
use rustix::fd::{AsFd, OwnedFd};

/// Lines of its output shown with a guest.
const LOG_LINES: u64 = 10;

/// Shows the guests that `words` name, or the host.
#[inline(never)]
pub fn status(words: &[&'static CStr], options: &Options, out: &mut Output) -> u8 {
    if words.is_empty() {
        return host::status(options, out);
    }
    let names = match Names::read(words, All::Everything, options) {
        Ok(names) => names,
        Err(code) => return out.finish(code),
    };
    let mut code = names.code;
    let mut is_first = true;
    for name in &names.all {
        if !core::mem::take(&mut is_first) && !options.json {
            let _ = out.write_char('\n');
        }
        let one = one(*name, options, out).err().unwrap_or(0);
        code = if code == 0 { one } else { code };
    }
    out.finish(code)
}

fn one(name: Name, options: &Options, out: &mut Output) -> Result<(), u8> {
    let timeout_ms = options.timeout_ms.or(Some(PROMPT_MS));
    let mut tree = Tree::new();
    let cgroups = tree::cgroups();
    ask(options.socket, &Request::Status { guest: name }, timeout_ms, &mut |reply, _| {
        if let Reply::Bounds(info) = reply {
            let _ = if options.json {
                bounds::json(&mut Json::go_on(out), info);
                Ok(())
            } else if options.plain {
                bounds::words(info, &mut |label, words| writeln!(out, "{label}\t{words}"))
            } else {
                bounds::words(info, &mut |label, words| line(out, label, words))
            };
        }
        let Reply::Guest(info) = reply else { return };
        tree.read(info.cgroup);
        let _ = if options.json {
            let mut json = Json::new(out);
            facts::begin_object(&mut json, &facts::guest(info));
            facts::counters(&mut json, cgroups.as_ref(), info);
            Ok(())
        } else if options.plain {
            plain(&facts::guest(info), out)
        } else {
            guest_words(info, cgroups.as_ref(), out)
        };
    })?;
    if options.json {
        tree_json(&mut tree, out);
    } else if !options.plain {
        let _ = tree_words(&mut tree, out);
        last_lines(name, options, out);
    }
    Ok(())
}

/// Name and value, with a tab between them.
pub fn plain(facts: &[Fact<'_>], out: &mut Output) -> fmt::Result {
    facts.iter().try_for_each(|(name, value)| writeln!(out, "{name}\t{value}"))
}

fn guest_words(info: &GuestInfo<'_>, cgroups: Option<&OwnedFd>, out: &mut Output) -> fmt::Result {
    write!(out, "{}: {} ({})", Plain(info.name), StateWords(info), facts::kind(info.kind))?;
    if info.pid != 0 {
        write!(out, ", pid {}", info.pid)?;
    }
    if let Some(uptime_ms) = info.uptime_ms {
        write!(out, ", up {}", Millis(uptime_ms))?;
    }
    out.write_char('\n')?;
    if !info.description.is_empty() {
        line(out, "description", &Plain(info.description))?;
    }
    if let Some(exit) = info.exit {
        let key = if let Exit::Failed(fault) = exit { fault.step.key() } else { None };
        line(out, "last exit", &format_args!("{}{}", ExitWords(exit), PlaceWords { key, place: info.place }))?;
        if let Exit::Failed(fault) = exit
            && let Some(advice) = fault.advice()
        {
            line(out, "", &advice)?;
        }
    }
    if !info.awaits.is_empty() {
        line(out, "not ready", &Plain(info.awaits))?;
    }
    if !info.said.is_empty() {
        line(out, "says", &Plain(info.said))?;
    }
    if let Some(watchdog_ms) = info.watchdog_ms {
        line(out, "watchdog", &format_args!("it has to say that it is well every {}", Millis(watchdog_ms)))?;
    }
    if let Some(health) = &info.health {
        health_words(health, out)?;
    }
    line(out, "restarts", &info.restarts)?;
    if !info.pending.is_empty() {
        line(out, "pending", &format_args!("{} (from its next start on)", info.pending))?;
    }
    resources(info, cgroups, out)?;
    for users in info.users.ranges() {
        let last = users.base.saturating_add(users.count.saturating_sub(1));
        line(out, "users", &format_args!("{} to {last}", users.base))?;
    }
    if !info.root.is_empty() {
        line(out, "root", &Plain(info.root))?;
    }
    line(out, "cgroup", &Plain(info.cgroup))?;
    line(out, "autostart", &if info.autostart { "yes" } else { "no" })
}

/// "well, looked at 3.2s ago", "failing, 2 of 3 in a row, looked at 3.2s ago", and below it why.
fn health_words(health: &HealthInfo, out: &mut Output) -> fmt::Result {
    let word = facts::health_word(health);
    let Some(ago_ms) = health.ago_ms else { return line(out, "health", &"not looked at yet") };
    let ago = Millis(ago_ms);
    let Some(fault) = health.fault else { return line(out, "health", &format_args!("{word}, looked at {ago} ago")) };
    let (failures, limit) = (health.failures, health.limit);
    line(out, "health", &format_args!("{word}, {failures} of {limit} in a row, looked at {ago} ago"))?;
    line(out, "", &format_args!("could not {fault}"))
}

/// Each limit with its use, and how often it was in the way.
fn resources(info: &GuestInfo<'_>, cgroups: Option<&OwnedFd>, out: &mut Output) -> fmt::Result {
    let counters = cgroups.map(|cgroups| Counters::read(cgroups.as_fd(), info.cgroup));
    let get = |counter| counters.as_ref().and_then(|counters| counters.get(counter));
    let memory = Used { now: info.memory_bytes.map(Bytes), limit: info.memory_limit_bytes.map(Bytes) };
    let memory = format_args!("{memory}; processes killed for want of it: {}", info.oom_kills);
    match get(Counter::MemoryMaxEvents) {
        Some(full) => line(out, "memory", &format_args!("{memory}, came to its limit: {full}"))?,
        None => line(out, "memory", &memory)?,
    }
    if let Some(victim) = info.victim {
        let (name, ago) = (Plain(victim.name), Millis(victim.ago_ms));
        line(
            out,
            "last killed",
            &format_args!("{name} (pid {}), {ago} ago; full: {}", victim.pid, victim.full.word()),
        )?;
    }
    let (peak, swap) = (get(Counter::MemoryPeak), get(Counter::Swap));
    if let Some(peak) = peak {
        line(out, "memory peak", &Bytes(peak))?;
    }
    if let Some(high) = get(Counter::MemoryHigh) {
        let count = Known(get(Counter::MemoryHighEvents));
        line(out, "memory-high", &format_args!("{}; throttled: {count}", Bytes(high)))?;
    }
    if let Some(low) = get(Counter::MemoryLow).filter(|low| *low > 0) {
        let count = Known(get(Counter::MemoryLowEvents));
        line(out, "memory-low", &format_args!("{}; taken all the same: {count}", Bytes(low)))?;
    }
    if swap.is_some() || info.swap_limit_bytes.is_some() {
        let count = Known(get(Counter::SwapMaxEvents));
        let swap = Used { now: swap.map(Bytes), limit: info.swap_limit_bytes.map(Bytes) };
        line(out, "swap", &format_args!("{swap}; came to its limit: {count}"))?;
    }
    let processes = Used { now: info.processes, limit: info.processes_limit };
    line(out, "processes", &format_args!("{processes}; refused: {}", info.processes_refused))?;
    let cpu = info.cpu_us.map(|us| Millis(us / 1000));
    match info.cpus_limit_milli {
        Some(milli) => {
            let (count, us) = (info.cpu_throttled, get(Counter::CpuThrottledUs));
            let held = Known(us.map(|us| Millis(us / 1000)));
            let most = Milli(milli.into());
            line(
                out,
                "CPU",
                &format_args!("{} used; at most {most} CPUs; held back: {count}, for {held}", Known(cpu)),
            )?;
        }
        None => line(out, "CPU", &format_args!("{} used", Known(cpu)))?,
    }
    if let Some((read, written)) = get(Counter::ReadBytes).zip(get(Counter::WrittenBytes)) {
        line(out, "disks", &format_args!("{} read, {} written", Bytes(read), Bytes(written)))?;
    }
    let pressure = [Counter::CpuPressure, Counter::MemoryPressure, Counter::IoPressure].map(get);
    if let [Some(cpu), Some(memory), Some(io)] = pressure.map(|centi| centi.map(|centi| Milli(centi * 10))) {
        line(out, "waits for", &format_args!("CPU {cpu}%, memory {memory}%, disks {io}% of the last 10s"))?;
    }
    Ok(())
}

/// "  memory       12M of 64M"
pub fn line(out: &mut Output, label: &str, value: &dyn fmt::Display) -> fmt::Result {
    writeln!(out, "  {label:<12} {value}")
}

/// "12M of 64M"
struct Used<T> {
    now: Option<T>,
    limit: Option<T>,
}

impl<T: fmt::Display + Copy> fmt::Display for Used<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Known(self.now))?;
        self.limit.map_or(Ok(()), |limit| write!(f, " of {limit}"))
    }
}

fn tree_words(tree: &mut Tree, out: &mut Output) -> fmt::Result {
    if tree.is_empty() {
        return Ok(());
    }
    out.write_str("  process tree\n")?;
    tree.walk(&mut |process: &Process, command: &[u8]| {
        let indent = 2 * usize::from(process.depth);
        let _ = writeln!(out, "  {:>8}  {:indent$}{}", process.pid, "", Shown(command));
    });
    if tree.is_cut() { writeln!(out, "  {:>8}", "...") } else { Ok(()) }
}

fn tree_json(tree: &mut Tree, out: &mut Output) {
    let mut json = Json::go_on(out);
    json.key("process_tree");
    json.begin_array();
    tree.walk(&mut |process: &Process, command: &[u8]| {
        json.begin_object();
        json.key("pid");
        json.number(process.pid.into());
        json.key("parent");
        json.number(process.parent.into());
        json.key("command");
        json.display(Lossy(command));
        json.end_object();
    });
    json.end_array();
    json.end_object();
    json.end_text();
}

fn last_lines(name: Name, options: &Options, out: &mut Output) {
    let options = Options { lines: Some(LOG_LINES), ..*options };
    let mut logs = logs::Logs::new();
    // A guest without a log has been told about by then.
    if logs::open(name, &options, &mut logs).is_err() || logs.is_empty() {
        return;
    }
    let mut printer = Printer::new(false, &Options { json: false, ..options });
    printer.heading = "  last lines\n";
    let _ = printer.print(&mut logs, &mut [0; 4096], out);
    if logs.first().is_some_and(logs::Log::is_in_line) {
        out.bytes(b"\n");
    }
}

/// A command line of a guest, for a terminal.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.utf8_chunks().try_for_each(|chunk| write!(f, "{}", Plain(chunk.valid())))
    }
}
