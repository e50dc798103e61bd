//! What a config means: defaults, profiles, order, ranges of users, options.

use innkeep::config::key::Key;
use innkeep::limits;
use innkeep::plan::overcommit::{self, Host};
use innkeep::plan::{
    At, Guest, GuestId, Kind, Layer, Moment, Network, Plan, Ready, Restart, Rlimit, StopStep, User, Users,
};
use innkeep::text::{List, Text};

use crate::config_corpus::{Files, Read};

const HEAD: &str = "kind = app\nroot = /srv/a\ncommand = /bin/a\n";

fn app(name: &str, more: &str) -> String {
    format!("[guest {name}]\n{HEAD}{more}\n")
}

fn guest<'p>(plan: &'p Plan, name: &str) -> &'p Guest {
    plan.guest(plan.find(name.as_bytes()).unwrap()).unwrap()
}

fn words(plan: &Plan, list: List<Text>) -> Vec<&str> {
    plan.words.get(list).iter().map(|text| plan.strings.str(*text)).collect()
}

fn names(plan: &Plan, list: List<GuestId>) -> Vec<&str> {
    let ids = plan.dependencies.get(list).iter();
    ids.map(|id| plan.strings.str(plan.guest(*id).unwrap().name)).collect()
}

fn at(guest: &Guest, key: Key) -> Option<(u8, u32)> {
    guest.asked[key as usize].place()
}

#[test]
fn an_app_has_the_defaults_of_the_manual() {
    let read = Read::text(app("a", ""));
    let plan = read.plan();
    let a = guest(plan, "a");
    assert_eq!((a.kind, a.layer, a.network, a.ready), (Kind::App, Layer::ReadOnly, Network::None, Ready::Exec));
    assert_eq!((a.restart, a.restart_delay_ms, a.autostart), (Restart::OnFailure, (100, 60_000), true));
    assert_eq!(a.user, User { uid: 0, gid: 0 });
    assert_eq!((plan.strings.str(a.directory), plan.strings.str(a.hostname)), ("/", "a"));
    assert_eq!((a.limits.processes, at(a, Key::Processes)), (limits::PROCESSES_DEFAULT, None));
    assert_eq!(a.log_bytes, limits::LOG_BYTES_DEFAULT);
    assert_eq!(a.limits.memory_bytes, None);
    let stop = [StopStep { signal: 15, timeout_ms: 10_000 }, StopStep { signal: 9, timeout_ms: 0 }];
    assert_eq!(plan.stop(a), stop);
    assert_eq!(plan.host.shutdown_timeout_ms, limits::SHUTDOWN_TIMEOUT_MS);
}

#[test]
fn an_os_runs_its_init_and_writes_to_its_root() {
    let read = Read::text("[guest a]\nkind = os\nroot = /srv/a\n[guest b]\nkind = os\nroot = /srv/b\nreadonly = yes\n");
    let plan = read.plan();
    let a = guest(plan, "a");
    assert_eq!((a.kind, a.layer, words(plan, a.command)), (Kind::Os, Layer::Shared, vec!["/sbin/init"]));
    let steps = [(37, 30_000), (12, 10_000), (9, 0)];
    let stop = steps.map(|(signal, timeout_ms)| StopStep { signal, timeout_ms });
    assert_eq!(plan.stop(a), stop);
    assert_eq!(guest(plan, "b").layer, Layer::ReadOnly);
}

#[test]
fn a_layer_follows_from_ephemeral_and_readonly() {
    for (more, layer) in [
        ("ephemeral = yes", Layer::Memory),
        ("ephemeral = yes\nreadonly = no", Layer::Memory),
        ("ephemeral = no", Layer::ReadOnly),
        ("readonly = no", Layer::Shared),
        ("readonly = yes", Layer::ReadOnly),
    ] {
        let read = Read::text(app("a", more));
        assert_eq!(guest(read.plan(), "a").layer, layer, "{more}");
    }
}

#[test]
fn a_service_has_the_hosts_users_and_no_log_on_a_terminal() {
    let read = Read::text("[service s]\ncommand = getty console\ntty = /dev/console\n");
    let plan = read.plan();
    let s = guest(plan, "s");
    assert_eq!((s.kind, s.users, s.log_bytes, plan.strings.str(s.tty)), (Kind::Service, None, 0, "/dev/console"));
    assert_eq!(words(plan, s.command), ["getty", "console"]);
}

