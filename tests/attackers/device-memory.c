/* Makes nodes for the machine's memory, ports and log, and reads them (mem(4), devices.txt). */
#include "common/attack.h"

static void attempt(void) {
    static const int minors[] = {1, 2, 4, 11, 12};
    for (unsigned i = 0; i < sizeof minors / sizeof *minors; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/memory-%d", own_directory(), minors[i]);
        TRY(mknod(path, S_IFCHR | 0666, makedev(1, minors[i])));
        show(path);
        snprintf(path, sizeof path, "/dev/memory-%d", minors[i]);
        TRY(mknod(path, S_IFCHR | 0666, makedev(1, minors[i])));
        show(path);
        if (minors[i] == 11) {
            put(path, "<0>" MARK "\n");
        }
    }
    show("/dev/mem");
    show("/dev/port");
    show("/dev/kmsg");
    put("/dev/kmsg", "<0>" MARK "\n");
}
