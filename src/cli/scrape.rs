//! `inn metrics ADDRESS`: metrics for scrapers, over as little of HTTP (RFC 9112) as they need.
//!
//! Each connection has a child of its own, so one that is slow or sends nonsense holds up nobody. There are few at once, each has
//! little time, and where one comes too many the oldest makes room: a scrape takes milliseconds, so that is never one.

use core::ffi::CStr;
use core::fmt::Write;
use core::net::SocketAddr;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, sockopt};

use super::ask::FAILED;
use super::metrics::{Format, Maker};
use super::output::{Output, complain};
use super::parse::{Options, Shown};
use crate::fault::ErrnoWords;
use crate::limits;
use crate::sys::clock::now_ms;
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::wait::{self, Which};
use crate::sys::{Errno, process, signal};
use crate::text;

/// Exit code of an address that is none.
const USAGE: u8 = 2;
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 16;
/// Bytes of a request's head: scrapers send some hundred.
const HEAD_BYTES: usize = 4096;
/// Bytes that are read of what a client sends behind it.
const DRAIN_READS: usize = 16;

/// A connection that is being answered.
struct Scraper {
    child: OwnedFd,
    deadline_ms: u64,
}

type Scrapers = heapless::Vec<Scraper, { limits::SCRAPERS }>;

/// Serves metrics at `word` until it is killed.
pub fn serve(word: &'static CStr, maker: &mut Maker, options: &Options, out: &mut Output) -> u8 {
    let Some(address) = address(word.to_bytes()) else {
        complain(format_args!("{}: not an address and a port, as 127.0.0.1:9100, [::1]:9100 or :9100", Shown(word)));
        return USAGE;
    };
    let listener = match listen(address) {
        Ok(listener) => listener,
        Err((call, errno)) => {
            let errno = ErrnoWords(errno.raw_os_error() as u16);
            complain(format_args!("metrics cannot be served at {}: {call}: {errno}", Shown(word)));
            return FAILED;
        }
    };
    // Where any port would do, the kernel has chosen one.
    let own = rustix::net::getsockname(&listener).map(SocketAddr::try_from);
    let port = if let Ok(Ok(own)) = own { own.port() } else { address.port() };
    let host = word.to_str().ok().and_then(|word| Some(word.rsplit_once(':')?.0)).unwrap_or_default();
    complain(format_args!("metrics are served at http://{host}:{port}/metrics"));
    let mut scrapers = Scrapers::new();
    loop {
        wait(&listener, &scrapers);
        end_late(&mut scrapers, now_ms());
        match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC) {
            Ok(connection) => answer(connection, &mut scrapers, maker, options, out),
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            // A shortage, or a network that is gone for a moment.
            Err(_) => pause(),
        }
    }
}

/// "127.0.0.1:9100", "[::1]:9100"; ":9100" is every address of the host.
fn address(word: &[u8]) -> Option<SocketAddr> {
    let (host, port) = word.split_at_checked(word.iter().rposition(|byte| *byte == b':')?)?;
    let port: u16 = text::number(port.get(1..)?)?;
    match host {
        b"" => Some(SocketAddr::from(([0u16; 8], port))),
        [b'[', host @ .., b']'] => Some(SocketAddr::from((groups(host)?, port))),
        host => {
            let mut bytes = host.split(|byte| *byte == b'.');
            let mut address = [0u8; 4];
            for byte in &mut address {
                *byte = text::number(bytes.next()?)?;
            }
            bytes.next().is_none().then(|| SocketAddr::from((address, port)))
        }
    }
}

