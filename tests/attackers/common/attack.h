/* What every attempt has: the system's calls, and a few ways to say what came of one. What is said is for whoever reads
 * a failure. No verdict is taken from it, but for secrets of the host that stand in it. */
#ifndef ATTACK_H
#define ATTACK_H

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>

/* What nobody may ever find on the host: its console, its log, its terminals. */
#define MARK "typed-by-attacker"

/* Pid numbers that are tried, for processes that cannot be seen: the host's first hundreds. */
#define PIDS 600

struct attack {
    const char *file;
    void (*run)(void);
};

#ifndef ATTACK_MAIN
/* The attempt of the file that includes this. It is found by that file's name. */
static void attempt(void);

static const struct attack attack __attribute__((section("attacks"), used, aligned(16))) = {__BASE_FILE__, attempt};
#endif

/* Does `call` and says what came of it. */
#define TRY(call) said(#call, (errno = 0, (long)(call)))

/* Says that `what` gave `result`, which it returns. */
long said(const char *what, long result);

/* Prints the beginning of a file, at most `SHOWN` bytes. */
void show(const char *path);
void show_fd(const char *name, int fd);
#define SHOWN 16384

/* Prints every file below a directory, to a depth. */
void show_below(const char *path, int depth);

/* Writes `text` to a file that is there. */
void put(const char *path, const char *text);

/* A directory of this attempt's own, where it may write: below /tmp. */
const char *own_directory(void);

/* A path in that directory. */
const char *own(const char *name);

/* Mounts a new file system of this kind on a directory of its own, and returns that, or nothing. */
const char *mounted(const char *kind, const char *options);

/* Runs `what` in a child, with a limit of seconds, and waits. */
void apart(void (*what)(void), unsigned seconds);

/* Keeps what was taken, until somebody else ends this process. The host looks at its own state meanwhile. */
void hold(void) __attribute__((noreturn));

/* Calls this with every path of a mount that covers something in /proc or /sys, the last first. */
void each_mask(void (*what)(const char *path));

/* Prints all that the masks of a complete isolation cover, below another root of them. */
void show_masked(const char *proc, const char *sys);

#endif
