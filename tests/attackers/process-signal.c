/* Sends signals to every number of the host, and to all that it may (kill(2)). */
#include "common/attack.h"

static void attempt(void) {
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    for (int pid = 2; pid < PIDS; pid++) {
        if (pid != getpid() && pid != getppid()) {
            if (kill(pid, SIGKILL) == 0) {
                printf("killed %d\n", pid);
            }
            kill(-pid, SIGTERM);
            syscall(SYS_tgkill, pid, pid, SIGKILL);
        }
    }
    TRY(kill(-1, SIGTERM));
    /* F_SETOWN: signals by descriptor */
    int pair[2];
    if (pipe(pair) == 0) {
        TRY(fcntl(pair[0], F_SETOWN, 1));
        TRY(fcntl(pair[0], F_SETSIG, SIGKILL));
        TRY(fcntl(pair[0], F_SETFL, O_ASYNC));
        TRY(write(pair[1], "x", 1));
    }
}