/// The groups of an address of IP version 6 (RFC 4291, 2.2), without the form that ends with one of version 4.
fn groups(host: &[u8]) -> Option<[u16; 8]> {
    let mut all = [0; 8];
    let gap = host.windows(2).position(|two| two == b"::");
    let (before, behind) = match gap {
        Some(gap) => (host.get(..gap)?, host.get(gap + 2..)?),
        None => (host, &b""[..]),
    };
    let count = |part: &[u8]| if part.is_empty() { 0 } else { part.split(|byte| *byte == b':').count() };
    let (first, last) = (count(before), count(behind));
    let fits = if gap.is_some() { first + last < all.len() } else { first == all.len() };
    let parts = before.split(|byte| *byte == b':').take(first).chain(behind.split(|byte| *byte == b':').take(last));
    let places = (0..first).chain(all.len().checked_sub(last)?..all.len());
    for (part, place) in parts.zip(places).filter(|_| fits) {
        let mut number = 0;
        for byte in part {
            number = (number << 4 | char::from(*byte).to_digit(16)?).min(1 << 16);
        }
        *all.get_mut(place)? = u16::try_from(number).ok().filter(|_| !part.is_empty())?;
    }
    fits.then_some(all)
}

fn listen(address: SocketAddr) -> Result<OwnedFd, (&'static str, Errno)> {
    let is_every = address.is_ipv6() && address.ip().is_unspecified();
    match listen_at(address) {
        // A kernel without the newer protocol, or where that is switched off.
        Err((_, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)) if is_every => {
            listen_at(SocketAddr::from(([0u8; 4], address.port())))
        }
        result => result,
    }
}

fn listen_at(address: SocketAddr) -> Result<OwnedFd, (&'static str, Errno)> {
    let at = |call| move |errno| (call, errno);
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(at("socket"))?;
    // Connections of a run before this one may still be closing.
    sockopt::set_socket_reuseaddr(&listener, true).map_err(at("setsockopt"))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        sockopt::set_ipv6_v6only(&listener, false).map_err(at("setsockopt"))?;
    }
    rustix::net::bind(&listener, &address).map_err(at("bind"))?;
    rustix::net::listen(&listener, BACKLOG).map_err(at("listen"))?;
    Ok(listener)
}

/// Waits for a connection, for the end of one, or until one has taken too long.
fn wait(listener: &OwnedFd, scrapers: &Scrapers) {
    let mut watched = heapless::Vec::<PollFd<'_>, { limits::SCRAPERS + 1 }>::new();
    let all = core::iter::once(listener).chain(scrapers.iter().map(|scraper| &scraper.child));
    // There is a place for each.
    all.for_each(|fd| drop(watched.push(PollFd::new(fd, PollFlags::IN))));
    let due_ms = scrapers.iter().map(|scraper| scraper.deadline_ms).min();
    let timeout = due_ms.map(|due_ms| span(due_ms.saturating_sub(now_ms())));
    let _ = rustix::event::poll(&mut watched, timeout.as_ref());
}

fn span(ms: u64) -> Timespec {
    Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 }
}

fn pause() {
    let _ = rustix::thread::nanosleep(&span(100));
}

/// Kills those that have taken too long, and forgets those that have ended.
fn end_late(scrapers: &mut Scrapers, now_ms: u64) {
    scrapers.retain(|scraper| {
        if scraper.deadline_ms <= now_ms {
            kill(scraper);
        }
        matches!(wait::reap(Which::PidFd(scraper.child.as_fd())), Ok(None))
    });
}

fn kill(scraper: &Scraper) {
    let _ = signal::send(scraper.child.as_fd(), libc::SIGKILL as u8);
}

