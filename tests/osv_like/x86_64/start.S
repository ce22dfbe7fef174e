/* A multiboot kernel (Multiboot Specification 0.6.96): 32-bit, EBX has what the loader tells. */
        .section .text.start, "ax"
        .balign 4
        .long   0x1badb002, 2, -(0x1badb002 + 2)
        .global start
start:
        mov     $stack_top, %esp
        push    %ebx
        call    main
1:      hlt
        jmp     1b
        .section .note.GNU-stack, "", @progbits
