#!/usr/bin/env python3
"""make bench: what a guest's start costs with inn, with programs a user would pick instead, and at the least.

Prints a table and writes it as JSON. Needs root; leaves nothing behind. Ends with 1 only if inn could not be measured.
"""

import argparse
import ctypes
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
# The guest's users on the host, as in floor.c.
USERS = {"containerID": 0, "hostID": 524288, "size": 65536}
# A start that takes so long does not come any more.
TIMEOUT_S = 20
GUESTS = 10
# A supervisor with so many guests is replaced so often.
MANY, REPLACED = 100, 20


def say(text):
    print(text, file=sys.stderr, flush=True)


def reason(error):
    """The last line of what a failed program said."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


# What is compared -----------------------------------------------------------------------------------------------------


class Tool:
    """A way to start a program. The first of `variants` that works is measured; each makes a command from a run's number."""

    def __init__(self, name, without, *variants):
        self.name, self.without, self.variants = name, without, variants
        self.command = None
        self.told_ns, self.gone_ns = [], []
        self.calls = self.calls_since_clone = None
        self.missing = None


def tools(inn, work, cgroup):
    root = work / "bundle/rootfs"
    state = ["--root", str(work / "state")]
    oci = ["run", "--bundle", str(work / "bundle")]
    return [
        Tool("floor", "", lambda n: [str(work / "floor"), str(cgroup), str(root), "/tell"]),
        Tool("inn", "", lambda n: [inn, "run", "--root", str(root), "--kind", "app", "--", "/tell"]),
        Tool(
            "bubblewrap",
            "no cgroup, own user range, masks, filter, time namespace, shm size",
            lambda n: ["bwrap", "--unshare-all", "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev",
                       "--tmpfs", "/run", "--tmpfs", "/tmp", "--hostname", "guest", "--cap-drop", "ALL", "--new-session",
                       "--clearenv", "--die-with-parent", "/tell"],
        ),
        Tool(
            "crun",
            "no id-mapped root, time namespace",
            lambda n: ["crun", *state, *oci, f"c{n}"],
            lambda n: ["crun", "--cgroup-manager=disabled", *state, *oci, f"c{n}"],
        ),
        Tool("runc", "no id-mapped root, time namespace", lambda n: ["runc", *state, *oci, f"r{n}"]),
        Tool(
            "nspawn",
            "no time namespace",
            lambda n: ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe", "--timezone=off",
                       "--directory", str(root), "--read-only", "--private-network", f"--machine=bench{n}",
                       f"--private-users={USERS['hostID']}:{USERS['size']}", "--private-users-ownership=map",
                       "--no-new-privileges=yes", "--drop-capability=all", "/tell"],
        ),
    ]


def inits(inn, work):
    """Ways to be PID 1 of a container; here an ordinary process, which adopts orphans."""
    tell = str(work / "tell")
    return [
        Tool("no init", "", lambda n: [tell]),
        Tool("inn init", "", lambda n: [inn, "init", "-s", "--", tell]),
        Tool("tini", "", lambda n: ["tini", "-s", "--", tell]),
        Tool("dumb-init", "adopts nothing", lambda n: ["dumb-init", "--", tell]),
        Tool("catatonit", "", lambda n: ["catatonit", "--", tell]),
    ]


