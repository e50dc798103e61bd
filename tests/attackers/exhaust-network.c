/* Uses up sockets of the network, ports and connections (tcp(7), net.core). */
#include "common/attack.h"

static void attempt(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(0x7f000001)}};
    socklen_t len = sizeof address;
    int listener = TRY(socket(AF_INET, SOCK_STREAM, 0)), made = 0;
    TRY(bind(listener, (struct sockaddr *)&address, sizeof address));
    TRY(listen(listener, 4096));
    getsockname(listener, (struct sockaddr *)&address, &len);
    for (int n = 0; n < 4000; n++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (fd < 0) {
            break;
        }
        connect(fd, (struct sockaddr *)&address, sizeof address);
        made++;
    }
    printf("%d connections: %s\n", made, strerror(errno));
    hold();
}
