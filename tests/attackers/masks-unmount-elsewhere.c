/* Takes the masks off in a mount namespace of its own (mount_namespaces(7), locked mounts). */
#include "common/attack.h"

static void take_off(const char *path) {
    if (umount2(path, MNT_DETACH) == 0) {
        printf("%s is off\n", path);
    }
}

static void attempt(void) {
    TRY(unshare(CLONE_NEWNS));
    TRY(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
    each_mask(take_off);
    show_masked("/proc", "/sys");
    TRY(umount2("/proc", MNT_DETACH));
    TRY(umount2("/sys", MNT_DETACH));
    show_masked("/proc", "/sys");
}
