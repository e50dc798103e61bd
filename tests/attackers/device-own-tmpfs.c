/* Makes device nodes on a memory file system of its own, mounted without nodev, also in a new user namespace (user_namespaces(7)). */
#include "common/attack.h"

static void nodes(void) {
    const char *place = mounted("tmpfs", "mode=777");
    char path[128];
    if (!place) {
        return;
    }
    TRY(mount(NULL, place, NULL, MS_REMOUNT | MS_BIND, NULL));
    snprintf(path, sizeof path, "%s/vda", place);
    for (int major_number = 252; major_number < 256; major_number++) {
        TRY(mknod(path, S_IFBLK | 0666, makedev(major_number, 0)));
        show(path);
        put(path, MARK);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/kmsg", place);
    TRY(mknod(path, S_IFCHR | 0666, makedev(1, 11)));
    show(path);
}

static void inside(void) {
    TRY(unshare(CLONE_NEWUSER | CLONE_NEWNS));
    nodes();
}

static void attempt(void) {
    nodes();
    apart(inside, 5);
}
