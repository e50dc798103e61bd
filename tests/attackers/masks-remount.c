/* Makes what is mounted read-only writable again, and writes there (mount(2) MS_REMOUNT, mount_setattr(2)). */
#include "common/attack.h"

static void make_writable(const char *path) {
    struct {
        uint64_t set, clear, propagation, namespace;
    } change = {0, 1, 0, 0};
    if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND, NULL) == 0) {
        printf("%s is remounted\n", path);
    } else if (mount(NULL, path, NULL, MS_REMOUNT, NULL) == 0) {
        printf("%s is remounted as a file system\n", path);
    } else if (syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &change, sizeof change) == 0) {
        printf("%s has new attributes\n", path);
    }
}

static void attempt(void) {
    each_mask(make_writable);
    make_writable("/proc");
    make_writable("/sys");
    put("/proc/sys/kernel/panic", "17");
    put("/proc/sys/vm/swappiness", "17");
    put("/proc/irq/default_smp_affinity", "0");
    put("/proc/sysrq-trigger", "h");
    put("/sys/kernel/mm/ksm/run", "1");
    put("/sys/kernel/profiling", "2");
}
