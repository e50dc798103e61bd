//! Ranges of users: who gets which, who keeps which, and that what a guest does is charged to its own.

use std::fs;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use innkeep::limits::{USER_BASE, USER_RANGE, USER_RANGES_NESTING};
use innkeep::plan::Users;
use innkeep::plan::users::Stock;

use crate::config_corpus::{Files, Read};
use crate::must;
use crate::private::{self, Supervisor, busybox};

const ME: &str = "/run/inn/control";

/// Guests, each by its name and the lines that it has besides.
fn config(guests: &[(&str, &str)]) -> String {
    let section = |(name, more): &(&str, &str)| format!("[guest {name}]\nkind = os\nroot = /srv/{name}\n{more}\n");
    guests.iter().map(section).collect()
}

/// A plan of these guests, from this stock.
fn plan(guests: &[(&str, &str)], stock: &Stock<'_>) -> Read {
    let mut read = Read::new();
    read.config.read(b"/etc/inn.conf", &mut Files::one(config(guests).as_bytes()), &mut read.diagnostics);
    read.good = read.plan.build_from(&read.config, &mut read.diagnostics, stock);
    read
}

fn stock(record: &str) -> Stock<'_> {
    Stock { record: record.as_bytes(), holder: ME.as_bytes(), ..Stock::ALL }
}

fn users(read: &Read, name: &str) -> Users {
    let plan = read.plan();
    plan.guest(plan.find(name.as_bytes()).unwrap()).unwrap().users.unwrap()
}

fn alone(name: &str) -> Users {
    users(&plan(&[(name, "")], &Stock::ALL), name)
}

/// A line of the record; process 0 for a holder that has ended.
fn line(name: &str, users: Users, pid: u32, holder: &str) -> String {
    format!("{name} {} {} {pid} 1 {holder}\n", users.base, users.count)
}

/// Two names whose guests want the same range, the smaller first (FNV-1a, of so many ranges).
fn rivals() -> (String, String) {
    let ranges = (USER_BASE.end - USER_BASE.start) / USER_RANGE;
    let hash = |name: &str| {
        name.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)) % ranges
    };
    let mut seen = std::collections::BTreeMap::new();
    let mut names = (0..).map(|number| format!("rival{number:05}"));
    names.find_map(|name| Some((seen.insert(hash(&name), name.clone())?, name))).expect("more names than ranges")
}

#[test]
fn a_guest_keeps_its_range_when_one_comes_whose_name_would_have_it() {
    let (first, second) = rivals();
    let guests = [(first.as_str(), ""), (second.as_str(), "")];
    let mine = alone(&second);
    assert_ne!(users(&plan(&guests, &Stock::ALL), &second), mine, "without a record it gives way");
    let record = line(&second, mine, 0, ME);
    let read = plan(&guests, &stock(&record));
    assert_eq!(users(&read, &second), mine);
    assert!(!users(&read, &first).overlaps(mine));
}

#[test]
fn what_a_guest_had_waits_for_it_while_others_have_room() {
    let (first, second) = rivals();
    let record = line(&second, alone(&second), 0, ME);
    let read = plan(&[(&first, "")], &stock(&record));
    assert_ne!(users(&read, &first), alone(&first), "it is another's, who is gone for now");
}

#[test]
fn a_record_of_somebody_else_is_kept_off_and_not_taken_over() {
    let mine = alone("a");
    for (pid, holder) in [(7, "run"), (7, "/other"), (0, "/other"), (7, ME)] {
        let record = line("a", mine, pid, holder);
        assert!(!users(&plan(&[("a", "")], &stock(&record)), "a").overlaps(mine), "{record}");
    }
}

#[test]
fn a_range_that_is_given_beats_one_that_is_remembered_and_is_refused_where_a_running_guest_has_it() {
    let base = USER_BASE.start;
    let given = format!("userns = {base}:65536");
    let range = Users { base, count: USER_RANGE };
    let guests = [("a", ""), ("b", given.as_str())];
    let remembered = line("a", range, 0, ME) + &line("x", range, 0, "/other");
    let read = plan(&guests, &stock(&remembered));
    assert_eq!(users(&read, "b"), range);
    assert!(!users(&read, "a").overlaps(range));

    let running = line("x", Users { base: base + 65_535, count: 1 }, 7, "run");
    let read = plan(&guests, &stock(&running));
    assert!(!read.good);
    assert!(read.report().contains("has users of a guest that runs now"), "{}", read.report());
    // One that is not to be started may have what it likes.
    assert!(plan(&guests, &Stock { only: b"a", ..stock(&running) }).good);
}

