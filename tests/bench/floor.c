// floor CGROUP ROOT PROGRAM [ARGUMENTS]: the floor under every start of a guest. The shortest straight line of system calls
// to the isolation that `inn run --kind app` gives: one process fewer, no reports, no messages, and nothing is
// closed that an exit closes. Whoever wants the same result cannot be faster than this by much.
//
// CGROUP is a directory in cgroup v2, made by the caller. What fails is told by its line here and by errno.
#define _GNU_SOURCE
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

// Users and groups of the guest: BASE on the host is 0 inside.
#define BASE 524288
#define MAP "0 524288 65536"
// Instructions in inn's filter for apps, and as many runs of call numbers as make a search tree of that size.
#define FILTER 182
#define RUNS (FILTER / 2 - 1)

static _Noreturn void fail(int line, long error) {
    char text[] = "floor.c:0000: errno 000\n";
    for (int i = 11; i > 7; i--, line /= 10) text[i] = '0' + line % 10;
    for (int i = 22, e = -error; i > 19; i--, e /= 10) text[i] = '0' + e % 10;
    call(write, 2, text, sizeof text - 1);
    for (;;) call(exit_group, 1);
}

static long checked(int line, long result) {
    if (result < 0) fail(line, result);
    return result;
}
#define must(name, ...) checked(__LINE__, call(name, __VA_ARGS__))

static unsigned long length(const char *text) {
    unsigned long n = 0;
    while (text[n]) n++;
    return n;
}

static char *number(char *end, unsigned long value) {
    do *--end = '0' + value % 10;
    while (value /= 10);
    return end;
}

static char *join(char *to, const char *text) {
    while ((*to = *text++)) to++;
    return to;
}

static long open_at(long directory, const char *path, int flags) {
    return must(openat, directory, path, flags | O_CLOEXEC, 0);
}

static void set_attributes(long mount, unsigned long attributes, long users) {
    struct mount_attr wanted = {.attr_set = attributes | MOUNT_ATTR_IDMAP, .userns_fd = users};
    must(mount_setattr, mount, "", AT_EMPTY_PATH, &wanted, sizeof wanted);
}

