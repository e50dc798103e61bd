//! The host's links, each test in a network namespace of its own.

use std::process::Command;

use innkeep::host::links;
use innkeep::sys::netlink::{self, About};
use rustix::fd::AsFd;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use crate::config_corpus::Read;
use crate::must;

/// Runs `test` where there are a network, `v0` and `v1` that are two ends of one line, and a `/run` of its own.
fn apart(name: &str, test: fn()) {
    if !must::root(name) {
        return;
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: file descriptors stay shared; this thread alone leaves the namespaces.
        #[allow(unsafe_code, reason = "the only way into namespaces of one's own")]
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) }.expect("namespaces");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change(c"/", private).expect("mounts of its own");
        rustix::mount::mount("none", "/run", "tmpfs", MountFlags::empty(), None).expect("a /run of its own");
        ip("link add v0 type veth peer name v1");
        test();
    });
    thread.join().unwrap_or_else(|reason| std::panic::resume_unwind(reason));
}

fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().expect("ip (Debian: iproute2)");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The word behind `word`; empty where that is not there.
fn after<'t>(line: &'t str, word: &str) -> &'t str {
    line.split(' ').skip_while(|other| *other != word).nth(1).unwrap_or_default()
}

/// Gives links what `config` says; what is told.
fn apply(config: &str, tell_missing: bool) -> String {
    let read = Read::text(config);
    let mut report = String::new();
    links::apply(read.plan(), tell_missing, &mut report);
    report
}

const FIRST: &str = "\
[link v0]
address = 192.0.2.1/24 2001:db8::1/64
address = 198.51.100.1/25
gateway = 192.0.2.254 2001:db8::ff
mtu     = 1400
mac     = 52:54:00:12:34:56

[link v1]

[link late0]
address = 203.0.113.1/24
";

#[test]
fn links_have_what_the_config_says_and_no_more_of_it_than_it_says() {
    apart("links_have_what_the_config_says_and_no_more_of_it_than_it_says", || {
        ip("addr add 10.0.0.1/24 dev v1");
        let told = apply(FIRST, true);
        assert_eq!(told, "/etc/inn.conf:10: link late0 is not there; it is configured when it comes\n");
        let v0 = ip("addr show v0");
        for part in [
            "mtu 1400",
            ",UP",
            "52:54:00:12:34:56",
            "inet 192.0.2.1/24 ",
            "inet 198.51.100.1/25 ",
            "inet6 2001:db8::1/64 ",
        ] {
            assert!(v0.contains(part), "{part}: {v0}");
        }
        let own = v0.lines().find(|line| line.contains("2001:db8::1/64")).unwrap();
        assert!(!own.contains("tentative"), "an address that is given is not looked for first: {v0}");
        assert!(ip("link show v1").contains(",UP"), "a section is enough for a link to be up");
        let routes = [ip("route show default"), ip("-6 route show default")].concat();
        assert!(routes.contains("default via 192.0.2.254 dev v0 proto static"), "{routes}");
        assert!(routes.contains("default via 2001:db8::ff dev v0 proto static"), "{routes}");
        // Once more, with what somebody else gave.
        ip("addr add 192.0.2.77/24 dev v0");
        assert_eq!(apply(FIRST, false), "");
        // Otherwise now, and one that comes late.
        ip("link add late0 type bridge");
        let next = "[link v0]\naddress = 192.0.2.2/24 198.51.100.1/25\n[link late0]\naddress = 203.0.113.1/24\n";
        assert_eq!(apply(next, false), "");
        let v0 = ip("addr show v0");
        for (part, is_there) in [
            ("192.0.2.1/24", false),
            ("2001:db8::1", false),
            ("192.0.2.2/24", true),
            ("192.0.2.77/24", true),
            ("198.51.100.1/25", true),
        ] {
            assert_eq!(v0.contains(part), is_there, "{part}: {v0}");
        }
        assert_eq!([ip("route show default"), ip("-6 route show default")].concat(), "");
        assert!(ip("addr show v1").contains("10.0.0.1/24") && ip("addr show late0").contains("203.0.113.1/24"));
        // A config without links takes back all that one gave.
        assert_eq!(apply("[host]\n", false), "");
        let all = ip("addr show");
        assert!(!all.contains("198.51.100.1") && !all.contains("203.0.113.1") && all.contains("192.0.2.77"), "{all}");
    });
}

#[test]
fn what_a_link_does_not_take_is_told_with_its_key_and_line() {
    apart("what_a_link_does_not_take_is_told_with_its_key_and_line", || {
        let told = apply("[link v0]\naddress = 192.0.2.1/24\nmtu = 65536\ngateway = 198.51.100.1\n[link v1]\n", false);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert!(lines[0].starts_with("/etc/inn.conf:3: link v0: mtu 65536: RTM_NEWLINK: EINVAL"), "{told}");
        assert!(
            lines[1].starts_with("/etc/inn.conf:4: link v0: gateway 198.51.100.1: RTM_NEWROUTE: ENETUNREACH"),
            "{told}"
        );
        assert!(ip("addr show v0").contains("192.0.2.1/24"), "the rest is done");
    });
}

