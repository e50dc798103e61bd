/* Uses up message queues, POSIX and System V (mq_overview(7), RLIMIT_MSGQUEUE, kernel.msgmni). */
#include "common/attack.h"

#include <mqueue.h>
#include <sys/msg.h>

static void attempt(void) {
    static char block[8192];
    int made = 0, queues = 0;
    for (int n = 0; n < 4000; n++) {
        char name[32];
        snprintf(name, sizeof name, "/flood-%d", n);
        struct mq_attr attributes = {.mq_maxmsg = 10, .mq_msgsize = 8192};
        mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_NONBLOCK, 0600, &attributes);
        if (queue < 0) {
            break;
        }
        made++;
        while (mq_send(queue, block, sizeof block, 0) == 0) {
        }
    }
    for (int n = 0; n < 40000; n++) {
        int queue = msgget(IPC_PRIVATE, 0600);
        if (queue < 0) {
            break;
        }
        queues++;
        *(long *)block = 1;
        while (queues < 200 && msgsnd(queue, block, 4096, IPC_NOWAIT) == 0) {
        }
    }
    printf("%d and %d queues: %s\n", made, queues, strerror(errno));
    hold();
}
