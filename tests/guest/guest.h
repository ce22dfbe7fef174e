/* What the guest programs of the tests share: system calls, and printing without a C library. */
typedef unsigned char u8;
typedef unsigned long u64;
typedef long s64;

static s64 call(s64 number, s64 a, s64 b, s64 c, s64 d, s64 e, s64 f)
{
    register s64 x8 __asm__("x8") = number;
    register s64 x0 __asm__("x0") = a;
    register s64 x1 __asm__("x1") = b;
    register s64 x2 __asm__("x2") = c;
    register s64 x3 __asm__("x3") = d;
    register s64 x4 __asm__("x4") = e;
    register s64 x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

enum { OPENAT = 56, CLOSE = 57, READ = 63, WRITE = 64, PREAD64 = 67, EXIT_GROUP = 94, BRK = 214, MUNMAP = 215,
       MREMAP = 216, EXECVE = 221, MMAP = 222, MPROTECT = 226, MADVISE = 233 };
enum { PROT_NONE = 0, PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4 };
enum { MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 16, MAP_ANONYMOUS = 32 };
enum { PAGE = 4096 };

#define map(size, prot, flags, fd) ((volatile u8 *)call(MMAP, 0, size, prot, flags, fd, 0))

static void leave(int status)
{
    call(EXIT_GROUP, status, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

/* Exit with the line number: a test that fails says where. */
#define CHECK(condition) do { if (!(condition)) leave(__LINE__ & 0xff ? __LINE__ & 0xff : 1); } while (0)

void run(s64 *stack);
__asm__(".globl _start\n_start:\n mov x29, xzr\n mov x30, xzr\n mov x0, sp\n bl run\n");
