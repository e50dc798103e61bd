/* Takes all it can of one thing, says so, and keeps it: `take THING`. Compiled by the test that runs it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char block[65536];

static void fill(int fd) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (write(fd, block, sizeof block) > 0) {
    }
}

static int memory(void) {
    char *page = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return -1;
    }
    memset(page, 1, 1 << 20);
    return 0;
}

static int file_system(void) {
    static const char *places[] = {"/tmp/fill", "/run/fill", "/dev/shm/fill"};
    for (int n = 0; n < 3; n++) {
        fill(open(places[n], O_WRONLY | O_CREAT, 0600));
    }
    return -1;
}

static int files(void) {
    static int n;
    char path[64];
    snprintf(path, sizeof path, "/tmp/%d", n++);
    return mkdir(path, 0700);
}

static int names(void) {
    static int n;
    char path[64];
    struct stat stat_of;
    snprintf(path, sizeof path, "/tmp/no-such-%d", n++);
    stat(path, &stat_of);
    return n < 300000 ? 0 : -1;
}

static int pipes(void) {
    int ends[2];
    if (pipe(ends) < 0) {
        return -1;
    }
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    fill(ends[1]);
    return 0;
}

static int sockets(void) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0 || socket(AF_INET, SOCK_STREAM, 0) < 0) {
        return -1;
    }
    fill(ends[0]);
    return 0;
}

static int watches(void) {
    int fd = inotify_init();
    static int n;
    char path[64];
    snprintf(path, sizeof path, "/tmp/watch-%d", n++);
    mkdir(path, 0700);
    return fd < 0 ? -1 : inotify_add_watch(fd, path, IN_ALL_EVENTS) < 0 ? -1 : 0;
}

static int descriptors(void) {
    return open("/dev/null", O_RDONLY) < 0 ? -1 : 0;
}

static int terminals(void) {
    return open("/dev/ptmx", O_RDWR | O_NOCTTY) < 0 ? -1 : 0;
}

static int cgroups(void) {
    static int n;
    char path[64];
    snprintf(path, sizeof path, "/sys/fs/cgroup/flood-%d", n++);
    return mkdir(path, 0700);
}

static int mounts(void) {
    mkdir("/mnt", 0755);
    return mount("tmpfs", "/mnt", "tmpfs", 0, "size=4k");
}

static int shared(void) {
    int id = shmget(IPC_PRIVATE, 1 << 20, 0600);
    char *at = id < 0 ? (char *)-1 : shmat(id, NULL, 0);
    if (at == (char *)-1) {
        return -1;
    }
    memset(at, 1, 1 << 20);
    return 0;
}

static int queues(void) {
    static int n;
    char name[32];
    struct mq_attr attributes = {.mq_maxmsg = 10, .mq_msgsize = 8192};
    snprintf(name, sizeof name, "/flood-%d", n++);
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_NONBLOCK, 0600, &attributes);
    while (queue >= 0 && mq_send(queue, block, 8192, 0) == 0) {
    }
    *(long *)block = 1;
    int other = msgget(IPC_PRIVATE, 0600);
    while (other >= 0 && msgsnd(other, block, 8192, IPC_NOWAIT) == 0) {
    }
    return queue < 0 && other < 0 && semget(IPC_PRIVATE, 100, 0600) < 0 ? -1 : 0;
}

static int events(void) {
    int poll = epoll_create1(0), event = eventfd(0, 0);
    struct epoll_event interest = {.events = EPOLLIN};
    return poll < 0 || event < 0 ? -1 : epoll_ctl(poll, EPOLL_CTL_ADD, event, &interest);
}

static int timers(void) {
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    return timer_create(CLOCK_MONOTONIC, &event, &timer);
}

static int queued_signals(void) {
    return sigqueue(getpid(), SIGRTMIN + 1, (union sigval){0});
}

static int aio(void) {
    aio_context_t context = 0;
    return syscall(SYS_io_setup, 128, &context);
}

static int locked(void) {
    char *page = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -1 : mlock(page, 65536);
}

static int apart(int flags) {
    int told[2];
    char answer = 0;
    pid_t child = pipe(told) < 0 ? -1 : fork();
    if (child == 0) {
        answer = unshare(flags) == 0;
        if (write(told[1], &answer, 1) == 1 && answer) {
            pause();
        }
        _exit(0);
    }
    return child > 0 && read(told[0], &answer, 1) == 1 && answer ? 0 : -1;
}

static int networks(void) {
    return apart(CLONE_NEWNET);
}

static int trees(void) {
    return apart(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP);
}

static int forks(void) {
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            pause();
        }
    }
    return child;
}

static int cpu(void) {
    static int n;
    pid_t child = n++ < 16 ? fork() : -1;
    while (child == 0) {
    }
    return child;
}

static const struct {
    const char *name;
    int (*take)(void);
} things[] = {
    {"memory", memory}, {"file-system", file_system}, {"files", files}, {"names", names}, {"pipes", pipes},
    {"sockets", sockets}, {"watches", watches}, {"descriptors", descriptors}, {"terminals", terminals},
    {"cgroups", cgroups}, {"mounts", mounts}, {"shared", shared}, {"queues", queues}, {"events", events},
    {"timers", timers}, {"signals", queued_signals}, {"aio", aio}, {"locked", locked}, {"networks", networks},
    {"trees", trees}, {"forks", forks}, {"cpu", cpu},
};

int main(int count, char **words) {
    struct rlimit limit;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (unsigned n = 0; count == 2 && n < sizeof things / sizeof *things; n++) {
        if (!strcmp(words[1], things[n].name)) {
            int taken = 0;
            while (things[n].take() >= 0) {
                taken++;
            }
            printf("taken: %d %s, then %s\n", taken, words[1], strerror(errno));
            fflush(stdout);
            for (;;) {
                pause();
            }
        }
    }
    return 2;
}
