/* Reads the kernel's log, clears it, and silences the console (syslog(2)). */
#include "common/attack.h"

static void attempt(void) {
    static char bytes[262144];
    long len = TRY(syscall(SYS_syslog, 3, bytes, sizeof bytes));
    if (len > 0) {
        printf("%.*s\n", (int)len, bytes);
    }
    TRY(syscall(SYS_syslog, 5, NULL, 0));
    TRY(syscall(SYS_syslog, 6, NULL, 0));
    TRY(syscall(SYS_syslog, 8, NULL, 1));
    TRY(syscall(SYS_syslog, 4, bytes, sizeof bytes));
    show("/proc/kmsg");
    show("/dev/kmsg");
    put("/proc/sys/kernel/printk", "1 1 1 1");
}
