/* Mounts the kernel's own /dev, which has every device (devtmpfs). */
#include "common/attack.h"

static void attempt(void) {
    const char *place = mounted("devtmpfs", NULL);
    char path[128];
    static const char *names[] = {"vda", "kmsg", "mem", "ttyS0", "console", "ttyS1"};
    for (unsigned i = 0; place && i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", place, names[i]);
        if (i < 3) {
            show(path);
        }
        put(path, MARK "\n");
    }
    if (place) {
        snprintf(path, sizeof path, "%s/made-by-attacker", place);
        TRY(mknod(path, S_IFCHR | 0666, makedev(1, 3)));
    }
}