#[test]
fn every_key_means_what_it_says() {
    let read = Read::text(std::fs::read("tests/config/accepted/all-keys.conf").unwrap());
    let plan = read.plan();
    let web = guest(plan, "web");
    assert_eq!(words(plan, web.command), ["/bin/httpd", "-f", "-p", "8080", "-c", "/etc/a file.conf"]);
    assert_eq!(words(plan, web.env), ["A=1", "B=two words", "C=say \"hi\" \\ bye"]);
    assert_eq!(web.user, User { uid: 1000, gid: 100 });
    assert_eq!(plan.groups.get(web.groups), [4, 24, 27]);
    assert_eq!(plan.strings.str(web.directory), "/var/www");
    assert_eq!(web.limits.memory_bytes, Some(32 << 20));
    assert_eq!(web.limits.memory_high_bytes, Some(24 << 20));
    assert_eq!(web.limits.memory_low_bytes, Some(8 << 20));
    assert_eq!(web.limits.swap_bytes, Some(16 << 20));
    assert_eq!((web.limits.cpus_milli, web.limits.cpu_weight), (Some(1500), Some(200)));
    assert_eq!(plan.strings.str(web.limits.cpuset), "0-3,7");
    assert_eq!((web.limits.processes, web.limits.oom_score, web.limits.oom_group), (64, 500, true));
    let rlimits = [
        Rlimit { resource: libc::RLIMIT_NOFILE as u8, soft: 512, hard: 512 },
        Rlimit { resource: libc::RLIMIT_CORE as u8, soft: 0, hard: u64::MAX },
        Rlimit { resource: libc::RLIMIT_MEMLOCK as u8, soft: 64 << 10, hard: 64 << 10 },
    ];
    assert_eq!(plan.rlimits.get(web.rlimits), rlimits);
    assert_eq!(web.users, Some(Users { base: 100_000, count: 65_536 }));
    let sysctls: Vec<_> = plan
        .sysctls
        .get(web.sysctls)
        .iter()
        .map(|sysctl| (plan.strings.str(sysctl.path), plan.strings.str(sysctl.value)))
        .collect();
    assert_eq!(sysctls, [("net/core/somaxconn", "1024"), ("kernel/shmmax", "1048576")]);
    assert_eq!(names(plan, web.after), ["dropbear", "store"]);
    assert_eq!(names(plan, web.wants), ["dropbear"]);
    assert_eq!(names(plan, guest(plan, "last").after), ["web"]);
    assert_eq!((web.autostart, web.log_bytes), (false, 256 << 10));
    assert_eq!(guest(plan, "last").users, None);
    assert_eq!(guest(plan, "store").network, Network::Host);
    assert_eq!(guest(plan, "store").log_bytes, 0);
    let dropbear = guest(plan, "dropbear");
    assert_eq!((dropbear.ready, dropbear.ready_within_ms), (Ready::Fd(3), 5_000));
    let check = plan.health(dropbear).unwrap();
    assert_eq!((check.every_ms, check.timeout_ms, check.failures), (10_000, 2_000, 5));
    assert_eq!(words(plan, check.command), ["/bin/check", "-v"]);
    let looked = plan.guests.iter().find(|guest| guest.ready == Ready::Command).unwrap();
    assert_eq!(words(plan, looked.ready_words), ["/bin/sh", "-c", "exit 0"]);
    let check = plan.health(looked).unwrap();
    assert_eq!((check.every_ms, check.timeout_ms, check.failures), (30_000, 5_000, 3));
    assert_eq!(guest(plan, "dropbear").log_bytes, 128 << 10);
    let alice = guest(plan, "alice");
    let hooks = plan.hooks(alice, Moment::Create).iter();
    let hooks: Vec<_> = hooks.map(|hook| (words(plan, hook.command), plan.place(hook.at).unwrap().1)).collect();
    let line = plan.place_of(alice, Key::HookCreate).unwrap().1;
    assert_eq!(hooks[0], (vec!["/usr/libexec/customer", "create", "a b"], line));
    assert_eq!((hooks[1].0.clone(), hooks[1].1, hooks.len()), (vec!["logger", "made"], line + 1, 2));
    assert_eq!(Moment::ALL.map(|moment| plan.hooks(alice, moment).len()), [2, 1, 1, 1]);
    assert_eq!(plan.strings.str(alice.description), "A customer's machine");
    assert_eq!(plan.strings.str(alice.hostname), "alice.example.org");
    let stop = [(37, 60_000), (15, 5000), (9, 0)].map(|(signal, timeout_ms)| StopStep { signal, timeout_ms });
    assert_eq!(plan.stop(alice), stop);
    assert_eq!(words(plan, plan.host.modules), ["overlay", "virtio_net", "virtio-blk"]);
    assert_eq!(words(plan, plan.host.emergency), ["/bin/sh", "-l"]);
    assert_eq!(plan.strings.str(plan.host.hostname), "vps1");
    assert_eq!(plan.host.shutdown_timeout_ms, 30_000);
    assert_eq!(plan.sysctls.get(plan.host.sysctls).len(), 2);
}

