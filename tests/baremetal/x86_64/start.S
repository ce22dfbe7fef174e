/* Enter 64-bit mode, take every exception, and make one access at a time, in ring 0 or ring 3.
 *
 * QEMU starts a kernel with a PVH note in 32-bit protected mode without paging (Xen's
 * docs/misc/pvh.pandoc). All of this program lies in slot 0 of every root table that the cases use.
 */

#define EXIT_PORT  0xf4                 /* QEMU's isa-debug-exit: its exit status is 2 * value + 1 */
#define EXIT_DONE  1
#define EXIT_PANIC 2

#define KERNEL_CODE 0x10
#define KERNEL_DATA 0x18
#define USER_DATA   0x23
#define USER_CODE   0x2b
#define TASK        0x30
#define LDT         0x40

/* P, R/W, U/S, A and D, as if all had been used: the cases' entries alone must change. */
#define TABLE 0x27
#define LARGE 0xe3
#define PAGE  0x63
#define USER  0x65

    .section .note.pvh, "a", @note
    .long 4, 4, 18                      /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start

    .section .text
    .code32
    .globl start
start:
    cli
    lgdt gdt_pointer
    movl $0x20, %eax                    /* CR4.PAE */
    movl $pml4, %ebx
    cmpl $0, header + 8
    je 1f
    orl $0x1000, %eax                   /* CR4.LA57 */
    movl $pml5, %ebx
1:  movl %eax, %cr4
    movl %ebx, %cr3
    movl $0xc0000080, %ecx              /* IA32_EFER */
    rdmsr
    orl $0x100, %eax                    /* LME */
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax               /* CR0.PG */
    movl %eax, %cr0
    ljmp $KERNEL_CODE, $start64

    .code64
start64:
    movw $KERNEL_DATA, %ax
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %ds
    movw %ax, %es
    movq $stack_top, %rsp
    call fill_idt
    lidt idt_pointer
    movw $TASK, %ax
    ltr %ax
    call judge_main
    movl $EXIT_DONE, %eax
    jmp leave

/* One gate for each exception; vector 3 can be reached from ring 3, as accesses that succeed end in int3. */
fill_idt:
    movq $traps, %rax
    movq $idt, %rdx
    movl $32, %ecx
1:  movw %ax, (%rdx)
    movw $KERNEL_CODE, 2(%rdx)
    movw $0xee00, 4(%rdx)
    movq %rax, %rbx
    shrq $16, %rbx
    movw %bx, 6(%rdx)
    movq $0, 8(%rdx)
    addq $16, %rax
    addq $16, %rdx
    loop 1b
    ret

/* enter(rip, user, rflags, va, operand): go to one of the accesses below; returns through a trap. */
    .globl enter
enter:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, saved_rsp
    movq %rsp, %r9
    movl $KERNEL_DATA, %eax
    movl $KERNEL_CODE, %ebx
    testl %esi, %esi
    jz 1f
    movl $USER_DATA, %eax
    movl $USER_CODE, %ebx
1:  pushq %rax
    pushq %r9
    pushq %rdx
    pushq %rbx
    pushq %rdi
    movq %rcx, %rdi
    movq %r8, %rsi
    xorl %eax, %eax
    movb $1, in_case
    iretq

/* set_ldt(base): the local descriptor table is one descriptor at base. */
    .globl set_ldt
set_ldt:
    movq %rdi, %rax
    movw $0xffff, gdt_ldt
    movw %ax, gdt_ldt + 2
    shrq $16, %rax
    movb %al, gdt_ldt + 4
    movb $0x82, gdt_ldt + 5
    movb $0, gdt_ldt + 6
    movb %ah, gdt_ldt + 7
    shrq $16, %rax
    movl %eax, gdt_ldt + 8
    movl $0, gdt_ldt + 12
    movw $LDT, %ax
    lldt %ax
    ret

    .balign 16
traps:
    .set vector, 0
    .rept 32
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
    pushq $0
    .endif
    pushq $vector
    jmp trapped
    .balign 16
    .set vector, vector + 1
    .endr

