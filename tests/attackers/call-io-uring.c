/* Has calls made for it where no filter looks (io_uring(7); CVE-2022-29582, CVE-2023-2598). */
#include "common/attack.h"

static void attempt(void) {
    char parameters[256] = "";
    int ring = TRY(syscall(425 /* io_uring_setup */, 8, parameters));
    TRY(syscall(427 /* io_uring_register */, ring, 8, parameters, 1));
    TRY(syscall(426 /* io_uring_enter */, ring, 1, 0, 0, NULL, 0));
}
