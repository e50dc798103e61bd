/* Goes out by /proc/PID/root, cwd, fd, map_files and task of every process (proc(5)). */
#include "common/attack.h"

static void attempt(void) {
    static const char *ways[] = {"root/etc/secret", "cwd/etc/secret", "cwd/../../../etc/secret", "task/%d/root/etc/secret",
        "fd/0/../../etc/secret", "environ", "cmdline", "maps", "mountinfo", "stack", "syscall"};
    for (int pid = 0; pid < PIDS; pid++) {
        for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
            char part[64], path[96];
            snprintf(part, sizeof part, ways[i], pid);
            snprintf(path, sizeof path, "/proc/%d/%s", pid, part);
            if (access(path, F_OK) == 0 || errno != ENOENT) {
                show(path);
            }
        }
    }
    show("/proc/self/root/../../../../etc/secret");
    show("/proc/thread-self/root/etc/secret");
}
