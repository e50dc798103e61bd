/* Mounts in shared and slave trees, to be seen by the host (mount_namespaces(7), shared subtrees). */
#include "common/attack.h"

static void attempt(void) {
    TRY(mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL));
    TRY(mount("tmpfs", "/tmp", "tmpfs", 0, NULL));
    TRY(mount("tmpfs", "/etc", "tmpfs", 0, NULL));
    TRY(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
    TRY(mount("tmpfs", "/root", "tmpfs", 0, NULL));
    TRY(umount2("/etc", MNT_DETACH));
    TRY(umount2("/tmp", MNT_DETACH));
    TRY(umount2("/root", MNT_DETACH));
    TRY(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}
