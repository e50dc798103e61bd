//! `inn set`: limits of a guest that runs, and with `--save` its config.

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::OwnedFd;

use super::ask::{FAILED, PROMPT_MS, ask};
use super::check::BAD_CONFIG;
use super::json::Json;
use super::lossy::Lossy;
use super::names::{All, Names};
use super::output::{Errors, Output, Plain, complain};
use super::parse::{Invocation, Options, Shown};
use crate::config::diagnostic::{Amount, Unit};
use crate::config::edit::{Unwritable, Wanted, render};
use crate::config::key::{Key, section};
use crate::config::source::{FileName, Source, Unreadable};
use crate::config::{Entry, Report, nearest};
use crate::control::wire::{Changes, ChangesBuffer, Name, Reply, Request};
use crate::host::disk::Disk;
use crate::host::replace::{Failed, Replacement, lock};
use crate::limits;
use crate::load::Loader;
use crate::plan::change::{Change, Keys, rlimit_name};
use crate::plan::show::{IoLimits, Number, SoftHard};
use crate::plan::{Guest, GuestId, Plan};

/// What stands for no value: as if no config said the key.
const DEFAULT: &[u8] = b"default";
/// Bytes of all values as a file has them.
const VALUES_BYTES: usize = 2 * limits::MESSAGE_BYTES;

/// Sets what the command line says, all of it or nothing.
#[inline(never)]
pub fn set(invocation: &Invocation, out: &mut Output) -> u8 {
    match try_set(invocation, out) {
        Ok(()) => out.finish(0),
        Err(code) => code,
    }
}

fn try_set(invocation: &Invocation, out: &mut Output) -> Result<(), u8> {
    let (options, operands) = (&invocation.options, &invocation.operands);
    let names = Names::read(operands.get(..1).unwrap_or_default(), All::Guests, options)?;
    let name = *names.all.first().ok_or(names.code)?;
    if names.by_pattern && options.save {
        return refuse(format_args!("--save writes the lines of one guest: name it"));
    }
    let loader = Loader::take().ok_or(BAD_CONFIG)?;
    let mut asked = Asked::new();
    asked.read(name, operands.get(1..).unwrap_or_default(), loader)?;
    let saved = if options.save { Some(save(name, &asked, options, loader)?) } else { None };
    let mut code = 0;
    for name in &names.all {
        let told = tell(*name, &asked, options, out);
        code = if code == 0 { told.err().unwrap_or(0) } else { code };
        if told.is_ok() && asked.keys.has(Key::Processes) && !options.quiet && !options.json {
            tell_of_processes(*name, options, out);
        }
        // What is done is done, whatever becomes of the next.
        out.flush();
    }
    if code != 0 {
        return Err(code);
    }
    if let Some(Saved { replacement, path, .. }) = saved {
        let path = Lossy(path.strip_suffix(b"\0").unwrap_or(&path));
        replacement.commit().map_err(|failed| {
            out.flush();
            complain(format_args!("{}: it is changed, but not saved in {path}: {failed}", name.as_str()));
            FAILED
        })?;
    } else if !options.quiet && !options.json {
        let _ = out.write_str("until the config is read again; --save keeps it there\n");
    }
    Ok(())
}

/// Asks the supervisor, and says what it has replaced once all of it is changed.
fn tell(name: Name, asked: &Asked, options: &Options, out: &mut Output) -> Result<(), u8> {
    let changes = Changes::of(&asked.changes);
    let mut next = changes.iter();
    let mut each = |reply: &Reply<'_>, _| {
        let (Reply::Was(was), Some(now)) = (reply, next.next()) else { return };
        let (name, key) = (name.as_str(), now.key().name());
        if options.json {
            let mut json = Json::new(out);
            json.begin_object();
            for (member, value) in [("guest", name), ("key", key)] {
                json.key(member);
                json.string(value);
            }
            for (member, shown) in [("of", Shows::Item(now)), ("from", Shows::Value(*was)), ("to", Shows::Value(now))] {
                json.key(member);
                json.display(shown);
            }
            json.end_object();
            json.end_text();
        } else if !options.quiet {
            let item = Shows::Item(now);
            let blank = if matches!(now, Change::Number { .. } | Change::Cpuset { .. }) { "" } else { " " };
            let _ = writeln!(out, "{name}: {key}{blank}{item} {} -> {}", Shows::Value(*was), Shows::Value(now));
        }
    };
    let result = ask(options.socket, &Request::Set { guest: name, changes }, options.timeout_ms, &mut each);
    if result.is_err() {
        out.discard();
    }
    result
}