#[test]
fn a_record_of_another_size_or_place_is_no_help() {
    for users_then in
        [Users { base: USER_BASE.start + 1, count: USER_RANGE }, Users { base: 70_000, count: USER_RANGE }]
    {
        let record = line("a", users_then, 0, ME);
        let users = users(&plan(&[("a", "")], &stock(&record)), "a");
        assert!(users.base.is_multiple_of(USER_RANGE) && USER_BASE.contains(&users.base), "{users:?}");
    }
    let record = line("a", alone("a"), 0, ME);
    assert_eq!(users(&plan(&[("a", "nesting = yes")], &stock(&record)), "a").count, USER_RANGES_NESTING * USER_RANGE);
}

#[test]
fn a_guest_that_may_have_guests_has_a_block_of_ranges_of_its_own() {
    let names: Vec<String> = (0..300).map(|number| format!("g{number}")).collect();
    let lines = |number: usize| if number.is_multiple_of(3) { "nesting = yes" } else { "" };
    let mut guests: Vec<_> = names.iter().enumerate().map(|(number, name)| (name.as_str(), lines(number))).collect();
    let read = plan(&guests, &Stock::ALL);
    let mut all: Vec<_> = names.iter().map(|name| users(&read, name)).collect();
    for (number, users) in all.iter().enumerate() {
        let ranges = if number % 3 == 0 { USER_RANGES_NESTING } else { 1 };
        assert_eq!(users.count, ranges * USER_RANGE);
    }
    guests.reverse();
    let turned = plan(&guests, &Stock::ALL);
    assert!(names.iter().zip(&all).all(|(name, had)| users(&turned, name) == *had), "the order does not matter");
    all.sort_by_key(|users| users.base);
    assert!(all.windows(2).all(|pair| !pair[0].overlaps(pair[1])));
}

#[test]
fn a_small_pool_is_used_up_to_the_last_range() {
    let pool = USER_RANGE..16 * USER_RANGE;
    let names: Vec<String> = (0..16).map(|number| format!("g{number}")).collect();
    let guests: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    // All of it is remembered for guests that are gone: that gives way when nothing else is left.
    let gone: String =
        (1..16).map(|slot| line("gone", Users { base: slot * USER_RANGE, count: USER_RANGE }, 0, ME)).collect();
    let read = plan(&guests[..15], &Stock { pool: pool.clone(), ..stock(&gone) });
    let all: std::collections::BTreeSet<_> = names[..15].iter().map(|name| users(&read, name).base).collect();
    assert!(all.len() == 15 && all.iter().all(|base| pool.contains(base)), "{all:?}");
    assert!(plan(&guests, &Stock { pool, ..Stock::ALL }).report().contains("no range of users is left"));
    assert!(!plan(&guests[..1], &Stock { pool: 1..1, ..Stock::ALL }).good, "an empty pool");
}

/// `inn run` of a guest that says what its users are and then waits for its input to end.
fn running(words: &[&str]) -> (Child, Users) {
    let mut command = Command::new(must::inn());
    command.arg("run").args(words).args(["--", "/bin/sh", "-c", "cat /proc/self/uid_map; cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("inn starts");
    let output = child.stdout.as_mut().expect("a pipe");
    let mut text = String::new();
    while !text.ends_with('\n') {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).expect("a pipe"), 1, "it ended: {text}");
        text.push(char::from(byte[0]));
    }
    let numbers: Vec<u32> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    assert_eq!(numbers[0], 0, "{text}");
    (child, Users { base: numbers[1], count: numbers[2] })
}

/// Whether `users` are recorded as those of `inn run`, process `pid`: another's may have the same as soon as it has ended.
fn recorded(users: Users, pid: u32) -> bool {
    let record = fs::read_to_string("/run/inn/users").unwrap_or_default();
    record.contains(&format!(" {} {} {pid} ", users.base, users.count))
}

