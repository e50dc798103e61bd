/* Opens the kernel's own cryptography (AF_ALG; CVE-2019-8912, CVE-2025-38079's class). */
#include "common/attack.h"

static void attempt(void) {
    struct {
        uint16_t family;
        char type[14];
        uint32_t feature, mask;
        char name[64];
    } address = {38, "hash", 0, 0, "md5"};
    int fd = TRY(socket(38, SOCK_SEQPACKET, 0));
    TRY(bind(fd, (struct sockaddr *)&address, sizeof address));
    TRY(accept(fd, NULL, NULL));
}