#[test]
fn a_guest_takes_its_profiles_keys_and_overrides_them() {
    let text = format!(
        "{}[profile p]\nmemory = 64M\nenv = A=1\nenv = B=2\nswap = 0\n{}",
        app("a", "profile = p\nswap = 1M\nenv = C=3"),
        app("b", "profile = p"),
    );
    let read = Read::text(text);
    let plan = read.plan();
    let (a, b) = (guest(plan, "a"), guest(plan, "b"));
    assert_eq!((a.limits.memory_bytes, a.limits.swap_bytes), (Some(64 << 20), Some(1 << 20)));
    assert_eq!((b.limits.memory_bytes, b.limits.swap_bytes), (Some(64 << 20), Some(0)));
    assert_eq!((words(plan, a.env), words(plan, b.env)), (vec!["C=3"], vec!["A=1", "B=2"]));
    assert_eq!((at(a, Key::Memory), at(a, Key::GuestSwap)), (Some((0, 9)), Some((0, 6))));
    assert_eq!(at(b, Key::GuestSwap), Some((0, 12)));
}

#[test]
fn a_wrong_value_in_a_profile_is_said_once() {
    let text = format!("[profile p]\nmemory = 64\n{}{}", app("a", "profile = p"), app("b", "profile = p"));
    assert_eq!(Read::text(text).diagnostics.count(), 1);
}

#[test]
fn lines_are_counted_across_continuations_and_comments() {
    let read = Read::text(
        app("a", "# one\ncommand = \\\n  /bin/b \\\n  # gone\n\nmemory = 1M").replace("command = /bin/a\n", ""),
    );
    let plan = read.plan();
    let a = guest(plan, "a");
    assert_eq!((at(a, Key::Command), at(a, Key::Memory)), (Some((0, 5)), Some((0, 9))));
    assert_eq!(words(plan, a.command), ["/bin/b"]);
}

#[test]
fn before_is_after_turned_round_and_wants_implies_after() {
    let text = app("a", "before = b c") + &app("b", "wants = d\nafter = d a") + &app("c", "after = b") + &app("d", "");
    let read = Read::text(text);
    let plan = read.plan();
    assert_eq!(names(plan, guest(plan, "b").after), ["d", "a"]);
    assert_eq!(names(plan, guest(plan, "c").after), ["b", "a"]);
    assert_eq!(names(plan, guest(plan, "a").after), [""; 0]);
    assert_eq!(names(plan, guest(plan, "b").wants), ["d"]);
}

#[test]
fn a_long_cycle_is_named_in_part() {
    let text: String = (0..40).map(|n| app(&format!("g{n}"), &format!("after = g{}", (n + 1) % 40))).collect();
    let report = Read::text(text).report();
    assert!(report.contains("these wait for each other: `g0` -> `g1` -> "), "{report}");
    assert!(report.contains("`g15` -> …\n"), "{report}");
}

