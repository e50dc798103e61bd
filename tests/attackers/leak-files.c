/* Looks for the host's files by every path that leads up or through a link (path_resolution(7)). */
#include "common/attack.h"

static void attempt(void) {
    static const char *paths[] = {"/etc/secret", "/../etc/secret", "/tmp/../../etc/secret", "/data/secret", "/run/inn/control",
        "/etc/inn.conf", "/init", "/bin/inn", "/proc/self/root/../etc/secret", "/dev/fd/../../../etc/secret",
        "/dev/pts/../../../etc/secret", "/sys/fs/cgroup/../../../../etc/secret", "/lib/modules", "/guests", "/boot"};
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        show(paths[i]);
        if (!strcmp(paths[i], "/bin/inn") || !strcmp(paths[i], "/init")) {
            put(paths[i], MARK);
        }
    }
    TRY(symlink("/proc/1/root/etc/secret", own("link")));
    show(own("link"));
    TRY(link("/proc/1/root/etc/secret", own("hard")));
    show(own("hard"));
}
