/* Works without end with a little of everything that `take` takes, and counts: a line for each round. What it cannot do is
 * said, and the round goes on. Compiled by the test that runs it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void must(const char *what, long result) {
    if (result < 0) {
        printf("cannot: %s: %s\n", what, strerror(errno));
    }
}

static void opened(const char *what, int fd) {
    must(what, fd);
    close(fd);
}

static void in_child(const char *what, int flags) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        _exit(flags && unshare(flags) < 0 ? errno : 0);
    }
    must("fork", child);
    if (child > 0 && waitpid(child, &status, 0) > 0 && status) {
        errno = WEXITSTATUS(status);
        must(what, -1);
    }
}

static void files(void) {
    static char block[65536];
    int fd = open("/tmp/work", O_RDWR | O_CREAT, 0600);
    must("write to /tmp", write(fd, block, sizeof block));
    close(fd);
    unlink("/tmp/work");
    opened("open", open("/dev/null", O_RDONLY));
    must("mkdir", mkdir("/tmp/work.d", 0700));
    rmdir("/tmp/work.d");
    mkdir("/mnt", 0755);
    must("mount", mount("tmpfs", "/mnt", "tmpfs", 0, "size=4k"));
    umount("/mnt");
    must("make a cgroup", mkdir("/sys/fs/cgroup/work", 0755));
    rmdir("/sys/fs/cgroup/work");
}

static void talk(void) {
    int ends[2];
    static char block[4096];
    must("pipe", pipe(ends));
    must("write to a pipe", write(ends[1], block, sizeof block));
    close(ends[0]);
    close(ends[1]);
    must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    must("write to a socket", write(ends[1], block, sizeof block));
    close(ends[0]);
    close(ends[1]);
    opened("socket", socket(AF_INET, SOCK_STREAM, 0));
    opened("terminal", open("/dev/ptmx", O_RDWR | O_NOCTTY));
    struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 1024};
    mqd_t queue = mq_open("/work", O_RDWR | O_CREAT, 0600, &attributes);
    must("message queue", queue);
    mq_close(queue);
    mq_unlink("/work");
    int other = msgget(IPC_PRIVATE, 0600);
    must("System V queue", other);
    msgctl(other, IPC_RMID, NULL);
}

static void wait_for(void) {
    int fd = inotify_init();
    must("inotify", fd);
    must("watch", inotify_add_watch(fd, "/tmp", IN_CREATE));
    close(fd);
    opened("epoll", epoll_create1(0));
    opened("eventfd", eventfd(0, 0));
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    int made = timer_create(CLOCK_MONOTONIC, &event, &timer);
    must("timer", made);
    if (made == 0) {
        timer_delete(timer);
    }
    must("signal", sigqueue(getpid(), SIGRTMIN, (union sigval){0}));
    struct timespec none = {0, 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigtimedwait(&set, NULL, &none);
    aio_context_t context = 0;
    must("aio", syscall(SYS_io_setup, 8, &context));
    syscall(SYS_io_destroy, context);
}

static void memory(void) {
    char *pages = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(pages, 1, 1 << 20);
    must("mlock", mlock(pages, 4096));
    munmap(pages, 1 << 20);
    int id = shmget(IPC_PRIVATE, 65536, 0600);
    must("shared memory", id);
    shmctl(id, IPC_RMID, NULL);
}

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct timespec pause = {0, 50000000};
    for (unsigned long round = 1;; round++) {
        files();
        talk();
        wait_for();
        memory();
        in_child("fork", 0);
        in_child("network namespace", CLONE_NEWNET);
        in_child("mount namespace", CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS);
        printf("round %lu\n", round);
        nanosleep(&pause, NULL);
    }
}
