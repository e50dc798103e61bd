/* Mounts every file system that the kernel knows, and a few that it would have to load (/proc/filesystems). */
#include "common/attack.h"

static void attempt(void) {
    FILE *kinds = fopen("/proc/filesystems", "r");
    char line[128], kind[64];
    while (kinds && fgets(line, sizeof line, kinds)) {
        const char *word = strrchr(line, '\t');
        if (word && sscanf(word + 1, "%63s", kind) == 1) {
            const char *place = own(kind);
            mkdir(place, 0777);
            printf("%s: %s\n", kind, mount("/dev/vda", place, kind, 0, NULL) ? strerror(errno) : "mounted");
            show_below(place, 1);
        }
    }
}
