/* hear: blocks every signal, prints its number, and then the number of each that comes.
 * hear configured COMMAND...: becomes the command, with some signals ignored and some blocked. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int configured(char **command) {
    int ignored[] = {SIGTTOU, SIGSEGV, SIGINT, SIGCHLD}, blocked[] = {SIGTTIN, SIGILL, SIGTERM, SIGPIPE};
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < 4; i++) {
        signal(ignored[i], SIG_IGN);
        sigaddset(&set, blocked[i]);
    }
    sigprocmask(SIG_SETMASK, &set, NULL);
    execvp(command[0], command);
    return 1;
}

int main(int count, char **words) {
    if (count > 2 && strcmp(words[1], "configured") == 0)
        return configured(words + 2);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    printf("ready %d\n", getpid());
    for (;;) {
        int number;
        fflush(stdout);
        if (sigwait(&all, &number) == 0)
            printf("%d\n", number);
    }
}
