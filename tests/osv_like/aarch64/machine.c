/* QEMU's "virt" machine (QEMU, hw/arm/virt.c): PL011, PSCI, a generic PCI host bridge, and the device tree that tells of it. */
#include "../programs.h"

enum { BEGIN_NODE = 1, END_NODE, PROPERTY, NOP, END = 9 };
enum { DATA = 0, FLAGS = 6 };
enum { RECEIVE_EMPTY = 1 << 4, TRANSMIT_FULL = 1 << 5 };
enum { SYSTEM_OFF = 0x84000008, SYSTEM_RESET = 0x84000009 };

u64 psci(u64 function);

static volatile u32 *const uart = (volatile u32 *)0x9000000;
static const char *command_line = "";
static const u8 *memory_reg, *ecam_reg;
static u32 cpu_nodes;

static u32 big32(const void *from)
{
    const u8 *at = from;
    return (u32)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static u64 big64(const u8 *from)
{
    return (u64)big32(from) << 32 | big32(from + 4);
}

static int begins(const char *text, const char *with)
{
    while (*with)
        if (*text++ != *with++)
            return 0;
    return 1;
}

/* The nodes that matter all lie under the root, or under /cpus. */
static void read_tree(const u8 *tree)
{
    const u8 *at = tree + big32(tree + 8), *strings = tree + big32(tree + 12);
    const char *node = "";
    for (;;) {
        u32 token = big32(at);
        at += 4;
        if (token == BEGIN_NODE) {
            node = (const char *)at;
            cpu_nodes += begins(node, "cpu@");
            while (*at++)
                ;
            at = (const u8 *)(((u64)at + 3) & ~3ull);
        } else if (token == PROPERTY) {
            u32 size = big32(at);
            const char *name = (const char *)strings + big32(at + 4);
            const u8 *value = at + 8;
            if (begins(node, "chosen") && begins(name, "bootargs"))
                command_line = (const char *)value;
            if (begins(node, "memory@") && begins(name, "reg"))
                memory_reg = value;
            if (begins(node, "pcie@") && begins(name, "reg"))
                ecam_reg = value;
            at = (const u8 *)(((u64)value + size + 3) & ~3ull);
        } else if (token == END) {
            return;
        }
    }
}

void put(char character)
{
    while (uart[FLAGS] & TRANSMIT_FULL)
        ;
    uart[DATA] = (u8)character;
}

int get(void)
{
    return uart[FLAGS] & RECEIVE_EMPTY ? -1 : (int)(uart[DATA] & 0xff);
}

void power_off(void)
{
    psci(SYSTEM_OFF);
}

void reset(void)
{
    psci(SYSTEM_RESET);
}

void halt(void)
{
    for (;;)
        __asm__ volatile("msr daifset, #15\n wfi");
}

u64 memory_bytes(void)
{
    return big64(memory_reg + 8);
}

u32 processors(void)
{
    return cpu_nodes;
}

u32 pci_id(u32 slot)
{
    return *(volatile u32 *)(big64(ecam_reg) + (slot << 15));
}

void main(const u8 *tree)
{
    read_tree(tree);
    run_all(command_line);
}
