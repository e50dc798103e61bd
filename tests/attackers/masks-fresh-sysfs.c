/* Mounts a /sys of its own, writable, and writes to it (sysfs(5), CVE-2017-1002101's class). */
#include "common/attack.h"

static void attempt(void) {
    const char *sys = mounted("sysfs", NULL);
    char path[256];
    static const char *files[] = {"kernel/mm/ksm/run", "kernel/mm/transparent_hugepage/enabled", "kernel/uevent_helper",
        "kernel/profiling", "module/overlay/parameters/redirect_max", "module/printk/parameters/time",
        "devices/system/cpu/cpu0/online", "fs/ext4/vda/max_writeback_mb_bump", "block/vda/queue/read_ahead_kb",
        "power/pm_async"};
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", sys ? sys : "/sys", files[i]);
        put(path, "1");
    }
    if (sys) {
        show_masked("/proc", sys);
    }
}
