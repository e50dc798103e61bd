/* Runs a program that is in no file system, and seals it (memfd_create(2), execveat(2); CVE-2019-5736's cure as an attack). */
#include "common/attack.h"

static void attempt(void) {
    char bytes[4096];
    int from = open("/bin/busybox", O_RDONLY), memory = TRY(memfd_create("sh", MFD_ALLOW_SEALING));
    for (ssize_t len; (len = read(from, bytes, sizeof bytes)) > 0;) {
        if (write(memory, bytes, len) < 0) {
            break;
        }
    }
    TRY(fchmod(memory, 06777));
    TRY(fcntl(memory, 1033 /* F_ADD_SEALS */, 15));
    if (fork() == 0) {
        char *words[] = {"cat", "/etc/secret", "/proc/1/root/etc/secret", NULL}, *none[] = {NULL};
        syscall(SYS_execveat, memory, "", words, none, AT_EMPTY_PATH);
        _exit(1);
    }
    wait(NULL);
    TRY(syscall(SYS_memfd_secret, 0));
    TRY(syscall(462 /* mseal */, 0x400000, 4096, 0));
}
