/* Watches every file of the host's file systems, and holds up who opens one (fanotify(7)). */
#include "common/attack.h"

static void attempt(void) {
    int group = TRY(syscall(SYS_fanotify_init, 4 /* FAN_CLASS_CONTENT */, O_RDONLY));
    TRY(syscall(SYS_fanotify_mark, group, 1 | 16, 0x10000 | 0x20, AT_FDCWD, "/"));
    TRY(syscall(SYS_fanotify_mark, group, 1 | 0x100, 0x10020, AT_FDCWD, "/proc"));
    group = TRY(syscall(SYS_fanotify_init, 0x200 /* FAN_REPORT_FID */, O_RDONLY));
    TRY(syscall(SYS_fanotify_mark, group, 1 | 0x100, 0x20, AT_FDCWD, "/"));
}
