//! Every capacity and every time-out, with its unit and its reason.
//!
//! A table that is full is an answer to the user, never a crash: config over a bound is an error that names the bound.

/// Guests and services together. A VPS host runs "tens to a thousand".
pub const GUESTS: usize = 1024;
/// Config files read by one config, includes counted.
pub const CONFIG_FILES: usize = 256;
/// Bytes of one config, all included files and their names together: a thousand guests of a dozen lines each take a third of it.
pub const CONFIG_BYTES: usize = 1 << 20;
/// Bytes of one line, continuation lines counted.
pub const LINE_BYTES: usize = 4096;
/// Sections of one config: guests and services, and as many profiles, links and bridges.
pub const SECTIONS: usize = 2 * GUESTS;
/// Profiles.
pub const PROFILES: usize = 64;
/// Words in one value.
pub const VALUE_WORDS: usize = 64;
/// Diagnostics kept and printed for one config; more are counted.
pub const DIAGNOSTICS: usize = 100;
/// Bytes of all strings of a plan: no more than the config they came from, with a NUL behind each.
pub const STRINGS_BYTES: usize = CONFIG_BYTES;
/// Bytes of a guest's name: fits a hostname (RFC 1123 label), a cgroup, a file name.
pub const NAME_BYTES: usize = 63;
/// Words of all commands and environments of a plan.
pub const WORDS: usize = 16 * GUESTS;
/// Words of one guest's command, or of its environment.
pub const COMMAND_WORDS: usize = 64;
/// Dependencies of a plan, both ends counted once.
pub const DEPENDENCIES: usize = 4 * GUESTS;
/// Steps of one guest's `stop`.
pub const STOP_STEPS: usize = 8;
/// Supplementary groups of one guest.
pub const GROUPS: usize = 32;
/// Ranges of users of one guest: the kernel takes 340, and a page holds fewer.
pub const USER_RANGES: usize = 16;
/// Devices of one guest.
pub const DEVICES: usize = 32;
/// Binds of one guest, and file systems in memory.
pub const BINDS: usize = 64;
/// Bytes that a guest's `/run` can hold, where `tmpfs` does not say. What is written there counts towards its memory.
pub const RUN_BYTES: u64 = 64 << 20;
/// The same of `/tmp`.
pub const TMP_BYTES: u64 = 256 << 20;
/// The same of `/dev/shm`.
pub const SHM_BYTES: u64 = 64 << 20;
/// Disks whose use is limited for one guest.
pub const DISKS: usize = 16;
/// Kernel modules named by `modules`.
pub const MODULES: usize = 64;
/// Bytes of what a device is called (`modalias`): an input device lists its keys and axes there.
pub const DEVICE_NAME_BYTES: usize = 1024;
/// Bytes of what devices are called that are looked up at once: a large machine's hundreds of them. More take another look.
pub const DEVICE_NAMES_BYTES: usize = 32 << 10;
/// How deep below `/sys/devices` a device is looked for: a USB device behind seven hubs is twenty deep.
pub const DEVICE_DEPTH: usize = 40;
/// How often devices are looked for again because loading their drivers brought others.
pub const DEVICE_ROUNDS: usize = 8;
/// Bytes of what the kernel says of one device, and more: it keeps to half of that (lib/kobject_uevent.c).
pub const DEVICE_MESSAGE_BYTES: usize = 4096;
/// Messages about devices read before other events get their turn.
pub const DEVICE_BATCH: usize = 64;
/// Keeping what the host has from one boot to the next: after so long the boot goes on without.
pub const STATE_TIMEOUT_MS: u64 = 10_000;
/// File systems and swap of the host.
pub const MOUNTS: usize = 64;
/// How long the device of a file system is waited for at boot, where `wait=` does not say: a slow disk has spun up by then.
pub const DEVICE_WAIT_MS: u64 = 30_000;
/// Waiting for a device is told once it has taken so long.
pub const DEVICE_QUIET_MS: u64 = 1_000;
/// Mounting one file system, once its device is there and it was checked: a journal may be played back. After so long the
/// boot goes on without.
pub const MOUNT_TIMEOUT_MS: u64 = 60_000;
/// Checking one file system: longer than a checker takes for the disks of a small host. Ctrl-Alt-Del ends it before.
pub const CHECK_DISK_TIMEOUT_MS: u64 = 6 * 3_600_000;
/// Addresses, gateways and other settings of all links of the host.
pub const LINK_SETTINGS: usize = 128;
/// Sysctls of the host.
pub const SYSCTLS: usize = 64;

