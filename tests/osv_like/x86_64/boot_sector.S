/* A boot sector that says the command line behind it on COM1 and powers off by ACPI, as SeaBIOS sets that up. */
        .code16
        .section .text, "ax"
        .global start
start:
        jmp     begin
        .org    0x18                    // 0x10 is the size of the kernel, which the image's maker writes
begin:
        xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %ss
        mov     $start, %sp
        mov     $packet, %si
        mov     $0x42, %ah              // read sectors; DL is the disk that we come from
        int     $0x13
        jc      stop
        mov     $title, %si
        call    print
        mov     $0x8000, %si
        call    print
        mov     $end, %si
        call    print
        mov     $0x604, %dx             // PM1a_CNT: SLP_EN, SLP_TYP 0
        mov     $0x2000, %ax
        out     %ax, %dx
stop:   hlt
        jmp     stop

print:  lodsb
        test    %al, %al
        jz      2f
        mov     %al, %ah
1:      mov     $0x3fd, %dx
        in      %dx, %al
        test    $0x20, %al
        jz      1b
        mov     %ah, %al
        mov     $0x3f8, %dx
        out     %al, %dx
        jmp     print
2:      ret

packet: .byte   16, 0
        .word   63, 0x8000, 0
        .quad   1
title:  .asciz  "OSv v0.0 (a stand-in)\r\nCmdline: "
end:    .asciz  "\r\nPowering off.\r\n"
        .org    510
        .byte   0x55, 0xaa
        .section .note.GNU-stack, "", @progbits
