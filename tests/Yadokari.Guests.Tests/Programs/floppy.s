# A boot floppy. It loads the rest of itself, gives ES a limit of 4 GiB by a GDT of its own, reads and writes sectors through the BIOS, looks whether
# its GDT is still the processor's, then drives the controller itself, without DMA. What it finds goes to the serial port; OUT to F4h ends the machine.
# Assembled with RATE, the value of the controller's rate selection, and CYLINDER and SECTOR, the last ones of the floppy.
        .intel_syntax noprefix
        .code16
        .set    COM1, 0x3f8
        .set    BUFFER, 0x9000
        .set    WORDS, 19               # Characters.

        .globl  _start
_start: cli
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x7c00
        sti
        mov     [drive], dl
        mov     ax, 0x0203              # Three sectors behind this one.
        mov     cx, 0x0002
        mov     dh, 0
        mov     bx, offset second
        int     0x13
        jc      failed
        jmp     second

failed: mov     si, offset bios
        call    print
end:    mov     al, 0
        out     0xf4, al
halt:   hlt
        jmp     halt

print:  pushf                           # The text at SI, up to a zero. The BIOS's own comes by the same port when the timer ticks.
        cli
0:      lodsb
        or      al, al
        jz      1f
        call    put
        jmp     0b
1:      popf
        ret

put:    push    dx                      # The character in AL.
        push    ax
        mov     dx, COM1 + 5
2:      in      al, dx
        test    al, 0x20
        jz      2b
        mov     dx, COM1
        pop     ax
        out     dx, al
        pop     dx
        ret

bios:   .asciz  "BIOS: error\r\n"
drive:  .byte   0
        .org    510
        .word   0xaa55

second: mov     si, offset hello
        call    print

        cli                             # A limit of 4 GiB for ES, as boot loaders do it.
        lgdt    [gdtr]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        jmp     3f
3:      mov     bx, 8
        mov     es, bx
        and     al, 0xfe
        mov     cr0, eax
        jmp     4f
4:      xor     ax, ax
        mov     es, ax
        sti

        mov     ax, 0x0202              # Cylinder 5, head 1, sector 3: two sectors.
        mov     cx, 0x0503
        mov     dh, 1
        mov     dl, [drive]
        mov     bx, BUFFER
        int     0x13
        jc      failed
        mov     si, BUFFER
        call    print

        sgdt    [saved]
        mov     eax, [saved + 2]
        cmp     eax, offset gdt
        mov     si, offset lost
        jne     5f
        mov     si, offset kept
5:      call    print
        mov     edi, 0x200000
        mov     dword ptr es:[edi], 0x12345678
        mov     si, offset wide
        call    print

        mov     di, BUFFER              # Write to the last sector of all.
        mov     si, offset words
        mov     cx, WORDS
        cld
        rep movsb
        mov     ax, 0x0301
        mov     cx, (CYLINDER << 8) | SECTOR
        mov     dh, 1
        mov     dl, [drive]
        mov     bx, BUFFER
        int     0x13
        jc      failed
        mov     si, offset written
        call    print

        in      al, 0x21                # The controller itself: polled, its interrupt masked.
        or      al, 0x40
        out     0x21, al
        mov     dx, 0x3f2
        mov     al, 0
        out     dx, al
        mov     al, 0x1c
        out     dx, al
        mov     dx, 0x3f7
        mov     al, RATE
        out     dx, al
        mov     cx, 4
6:      mov     si, offset sense
        call    command
        loop    6b
        mov     si, offset specify
        call    command
        mov     si, offset version
        call    command
        mov     al, [answer]
        cmp     al, 0x90
        jne     wrong
        mov     si, offset recalibrate
        call    command
7:      mov     si, offset sense
        call    command
        cmp     byte ptr [answer], 0x20
        jne     7b

        mov     si, offset read         # A sector byte by byte.
        call    send
        mov     di, BUFFER
8:      mov     dx, 0x3f4
        in      al, dx
        test    al, 0x80
        jz      8b
        test    al, 0x20                # Execution is over.
        jz      9f
        inc     dx
        in      al, dx
        mov     [di], al
        inc     di
        jmp     8b
9:      call    receive
        cmp     di, BUFFER + 512
        jne     wrong
        mov     si, BUFFER
        call    print
        jmp     end
wrong:  mov     si, offset wronged
        call    print
        jmp     end

command:                                # Sends the command at SI and takes its result.
        call    send
receive:
        mov     bx, offset answer
        mov     dx, 0x3f4
10:     in      al, dx
        test    al, 0x80
        jz      10b
        test    al, 0x10                # Nothing, or nothing more.
        jz      11f
        inc     dx
        in      al, dx
        dec     dx
        mov     [bx], al
        inc     bx
        jmp     10b
11:     ret

send:   lodsb                           # The length comes first.
        mov     ah, al
        mov     dx, 0x3f4
12:     in      al, dx
        and     al, 0xc0
        cmp     al, 0x80
        jne     12b
        lodsb
        inc     dx
        out     dx, al
        dec     dx
        dec     ah
        jnz     12b
        ret

hello:  .asciz  "floppy: loaded\r\n"
kept:   .asciz  "floppy: its own GDT\r\n"
lost:   .asciz  "floppy: another GDT\r\n"
wide:   .asciz  "floppy: wide segment\r\n"
written: .asciz "floppy: written\r\n"
wronged: .asciz "floppy: wrong\r\n"
words:  .ascii  "written by the BIOS"
sense:  .byte   1, 0x08
specify: .byte  3, 0x03, 0xaf, 0x03     # No DMA.
version: .byte  1, 0x10
recalibrate: .byte 2, 0x07, 0x00
read:   .byte   9, 0x46, 0, 0, 0, 5, 2, 5, 0x1b, 0xff
        .balign 8
gdt:    .quad   0, 0x00cf92000000ffff
gdtr:   .word   15
        .long   gdt
saved:  .space  6
answer: .space  16
        .org    2048
