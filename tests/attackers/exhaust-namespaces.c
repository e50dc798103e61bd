/* Makes namespaces of every kind without end (namespaces(7), user.max_*_namespaces). */
#include "common/attack.h"

static void make(int flags, const char *name) {
    int made = 0;
    for (int n = 0; n < 100; n++) {
        int kept[2];
        pid_t child = pipe(kept) < 0 ? -1 : fork();
        if (child == 0) {
            int result = unshare(flags);
            if (write(kept[1], result < 0 ? "n" : "y", 1) == 1 && result == 0) {
                for (;;) {
                    pause();
                }
            }
            _exit(0);
        }
        char answer = 'n';
        if (child < 0 || read(kept[0], &answer, 1) < 1 || answer != 'y') {
            break;
        }
        made++;
    }
    printf("%d %s namespaces\n", made, name);
}

static void attempt(void) {
    make(CLONE_NEWUSER, "user");
    make(CLONE_NEWUTS, "uts");
    make(CLONE_NEWNET, "network");
    make(CLONE_NEWNS, "mount");
    hold();
}