def bundle(cgroup_path):
    """The same guest in the words of the OCI runtime specification."""
    safe = ["nosuid", "nodev", "noexec"]
    table = (PROJECT / "src/guest/seccomp/table.rs").read_text()
    allowed = table[: table.index("const YOUNG")]
    mounts = [
        ("/proc", "proc", safe + ["hidepid=2"]),
        ("/sys", "sysfs", safe + ["ro"]),
        ("/sys/fs/cgroup", "cgroup", safe + ["ro"]),
        ("/dev", "tmpfs", ["nosuid", "noexec", "mode=755", "size=64k"]),
        ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/shm", "tmpfs", safe + ["mode=1777", "size=64m"]),
        ("/dev/mqueue", "mqueue", safe),
        ("/run", "tmpfs", ["nosuid", "nodev", "mode=755", "size=64m"]),
        ("/tmp", "tmpfs", ["nosuid", "nodev", "mode=1777", "size=256m"]),
    ]
    proc = "acpi asound kcore keys kallsyms kmsg latency_stats sched_debug timer_list timer_stats interrupts scsi"
    return {
        "ociVersion": "1.0.0",
        "hostname": "guest",
        "root": {"path": "rootfs", "readonly": True},
        "process": {
            "args": ["/tell"],
            "cwd": "/",
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "mounts": [{"destination": d, "type": t, "source": t, "options": o} for d, t, o in mounts],
        "linux": {
            "cgroupsPath": cgroup_path,
            "resources": {},
            "namespaces": [{"type": t} for t in "user pid mount network ipc uts cgroup".split()],
            "uidMappings": [USERS],
            "gidMappings": [USERS],
            "maskedPaths": [f"/proc/{n}" for n in proc.split()] + ["/sys/firmware", "/sys/devices/virtual/powercap"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "architectures": ["SCMP_ARCH_X86_64" if os.uname().machine == "x86_64" else "SCMP_ARCH_AARCH64"],
                "syscalls": [{"names": sorted(set(re.findall(r"SYS_(\w+)", allowed))), "action": "SCMP_ACT_ALLOW"}],
            },
        },
    }


# Measuring ------------------------------------------------------------------------------------------------------------


# nspawn divides the cgroup that it is called in, so everything is called in one of ours.
IN_CGROUP = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"']


def once(work, cgroup, command):
    """(nanoseconds to the first byte, to the end), or why there are none."""
    caller = cgroup / "caller"
    caller.mkdir(exist_ok=True)
    try:
        done = subprocess.run([*IN_CGROUP, caller, work / "stopwatch", *command], capture_output=True, text=True, timeout=TIMEOUT_S,
                              stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return None, f"not started after {TIMEOUT_S} s"
    if done.returncode != 0:
        return None, reason(done.stderr)
    told, gone, status = map(int, done.stdout.split())
    if told < 0 or status != 0:
        return None, f"{reason(done.stderr)} (status {status:#x})"
    return (told, gone), None


def choose(work, cgroup, tool):
    """Finds the variant of `tool` that works here."""
    first_variant_failed = None
    for variant in tool.variants:
        command = variant("probe")
        program = shutil.which(command[0])
        if program is None:
            tool.missing = f"{command[0]} is not installed"
            return
        tool.command = lambda n, v=variant, p=program: [p, *v(n)[1:]]
        _, failed = once(work, cgroup, tool.command("probe"))
        if failed is None:
            if first_variant_failed:
                tool.without = f"{' '.join(command[1:2])}, for: {first_variant_failed}; {tool.without}"
            return
        first_variant_failed = first_variant_failed or failed
    tool.command, tool.missing = None, first_variant_failed


def measure(work, cgroup, present, runs, settle_s):
    order = random.Random(0)
    for number in range(-3, runs):
        # Not always behind the same neighbour, whose remains the kernel may still be clearing away.
        for tool in order.sample(present, len(present)):
            if tool.missing:
                continue
            time.sleep(settle_s)
            result, failed = once(work, cgroup, tool.command(number + 3))
            if failed:
                tool.missing = f"run {number}: {failed}"
            elif number >= 0:
                tool.told_ns.append(result[0])
                tool.gone_ns.append(result[1])
        if (number + 1) % 20 == 0:
            say(f"  {number + 1} of {runs}")


NAMESPACES = re.compile(r"\d+ +(clone3?|unshare)\(.*CLONE_NEWPID")


def count_calls(work, cgroup, tool):
    """How many system calls all its processes make until the program's exec: in all, and from the one that makes the
    guest's process namespace."""
    trace = work / "trace"
    subprocess.run([*IN_CGROUP, cgroup / "caller", "strace", "-f", "-qq", "-o", trace, *tool.command("trace")],
                   capture_output=True, timeout=TIMEOUT_S)
    total = cloned_at = 0
    for line in trace.read_text(errors="replace").splitlines():
        if re.match(r"\d+ +(<\.\.\.|---|\+\+\+)", line):
            continue
        total += 1
        if not cloned_at and NAMESPACES.match(line):
            cloned_at = total
        if re.match(r'\d+ +execve(at)?\(.*"/tell"\]', line) and cloned_at:
            tool.calls, tool.calls_since_clone = total, total - cloned_at + 1
    trace.unlink()


# Memory and size ------------------------------------------------------------------------------------------------------


def rollup(pid):
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {key: int(fields[name].split()[0]) for key, name in (("rss_kib", "Rss"), ("dirty_kib", "Private_Dirty"))}


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def supervise(inn, work, guests, look):
    """What `look` gives of the process of an `inn supervise` with so many guests running, or why there is nothing."""
    config, control, log = work / "inn.conf", work / "control", work / "supervise.log"
    sections = [f"[guest bench{n}]\nkind = app\nroot = {work}/bundle/rootfs\ncommand = /tell stay\n" for n in range(guests)]
    config.write_text("[host]\n" + "".join(sections))
    with open(log, "w") as out:
        supervisor = subprocess.Popen([inn, "--config", config, "--socket", control, "supervise"], stdout=out, stderr=out,
                                      stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while supervisor.poll() is None and time.monotonic() < deadline:
            # Helpers of a start are children too, for a moment.
            names = [Path(f"/proc/{child}/comm").read_text().strip() for child in children(supervisor.pid)]
            if names == ["tell"] * guests and control.exists():
                time.sleep(0.5)
                return look(supervisor.pid), None
            time.sleep(0.05)
        if supervisor.poll() is None:
            return None, f"{guests} guests not running after {TIMEOUT_S} s: {reason(log.read_text())}"
        return None, f"it ended with {supervisor.returncode}: {reason(log.read_text())}"
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return None, str(error)
    finally:
        supervisor.terminate()
        try:
            supervisor.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()


# A supervisor's death ---------------------------------------------------------------------------------------------------


def ask(path):
    """Asks who is there (PROTOCOL.md), and again where that was lost; how long it took until the answer, ns."""
    begun = time.monotonic_ns()
    while True:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
                client.connect(str(path))
                client.send(bytes([2, 11]))
                if client.recv(4096):
                    return time.monotonic_ns() - begun
        except ConnectionError:
            pass


def longest_answer(path, act):
    """The longest that somebody waited who asked all the time while `act` was done."""
    is_over, longest = threading.Event(), [0]

    def ask_on():
        while not is_over.is_set():
            longest[0] = max(longest[0], ask(path))

    asker = threading.Thread(target=ask_on)
    asker.start()
    try:
        act()
        time.sleep(0.05)
    finally:
        is_over.set()
        asker.join()
    return longest[0]


def gaps(inn, path, times):
    """How long nobody answers while the supervisor is replaced, or dies, and while nothing happens."""
    def look(pid):
        def upgrade():
            subprocess.run([inn, "upgrade", "--quiet", "--socket", path], check=True, timeout=TIMEOUT_S)
        ways = {"nothing": lambda: time.sleep(0.02), "upgrade": upgrade, "death": lambda: os.kill(pid, signal.SIGSEGV)}
        found = {name: [] for name in ways}
        before = children(pid)
        for _ in range(times):
            for name, act in ways.items():
                found[name].append(longest_answer(path, act))
            # Three deaths within a minute would be the last that starts anything.
            upgrade()
        if children(pid) != before:
            raise ValueError("a guest was lost")
        return {name: spread(values) for name, values in found.items()}
    return look


def init_memory(tool):
    """Of an init whose command is running."""
    init = subprocess.Popen([*tool.command(0), "stay"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        init.stdout.read(1)
        return rollup(init.pid)
    finally:
        for child in children(init.pid):
            os.kill(child, signal.SIGKILL)
        init.kill()
        init.wait()


def size(name):
    """Bytes of a program, and whether it needs a loader and libraries besides; nothing where there is none."""
    path = shutil.which(name)
    if path is None:
        return None
    data = Path(path).read_bytes()
    if data[:4] != b"\x7fELF":
        return None
    at, = struct.unpack_from("<Q", data, 32)
    each, count = struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, at + i * each)[0] for i in range(count)]
    return {"bytes": len(data), "dynamic": 3 in kinds}


# The report -----------------------------------------------------------------------------------------------------------


def spread(values):
    ordered = sorted(values)
    return {"median_ms": statistics.median(ordered) / 1e6, "p95_ms": ordered[int(0.95 * (len(ordered) - 1))] / 1e6,
            "best_ms": ordered[0] / 1e6}


def summary(tools, load, runs, settle_ms):
    rows = {}
    measured = [tool for tool in tools if not tool.missing]
    floor = next(((spread(tool.told_ns), spread(tool.gone_ns)) for tool in measured if tool.name == "floor"), None)
    for tool in measured:
        told, gone = spread(tool.told_ns), spread(tool.gone_ns)
        if floor:
            told["of_floor"] = told["median_ms"] / floor[0]["median_ms"]
            gone["of_floor"] = gone["median_ms"] / floor[1]["median_ms"]
            told["best_of_floor"] = told["best_ms"] / floor[0]["best_ms"]
            gone["best_of_floor"] = gone["best_ms"] / floor[1]["best_ms"]
        rows[tool.name] = {"exec": told, "gone": gone, "calls": tool.calls, "calls_since_clone": tool.calls_since_clone,
                           "without": tool.without}
    missing = [tool for tool in tools if tool.missing]
    return {"kernel": os.uname().release, "cpus": os.cpu_count(), "load": load, "runs": runs, "settle_ms": settle_ms, "start": rows,
            "not_run": {t.name: t.missing for t in missing}}


def show_inits(report):
    print("\nPID 1 of a container        start to exec, ms    KiB of memory")
    print("                            best median    × tini   resident   private dirty   file KiB")
    tini = report["inits"].get("tini")
    for name, row in report["inits"].items():
        ratio = f"{row['exec']['median_ms'] / tini['exec']['median_ms']:10.2f}" if tini else "         –"
        memory = f"{row['rss_kib']:11}{row['dirty_kib']:16}" if "rss_kib" in row else f"{'–':>11}{'–':>16}"
        file = f"{row['bytes'] / 1024:11.0f}" if "bytes" in row else f"{'–':>11}"
        print(f"{name:<26}{row['exec']['best_ms']:6.2f} {row['exec']['median_ms']:6.2f}{ratio}{memory}{file}")


def show(report):
    print(f"\nOne guest, all isolation on; {report['runs']} starts each, interleaved")
    print(f"Linux {report['kernel']}, {report['cpus']} CPUs, load average {report['load']:.1f}")
    print("               start to exec, ms        start to nothing left      calls")
    print("            best median   p95 × floor   best median   p95 × floor   all clone")
    for name, row in report["start"].items():
        cells = ""
        for part in ("exec", "gone"):
            ratio = row[part].get("of_floor")
            figures = "".join(f" {row[part][key]:6.2f}" for key in ("best_ms", "median_ms", "p95_ms"))
            cells += figures + (f"{ratio:6.2f}" if ratio else "     –")
        print(f"{name:<10}{cells}{row['calls'] or '–':>6}{row['calls_since_clone'] or '–':>6}")
    if report["load"] > 0.5:
        print("  others were at work on this machine: the best says more than the median")
    for name, row in report["start"].items():
        if row["without"]:
            print(f"  {name}: {row['without']}")
    if report["memory"]:
        print("\nMemory of inn supervise, KiB     resident   private dirty")
        for guests, row in report["memory"].items():
            print(f"  {guests:>4} guests{row['rss_kib']:>28}{row['dirty_kib']:>16}")
    if report["replaced"]:
        print(f"\nThe longest that a client waited for an answer, {MANY} guests, ms    best median    p95")
        for name, words in (("nothing", "while nothing happened"), ("upgrade", "while inn was replaced"), ("death", "while inn died of a fault")):
            row = report["replaced"][name]
            print(f"  {words:<60}" + "".join(f" {row[key]:6.1f}" for key in ("best_ms", "median_ms", "p95_ms")))
    show_inits(report)
    print("\nSize of the program, KiB")
    for name, row in report["size"].items():
        print(f"  {name:<20}{row['bytes'] / 1024:>21.0f}   {'and libraries' if row['dynamic'] else 'static'}")
    if report["not_run"]:
        print("\nNot run")
        for name, why in report["not_run"].items():
            print(f"  {name}: {why}")


# Leaving nothing behind -----------------------------------------------------------------------------------------------


def own_mounts():
    """Goes on in a mount namespace of its own, with cgroup v2 where systems that have nothing else mount it."""
    if "INN_BENCH_INSIDE" not in os.environ:
        os.environ["INN_BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if Path(path, "cgroup.procs").exists() and Path(path, "cgroup.subtree_control").exists():
            if path != "/sys/fs/cgroup":
                subprocess.run(["mount", "--bind", path, "/sys/fs/cgroup"], check=True)
            # nspawn leaves directories there.
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
            return Path("/sys/fs/cgroup")
    sys.exit("no cgroup v2 is mounted at /sys/fs/cgroup or /sys/fs/cgroup/unified")


def end_children():
    """Ends every process that this one started, and what they left to it: asked first, for they have to tidy up."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 2
        for child in children(os.getpid()):
            os.kill(child, number)
        while children(os.getpid()) and time.monotonic() < deadline:
            for child in children(os.getpid()):
                os.waitpid(child, os.WNOHANG)
            time.sleep(0.01)


def remove_cgroups(cgroup):
    for below, _, _ in os.walk(cgroup, topdown=False):
        for _ in range(50):
            try:
                os.rmdir(below)
                break
            except OSError:
                # Its last process is still on its way out.
                time.sleep(0.02)


def left_behind(cgroup, mounts_before):
    """What the programs did not clear away themselves."""
    processes = [stat.split(" (")[1].split(")")[0] for stat in
                 (Path(f"/proc/{pid}/stat").read_text() for pid in children(os.getpid())) if ") Z " not in stat]
    # What is in the callers' cgroup, nspawn left in the cgroup that it was given.
    below = [str(path) for path in cgroup.iterdir() if path.is_dir() and path.name != "caller"]
    # `inn run` makes its own beside ours, named after its process; another's may be running.
    beside = [str(path) for path in cgroup.parent.glob("inn-run-*") if not Path("/proc", path.name[8:]).exists()]
    return processes + below + beside + [line for line in mounts() if line not in mounts_before]


def mounts():
    return Path("/proc/self/mountinfo").read_text().splitlines()


def build(work):
    flags = ["-O2", "-Wall", "-Wextra"]
    alone = ["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"]
    for name, more in (("floor", alone), ("tell", alone), ("stopwatch", [])):
        subprocess.run(["gcc", *flags, *more, "-o", work / name, HERE / f"{name}.c"], check=True)
    root = work / "bundle/rootfs"
    for name in ("proc", "sys", "dev", "run", "tmp", "etc", "usr"):
        (root / name).mkdir(parents=True)
    shutil.copy(work / "tell", root / "tell")
    for path in (work, work / "bundle", root):
        path.chmod(0o755)


def run(options, work, cgroup):
    inn = str(options.inn)
    load = os.getloadavg()[0]
    say("building floor, tell and stopwatch")
    build(work)
    (work / "bundle/config.json").write_text(json.dumps(bundle(f"/{cgroup.name}/oci")))
    all_tools, all_inits = tools(inn, work, cgroup), inits(inn, work)
    for tool in all_tools + all_inits:
        choose(work, cgroup, tool)
        say(f"{tool.name}: {'cannot be run: ' + tool.missing if tool.missing else 'works'}")
    present = [tool for tool in all_tools if not tool.missing]
    say(f"{options.runs} starts each")
    measure(work, cgroup, present, options.runs, options.settle / 1000)
    present_inits = [tool for tool in all_inits if not tool.missing]
    measure(work, cgroup, present_inits, options.runs, options.settle / 1000)
    if shutil.which("strace"):
        for tool in present:
            if not tool.missing:
                count_calls(work, cgroup, tool)
    report = summary(all_tools, load, options.runs, options.settle)
    report["memory"] = {}
    # Pages of a program that has just been built would count as dirty until they are on the disk.
    os.sync()
    report["inits"] = {}
    for tool in (tool for tool in present_inits if not tool.missing):
        row = report["inits"][tool.name] = {"exec": spread(tool.told_ns), "without": tool.without}
        if tool.name != "no init":
            row |= init_memory(tool) | (size(tool.command(0)[0]) or {})
    report["not_run"] |= {tool.name: tool.missing for tool in all_inits if tool.missing}
    for guests in (0, GUESTS):
        say(f"memory with {guests} guests")
        row, failed = supervise(inn, work, guests, rollup)
        if failed:
            report["not_run"][f"inn supervise, {guests} guests"] = failed
        else:
            report["memory"][guests] = row
    say(f"replaced with {MANY} guests")
    report["replaced"], failed = supervise(inn, work, MANY, gaps(inn, work / "control", REPLACED))
    if failed:
        report["not_run"][f"inn replaced with {MANY} guests"] = failed
    sizes = ((name, size(path)) for name, path in [("inn", inn)] + [
        (name, name) for name in ("bwrap", "crun", "runc", "tini", "dumb-init", "catatonit", "busybox")])
    report["size"] = {name: row for name, row in sizes if row}
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="starts of each program (default 200)")
    parser.add_argument("--settle", type=float, default=20, help="milliseconds between two starts (default 20)")
    parser.add_argument("--inn", type=Path, default=PROJECT / "target/release/inn")
    parser.add_argument("--json", type=Path, default=PROJECT / "target/bench.json")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("make bench needs root")
    cgroup_root = own_mounts()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    # PR_SET_CHILD_SUBREAPER: what a killed program leaves behind comes to this process, which ends it.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    mounts_before = mounts()
    # Not /tmp: where that is memory, older kernels cannot map its owners.
    work = Path(tempfile.mkdtemp(prefix="inn-bench.", dir="/var/tmp"))
    cgroup = cgroup_root / f"inn-bench.{os.getpid()}"
    try:
        cgroup.mkdir()
        report = run(options, work, cgroup)
        report["left_behind"] = left_behind(cgroup, mounts_before)
    finally:
        end_children()
        remove_cgroups(cgroup)
        shutil.rmtree(work, ignore_errors=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    show(report)
    for left in report["left_behind"]:
        print(f"Left behind: {left}")
    sys.exit(0 if "inn" in report["start"] else 1)


if __name__ == "__main__":
    main()
