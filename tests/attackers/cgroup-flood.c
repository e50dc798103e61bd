/* Makes 10,000 cgroups (cgroup-v2.rst, cgroup.max.descendants). */
#include "common/attack.h"

static void attempt(void) {
    int made = 0;
    for (int n = 0; n < 10000; n++) {
        char path[64];
        snprintf(path, sizeof path, "/sys/fs/cgroup/flood-%d", n);
        if (mkdir(path, 0777) < 0) {
            printf("%s: %s\n", path, strerror(errno));
            break;
        }
        made++;
    }
    printf("%d cgroups\n", made);
    hold();
}
