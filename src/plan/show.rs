//! Values of keys as a config has them, in one form each: two guests that are shown the same words of a key have the same.

use core::fmt::{self, Write};

use super::change::{number, rlimit_name};
use super::confinement::FEATURES;
use super::files::OPTIONS;
use super::hardening::{self, Items};
use super::{
    Device, GiveUp, Guest, GuestId, IoMax, Kind, Layer, LogTo, Moment, Mount, Network, Plan, Ready, Restart, Sysctl,
    call, capability,
};
use crate::config::diagnostic::{Amount, Unit};
use crate::config::key::Key;
use crate::limits;
use crate::text::{List, Text, word, words};
use crate::units::{Milli, Signal};

/// Bytes that are compared at once.
const WINDOW: usize = 512;

/// What `guest` has for `key`; nothing where it has none. Text that is not one word is in quotes.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'p> {
    /// Whose strings and lists these are.
    pub plan: &'p Plan,
    /// Whose key; nothing: the host's.
    pub guest: Option<&'p Guest>,
    /// Which.
    pub key: Key,
}

impl Shown<'_> {
    /// Whether both are the same.
    #[must_use]
    pub fn is_same(&self, other: &Shown<'_>) -> bool {
        // Of what is long, a part at a time.
        let mut from = 0;
        loop {
            let (mut one, mut two) = (Window::new(from), Window::new(from));
            let _ = write!(one, "{self}");
            let _ = write!(two, "{other}");
            if one.bytes != two.bytes {
                return false;
            }
            if !one.bytes.is_full() {
                return true;
            }
            from += WINDOW;
        }
    }
}

/// A part of what is written.
struct Window {
    skip: usize,
    bytes: heapless::Vec<u8, WINDOW>,
}

impl Window {
    fn new(skip: usize) -> Window {
        Window { skip, bytes: heapless::Vec::new() }
    }
}

impl Write for Window {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let skipped = self.skip.min(text.len());
        self.skip -= skipped;
        let rest = text.as_bytes().get(skipped..).unwrap_or_default();
        let room = WINDOW - self.bytes.len();
        let fits = rest.get(..rest.len().min(room)).unwrap_or_default();
        // There is room for so many.
        let _ = self.bytes.extend_from_slice(fits);
        if rest.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.guest {
            Some(guest) => show(self.plan, guest, self.key, f),
            None => show_host(self.plan, self.key, f),
        }
    }
}