/// Control clients at once. One more is told that the server is busy.
pub const CLIENTS: usize = 72;
/// Bytes of one control message.
pub const MESSAGE_BYTES: usize = 4096;
/// A client that takes no byte for so long is dropped.
pub const CLIENT_STALL_MS: u64 = 10_000;
/// Orphans reaped before other events get their turn.
pub const REAP_BATCH: usize = 64;
/// Records of the kernel's log read before other events get their turn.
pub const KERNEL_LOG_BATCH: usize = 64;
/// One line about processes of a guest that were killed for want of memory in so long; others are counted in the next.
pub const KILLED_LINE_MS: u64 = 1_000;
/// Guests started before other events get their turn.
pub const STARTS_PER_TURN: usize = 8;
/// Helpers at work at once: each costs memory for a moment, and more of them make no start faster.
pub const STARTS_AT_ONCE: usize = 64;
/// Guests listed to one client before other events get their turn.
pub const LIST_BATCH: usize = 32;

/// How often `top`, `stats --follow` look, where `--interval` does not say.
pub const INTERVAL_MS: u64 = 1_000;
/// The shortest interval: a look takes a millisecond for fifty guests.
pub const INTERVAL_LEAST_MS: u64 = 100;

/// Scrapers that `inn metrics` answers at once: one is usual, two where it is replaced.
pub const SCRAPERS: usize = 8;
/// How long one scrape may take: scrapers give up after ten seconds themselves.
pub const SCRAPE_MS: u64 = 10_000;
/// How long a scraper may take to ask.
pub const SCRAPE_HEAD_MS: u64 = 5_000;
/// How long it is listened to after it was answered, at a time.
pub const SCRAPE_DRAIN_MS: u64 = 200;

/// Bytes of guest output kept, where `log` does not say.
pub const LOG_BYTES_DEFAULT: u64 = 64 << 10;
/// Bytes of guest output kept at most.
pub const LOG_BYTES_MAX: u64 = 64 << 20;

/// Bytes of one log file: enough for a rotation now and then, and no more than file systems take.
pub const LOG_FILE_BYTES: (u64, u64) = (64 << 10, 1 << 40);
/// Log files of one guest, the one that is written to counted.
pub const LOG_FILES: (u64, u64) = (1, 99);
/// How long the process that writes log files may take before people are told: its storage hangs, or is too slow.
pub const LOG_LATE_MS: u64 = 10_000;
/// How long it may take for the rest when the host goes down.
pub const LOG_FINISH_MS: u64 = 5_000;
/// It is started again after so long: at first, and at most.
pub const LOG_WRITER_DELAY_MS: (u64, u64) = (1_000, 60_000);
/// Lines that guests with `log = kmsg` may bring into the kernel's log in [`KMSG_WINDOW_MS`]: one of them, and all together.
/// The kernel's own lines are what it is for.
pub const KMSG_LINES: (u16, u16) = (50, 200);
/// See [`KMSG_LINES`].
pub const KMSG_WINDOW_MS: u64 = 5_000;

/// Bytes of events kept: some three thousand, as many as a full host makes when it starts, and comes to be as it is used.
pub const EVENTS_BYTES: u64 = 256 << 10;

