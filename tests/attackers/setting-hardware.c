/* Moves interrupts, writes to PCI devices, ACPI and MTRRs by /proc and /sys (proc(5)). */
#include "common/attack.h"

static void attempt(void) {
    put("/proc/irq/default_smp_affinity", "2");
    for (int irq = 0; irq < 32; irq++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/irq/%d/smp_affinity", irq);
        if (access(path, F_OK) == 0) {
            put(path, "0");
        }
    }
    put("/proc/bus/pci/00/00.0", MARK);
    put("/proc/bus/pci/00/01.0", MARK);
    put("/proc/acpi/wakeup", "LNKA");
    put("/proc/mtrr", "base=0x0 size=0x1000 type=uncachable");
    put("/proc/scsi/scsi", "scsi add-single-device 0 0 0 0");
    put("/sys/bus/pci/rescan", "1");
    put("/sys/devices/pci0000:00/0000:00:00.0/remove", "1");
    put("/sys/devices/system/memory/probe", "0");
    put("/sys/power/state", "freeze");
    put("/sys/power/disk", "shutdown");
}
