/* Writes to every kernel setting there is (/proc/sys, sysctl(2)). */
#include "common/attack.h"

static void below(const char *path) {
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        char file[PATH_MAX];
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && entry->d_type == DT_DIR) {
            below(file);
        } else if (entry->d_type == DT_REG) {
            int fd = open(file, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
            if (fd >= 0 && (write(fd, "3", 1) == 1 || write(fd, "0", 1) == 1)) {
                printf("%s is written\n", file);
            }
            close(fd);
        }
    }
    if (directory) {
        closedir(directory);
    }
}

static void attempt(void) {
    below("/proc/sys");
}
