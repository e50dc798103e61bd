/* Has the kernel run /sbin/request-key with words of its own (request_key(2), CVE-2019-11599's class). */
#include "common/attack.h"

static void attempt(void) {
    TRY(syscall(SYS_request_key, "user", MARK, "callout-" MARK, -3));
    TRY(syscall(SYS_request_key, "dns_resolver", MARK, "callout", -2));
    TRY(syscall(SYS_keyctl, 20 /* KEYCTL_SESSION_TO_PARENT */));
}