fn show(plan: &Plan, guest: &Guest, key: Key, out: &mut dyn Write) -> fmt::Result {
    let text = |text: Text| plan.strings.str(text);
    let yes = |is: bool| if is { "yes" } else { "no" };
    let confinement = &guest.confinement;
    match key {
        Key::Kind => out.write_str(match guest.kind {
            Kind::Os => "os",
            Kind::App => "app",
            Kind::Service => "service",
        }),
        Key::Description => out.write_str(text(guest.description)),
        Key::Root | Key::Image | Key::Directory | Key::Hostname | Key::Tty => {
            let word = text(match key {
                Key::Root => guest.root,
                Key::Image => guest.image,
                Key::Directory => guest.directory,
                Key::Hostname => guest.hostname,
                _ => guest.tty,
            });
            if word.is_empty() { Ok(()) } else { quote(word, out) }
        }
        Key::Cpuset => out.write_str(text(guest.limits.cpuset)),
        Key::Ephemeral => out.write_str(yes(guest.layer == Layer::Memory)),
        Key::Readonly => out.write_str(yes(guest.layer == Layer::ReadOnly)),
        Key::Nesting => out.write_str(yes(confinement.nesting)),
        Key::Autostart => out.write_str(yes(guest.autostart)),
        Key::Command => quoted(plan, guest.command, out),
        Key::Env => quoted(plan, guest.env, out),
        Key::User => write!(out, "{}:{}", guest.user.uid, guest.user.gid),
        Key::Groups => each(plan.groups.get(guest.groups), " ", out, |group, out| write!(out, "{group}")),
        Key::Features => set(FEATURES, guest.features.into(), "", out),
        Key::Device => each(plan.devices.get(guest.devices), ", ", out, |device, out| {
            quote(text(device.path), out)?;
            let letters = [(Device::READ, 'r'), (Device::WRITE, 'w'), (Device::MAKE, 'm')];
            out.write_char(' ')?;
            letters
                .iter()
                .filter(|(bit, _)| device.access & bit != 0)
                .try_for_each(|(_, letter)| out.write_char(*letter))
        }),
        Key::Bind => each(plan.binds.get(guest.binds), ", ", out, |bind, out| {
            quote(text(bind.source), out)?;
            out.write_char(' ')?;
            quote(text(bind.target), out)?;
            words(OPTIONS)
                .enumerate()
                .filter(|(bit, _)| bind.flags >> bit & 1 == 1)
                .enumerate()
                .try_for_each(|(index, (_, name))| write!(out, "{}{name}", if index == 0 { ' ' } else { ',' }))
        }),
        Key::Tmpfs => each(plan.tmpfs.get(guest.tmpfs), ", ", out, |tmpfs, out| {
            quote(text(tmpfs.target), out)?;
            write!(out, " {}", Amount(tmpfs.bytes, Unit::Bytes))
        }),
        Key::IoMax => each(plan.io_max.get(guest.limits.io_max), ", ", out, |disk, out| {
            quote(text(disk.device), out)?;
            write!(out, " {}", IoLimits(&disk.limits))
        }),
        Key::Rlimit => each(plan.rlimits.get(guest.rlimits), ", ", out, |limit, out| {
            write!(out, "{} {}", rlimit_name(limit.resource).unwrap_or_default(), SoftHard(limit.soft, limit.hard))
        }),
        Key::Sysctl => sysctls(plan, guest.sysctls, out),
        Key::Userns if guest.users.is_none() => out.write_str("none"),
        Key::Userns => {
            let mut blank = "";
            plan.ranges(guest).try_for_each(|users| {
                let before = core::mem::replace(&mut blank, " ");
                write!(out, "{before}{}:{}", users.base, users.count)
            })
        }
        Key::Network => out.write_str(match guest.network {
            Network::None => "none",
            Network::Host => "host",
        }),
        Key::Caps => {
            let base = capability::of(guest.kind, guest.users.is_some());
            let given = capability::names(confinement.given).map(|name| ('+', name));
            let taken = capability::names(base & !confinement.capabilities).map(|name| ('-', name));
            signed(given.chain(taken), out)
        }
        Key::Seccomp if !confinement.filter => out.write_str("none"),
        Key::Seccomp => {
            let opened = call::names().enumerate().filter(|(bit, _)| confinement.opened >> bit & 1 == 1);
            signed(opened.map(|(_, name)| ('+', name)), out)
        }
        Key::After => {
            let wants = plan.dependencies.get(guest.wants);
            names(plan, plan.dependencies.get(guest.after).iter().filter(|id| !wants.contains(id)), out)
        }
        Key::Wants => names(plan, plan.dependencies.get(guest.wants).iter(), out),
        Key::Restart => out.write_str(match guest.restart {
            Restart::Never => "never",
            Restart::OnFailure => "on-failure",
            Restart::Always => "always",
        }),
        Key::RestartDelay => {
            let (from, to) = guest.restart_delay_ms;
            write!(out, "{} {}", Amount(from, Unit::Time), Amount(to, Unit::Time))
        }
        Key::GiveUp if guest.give_up.count == 0 => out.write_str("never"),
        Key::GiveUp => {
            let GiveUp { count, within_ms, then } = guest.give_up;
            let within = Amount(within_ms.into(), Unit::Time);
            write!(out, "after {} within {within} then {}", u32::from(count), then.word())
        }
        Key::Critical if guest.critical_within_ms == 0 => out.write_str("no"),
        Key::Critical => match guest.critical_within_ms {
            limits::CRITICAL_MS => out.write_str("yes"),
            within => write!(out, "yes within {}", Amount(within.into(), Unit::Time)),
        },
        Key::Ready => {
            match guest.ready {
                Ready::Exec => out.write_str("exec")?,
                Ready::Exit => out.write_str("exit")?,
                Ready::Fd(number) => write!(out, "fd {}", u32::from(number))?,
                Ready::Notify => out.write_str("notify")?,
                Ready::Port(number) => write!(out, "port {}", u32::from(number))?,
                Ready::File => out.write_str("file ")?,
                Ready::Command => out.write_str("command ")?,
            }
            quoted(plan, guest.ready_words, out)?;
            match guest.ready_within_ms {
                limits::READY_TIMEOUT_MS => Ok(()),
                within => write!(out, " within {}", Amount(within.into(), Unit::Time)),
            }
        }
        Key::HookCreate | Key::HookStart | Key::HookStop | Key::HookDestroy => {
            let hooks = Moment::of(key).map_or(&[][..], |moment| plan.hooks(guest, moment));
            each(hooks, ", ", out, |hook, out| quoted(plan, hook.command, out))
        }
        Key::Health => {
            let Some(check) = plan.health(guest) else { return Ok(()) };
            let every = Amount(check.every_ms.into(), Unit::Time);
            if check.command.is_empty() {
                return write!(out, "notify every {every}");
            }
            quoted(plan, check.command, out)?;
            let timeout = Amount(check.timeout_ms.into(), Unit::Time);
            write!(out, " every {every} timeout {timeout} failures {}", u32::from(check.failures))
        }
        Key::Stop => each(plan.stop(guest), " ", out, |step, out| {
            write!(out, "{}", Signal(step.signal))?;
            if step.timeout_ms == 0 { Ok(()) } else { write!(out, " {}", Amount(step.timeout_ms, Unit::Time)) }
        }),
        Key::Log => match guest.log_to {
            LogTo::Kernel => out.write_str("kmsg"),
            LogTo::Files { path, kib, count } => {
                let size = Amount(u64::from(kib) << 10, Unit::Bytes);
                quote(plan.strings.str(path), out)?;
                write!(out, " {size} {}", u32::from(count))
            }
            LogTo::Nowhere if guest.log_bytes == 0 => out.write_str("off"),
            LogTo::Nowhere => write!(out, "{}", Amount(guest.log_bytes, Unit::Bytes)),
        },
        Key::Console => out.write_str(if guest.has_console { "pty" } else { "none" }),
        // Numbers; what others say is in what they lead to, or not carried out.
        _ => match guest.limits.number(key) {
            Some(value) => write!(out, "{}", Number(key, value)),
            None => Ok(()),
        },
    }
}

