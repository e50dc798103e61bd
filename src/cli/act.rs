//! `inn start`, `stop`, `restart`, `kill`, `poweroff`, `reboot`, `halt`: requests that change something.

use core::ffi::CStr;

use super::ask::{ask, guest};
use super::json::Json;
use super::output::Output;
use super::parse::Options;
use super::verb::Act;
use crate::control::wire::{Name, Power, Request};

/// Does `act` to each of `guests`, one after the other. Returns the first exit code that is not 0.
#[inline(never)]
pub fn guests(act: Act, guests: &[&'static CStr], options: &Options, out: &mut Output) -> u8 {
    let mut code = 0;
    for word in guests {
        let one = match guest(word) {
            Ok(name) => one(act, name, options, out),
            Err(code) => code,
        };
        code = if code == 0 { one } else { code };
    }
    out.finish(code)
}

fn one(act: Act, guest: Name, options: &Options, out: &mut Output) -> u8 {
    let wait = options.wait;
    let request = match act {
        Act::Start => Request::Start { guest, wait },
        Act::Stop => Request::Stop { guest },
        Act::Restart => Request::Restart { guest, wait },
        _ => Request::Kill { guest },
    };
    let result = ask(options.socket, &request, options.timeout_ms, &mut |_, _| {});
    let code = result.err().unwrap_or(0);
    if options.json {
        let mut json = Json::new(out);
        json.begin_object();
        json.key("guest");
        json.string(guest.as_str());
        json.key("done");
        json.boolean(code == 0);
        json.key("exit");
        json.number(code.into());
        json.end_object();
        json.end_text();
    }
    code
}

/// Takes the host down.
#[inline(never)]
pub fn power(act: Act, options: &Options, out: &mut Output) -> u8 {
    let how = match act {
        Act::PowerOff => Power::PowerOff,
        Act::Reboot => Power::Reboot,
        _ => Power::Halt,
    };
    let result = ask(options.socket, &Request::Power { how }, options.timeout_ms, &mut |_, _| {});
    out.finish(result.err().unwrap_or(0))
}
