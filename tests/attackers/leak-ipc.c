/* Looks for shared memory, semaphores and queues of others (sysvipc(7), mq_overview(7)). */
#include "common/attack.h"

#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static void attempt(void) {
    for (int id = 0; id < 256; id++) {
        char *memory = shmat(id, NULL, SHM_RDONLY);
        if (memory != (char *)-1) {
            printf("segment %d: %.64s\n", id, memory);
        }
        shmctl(id, IPC_RMID, NULL);
        semctl(id, 0, IPC_RMID);
        msgctl(id, IPC_RMID, NULL);
    }
    int segment = TRY(shmget(0x5ec4e7, 4096, 0));
    char *memory = shmat(segment, NULL, 0);
    if (memory != (char *)-1) {
        printf("%.64s\n", memory);
    }
    show("/proc/sysvipc/shm");
    show_below("/dev/mqueue", 0);
    show_below("/dev/shm", 0);
    mounted("mqueue", NULL);
}