fn show_host(plan: &Plan, key: Key, out: &mut dyn Write) -> fmt::Result {
    let host = &plan.host;
    match key {
        Key::Hostname => out.write_str(plan.strings.str(host.hostname)),
        Key::Modules => quoted(plan, host.modules, out),
        Key::Sysctl => sysctls(plan, host.sysctls, out),
        Key::Mount => mounts(plan, host.mounts, out),
        Key::Swap => mounts(plan, host.swaps, out),
        Key::Reserve => host.reserve_bytes.map_or(Ok(()), |bytes| write!(out, "{}", Amount(bytes, Unit::Bytes))),
        Key::Hardening if host.hardening == hardening::ALL => out.write_str("on"),
        Key::Hardening if host.hardening == 0 => out.write_str("off"),
        Key::Hardening => {
            let taken: Items = host.hardening;
            signed(
                words(hardening::NAMES)
                    .enumerate()
                    .filter(|(bit, _)| taken >> bit & 1 == 0)
                    .map(|(_, name)| ('-', name)),
                out,
            )
        }
        Key::ShutdownTimeout => write!(out, "{}", Amount(host.shutdown_timeout_ms, Unit::Time)),
        Key::Emergency => quoted(plan, host.emergency, out),
        Key::MarkBad => quoted(plan, host.mark_bad, out),
        Key::Reset => quoted(plan, host.resets, out),
        Key::State => out.write_str(plan.state()),
        Key::HostConsole if host.console.is_empty() => Ok(()),
        Key::HostConsole => {
            quote(plan.strings.str(host.console), out)?;
            if host.console_speed > 0 { write!(out, " {}", host.console_speed) } else { Ok(()) }
        }
        Key::Watchdog if host.watchdog.is_empty() => Ok(()),
        Key::Watchdog => {
            quote(plan.strings.str(host.watchdog), out)?;
            write!(out, " {}", Amount(u64::from(host.watchdog_s) * 1000, Unit::Time))
        }
        Key::Healthy if host.healthy.is_empty() => Ok(()),
        Key::Healthy => {
            quoted(plan, host.healthy, out)?;
            let within = Amount(host.healthy_within_ms, Unit::Time);
            write!(out, " within {within} else {}", host.healthy_else.word())
        }
        Key::Address | Key::LinkGateway | Key::Mtu | Key::LinkMac | Key::Vlan | Key::MemberOf => links(plan, key, out),
        // `log-size` is in `log` of each guest, `include` in what was included.
        _ => Ok(()),
    }
}

/// "eth0 192.0.2.1/24 eth1 2001:db8::1/64"
fn links(plan: &Plan, key: Key, out: &mut dyn Write) -> fmt::Result {
    let mut blank = "";
    for setting in plan.links.iter().filter(|setting| setting.what.key() == Some(key)) {
        write!(out, "{blank}{} {}", plan.strings.str(setting.link), setting.what)?;
        blank = " ";
    }
    Ok(())
}

/// A number of one of [`super::change::NUMBERS`].
#[derive(Clone, Copy, Debug)]
pub struct Number(pub Key, pub i64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Number(key, value) = *self;
        match number(key) {
            Some((Unit::Milli, _)) => write!(f, "{}", Milli(value as u64)),
            Some((Unit::Bytes, _)) => write!(f, "{}", Amount(value as u64, Unit::Bytes)),
            _ if key == Key::OomGroup => f.write_str(if value == 1 { "yes" } else { "no" }),
            _ => write!(f, "{value}"),
        }
    }
}

