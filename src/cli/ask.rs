//! One request to the supervisor, and what went wrong with it, in words.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::facts::PlaceWords;
use super::output::{Errors, Plain, complain};
use crate::config::nearest;
use crate::control::client::{Client, Lost};
use crate::control::server;
use crate::control::wire::{Code, Doing, Failure, Name, Reply, Request};
use crate::limits;
use crate::sys::clock::now_ms;

/// How long a question may take that the supervisor answers at once, milliseconds.
pub const PROMPT_MS: u64 = 10_000;

/// How long a change waits for another's, before it tries again.
const BUSY_PAUSE_NS: i64 = 20_000_000;

/// Exit code of a command that failed.
pub const FAILED: u8 = 1;

/// What is done with a reply, and the descriptor that came with it.
type Each<'e> = dyn FnMut(&Reply<'_>, Option<OwnedFd>) + 'e;

/// Asks the supervisor at `socket`; gives each reply but the final one to `each`.
///
/// # Errors
/// The exit code; the user has been told.
pub fn ask(
    socket: Option<&'static CStr>,
    request: &Request,
    timeout_ms: Option<u64>,
    each: &mut Each<'_>,
) -> Result<(), u8> {
    let deadline_ms = timeout_ms.map(|timeout_ms| now_ms().saturating_add(timeout_ms));
    let mut asks_again = may_be_repeated(request);
    loop {
        let left_ms = deadline_ms.map(|deadline_ms| deadline_ms.saturating_sub(now_ms()));
        let result = converse(socket, request, left_ms, (each, &mut asks_again));
        match result {
            Ok(true) => {}
            // One change at a time: the other's is over soon.
            Err(Code::Busy) if waits_for_others(request) && left_ms != Some(0) => {
                let pause = rustix::time::Timespec { tv_sec: 0, tv_nsec: BUSY_PAUSE_NS };
                let _ = rustix::thread::nanosleep(&pause);
            }
            Err(Code::NoGuest) => {
                suggest(socket, request.guest().as_str().as_bytes());
                return Err(Code::NoGuest.exit());
            }
            result => return result.map(drop).map_err(Code::exit),
        }
    }
}

/// Whether it does no harm where it is done twice: of a supervisor that has become its program anew nobody knows whether it
/// has done what it was asked for.
fn may_be_repeated(request: &Request) -> bool {
    match request {
        Request::List
        | Request::Status { .. }
        | Request::Join { .. }
        | Request::Logs { .. }
        | Request::Console { .. }
        | Request::HostStatus
        | Request::Version
        | Request::Wait { .. }
        | Request::Events
        | Request::Missing => true,
        Request::Begin { what, .. } => *what != Doing::Restart,
        Request::Start { .. }
        | Request::Stop { .. }
        | Request::Restart { .. }
        | Request::Kill { .. }
        | Request::Power { .. }
        | Request::Set { .. }
        | Request::Reload { .. }
        | Request::Upgrade { .. } => false,
    }
}

/// Whether it waits where another changes something.
fn waits_for_others(request: &Request) -> bool {
    matches!(request, Request::Set { .. } | Request::Reload { .. })
}

