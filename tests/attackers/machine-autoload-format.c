/* Has the kernel load modules by programs of strange formats, quotas and network names (request_module). */
#include "common/attack.h"

static void attempt(void) {
    for (int kind = 0; kind < 3; kind++) {
        char path[128];
        snprintf(path, sizeof path, "%s", own("strange"));
        int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
        char bytes[4] = {(char)(0x80 + kind), 1, 2, 3};
        if (write(file, bytes, 4) < 4) {
            return;
        }
        close(file);
        if (fork() == 0) {
            execl(path, "strange", NULL);
            _exit(1);
        }
        wait(NULL);
    }
    struct ifreq name = {.ifr_name = "dummy0"};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    TRY(ioctl(fd, 0x8913 /* SIOCGIFFLAGS */, &name));
    fd = socket(AF_INET, SOCK_STREAM, 0);
    TRY(setsockopt(fd, IPPROTO_TCP, 13 /* TCP_CONGESTION */, "dctcp", 5));
    TRY(setsockopt(fd, IPPROTO_TCP, 31 /* TCP_ULP */, "tls", 3));
    TRY(getsockopt(fd, 0, 64 /* IPT_SO_GET_INFO */, &name, &(socklen_t){sizeof name}));
    TRY(setsockopt(fd, 0, 64, &name, sizeof name));
}
