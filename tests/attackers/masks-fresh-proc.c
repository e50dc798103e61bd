/* Mounts a /proc of its own, which has no masks (user_namespaces(7), mount_too_revealing in the kernel). */
#include "common/attack.h"

static void attempt(void) {
    const char *proc = mounted("proc", NULL);
    if (proc) {
        show_masked(proc, "/sys");
        char path[128];
        snprintf(path, sizeof path, "%s/sys/kernel/panic", proc);
        put(path, "17");
    }
    int context = TRY(syscall(SYS_fsopen, "proc", 0));
    TRY(syscall(SYS_fsconfig, context, 6, NULL, NULL, 0));
    int tree = TRY(syscall(SYS_fsmount, context, 0, 0));
    if (tree >= 0) {
        TRY(fchdir(tree));
        show_masked(".", "/sys");
    }
}
