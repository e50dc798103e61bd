/* Says which groups, capabilities and securebits it has, as the kernel shows them: the host looks at them (CVE-2022-24769, CVE-2022-29162). */
#include "common/attack.h"

static void attempt(void) {
    show("/proc/self/status");
    printf("securebits %d\n", prctl(PR_GET_SECUREBITS));
}
