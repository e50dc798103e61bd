/* Runs inside a guest and prints what became of one thing, as the name of its error number or "ok". Static, so that it runs
 * in an empty root. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *what, long result) {
    printf("%s %s\n", what, result < 0 ? strerrorname_np(errno) : "ok");
    fflush(stdout);
}

/* Calls with arguments that the kernel refuses in its own words: what comes from a filter differs. */
static int call(char **names) {
    static const struct { const char *name; long number; long first; } calls[] = {
        {"bpf", SYS_bpf, 9999},
        {"keyctl", SYS_keyctl, 9999},
        {"perf_event_open", SYS_perf_event_open, 0},
        {"userfaultfd", SYS_userfaultfd, -1},
        {"io_uring_setup", SYS_io_uring_setup, 0},
        {"swapoff", SYS_swapoff, 0},
        {"clone3", SYS_clone3, 0},
        {"acct", SYS_acct, -1},
    };
    for (; *names; names++)
        for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
            if (!strcmp(*names, calls[i].name))
                say(*names, syscall(calls[i].number, calls[i].first, 0, 0, 0, 0));
    return 0;
}

static int open_it(char **words) {
    for (; *words; words += 2) {
        int flags = !strcmp(words[1], "r") ? O_RDONLY : !strcmp(words[1], "w") ? O_WRONLY : O_RDWR;
        int fd = open(words[0], flags | O_NONBLOCK | O_NOCTTY);
        say(words[0], fd);
        if (fd >= 0)
            close(fd);
    }
    return 0;
}

static int make(char **words) {
    mode_t kind = *words[1] == 'b' ? S_IFBLK : S_IFCHR;
    say(words[0], mknod(words[0], kind | 0600, makedev(atoi(words[2]), atoi(words[3]))));
    return 0;
}

static int tun(void) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR);
    say("open", fd);
    say("tun", ioctl(fd, TUNSETIFF, &request));
    return 0;
}

static int fuse(void) {
    char options[64];
    int fd = open("/dev/fuse", O_RDWR);
    say("open", fd);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
    say("fuse", mount("probe", "/tmp", "fuse", 0, options));
    return 0;
}

static int set_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    say("clock", clock_settime(CLOCK_REALTIME, &now));
    return 0;
}

/* Makes a user namespace, as containers in a guest do. */
static int user_namespace(void) {
    say("users", unshare(CLONE_NEWUSER));
    return 0;
}

/* How many programs guard the devices of a cgroup: for the host to ask. */
static int guards(const char *path) {
    union bpf_attr query = {0};
    query.query.target_fd = open(path, O_RDONLY | O_DIRECTORY);
    query.query.attach_type = BPF_CGROUP_DEVICE;
    __u32 ids[8];
    query.query.prog_ids = (unsigned long)ids;
    query.query.prog_cnt = 8;
    if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof query) < 0)
        say("query", -1);
    else
        printf("%u attached\n", query.query.prog_cnt);
    return 0;
}

/* Waits for a process called as given, and changes the mode of its program (the class of CVE-2019-5736; to write to it takes
 * its end as well). Ends by itself after a while. */
static int hunt(const char *name) {
    for (time_t end = time(NULL) + 10; time(NULL) < end; usleep(1000)) {
        DIR *list = opendir("/proc");
        struct dirent *entry;
        while ((entry = readdir(list))) {
            char path[300], called[32] = "";
            snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
            FILE *file = atoi(entry->d_name) > 0 ? fopen(path, "r") : NULL;
            if (!file)
                continue;
            int is_it = fgets(called, sizeof called, file) && !strncmp(called, name, strlen(name));
            fclose(file);
            snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
            int held = is_it ? open(path, O_PATH) : -1;
            if (held < 0)
                continue;
            snprintf(path, sizeof path, "/proc/self/fd/%d", held);
            say("change", chmod(path, 04777));
            return 0;
        }
        closedir(list);
    }
    printf("nothing\n");
    return 0;
}

/* Looks for a key in the session keyring that this process came with. */
static int key(const char *name) {
    say("inside", syscall(SYS_request_key, "user", name, NULL, 0));
    return 0;
}

/* Puts a key into a session keyring, looks for it, and becomes another program. */
static int with_key(char **words) {
    syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    syscall(SYS_add_key, "user", words[0], "secret", 6, KEY_SPEC_SESSION_KEYRING);
    say("outside", syscall(SYS_request_key, "user", words[0], NULL, 0));
    execv(words[1], words + 1);
    return 1;
}

