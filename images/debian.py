#!/usr/bin/env python3
"""Fetches Debian packages into target/, without touching this machine's own package state.

    debian.py kernel 5.10|6.1|6.12    a cloud kernel and its modules: target/kernels/VERSION/{vmlinuz,modules}
    debian.py busybox                 the static busybox of the images: target/busybox/busybox
    debian.py promtool                what checks metrics, of Prometheus: target/promtool/promtool
    debian.py runit                   runit's programs, and the library that they need: target/runit
    debian.py openrc                  OpenRC's programs, and the libraries that they need: target/openrc
    debian.py system                  a Debian with systemd, as debootstrap makes it: target/debian/root.ext4; needs root
    debian.py aarch64                 a Rust compiler with the standard library of aarch64: target/aarch64

Prints the directory. apt does the work, and checks the archive's signatures, with a configuration and a state of its
own: other suites and other architectures than this machine's leave no trace in /etc/apt or in dpkg's database. The
mirror is the one this machine uses. What is there already is not fetched again.
"""

import fcntl
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

TARGET = pathlib.Path(__file__).resolve().parent.parent / "target"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# Each with the suites that have it, the first that answers is taken: an old suite moves to the archive one day.
KERNELS = {
    "5.10": ["bullseye", "bullseye@http://archive.debian.org/debian"],
    "6.1": ["bookworm", "bookworm@http://archive.debian.org/debian"],
    "6.12": ["trixie", "bookworm-backports", "bookworm-backports@http://archive.debian.org/debian"],
}

# Of the file system of a Debian: three times what it takes. The file has holes.
SYSTEM_BYTES = 1 << 30

RUSTC_WRAPPER = """#!/bin/sh
# The compiler of this directory, with the libraries of this directory.
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="$here/usr/lib/x86_64-linux-gnu:$here/lib/x86_64-linux-gnu"
exec "$here/usr/bin/rustc" "$@"
"""


def main(arguments):
    match arguments:
        case ["kernel", version] if version in KERNELS:
            print(kernel(version))
        case ["busybox"]:
            print(busybox())
        case ["openrc"]:
            print(openrc())
        case ["promtool"]:
            print(promtool())
        case ["runit"]:
            print(runit())
        case ["system"]:
            print(system())
        case ["aarch64"]:
            print(aarch64())
        case _:
            sys.exit(__doc__)


def kernel(version):
    """The directory of a kernel: `vmlinuz`, and `modules` with a file `release`."""

    def fetch(directory):
        suite = Suite.first(KERNELS[version], "amd64", "linux-image-cloud-amd64", directory)
        depends = suite.depends("linux-image-cloud-amd64")
        name = next(name for name in depends if name.startswith(f"linux-image-{version}."))
        suite.unpack([name], directory)
        (modules,) = [path for path in directory.glob("**/lib/modules/*") if path.is_dir()]
        (vmlinuz,) = directory.glob("boot/vmlinuz-*")
        (directory / "release").write_text(modules.name + "\n")
        (directory / "vmlinuz").symlink_to(vmlinuz.relative_to(directory))
        (directory / "modules").symlink_to(modules.relative_to(directory))

    return once(TARGET / "kernels" / version, fetch)


def busybox():
    """The directory of a `busybox` that needs no library."""

    def fetch(directory):
        suite = Suite.first(["bookworm", "trixie"], "amd64", "busybox-static", directory)
        suite.unpack(["busybox-static"], directory)
        (program,) = [path for path in directory.glob("**/bin/busybox")]
        (directory / "busybox").symlink_to(program.relative_to(directory))

    return once(TARGET / "busybox", fetch)


def runit():
    """A root with runit's programs, and what they need to run."""

    def fetch(directory):
        suite = Suite.first(["bookworm", "trixie"], "amd64", "runit", directory)
        suite.unpack(["runit", "libc6"], directory)

    return once(TARGET / "runit", fetch)


