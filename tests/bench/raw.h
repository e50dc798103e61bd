// Raw system calls for programs without a C library.
#include <asm/unistd.h>

#if defined(__x86_64__)
#define ENTRY "mov %rsp, %rdi\n and $-16, %rsp\n call begin\n"
static inline long raw(long n, long a, long b, long c, long d, long e) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
#define ENTRY "mov x0, sp\n bl begin\n"
static inline long raw(long n, long a, long b, long c, long d, long e) {
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
}
#else
#error "no system calls for this architecture"
#endif

// The kernel enters at _start, with argc, argv and envp on the stack; the program goes on in begin(stack).
__asm__(".globl _start\n_start:\n" ENTRY);
_Noreturn void begin(long *stack) __attribute__((used));

// Missing arguments are zero.
#define CALL_(n, a, b, c, d, e, ...) raw(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define call(name, ...) CALL_(__NR_##name, __VA_ARGS__, 0, 0, 0, 0, 0)
