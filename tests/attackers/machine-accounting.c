/* Has the kernel write an account of every process of the host to a file of the guest (acct(2)). */
#include "common/attack.h"

static void attempt(void) {
    const char *file = own("account");
    close(open(file, O_WRONLY | O_CREAT, 0600));
    if (TRY(syscall(SYS_acct, file)) == 0) {
        sleep(1);
        show(file);
    }
    TRY(syscall(SYS_acct, NULL));
}
