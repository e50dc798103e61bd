/* Makes threads until nothing is left (clone(2), kernel.threads-max). */
#include "common/attack.h"

static int wait_for_ever(void *nothing) {
    while (!nothing) {
        syscall(SYS_pause);
    }
    return 0;
}

static void attempt(void) {
    int made = 0;
    for (int n = 0; n < 20000; n++) {
        char *stack = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED || clone(wait_for_ever, stack + 8192,
                CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, NULL) < 0) {
            break;
        }
        made++;
    }
    printf("%d threads: %s\n", made, strerror(errno));
    hold();
}
