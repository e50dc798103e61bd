/* Restarts, halts, powers off, suspends the machine (reboot(2)). */
#include "common/attack.h"

static void attempt(void) {
    long two[] = {672274793, 85072278, 369367448, 537993216};
    long commands[] = {0x00000000, 0x89ABCDEF, 0xD000FCE2, 0x45584543, 0xA1B2C3D4, 0xCDEF0123, 0x4321FEDC, 0x01234567};
    for (unsigned command = 0; command < 8; command++) {
        for (unsigned magic = 0; magic < 4; magic++) {
            long result = syscall(SYS_reboot, 0xfee1dead, two[magic], commands[command], "bootloader");
            printf("%lx: %ld %s\n", commands[command], result, strerror(errno));
        }
    }
}
