/* Turns quotas on and off, of the host's file systems (quotactl(2)). */
#include "common/attack.h"

static void attempt(void) {
    TRY(syscall(SYS_quotactl, 0x80000200, "/dev/vda", 2, "/aquota.user"));
    TRY(syscall(SYS_quotactl, 0x80000300, "/dev/vda", 0, NULL));
    TRY(syscall(SYS_quotactl, 0x80000100, NULL, 0, NULL));
    int root = open("/", O_RDONLY);
    TRY(syscall(443 /* quotactl_fd */, root, 0x80000300, 0, NULL));
}
