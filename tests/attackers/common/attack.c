/* One program for all attempts: which one it is, is the name that it is called by. */
#define ATTACK_MAIN
#include "attack.h"

#include <mntent.h>

extern const struct attack __start_attacks[], __stop_attacks[];

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int main(int count, char **words) {
    const char *name = last_part(words[0]);
    (void)count;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (const struct attack *attack = __start_attacks; attack < __stop_attacks; attack++) {
        const char *file = last_part(attack->file);
        size_t len = strlen(file) - 2;
        if (strlen(name) == len && !strncmp(name, file, len)) {
            printf("attempt %s\n", name);
            attack->run();
            printf("done\n");
            return 0;
        }
    }
    fprintf(stderr, "there is no attempt %s\n", name);
    return 2;
}

long said(const char *what, long result) {
    int error = errno;
    if (result < 0) {
        printf("%s = %ld %s\n", what, result, strerror(error));
    } else {
        printf("%s = %ld\n", what, result);
    }
    errno = error;
    return result;
}

void show_fd(const char *name, int fd) {
    char *bytes = malloc(SHOWN);
    ssize_t len = 0, more;
    while (len < SHOWN && (more = read(fd, bytes + len, SHOWN - len)) > 0) {
        len += more;
    }
    printf("-- %s: %zd bytes\n", name, len);
    fflush(stdout);
    /* Nothing is left out: a secret may stand between zero bytes. */
    for (ssize_t i = 0; i < len; i++) {
        if (!bytes[i]) {
            bytes[i] = '\n';
        }
    }
    if (len > 0 && write(1, bytes, len) < 0) {
        exit(1);
    }
    printf("\n");
    free(bytes);
}

void show(const char *path) {
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        printf("-- %s: %s\n", path, strerror(errno));
        return;
    }
    show_fd(path, fd);
    close(fd);
}

void show_below(const char *path, int depth) {
    DIR *directory = opendir(path);
    struct dirent *entry;
    if (!directory) {
        printf("-- %s: %s\n", path, strerror(errno));
        return;
    }
    while ((entry = readdir(directory))) {
        char below[PATH_MAX];
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (entry->d_type == DT_DIR && depth > 0) {
            show_below(below, depth - 1);
        } else if (entry->d_type == DT_REG) {
            show(below);
        }
    }
    closedir(directory);
}

void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    ssize_t len = fd < 0 ? -1 : write(fd, text, strlen(text));
    printf("write %s: %s\n", path, len < 0 ? strerror(errno) : "taken");
    if (fd >= 0) {
        close(fd);
    }
}

const char *own_directory(void) {
    static char path[64];
    if (!path[0]) {
        snprintf(path, sizeof path, "/tmp/attack-%d", getpid());
        if (mkdir(path, 0777) < 0) {
            printf("mkdir %s: %s\n", path, strerror(errno));
        }
    }
    return path;
}

const char *own(const char *name) {
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", own_directory(), name);
    return path;
}

const char *mounted(const char *kind, const char *options) {
    const char *place = own(kind);
    mkdir(place, 0777);
    printf("mount %s: ", kind);
    if (mount(kind, place, kind, 0, options) < 0) {
        printf("%s\n", strerror(errno));
        return NULL;
    }
    printf("mounted\n");
    return place;
}

void apart(void (*what)(void), unsigned seconds) {
    pid_t child = fork();
    if (child == 0) {
        alarm(seconds);
        what();
        fflush(stdout);
        _exit(0);
    }
    if (child > 0) {
        waitpid(child, NULL, 0);
    }
}

void hold(void) {
    printf("\nholding\n");
    fflush(stdout);
    for (;;) {
        pause();
    }
}

void each_mask(void (*what)(const char *path)) {
    char *paths[256];
    int count = 0;
    struct mntent *entry;
    FILE *mounts = setmntent("/proc/self/mounts", "r");
    while (mounts && count < 256 && (entry = getmntent(mounts))) {
        const char *path = entry->mnt_dir;
        if ((!strncmp(path, "/proc/", 6) || !strncmp(path, "/sys/", 5)) && strcmp(path, "/sys/fs/cgroup")) {
            paths[count++] = strdup(path);
        }
    }
    printf("%d masks\n", count);
    while (count > 0) {
        what(paths[--count]);
    }
}

void show_masked(const char *proc, const char *sys) {
    static const char *files[] = {"kcore", "keys", "kallsyms", "kmsg", "latency_stats", "sched_debug", "timer_list",
        "interrupts"};
    char path[PATH_MAX];
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", proc, files[i]);
        show(path);
    }
    snprintf(path, sizeof path, "%s/sysrq-trigger", proc);
    put(path, "h");
    snprintf(path, sizeof path, "%s/acpi", proc);
    show_below(path, 1);
    snprintf(path, sizeof path, "%s/firmware", sys);
    show_below(path, 3);
}
