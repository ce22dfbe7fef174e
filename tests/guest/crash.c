/* Dies in the way that its argument says. */
#include "guest.h"

void run(s64 *stack)
{
    const char *how = (const char *)stack[2];
    volatile u8 *page = map(2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    switch (how[0]) {
    case 'n': *(volatile u64 *)8 = 1; break;
    case 'r': page[0x123] = 1; break;
    case 'j': ((void (*)(void))0)(); break;
    case 'x': ((void (*)(void))page)(); break;
    case 'u': __asm__ volatile(".word 0"); break;
    case 'b': __asm__ volatile("brk #1"); break;
    case 'e': {
        s64 fd = call(OPENAT, -100, (s64) "/data", 0, 0, 0, 0);
        (void)map(64 << 20, PROT_READ, MAP_PRIVATE, fd)[32 << 20];
        break;
    }
    }
    leave(99);
}