fn answer(connection: OwnedFd, scrapers: &mut Scrapers, maker: &mut Maker, options: &Options, out: &mut Output) {
    if scrapers.is_full() {
        let oldest = scrapers.remove(0);
        kill(&oldest);
        let mut ended = [PollFd::new(&oldest.child, PollFlags::IN)];
        let _ = rustix::event::poll(&mut ended, None);
        let _ = wait::reap(Which::PidFd(oldest.child.as_fd()));
    }
    match clone(Flags::NONE, None) {
        Ok(Side::Child) => process::exit(respond(&connection, maker, options, out)),
        Ok(Side::Parent(_, child)) => {
            let deadline_ms = now_ms().saturating_add(limits::SCRAPE_MS);
            // There is a place: it was made.
            let _ = scrapers.push(Scraper { child, deadline_ms });
        }
        Err(errno) => {
            complain(format_args!("metrics: clone3: {}", ErrnoWords(errno.raw_os_error() as u16)));
            pause();
        }
    }
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The metrics, in this format; only the head of that answer where not `whole`.
    Metrics { format: Format, whole: bool },
    /// This status line, and a word for people.
    Refusal(&'static str),
}

const NOT_HTTP: Answer = Answer::Refusal("400 Bad Request");
const TOO_LONG: Answer = Answer::Refusal("431 Request Header Fields Too Large");
const TOO_SLOW: Answer = Answer::Refusal("408 Request Timeout");

/// In a child: reads the request and answers it. The connection becomes standard output.
fn respond(connection: &OwnedFd, maker: &mut Maker, options: &Options, out: &mut Output) -> u8 {
    // Whoever started this may end before we do.
    let patience = core::time::Duration::from_millis(limits::SCRAPE_MS);
    let _ = sockopt::set_socket_timeout(connection, sockopt::Timeout::Send, Some(patience));
    if rustix::stdio::dup2_stdout(connection).is_err() {
        return FAILED;
    }
    let mut head = [0; HEAD_BYTES];
    let answer = match read_head(connection, &mut head) {
        Ok(head) => understand(head),
        Err(Some(refusal)) => refusal,
        // It has closed, and nobody is left to be told.
        Err(None) => return 0,
    };
    match answer {
        Answer::Metrics { format, whole } => {
            let kind = match format {
                Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
                Format::Both | Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            };
            let _ = write!(out, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n");
            if whole && maker.write(options, format, out).is_err() {
                // Nothing has been sent: all that can fail comes first.
                out.discard();
                refuse("503 Service Unavailable", out);
            }
        }
        Answer::Refusal(status) => refuse(status, out),
    }
    out.flush();
    // What is closed with something unread is reset, and the answer may be lost by that.
    let _ = rustix::net::shutdown(connection, Shutdown::Write);
    for _ in 0..DRAIN_READS {
        if !matches!(read(connection, &mut head, now_ms().saturating_add(limits::SCRAPE_DRAIN_MS)), Ok(1..)) {
            break;
        }
    }
    0
}

fn refuse(status: &str, out: &mut Output) {
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let _ = write!(
        out,
        "HTTP/1.1 {status}\r\n{allow}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{status}\n",
        status.len() + 1
    );
}

/// Reads what the connection has; 0 at its end.
fn read(connection: &OwnedFd, buffer: &mut [u8], deadline_ms: u64) -> Result<usize, Errno> {
    let mut watched = [PollFd::new(connection, PollFlags::IN)];
    match rustix::event::poll(&mut watched, Some(&span(deadline_ms.saturating_sub(now_ms()))))? {
        0 => Err(Errno::TIMEDOUT),
        _ => rustix::io::read(connection, buffer),
    }
}

/// The head of a request, without the empty line at its end; what to answer where there is none, or nothing where there is
/// nobody to be answered.
fn read_head<'b>(connection: &OwnedFd, buffer: &'b mut [u8; HEAD_BYTES]) -> Result<&'b [u8], Option<Answer>> {
    let deadline_ms = now_ms().saturating_add(limits::SCRAPE_HEAD_MS);
    let mut used = 0;
    loop {
        let room = buffer.get_mut(used..).filter(|room| !room.is_empty()).ok_or(Some(TOO_LONG))?;
        match read(connection, room, deadline_ms) {
            Ok(0) => return Err(None),
            Ok(count) => used += count,
            Err(Errno::TIMEDOUT) => return Err(Some(TOO_SLOW)),
            Err(_) => return Err(None),
        }
        let head = buffer.get(..used).unwrap_or_default();
        if let Some(end) = end(head) {
            return Ok(buffer.get(..end).unwrap_or_default());
        }
    }
}

/// Where the empty line begins. Lines may end without a carriage return (RFC 9112, 2.2).
fn end(head: &[u8]) -> Option<usize> {
    (0..head.len()).find(|at| {
        let rest = head.get(*at..).unwrap_or_default();
        rest.starts_with(b"\n\n") || rest.starts_with(b"\n\r\n")
    })
}

