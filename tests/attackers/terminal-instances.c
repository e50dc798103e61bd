/* Looks for the terminals of others in every devpts that it can mount (devpts.rst). */
#include "common/attack.h"

static void attempt(void) {
    const char *place = mounted("devpts", NULL);
    for (int n = 0; n < 32; n++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%d", place ? place : "/dev/pts", n);
        int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
        if (fd >= 0) {
            printf("%s is open\n", path);
            TRY(write(fd, MARK "\n", strlen(MARK) + 1));
            TRY(fchown(fd, 0, 0));
            TRY(fchmod(fd, 0666));
        }
    }
    TRY(mount("devpts", "/dev/pts", "devpts", MS_REMOUNT, "max=0"));
}