/// The kernel ends no process for a limit that is lower than their number, and so it is said.
fn tell_of_processes(name: Name, options: &Options, out: &mut Output) {
    let mut each = |reply: &Reply<'_>, _| {
        if let Reply::Guest(info) = reply
            && let Some((count, limit)) =
                info.processes.zip(info.processes_limit).filter(|(count, limit)| count > limit)
        {
            let name = name.as_str();
            let _ =
                writeln!(out, "{name}: it has {count} processes now; it can make none while it has {limit} or more");
        }
    };
    // What was asked for is done.
    let _ = ask(options.socket, &Request::Status { guest: name }, Some(PROMPT_MS), &mut each);
}

/// What the command line asks for.
struct Asked {
    /// As the supervisor takes it.
    changes: ChangesBuffer,
    /// As a file has it: the key, and where in `values` its value ends; an empty one for a line that goes.
    lines: heapless::Vec<(Key, u16), { limits::VALUE_WORDS }>,
    values: heapless::Vec<u8, VALUES_BYTES>,
    keys: Keys,
}

impl Asked {
    fn new() -> Asked {
        Asked {
            changes: ChangesBuffer::new(),
            lines: heapless::Vec::new(),
            values: heapless::Vec::new(),
            keys: Keys::default(),
        }
    }

    /// Reads `KEY VALUE` and `KEY=VALUE` words as a config is read.
    fn read(&mut self, name: Name, operands: &[&'static CStr], loader: &mut Loader) -> Result<(), u8> {
        let Loader { config, diagnostics, .. } = &mut *loader;
        config.begin_run(name.as_str().as_bytes(), diagnostics);
        let mut operands = operands.iter().copied();
        while let Some(word) = operands.next() {
            let bytes = word.to_bytes();
            let end = bytes.iter().position(|byte| *byte == b'=');
            let (name, attached) = bytes.split_at(end.unwrap_or(bytes.len()));
            let key = settable(word, name)?;
            let value = match end {
                Some(_) => attached.get(1..).unwrap_or_default(),
                None => operands.next().map(CStr::to_bytes).ok_or_else(|| {
                    complain(format_args!("{} needs a value", key.name()));
                    BAD_CONFIG
                })?,
            };
            if !key.is_list() && self.keys.has(key) {
                return refuse(format_args!("{} is given twice", key.name()));
            }
            self.keys.add(key);
            if value != DEFAULT || key.is_list() {
                config.option(name, value, diagnostics);
            } else {
                let default = match key {
                    Key::Cpuset => Change::Cpuset { cpus: "" },
                    _ => Change::Number { key, value: None },
                };
                self.add(default, |_| {})?;
            }
        }
        // What every guest must have, and nobody sees.
        config.option(b"command", b"/", diagnostics);
        config.end_run(diagnostics);
        if !loader.build() {
            let _ = write!(Errors::new(), "{}", Report(&loader.config, &loader.diagnostics));
            return Err(BAD_CONFIG);
        }
        self.take(&*loader)
    }

    /// Takes what the plan has made of the words.
    fn take(&mut self, loader: &Loader) -> Result<(), u8> {
        let Loader { config, plan, .. } = loader;
        let Some((section, guest)) = config.sections().first().zip(plan.guest(GuestId(0))) else {
            return Err(BAD_CONFIG);
        };
        // How many of each list were there before.
        let mut counts = [0usize; 3];
        let entries = config.entries(section);
        let entries = entries.filter_map(|entry| Some((entry.key.filter(|key| *key != Key::Command)?, entry)));
        for (key, Entry { value, .. }) in entries {
            let Some(change) = change_of(plan, guest, key, &mut counts) else { return Err(BAD_CONFIG) };
            self.add(change, |out| render(config.text(), value, config.form(section), out))?;
        }
        Ok(())
    }

    /// Adds one, whose value a file has as `write` writes it.
    fn add(&mut self, change: Change<'_>, write: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Result<(), u8> {
        let mut fits = Changes::push(&mut self.changes, change);
        write(&mut |bytes| fits &= self.values.extend_from_slice(bytes).is_ok());
        fits &= self.lines.push((change.key(), self.values.len() as u16)).is_ok();
        if fits { Ok(()) } else { refuse(format_args!("{}: this is too much for one command", change.key().name())) }
    }

    fn wanted(&self) -> heapless::Vec<Wanted<'_>, { limits::VALUE_WORDS }> {
        let mut start = 0;
        let wanted = self.lines.iter().map(|&(key, end)| {
            let value = self.values.get(start..usize::from(end)).unwrap_or_default();
            start = usize::from(end);
            Wanted { key, value }
        });
        wanted.collect()
    }
}

