/* Raises its own limits where it sees them (cgroup-v2.rst, nsdelegate). */
#include "common/attack.h"

static void attempt(void) {
    static const char *files[] = {"memory.max", "memory.high", "memory.swap.max", "pids.max", "cpu.max", "cpuset.cpus",
        "cgroup.max.descendants", "cgroup.max.depth", "memory.oom.group", "cgroup.subtree_control", "cgroup.type",
        "cpu.pressure", "memory.reclaim"};
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        char path[128];
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s", files[i]);
        TRY(chmod(path, 0666));
        TRY(chown(path, 0, 0));
        put(path, i == 9 ? "-memory -pids" : i == 12 ? "100M" : "max");
    }
    TRY(rmdir("/sys/fs/cgroup/guest"));
    TRY(rmdir("/sys/fs/cgroup/../exec"));
    TRY(mkdir("/sys/fs/cgroup/../attacker", 0777));
}
