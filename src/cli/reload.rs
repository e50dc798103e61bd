//! `inn reload`: the config read again, and what is otherwise in it carried out.

use core::fmt::{self, Write};

use super::ask::{FAILED, ask, explain};
use super::json::Json;
use super::output::{Errors, Output, Plain};
use super::parse::Options;
use super::screen::Screen;
use crate::config::key::Key;
use crate::control::wire::{DifferenceInfo, Place, Reply, Request};
use crate::limits;
use crate::plan::change::Keys;
use crate::plan::difference::What;
use crate::sys::memory::Static;
use crate::sys::stdio;

/// Characters left to a value, at least, however narrow the screen is.
const VALUE_LEAST: usize = 12;

/// Reads the config again; returns the exit code.
#[inline(never)]
pub fn reload(options: &Options, out: &mut Output) -> u8 {
    let Some(report) = REPORT.take() else { return FAILED };
    // What goes elsewhere than to a screen is whole.
    let width = if rustix::termios::isatty(stdio::output()) { Screen::new().width } else { usize::MAX };
    let mut told = Told { options, out, width, report, is_something: false, of: Of::new() };
    let request = Request::Reload { dry: options.dry_run };
    // Reading, each change, and the end of what is removed take their own times.
    let result = ask(options.socket, &request, options.timeout_ms, &mut |reply, _| told.take(reply));
    told.end(result.is_ok());
    out.finish(result.err().unwrap_or(0))
}

/// What is wrong with a config, for machines: its end is left out where it is longer.
type Report = heapless::String<REPORT_BYTES>;
static REPORT: Static<Report> = Static::new(Report::new());
/// More than [`limits::DIAGNOSTICS`] of some lines each.
const REPORT_BYTES: usize = 128 << 10;

/// The guest whose differences are being told, and what of it needs a restart.
struct Of {
    name: heapless::String<{ limits::NAME_BYTES }>,
    restart: Keys,
}

impl Of {
    fn new() -> Of {
        Of { name: heapless::String::new(), restart: Keys::default() }
    }
}

/// What is told, as it comes.
struct Told<'a> {
    options: &'a Options,
    out: &'a mut Output,
    width: usize,
    report: &'static mut Report,
    is_something: bool,
    of: Of,
}

impl Told<'_> {
    fn take(&mut self, reply: &Reply<'_>) {
        match *reply {
            Reply::Difference(info) if self.options.json => json(self.out, &info, info.what.word(), None),
            Reply::Difference(_) if self.options.quiet => {}
            Reply::Difference(info) => self.line(&info),
            Reply::Report(text) if self.options.json => {
                // As much as there is room for.
                let _ = self.report.push_str(text);
            }
            Reply::Report(text) => {
                let _ = Errors::new().write_str(text);
            }
            Reply::Refused(failure) => {
                self.summary();
                if self.options.json {
                    let mut why = heapless::String::<1024>::new();
                    // A reason that is longer is cut.
                    let _ = why.push_str(failure.why);
                    let _ = failure.fault.map_or(Ok(()), |fault| write!(why, ": could not {fault}"));
                    let info = DifferenceInfo {
                        guest: failure.guest,
                        what: What::Other,
                        key: failure.fault.and_then(|fault| fault.step.key()),
                        from: "",
                        to: "",
                        place: failure.place,
                    };
                    json(self.out, &info, "refused", Some(&why));
                }
                explain(&failure);
            }
            _ => {}
        }
    }

    /// What was told is first seen by the user, then it is done.
    fn line(&mut self, info: &DifferenceInfo<'_>) {
        if info.guest != self.of.name.as_str() {
            self.summary();
            self.of = Of::new();
            // A name fits.
            let _ = self.of.name.push_str(info.guest);
        }
        if let (What::Restart, Some(key)) = (info.what, info.key) {
            self.of.restart.add(key);
        }
        self.is_something = true;
        let _ = writeln!(self.out, "{}", Line { info, width: self.width });
        self.out.flush();
    }

    /// What the last guest needs a restart for.
    fn summary(&mut self) {
        let Of { name, restart } = core::mem::replace(&mut self.of, Of::new());
        if !restart.is_empty() {
            let _ = writeln!(self.out, "  {name} runs on as it is until it is restarted: {restart}");
            self.out.flush();
        }
    }

    fn end(&mut self, is_done: bool) {
        self.summary();
        if self.options.json && !self.report.is_empty() {
            let info = DifferenceInfo { guest: "", what: What::Other, key: None, from: "", to: "", place: None };
            json(self.out, &info, "wrong", Some(self.report));
        }
        if is_done && !self.is_something && !self.options.quiet && !self.options.json {
            let _ = self.out.write_str("nothing changed\n");
        }
    }
}

