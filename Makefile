# `make run` boots a demo host, `make test` runs everything, `make try` starts a guest on this machine.
# Each target installs the Debian packages that it needs, and says so.

KERNEL ?= 6.12
INN = target/release/inn
DEMO = target/images/demo-$(KERNEL).cpio.gz
PACKAGES = images/packages.sh
RUNS ?= 200
# Where `make install` puts things.
PREFIX ?= /usr/local
DESTDIR ?=

.PHONY: all help run test try bench check docs install image aarch64 kernels debian clean deps-build deps-image deps-run deps-test deps-bench deps-aarch64

## all      build target/release/inn
all: deps-build
	cargo build --release

## run      boot the demo image under QEMU and give its console; without a terminal: play a script, power off
##          (KERNEL=5.10, 6.1 or 6.12)
run: image deps-run
	python3 images/run.py $(KERNEL) $(DEMO)

## try      a shell in a throwaway guest on this machine, as root
try: all
	$(INN) run -- /bin/sh

## test     everything: unit, property, whole-binary tests as root, whole machines under QEMU, the aarch64 build
# A shell has what it runs in the background ignore the keys' signals; what tests start must not inherit that. Nor words of another
# language, or complaints about one that is not installed.
test: all deps-test kernels debian aarch64
	env --default-signal LC_ALL=C INN_MUST_RUN=1 cargo test --tests -- --nocapture

## bench    a guest's start, PID 1's memory and the program's size against other programs, as root (RUNS=200)
bench: all deps-bench
	python3 tests/bench/bench.py --runs $(RUNS)

## check    formatting and clippy, with warnings denied
check: deps-build
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

## docs     the manual and the completions for bash, zsh and fish: target/release/share, made while inn is built
docs: all
	@find target/release/share -type f

## install  inn, its manual, completions, unit for systemd and script for OpenRC, below PREFIX=/usr/local (and DESTDIR, for who makes a package)
install: all
	install -D -m 755 $(INN) $(DESTDIR)$(PREFIX)/sbin/inn
	cd target/release/share && find . -type f -exec install -D -m 644 {} $(DESTDIR)$(PREFIX)/share/{} \;
	mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@SBIN@|$(PREFIX)/sbin|' units/inn.service.in >$(DESTDIR)$(PREFIX)/lib/systemd/system/inn.service
	mkdir -p $(DESTDIR)$(PREFIX)/share/inn
	sed 's|@SBIN@|$(PREFIX)/sbin|' units/inn.initd.in >$(DESTDIR)$(PREFIX)/share/inn/inn.initd

## image    the demo image: target/images/demo-KERNEL.cpio.gz
image: all deps-image
	python3 images/image.py $(DEMO) --kernel $(KERNEL) --module overlay --template / \
	    --template /var/lib/inn/busybox --tree images/demo

## kernels  the Debian kernels that the tests boot: target/kernels
kernels: deps-image
	for version in 5.10 6.1 6.12; do python3 images/debian.py kernel $$version || exit 1; done

## debian   the Debian that the tests boot as a guest: target/debian
debian: deps-test
	python3 images/debian.py system

## aarch64  build for aarch64, with rustup's target where it is there, else with Debian's compiler
aarch64: deps-aarch64
	images/aarch64.sh

## clean    remove target/
clean:
	cargo clean

## help     this list
help:
	@sed -n 's/^## //p' Makefile

deps-build:
	@command -v cargo >/dev/null || { echo 'no cargo: install a Rust toolchain, 1.95 or newer (rustup.rs)' >&2; exit 1; }
	@$(PACKAGES) gcc libc6-dev

deps-image:
	@$(PACKAGES) python3 apt dpkg debian-archive-keyring

deps-run: deps-image
	@$(PACKAGES) qemu-system-x86 seabios

deps-test: deps-run
	@$(PACKAGES) gcc libc6-dev procps util-linux bsdutils fdisk e2fsprogs e2fsck-static squashfs-tools erofs-utils debootstrap \
	    man-db mandoc bash zsh fish curl python3-jsonschema

deps-bench: deps-build
	@$(PACKAGES) python3 util-linux
# What cannot be installed is not compared, and the table says so.
	-@$(PACKAGES) strace bubblewrap crun runc tini dumb-init catatonit

deps-aarch64: deps-image
	@$(PACKAGES) gcc-aarch64-linux-gnu
