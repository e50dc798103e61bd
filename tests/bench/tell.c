// What is started: says with one byte that it runs, and ends; with an argument it stays.
#include "raw.h"

void begin(long *stack) {
    call(write, 1, "x", 1);
    while (stack[0] > 1) call(ppoll, 0, 0, 0, 0);
    for (;;) call(exit_group, 0);
}
