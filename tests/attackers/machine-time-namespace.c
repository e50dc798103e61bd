/* Changes the offsets of clocks that are not its own (time_namespaces(7)). */
#include "common/attack.h"

static void attempt(void) {
    put("/proc/self/timens_offsets", "monotonic 86400 0\nboottime 86400 0");
    put("/proc/1/timens_offsets", "monotonic 86400 0\nboottime 86400 0");
    TRY(unshare(0x80 /* CLONE_NEWTIME */));
    put("/proc/self/timens_offsets", "monotonic 86400 0\nboottime 86400 0");
    if (fork() == 0) {
        show("/proc/uptime");
        _exit(0);
    }
    wait(NULL);
}
