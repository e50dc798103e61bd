/* Draws the messages of the host's console to itself, and hangs up terminals (TIOCCONS, vhangup(2), KDSETMODE). */
#include "common/attack.h"

static void attempt(void) {
    int master = TRY(posix_openpt(O_RDWR | O_NOCTTY));
    TRY(ioctl(master, TIOCCONS));
    TRY(ioctl(0, TIOCCONS));
    int console = TRY(open("/dev/console", O_RDWR | O_NOCTTY));
    TRY(ioctl(console, TIOCCONS));
    TRY(ioctl(console, 0x4b3a /* KDSETMODE */, 1));
    TRY(ioctl(console, 0x5606 /* VT_ACTIVATE */, 2));
    TRY(ioctl(console, 0x4b46 /* KDSKBENT */, 0));
    TRY(setsid());
    TRY(ioctl(console, TIOCSCTTY, 1));
    TRY(syscall(SYS_vhangup));
}
