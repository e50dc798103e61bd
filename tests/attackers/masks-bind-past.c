/* Binds /proc and /sys elsewhere without what is mounted on them, and reads there (mount_namespaces(7), open_tree(2)). */
#include "common/attack.h"

static void attempt(void) {
    const char *proc = own("proc"), *sys = own("sys");
    mkdir(proc, 0777);
    mkdir(sys, 0777);
    TRY(mount("/proc", proc, NULL, MS_BIND, NULL));
    TRY(mount("/sys", sys, NULL, MS_BIND, NULL));
    show_masked(proc, sys);
    /* OPEN_TREE_CLONE, without AT_RECURSIVE */
    int tree = TRY(syscall(SYS_open_tree, AT_FDCWD, "/proc", 1 | O_CLOEXEC));
    const char *place = own("tree");
    mkdir(place, 0777);
    /* MOVE_MOUNT_F_EMPTY_PATH */
    TRY(syscall(SYS_move_mount, tree, "", AT_FDCWD, place, 4));
    show_masked(place, "/sys");
}