/// What a request asks for.
fn understand(head: &[u8]) -> Answer {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
    let (method, path, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(path), Some(version), None) = (method, path, version, words.next()) else {
        return NOT_HTTP;
    };
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => {}
        version if version.starts_with(b"HTTP/") => return Answer::Refusal("505 HTTP Version Not Supported"),
        _ => return NOT_HTTP,
    }
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    let whole = match (method, path) {
        (_, path) if path != b"/metrics" => return Answer::Refusal("404 Not Found: there is /metrics"),
        (b"GET", _) => true,
        (b"HEAD", _) => false,
        _ => return Answer::Refusal("405 Method Not Allowed"),
    };
    let accepts = |line: &[u8]| {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
        const WANTED: &[u8] = b"application/openmetrics-text";
        name.eq_ignore_ascii_case(b"accept")
            && value.windows(WANTED.len()).any(|part| part.eq_ignore_ascii_case(WANTED))
    };
    let format = if lines.any(accepts) { Format::OpenMetrics } else { Format::Text };
    Answer::Metrics { format, whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_understood_or_refused() {
        let text = Answer::Metrics { format: Format::Text, whole: true };
        let open = Answer::Metrics { format: Format::OpenMetrics, whole: true };
        let agent = "GET /metrics HTTP/1.1\r\nHost: x\r\naccept: text/html, Application/OpenMetrics-Text;version=1.0.0";
        for (head, answer) in [
            ("GET /metrics HTTP/1.1", text),
            ("GET /metrics?x=1 HTTP/1.0", text),
            ("HEAD /metrics HTTP/1.1", Answer::Metrics { format: Format::Text, whole: false }),
            (agent, open),
            ("GET /metrics HTTP/1.1\nX: application/openmetrics-text", text),
            ("GET / HTTP/1.1", Answer::Refusal("404 Not Found: there is /metrics")),
            ("POST /metrics HTTP/1.1", Answer::Refusal("405 Method Not Allowed")),
            ("GET /metrics HTTP/2.0", Answer::Refusal("505 HTTP Version Not Supported")),
            ("GET /metrics", NOT_HTTP),
            ("GET  /metrics HTTP/1.1", NOT_HTTP),
            ("", NOT_HTTP),
            ("\x16\x03\x01", NOT_HTTP),
        ] {
            assert_eq!(understand(head.as_bytes()), answer, "{head}");
        }
    }

    #[test]
    fn a_head_ends_at_an_empty_line() {
        assert_eq!(end(b"a\r\n\r\nbody"), Some(2));
        assert_eq!(end(b"a\n\nbody"), Some(1));
        for head in [&b"a\r\n"[..], b"", b"a\r\nb\r\n\r"] {
            assert_eq!(end(head), None);
        }
    }

    #[test]
    fn an_address_has_a_port() {
        assert_eq!(address(b"127.0.0.1:9100"), "127.0.0.1:9100".parse().ok());
        assert_eq!(address(b"[::1]:80"), "[::1]:80".parse().ok());
        assert_eq!(address(b":9100"), "[::]:9100".parse().ok());
        assert_eq!(address(b"[fe80::1:2]:1"), "[fe80::1:2]:1".parse().ok());
        assert_eq!(address(b"[1:2:3:4:5:6:7:ffff]:1"), "[1:2:3:4:5:6:7:ffff]:1".parse().ok());
        assert_eq!(address(b"[1::]:1"), "[1::]:1".parse().ok());
        for wrong in
            ["[1:2:3:4:5:6:7:8:9]:1", "[1:2:3]:1", "[::10000]:1", "[::g]:1", "[1:::2]:1", "[1:2:3:4::5:6:7:8]:1"]
        {
            assert_eq!((address(wrong.as_bytes()), wrong.parse().ok()), (None, None::<SocketAddr>), "{wrong}");
        }
        assert_eq!(address(b"256.0.0.1:1"), None);
        assert_eq!(address(b"1.2.3:1"), None);
        for wrong in [&b"9100"[..], b"", b":", b":99999", b"localhost:80", b"127.0.0.1", b"::1:80:x", b"\xff:1"] {
            assert_eq!(address(wrong), None);
        }
    }
}
