using System.Text;

namespace Yadokari.Guests.Tests;

/// <summary>Programs of 16-bit code that a BIOS starts: they write on its screen and power the machine off.</summary>
internal static class RealModePrograms
{
    /// <summary>A disk whose boot sector shows the names in the first MultiProcessor configuration table that a scan of the BIOS area finds.</summary>
    public static byte[] MpTablesDisk()
    {
        byte[] disk = new byte[1 << 20];
        byte[] code =
        [
            0xB8, 0x00, 0xF0, // mov ax, 0xf000
            0x8E, 0xD8, // mov ds, ax
            0x31, 0xF6, // xor si, si
            0x66, 0x81, 0x3C, (byte)'_', (byte)'M', (byte)'P', (byte)'_', // scan: cmp dword [si], '_MP_'
            0x74, 0x07, // je found
            0x83, 0xC6, 0x10, // add si, 16
            0x75, 0xF2, // jnz scan
            0xEB, 0x13, // jmp off
            0x8B, 0x74, 0x04, // found: mov si, [si + 4]
            0x83, 0xC6, 0x08, // add si, 8
            0xB9, 0x14, 0x00, // mov cx, 20
            0xAC, // print: lodsb
            0xB4, 0x0E, // mov ah, 0x0e
            0xBB, 0x07, 0x00, // mov bx, 7
            0xCD, 0x10, // int 0x10
            0xE2, 0xF6, // loop print
            .. PowerOff, // off:
        ];
        code.CopyTo(disk, 0);
        (disk[510], disk[511]) = (0x55, 0xAA);
        return disk;
    }

    /// <summary>
    /// A bzImage of boot protocol 2.03. It shows, each behind a bar: its command line, the text that its protected-mode part is, and the text
    /// that the initrd is. These two it reads by the BIOS.
    /// </summary>
    public static byte[] OldKernel(string protectedModePart)
    {
        byte[] file = new byte[4096];
        file[0x1F1] = 1; // One sector of setup.
        (file[0x1FE], file[0x1FF]) = (0x55, 0xAA);
        byte[] header =
        [
            0xEB, 0x2E, // jmp start
            .. "HdrS"u8, 0x03, 0x02, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 1, // Loaded high.
            0, 0, 0, 0, 0x10, 0, // At 1 MiB.
        ];
        header.CopyTo(file, 0x200);
        (file[0x22C], file[0x22D], file[0x22E], file[0x22F]) = (0xFF, 0xFF, 0xFF, 0x37); // initrd_addr_max
        byte[] code =
        [
            0x66, 0x31, 0xC0, // start: xor eax, eax
            0x8C, 0xD8, // mov ax, ds
            0x66, 0xC1, 0xE0, 0x04, // shl eax, 4
            0x66, 0x8B, 0x36, 0x28, 0x02, // mov esi, [cmd_line_ptr]
            0x66, 0x29, 0xC6, // sub esi, eax
            0xE8, 0x51, 0x00, // call print
            0x66, 0xBB, 0x00, 0x00, 0x10, 0x00, // mov ebx, 0x100000
            0xE8, 0x10, 0x00, // call fetch
            0x66, 0x8B, 0x1E, 0x18, 0x02, // mov ebx, [ramdisk_image]
            0xE8, 0x08, 0x00, // call fetch
            .. PowerOff,
            0x89, 0x1E, 0x12, 0x03, // fetch: mov [source + 2], bx
            0x66, 0xC1, 0xEB, 0x10, // shr ebx, 16
            0x88, 0x1E, 0x14, 0x03, // mov [source + 4], bl
            0x88, 0x3E, 0x17, 0x03, // mov [source + 7], bh
            0x66, 0x31, 0xC0, // xor eax, eax
            0x8C, 0xD8, // mov ax, ds
            0x66, 0xC1, 0xE0, 0x04, // shl eax, 4
            0x66, 0x05, 0x00, 0x70, 0x00, 0x00, // add eax, 0x7000
            0xA3, 0x1A, 0x03, // mov [target + 2], ax
            0x66, 0xC1, 0xE8, 0x10, // shr eax, 16
            0xA2, 0x1C, 0x03, // mov [target + 4], al
            0x1E, // push ds
            0x07, // pop es
            0xBE, 0x00, 0x03, // mov si, table
            0xB9, 0x10, 0x00, // mov cx, 16
            0xB4, 0x87, // mov ah, 0x87
            0xCD, 0x15, // int 0x15
            0xBE, 0x00, 0x70, // mov si, 0x7000
            0xB0, (byte)'|', // print: mov al, '|'
            0xB4, 0x0E, // next: mov ah, 0x0e
            0xBB, 0x07, 0x00, // mov bx, 7
            0xCD, 0x10, // int 0x10
            0xAC, // lodsb
            0x84, 0xC0, // test al, al
            0x75, 0xF4, // jnz next
            0xC3, // ret
        ];
        code.CopyTo(file, 0x230);

        // The descriptor table of INT 15h, AH=87h: source and target are the third and fourth.
        foreach (int at in (ReadOnlySpan<int>)[0x310, 0x318])
        {
            (file[at], file[at + 1], file[at + 5]) = (0xFF, 0xFF, 0x93);
        }

        Encoding.ASCII.GetBytes(protectedModePart, file.AsSpan(0x400));
        return file;
    }

    // By the power management registers at 0x600.
    private static byte[] PowerOff =>
    [
        0xBA, 0x04, 0x06, // mov dx, 0x604
        0xB8, 0x00, 0x34, // mov ax, 0x3400
        0xEF, // out dx, ax
        0xF4, // hlt
    ];
}