/// Processes of a guest of which the config names no number: enough for a distribution, too few to starve the host.
pub const PROCESSES_DEFAULT: u32 = 1024;
/// Open files of one process, soft and hard, where `rlimit` does not say: what systemd gives, for programs that still use
/// select(2).
pub const OPEN_FILES: (u64, u64) = (1024, 524_288);
/// Cgroups below a guest, and how deep.
pub const CGROUP_DESCENDANTS: u32 = 1024;
/// See [`CGROUP_DESCENDANTS`].
pub const CGROUP_DEPTH: u32 = 16;
/// Of the processes that the kernel can have, guests together cannot take one in so many: PID 1 must always be able to start
/// a helper, and an operator a shell.
pub const HOST_PROCESSES_SHARE: u64 = 8;
/// Terminals of one guest: more than the sessions of a busy machine.
pub const TERMINALS: u32 = 256;
/// A start that has not reached exec after so long has failed: its storage hangs.
pub const START_TIMEOUT_MS: u64 = 30_000;
/// How long a supervisor waits for one that was killed: its helpers hold its place until the kernel has ended them.
pub const CLAIM_TIMEOUT_MS: u64 = 3_000;
/// A guest that is not ready so long after its program began to run has failed, where `ready` does not say `within`: longer
/// than a distribution takes to boot on a slow machine.
pub const READY_TIMEOUT_MS: u32 = 120_000;
/// How often it is looked whether a guest is ready, where only that tells: at first after so long, each time twice as long, at
/// most.
pub const READY_LOOK_MS: (u64, u64) = (25, 1_000);
/// One such look that takes longer is given up.
pub const READY_LOOK_TIMEOUT_MS: u64 = 5_000;
/// `health` where it does not say `every`, `timeout` and `failures`.
pub const HEALTH_EVERY_MS: u32 = 30_000;
/// See [`HEALTH_EVERY_MS`].
pub const HEALTH_TIMEOUT_MS: u32 = 5_000;
/// See [`HEALTH_EVERY_MS`].
pub const HEALTH_FAILURES: u16 = 3;
/// Children that look after guests at work at once: each costs memory for a moment.
pub const CHECKS_AT_ONCE: usize = 32;
/// Hooks of one guest for one moment.
pub const HOOKS: usize = 8;
/// A hook that takes longer is killed, and has failed.
pub const HOOK_TIMEOUT_MS: u64 = 30_000;
/// Of what a hook prints so much is kept in the guest's log.
pub const HOOK_OUTPUT_BYTES: usize = 16 << 10;
/// A guest that waits for others so long, none of which is on its way to be ready, has failed; those on their way have
/// time-outs of their own.
pub const WAIT_TIMEOUT_MS: u64 = 120_000;
/// Bytes of one notification that are read (sd_notify(3) sends no more than a page); a longer one is cut.
pub const NOTIFY_BYTES: usize = 2048;
/// Bytes of what a guest says of itself that are kept.
pub const SAID_BYTES: usize = 120;
/// How long the kernel may take to empty a killed cgroup before `list` shows it as stuck.
pub const KILL_TIMEOUT_MS: u64 = 10_000;
/// Changes of a guest that take longer are undone: the kernel hangs.
pub const CHANGE_TIMEOUT_MS: u64 = 30_000;
/// Reading the config again: after so long the attempt is given up, for its storage hangs.
pub const RELOAD_TIMEOUT_MS: u64 = 10_000;
/// How often the config is read anew because guests went on meanwhile: each of them does so once.
pub const RELOAD_TRIES: u32 = 8;
/// Lines told of a config that is wrong where nobody asked but a signal.
pub const RELOAD_LINES: usize = 20;
/// How long a guest may take to stand still for a change.
pub const FREEZE_TIMEOUT_MS: u64 = 5_000;
/// Back-off between restarts, where `restart-delay` does not say: from, to.
pub const RESTART_DELAY_MS: (u64, u64) = (100, 60_000);
/// A guest that stayed up for so long has its back-off forgotten.
pub const STABLE_MS: u64 = 60_000;
/// `stop` where the config does not say: time before the kill, for `app` and for `os`.
pub const STOP_TIMEOUT_MS: u64 = 10_000;
/// See [`STOP_TIMEOUT_MS`]: a distribution's init stops its own services first.
pub const STOP_TIMEOUT_OS_MS: u64 = 30_000;
/// Everything down, file systems unmounted: after so long PID 1 powers off whatever is left.
pub const SHUTDOWN_TIMEOUT_MS: u64 = 90_000;
/// Of that, at most so long is kept for the host's own end: a third each for guests that were killed, for other processes,
/// and for file systems; half of it, where it is short.
pub const FINAL_MS: u64 = 15_000;
/// Power-off, once the guests are down: how long what else runs is given between TERM and KILL, and after KILL, at most.
pub const FINAL_TERM_MS: u64 = 5_000;
/// See [`FINAL_TERM_MS`]. What has not ended by then hangs in the kernel.
pub const FINAL_KILL_MS: u64 = 2_000;
/// A file system that takes longer to be written back or unmounted no longer holds up the others.
pub const FINAL_STEP_MS: u64 = 1_000;
/// `watchdog` where it names no time-out: longer than a busy machine keeps its PID 1 waiting.
pub const WATCHDOG_MS: u64 = 30_000;
/// A watchdog that is not there is looked for again after so long: its driver may come with a device.
pub const WATCHDOG_RETRY_MS: u64 = 5_000;
/// `critical` where it names no time: as long as a guest may take to be ready.
pub const CRITICAL_MS: u32 = READY_TIMEOUT_MS;
/// Critical guests: each is looked at in every turn.
pub const CRITICAL: usize = 64;
/// `healthy` where it names no time.
pub const HEALTHY_MS: u64 = 120_000;
/// A child that is to end a command in time has so long for that.
pub const HEALTHY_GRACE_MS: u64 = 2_000;
/// Writing how this boot ends, and telling the boot loader that it is a bad one: storage that takes longer hangs.
pub const RECORD_MS: u64 = 10_000;
/// Bytes of how a boot ended.
pub const ENDING_BYTES: usize = 256;
/// Emptying them all, at one boot: a slow card with a million files takes minutes.
pub const RESET_TIMEOUT_MS: u64 = 15 * 60_000;
/// Directories that a factory reset empties.
pub const RESETS: usize = 64;
/// How often a watchdog is petted in the time that it gives.
pub const WATCHDOG_SHARE: u64 = 3;
/// Loading the modules and making the settings of `[host]`: after so long the boot goes on without.
pub const PREPARE_TIMEOUT_MS: u64 = 30_000;
/// Modules are locked once every guest that starts with the host has started or failed; after so long, whatever they do.
pub const UP_TIMEOUT_MS: u64 = 120_000;
/// The emergency shell is offered again after so long: at first, and at most.
pub const EMERGENCY_DELAY_MS: (u64, u64) = (1_000, 30_000);
/// Before the emergency shell has the console, what was said is to be out: so often that is looked at, and so long between two looks.
/// A slow line takes its whole buffer in that time.
pub const CONSOLE_LOOKS: u32 = 500;
/// See [`CONSOLE_LOOKS`].
pub const CONSOLE_LOOK_MS: u64 = 10;
/// So many deaths of a supervisor within [`DEATHS_WITHIN_MS`], and it starts nothing any more.
pub const DEATHS: usize = 3;
/// A minute: who dies that often in it dies of something that comes again.
pub const DEATHS_WITHIN_MS: u64 = 60_000;
/// Descriptors of PID 1: per guest at most eight, while it starts; and some of its own.
pub const DESCRIPTORS: u64 = 8 * GUESTS as u64 + 1024;

