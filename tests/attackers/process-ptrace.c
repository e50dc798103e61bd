/* Traces every process by number, those that it cannot see too (ptrace(2), CVE-2019-13272). */
#include "common/attack.h"

static void attempt(void) {
    for (int pid = 1; pid < PIDS; pid++) {
        if (pid != getpid() && ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
            printf("traces %d\n", pid);
            ptrace(PTRACE_INTERRUPT, pid, 0, 0);
        }
    }
    TRY(ptrace(PTRACE_SEIZE, getppid(), 0, 0));
}
