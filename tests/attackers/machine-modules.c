/* Loads and unloads kernel modules (init_module(2), delete_module(2)). */
#include "common/attack.h"

static void attempt(void) {
    static char module[4096] = "\x7f"
                               "ELF";
    TRY(syscall(SYS_init_module, module, sizeof module, ""));
    int file = memfd_create("module", 0);
    TRY(write(file, module, sizeof module));
    TRY(syscall(SYS_finit_module, file, "", 3));
    static const char *names[] = {"binfmt_misc", "bridge", "stp", "llc", "ext4", "overlay", "virtio_blk"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        said(names[i], syscall(SYS_delete_module, names[i], O_NONBLOCK | O_TRUNC));
    }
}
