/* Mounts tracefs, traces the kernel and writes to its trace (ftrace.rst). */
#include "common/attack.h"

static void attempt(void) {
    const char *place = mounted("tracefs", NULL);
    char path[128];
    if (!place) {
        place = "/sys/kernel/tracing";
    }
    snprintf(path, sizeof path, "%s/trace_marker", place);
    put(path, MARK);
    snprintf(path, sizeof path, "%s/current_tracer", place);
    put(path, "function");
    snprintf(path, sizeof path, "%s/trace", place);
    show(path);
    snprintf(path, sizeof path, "%s/kprobe_events", place);
    put(path, "p:by_attacker do_sys_openat2");
}
