/* Makes cgroups in cgroups, as deep as it goes (cgroup-v2.rst, cgroup.max.depth). */
#include "common/attack.h"

static void attempt(void) {
    char path[4096] = "/sys/fs/cgroup";
    int depth = 0;
    while (strlen(path) < 4000) {
        strcat(path, "/deep");
        if (mkdir(path, 0777) < 0) {
            printf("%s\n", strerror(errno));
            break;
        }
        depth++;
    }
    printf("%d deep\n", depth);
    hold();
}
