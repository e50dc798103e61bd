/* Freezes and kills the cgroup that it is in, and those above (cgroup.kill, cgroup.freeze). */
#include "common/attack.h"

static void attempt(void) {
    put("/sys/fs/cgroup/../cgroup.freeze", "1");
    put("/sys/fs/cgroup/../cgroup.kill", "1");
    put("/sys/fs/cgroup/../../cgroup.kill", "1");
    put("/sys/fs/cgroup/cgroup.freeze", "1");
    put("/sys/fs/cgroup/cgroup.kill", "1");
}
