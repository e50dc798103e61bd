/* Mounts configfs, which makes kernel objects (configfs.rst). */
#include "common/attack.h"

static void attempt(void) {
    const char *place = mounted("configfs", NULL);
    if (place) {
        char path[128];
        show_below(place, 1);
        snprintf(path, sizeof path, "%s/made-by-attacker", place);
        TRY(mkdir(path, 0777));
        TRY(open(path, O_WRONLY | O_CREAT, 0666));
    }
}
