/* Does one thing after another, as its words say: what a guest does to be ready, or well, or not. Static, so that it runs in
 * an empty root. In the text of a notification `;` stands for a newline. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void send_to(const char *path, const void *text, size_t length) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || !path)
        exit(90);
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    if (sendto(fd, text, length, 0, (struct sockaddr *)&to, sizeof to) < 0) {
        perror(path);
        exit(91);
    }
    close(fd);
}

static void notify(char *text) {
    for (char *c = text; *c; c++)
        if (*c == ';')
            *c = '\n';
    send_to(getenv("NOTIFY_SOCKET"), text, strlen(text));
}

/* With a descriptor, as systemd-notify sends its barrier: waits until the other end is closed. */
static void barrier(void) {
    int ends[2];
    if (pipe(ends) < 0)
        exit(92);
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof to.sun_path - 1);
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {"BARRIER=1", 9};
    struct msghdr message = {&to, sizeof to, &part, 1, control, sizeof control, 0};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &ends[1], sizeof(int));
    if (sendmsg(socket(AF_UNIX, SOCK_DGRAM, 0), &message, 0) < 0)
        exit(93);
    close(ends[1]);
    char byte;
    if (read(ends[0], &byte, 1) == 0)
        puts("the barrier is over");
}

static void listen_on(int port) {
    struct sockaddr_in6 on = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int fd = socket(AF_INET6, SOCK_STREAM, 0), family = AF_INET6;
    if (fd < 0) {
        family = AF_INET;
        fd = socket(AF_INET, SOCK_STREAM, 0);
    }
    struct sockaddr_in old = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr *to = family == AF_INET ? (struct sockaddr *)&old : (struct sockaddr *)&on;
    if (bind(fd, to, family == AF_INET ? sizeof old : sizeof on) < 0 || listen(fd, 1) < 0)
        exit(94);
}

static void rest(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void leave(int signal) {
    _exit(signal == SIGTERM ? 0 : 95);
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int at = 1; at < count; at++) {
        char *word = words[at], *value = strchr(word, ':');
        size_t length = value ? (size_t)(value - word) : strlen(word);
        value = value ? value + 1 : word + length;
#define IS(name) (length == sizeof name - 1 && !strncmp(word, name, length))
        if (IS("notify")) {
            notify(value);
        } else if (IS("to")) {
            send_to(value, "READY=1\nSTATUS=not its own", 26);
        } else if (IS("child")) {
            pid_t pid = fork();
            if (pid == 0) {
                notify(value);
                _exit(0);
            }
            waitpid(pid, NULL, 0);
        } else if (IS("big")) {
            size_t size = 9 + 7 + 1 + strtoul(value, NULL, 10);
            char *text = malloc(size);
            memset(text, 'x', size);
            memcpy(text, "READY=1\n\nSTATUS=", 16);
            send_to(getenv("NOTIFY_SOCKET"), text, size);
        } else if (IS("garbage")) {
            srand(7);
            for (int left = atoi(value); left > 0; left--) {
                unsigned char bytes[64];
                for (unsigned i = 0; i < sizeof bytes; i++)
                    bytes[i] = rand() >> 7;
                send_to(getenv("NOTIFY_SOCKET"), bytes, rand() % sizeof bytes);
            }
        } else if (IS("flood")) {
            for (;;)
                send_to(getenv("NOTIFY_SOCKET"), "STATUS=a flood\nMAINPID=1", 24);
        } else if (IS("barrier")) {
            barrier();
        } else if (IS("beat")) {
            for (int left = atoi(value); left > 0; left--) {
                send_to(getenv("NOTIFY_SOCKET"), "WATCHDOG=1", 10);
                rest(50);
            }
        } else if (IS("listen")) {
            listen_on(atoi(value));
        } else if (IS("touch")) {
            close(open(value, O_CREAT | O_WRONLY, 0644));
        } else if (IS("link")) {
            symlink(value, "/tmp/link");
        } else if (IS("remove")) {
            unlink(value);
        } else if (IS("is")) {
            if (access(value, F_OK))
                return 1;
        } else if (IS("await")) {
            while (access(value, F_OK))
                rest(10);
        } else if (IS("sleep")) {
            rest(atol(value));
        } else if (IS("print")) {
            puts(value);
        } else if (IS("variable")) {
            printf("%s is %s\n", value, getenv(value) ? getenv(value) : "not set");
        } else if (IS("term")) {
            signal(SIGTERM, leave);
        } else if (IS("deaf")) {
            signal(SIGTERM, SIG_IGN);
        } else if (IS("fork")) {
            if (fork() == 0) {
                setsid();
                for (;;)
                    pause();
            }
        } else if (IS("exit")) {
            return atoi(value);
        } else if (IS("wait")) {
            for (;;)
                pause();
        } else {
            return 96;
        }
    }
    return 0;
}
