/* Stops the kernel in the middle of a copy (userfaultfd(2); used by CVE-2016-6187, CVE-2022-2590). */
#include "common/attack.h"

static void attempt(void) {
    TRY(syscall(SYS_userfaultfd, O_CLOEXEC));
    TRY(syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */));
    TRY(open("/dev/userfaultfd", O_RDWR));
}
