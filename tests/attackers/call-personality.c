/* Turns off what randomizes and protects its memory, and that of programs with powers (personality(2); CVE-2009-1895). */
#include "common/attack.h"

#include <sys/personality.h>

static void attempt(void) {
    TRY(personality(0x0040000 | 0x0400000));
    TRY(personality(0x0100000));
    TRY(personality(0xffffffff));
    TRY(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
}