#[test]
fn guests_of_inn_run_share_no_users_and_leave_no_line() {
    if !must::root("guests_of_inn_run_share_no_users_and_leave_no_line") {
        return;
    }
    let mut all: Vec<_> = (0..4).map(|_| running(&[])).collect();
    for (number, (child, users)) in all.iter().enumerate() {
        assert!(recorded(*users, child.id()), "{users:?}");
        assert!(all[..number].iter().all(|(_, other)| !other.overlaps(*users)), "{users:?}");
    }
    // One is killed, and cannot take its line out; whoever comes next does.
    let (mut killed, last) = all.pop().expect("the last");
    killed.kill().expect("it is killed");
    killed.wait().expect("it ends");
    private::remove_run(killed.id());
    all.push(running(&[]));
    assert!(!recorded(last, killed.id()), "what is dead holds nothing");
    for (mut child, users) in all {
        drop(child.stdin.take());
        assert!(child.wait().expect("it ends").success());
        assert!(!recorded(users, child.id()), "{users:?}");
    }
}

/// ROOT stands for a directory with busybox in it.
const SLEEPER: &str = "[guest NAME]\nkind = app\nroot = ROOT\ncommand = /bin/sleep 1000\nstop = SIGKILL\n";

fn base_of(supervisor: &Supervisor, guest: &str) -> u64 {
    let output = supervisor.inn(&["status", guest, "--json"]);
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    facts["users_base"].as_u64().unwrap_or_else(|| panic!("no users in {facts}"))
}

#[test]
fn a_supervisors_guest_keeps_its_range_across_restarts_and_changes() {
    if !must::root("a_supervisors_guest_keeps_its_range_across_restarts_and_changes") {
        return;
    }
    let (first, second) = rivals();
    let root = busybox("users-kept");
    let section = |name: &str| SLEEPER.replace("NAME", name).replace("ROOT", root.to_str().expect("UTF-8"));
    let mut supervisor = Supervisor::start("users", &section(&second));
    supervisor.await_answer();
    let had = base_of(&supervisor, &second);
    assert_eq!(had, u64::from(alone(&second).base));
    // A guest of `inn run` beside it gets neither that nor what its own name says, which is the same.
    let config = supervisor.directory.join("run.conf");
    fs::write(
        &config,
        section(&second)
            .replace("/bin/sleep 1000", "/bin/sh -c 'read line < /proc/self/uid_map; echo $line'")
            .replace('\'', "\""),
    )
    .expect("a config");
    let beside = supervisor.inside(&["run", "--config", config.to_str().expect("UTF-8"), &second]);
    let text = String::from_utf8_lossy(&beside.stdout).into_owned();
    let base: u64 = text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| {
        panic!("{text}{}", String::from_utf8_lossy(&beside.stderr));
    });
    assert!(base.abs_diff(had) >= u64::from(USER_RANGE), "{text}");

    fs::write(supervisor.directory.join("inn.conf"), section(&second) + &section(&first)).expect("a config");
    supervisor.start_again();
    supervisor.await_answer();
    assert_eq!(base_of(&supervisor, &second), had);
    assert!(base_of(&supervisor, &first).abs_diff(had) >= u64::from(USER_RANGE));
}

#[test]
fn without_a_record_inn_run_says_so_and_works() {
    if !must::root("without_a_record_inn_run_says_so_and_works") {
        return;
    }
    let script = "mount -t tmpfs -o ro none /run && exec \"$0\" run -- /bin/sh -c 'exit 7'";
    let mut command = Command::new("unshare");
    let output = command.args(["--mount", "sh", "-c", script]).arg(must::inn()).output().expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("mkdir: EROFS") && said.contains("/run/inn/users"), "{said}");
}

