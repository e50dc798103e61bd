/* Writes to the machine's ports: a word on the host's serial console (iopl(2), ioperm(2)). */
#include "common/attack.h"

static void out(void) {
    for (const char *at = "\n" MARK "\n"; *at; at++) {
        __asm__ volatile("outb %0, %1" : : "a"(*at), "Nd"((unsigned short)0x3f8));
    }
}

static void attempt(void) {
    TRY(syscall(SYS_iopl, 3));
    apart(out, 5);
    TRY(syscall(SYS_ioperm, 0x3f8, 8, 1));
    apart(out, 5);
}