def openrc():
    """A root with OpenRC's programs, and what they need to run."""
    libraries = ["libaudit1", "libcap-ng0", "libeinfo1", "libpam0g", "libpcre2-8-0", "librc1", "libselinux1"]

    def fetch(directory):
        suite = Suite.first(["bookworm", "trixie"], "amd64", "openrc", directory)
        suite.unpack(["openrc", "libc6", *libraries], directory)

    return once(TARGET / "openrc", fetch)


def promtool():
    """The directory of `promtool`, which needs no library. The package itself would start a server."""

    def fetch(directory):
        suite = Suite.first(["bookworm", "trixie"], "amd64", "prometheus", directory)
        suite.unpack(["prometheus"], directory)
        (program,) = directory.glob("**/usr/bin/promtool")
        (directory / "promtool").symlink_to(program.relative_to(directory))

    return once(TARGET / "promtool", fetch)


def system():
    """The directory of `root.ext4`: the file system of a Debian that nothing was changed in but root's password, which
    is `secret`."""

    def fetch(directory):
        root = directory / "root"
        proxy = output(["apt-config", "shell", "proxy", "Acquire::http::Proxy"]).strip()
        settings = {"http_proxy": proxy.partition("=")[2].strip("'")} if proxy else {}
        # What it mounts goes with its mount namespace, however it ends.
        alone = ["unshare", "--mount", "--propagation", "private"]
        arguments = [f"--keyring={KEYRING}", "--include=dbus,libpam-systemd", "bookworm", root, host_mirror("bookworm")]
        say("installing Debian bookworm into a directory")
        made = subprocess.run(
            [*alone, "debootstrap", *arguments],
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if made.returncode != 0:
            sys.exit(f"debootstrap failed:\n{made.stdout}")
        subprocess.run(["chroot", root, "chpasswd"], input=b"root:secret\n", check=True)
        subprocess.run(["chroot", root, "apt-get", "clean"], check=True)
        # These two it copies from the machine that it runs on.
        for name in ["hostname", "resolv.conf"]:
            (root / "etc" / name).unlink(missing_ok=True)
        image = directory / "root.ext4"
        with open(image, "wb") as file:
            file.truncate(SYSTEM_BYTES)
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-d", root, image], check=True)
        shutil.rmtree(root)

    return once(TARGET / "debian", fetch)


def aarch64():
    """The directory of a Rust toolchain with the standard library of aarch64."""

    def fetch(directory):
        # The compiler and the standard library must be of one version, so this machine's own compiler will not do.
        own = platform.freedesktop_os_release().get("VERSION_CODENAME", "bookworm")
        suites = [f"{name}+{name}-security" for name in dict.fromkeys([own, "bookworm", "trixie"])]
        host = Suite.first(suites, "amd64", "rustc-web", directory)
        (library,) = [name for name in host.depends("libstd-rust-web-dev") if name.startswith("libstd-rust-web-")]
        host.unpack(["rustc-web", "libstd-rust-web-dev", *host.libraries(library)], directory)
        cross = Suite.first([host.name], "arm64", "libstd-rust-web-dev", directory)
        cross.unpack(["libstd-rust-web-dev"], directory / "arm64")
        (rustlib,) = (directory / "arm64").glob("**/rustlib/aarch64-unknown-linux-gnu")
        shutil.move(rustlib, directory / "usr/lib/rustlib/aarch64-unknown-linux-gnu")
        shutil.rmtree(directory / "arm64")
        wrapper = directory / "rustc"
        wrapper.write_text(RUSTC_WRAPPER)
        wrapper.chmod(0o755)

    return once(TARGET / "aarch64", fetch)


def once(directory, fetch):
    """`directory`, made by `fetch` unless it is there already; whole or not at all."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open(directory.with_name(f".{directory.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            partial = directory.with_name(f".{directory.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            fetch(partial)
            shutil.rmtree(partial / ".apt", ignore_errors=True)
            partial.rename(directory)
    return directory


class Suite:
    """Suites of the Debian archive (`A+B`, at a mirror `…@URL`) for one architecture, with an apt state of their own."""

    def __init__(self, name, architecture, directory):
        suites, _, mirror = name.partition("@")
        self.name = name
        self.directory = directory / ".apt" / f"{suites}-{architecture}"
        for part in ["state/lists/partial", "cache/archives/partial"]:
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        (self.directory / "status").touch()
        sources = self.directory / "sources.list"
        sources.write_text(
            "".join(
                f"deb [arch={architecture} signed-by={KEYRING}] {mirror or host_mirror(suite)} {suite} main\n"
                for suite in suites.split("+")
            )
        )
        # The proxy and the other settings of this machine's downloads, and nothing else of its configuration.
        acquire = [line for line in output(["apt-config", "dump"]).splitlines() if line.startswith("Acquire::")]
        self.config = self.directory / "apt.conf"
        self.config.write_text(
            "\n".join(
                acquire
                + [
                    f'Dir::State "{self.directory}/state";',
                    f'Dir::State::status "{self.directory}/status";',
                    f'Dir::Cache "{self.directory}/cache";',
                    f'Dir::Etc::SourceList "{sources}";',
                    'Dir::Etc::SourceParts "/dev/null";',
                    'Dir::Etc::Preferences "/dev/null";',
                    'Dir::Etc::PreferencesParts "/dev/null";',
                    'Dir::Etc::Main "/dev/null";',
                    'Dir::Etc::Parts "/dev/null";',
                    f'APT::Architecture "{architecture}";',
                    f'APT::Architectures {{ "{architecture}"; }};',
                    'APT::Sandbox::User "root";',
                    'Acquire::Languages "none";',
                    'Acquire::Retries "3";',
                ]
            )
            + "\n"
        )

    @staticmethod
    def first(suites, architecture, package, directory):
        """The first of `suites` that answers and has `package`."""
        failures = []
        for name in suites:
            suite = Suite(name, architecture, directory)
            try:
                say(f"reading Debian {name} for {architecture}")
                suite.apt("apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any")
                suite.apt("apt-cache", "show", package)
                return suite
            except subprocess.CalledProcessError as error:
                failures.append(f"{name}: {error.stderr.strip()}")
        sys.exit(f"no suite has {package} for {architecture}:\n" + "\n".join(failures))

    def depends(self, package):
        """The names of the packages that `package` depends on directly."""
        return re.findall(r"^ *Depends: (\S+)$", self.apt("apt-cache", "depends", package), re.MULTILINE)

    def libraries(self, package):
        """`package` and all that it depends on, the C library excepted: that is the machine's own."""
        options = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
        listed = self.apt("apt-cache", "depends", "--recurse", *options, package)
        return [name for name in re.findall(r"^(\w\S*)$", listed, re.MULTILINE) if name != "libc6"]

    def unpack(self, packages, directory):
        """Downloads `packages` and unpacks them below `directory`."""
        archives = self.directory / "cache" / "archives"
        for old in archives.glob("*.deb"):
            old.unlink()
        say(f"fetching {' '.join(packages)} ({self.name})")
        self.apt("apt-get", "download", "-qq", *packages, directory=archives)
        for archive in sorted(archives.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", archive, directory], check=True)
            archive.unlink()

    def apt(self, *command, directory=None):
        return output(list(command), cwd=directory, env={**os.environ, "APT_CONFIG": str(self.config)})


def host_mirror(suite):
    """The mirror in this machine's own apt sources, else Debian's."""
    folder = "debian-security" if suite.endswith("-security") else "debian"
    for address in output(["apt-get", "indextargets", "--format", "$(REPO_URI)"]).split():
        if address.startswith("http") and address.rstrip("/").endswith(f"/{folder}"):
            return address.rstrip("/")
    return f"http://deb.debian.org/{folder}"


def output(command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def say(message):
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
