/* Makes a set-user-id program of its own and runs it as somebody else, to come back with more (execve(2), no_new_privs). */
#include "common/attack.h"

static void as_nobody(void) {
    TRY(setresgid(65534, 65534, 65534));
    TRY(setresuid(65534, 65534, 65534));
    if (fork() == 0) {
        execl("/tmp/status", "cat", "/proc/self/status", NULL);
        _exit(1);
    }
    wait(NULL);
}

static void attempt(void) {
    char bytes[4096];
    int from = open("/bin/busybox", O_RDONLY), to = open("/tmp/status", O_WRONLY | O_CREAT | O_TRUNC, 0755);
    for (ssize_t len; (len = read(from, bytes, sizeof bytes)) > 0;) {
        if (write(to, bytes, len) < 0) {
            break;
        }
    }
    close(to);
    TRY(chmod("/tmp/status", 04755));
    apart(as_nobody, 10);
    unlink("/tmp/status");
}
