/* Mapping, copy on write, protection, moving, the heap. Exit status 0, or the line that went wrong. */
#include "guest.h"

static s64 open_data(void)
{
    return call(OPENAT, -100, (s64) "/data", 0, 0, 0, 0);
}

static void copy_on_write(s64 fd)
{
    volatile u8 *shared = map(3 * PAGE, PROT_READ, MAP_SHARED, fd);
    volatile u8 *mine = map(3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
    u8 old = mine[PAGE], from_file = 0;
    mine[PAGE] = old ^ 0xff;
    mine[2 * PAGE + 5] = 7;
    CHECK(mine[PAGE] == (u8)(old ^ 0xff) && shared[PAGE] == old);
    CHECK(mine[PAGE + 1] == shared[PAGE + 1] && mine[0] == shared[0]);
    CHECK(call(PREAD64, fd, (s64)&from_file, 1, PAGE, 0, 0) == 1 && from_file == old);
    CHECK(call(MMAP, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == -13);
    CHECK(call(MUNMAP, (s64)mine, 3 * PAGE, 0, 0, 0, 0) == 0);
}

static void zero_pages(void)
{
    volatile u8 *a = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    CHECK(a[0] == 0 && a[PAGE] == 0);
    a[0] = 1;
    CHECK(a[PAGE] == 0 && a[2 * PAGE] == 0);
    CHECK(call(MADVISE, (s64)a, PAGE, 4, 0, 0, 0) == 0 && a[0] == 0);
}

static void move_and_grow(void)
{
    volatile u8 *a = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    a[0] = 11;
    a[PAGE] = 12;
    volatile u8 *b = (volatile u8 *)call(MREMAP, (s64)a, 2 * PAGE, 64 * PAGE, 1, 0, 0);
    CHECK(b[0] == 11 && b[PAGE] == 12 && b[63 * PAGE] == 0);
    b[63 * PAGE] = 13;
    CHECK((s64)call(MREMAP, (s64)b, 64 * PAGE, PAGE, 0, 0, 0) == (s64)b && b[0] == 11);
}

static void heap(void)
{
    s64 start = call(BRK, 0, 0, 0, 0, 0, 0);
    CHECK(call(BRK, start + 10 * PAGE + 3, 0, 0, 0, 0, 0) == start + 10 * PAGE + 3);
    ((volatile u8 *)start)[10 * PAGE] = 5;
    CHECK(call(BRK, start, 0, 0, 0, 0, 0) == start);
    CHECK(call(BRK, start + 11 * PAGE, 0, 0, 0, 0, 0) == start + 11 * PAGE);
    CHECK(((volatile u8 *)start)[10 * PAGE] == 0);
}

/* Code that is written, made executable, and then changed: the old must not run again. */
static void change_code(void)
{
    volatile unsigned *code = (volatile unsigned *)map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (unsigned value = 1; value < 4; value++) {
        CHECK(call(MPROTECT, (s64)code, PAGE, PROT_READ | PROT_WRITE, 0, 0, 0) == 0);
        code[0] = 0xd2800000 | value << 5; /* mov x0, value */
        code[1] = 0xd65f03c0;              /* ret */
        CHECK(call(MPROTECT, (s64)code, PAGE, PROT_READ | PROT_EXEC, 0, 0, 0) == 0);
        CHECK(((unsigned (*)(void))code)() == value);
    }
}

/* A pointer that is chased in place is loaded over its own base register: it must be loaded once. */
static void chase(void)
{
    u64 *ring = (u64 *)map(512 * 64, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (u64 i = 0; i < 4096; i++)
        ring[i] = (u64)&ring[(i + 61) % 4096];
    u64 *at = ring;
    for (u64 i = 0; i < 40000000; i += 8)
        __asm__ volatile("ldr %0, [%0]\n ldr %0, [%0]\n ldr %0, [%0]\n ldr %0, [%0]\n"
                         "ldr %0, [%0]\n ldr %0, [%0]\n ldr %0, [%0]\n ldr %0, [%0]" : "+r"(at) : : "memory");
    CHECK(at == &ring[40000000ul * 61 % 4096]);
    u64 counter = 0;
    for (u64 i = 0; i < 2000000; i++)
        __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    CHECK(counter == 2000000);
}

void run(s64 *stack)
{
    s64 fd = open_data();
    CHECK(stack[0] == 2 && fd == 3);
    copy_on_write(fd);
    zero_pages();
    move_and_grow();
    heap();
    change_code();
    chase();
    leave(0);
}
