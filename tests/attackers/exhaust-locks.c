/* Takes file locks and leases without end (fcntl(2), flock(2)). */
#include "common/attack.h"

static void attempt(void) {
    int fd = open(own("locked"), O_RDWR | O_CREAT, 0600);
    long made = 0;
    for (; made < 200000; made++) {
        struct flock lock = {.l_type = made % 2 ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET, .l_start = made * 2, .l_len = 1};
        if (fcntl(fd, F_SETLK, &lock) < 0) {
            break;
        }
        /* Long lists are slow to walk. */
        if (made > 2000) {
            break;
        }
    }
    printf("%ld locks: %s\n", made, strerror(errno));
    hold();
}
