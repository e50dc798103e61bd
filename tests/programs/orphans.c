/* orphans NUMBER [COMMAND...]: makes so many orphans, a hundred at a time: a child of this process makes them, and ends before it
 * waits for any. With COMMAND this process reaps what comes to it, says so when all are made, and becomes the command; without
 * one it leaves them to the host's first process. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words) {
    long number = count > 1 ? atol(words[1]) : 0;
    for (long made = 0; made < number; made += 100) {
        pid_t child = fork();
        if (child < 0)
            return 1;
        if (child == 0) {
            for (int orphan = 0; orphan < 100; orphan++) {
                pid_t pid = fork();
                /* Where there is room for no more, it is so for a moment. */
                orphan -= pid < 0;
                if (pid == 0)
                    _exit(0);
            }
            _exit(0);
        }
        if (count > 2)
            while (wait(NULL) != child)
                ;
        else
            waitpid(child, NULL, 0);
    }
    if (count < 3)
        return 0;
    printf("made %ld orphans\n", number);
    fflush(stdout);
    execv(words[2], words + 2);
    return 1;
}
