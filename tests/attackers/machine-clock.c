/* Sets the host's clock in every way (clock_settime(2), settimeofday(2), adjtimex(2)). */
#include "common/attack.h"

static void attempt(void) {
    struct timespec then = {1000000000, 0};
    struct timeval past = {1000000000, 0};
    struct timezone zone = {720, 0};
    for (int clock = 0; clock < 12; clock++) {
        if (clock_settime(clock, &then) == 0) {
            printf("clock %d is set\n", clock);
        }
    }
    TRY(settimeofday(&past, NULL));
    TRY(settimeofday(NULL, &zone));
    struct timex change = {.modes = ADJ_TICK | ADJ_FREQUENCY, .tick = 10500, .freq = 32000000};
    TRY(adjtimex(&change));
    TRY(clock_adjtime(CLOCK_REALTIME, &change));
    change = (struct timex){.modes = ADJ_SETOFFSET, .time = {3600, 0}};
    TRY(clock_adjtime(CLOCK_REALTIME, &change));
    TRY(adjtime(&(struct timeval){600, 0}, NULL));
    int device = TRY(open("/dev/rtc0", O_RDWR));
    TRY(mknod("/dev/rtc", S_IFCHR | 0666, makedev(250, 0)));
    TRY(open("/dev/rtc", O_RDWR));
    close(device);
}
