/* Loads another kernel (kexec_load(2), kexec_file_load(2)). */
#include "common/attack.h"

static void attempt(void) {
    static char code[4096];
    struct {
        void *buffer;
        size_t len;
        void *place;
        size_t room;
    } segment = {code, sizeof code, (void *)0x1000000, sizeof code};
    TRY(syscall(SYS_kexec_load, 0x1000000, 1, &segment, 62L << 16));
    TRY(syscall(SYS_kexec_load, 0x1000000, 1, &segment, 1 | 62L << 16));
    int kernel = open("/bin/busybox", O_RDONLY);
    TRY(syscall(SYS_kexec_file_load, kernel, -1, 1, "", 4));
}
