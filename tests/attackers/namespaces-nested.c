/* Makes user namespaces in every way that there is, and uses their powers (user_namespaces(7); CVE-2022-0185, CVE-2023-32233). */
#include "common/attack.h"

static void use(void) {
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", "0 0 1");
    mounted("tmpfs", NULL);
    mounted("proc", NULL);
    TRY(socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
    show_masked("/proc", "/sys");
}

static void by_unshare(void) {
    if (TRY(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET)) == 0) {
        use();
    }
}

static void attempt(void) {
    apart(by_unshare, 5);
    long child = TRY(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    if (child == 0) {
        use();
        _exit(0);
    }
    uint64_t words[11] = {CLONE_NEWUSER | CLONE_NEWNS, 0, 0, 0, SIGCHLD};
    child = TRY(syscall(SYS_clone3, words, sizeof words));
    if (child == 0) {
        use();
        _exit(0);
    }
    while (wait(NULL) > 0) {
    }
}
