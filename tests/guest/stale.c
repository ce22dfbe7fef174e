/* The kernel changes a page that the processor holds a translation of: what the program sees must be the new page. */
#include "guest.h"

static u8 expected(s64 page) { return (u8)(page % 251 + 1); }

void run(s64 *stack)
{
    (void)stack;
    s64 fd = call(OPENAT, -100, (s64)"/data", 0, 0, 0, 0);
    CHECK(fd >= 0);
    volatile u8 *anonymous = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    volatile u8 *private = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
    for (int page = 0; page < 4; page++) {
        CHECK(anonymous[page * PAGE] == 0);
        CHECK(private[page * PAGE] == expected(page));
        CHECK(call(PREAD64, fd, (s64)&anonymous[page * PAGE], 8, 9 * PAGE, 0, 0) == 8);
        CHECK(anonymous[page * PAGE] == expected(9));
        CHECK(call(PREAD64, fd, (s64)&private[page * PAGE], 8, 10 * PAGE, 0, 0) == 8);
        CHECK(private[page * PAGE] == expected(10));
        CHECK(private[page * PAGE + 8] == expected(page));
        anonymous[page * PAGE] = 77;
        CHECK(anonymous[page * PAGE] == 77);
    }
    leave(0);
}