/// How many of the kernel's inotify instances a process in the user namespace of `pid`, as its root, can have at once. It keeps
/// them until its input ends.
fn take_instances(pid: u64) -> (Child, usize) {
    // No other limit is to be met before: some hosts allow thousands of them, and few files at first.
    let script = "import ctypes, sys\nfrom resource import *\nmost = getrlimit(RLIMIT_NOFILE)[1]\n\
                  setrlimit(RLIMIT_NOFILE, (most, most))\nlibc = ctypes.CDLL(None)\nn = 0\n\
                  while libc.inotify_init1(0) >= 0: n += 1\nprint(n, flush=True)\nsys.stdin.read()";
    let mut command = Command::new("nsenter");
    command.args(["--user", "--target"]).arg(pid.to_string()).args(["--setuid", "0", "--setgid", "0", "--"]);
    command.args(["python3", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("nsenter starts");
    let mut text = String::new();
    let output = child.stdout.as_mut().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut text).expect("a pipe");
    (child, text.trim().parse().unwrap_or_else(|_| panic!("it said {text:?}")))
}

#[test]
fn a_guest_that_uses_its_inotify_instances_up_takes_none_of_the_hosts_or_of_another() {
    if !must::root("a_guest_that_uses_its_inotify_instances_up_takes_none_of_the_hosts_or_of_another") {
        return;
    }
    let root = busybox("inotify");
    let section = |name: &str| SLEEPER.replace("NAME", name).replace("ROOT", root.to_str().expect("UTF-8"));
    let supervisor = Supervisor::start("inotify", &(section("greedy") + &section("modest")));
    supervisor.await_answer();
    // Before that its users may not be mapped yet.
    let [greedy, modest] = ["greedy", "modest"].map(|guest| supervisor.await_ready(guest)["pid"].as_u64());
    let (mut greedy, took) = take_instances(greedy.expect("it runs"));
    let bound: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap().trim().parse().expect("a number");
    assert_eq!(took, bound, "the kernel's limit for one user is its limit");
    rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).expect("an instance for the host's root");
    let (mut modest, left) = take_instances(modest.expect("it runs"));
    assert_eq!(left, bound, "another guest has as many");
    for child in [&mut greedy, &mut modest] {
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }
}

#[test]
fn check_says_what_a_guest_without_users_of_its_own_loses() {
    let path = must::target().join(format!("unmapped-{}.conf", std::process::id()));
    fs::write(&path, config(&[("a", "userns = none"), ("b", ""), ("c", "userns = none\ncaps = +sys_nice")])).unwrap();
    let check = |more: &[&str]| {
        let output = Command::new(must::inn()).arg("check").args(more).arg(&path).output().expect("inn starts");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let (text, json) = (check(&[]), check(&["--json"]));
    fs::remove_file(&path).unwrap();
    let line = |name: &str| text.lines().find(|line| line.starts_with(&format!("{name}: userns = none: ")));
    let words = |name: &str| line(name).unwrap_or_else(|| panic!("{text}")).split(' ').collect::<Vec<_>>();
    assert!(words("a").contains(&"sys_admin") && words("a").contains(&"sys_nice"));
    assert!(words("c").contains(&"sys_admin") && !words("c").contains(&"sys_nice"), "what is given is not dropped");
    assert_eq!(line("b"), None);
    let facts: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&facts["unmapped"][0]["guest"], &facts["unmapped"][1]["guest"]), (&"a".into(), &"c".into()));
    assert!(facts["unmapped"][0]["dropped"].as_array().unwrap().contains(&"sys_admin".into()));
}

