#!/usr/bin/env python3
"""Boots the demo image under QEMU, in software: no virtualization is needed.

    run.py KERNEL IMAGE

On a terminal it gives the console of the host. Without one it plays a script there: what it types and what comes back
is printed, each step is checked, and the exit code is 0 only if everything was as it should be.
"""

import json
import os
import pathlib
import re
import selectors
import subprocess
import sys
import time

import debian

# Bounds against hanging, not expectations: software emulation on a loaded machine is slow.
BOOT_TIMEOUT_S = 180
COMMAND_TIMEOUT_S = 60
PROMPT = "demo# "
# Each guest's limits as the kernel shows them (images/demo/etc/inn.conf has them as a person writes them).
GUESTS = {
    "web": {"memory.max": "16777216", "cpu.max": "50000 100000", "pids.max": "16"},
    "clock": {"memory.max": "33554432", "cpu.max": "25000 100000", "pids.max": "64", "cpu.weight": "50"},
}


def main():
    kernel, image = sys.argv[1:]
    command = [
        *["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max,cx16=off,la57=off", "-m", "512", "-nographic"],
        *["-no-reboot", "-nic", "none", "-kernel", str(debian.kernel(kernel) / "vmlinuz"), "-initrd", image],
        *["-append", "console=ttyS0 quiet panic=-1"],
    ]
    if os.isatty(0) and os.isatty(1):
        print("Booting. `inn list` shows the guests, `inn poweroff` ends it; Ctrl-A X ends QEMU.\n", flush=True)
        os.execvp(command[0], command)
    console = Console(command)
    try:
        play(console)
    except Failure as failure:
        log = pathlib.Path(image).with_suffix(".log")
        log.write_bytes(console.log)
        sys.exit(f"\n\nFAILED: {failure}\nThe console is in {log}.")
    finally:
        console.end()
    print("\nAll was as it should be.")


def play(console):
    console.wait_for(PROMPT, BOOT_TIMEOUT_S, "the shell on the console")
    # The shell would break the echo of a long line at the terminal's edge.
    console.run("stty columns 1000")

    step("Two guests are up, with their limits.")
    wait_until(console, "both guests are ready", lambda: all(guest(console, name)["state"] == "ready" for name in GUESTS))
    console.run("inn list")
    console.run("inn status web")
    for name, limits in GUESTS.items():
        for file, value in limits.items():
            seen = console.run(f"cat /sys/fs/cgroup/inn/{name}/{file}").strip()
            check(seen == value, f"{name}: {file} is {seen!r} and should be {value!r}")

    step("They are what they say: own processes, own users, own files.")
    check(console.run("inn exec web id -u").strip() == "1000", "exec runs as the guest's user")
    check("demo" not in console.run("inn exec clock hostname"), "a guest has a host name of its own")
    check("Served" in console.run("inn exec web wget -q -O - http://127.0.0.1:8080/"), "the web server answers inside")
    check(console.run("inn exec web touch /www/x", code=None)[1] != 0, "a read-only root takes no file")
    check(console.run("inn exec clock sh -c 'exit 7'", code=None)[1] == 7, "exec gives the command's own exit code")

    step("What they print is kept.")
    wait_until(console, "the clock's output is in its log", lambda: "up for" in console.run("inn logs clock", quiet=True))
    console.run("inn logs clock")

    step("A guest that dies is started again.")
    before = guest(console, "web")
    console.run(f"kill -9 {before['pid']}")

    def restarted():
        now = guest(console, "web")
        return now["state"] == "ready" and now["pid"] != before["pid"] and now["restarts"] == before["restarts"] + 1

    wait_until(console, "web runs again", restarted)
    console.run("inn list")

    step("An orphan is reaped by the host's first process.")
    # The subshell ends at once and leaves the sleep an orphan; it says its number first.
    orphan = console.run("sh -c 'sleep 2 & echo $!'").split()[-1]
    console.run(f"grep PPid: /proc/{orphan}/status")
    wait_until(console, "the orphan is gone", lambda: console.run(f"ls -d /proc/{orphan}", None, quiet=True)[1] != 0)
    zombies = console.run("ps -o stat,pid,args | grep ^Z", code=None)[0]
    check(zombies == "", f"zombies are left on the host: {zombies}")

    step("And it all goes down in order.")
    console.send("inn poweroff")
    console.wait_for("reboot: Power down", COMMAND_TIMEOUT_S, "the kernel's power-off")
    check(console.wait() == 0, "QEMU ends well")


