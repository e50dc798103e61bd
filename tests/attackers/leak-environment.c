/* Reads the environment and the first bytes of memory that it was started with: nothing of who started it may be there (environ(7)). */
#include "common/attack.h"

static void attempt(void) {
    show("/proc/self/environ");
    show("/proc/1/environ");
    show("/proc/self/auxv");
    show("/proc/self/maps");
    show("/proc/self/loginuid");
    show("/proc/self/sessionid");
    show("/proc/self/attr/current");
}
