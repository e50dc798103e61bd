/* Leaves dead children that nobody waits for (wait(2)). */
#include "common/attack.h"

static void attempt(void) {
    int made = 0;
    for (int n = 0; n < 20000; n++) {
        pid_t child = fork();
        if (child == 0) {
            _exit(0);
        }
        if (child < 0) {
            break;
        }
        made++;
    }
    printf("%d zombies\n", made);
    hold();
}