/// One object a line: see schemas/reload.json.
fn json(out: &mut Output, info: &DifferenceInfo<'_>, what: &str, why: Option<&str>) {
    let mut json = Json::new(out);
    let is_value = info.key.is_some() && why.is_none();
    json.begin_object();
    for (name, text) in [
        ("guest", Some(info.guest).filter(|guest| !guest.is_empty())),
        ("what", Some(what)),
        ("key", info.key.map(Key::name)),
        ("from", Some(info.from).filter(|_| is_value)),
        ("to", Some(info.to).filter(|_| is_value)),
        ("file", info.place.map(|place| place.file)),
        ("why", why),
    ] {
        json.key(name);
        match text {
            Some(text) => json.string(text),
            None => json.null(),
        }
    }
    json.key("line");
    match info.place {
        Some(place) => json.number(place.line.into()),
        None => json.null(),
    }
    json.end_object();
    json.end_text();
}

/// `~ web: memory: 64M -> 96M (/etc/inn.conf:12)`, cut to the width of the screen.
struct Line<'a> {
    info: &'a DifferenceInfo<'a>,
    width: usize,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { info, width } = *self;
        let name = if info.guest.is_empty() { "[host]" } else { info.guest };
        let (sign, words) = match info.what {
            What::Starts => ('+', ": starts"),
            What::Added => ('+', ": does not start by itself"),
            What::Stops => ('-', ": stops"),
            What::Removed => ('-', ": is down"),
            What::Now => ('~', ""),
            What::Restart => ('!', ", needs a restart"),
            What::Start => ('~', ", when it starts"),
            What::Boot => ('!', ", in part at the next boot"),
            What::Other => ('!', ", not by this supervisor"),
        };
        write!(f, "{sign} {name}")?;
        let Some(key) = info.key else { return f.write_str(words) };
        let (mut place, mut counted) = (heapless::String::<256>::new(), Count(0));
        if let Some(Place { file, line }) = info.place {
            // One that does not fit is left out.
            if write!(place, " ({}:{line})", Plain(file)).is_err() {
                place.clear();
            }
        }
        // The sign, two colons, and an arrow, with their blanks.
        write!(counted, "{name}{}{words}{:10}", key.name(), "")?;
        let room = |place: &str| width.saturating_sub(counted.0 + place.chars().count()) / 2;
        if room(&place) < VALUE_LEAST {
            place.clear();
        }
        let each = room(&place).max(VALUE_LEAST);
        // What one of them leaves, the other may have.
        let (from, to) = (Value(info.from, usize::MAX).count(), Value(info.to, usize::MAX).count());
        let (from, to) = (each + each.saturating_sub(to), each + each.saturating_sub(from));
        write!(f, ": {}: {} -> {}{place}{words}", key.name(), Value(info.from, from), Value(info.to, to))
    }
}

/// A value, of so many characters at most.
struct Value<'a>(&'a str, usize);

impl Value<'_> {
    fn count(&self) -> usize {
        let mut count = Count(0);
        let _ = write!(count, "{self}");
        count.0
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Value(text, most) = *self;
        let text = if text.is_empty() { "(none)" } else { text };
        match text.char_indices().nth(most) {
            None => Plain(text).fmt(f),
            Some(_) => {
                let end = text.char_indices().nth(most.saturating_sub(1)).map_or(0, |(at, _)| at);
                write!(f, "{}…", Plain(text.get(..end).unwrap_or_default()))
            }
        }
    }
}

/// How many characters are written.
struct Count(usize);

impl Write for Count {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.chars().count();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use super::*;

    fn line(key: Key, from: &str, to: &str, what: What, width: usize) -> String {
        let place = Some(Place { file: "/etc/inn.conf", line: 12 });
        let info = DifferenceInfo { guest: "web", what, key: Some(key), from, to, place };
        Line { info: &info, width }.to_string()
    }

    #[test]
    fn a_line_fits_the_screen_and_what_is_cut_is_marked() {
        let whole = "~ web: memory: 64M -> 96M (/etc/inn.conf:12)";
        assert_eq!(line(Key::Memory, "64M", "96M", What::Now, 80), whole);
        assert_eq!(line(Key::Memory, "64M", "96M", What::Now, usize::MAX), whole);
        let (long, other) = ("/bin/httpd -f -p 8080 ".repeat(9), "/bin/é\x1b[2J -x ".repeat(9));
        for (from, to) in [(&*long, &*other), ("", &*other), (&*long, "/bin/a"), ("/bin/a", &*long)] {
            for what in [What::Now, What::Restart, What::Start, What::Boot, What::Other] {
                let text = line(Key::Command, from, to, what, 80);
                assert!(text.chars().count() <= 80 && text.contains('…'), "{text}");
                assert!(!text.contains('\x1b'), "{text}");
            }
        }
        let text = line(Key::Command, &long, &other, What::Now, 80);
        assert!(text.chars().count() <= 80 && text.ends_with(" (/etc/inn.conf:12)"), "{text}");
        // What is said of it is never left out, whatever the screen.
        assert!(line(Key::Command, &long, &other, What::Restart, 20).ends_with("…, needs a restart"));
    }

    #[test]
    fn nothing_is_called_so() {
        assert_eq!(line(Key::Cpus, "", "0.5", What::Now, 80), "~ web: cpus: (none) -> 0.5 (/etc/inn.conf:12)");
    }
}
