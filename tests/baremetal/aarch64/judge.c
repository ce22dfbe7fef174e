/*
 * The judge: puts each case of a batch to the EL1&0 translation regime, and writes down what happened.
 *
 * It runs at EL2 with EL2's own MMU off, so that the EL1&0 regime is free to be wrong in every way. The host lays
 * the batch into RAM before the start and reads the results after the end; record.py has the same two records.
 */
#include <stddef.h>
#include <stdint.h>

enum { MAX_ENTRIES = 6, BLOCK = 512, BLOCK_WORDS = BLOCK / sizeof(uint32_t) };

struct entry {
    uint64_t pa, value;
};

struct test_case {
    uint64_t sctlr, tcr, mair, ttbr0, ttbr1;
    uint64_t vbar, spsr, pc;
    uint64_t x0, x1, x2;
    uint64_t probe; /* physical address, in the data window, that the access is meant to reach; or 0 */
    uint64_t entry_count;
    struct entry entries[MAX_ENTRIES];
};

/* What enter() in start.S gives back: X0 to X2 as the stub left them. */
struct registers {
    uint64_t x0, x1, x2;
};

struct result {
    uint64_t esr_el2; /* how EL2 was come back to: HVC, its immediate the number of the EL1 vector */
    uint64_t esr, far, elr, par;
    struct registers registers;
    uint64_t changed;      /* 32-bit words of the block around the probe that are not as they were */
    uint64_t at_probe[2];  /* the 16 bytes there, from an address that is a multiple of 16 */
    uint64_t entries[MAX_ENTRIES];
};

struct header {
    uint64_t count; /* by the host */
    uint64_t done;
    uint64_t mmfr0, mmfr1, mmfr2, mmfr3, isar0, isar1, ctr, dczid;
    uint64_t trouble[3]; /* ESR, ELR and FAR of an exception that the judge itself took at EL2 */
};

extern struct header header;
extern const struct test_case cases[];
extern struct result results[];
extern uint32_t window[];

uint64_t enter(uint64_t pc, uint64_t spsr, struct registers *registers);

#define READ(name) ({ uint64_t value_; __asm__ volatile("mrs %0, " name : "=r"(value_)); value_; })
#define WRITE(name, value) __asm__ volatile("msr " name ", %0" : : "r"((uint64_t)(value)) : "memory")

/* Every 32-bit word of the window is an SVC whose immediate tells where it lies: data and code at once. */
static uint32_t pattern(const volatile uint32_t *word)
{
    return 0xd4000001u | (uint32_t)(((uintptr_t)word >> 2 & 0xffff) << 5);
}

/* Put the block around the probe back as it was; the number of words that were not. */
static uint64_t restore(uint64_t probe)
{
    volatile uint32_t *word = (volatile uint32_t *)(probe & ~(uint64_t)(BLOCK - 1));
    uint64_t changed = 0;

    for (size_t at = 0; at < BLOCK_WORDS; at++) {
        if (word[at] != pattern(&word[at])) {
            word[at] = pattern(&word[at]);
            changed++;
        }
    }
    return changed;
}

static void set_up(const struct test_case *test)
{
    for (size_t at = 0; at < test->entry_count; at++)
        *(volatile uint64_t *)test->entries[at].pa = test->entries[at].value;
    WRITE("tcr_el1", test->tcr);
    WRITE("mair_el1", test->mair);
    WRITE("ttbr0_el1", test->ttbr0);
    WRITE("ttbr1_el1", test->ttbr1);
    WRITE("vbar_el1", test->vbar);
    WRITE("esr_el1", 0);
    WRITE("far_el1", 0);
    WRITE("par_el1", 0);
    WRITE("sctlr_el1", test->sctlr);
    __asm__ volatile("dsb ish\n\ttlbi alle1\n\tdsb ish\n\tisb" : : : "memory");
}

static void write_down(const struct test_case *test, struct result *result)
{
    result->esr = READ("esr_el1");
    result->far = READ("far_el1");
    result->elr = READ("elr_el1");
    result->par = READ("par_el1");
    for (size_t at = 0; at < test->entry_count; at++)
        result->entries[at] = *(volatile uint64_t *)test->entries[at].pa;
    for (size_t at = 0; at < test->entry_count; at++)
        *(volatile uint64_t *)test->entries[at].pa = 0;
    if (test->probe) {
        const volatile uint64_t *word = (const volatile uint64_t *)(test->probe & ~(uint64_t)15);

        result->at_probe[0] = word[0];
        result->at_probe[1] = word[1];
        result->changed = restore(test->probe);
    }
}

static void judge(const struct test_case *test, struct result *result)
{
    struct registers registers = {test->x0, test->x1, test->x2};

    set_up(test);
    result->esr_el2 = enter(test->pc, test->spsr, &registers);
    result->registers = registers;
    write_down(test, result);
}

void trouble(void)
{
    header.trouble[0] = READ("esr_el2");
    header.trouble[1] = READ("elr_el2");
    header.trouble[2] = READ("far_el2");
}

void judge_all(void)
{
    header.mmfr0 = READ("id_aa64mmfr0_el1");
    header.mmfr1 = READ("id_aa64mmfr1_el1");
    header.mmfr2 = READ("s3_0_c0_c7_2");
    header.mmfr3 = READ("s3_0_c0_c7_3");
    header.isar0 = READ("id_aa64isar0_el1");
    header.isar1 = READ("id_aa64isar1_el1");
    header.ctr = READ("ctr_el0");
    header.dczid = READ("dczid_el0");
    for (; header.done < header.count; header.done++)
        judge(&cases[header.done], &results[header.done]);
}