/// The key called `name`, which can be changed while a guest runs.
fn settable(word: &'static CStr, name: &[u8]) -> Result<Key, u8> {
    if let Some(key) = Key::find(name, section::GUEST | section::SERVICE) {
        if Change::is_of(key) {
            return Ok(key);
        }
        return refuse(format_args!("{} cannot be changed while a guest runs: edit the config", key.name()));
    }
    let keys = Key::ALL.iter().filter(|key| Change::is_of(**key)).map(|key| (key.name(), key.name().as_bytes()));
    match nearest(name, keys) {
        Some(near) => refuse(format_args!("there is no key {}; did you mean {near}?", Shown(word))),
        None => refuse(format_args!("there is no key {}", Shown(word))),
    }
}

fn refuse<T>(words: fmt::Arguments<'_>) -> Result<T, u8> {
    complain(words);
    Err(BAD_CONFIG)
}

/// What `guest` has for `key`: of a list the next one, `counts` being how many were taken.
fn change_of<'p>(plan: &'p Plan, guest: &Guest, key: Key, counts: &mut [usize; 3]) -> Option<Change<'p>> {
    let next = |count: &mut usize| core::mem::replace(count, *count + 1);
    let [disks, rlimits, tmpfs] = counts;
    Some(match key {
        Key::Cpuset => Change::Cpuset { cpus: plan.strings.str(guest.limits.cpuset) },
        Key::IoMax => {
            let disk = plan.io_max.get(guest.limits.io_max).get(next(disks))?;
            Change::IoMax { device: plan.strings.str(disk.device), limits: Some(disk.limits) }
        }
        Key::Rlimit => {
            let limit = plan.rlimits.get(guest.rlimits).get(next(rlimits))?;
            Change::Rlimit { resource: limit.resource, limits: Some((limit.soft, limit.hard)) }
        }
        Key::Tmpfs => {
            let one = plan.tmpfs.get(guest.tmpfs).get(next(tmpfs))?;
            Change::Tmpfs { target: plan.strings.str(one.target), bytes: Some(one.bytes) }
        }
        key => Change::Number { key, value: guest.limits.number(key) },
    })
}

/// Bytes of a path, with its NUL.
type Path = heapless::Vec<u8, 4096>;

/// The new config, beside the old one.
struct Saved {
    replacement: Replacement,
    /// The file that it replaces.
    path: Path,
    /// Nobody else saves meanwhile.
    _lock: OwnedFd,
}

/// Writes the config with the changes beside the one that there is, and sees that it says nothing else that is new.
fn save(name: Name, asked: &Asked, options: &Options, loader: &mut Loader) -> Result<Saved, u8> {
    let main = config_path(options)?;
    let main = c_str(&main)?;
    let failed = |path: &CStr, failed: Failed| {
        complain(format_args!("{} cannot be saved: {failed}; nothing was changed", Lossy(path.to_bytes())));
        FAILED
    };
    let lock = lock(main).map_err(|errno| failed(main, errno))?;
    loader.clear();
    loader.read(main);
    if !loader.build() {
        return bad(loader);
    }
    let (id, wanted) = (name.as_str().as_bytes(), asked.wanted());
    let edits = loader.config.edit(id, &wanted).map_err(|unwritable| {
        let (name, main) = (name.as_str(), Lossy(main.to_bytes()));
        match unwritable {
            Unwritable::NoSection => complain(format_args!("{name} is not in {main}, so it cannot be saved there")),
            Unwritable::Inherited(key) => {
                complain(format_args!("{name} has {} from its profile: say a value to save", key.name()));
            }
            Unwritable::TooMany => complain(format_args!("{name}: this is too much to save at once")),
        }
        FAILED
    })?;
    let file = edits.file(&loader.config).map(|file| file.name.of(loader.config.text())).unwrap_or_default();
    let path = path(file)?;
    let file = c_str(&path)?;
    let keys = |key| asked.keys.has(key);
    let before = loader.config.digest(id, &keys);
    let mut replacement = Replacement::begin(file).map_err(|errno| failed(file, errno))?;
    edits.write(&loader.config, &wanted, &mut |bytes| replacement.add(bytes));
    replacement.sync().map_err(|errno| failed(file, errno))?;
    loader.clear();
    loader.read_from(main, &mut With { path: file.to_bytes(), replacement: &replacement });
    if !loader.build() {
        return bad(loader);
    }
    let plan = &loader.plan;
    let guest = plan.find(id).and_then(|id| plan.guest(id));
    let says = |change: Change<'_>| guest.is_some_and(|guest| plan.present(guest, change) == change);
    if loader.config.digest(id, &keys) != before || !Changes::of(&asked.changes).iter().all(says) {
        complain(format_args!("{} cannot be saved: its words do not fit in there", Lossy(file.to_bytes())));
        return Err(FAILED);
    }
    Ok(Saved { replacement, path, _lock: lock })
}