fn users_of(texts: &[String]) -> Vec<(String, Users)> {
    let read = Read::text(texts.concat());
    let plan = read.plan();
    let users = |guest: &Guest| (plan.strings.str(guest.name).to_owned(), guest.users.unwrap());
    let mut all: Vec<_> = plan.guests.iter().map(users).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

#[test]
fn ranges_of_users_do_not_follow_from_the_order_of_the_config() {
    let mut texts: Vec<_> = (0..1000).map(|n| app(&format!("g{n}"), "")).collect();
    let before = users_of(&texts);
    texts.reverse();
    texts.rotate_left(313);
    assert_eq!(users_of(&texts), before);

    let all: std::collections::BTreeSet<_> = before.iter().map(|(_, users)| users.base).collect();
    assert_eq!(all.len(), 1000);
    assert!(all.iter().all(|base| limits::USER_BASE.contains(base) && base % limits::USER_RANGE == 0));
}

#[test]
fn a_new_guest_moves_hardly_any_other() {
    let mut texts: Vec<_> = (0..500).map(|n| app(&format!("g{n}"), "")).collect();
    let before = users_of(&texts);
    texts.extend((0..20).map(|n| app(&format!("a-new-one-{n}"), "")));
    let after = users_of(&texts);
    let moved = before.iter().filter(|guest| !after.contains(guest)).count();
    assert!(moved <= 5, "{moved}");
}

#[test]
fn a_given_range_is_kept_from_the_others() {
    let alone = users_of(&[app("a", "")])[0].1;
    let given = format!("userns = {}:10", alone.base + 65_530);
    let both = users_of(&[app("a", ""), app("b", &given)]);
    assert_eq!(both[1].1, Users { base: alone.base + 65_530, count: 10 });
    assert_eq!(both[0].1.base, alone.base + 2 * 65_536, "the range touches two slots");
}

fn run(options: &[(&str, &str)], command: &[&[u8]]) -> Read {
    let mut read = Read::new();
    read.config.begin_run(b"throwaway", &mut read.diagnostics);
    for (option, value) in options {
        read.config.option(option.as_bytes(), value.as_bytes(), &mut read.diagnostics);
    }
    read.config.option_words(b"--command", command.iter().copied(), &mut read.diagnostics);
    read.config.end_run(&mut read.diagnostics);
    read.build()
}

#[test]
fn run_without_a_root_has_the_hosts_own_with_a_layer_in_memory() {
    let read = run(&[], &[b"id"]);
    let plan = read.plan();
    let guest = guest(plan, "throwaway");
    assert!(guest.root.is_empty());
    assert_eq!((guest.kind, guest.layer, guest.restart), (Kind::App, Layer::Memory, Restart::Never));
}

#[test]
fn options_of_run_are_keys() {
    let read = run(
        &[
            ("--root", "/srv/a"),
            ("--kind", "os"),
            ("--memory", "64M"),
            ("--env", "A=1 \"B=two words\""),
            ("--env", "\nC=#3"),
        ],
        &[b"sh", b"-c", b"echo \"a\\b\"\nexit 3", b"", b"\xff", b"#"],
    );
    let plan = read.plan();
    let guest = guest(plan, "throwaway");
    assert_eq!((guest.kind, guest.layer, guest.limits.memory_bytes), (Kind::Os, Layer::Shared, Some(64 << 20)));
    let command: Vec<_> = plan.words.get(guest.command).iter().map(|text| plan.strings.bytes(*text)).collect();
    assert_eq!(command, [b"sh".as_slice(), b"-c", b"echo \"a\\b\"\nexit 3", b"", b"\xff", b"#"]);
    assert_eq!(plan.place(guest.asked[Key::Memory as usize]), Some(("--memory", 1)));
}

#[test]
fn what_is_wrong_with_an_option_names_it() {
    let options =
        [("--memory", "64"), ("--memroy", "64M"), ("--swap", "1M\n 2M"), ("--swap", ""), ("--publish", "80:80/tcp")];
    let report = run(&options, &[b"sh", b"\x1b[31m", b"x"]).report();
    let expected = "\
--memory:1:1: `64` is not a size: a size is a number and K, M, G or T
64
^^
--memroy: unknown key `memroy`: did you mean `memory`?
--swap:2:2: only one word is expected here
 2M
 ^^
--swap: `swap` has no value
--publish: `publish` is not supported by this version
";
    assert_eq!(report, expected);
    assert_eq!(run(&[], &[]).report(), "--command: `command` has no value\n");
}

#[test]
fn more_options_than_files_are_an_answer() {
    let options = vec![("--env", "A=1"); limits::CONFIG_FILES + 1];
    assert!(run(&options, &[b"sh"]).report().contains("more than 256 files (limits::CONFIG_FILES)"));
}

fn kernel(options: &[&str]) -> Read {
    let mut read = Read::new();
    let mut files = Files::one(app("a", "").as_bytes());
    read.config.read(b"/etc/inn.conf", &mut files, &mut read.diagnostics);
    for option in options {
        read.config.add_kernel_guest(option.as_bytes(), &mut read.diagnostics);
    }
    read.build()
}

#[test]
fn a_guest_of_the_kernels_command_line_joins_the_config() {
    let read =
        kernel(&["rescue,kind=app,root=/srv/rescue,command=/bin/sh -l,cpuset=0-3,7,env=A=1,B=2,memory=64M,after=a"]);
    let plan = read.plan();
    assert_eq!(plan.guests.len(), 2);
    let guest = guest(plan, "rescue");
    assert_eq!(words(plan, guest.command), ["/bin/sh", "-l"]);
    assert_eq!(words(plan, guest.env), ["A=1,B=2"]);
    assert_eq!(plan.strings.str(guest.limits.cpuset), "0-3,7");
    assert_eq!((guest.limits.memory_bytes, names(plan, guest.after)), (Some(64 << 20), vec!["a"]));
    assert_eq!(plan.place(guest.asked[Key::Memory as usize]), Some(("inn.guest", 1)));
}

#[test]
fn what_is_wrong_on_the_kernels_command_line_has_its_place() {
    let options = ["a", "b,kind", "", "c,kind=app,root=/srv/c,comand=/bin/c", "d,,x=1,"];
    let report = kernel(&options).report();
    for line in [
        "inn.guest:1:1: `a` is already defined at /etc/inn.conf:1:8",
        "inn.guest:1:1: `b,kind` is not NAME,key=value,key=value",
        "inn.guest:1:1: `` is not NAME,key=value,key=value",
        "inn.guest:1:24: unknown key `comand`: did you mean `command`?",
        "inn.guest:1:4: unknown key `x`",
    ] {
        assert!(report.lines().any(|other| other == line), "{line}\n{report}");
    }
}

#[test]
fn a_plan_can_be_built_again() {
    let mut read = Read::text(std::fs::read("tests/config/accepted/all-keys.conf").unwrap());
    let before = format!("{:?}", read.plan().guests);
    let mut diagnostics = innkeep::config::Diagnostics::new();
    assert!(read.plan.build(&read.config, &mut diagnostics));
    assert_eq!(format!("{:?}", read.plan().guests), before);
    read.plan.clear();
    assert!(read.plan.guests.is_empty() && read.plan.host.asked == [At::NOWHERE; Key::COUNT]);
}

/// What is in excess of a host with 512M, 64M of swap, and CPUs 0, 1 and 3: whose, of which key, how much, and how much
/// there is.
fn excess(plan: &Plan) -> Vec<(&str, &str, u64, u64)> {
    let host = Host { memory_bytes: 512 << 20, swap_bytes: 64 << 20, cpus: b"0-1,3", processes: 4000 };
    let mut found = Vec::new();
    overcommit::excess(plan, &host, &mut |excess| {
        let name = excess.guest.map_or("", |name| plan.strings.str(name));
        found.push((name, excess.key.name(), excess.given, excess.there));
    });
    found
}

#[test]
fn what_a_host_does_not_have_is_told_by_guest_and_by_sum() {
    const M: u64 = 1 << 20;
    let a = app("a", "memory = 300M\nmemory-low = 100M\nswap = 40M\ncpus = 2\nprocesses = 3000");
    let b = app("b", "memory = 400M\nmemory-low = 100M\nswap = 40M\ncpus = 4\ncpuset = 1-2\ntmpfs = /a 450M");
    let c = app("c", "memory = 1M\nprocesses = 1\ntmpfs = /a 1M\ntmpfs = /b 1M");
    let service = "[service d]\ncommand = /x\nmemory = 500M\n";
    let read = Read::text(format!("[host]\nreserve = 128M\n{a}{b}{c}{service}"));
    let expected = [
        ("b", "memory", 400 * M, 384 * M),
        ("", "memory", 701 * M, 384 * M),
        ("", "swap", 80 * M, 64 * M),
        ("b", "cpus", 4000, 3000),
        ("", "cpus", 6000, 3000),
        ("", "processes", 4025, 4000),
        ("b", "tmpfs", 450 * M, 384 * M),
        ("c", "tmpfs", 2 * M, M),
        ("", "tmpfs", 452 * M, 384 * M),
        ("b", "cpuset", 2, 3),
    ];
    assert_eq!(excess(read.plan()), expected);
}

#[test]
fn what_a_host_has_is_not_told_and_a_reserve_of_all_of_it_is() {
    const M: u64 = 1 << 20;
    let read = Read::text(app("a", "memory = 512M\nswap = 64M\ncpus = 3\ncpuset = 0-1,3\nprocesses = 4000"));
    assert_eq!(excess(read.plan()), []);
    let read = Read::text(format!("[host]\nreserve = 512M\n{}", app("a", "")));
    assert_eq!(excess(read.plan()), [("", "reserve", 512 * M, 512 * M)]);
}
