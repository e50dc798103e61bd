/* Moves the masks away, and other mounts over them (mount(2) MS_MOVE, move_mount(2)). */
#include "common/attack.h"

static void move_away(const char *path) {
    static int number;
    char place[64];
    snprintf(place, sizeof place, "%s/moved-%d", own_directory(), number++);
    struct stat stat;
    if (lstat(path, &stat) == 0 && S_ISDIR(stat.st_mode)) {
        mkdir(place, 0777);
    } else {
        close(open(place, O_CREAT | O_WRONLY, 0666));
    }
    if (mount(path, place, NULL, MS_MOVE, NULL) == 0) {
        printf("%s is moved\n", path);
    } else if (syscall(SYS_move_mount, AT_FDCWD, path, AT_FDCWD, place, 0) == 0) {
        printf("%s is moved by move_mount\n", path);
    }
}

static void attempt(void) {
    TRY(unshare(CLONE_NEWNS));
    each_mask(move_away);
    show_masked("/proc", "/sys");
}
