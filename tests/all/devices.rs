//! What the devices of a host want, now and later: modules, and of links what the config says of them.

use serde_json::Value;

use crate::machine::{Guest, Machine, Recipe};

/// What the image has beside the modules that its config names.
const MODULES: [&str; 12] = [
    "virtio_net",
    "virtio_balloon",
    "virtio_rng",
    "virtio_pci",
    "squashfs",
    "isofs",
    "loop",
    "dummy",
    "mpls_iptunnel",
    "mpls_gso",
    "8021q",
    "bridge",
];

#[test]
fn devices_get_their_modules_on_6_12() {
    devices("6.12");
}

#[test]
fn devices_get_their_modules_on_5_10() {
    devices("5.10");
}

fn devices(kernel: &'static str) {
    let recipe =
        Recipe { name: "devices", kernel, folder: "devices", command_line: "loop.max_loop=5 xloop.max_loop=9" };
    let more: Vec<&str> = MODULES.iter().flat_map(|name| ["--module", name]).collect();
    let devices = [
        "-netdev",
        "hubport,id=net,hubid=0",
        "-device",
        "virtio-net-pci,netdev=net,id=net0,mac=52:54:00:00:00:01",
        "-device",
        "virtio-balloon-pci",
        "-device",
        "virtio-rng-pci",
    ];
    let Some(mut machine) = Machine::boot_with_devices(recipe, &devices, &more) else { return };
    machine.check(
        "auto loads what a device wants that only another's driver shows, and nothing that is kept out",
        |machine| {
            assert!(is_loaded(machine, "virtio_net") && is_loaded(machine, "virtio_rng"));
            assert!(!is_loaded(machine, "virtio_balloon") && !is_loaded(machine, "loop"));
            assert!(!machine.console.all().contains("module "), "{}", machine.console.all());
        },
    );
    machine.check(
        "a link that came with its module has what the config says, and one that is not there is told",
        |machine| {
            has_its_addresses(machine);
            let told = machine.console.all();
            assert!(
                told.contains("/etc/inn.conf:14: link eth9 is not there; it is configured when it comes"),
                "{told}"
            );
        },
    );
    machine.check("the kernel gets what it asks for where the config lets it, and nothing else", |machine| {
        assert_eq!(machine.ok("cat /proc/sys/kernel/modprobe").trim(), "/proc/1/exe");
        assert_ne!(machine.run("ip link add dummy0 type dummy").code, 0);
        assert!(!is_loaded(machine, "dummy"));
        machine.guest_until("asks", Guest::is_ready);
        let ask = "inn exec asks sh -c 'mkdir -p /tmp/m; mount -t squashfs none /tmp/m; mount -t iso9660 none /tmp/m; mount -t jfs none /tmp/m'";
        machine.run(ask);
        assert!(is_loaded(machine, "squashfs") && is_loaded(machine, "isofs"));
        assert_ne!(machine.run("/proc/1/exe -q -- rtnl-link-dummy").code, 0, "not even where the words are the kernel's");
    });
    machine.check(
        "modprobe loads by name and by alias, with the parameters of the kernel's command line and its own",
        |machine| {
            let dry = machine.ok("inn modprobe --dry-run loop");
            assert!(dry.trim().starts_with("kernel/drivers/block/loop.ko") && !is_loaded(machine, "loop"), "{dry}");
            machine.ok("inn modprobe loop");
            assert_eq!(machine.ok("cat /sys/module/loop/parameters/max_loop").trim(), "5");
            machine.ok("inn modprobe -r loop");
            assert!(!is_loaded(machine, "loop"));
            machine.ok("inn modprobe loop max_loop=3 rtnl-link-dummy numdummies=0");
            assert_eq!(machine.ok("cat /sys/module/loop/parameters/max_loop").trim(), "3");
            assert!(is_loaded(machine, "dummy"));
        },
    );
    machine.check("a module comes with what it is better off with, and goes with what only it needed", |machine| {
        machine.ok("inn modprobe mpls_iptunnel");
        assert!(is_loaded(machine, "mpls_gso") && is_loaded(machine, "mpls_router"));
        let output = machine.run("inn modprobe --remove mpls_router");
        assert!(output.code == 1 && output.text.contains("module mpls_router: delete_module: E"), "{}", output.text);
        machine.ok("inn modprobe --remove mpls_gso mpls_iptunnel");
        assert!(!is_loaded(machine, "mpls_iptunnel") && !is_loaded(machine, "mpls_router"));
    });
    machine.check("what is not there and what is wrong are told in a line", |machine| {
        for (words, expected) in [
            ("no-such", "module no-such: modules.dep: not in modules.dep"),
            ("--remove no-such", "module no-such: /sys/module: it is not loaded"),
        ] {
            let output = machine.run(&format!("inn modprobe {words}"));
            assert!(output.code == 1 && output.text.contains(expected), "{words}: {} {}", output.code, output.text);
        }
        let output = machine.run("inn modprobe -q no-such");
        assert!(output.code == 1 && output.text.is_empty(), "{}", output.text);
    });
    machine.check("a device that comes while the host is up gets its module", |machine| {
        machine.ok("inn modprobe -r virtio_net");
        let device = "$(dirname $(grep -l 0x1af4 /sys/bus/pci/devices/*/vendor | while read f; do grep -q 0x020000 $(dirname $f)/class && echo $f; done))";
        machine.ok(&format!("echo 1 > {device}/remove"));
        assert!(!is_loaded(machine, "virtio_net"));
        machine.ok("echo 1 > /sys/bus/pci/rescan");
        machine.until("ls /sys/module/virtio_net", |output| output.code == 0);
    });
    machine.check(
        "a link that comes with it is configured as it was, and one that never was there as it comes",
        |machine| {
            has_its_addresses(machine);
            machine.ok("ip link add eth9 type dummy");
            machine.until("ip addr show eth9", |output| output.text.contains("198.51.100.1/24"));
        },
    );
    machine.check("a bridge and a VLAN are made, with the modules that the kernel asks for", |machine| {
        // The one that was there went with the link that it is on.
        machine.until("cat /proc/net/vlan/eth0.42", |output| output.text.contains("VID: 42"));
        machine.until("cat /sys/class/net/eth0.42/master/uevent", |output| output.text.contains("INTERFACE=br0"));
        machine.until("ip addr show br0", |output| output.text.contains("10.20.0.1/24") && output.text.contains(",UP"));
    });
    machine.check("status shows links", |machine| {
        let status = machine.ok("inn status");
        let line = status.lines().find(|line| line.contains(" eth0 ")).unwrap_or_default();
        assert!(
            line.contains(" up, ") && line.contains(" 192.0.2.1/24 ") && line.contains(" 2001:db8::1/64"),
            "{status}"
        );
        let status: Value = serde_json::from_str(&machine.ok("inn status --json")).expect("JSON");
        let links = status["links"].as_array().expect("links");
        let eth0 = links.iter().find(|link| link["name"] == "eth0").expect("eth0");
        assert_eq!(
            (&eth0["mac"], &eth0["mtu"], &eth0["up"]),
            (&"52:54:00:00:00:01".into(), &1400.into(), &true.into())
        );
        assert!(
            machine
                .ok("inn status --plain")
                .lines()
                .any(|line| line.starts_with("link_eth0\tup, ") && line.contains("192.0.2.1/24 "))
        );
    });
    machine.check("reload changes links, and what the kernel may ask for, at once", |machine| {
        assert_ne!(machine.run("/proc/1/exe -q -- rtnl-link-dummy").code, 0);
        machine.ok(
            "sed -i 's,192.0.2.1/24,192.0.2.2/24,; s,^gateway.*,,; s,+fs-squashfs,+rtnl-link-dummy,' /etc/inn.conf",
        );
        let told = machine.ok("inn reload");
        assert!(told.contains("~ [host]: modules: overlay auto "), "{told}");
        machine.ok("/proc/1/exe -q -- rtnl-link-dummy");
        assert_ne!(machine.run("/proc/1/exe -q -- fs-squashfs").code, 0, "no longer, though it is there");
        assert!(
            told.contains("~ [host]: address: ") && told.contains("~ [host]: gateway: eth0 192.0.2.254 -> "),
            "{told}"
        );
        let all = machine.ok("ip addr show eth0; ip route");
        machine.ok("sed -i 's,^vlan .*,vlan = 43,' /etc/inn.conf && inn reload");
        assert!(machine.ok("cat /proc/net/vlan/eth0.42").contains("VID: 43"), "another number is another VLAN");
        assert!(machine.ok("cat /sys/class/net/eth0.42/master/uevent").contains("INTERFACE=br0"));
        machine.ok("sed -i '/^.bridge/,/^.service/ { /^.service/!d; }' /etc/inn.conf && inn reload");
        assert_eq!(machine.ok("ls /sys/class/net | grep -e br0 -e eth0. || true"), "");
        assert!(all.contains("192.0.2.2/24") && !all.contains("192.0.2.1/24") && !all.contains("default"), "{all}");
    });
    machine.end();
}

fn has_its_addresses(machine: &mut Machine) {
    machine.until("ip addr show eth0", |output| {
        ["mtu 1400", "192.0.2.1/24", "2001:db8::1/64"].iter().all(|part| output.text.contains(part))
    });
    machine.until("ip route", |output| output.text.contains("default via 192.0.2.254 dev eth0"));
}

fn is_loaded(machine: &mut Machine, name: &str) -> bool {
    machine.run(&format!("grep -q '^{name} ' /proc/modules")).code == 0
}
