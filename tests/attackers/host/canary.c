/* Keeps secrets in every place that others may look into, and does all the time what needs the kernel's resources: it
 * counts each round that went well, and says what it could not do. It is run by the host, and by a guest beside those that
 * attack. What it says goes to standard output; each secret is `$SECRET` and the name of its place. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/netlink.h>
#include <mqueue.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEMORY_BYTES (256 << 10)

static char *memory;
static const char *secret;

static void place(char *text, size_t room, const char *where) {
    snprintf(text, room, "%s%s\n", secret, where);
}

/* In memory, in System V shared memory, in the keyrings of this user, on a socket without a file. */
static int hide(void) {
    char text[64];
    memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t at = 0; at < MEMORY_BYTES; at += 64) {
        place(memory + at, 64, "memory");
    }
    int segment = shmget(0x5ec4e7, 4096, IPC_CREAT | 0666);
    if (segment >= 0) {
        place(shmat(segment, NULL, 0), 64, "shared-memory");
    }
    place(text, sizeof text, "keyring");
    /* -4: the user's keyring, -5: the user's session keyring (keyctl(2)) */
    /* Only what the session's keyring leads to may be changed below (KEYCTL_LINK; -3: the session's keyring). */
    syscall(SYS_keyctl, 8, -4, -3);
    syscall(SYS_keyctl, 8, -5, -3);
    for (int ring = -5; ring <= -4; ring++) {
        long key = syscall(SYS_add_key, "user", "innkeep-canary", text, strlen(text), ring);
        /* Its permissions keep nobody away who gets as far as to ask (KEYCTL_SETPERM). */
        syscall(SYS_keyctl, 5, key, 0x3f3f3f3f);
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0innkeep-canary"};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bind(listener, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + 15);
    listen(listener, 8);
    return listener;
}

static void tell(int listener) {
    char text[64];
    int caller = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (caller >= 0) {
        place(text, sizeof text, "socket");
        send(caller, text, strlen(text), MSG_NOSIGNAL);
        close(caller);
    }
}

/* Device events that did not come from the kernel, and are believed by programs like udevd. */
static void hear(int events) {
    char text[4096];
    ssize_t len = recv(events, text, sizeof text - 1, MSG_DONTWAIT);
    if (len > 0 && memmem(text, len, "typed-by", 8)) {
        printf("cannot trust device events any more\n");
    }
}

static void want(const char *what, long result) {
    if (result < 0) {
        printf("cannot %s: %s\n", what, strerror(errno));
    }
}

static void closed(const char *what, int fd) {
    want(what, fd);
    if (fd >= 0) {
        close(fd);
    }
}

/* One of everything, given back at once. */
static void round_of_work(const char *directory) {
    char path[128], block[4096];
    int pair[2];
    memset(block, 'x', sizeof block);
    snprintf(path, sizeof path, "%s/canary-work", directory);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    want("make a file", file);
    for (int n = 0; file >= 0 && n < 64; n++) {
        want("write a file", write(file, block, sizeof block));
    }
    close(file);
    unlink(path);
    if (pipe2(pair, O_CLOEXEC) < 0) {
        want("make a pipe", -1);
    } else {
        want("fill a pipe", write(pair[1], block, sizeof block));
        close(pair[0]);
        close(pair[1]);
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        want("make a socket pair", -1);
    } else {
        want("send", send(pair[0], block, sizeof block, MSG_NOSIGNAL | MSG_DONTWAIT));
        close(pair[0]);
        close(pair[1]);
    }
    int watches = inotify_init1(IN_CLOEXEC);
    want("make an inotify instance", watches);
    if (watches >= 0) {
        want("watch a directory", inotify_add_watch(watches, directory, IN_CREATE));
        close(watches);
    }
    closed("make an epoll instance", epoll_create1(EPOLL_CLOEXEC));
    closed("make an eventfd", eventfd(0, EFD_CLOEXEC));
    closed("make a memfd", memfd_create("work", MFD_CLOEXEC));
    closed("make a network socket", socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    closed("make a terminal", open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
    timer_t timer;
    struct sigevent no_event = {.sigev_notify = SIGEV_NONE};
    if (timer_create(CLOCK_MONOTONIC, &no_event, &timer) < 0) {
        want("make a timer", -1);
    } else {
        timer_delete(timer);
    }
    mqd_t queue = mq_open("/canary-work", O_RDWR | O_CREAT | O_CLOEXEC, 0600, NULL);
    want("make a message queue", queue);
    if (queue >= 0) {
        mq_close(queue);
        mq_unlink("/canary-work");
    }
    int segment = shmget(IPC_PRIVATE, 65536, IPC_CREAT | 0600);
    want("make shared memory", segment);
    if (segment >= 0) {
        shmctl(segment, IPC_RMID, NULL);
    }
    int semaphores = semget(IPC_PRIVATE, 4, IPC_CREAT | 0600);
    want("make semaphores", semaphores);
    if (semaphores >= 0) {
        semctl(semaphores, 0, IPC_RMID);
    }
    aio_context_t context = 0;
    long aio = syscall(SYS_io_setup, 16, &context);
    want("make an AIO context", aio);
    if (aio >= 0) {
        syscall(SYS_io_destroy, context);
    }
    char *pages = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    want("map memory", pages == MAP_FAILED ? -1 : 0);
    if (pages != MAP_FAILED) {
        memset(pages, 1, 1 << 20);
        munmap(pages, 1 << 20);
    }
    pid_t child = fork();
    want("fork", child);
    if (child == 0) {
        _exit(0);
    }
    if (child > 0) {
        waitpid(child, NULL, 0);
    }
}

static void look_after_memory(void) {
    char text[64];
    place(text, sizeof text, "memory");
    for (size_t at = 0; at < MEMORY_BYTES; at += 64) {
        if (strcmp(memory + at, text)) {
            printf("cannot find memory as it was\n");
            return;
        }
    }
}

int main(int count, char **words) {
    const char *directory = count > 1 ? words[1] : "/tmp";
    secret = getenv("SECRET");
    if (!secret) {
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    int listener = hide();
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1 | 2};
    int events = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    bind(events, (struct sockaddr *)&address, sizeof address);
    struct timespec pause = {0, 200000000};
    for (unsigned long n = 1;; n++) {
        tell(listener);
        hear(events);
        round_of_work(directory);
        look_after_memory();
        printf("count %lu\n", n);
        nanosleep(&pause, NULL);
    }
}
