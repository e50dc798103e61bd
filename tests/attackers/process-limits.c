/* Changes limits and priorities of other processes (prlimit(2), setpriority(2), ioprio_set(2)). */
#include "common/attack.h"

static void attempt(void) {
    struct rlimit none = {3, 3};
    int changed = 0;
    for (int pid = 2; pid < PIDS; pid++) {
        if (pid != getpid()) {
            changed += prlimit(pid, RLIMIT_NOFILE, &none, NULL) == 0;
            changed += setpriority(PRIO_PROCESS, pid, 19) == 0;
            changed += syscall(SYS_ioprio_set, 1, pid, 3 << 13) == 0;
        }
    }
    printf("%d changes\n", changed);
    for (unsigned user = 0; user < 3; user++) {
        TRY(setpriority(PRIO_USER, user, 19));
        TRY(syscall(SYS_ioprio_set, 3, user, 3 << 13));
    }
}
