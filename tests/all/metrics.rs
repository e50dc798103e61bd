//! `inn metrics`: what Prometheus's own checker says of it, and scrapers that mean no good.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::must;
use crate::private::Supervisor;

/// Guests whose names and descriptions are as bad as can be.
const CONFIG: &str = r#"
[service web]
command = /bin/sleep 1000
description = "a \"quote\", a \\ and a } # EOF"

[service down]
command = /bin/sleep 1000
autostart = no
"#;

fn supervisor(name: &str) -> Option<Supervisor> {
    if !must::root(name) {
        return None;
    }
    let supervisor = Supervisor::start(name, CONFIG);
    supervisor.await_ready("web");
    Some(supervisor)
}

/// Prometheus's checker.
fn promtool() -> &'static Path {
    static PROMTOOL: OnceLock<PathBuf> = OnceLock::new();
    PROMTOOL.get_or_init(|| {
        let mut command = Command::new("python3");
        let output = command.current_dir(must::project()).args(["images/debian.py", "promtool"]).output();
        let output = output.expect("python3 starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("promtool")
    })
}

/// Fails where the checker finds anything wrong.
fn check(text: &str) {
    let mut command = Command::new(promtool());
    let checker =
        command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checker = checker.spawn().expect("promtool starts");
    checker.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = checker.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert!(status.success() && said.is_empty(), "{said}\n{text}");
}

/// The rules of OpenMetrics that the checker of the older format does not know: each family's lines stand together, its name
/// ends with its unit, a counter's samples end with `_total`, and nothing stands behind the end.
fn check_open(text: &str) {
    assert!(text.ends_with("\n# EOF\n") && text.matches("\n# EOF\n").count() == 1, "{text}");
    let mut seen: Vec<String> = Vec::new();
    let mut kind = String::new();
    for line in text.lines().take_while(|line| *line != "# EOF") {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", word @ ("TYPE" | "UNIT" | "HELP"), name, value] => {
                if seen.last().map(String::as_str) != Some(name) {
                    assert!(!seen.iter().any(|other| other == name), "{name} comes twice");
                    seen.push(name.into());
                    kind.clear();
                }
                match word {
                    "TYPE" => kind = value.into(),
                    "UNIT" => assert!(name.ends_with(&format!("_{value}")), "{line}"),
                    _ => {}
                }
            }
            _ => {
                let name = line.split(['{', ' ']).next().unwrap();
                let family = seen.last().expect("a family");
                let expected = if kind == "counter" { format!("{family}_total") } else { family.clone() };
                assert_eq!(name, expected, "{line}");
                assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            }
        }
    }
}

#[test]
fn metrics_are_right_for_both_formats() {
    let Some(this) = supervisor("metrics") else { return };
    let output = this.inn(&["metrics"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    check(&text);
    check_open(&text);
    for line in [
        r#"inn_guest_info{guest="web",kind="service",description="a \"quote\", a \\ and a } # EOF"} 1"#,
        r#"inn_guest_state{guest="web",state="ready"} 1"#,
        r#"inn_guest_up{guest="down"} 0"#,
        r#"inn_guest_restarts_total{guest="web"} 0"#,
        "inn_guests 2",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("# TYPE inn_guest_restarts"), "{text}");
    // What is not known is not 0.
    assert!(!text.contains(r#"inn_guest_uptime_seconds{guest="down"}"#), "{text}");
}

#[test]
fn without_a_supervisor_nothing_is_printed() {
    let output = Command::new(must::inn()).args(["metrics", "--socket", "/no/such"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(1), vec![]));
}

/// A server of metrics.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(supervisor: &Supervisor, address: &str) -> Server {
        let mut command = supervisor.command(&["metrics", address]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
        let address =
            said.strip_prefix("inn: metrics are served at http://").and_then(|rest| rest.strip_suffix("/metrics\n"));
        let address = address.unwrap_or_else(|| panic!("{said}"));
        let address = if address.starts_with(':') { format!("127.0.0.1{address}") } else { address.to_owned() };
        Server { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// What is answered to `request`; the connection is read to its end.
    fn asked(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn serves(&self) {
        let answer = self.asked(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\n# EOF\n"), "{answer}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn scrapers_get_the_format_that_they_ask_for() {
    let Some(this) = supervisor("metrics-formats") else { return };
    let server = Server::start(&this, ":0");
    let (head, body) = {
        let answer =
            server.asked(b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n");
        answer.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned())).unwrap()
    };
    assert!(head.contains("\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(body.contains("# TYPE inn_guest_cpu_seconds counter\n# UNIT inn_guest_cpu_seconds seconds\n"), "{body}");
    check_open(&body);
    let answer = server.asked(b"GET /metrics HTTP/1.0\n\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("# TYPE inn_guest_cpu_seconds_total counter\n"), "{body}");
    check(body);
    // And to a real one, whatever proxy the environment names.
    let address = format!("http://{}/metrics", server.address);
    let output = Command::new("curl").args(["-sf", "--noproxy", "*", &address]).output().unwrap();
    assert!(output.status.success() && output.stdout.ends_with(b"\n# EOF\n"), "{output:?}");
}

#[test]
fn what_is_no_scrape_is_refused() {
    let Some(this) = supervisor("metrics-refused") else { return };
    let server = Server::start(&this, "127.0.0.1:0");
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\nbody", "405"),
        (b"GET /metrics HTTP/3.0\r\n\r\n", "505"),
        (b"\x16\x03\x01\x02\x00\n\n", "400"),
        (&[b'x'; 5000], "431"),
    ] {
        let answer = server.asked(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let head = server.asked(b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    server.serves();
}

#[test]
fn slow_and_many_scrapers_keep_nobody_out() {
    let Some(this) = supervisor("metrics-slow") else { return };
    let server = Server::start(&this, "127.0.0.1:0");
    // More than are answered at once, and none of them ever asks; the last ones ask without an end.
    let mut slow: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    slow.iter_mut().for_each(|stream| drop(stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ")));
    server.serves();
    // Clients that close at once, or half of the connection, or never read.
    for _ in 0..50 {
        drop(server.connect());
        let mut unread = server.connect();
        let _ = unread.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
        let _ = unread.shutdown(Shutdown::Read);
    }
    server.serves();
    drop(slow);
    // No child of it is left behind.
    let children = format!("/proc/{0}/task/{0}/children", server.child.id());
    this.wait_for("its children to end", |_| {
        server.serves();
        fs::read_to_string(&children).unwrap().split_whitespace().count() <= 1
    });
}

#[test]
fn an_address_that_cannot_be_had_is_told() {
    let Some(this) = supervisor("metrics-address") else { return };
    let server = Server::start(&this, "127.0.0.1:0");
    let output = this.inn(&["metrics", &server.address]);
    let expected =
        format!("inn: metrics cannot be served at `{}`: bind: EADDRINUSE (address in use)\n", server.address);
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(1), expected));
    for wrong in ["9100", "localhost:9100", ":", "1.2.3.4:99999"] {
        assert_eq!(this.inn(&["metrics", wrong]).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn a_scrape_without_a_supervisor_is_refused() {
    let Some(this) = supervisor("metrics-alone") else { return };
    let server = Server::start(&this, "127.0.0.1:0");
    server.serves();
    // SIGSTOP would do as well, but takes as long as a scrape may take.
    drop(this);
    let answer = server.asked(b"GET /metrics HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}