/// The same on a connection that is closed on return. Whether it is to be asked once more: the supervisor has closed the
/// connection and said nothing, which it does when it dies or is replaced, and `asks_again` was set.
fn converse(
    socket: Option<&'static CStr>,
    request: &Request,
    timeout_ms: Option<u64>,
    (each, asks_again): (&mut Each<'_>, &mut bool),
) -> Result<bool, Code> {
    let path = socket.unwrap_or(server::PATH);
    let deadline_ms = timeout_ms.map(|timeout_ms| now_ms().saturating_add(timeout_ms));
    let client = Client::connect(path).map_err(|lost| unreachable(path, lost))?;
    client.request(request).map_err(|lost| unreachable(path, lost))?;
    let mut buffer = [0; limits::MESSAGE_BYTES];
    loop {
        let left_ms = deadline_ms.map(|deadline_ms| deadline_ms.saturating_sub(now_ms()));
        let reply = client.reply(&mut buffer, left_ms);
        if core::mem::take(asks_again) && matches!(reply, Err(Lost::Closed)) {
            return Ok(true);
        }
        match reply.map_err(|lost| unanswered(request, lost, &client))? {
            (Reply::Done, _) => return Ok(false),
            (Reply::Error(failure), _) => {
                let asked = request.guest();
                let guest = if failure.guest.is_empty() { asked.as_str() } else { failure.guest };
                if failure.code != Code::Busy || !waits_for_others(request) {
                    explain(&Failure { guest, ..failure });
                }
                if failure.code == Code::Version {
                    advise(&client);
                }
                return Err(failure.code);
            }
            (reply, descriptor) => each(&reply, descriptor),
        }
    }
}

/// The guest named by a word of the command line.
///
/// # Errors
/// The exit code; the user has been told.
pub fn guest(word: &CStr) -> Result<Name, u8> {
    // As a config has it; `set` makes a config of it.
    let begins = word.to_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    let name = Name::new(word.to_bytes()).filter(|_| begins);
    name.ok_or_else(|| {
        complain(format_args!("{}: no guest can have that name", super::parse::Shown(word)));
        Code::NoGuest.exit()
    })
}

/// Tells the user why the supervisor did not do it.
pub fn explain(failure: &Failure<'_>) {
    let mut line = Errors::new();
    let _ = line.write_str("inn: ");
    if !failure.guest.is_empty() {
        let _ = write!(line, "{}: ", Plain(failure.guest));
    }
    let _ = write!(line, "{}", Plain(failure.why));
    if let Some(fault) = failure.fault {
        let separator = if failure.why.is_empty() { "" } else { ": " };
        let _ = write!(line, "{separator}could not {fault}");
    }
    let key = failure.fault.and_then(|fault| fault.step.key());
    let _ = writeln!(line, "{}", PlaceWords { key, place: failure.place });
    if let Some(advice) = failure.fault.and_then(|fault| fault.advice()) {
        let _ = writeln!(line, "  {advice}");
    }
}

fn unreachable(path: &CStr, lost: Lost) -> Code {
    complain(format_args!("no supervisor answers at {}: {lost}", Plain(path.to_str().unwrap_or("that path"))));
    match lost {
        Lost::Call(_, Errno::ACCESS | Errno::PERM) => Code::NotPermitted,
        Lost::TimedOut => Code::TimedOut,
        _ => Code::Failed,
    }
}

fn unanswered(request: &Request, lost: Lost, client: &Client) -> Code {
    if lost == Lost::TimedOut && matches!(request, Request::Wait { .. }) {
        // Who waits knows more about whom it waits for.
        return Code::TimedOut;
    }
    let guest = request.guest();
    let separator = if guest.is_all() { "" } else { ": " };
    complain(format_args!("{}{separator}{lost}", guest.as_str()));
    if matches!(lost, Lost::Wrong(_)) {
        advise(client);
    }
    if lost == Lost::Closed {
        let words = "  one that dies or is replaced goes on with all guests: see what is done, then ask again\n";
        let _ = Errors::new().write_str(words);
    }
    if lost == Lost::TimedOut { Code::TimedOut } else { Code::Failed }
}

/// Tells what to do where the supervisor is of another version.
fn advise(client: &Client) {
    let mut line = Errors::new();
    let _ = match client.server() {
        0 => write!(line, "  use the inn that it was started as"),
        server => write!(line, "  use its own inn, which is /proc/{server}/exe"),
    };
    let _ = writeln!(line, ", or start it again with this one; poweroff, reboot, halt and version work with both");
}

/// "did you mean", from the names that the supervisor knows. Of a pattern the letters before its first sign count.
#[inline(never)]
pub fn suggest(socket: Option<&'static CStr>, word: &[u8]) {
    let mut names = heapless::Vec::<Name, { limits::GUESTS }>::new();
    let mut each = |reply: &Reply<'_>, _| {
        if let Reply::Guest(info) = reply
            && let Some(name) = Name::new(info.name.as_bytes())
        {
            // One more than a config may have is not worth a word.
            let _ = names.push(name);
        }
    };
    if ask(socket, &Request::List, Some(PROMPT_MS), &mut each).is_err() {
        return;
    }
    let letters = word.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[')).unwrap_or(word.len());
    let most = if letters < word.len() { letters } else { limits::NAME_BYTES };
    let word = word.get(..letters).unwrap_or_default();
    let candidates = names.iter().map(|name| (name, name.as_str().as_bytes()));
    let candidates = candidates.map(|(name, bytes)| (name, bytes.get(..most).unwrap_or(bytes)));
    if let Some(near) = nearest(word, candidates) {
        let _ = writeln!(Errors::new(), "  did you mean {}?", near.as_str());
    }
}
