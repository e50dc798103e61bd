/* Locks memory so that it cannot be taken away (mlock(2), RLIMIT_MEMLOCK). */
#include "common/attack.h"

static void attempt(void) {
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    TRY(setrlimit(RLIMIT_MEMLOCK, &all));
    TRY(mlockall(MCL_CURRENT | MCL_FUTURE));
    if (fork() == 0) {
        size_t locked = 0;
        for (;;) {
            char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED || mlock(memory, 1 << 20) < 0) {
                break;
            }
            locked++;
        }
        printf("%zu MiB\n", locked);
        hold();
    }
    sleep(1);
    hold();
}
