/* Waits for each program that enters, and tries to overwrite it, trace it and read its memory and descriptors while it does (CVE-2019-5736, CVE-2016-9962). The host enters many times meanwhile. */
#include "common/attack.h"
#include "common/ambush.h"

static void attempt(void) {
    ambush();
}