static long devices(void) {
    static const struct { const char *name; unsigned number; } nodes[] = {
        {"null", 0x103}, {"zero", 0x105}, {"full", 0x107}, {"random", 0x108}, {"urandom", 0x109}, {"tty", 0x500}};
    static const char *const links[][2] = {{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"},
        {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}};
    static const char *const directories[] = {"pts", "shm", "mqueue"};
    long context = must(fsopen, "tmpfs", FSOPEN_CLOEXEC);
    must(fsconfig, context, FSCONFIG_SET_STRING, "mode", "755", 0);
    must(fsconfig, context, FSCONFIG_SET_STRING, "size", "64k", 0);
    must(fsconfig, context, FSCONFIG_SET_STRING, "nr_inodes", "1k", 0);
    must(fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
    long dev = must(fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    must(umask, 0);
    for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++)
        must(mknodat, dev, nodes[i].name, S_IFCHR | 0666, nodes[i].number);
    for (unsigned i = 0; i < sizeof links / sizeof *links; i++) must(symlinkat, links[i][0], dev, links[i][1]);
    for (unsigned i = 0; i < sizeof directories / sizeof *directories; i++) must(mkdirat, dev, directories[i], 0755);
    must(mknodat, dev, "console", S_IFREG | 0600, 0);
    return dev;
}

#define IF_NOT(register, value, skip) {BPF_JMP | BPF_JNE | BPF_K, register, 0, skip, value}

// Only the devices above, and terminals, may be used in the cgroup: the least that says so.
static void guard(long cgroup) {
    static const struct bpf_insn code[] = {
        {BPF_LDX | BPF_MEM | BPF_W, 2, 1, 0, 0}, {BPF_LDX | BPF_MEM | BPF_W, 3, 1, 4, 0},
        {BPF_LDX | BPF_MEM | BPF_W, 4, 1, 8, 0}, {BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1},
        {BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0x1ffff},
        IF_NOT(2, BPF_DEVCG_DEV_CHAR, 10),
        IF_NOT(3, 1, 5),
        {BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 10, 3}, {BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 9, 5},
        {BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 8, 7}, {BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 7, 8},
        {BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 6, 9},
        IF_NOT(3, 5, 1),
        {BPF_JMP | BPF_JLE | BPF_K, 4, 0, 4, 2},
        {BPF_JMP | BPF_JLT | BPF_K, 3, 0, 1, 136},
        {BPF_JMP | BPF_JLE | BPF_K, 3, 0, 2, 143},
        {BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0},
        {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insn_cnt = sizeof code / sizeof *code,
        .insns = (unsigned long)code, .license = (unsigned long)"Dual MIT/GPL"};
    long program = must(bpf, BPF_PROG_LOAD, &load, sizeof load);
    union bpf_attr attach = {.target_fd = cgroup, .attach_bpf_fd = program, .attach_type = BPF_CGROUP_DEVICE,
        .attach_flags = BPF_F_ALLOW_MULTI};
    must(bpf, BPF_PROG_ATTACH, &attach, sizeof attach);
}

// From here on clocks of children begin at nothing.
static void own_clocks(void) {
    static const struct { const char *name; int clock; } clocks[] = {
        {"monotonic -", CLOCK_MONOTONIC}, {"boottime -", CLOCK_BOOTTIME}};
    char text[96], digits[24], *to = text;
    must(unshare, CLONE_NEWTIME);
    for (int i = 0; i < 2; i++) {
        struct timespec t;
        must(clock_gettime, clocks[i].clock, &t);
        digits[23] = 0;
        to = join(join(join(to, clocks[i].name), number(digits + 23, t.tv_sec)), " 0\n");
    }
    must(write, open_at(AT_FDCWD, "/proc/self/timens_offsets", O_WRONLY), text, to - text);
}

static void new_mount(const char *kind, const char *target, unsigned long flags, const char *options) {
    must(mount, kind, target, kind, flags, options);
}

static int cover(int line, const char *source, const char *target) {
    long result = call(mount, source, target, 0, MS_BIND, 0);
    if (result != -ENOENT) checked(line, result);
    return result == 0;
}

static void view(long dev) {
    static const char *const files[] = {"/proc/kcore", "/proc/keys", "/proc/kallsyms", "/proc/kmsg", "/proc/latency_stats",
        "/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats", "/proc/interrupts", "/proc/sysrq-trigger"};
    static const char *const directories[] = {"/sys/devices/virtual/powercap", "/proc/acpi", "/proc/asound", "/proc/scsi"};
    static const char *const sealed[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"};
    const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    new_mount("proc", "/proc", safe, "hidepid=2");
    new_mount("sysfs", "/sys", safe | MS_RDONLY, 0);
    new_mount("cgroup2", "/sys/fs/cgroup", safe | MS_RDONLY, 0);
    must(move_mount, dev, "", AT_FDCWD, "/dev", MOVE_MOUNT_F_EMPTY_PATH);
    new_mount("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    new_mount("tmpfs", "/dev/shm", safe, "mode=1777,size=64m");
    new_mount("mqueue", "/dev/mqueue", safe, 0);
    new_mount("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755,size=64m");
    new_mount("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777,size=256m");
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) cover(__LINE__, "/dev/null", files[i]);
    new_mount("tmpfs", "/sys/firmware", safe | MS_RDONLY, "mode=0555,size=4k,nr_inodes=1");
    for (unsigned i = 0; i < sizeof directories / sizeof *directories; i++)
        cover(__LINE__, "/sys/firmware", directories[i]);
    for (unsigned long cpu = 0;; cpu++) {
        char path[80], digits[24];
        digits[23] = 0;
        join(join(join(path, "/sys/devices/system/cpu/cpu"), number(digits + 23, cpu)), "/thermal_throttle");
        if (!cover(__LINE__, "/sys/firmware", path)) break;
    }
    for (unsigned i = 0; i < sizeof sealed / sizeof *sealed; i++)
        if (cover(__LINE__, sealed[i], sealed[i])) must(mount, 0, sealed[i], 0, MS_REMOUNT | MS_BIND | MS_RDONLY | safe, 0);
}

static void loopback_up(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    must(ioctl, must(socket, AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &request);
}

static struct sock_filter code[FILTER + 8];
static unsigned code_len;

// A binary search among `runs` runs of call numbers, as inn's, but all of it allows.
static void search(unsigned from, unsigned runs) {
    unsigned at = code_len++;
    if (runs == 1) {
        code[at] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        return;
    }
    search(from, runs / 2);
    code[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (from + runs / 2) * 5, code_len - at - 1, 0);
    search(from + runs / 2, runs - runs / 2);
}

static void filter(void) {
    code[code_len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4);
#if defined(__x86_64__)
    code[code_len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
#else
    code[code_len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_AARCH64, 1, 0);
#endif
    code[code_len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    code[code_len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
    search(0, RUNS);
    struct sock_fprog program = {code_len, code};
    must(seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static void confine(void) {
    must(keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0);
    must(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    filter();
    for (int capability = 0; call(prctl, PR_CAPBSET_DROP, capability, 0, 0, 0) != -EINVAL; capability++) {}
    must(prctl, PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
        SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
        SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED, 0, 0, 0);
    must(setgroups, 0, 0);
    must(setresgid, 0, 0, 0);
    must(setresuid, 0, 0, 0);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {0};
    must(capset, &header, none);
    must(umask, 022);
}

static _Noreturn void guest(long go, long root, long dev, char **command) {
    char byte;
    must(read, go, &byte, 1);
    must(setresgid, 0, 0, 0);
    must(setresuid, 0, 0, 0);
    must(setsid, 0);
    long old = open_at(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
    must(mount, 0, "/", 0, MS_REC | MS_PRIVATE, 0);
    must(move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH);
    must(fchdir, root);
    must(pivot_root, ".", ".");
    view(dev);
    must(fchdir, old);
    must(umount2, ".", 2 /* MNT_DETACH */);
    must(chdir, "/");
    loopback_up();
    must(sethostname, "floor", 5);
    must(close_range, 3, ~0u, 0);
    confine();
    char *environment[] = {"PATH=/bin", "HOME=/root", "TERM=linux", "container=lxc", 0};
    must(execve, command[0], command, environment);
    fail(__LINE__, 0);
}

static long process_file(unsigned long pid, const char *name, int flags) {
    char path[64], digits[24];
    digits[23] = 0;
    join(join(join(path, "/proc/"), number(digits + 23, pid)), name);
    return open_at(AT_FDCWD, path, flags);
}

void begin(long *stack) {
    char **arguments = (char **)(stack + 1);
    if (stack[0] < 4) fail(__LINE__, -EINVAL);
    long base = open_at(AT_FDCWD, arguments[1], O_PATH | O_DIRECTORY);
    must(mkdirat, base, "floor", 0755);
    must(mkdirat, base, "floor/guest", 0755);
    long limits = call(openat, base, "floor/pids.max", O_WRONLY | O_CLOEXEC, 0);
    if (limits >= 0) must(write, limits, "1024", 4);
    guard(open_at(base, "floor", O_RDONLY | O_DIRECTORY));
    long cgroup = open_at(base, "floor/guest", O_RDONLY | O_DIRECTORY);
    long root = must(open_tree, AT_FDCWD, arguments[2], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    long dev = devices();
    own_clocks();
    int go[2];
    must(pipe2, go, O_CLOEXEC);
    struct clone_args how = {
        .flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                 CLONE_NEWCGROUP | CLONE_INTO_CGROUP | CLONE_CLEAR_SIGHAND,
        .exit_signal = SIGCHLD,
        .cgroup = cgroup,
    };
    // What is in a user namespace counts for who made it: its own root.
    must(prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
    must(setresuid, -1, BASE, -1);
    long pid = must(clone3, &how, sizeof how);
    if (pid == 0) guest(go[0], root, dev, arguments + 3);
    must(write, process_file(pid, "/uid_map", O_WRONLY), MAP, length(MAP));
    must(write, process_file(pid, "/gid_map", O_WRONLY), MAP, length(MAP));
    long users = process_file(pid, "/ns/user", O_RDONLY);
    must(setresuid, -1, 0, -1);
    set_attributes(dev, 0, users);
    set_attributes(root, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, users);
    must(write, go[1], "", 1);
    int status;
    must(wait4, pid, &status, 0, 0);
    must(unlinkat, base, "floor/guest", AT_REMOVEDIR);
    must(unlinkat, base, "floor", AT_REMOVEDIR);
    for (;;) call(exit_group, status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
}