#[test]
fn users_of_several_ranges_are_the_same_to_the_kernel_files_and_commands() {
    if !must::root("users_of_several_ranges_are_the_same_to_the_kernel_files_and_commands") {
        return;
    }
    let root = busybox("ranges");
    for program in ["cat", "stat"] {
        must::install(root.join("bin/sh"), root.join("bin").join(program));
    }
    fs::write(root.join("theirs"), "").unwrap();
    std::os::unix::fs::chown(root.join("theirs"), Some(1500), Some(999)).unwrap();
    let section = SLEEPER.replace("NAME", "a").replace("ROOT", root.to_str().expect("UTF-8"));
    let more = "userns = 3000000:1000 2000000:70000\nuser = 1500:999\ngroups = 5 999 1000 70999\n";
    let supervisor = Supervisor::start("ranges", &(section + more));
    supervisor.await_answer();
    let says = |words: &[&str]| {
        let output = supervisor.inn(&[&["exec", "a"], words].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    supervisor.wait_for("the guest", |this| this.inn(&["exec", "a", "/bin/sh", "-c", ":"]).status.success());
    for map in ["uid_map", "gid_map"] {
        let map = says(&["/bin/cat", &format!("/proc/self/{map}")]);
        let numbers: Vec<u32> = map.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        assert_eq!(numbers, [0, 3_000_000, 1000, 1000, 2_000_000, 70_000]);
    }
    let status = says(&["/bin/cat", "/proc/self/status"]);
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.split_whitespace().map(|word| word.parse().expect("a number")).collect::<Vec<u32>>()
    };
    assert_eq!((field("Uid:")[0], field("Gid:")[0]), (1500, 999));
    // The kernel sorts them by the host's numbers.
    let mut groups = field("Groups:");
    groups.sort_unstable();
    assert_eq!(groups, [5, 999, 1000, 70_999], "those of the first process, which the host sees by other numbers");
    assert_eq!(says(&["/bin/stat", "-c", "%u %g", "/theirs"]), "1500 999\n");
    let output = supervisor.inn(&["status", "a", "--json"]);
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(facts["users"], "3000000:1000 2000000:70000");
}

/// Owner, mode, times and length of all below `root`, by path.
fn everything(root: &std::path::Path) -> std::collections::BTreeMap<std::path::PathBuf, [i64; 10]> {
    use std::os::unix::fs::MetadataExt;
    let mut all = std::collections::BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let of = fs::symlink_metadata(&path).expect("it is there");
        if of.is_dir() {
            left.extend(fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        }
        let facts = [
            of.uid().into(),
            of.gid().into(),
            of.mode().into(),
            of.mtime(),
            of.mtime_nsec(),
            of.ctime(),
            of.ctime_nsec(),
            of.ino() as i64,
            of.size() as i64,
            of.nlink() as i64,
        ];
        all.insert(path, facts);
    }
    all
}

#[test]
fn no_file_of_a_root_is_touched_by_a_start() {
    if !must::root("no_file_of_a_root_is_touched_by_a_start") {
        return;
    }
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};
    let root = busybox("touched");
    for (name, owner, mode) in
        [("roots", 0, 0o600), ("users", 1000, 0o4755), ("nobodys", 65_534, 0o644), ("foreign", 70_000, 0o2711)]
    {
        let _ = fs::remove_file(root.join(name));
        fs::write(root.join(name), name).unwrap();
        lchown(root.join(name), Some(owner), Some(owner)).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let _ = fs::remove_file(root.join("link"));
    symlink("/roots", root.join("link")).unwrap();
    lchown(root.join("link"), Some(12), Some(13)).unwrap();
    let _ = fs::remove_dir_all(root.join("made"));
    let before = everything(&root);
    for (kind, layer) in
        [("os", "ephemeral = yes"), ("os", "readonly = yes"), ("app", "readonly = yes"), ("os", "readonly = no")]
    {
        let section = SLEEPER.replace("NAME", "a").replace("ROOT", root.to_str().expect("UTF-8"));
        let section = section.replace("kind = app", &format!("kind = {kind}"));
        let supervisor = Supervisor::start(&format!("touched-{kind}-{}", &layer[..4]), &format!("{section}{layer}\n"));
        supervisor.await_answer();
        supervisor.wait_for("the guest", |this| this.inn(&["exec", "a", "/bin/sh", "-c", ":"]).status.success());
        assert_eq!(everything(&root), before, "after a start with {kind}, {layer}");
        let wrote = supervisor.inn(&["exec", "a", "/bin/sh", "-c", "echo mine > /mine && echo x > /users"]);
        assert_eq!(wrote.status.success(), layer != "readonly = yes", "{}", String::from_utf8_lossy(&wrote.stderr));
        supervisor.inn(&["kill", "a"]);
        if layer != "readonly = no" {
            assert_eq!(everything(&root), before, "after writes with {kind}, {layer}");
        }
    }
    // The last one wrote to the directory itself.
    let mut after = everything(&root);
    let mine = after.remove(&root.join("mine")).expect("what it made");
    assert_eq!(mine[..2], [0, 0], "on disk it is root's, whatever range the guest has");
    for touched in [root.join("users"), root.clone()] {
        assert_ne!(after.remove(&touched), before.get(&touched).copied());
    }
    assert!(after.iter().all(|(path, facts)| before.get(path) == Some(facts)), "it wrote to no other");
    fs::remove_file(root.join("mine")).unwrap();
}
