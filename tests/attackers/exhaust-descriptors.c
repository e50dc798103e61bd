/* Opens files in many processes until the kernel has no more (fs.file-max, RLIMIT_NOFILE). */
#include "common/attack.h"

static void attempt(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    TRY(setrlimit(RLIMIT_NOFILE, &limit));
    for (int n = 0; n < 40; n++) {
        if (fork() == 0) {
            int made = 0;
            while (made < 200000 && open("/dev/null", O_RDONLY) >= 0) {
                made++;
            }
            printf("%d descriptors: %s\n", made, strerror(errno));
            fflush(stdout);
            for (;;) {
                pause();
            }
        }
    }
    sleep(4);
    hold();
}
