/* Takes memory until it is killed, and begins again (memory.max, OOM). */
#include "common/attack.h"

static void attempt(void) {
    for (int n = 0; n < 2; n++) {
        pid_t child = fork();
        if (child == 0) {
            put("/proc/self/oom_score_adj", "-1000");
            for (;;) {
                char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (memory == MAP_FAILED) {
                    break;
                }
                memset(memory, 'x', 1 << 20);
            }
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    hold();
}
