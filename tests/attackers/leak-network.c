/* Reads what is open on the host's network, and hears its links (proc(5), sysfs(5)). */
#include "common/attack.h"

static void attempt(void) {
    show_below("/proc/net", 1);
    show_below("/proc/1/net", 0);
    show_below("/sys/class/net", 1);
    const char *sys = mounted("sysfs", NULL);
    char path[128];
    snprintf(path, sizeof path, "%s/class/net", sys ? sys : "/sys");
    show_below(path, 1);
}
