/* The header that makes QEMU load us as it loads Linux and OSv (Linux, Documentation/arch/arm64/booting.rst): X0 has the device tree. */
        .section .text.start, "ax"
        .global start
start:
        b       enter
        .long   0
        .quad   0x80000                 // from the start of RAM, rounded down to 2 MiB
        .quad   image_size
        .quad   0
        .quad   0, 0, 0
        .ascii  "ARM\x64"
        .long   0
enter:
        adrp    x1, stack_top
        mov     sp, x1
        bl      main
1:      wfi
        b       1b

/* psci(function): by HVC, as the "virt" machine without EL2 has it. */
        .global psci
psci:
        hvc     #0
        ret
