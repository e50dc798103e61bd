/* Opens what makes more devices: loop-control, fuse, tun, kvm, device-mapper, vhost (devices.txt). */
#include "common/attack.h"

static void attempt(void) {
    static const int minors[] = {229, 237, 200, 232, 236, 238, 241, 235, 223, 234};
    for (unsigned i = 0; i < sizeof minors / sizeof *minors; i++) {
        char path[128];
        snprintf(path, sizeof path, "/dev/control-%d", minors[i]);
        TRY(mknod(path, S_IFCHR | 0666, makedev(10, minors[i])));
        int fd = TRY(open(path, O_RDWR));
        if (fd >= 0 && minors[i] == 237) {
            TRY(ioctl(fd, 0x4C82 /* LOOP_CTL_GET_FREE */));
        }
    }
    TRY(open("/dev/loop-control", O_RDWR));
    TRY(open("/dev/fuse", O_RDWR));
    TRY(open("/dev/net/tun", O_RDWR));
}