/* Whether input, output and error are terminals, of this guest or of somebody else. */
static int terminals(void) {
    for (int number = 0; number < 3; number++) {
        char name[64] = "";
        struct stat named, opened;
        int is_own = ttyname_r(number, name, sizeof name) == 0 && fstat(number, &opened) == 0
            && stat(name, &named) == 0 && named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
        printf("%d %s\n", number, !isatty(number) ? "none" : is_own ? "own" : "host");
    }
    return 0;
}

/* What a process takes over from the one that made it. */
static int look(void) {
    char text[PATH_MAX];
    struct dirent *entry;
    DIR *list = opendir("/proc/self/fd");
    while ((entry = readdir(list))) {
        if (*entry->d_name == '.' || atoi(entry->d_name) == dirfd(list))
            continue;
        ssize_t length = readlinkat(dirfd(list), entry->d_name, text, sizeof text - 1);
        text[length < 0 ? 0 : length] = 0;
        printf("fd %s %s\n", entry->d_name, text);
    }
    closedir(list);
    printf("directory %s\n", getcwd(text, sizeof text) ? text : strerrorname_np(errno));
    printf("root %ld\n", (long)(stat("/host-was-here", &(struct stat){0}) == 0));
    printf("parent %d\n", getppid());
    printf("session %d\n", getsid(0) == getpid());
    printf("group %d\n", getpgrp() == getpid());
    int tty = open("/dev/tty", O_RDWR);
    printf("tty %s\n", tty < 0 ? strerrorname_np(errno) : "ok");
    printf("umask %o\n", umask(0));
    printf("nice %d\n", getpriority(PRIO_PROCESS, 0));
    printf("policy %d\n", sched_getscheduler(0));
    printf("io %ld\n", syscall(SYS_ioprio_get, 1, 0));
    printf("personality %x\n", personality(0xffffffff));
    cpu_set_t cpus;
    sched_getaffinity(0, sizeof cpus, &cpus);
    printf("cpus %d\n", CPU_COUNT(&cpus));
    printf("slack %d\n", prctl(PR_GET_TIMERSLACK));
    printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
    printf("subreaper %d\n", ({ int is = 0; prctl(PR_GET_CHILD_SUBREAPER, &is); is; }));
    printf("keep %d\n", prctl(PR_GET_SECUREBITS));
    for (int limit = 0; limit < RLIM_NLIMITS; limit++) {
        struct rlimit now;
        getrlimit(limit, &now);
        printf("rlimit %d %lu %lu\n", limit, now.rlim_cur, now.rlim_max);
    }
    for (int signal = 1; signal < NSIG; signal++) {
        struct sigaction action;
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
            printf("ignored %d\n", signal);
    }
    sigset_t blocked;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int signal = 1; signal < NSIG; signal++)
        if (sigismember(&blocked, signal) == 1)
            printf("blocked %d\n", signal);
    for (char **word = environ; *word; word++)
        printf("environment %s\n", *word);
    FILE *file = fopen("/proc/self/oom_score_adj", "r");
    if (file && fgets(text, sizeof text, file))
        printf("oom %s", text);
    return 0;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "sleep";
    if (!strcmp(what, "call"))
        return call(words + 2);
    if (!strcmp(what, "open"))
        return open_it(words + 2);
    if (!strcmp(what, "make") && count == 6)
        return make(words + 2);
    if (!strcmp(what, "tun"))
        return tun();
    if (!strcmp(what, "fuse"))
        return fuse();
    if (!strcmp(what, "clock"))
        return set_clock();
    if (!strcmp(what, "users"))
        return user_namespace();
    if (!strcmp(what, "guards") && count == 3)
        return guards(words[2]);
    if (!strcmp(what, "hunt") && count == 3)
        return hunt(words[2]);
    if (!strcmp(what, "key") && count == 3)
        return key(words[2]);
    if (!strcmp(what, "with-key") && count > 4)
        return with_key(words + 2);
    if (!strcmp(what, "terminals"))
        return terminals();
    if (!strcmp(what, "look"))
        return look();
    /* Takes away what the config of its mount forbids, if the kernel lets it. */
    if (!strcmp(what, "remount")) {
        say("remount", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
        return 0;
    }
    for (;;)
        pause();
}
