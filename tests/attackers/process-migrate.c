/* Moves the memory and the CPUs of other processes (sched_setaffinity(2), migrate_pages(2), move_pages(2), process_madvise(2)). */
#include "common/attack.h"

static void attempt(void) {
    cpu_set_t none;
    unsigned long nodes = 1;
    CPU_ZERO(&none);
    CPU_SET(63, &none);
    for (int pid = 1; pid < PIDS; pid++) {
        if (pid != getpid()) {
            if (sched_setaffinity(pid, sizeof none, &none) == 0) {
                printf("moved %d\n", pid);
            }
            if (syscall(SYS_migrate_pages, pid, 64, &nodes, &nodes) >= 0) {
                printf("migrated %d\n", pid);
            }
        }
    }
}
