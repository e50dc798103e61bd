/* Loads programs into the kernel (bpf(2); CVE-2021-31440, CVE-2022-23222). */
#include "common/attack.h"

static void attempt(void) {
    struct {
        uint16_t code;
        int16_t offset;
        int32_t value;
    } program[2] = {{0xb7, 0, 0}, {0x95, 0, 0}};
    for (uint32_t type = 1; type < 32; type++) {
        struct {
            uint32_t type, count;
            uint64_t program, license;
            char rest[96];
        } load = {type, 2, (uintptr_t)program, (uintptr_t)"GPL", ""};
        if (syscall(SYS_bpf, 5 /* BPF_PROG_LOAD */, &load, sizeof load) >= 0) {
            printf("type %u is loaded\n", type);
        }
    }
    uint32_t map[32] = {2, 4, 8, 16};
    TRY(syscall(SYS_bpf, 0 /* BPF_MAP_CREATE */, map, sizeof map));
    uint32_t id[32] = {0};
    TRY(syscall(SYS_bpf, 11 /* BPF_PROG_GET_NEXT_ID */, id, sizeof id));
}
