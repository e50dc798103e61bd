#!/usr/bin/env python3
"""Makes a bootable initramfs: gzip of cpio (newc), the same bytes from the same input.

    image.py OUTPUT --kernel VERSION [--inn PROGRAM] [--module NAME]... [--template PATH]... [--tree DIR[:PATH]]...

    --kernel    the kernel that will boot it: where --module comes from (see debian.py)
    --inn       the program that is /bin/inn and /init; target/release/inn where not given
    --module    a kernel module to have, with all that it needs
    --template  a busybox system at PATH of the image: / makes the host one, any other path a guest's root
    --tree      the files of DIR, at PATH; later ones replace earlier ones
"""

import argparse
import gzip
import lzma
import os
import pathlib
import stat
import subprocess
import sys

import debian

HERE = pathlib.Path(__file__).resolve().parent
# What a host and every guest's root need as places to mount on.
PLACES = ["dev", "etc", "proc", "root", "run", "sys", "tmp", "var"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--kernel", required=True, choices=debian.KERNELS)
    parser.add_argument("--inn", type=pathlib.Path, default=HERE.parent / "target/release/inn")
    parser.add_argument("--module", action="append", default=[])
    parser.add_argument("--template", action="append", default=[])
    parser.add_argument("--tree", action="append", default=[])
    options = parser.parse_args()

    image = Image()
    image.places("")
    image.file("bin/inn", options.inn.read_bytes(), 0o755)
    image.link("init", "bin/inn")
    add_modules(image, debian.kernel(options.kernel), options.module)
    for path in options.template:
        add_template(image, path.strip("/"))
    for tree in options.tree:
        directory, _, path = tree.partition(":")
        image.tree(pathlib.Path(directory), path.strip("/"))
    image.write(options.output)


def add_template(image, path):
    """A busybox system: the program, a link for each of its applets, and the files of template/."""
    busybox = debian.busybox() / "busybox"
    image.places(path)
    image.file(f"{path}/bin/busybox", busybox.read_bytes(), 0o755)
    for applet in subprocess.run([busybox, "--list-full"], check=True, capture_output=True, text=True).stdout.split():
        if applet != "bin/busybox":
            image.link(f"{path}/{applet}", "/bin/busybox")
    image.tree(HERE / "template", path)


def add_modules(image, kernel, names):
    """The modules `names` and all that they need, with the modules.dep that says so."""
    folder = kernel / "modules"
    release = (kernel / "release").read_text().strip()
    found = {module_name(path.name): path for path in folder.resolve().glob("kernel/**/*.ko*")}
    builtin = {module_name(os.path.basename(line)) for line in (folder / "modules.builtin").read_text().split()}
    needs = {}

    def need(name):
        """All that `name` needs, in the order of loading, and `name` itself."""
        if name in builtin:
            return []
        if name not in found:
            sys.exit(f"kernel {release} has no module {name}")
        if name not in needs:
            needs[name] = [*dict.fromkeys(other for word in module_depends(found[name]) for other in need(word)), name]
        return needs[name]

    for name in names:
        need(module_name(name))

    def place(name):
        return str(found[name].relative_to(folder.resolve()))

    lines = []
    for name in sorted(needs):
        image.file(f"lib/modules/{release}/{place(name)}", found[name].read_bytes())
        # As depmod(8) has it: what is to be loaded first comes last.
        *depends, _ = needs[name]
        lines.append(f"{place(name)}: {' '.join(map(place, reversed(depends)))}".rstrip() + "\n")
    image.file(f"lib/modules/{release}/modules.dep", "".join(lines).encode())
    aliases = "".join(f"alias {alias} {name}\n" for name in sorted(needs) for alias in modinfo(found[name], "alias"))
    image.file(f"lib/modules/{release}/modules.alias", aliases.encode())
    soft = "".join(f"softdep {name} {words}\n" for name in sorted(needs) for words in modinfo(found[name], "softdep"))
    image.file(f"lib/modules/{release}/modules.softdep", soft.encode())
    image.file(f"lib/modules/{release}/modules.builtin", (folder / "modules.builtin").read_bytes())


def module_name(file_name):
    """nf-nat.ko.xz is called nf_nat."""
    return file_name.partition(".ko")[0].replace("-", "_")


def module_depends(path):
    """The names after `depends=` in a module's .modinfo."""
    return [module_name(name) for words in modinfo(path, "depends") for name in words.split(",") if name]


def modinfo(path, key):
    """The values of `key` in a module's .modinfo."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    parts = data.split(b"\0%s=" % key.encode())
    return [part.partition(b"\0")[0].decode() for part in parts[1:]]


class Image:
    """Files by path; a path has no leading slash. Everything belongs to root."""

    def __init__(self):
        self.entries = {}

    def file(self, path, data, mode=0o644):
        self.put(path, stat.S_IFREG | mode, data)

    def link(self, path, target):
        self.put(path, stat.S_IFLNK | 0o777, target.encode())

    def directory(self, path, mode=0o755):
        self.put(path, stat.S_IFDIR | mode, b"")

    def places(self, path):
        for name in PLACES:
            self.directory(f"{path}/{name}", 0o1777 if name == "tmp" else 0o755)

    def tree(self, directory, path):
        for source in sorted(directory.rglob("*")):
            place = f"{path}/{source.relative_to(directory)}"
            if source.is_symlink():
                self.link(place, os.readlink(source))
            elif source.is_dir():
                if place.strip("/") not in self.entries:
                    self.directory(place)
            else:
                # Of a file's mode only what version control keeps.
                self.file(place, source.read_bytes(), 0o755 if os.access(source, os.X_OK) else 0o644)

    def put(self, path, mode, data):
        path = path.strip("/")
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.directory(parent)
        self.entries[path] = (mode, data)

    def write(self, output):
        # Sorted, so that a directory comes before what is in it.
        records = [
            record(number, path, mode, data)
            for number, (path, (mode, data)) in enumerate(sorted(self.entries.items()), start=1)
        ]
        archive = b"".join(records) + record(0, "TRAILER!!!", 0, b"")
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = output.with_name(f".{output.name}.{os.getpid()}")
        partial.write_bytes(gzip.compress(archive, compresslevel=5, mtime=0))
        partial.rename(output)


def record(number, path, mode, data):
    """One entry of a newc archive (cpio(5)); the kernel takes only this format."""
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = [number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name), 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)


if __name__ == "__main__":
    main()
