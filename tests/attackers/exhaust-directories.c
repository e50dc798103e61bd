/* Makes directories as deep as they go, and names without end (dentries are kernel memory). */
#include "common/attack.h"

static void attempt(void) {
    int depth = 0;
    if (chdir(own_directory()) < 0) {
        return;
    }
    while (depth < 5000 && mkdir("deeper-and-deeper-and-deeper", 0777) == 0 && chdir("deeper-and-deeper-and-deeper") == 0) {
        depth++;
    }
    printf("%d deep: %s\n", depth, strerror(errno));
    for (int n = 0; n < 20000; n++) {
        char name[64];
        snprintf(name, sizeof name, "nothing-of-the-name-%d", n);
        access(name, F_OK);
    }
    hold();
}