/// How often a path in a guest's root is looked up anew because something on the host was renamed or mounted meanwhile:
/// a start among a thousand others meets some of that.
pub const LOOK_TRIES: usize = 64;
/// How deep a root that must be copied may be: each level takes a few kilobytes of the helper's stack.
pub const COPY_DEPTH: usize = 64;

/// How long the kernel may take to let go of an image whose guest has ended.
pub const IMAGE_WAIT_MS: u64 = 5_000;
/// Bytes of the record of users: each guest of a full host with a long name, and as many that were there before.
pub const RECORD_BYTES: usize = 256 << 10;

/// How long another may have the record of users locked: it reads and writes some kilobytes of memory.
pub const RECORD_WAIT_MS: u64 = 2_000;

/// Users of a guest's own range: what a distribution uses, `nobody` included.
pub const USER_RANGE: u32 = 65_536;
/// Ranges of a guest that may have guests of its own: one for itself, the others for them.
pub const USER_RANGES_NESTING: u32 = 16;
/// Host ids that ranges are handed out from (systemd.io/UIDS-GIDS: the range for containers).
pub const USER_BASE: core::ops::Range<u32> = 0x0008_0000..0x7000_0000;

// Relations that other code relies on.
const _: () = assert!(GUESTS <= u16::MAX as usize && CONFIG_FILES <= u8::MAX as usize + 1);
const _: () = assert!(LINE_BYTES <= MESSAGE_BYTES && NAME_BYTES < LINE_BYTES);
const _: () = assert!(WORDS <= u16::MAX as usize);
const _: () = assert!(DEPENDENCIES <= u16::MAX as usize);
const _: () = assert!(VALUE_WORDS == COMMAND_WORDS && VALUE_WORDS >= 2 * STOP_STEPS);
const _: () = assert!(LOG_BYTES_DEFAULT <= LOG_BYTES_MAX);
