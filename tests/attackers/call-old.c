/* Makes calls that no program needs any more (uselib, modify_ldt, ustat, sysfs, vm86, _sysctl, nfsservctl, lookup_dcookie; CVE-2015-3290). */
#include "common/attack.h"

static void attempt(void) {
    char bytes[256] = "";
    TRY(syscall(SYS_uselib, "/bin/busybox"));
    TRY(syscall(SYS_modify_ldt, 1, bytes, 16));
    TRY(syscall(SYS_ustat, 1, bytes));
    TRY(syscall(SYS_sysfs, 3));
    TRY(syscall(SYS__sysctl, bytes));
    TRY(syscall(SYS_nfsservctl, 0, bytes, bytes));
    TRY(syscall(SYS_create_module, MARK, 4096));
    TRY(syscall(SYS_query_module, NULL, 1, bytes, sizeof bytes, bytes));
    TRY(syscall(SYS_lookup_dcookie, 0L, bytes, sizeof bytes));
    TRY(syscall(SYS_get_kernel_syms, NULL));
    TRY(syscall(SYS_afs_syscall));
    TRY(syscall(SYS_security));
}
