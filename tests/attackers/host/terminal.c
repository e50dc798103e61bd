/* Runs a command on a terminal of its own, as a person's shell does, and says what stands in the terminal's input when it
 * has ended although nobody typed: the shell would run it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

int main(int count, char **words) {
    char bytes[4096];
    ssize_t len;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (count < 2 || master < 0 || grantpt(master) < 0 || unlockpt(master) < 0) {
        return 2;
    }
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    struct termios plain;
    tcgetattr(slave, &plain);
    plain.c_lflag &= ~ECHO;
    tcsetattr(slave, TCSANOW, &plain);
    pid_t child = fork();
    if (child == 0) {
        setsid();
        ioctl(slave, TIOCSCTTY, 0);
        for (int fd = 0; fd < 3; fd++) {
            dup2(slave, fd);
        }
        close(master);
        close(slave);
        execvp(words[1], words + 1);
        _exit(127);
    }
    for (int ended = 0;;) {
        struct pollfd poll_master = {master, POLLIN, 0};
        if (poll(&poll_master, 1, 100) > 0 && (len = read(master, bytes, sizeof bytes)) > 0) {
            if (write(1, bytes, len) < 0) {
                return 1;
            }
        } else if (ended) {
            break;
        }
        ended = ended || waitpid(child, NULL, WNOHANG) == child;
    }
    tcgetattr(slave, &plain);
    plain.c_lflag &= ~ICANON;
    plain.c_cc[VMIN] = plain.c_cc[VTIME] = 0;
    tcsetattr(slave, TCSANOW, &plain);
    len = read(slave, bytes, sizeof bytes);
    printf("\ninput: %.*s\n", (int)(len > 0 ? len : 0), bytes);
    return 0;
}
