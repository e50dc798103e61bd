/* Speaks to the hypervisor, past every network namespace (vsock(7); CVE-2021-26708). */
#include "common/attack.h"

static void attempt(void) {
    struct {
        uint16_t family, reserved;
        uint32_t port, cid;
        char zero[4];
    } address = {40, 0, 22, 2, ""};
    int fd = TRY(socket(40, SOCK_STREAM | SOCK_NONBLOCK, 0));
    TRY(connect(fd, (struct sockaddr *)&address, sizeof address));
    address.cid = 1;
    TRY(bind(fd, (struct sockaddr *)&address, sizeof address));
}
