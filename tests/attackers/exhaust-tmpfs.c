/* Fills every memory file system that it has, with bytes and with files (tmpfs(5)). */
#include "common/attack.h"

static void attempt(void) {
    static const char *places[] = {"/tmp", "/run", "/dev/shm", "/dev", "/", "/dev/mqueue"};
    static char block[65536];
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        char path[128];
        long bytes = 0, files = 0;
        snprintf(path, sizeof path, "%s/fill", places[i]);
        /* In a child: it may be killed for its memory. */
        pid_t child = fork();
        if (child == 0) {
            int fd = open(path, O_WRONLY | O_CREAT, 0666);
            for (ssize_t len; fd >= 0 && (len = write(fd, block, sizeof block)) > 0; bytes += len) {
            }
            for (; files < 20000; files++) {
                snprintf(path, sizeof path, "%s/fill-%ld", places[i], files);
                if (mknod(path, S_IFREG | 0666, 0) < 0) {
                    break;
                }
            }
            printf("%s: %ld bytes, %ld files\n", places[i], bytes, files);
            fflush(stdout);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    hold();
}
