/* Has another process fault by itself (ptrace(2), x86_64): `fault PID overflow` makes it call itself without end,
 * `fault PID illegal` execute what is no instruction, `fault PID read` read where there is nothing, and
 * `fault PID go ADDRESS` go on there, as behind a call. It is written into its own copy of its program, in memory, where
 * that has begun: what deals with the fault must not come across it. */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

static int die(const char *what) {
    perror(what);
    return 1;
}

/* Where its program begins; 0 where that is not known. */
static unsigned long entry(const char *pid) {
    char path[64];
    Elf64_auxv_t one;
    snprintf(path, sizeof path, "/proc/%s/auxv", pid);
    FILE *file = fopen(path, "r");
    while (file && fread(&one, sizeof one, 1, file) == 1)
        if (one.a_type == AT_ENTRY)
            return one.a_un.a_val;
    return 0;
}

int main(int count, char **words) {
    if (count < 3)
        return 2;
    pid_t pid = atoi(words[1]);
    struct user_regs_struct registers;
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
        return die("PTRACE_SEIZE");
    if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0 || waitpid(pid, NULL, __WALL) < 0)
        return die("PTRACE_INTERRUPT");
    if (ptrace(PTRACE_GETREGS, pid, 0, &registers) < 0)
        return die("PTRACE_GETREGS");
    /* The call that it was in is not made again. */
    registers.orig_rax = -1;
    registers.rip = count == 4 ? strtoul(words[3], NULL, 0) : entry(words[1]);
    unsigned long word = ptrace(PTRACE_PEEKTEXT, pid, registers.rip, 0);
    if (!strcmp(words[2], "overflow"))
        word = (word & ~0xfffffffffful) | 0xfffffffbe8ul; /* call -5 */
    else if (!strcmp(words[2], "illegal"))
        word = (word & ~0xfffful) | 0x0b0f; /* ud2 */
    else if (!strcmp(words[2], "read")) {
        word = (word & ~0xfffful) | 0x008b; /* mov (%rax),%eax */
        registers.rax = 8;
    } else if (count == 4) {
        registers.rsp = ((registers.rsp - 4096) & ~15ul) - 8;
    } else
        return 2;
    if (count == 3 && ptrace(PTRACE_POKETEXT, pid, registers.rip, word) < 0)
        return die("PTRACE_POKETEXT");
    if (ptrace(PTRACE_SETREGS, pid, 0, &registers) < 0 || ptrace(PTRACE_DETACH, pid, 0, 0) < 0)
        return die("PTRACE_SETREGS");
    return 0;
}
