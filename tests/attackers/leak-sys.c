/* Reads what /sys tells of the kernel, its memory and the firmware (sysfs(5); kernel addresses). */
#include "common/attack.h"

static void attempt(void) {
    static const char *places[] = {"/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security", "/sys/kernel/boot_params",
        "/sys/kernel/notes", "/sys/kernel/btf", "/sys/kernel/slab", "/sys/firmware", "/sys/fs/pstore", "/sys/fs/bpf",
        "/sys/module/ext4/sections", "/sys/module/overlay/sections", "/sys/devices/virtual/powercap",
        "/sys/devices/virtual/dmi/id", "/sys/fs/ext4/vda", "/sys/block/vda"};
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        show_below(places[i], 2);
    }
    show("/sys/kernel/notes");
    show("/sys/kernel/vmcoreinfo");
}
