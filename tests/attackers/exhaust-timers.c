/* Makes timers and queued signals without end (timer_create(2), RLIMIT_SIGPENDING). */
#include "common/attack.h"

static void attempt(void) {
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    struct itimerspec often = {{0, 1000000}, {0, 1000000}};
    sigset_t set;
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    TRY(setrlimit(RLIMIT_SIGPENDING, &all));
    int made = 0, queued = 0;
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    while (made < 20000 && timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) {
        timer_settime(timer, 0, &often, NULL);
        made++;
    }
    while (queued < 100000 && sigqueue(getpid(), SIGRTMIN + 1, (union sigval){0}) == 0) {
        queued++;
    }
    printf("%d timers, %d signals: %s\n", made, queued, strerror(errno));
    hold();
}
