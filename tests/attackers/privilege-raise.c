/* Raises every capability that there is, in every set (capabilities(7)). */
#include "common/attack.h"

static void attempt(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct all[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}};
    TRY(prctl(PR_SET_SECUREBITS, 0));
    TRY(prctl(PR_SET_KEEPCAPS, 1));
    TRY(syscall(SYS_capset, &header, all));
    for (int cap = 0; cap < 41; cap++) {
        struct __user_cap_data_struct some[2];
        syscall(SYS_capget, &header, some);
        some[cap / 32].inheritable |= 1u << cap % 32;
        some[cap / 32].permitted |= 1u << cap % 32;
        some[cap / 32].effective |= 1u << cap % 32;
        syscall(SYS_capset, &header, some);
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
    }
    TRY(setuid(0));
    show("/proc/self/status");
    put("/proc/sys/kernel/panic", "17");
}
