/* Has the host drop its caches and compact its memory (sysctl/vm.rst). */
#include "common/attack.h"

static void attempt(void) {
    put("/proc/sys/vm/drop_caches", "3");
    put("/proc/sys/vm/compact_memory", "1");
    put("/proc/sys/vm/overcommit_memory", "2");
    put("/proc/sys/vm/min_free_kbytes", "400000");
    put("/proc/sys/vm/panic_on_oom", "2");
    put("/proc/sys/vm/nr_hugepages", "100");
}
