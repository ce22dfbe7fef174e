/* The judge's entry, its way to EL1 and EL0 and back, and what runs there. */

#define HCR_RW (1 << 31)

        .section .text.start, "ax"
        .global start
start:
        adrp    x0, stack_top
        mov     sp, x0
        mov     x0, #HCR_RW             // EL1 is AArch64; no stage 2, no traps, E2H = 0
        msr     hcr_el2, x0
        adr     x0, el2_vectors
        msr     vbar_el2, x0
        isb
        bl      judge_all

power_off:
        movz    w0, #0x8400, lsl #16    // PSCI SYSTEM_OFF, 0x84000008
        movk    w0, #0x0008
        smc     #0
        b       power_off

/*
 * uint64_t enter(pc, spsr, registers): go to pc in the state spsr with X0 to X2 from *registers, and come back by
 * whatever exception EL2 takes next. X0 to X2 as they then are go to *registers; the value is ESR_EL2.
 */
        .global enter
enter:
        stp     x29, x30, [sp, #-112]!
        stp     x19, x20, [sp, #16]
        stp     x21, x22, [sp, #32]
        stp     x23, x24, [sp, #48]
        stp     x25, x26, [sp, #64]
        stp     x27, x28, [sp, #80]
        str     x2, [sp, #96]
        msr     elr_el2, x0
        msr     spsr_el2, x1
        ldp     x0, x1, [x2]
        ldr     x2, [x2, #16]
        eret

from_lower:
        str     x30, [sp, #104]
        ldr     x30, [sp, #96]
        stp     x0, x1, [x30]
        str     x2, [x30, #16]
        mrs     x0, esr_el2
        ldp     x19, x20, [sp, #16]
        ldp     x21, x22, [sp, #32]
        ldp     x23, x24, [sp, #48]
        ldp     x25, x26, [sp, #64]
        ldp     x27, x28, [sp, #80]
        ldp     x29, x30, [sp], #112
        ret

from_here:
        bl      trouble
        b       power_off

        .balign 2048
el2_vectors:
        .rept   8
        .balign 128
        b       from_here
        .endr
        .rept   8
        .balign 128
        b       from_lower
        .endr

/*
 * What the tables map for EL1 and EL0. Each vector says by HVC which one it is; each stub does one thing at the address
 * in X0, with operands in X1 and X2, and ends in SVC #0.
 */
        .section .shared, "ax"
        .global el1_vectors
        .balign 2048
el1_vectors:
        .set    vector, 0
        .rept   16
        .balign 128
        hvc     #vector
        .set    vector, vector + 1
        .endr

        .arch   armv8.2-a+lse
        .macro  stub name, text:vararg
        .global stub_\name
stub_\name:
        \text
        svc     #0
        .endm

        stub    ldrb, ldrb w2, [x0]
        stub    ldrh, ldrh w2, [x0]
        stub    ldrw, ldr w2, [x0]
        stub    ldr, ldr x2, [x0]
        stub    strb, strb w1, [x0]
        stub    strh, strh w1, [x0]
        stub    strw, str w1, [x0]
        stub    str, str x1, [x0]
        stub    ldp, ldp x1, x2, [x0]
        stub    stp, stp x1, x2, [x0]
        stub    ldtr, ldtr x2, [x0]
        stub    sttr, sttr x1, [x0]
        stub    ldxr, ldxr x2, [x0]
        stub    ldaxrb, ldaxrb w2, [x0]
        stub    ldadd, ldadd x1, x2, [x0]
        stub    swp, swp x1, x2, [x0]
        stub    ldclrb, ldclrb w1, w2, [x0]
        stub    cas, cas x2, x1, [x0]
        stub    dc_zva, dc zva, x0
        stub    dc_cvac, dc cvac, x0
        stub    dc_cvau, dc cvau, x0
        stub    dc_civac, dc civac, x0
        stub    dc_ivac, dc ivac, x0
        stub    dc_cvap, dc cvap, x0
        stub    ic_ivau, ic ivau, x0
        stub    at_s1e1r, at s1e1r, x0
        stub    at_s1e1w, at s1e1w, x0
        stub    at_s1e0r, at s1e0r, x0
        stub    at_s1e0w, at s1e0w, x0
        stub    at_s1e1rp, at s1e1rp, x0
        stub    at_s1e1wp, at s1e1wp, x0
        stub    fetch, ret x0

        .global stub_ldxr_stxr
stub_ldxr_stxr:
        ldxr    x2, [x0]
        stxr    w2, x1, [x0]            // X2 = 0 when it stored
        svc     #0
