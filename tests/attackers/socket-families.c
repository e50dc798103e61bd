/* Opens a socket of every family there is, and has the kernel load what it lacks (socket(2); CVE-2017-6074). */
#include "common/attack.h"

static void attempt(void) {
    for (int family = 0; family < 48; family++) {
        for (int type = 1; type < 6; type++) {
            for (int protocol = 0; protocol < 300; protocol += protocol < 2 ? 1 : 130) {
                int fd = socket(family, type, protocol);
                if (fd >= 0) {
                    printf("family %d type %d protocol %d\n", family, type, protocol);
                    close(fd);
                }
            }
        }
    }
}