def guest(console, name):
    """What `inn list --json` says about one guest."""
    return next(entry for entry in json.loads(console.run("inn list --json", quiet=True)) if entry["name"] == name)


def wait_until(console, what, holds):
    """Asks again and again: how soon it comes true is the machine's affair, only never is a failure."""
    deadline = time.monotonic() + COMMAND_TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline:
            raise Failure(f"not in {COMMAND_TIMEOUT_S} s: {what}")
        time.sleep(0.2)


def step(words):
    print(f"\n\n== {words}", flush=True)


def check(holds, words):
    if not holds:
        raise Failure(words)


class Failure(Exception):
    pass


class Console:
    """The serial console of a machine: what it prints is shown and kept, what is typed is awaited."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        self.log = b""
        # What of the log has been looked at.
        self.seen = 0
        self.shows = True
        self.number = 0

    def run(self, command, code=0, quiet=False):
        """The output of `command`; with `code=None` also its exit code, whatever it is."""
        self.number += 1
        mark = re.compile(rf"=(\d+)={self.number}=\n")
        self.shows = False
        # The shell echoes the command: there the mark looks different.
        self.send(f"{command}; echo =$?={self.number}=")
        text = self.wait_for(mark, COMMAND_TIMEOUT_S, f"the end of `{command}`")
        self.wait_for(PROMPT, COMMAND_TIMEOUT_S, "the prompt")
        self.shows = True
        found = mark.search(text)
        before, _, output = text[: found.start()].partition(f"=$?={self.number}=\n")
        # What the host itself says may come at any time: before the echo, and between the lines that are wanted.
        said = re.compile(r"^inn: .*\n", re.MULTILINE)
        if quiet:
            print("".join(said.findall(text)), end="", flush=True)
        else:
            print("".join(said.findall(before)) + PROMPT + command + "\n" + output, end="", flush=True)
        output = said.sub("", output)
        if code is None:
            return output, int(found[1])
        check(int(found[1]) == code, f"`{command}` gave {found[1]}, not {code}:\n{output}")
        return output

    def send(self, line):
        self.process.stdin.write(line.encode() + b"\n")

    def wait_for(self, what, timeout_s, words):
        """All that was not looked at yet, up to and with `what`."""
        pattern = what if isinstance(what, re.Pattern) else re.compile(re.escape(what))
        deadline = time.monotonic() + timeout_s
        while True:
            text = self.log[self.seen :].decode(errors="surrogateescape")
            found = pattern.search(text)
            if found:
                self.seen += len(text[: found.end()].encode(errors="surrogateescape"))
                return text[: found.end()]
            self.read(deadline, words)

    def read(self, deadline, words):
        if not self.selector.select(max(0, deadline - time.monotonic())):
            raise Failure(f"not in time: {words}")
        data = self.process.stdout.read(4096)
        if not data:
            raise Failure(f"the machine ended before: {words}")
        # Without what is meant for a terminal: carriage returns, and sequences that ask for its width or clear it.
        text = re.sub(rb"\r|\x1bc|\x1b\[[?\d;]*[a-zA-Z]", b"", data)
        self.log += text
        if self.shows:
            print(text.decode(errors="replace"), end="", flush=True)

    def wait(self):
        """QEMU's exit code; the machine has been told to end."""
        try:
            return self.process.wait(COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Failure("QEMU does not end") from None

    def end(self):
        self.process.kill()
        self.process.wait()


if __name__ == "__main__":
    main()
