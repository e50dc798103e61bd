/* Takes off what protects links, and randomness of addresses (fs.protected_*, kernel.randomize_va_space; sysctl/fs.rst). */
#include "common/attack.h"

static void attempt(void) {
    static const char *files[] = {"fs/protected_symlinks", "fs/protected_hardlinks", "fs/protected_fifos",
        "fs/protected_regular", "fs/suid_dumpable", "kernel/randomize_va_space", "kernel/kptr_restrict",
        "kernel/dmesg_restrict", "kernel/unprivileged_bpf_disabled", "kernel/perf_event_paranoid", "kernel/yama/ptrace_scope",
        "net/core/bpf_jit_harden", "user/max_user_namespaces", "vm/mmap_min_addr", "vm/unprivileged_userfaultfd"};
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        char path[128];
        snprintf(path, sizeof path, "/proc/sys/%s", files[i]);
        put(path, "0");
        put(path, "3");
    }
}