/// Says what is wrong with a config that cannot be saved in.
fn bad<T>(loader: &Loader) -> Result<T, u8> {
    let _ = write!(Errors::new(), "{}", Report(&loader.config, &loader.diagnostics));
    refuse(format_args!("the config cannot be saved so; nothing was changed"))
}

/// Where the config is: as the command line says, or the supervisor.
fn config_path(options: &Options) -> Result<Path, u8> {
    if let Some(config) = options.config {
        return path(config.to_bytes());
    }
    let mut found = Ok(Path::new());
    ask(options.socket, &Request::HostStatus, Some(PROMPT_MS), &mut |reply, _| {
        if let Reply::Host(info) = reply {
            found = if info.config.starts_with('/') {
                path(info.config.as_bytes())
            } else {
                refuse(format_args!(
                    "the supervisor calls its config {}: say where it is, with --config",
                    Plain(info.config)
                ))
            };
        }
    })?;
    found
}

/// With a NUL behind it.
fn path(bytes: &[u8]) -> Result<Path, u8> {
    let mut path = Path::new();
    let fits = path.extend_from_slice(bytes).is_ok() && path.push(0).is_ok();
    if fits { Ok(path) } else { refuse(format_args!("the config's path is too long")) }
}

fn c_str(path: &Path) -> Result<&CStr, u8> {
    CStr::from_bytes_with_nul(path).map_err(|_| BAD_CONFIG)
}

/// The files on disk, but one of them as it is to be.
struct With<'a> {
    path: &'a [u8],
    replacement: &'a Replacement,
}

impl Source for With<'_> {
    fn read(&mut self, path: &[u8], into: &mut [u8]) -> Result<usize, Unreadable> {
        if path != self.path {
            return Disk.read(path, into);
        }
        self.replacement.read(into).map_err(|errno| Unreadable(errno.raw_os_error() as u16))
    }

    fn next_name(&mut self, directory: &[u8], pattern: &[u8], after: &[u8]) -> Result<Option<FileName>, Unreadable> {
        Disk.next_name(directory, pattern, after)
    }
}

/// A part of a change, as a config says it.
#[derive(Clone, Copy)]
enum Shows<'a> {
    /// Which one of a list; nothing for what is no list.
    Item(Change<'a>),
    /// Its value.
    Value(Change<'a>),
}

impl fmt::Display for Shows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Shows::Item(Change::IoMax { device: text, .. } | Change::Tmpfs { target: text, .. }) => {
                write!(f, "{}", Plain(text))
            }
            Shows::Item(Change::Rlimit { resource, .. }) => f.write_str(rlimit_name(resource).unwrap_or_default()),
            Shows::Item(Change::Number { .. } | Change::Cpuset { .. }) => Ok(()),
            Shows::Value(
                Change::Number { value: None, .. }
                | Change::Cpuset { cpus: "" }
                | Change::IoMax { limits: None, .. }
                | Change::Rlimit { limits: None, .. }
                | Change::Tmpfs { bytes: None, .. },
            ) => f.write_str("default"),
            Shows::Value(Change::Number { key, value: Some(value) }) => Number(key, value).fmt(f),
            Shows::Value(Change::Cpuset { cpus }) => write!(f, "{}", Plain(cpus)),
            Shows::Value(Change::IoMax { limits: Some(limits), .. }) => IoLimits(&limits).fmt(f),
            Shows::Value(Change::Rlimit { limits: Some((soft, hard)), .. }) => SoftHard(soft, hard).fmt(f),
            Shows::Value(Change::Tmpfs { bytes: Some(bytes), .. }) => write!(f, "{}", Amount(bytes, Unit::Bytes)),
        }
    }
}
