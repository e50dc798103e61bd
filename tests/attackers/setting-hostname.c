/* Names the host anew (sethostname(2), setdomainname(2), /proc/sys/kernel). */
#include "common/attack.h"

static void attempt(void) {
    TRY(sethostname(MARK, strlen(MARK)));
    TRY(setdomainname(MARK, strlen(MARK)));
    put("/proc/sys/kernel/hostname", MARK);
    put("/proc/sys/kernel/domainname", MARK);
}
