/* QEMU's "pc" and "q35": a 16550 at COM1, PCI by the old ports, power off by ACPI's PM1a as SeaBIOS sets it up. */
#include "../programs.h"

enum { COM1 = 0x3f8, LINE_STATUS = 5, RECEIVED = 1, TRANSMIT_EMPTY = 1 << 5 };
enum { PM1A_CONTROL = 0x604, SLEEP_ENABLE = 1 << 13 };
enum { RESET_CONTROL = 0xcf9, PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc };
enum { HAS_MEMORY = 1, HAS_COMMAND_LINE = 1 << 2 };

struct multiboot {
    u32 flags, low_kib, high_kib, boot_device, command_line;
};

static const struct multiboot *told;

static void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }

static u8 in8(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static u32 in32(u16 port)
{
    u32 value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

void put(char character)
{
    while (!(in8(COM1 + LINE_STATUS) & TRANSMIT_EMPTY))
        ;
    out8(COM1, (u8)character);
}

int get(void)
{
    return in8(COM1 + LINE_STATUS) & RECEIVED ? in8(COM1) : -1;
}

void power_off(void)
{
    out16(PM1A_CONTROL, SLEEP_ENABLE);
    halt();
}

void reset(void)
{
    out8(RESET_CONTROL, 6);
    halt();
}

void halt(void)
{
    for (;;)
        __asm__ volatile("cli\n hlt");
}

u64 memory_bytes(void)
{
    return told->flags & HAS_MEMORY ? ((u64)told->high_kib + 1024) << 10 : 0;
}

u32 processors(void)
{
    return 1;
}

u32 pci_id(u32 slot)
{
    out32(PCI_ADDRESS, 0x80000000u | slot << 11);
    return in32(PCI_DATA);
}

/* QEMU puts the kernel's name in front of what -append says. */
void main(const struct multiboot *information)
{
    told = information;
    const char *line = told->flags & HAS_COMMAND_LINE ? (const char *)told->command_line : "";
    while (*line && *line != ' ')
        line++;
    run_all(line);
}
