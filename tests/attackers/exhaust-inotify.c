/* Uses up inotify instances and watches (inotify(7), fs.inotify). */
#include "common/attack.h"

static void attempt(void) {
    int instances = 0, watches = 0, fd;
    while (instances < 100000 && (fd = inotify_init()) >= 0) {
        instances++;
        for (int n = 0; n < 64; n++) {
            char path[64];
            snprintf(path, sizeof path, "/tmp/watch-%d", n);
            mkdir(path, 0777);
            watches += inotify_add_watch(fd, path, IN_ALL_EVENTS) >= 0;
        }
    }
    printf("%d instances, %d watches: %s\n", instances, watches, strerror(errno));
    hold();
}