/// Limits of a disk: "rbps=1M wiops=100".
#[derive(Clone, Copy, Debug)]
pub struct IoLimits<'a>(pub &'a [Option<u64>; 4]);

impl fmt::Display for IoLimits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blank = "";
        for (index, limit) in self.0.iter().enumerate() {
            let name = word(IoMax::NAMES, index);
            match *limit {
                None => continue,
                Some(u64::MAX) => write!(f, "{blank}{name}=max")?,
                Some(limit) => {
                    let unit = if index < 2 { Unit::Bytes } else { Unit::Count };
                    write!(f, "{blank}{name}={}", Amount(limit, unit))?;
                }
            }
            blank = " ";
        }
        Ok(())
    }
}

/// A per-process limit: "1024:unlimited".
#[derive(Clone, Copy, Debug)]
pub struct SoftHard(pub u64, pub u64);

impl fmt::Display for SoftHard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, limit) in [self.0, self.1].into_iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ":" })?;
            if limit == u64::MAX { f.write_str("unlimited")? } else { write!(f, "{limit}")? }
        }
        Ok(())
    }
}

fn each<T>(
    items: &[T],
    between: &str,
    out: &mut dyn Write,
    one: impl Fn(&T, &mut dyn Write) -> fmt::Result,
) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(index, item)| {
        out.write_str(if index == 0 { "" } else { between })?;
        one(item, out)
    })
}

fn sysctls(plan: &Plan, list: List<Sysctl>, out: &mut dyn Write) -> fmt::Result {
    each(plan.sysctls.get(list), ", ", out, |sysctl, out| {
        write!(out, "{} ", plan.strings.str(sysctl.path))?;
        quote(plan.strings.str(sysctl.value), out)
    })
}

fn mounts(plan: &Plan, list: List<Mount>, out: &mut dyn Write) -> fmt::Result {
    each(plan.mounts.get(list), ", ", out, |mount, out| {
        let mut between = "";
        for text in [mount.source, mount.target, mount.kind].into_iter().filter(|text| !text.is_empty()) {
            out.write_str(core::mem::replace(&mut between, " "))?;
            quote(plan.strings.str(text), out)?;
        }
        set(Mount::OPTIONS, mount.options.into(), between, out)?;
        if !mount.data.is_empty() {
            out.write_str(between)?;
            quote(plan.strings.str(mount.data), out)?;
        }
        match u64::from(mount.wait_ms) {
            limits::DEVICE_WAIT_MS => Ok(()),
            wait_ms => write!(out, "{between}wait={}", Amount(wait_ms, Unit::Time)),
        }
    })
}

fn quoted(plan: &Plan, list: List<Text>, out: &mut dyn Write) -> fmt::Result {
    each(plan.words.get(list), " ", out, |text, out| quote(plan.strings.str(*text), out))
}

/// In the order of the names: that of a config does not matter.
fn names<'i>(plan: &Plan, ids: impl Iterator<Item = &'i GuestId> + Clone, out: &mut dyn Write) -> fmt::Result {
    let mut last = "";
    let all = ids.filter_map(|id| plan.guest(*id)).map(|guest| plan.strings.str(guest.name));
    while let Some(name) = all.clone().filter(|name| *name > last).min() {
        write!(out, "{}{name}", if last.is_empty() { "" } else { " " })?;
        last = name;
    }
    Ok(())
}

fn signed<'n>(words: impl Iterator<Item = (char, &'n str)>, out: &mut dyn Write) -> fmt::Result {
    let mut blank = "";
    for (sign, name) in words {
        write!(out, "{blank}{sign}{name}")?;
        blank = " ";
    }
    Ok(())
}

fn set(table: &'static str, bits: u64, before: &str, out: &mut dyn Write) -> fmt::Result {
    let mut blank = before;
    for (_, name) in words(table).enumerate().filter(|(bit, _)| bits >> bit & 1 == 1) {
        write!(out, "{blank}{name}")?;
        blank = " ";
    }
    Ok(())
}

/// A word as a config has it: in quotes where it is not a plain one.
fn quote(text: &str, out: &mut dyn Write) -> fmt::Result {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'#');
    // Between values stands a comma.
    if !text.is_empty() && text.bytes().all(is_plain) && !text.ends_with(',') {
        return out.write_str(text);
    }
    out.write_char('"')?;
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            out.write_char('\\')?;
        }
        out.write_char(char)?;
    }
    out.write_char('"')
}
