/* Connects to sockets of the host that have no file (unix(7); CVE-2020-15257). */
#include "common/attack.h"

static void attempt(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0innkeep-canary"};
    char bytes[256] = "";
    int fd = TRY(socket(AF_UNIX, SOCK_STREAM, 0));
    if (TRY(connect(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + 15)) == 0) {
        TRY(recv(fd, bytes, sizeof bytes - 1, 0));
        printf("%s\n", bytes);
    }
    static const char *paths[] = {"/run/inn/control", "/proc/1/root/run/inn/control", "/run/inn.sock"};
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct sockaddr_un file = {.sun_family = AF_UNIX};
        strcpy(file.sun_path, paths[i]);
        int control = socket(AF_UNIX, SOCK_SEQPACKET, 0);
        TRY(connect(control, (struct sockaddr *)&file, sizeof file));
        close(control);
    }
    show("/proc/net/unix");
}
