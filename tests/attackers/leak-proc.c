/* Reads all of /proc that is not of a process (proc(5)). */
#include "common/attack.h"

static void attempt(void) {
    static const char *files[] = {"kallsyms", "kcore", "keys", "key-users", "timer_list", "sched_debug", "kmsg", "config.gz",
        "vmallocinfo", "slabinfo", "pagetypeinfo", "kpagecount", "kpageflags", "iomem", "ioports", "interrupts",
        "softirqs", "modules", "partitions", "diskstats", "swaps", "cmdline", "consoles", "devices", "dma", "crypto",
        "execdomains", "fb", "locks", "misc", "mounts", "mtrr", "buddyinfo", "zoneinfo", "schedstat", "latency_stats",
        "driver/rtc", "sysvipc/shm", "sysvipc/sem", "sysvipc/msg", "self/mountinfo", "1/mountinfo", "1/environ",
        "1/stack", "1/maps", "tty/drivers", "fs/nfsd/exports", "net/unix", "net/netlink", "net/packet", "net/tcp"};
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%s", files[i]);
        show(path);
    }
}
