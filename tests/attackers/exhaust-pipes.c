/* Fills pipes, as large as they can be made (pipe(7), fs.pipe-user-pages-soft). */
#include "common/attack.h"

static void attempt(void) {
    static char block[1 << 20];
    int pair[2], made = 0;
    while (pipe2(pair, O_NONBLOCK) == 0) {
        fcntl(pair[1], 1031 /* F_SETPIPE_SZ */, 1 << 20);
        if (write(pair[1], block, sizeof block) < 0) {
            break;
        }
        made++;
    }
    printf("%d pipes: %s\n", made, strerror(errno));
    hold();
}
