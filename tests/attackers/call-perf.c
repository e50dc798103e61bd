/* Watches the host by performance counters (perf_event_open(2); CVE-2013-2094). */
#include "common/attack.h"

static void attempt(void) {
    for (uint32_t type = 0; type < 6; type++) {
        struct {
            uint32_t type, size;
            uint64_t config;
            char rest[112];
        } event = {type, sizeof event, 0, ""};
        printf("type %u: ", type);
        TRY(syscall(SYS_perf_event_open, &event, -1, 0, -1, 0));
        TRY(syscall(SYS_perf_event_open, &event, 1, -1, -1, 0));
        TRY(syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
    }
}
