/* Turns swap on and off (swapon(2)). */
#include "common/attack.h"

static void attempt(void) {
    const char *file = own("swap");
    static char page[4096];
    memcpy(page + 4086, "SWAPSPACE2", 10);
    *(uint32_t *)(page + 1024) = 1;
    *(uint32_t *)(page + 1028) = 63;
    int fd = open(file, O_RDWR | O_CREAT, 0600);
    for (int n = 0; n < 64; n++) {
        if (write(fd, page, sizeof page) < 0) {
            break;
        }
    }
    TRY(syscall(SYS_swapon, file, 0));
    TRY(syscall(SYS_swapon, "/dev/vda", 0));
    TRY(syscall(SYS_swapoff, "/dev/vda"));
}