trapped:
    popq trap_vector
    popq trap_error
    movq %rax, trap_value
    movq %cr2, %rax
    movq %rax, trap_cr2
    testb $1, in_case
    jz panic
    movb $0, in_case
    movq saved_rsp, %rsp
    pushq $2
    popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

/* The judge itself is wrong: leave the vector and the address where the host finds them. */
panic:
    movq trap_vector, %rax
    movq %rax, header + 16
    popq %rax
    movq %rax, header + 24
    movl $EXIT_PANIC, %eax
leave:
    movw $EXIT_PORT, %dx
    outl %eax, %dx
1:  hlt
    jmp 1b

/* The accesses: %rdi is the address, %rsi the operand, %rax the result; in the order of enum access. */
    .macro accesses
    .balign 16                          /* LOAD */
    movq (%rdi), %rax
    int3
    .balign 16                          /* STORE */
    movq %rsi, (%rdi)
    int3
    .balign 16                          /* FETCH: the word at the address puts a number in %eax, then int3 */
    jmp *%rdi
    .balign 16                          /* EXCHANGE */
    xchgq %rsi, (%rdi)
    movq %rsi, %rax
    int3
    .balign 16                          /* ADD */
    lock xaddq %rsi, (%rdi)
    movq %rsi, %rax
    int3
    .balign 16                          /* COMPARE: never equal, so nothing is stored; still a write */
    lock cmpxchgq %rsi, (%rdi)
    int3
    .balign 16                          /* SEGMENT: an implicit supervisor-mode read of the LDT */
    movl $7, %ecx
    lsll %ecx, %eax
    int3
    .endm

    .globl kernel_accesses, user_accesses
    .balign 4096
kernel_accesses:
    accesses
    .section .user, "ax"
user_accesses:
    accesses

    .section .data
    .balign 16
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            /* 08: 32-bit code */
    .quad 0x00af9b000000ffff            /* 10: kernel code */
    .quad 0x00cf93000000ffff            /* 18: kernel data */
    .quad 0x00cff3000000ffff            /* 20: user data */
    .quad 0x00affb000000ffff            /* 28: user code */
    .word 0x67                          /* 30: task; it lies below 16 MiB */
    .word task_low
    .byte task_middle, 0x89, 0, 0
    .quad 0
gdt_ldt:
    .quad 0, 0                          /* 40: local descriptor table */
gdt_pointer:
    .word . - gdt - 1
    .quad gdt
idt_pointer:
    .word 32 * 16 - 1
    .quad idt
    .balign 16
task:
    .long 0
    .quad trap_stack_top                /* the stack of ring 0 */
    .fill 92, 1, 0
    .globl task

    .section .bss
    .balign 16
idt:
    .skip 32 * 16
    .skip 8192
stack_top:
    .skip 4096
trap_stack_top:
saved_rsp:
    .skip 8
    .globl trap_vector, trap_error, trap_value, trap_cr2
trap_vector:
    .skip 8
trap_error:
    .skip 8
trap_value:
    .skip 8
trap_cr2:
    .skip 8
in_case:
    .skip 8

/* Addresses 0 to 64 MiB as they are; the first 2 MiB in pages, of which the last is for ring 3. */
    .section .tables, "aw"
pml5:
    .quad pml4 + TABLE
    .fill 511, 8, 0
pml4:
    .quad pdpt + TABLE
    .fill 511, 8, 0
pdpt:
    .quad pd + TABLE
    .fill 511, 8, 0
pd:
    .quad pt + TABLE
    .set frame, 0x200000
    .rept 31
    .quad frame + LARGE
    .set frame, frame + 0x200000
    .endr
    .fill 480, 8, 0
pt:
    .set frame, 0
    .rept 511
    .quad frame + PAGE
    .set frame, frame + 0x1000
    .endr
    .quad frame + USER
    .section .note.GNU-stack, "", @progbits
