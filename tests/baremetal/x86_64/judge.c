/* Runs the cases that the host left in memory: each writes the entries on its path, sets the control
 * registers, makes one access, and notes the exception, the value and the entries afterwards. */

typedef unsigned long u64;
typedef unsigned int u32;

enum access { LOAD, STORE, FETCH, EXCHANGE, ADD, COMPARE, SEGMENT };

#define USER_MODE 0x100 /* or'ed to the access */
#define STUB_SIZE 16
#define LEVELS 5

#define IA32_EFER 0xc0000080
#define IA32_PKRS 0x6e1
#define CR4_PKE (1ul << 22)
#define CR4_PKS (1ul << 24)
#define CR2_BEFORE 0x0123456789abcdeful

/* The same records stand in guest.py. */
struct header {
    u64 count;
    u64 la57;                    /* start.S has the offsets of this and the next two */
    u64 panic_vector, panic_rip; /* of an exception that the judge itself took */
    u64 cpuid[6];                /* the arguments of Config.from_cpuid */
};

struct judge_case {
    u64 va, access, cr0, cr3, cr4, efer, rflags, operand, pkru, pkrs;
    u64 where[LEVELS], entry[LEVELS]; /* a place of 0 is none */
    u64 vector, error, cr2, value, after[LEVELS];
    u64 unused[3];
};
_Static_assert(sizeof(struct judge_case) == 256, "as in guest.py");

extern struct header header;
extern struct judge_case cases[];
extern const char kernel_accesses[], user_accesses[];
extern u64 trap_vector, trap_error, trap_value, trap_cr2;
void enter(const char *stub, int user, u64 rflags, u64 va, u64 operand);
void set_ldt(u64 base);

static void write_msr(u32 msr, u64 value)
{
    asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

static void cpuid(u32 leaf, u32 out[4])
{
    asm volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(0));
}

static void identify(void)
{
    u32 leaf_1[4], leaf_7[4], features[4], sizes[4];
    cpuid(1, leaf_1);
    cpuid(7, leaf_7);
    cpuid(0x80000001, features);
    cpuid(0x80000008, sizes);
    header.cpuid[0] = leaf_1[2];
    header.cpuid[1] = leaf_1[3];
    header.cpuid[2] = leaf_7[1];
    header.cpuid[3] = leaf_7[2];
    header.cpuid[4] = features[3];
    header.cpuid[5] = sizes[0];
}

/* PCIDE may only be set while CR3 has no PCID, so the root is loaded before and after. */
static void set_registers(const struct judge_case *c)
{
    static u64 efer;
    asm volatile("mov %0, %%cr3" : : "r"(c->cr3 & ~0xffful) : "memory");
    asm volatile("mov %0, %%cr4" : : "r"(c->cr4) : "memory");
    asm volatile("mov %0, %%cr0" : : "r"(c->cr0) : "memory");
    if (efer != c->efer)
        write_msr(IA32_EFER, efer = c->efer);
    if (c->cr4 & CR4_PKE)
        asm volatile("wrpkru" : : "a"((u32)c->pkru), "c"(0), "d"(0));
    if (c->cr4 & CR4_PKS)
        write_msr(IA32_PKRS, c->pkrs);
    asm volatile("mov %0, %%cr3" : : "r"(c->cr3) : "memory");
    asm volatile("invlpg (%0)" : : "r"(c->va) : "memory");
    asm volatile("mov %0, %%cr2" : : "r"(CR2_BEFORE));
}

static void run(struct judge_case *c)
{
    int user = (c->access & USER_MODE) != 0;
    u64 access = c->access & ~(u64)USER_MODE;

    for (int i = 0; i < LEVELS; i++)
        if (c->where[i])
            *(volatile u64 *)c->where[i] = c->entry[i];
    if (access == SEGMENT)
        set_ldt(c->va);
    set_registers(c);
    enter((user ? user_accesses : kernel_accesses) + access * STUB_SIZE, user, c->rflags, c->va, c->operand);
    c->vector = trap_vector;
    c->error = trap_error;
    c->cr2 = trap_cr2;
    c->value = trap_value;
    for (int i = 0; i < LEVELS; i++)
        if (c->where[i])
            c->after[i] = *(volatile u64 *)c->where[i];
}

void judge_main(void)
{
    identify();
    for (u64 i = 0; i < header.count; i++)
        run(&cases[i]);
}
