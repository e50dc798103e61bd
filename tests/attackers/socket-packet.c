/* Sends and hears raw frames, which would be the host's if its network were (packet(7), raw(7); CVE-2020-14386). */
#include "common/attack.h"

static void attempt(void) {
    char bytes[2048];
    int fd = TRY(socket(AF_PACKET, SOCK_RAW, 0x0300));
    TRY(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT));
    TRY(socket(AF_INET, 10 /* SOCK_PACKET */, 0x0300));
    fd = TRY(socket(AF_INET, SOCK_RAW, IPPROTO_RAW));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(0x7f000001)}};
    memset(bytes, 0, sizeof bytes);
    bytes[0] = 0x45;
    strcpy(bytes + 20, MARK);
    for (int n = 0; n < 100; n++) {
        sendto(fd, bytes, 64, 0, (struct sockaddr *)&to, sizeof to);
    }
    show("/proc/net/dev");
}