#[test]
fn a_gateway_beside_an_address_without_a_network_is_reached_on_the_link() {
    apart("a_gateway_beside_an_address_without_a_network_is_reached_on_the_link", || {
        let config = "[link v0]\naddress = 203.0.113.7/32 2001:db8::7/128\ngateway = 198.51.100.1\ngateway = fe80::1\n[link v1]\n";
        assert_eq!(apply(config, false), "");
        let routes = [ip("route show default"), ip("-6 route show default")].concat();
        assert!(routes.contains("via 198.51.100.1 dev v0") && routes.contains("via fe80::1 dev v0"), "{routes}");
    });
}

#[test]
fn only_links_of_the_config_are_heard_of() {
    apart("only_links_of_the_config_are_heard_of", || {
        let socket = netlink::open(About::Network, innkeep::netlink::route::LINKS).unwrap();
        let read = Read::text("[link late0]\n");
        let heard = || {
            let (mut buffer, mut any) = ([0; 8192], false);
            while let Ok(message) = netlink::receive(socket.as_fd(), &mut buffer) {
                any |= links::is_meant(read.plan(), message);
            }
            any
        };
        ip("link add other0 type bridge");
        assert!(!heard());
        ip("link add late0 type bridge");
        assert!(heard());
    });
}

#[test]
fn a_bridge_is_made_has_its_ports_and_goes_when_the_config_has_it_no_more() {
    apart("a_bridge_is_made_has_its_ports_and_goes_when_the_config_has_it_no_more", || {
        ip("link add theirs type bridge");
        let config = "[bridge br0]\naddress = 192.0.2.1/24\n[link v0]\nmember-of = br0\n[bridge theirs]\n";
        assert_eq!(apply(config, true), "");
        assert!(ip("-d addr show br0").contains("bridge ") && ip("addr show br0").contains("192.0.2.1/24"));
        assert!(ip("link show v0").contains("master br0") && ip("link show br0").contains(",UP"));
        // What the kernel says of the state of a line may come later.
        let links = || -> Vec<String> {
            let is_ours = |word: &&str| !word.starts_with('<');
            let all = ip("-o link show");
            let words = |line: &str| line.split(" qdisc ").next().unwrap().to_owned() + " " + after(line, "master");
            all.lines().map(|line| words(line).split(' ').filter(is_ours).collect::<Vec<_>>().join(" ")).collect()
        };
        let before = links();
        assert_eq!(apply(config, false), "");
        assert_eq!(links(), before, "nothing is done twice");
        // A port that is none any more is taken out, unless somebody has put it elsewhere.
        let other = config.replace("member-of = br0\n", "");
        assert_eq!(apply(&other, false), "");
        assert!(!ip("link show v0").contains("master"));
        assert_eq!(apply(config, false), "");
        ip("link set v0 master theirs");
        assert_eq!(apply(&other, false), "");
        assert!(ip("link show v0").contains("master theirs"));
        // What was made goes; what was there stays, and so does what somebody has made in the place of it.
        assert_eq!(apply("[bridge theirs]\n", false), "");
        let all = ip("-o link show");
        assert!(!all.contains(" br0: ") && all.contains(" theirs: "), "{all}");
        assert_eq!(apply("[bridge br1]\n", false), "");
        ip("link del br1");
        ip("link add br1 type veth peer name v2");
        assert_eq!(apply("[host]\n", false), "");
        let all = ip("-o link show");
        assert!(all.contains(" br1@") && all.contains(" theirs: "), "{all}");
    });
}

#[test]
fn what_cannot_be_made_is_told_and_what_is_there_is_left_as_it_is() {
    apart("what_cannot_be_made_is_told_and_what_is_there_is_left_as_it_is", || {
        let told =
            apply("[bridge v0]\n[link v1.5]\nvlan = 5\n[link v1]\nmember-of = v0\n[link no.5]\nvlan = 5\n", true);
        let lines: Vec<&str> = told.lines().filter(|line| !line.contains("link v1.5")).collect();
        assert_eq!(lines.len(), 3, "{told}");
        assert_eq!(lines[0], "/etc/inn.conf:1: link v0: it is there already, and is no bridge");
        assert!(lines[1].starts_with("/etc/inn.conf:5: link v1: member-of v0: RTM_NEWLINK: EOPNOTSUPP"), "{told}");
        assert_eq!(lines[2], "/etc/inn.conf:6: link no.5 is not there; it is configured when it comes");
        if Command::new("ip").args("link del v1.5".split(' ')).output().is_ok_and(|output| !output.status.success()) {
            let vlan = "/etc/inn.conf:3: link v1.5: vlan 5: RTM_NEWLINK: EOPNOTSUPP (not supported)";
            assert!(told.lines().any(|line| line == vlan), "a kernel without VLANs: {told}");
        }
        // It is not of our making, and so not ours to remove.
        assert_eq!(apply("[host]\n", false), "");
        assert!(ip("link show v0").contains("v0@"));
    });
}

#[test]
fn a_vlan_is_looked_at_when_the_link_comes_that_it_is_on() {
    apart("a_vlan_is_looked_at_when_the_link_comes_that_it_is_on", || {
        let read = Read::text("[link late0.9]\nvlan = 9\n[link other0.9]\n");
        let socket = netlink::open(About::Network, innkeep::netlink::route::LINKS).unwrap();
        for (name, is_meant) in [("other0", false), ("late0", true)] {
            ip(&format!("link add {name} type bridge"));
            let (mut buffer, mut any) = ([0; 8192], false);
            while let Ok(message) = netlink::receive(socket.as_fd(), &mut buffer) {
                any |= links::is_meant(read.plan(), message);
            }
            assert_eq!(any, is_meant, "{name}");
        }
    });
}
