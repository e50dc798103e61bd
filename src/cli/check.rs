//! `inn check`: what is wrong with a config, and what this kernel lacks for it.

use core::ffi::CStr;
use core::fmt::Write;

use super::excess::{ExcessWords, in_excess, parts};
use super::json::Json;
use super::output::{Errors, Output, Plain};
use super::parse::Options;
use crate::config::Report;
use crate::config::key::Key;
use crate::host::features::{self, Missing};
use crate::load::{CONFIG, Loader};
use crate::plan::{GuestId, Kind, Plan, capability};

/// Exit code of a config with errors.
pub const BAD_CONFIG: u8 = 2;

/// Checks the config at `file`, or the usual one.
#[inline(never)]
pub fn check(file: Option<&'static CStr>, options: &Options, out: &mut Output) -> u8 {
    let path = file.or(options.config).unwrap_or(CONFIG);
    let Some(loader) = Loader::take() else { return BAD_CONFIG };
    loader.read(path);
    let good = loader.build();
    if !good {
        let _ = write!(Errors::new(), "{}", Report(&loader.config, &loader.diagnostics));
    }
    let plan = &loader.plan;
    let services = plan.guests.iter().filter(|guest| guest.kind == Kind::Service).count();
    let guests = plan.guests.len() - services;
    let mut code = if good { 0 } else { BAD_CONFIG };
    if good {
        // With nothing left for guests none of them starts.
        in_excess(plan, &mut |excess| code = if excess.key == Key::Reserve { BAD_CONFIG } else { code });
    }
    if options.json {
        json(path, good, (guests, services), loader, out);
    } else if good && !options.quiet {
        let path = Plain(path.to_str().unwrap_or("config"));
        let _ = writeln!(out, "{path}: {}, {}: good", Counted(guests, "guest"), Counted(services, "service"));
        in_excess(plan, &mut |excess| {
            let _ = writeln!(out, "{}", ExcessWords(plan, excess));
        });
        for (name, disk) in parts(plan) {
            let _ = writeln!(out, "{}: io-max of {} holds for its whole disk", Plain(name), Plain(disk));
        }
        lacking(plan, &mut |name, missing| {
            let feature = missing.feature;
            let key = missing.key.map_or("", Key::name);
            let asks = if key.is_empty() { "" } else { " for key " };
            let _ = write!(out, "{name}: this kernel has no {} ({}){asks}{key}", feature.name(), feature.purpose());
            let _ = match missing.instead {
                Some(words) => writeln!(out, ": {words}"),
                None => writeln!(out, ": it will not start"),
            };
        });
        unmapped(plan, &mut |name, dropped| {
            let _ = write!(out, "{name}: userns = none: its users are the host's; dropped for that:");
            let mut count = 0;
            for capability in capability::names(dropped) {
                count += 1;
                let _ = write!(out, " {capability}");
            }
            let _ = writeln!(out, "{}", if count == 0 { " nothing, an app has no capabilities" } else { NOT_IN_IT });
        });
    }
    out.finish(code)
}

fn json(path: &CStr, good: bool, (guests, services): (usize, usize), loader: &Loader, out: &mut Output) {
    let mut json = Json::new(out);
    json.begin_object();
    json.key("file");
    json.display(super::lossy::Lossy(path.to_bytes()));
    json.key("good");
    json.boolean(good);
    json.key("errors");
    json.number(loader.diagnostics.count().into());
    if good {
        json.key("guests");
        json.number(guests as u64);
        json.key("services");
        json.number(services as u64);
        json.key("lacking");
        json.begin_array();
        lacking(&loader.plan, &mut |name, missing| {
            json.begin_object();
            for (member, value) in
                [("guest", name), ("feature", missing.feature.name()), ("key", missing.key.map_or("", Key::name))]
            {
                json.key(member);
                json.string(value);
            }
            json.key("starts");
            json.boolean(missing.instead.is_some());
            json.end_object();
        });
        json.end_array();
        json.key("unmapped");
        json.begin_array();
        unmapped(&loader.plan, &mut |name, dropped| {
            json.begin_object();
            json.key("guest");
            json.string(name);
            json.key("dropped");
            json.begin_array();
            capability::names(dropped).for_each(|name| json.string(name));
            json.end_array();
            json.end_object();
        });
        json.end_array();
        json.key("excess");
        json.begin_array();
        in_excess(&loader.plan, &mut |excess| {
            json.begin_object();
            json.key("guest");
            match excess.guest {
                Some(name) => json.string(loader.plan.strings.str(name)),
                None => json.null(),
            }
            json.key("key");
            json.string(excess.key.name());
            for (member, number) in [("given", excess.given), ("there", excess.there)] {
                json.key(member);
                json.number(number);
            }
            json.end_object();
        });
        json.end_array();
    } else {
        json.key("report");
        json.display(Report(&loader.config, &loader.diagnostics));
    }
    json.end_object();
    json.end_text();
}

/// What this kernel lacks, for each guest that needs it.
fn lacking(plan: &Plan, each: &mut dyn FnMut(&str, Missing)) {
    let features = features::probe();
    for (index, guest) in plan.guests.iter().enumerate() {
        for missing in features.missing_for(plan, GuestId(index as u16)) {
            each(plan.strings.str(guest.name), missing);
        }
    }
}

/// What a distribution cannot do without those.
const NOT_IN_IT: &str =
    " (it cannot mount, make device files, trace others, lock memory or raise priorities and limits)";

/// The guests without users of their own, and what each has lost for that.
fn unmapped(plan: &Plan, each: &mut dyn FnMut(&str, u64)) {
    for guest in plan.guests.iter().filter(|guest| guest.kind != Kind::Service && guest.users.is_none()) {
        let dropped = capability::of(guest.kind, true) & !capability::of(guest.kind, false);
        each(plan.strings.str(guest.name), dropped & !guest.confinement.capabilities);
    }
}

/// "1 guest", "2 guests".
struct Counted(usize, &'static str);

impl core::fmt::Display for Counted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}
