/* Gives the machine a magic key (sysrq.rst). */
#include "common/attack.h"

static void attempt(void) {
    const char *proc = mounted("proc", NULL);
    char path[128];
    put("/proc/sysrq-trigger", "h");
    put("/proc/sys/kernel/sysrq", "511");
    TRY(umount2("/proc/sysrq-trigger", MNT_DETACH));
    put("/proc/sysrq-trigger", "h");
    snprintf(path, sizeof path, "%s/sysrq-trigger", proc ? proc : "/proc");
    put(path, "h");
    put(path, "9");
}
