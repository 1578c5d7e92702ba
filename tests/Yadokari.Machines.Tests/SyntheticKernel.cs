using System.Buffers.Binary;
using System.Text;
using Yadokari.Boards.Pc.Boot;

namespace Yadokari.Machines.Tests;

/// <summary>Kernel files made by hand, as small as their formats allow.</summary>
internal static class SyntheticKernel
{
    public const ulong Preferred = 0x100_0000;
    public const int SetupSectors = 4;
    public const int PayloadOffset = 0x400;

    /// <summary>A bzImage of protocol 2.15 around a payload to which the unpacked length is appended.</summary>
    public static byte[] BzImage(byte[] packed, int unpackedLength, uint initSize = 0x40_0000)
    {
        int start = (SetupSectors + 1) * 512;
        byte[] file = new byte[(start + PayloadOffset + packed.Length + 4 + 15) & ~15];
        file[0x1F1] = SetupSectors;
        Put32(file, 0x1F4, (uint)((file.Length - start) / 16));
        Put16(file, 0x1FE, 0xAA55);
        file[0x201] = 0x6A;
        Put32(file, 0x202, SetupHeader.Magic);
        Put16(file, 0x206, 0x020F);
        file[0x211] = 1;
        Put32(file, 0x22C, 0x7FFF_FFFF);
        Put32(file, 0x230, 0x20_0000);
        file[0x234] = 1;
        Put16(file, 0x236, 0x7F);
        Put32(file, 0x238, 2047);
        Put32(file, 0x248, PayloadOffset);
        Put32(file, 0x24C, (uint)packed.Length + 4);
        Put64(file, 0x258, Preferred);
        Put32(file, 0x260, initSize);
        packed.CopyTo(file, start + PayloadOffset);
        Put32(file, start + PayloadOffset + packed.Length, (uint)unpackedLength);
        return file;
    }

    /// <summary>An ELF64 file for x86-64 with the given segments and, if asked, Xen's note.</summary>
    public static byte[] Elf(ulong entry, uint? pvhEntry, params (ulong Offset, ulong Physical, byte[] Data, ulong MemorySize)[] segments)
    {
        int headers = segments.Length + (pvhEntry is null ? 0 : 1);
        int noteOffset = 64 + (headers * 56);
        int length = Math.Max(noteOffset + 20, (int)segments.Max(s => s.Offset + (ulong)s.Data.Length));
        byte[] file = new byte[length];
        "\u007FELF\u0002\u0001\u0001"u8.CopyTo(file);
        Put16(file, 16, 2);
        Put16(file, 18, 62);
        Put64(file, 24, entry);
        Put64(file, 32, 64);
        Put16(file, 54, 56);
        Put16(file, 56, (ushort)headers);
        for (int i = 0; i < segments.Length; i++)
        {
            ProgramHeader(file, 64 + (i * 56), 1, segments[i].Offset, segments[i].Physical, (ulong)segments[i].Data.Length, segments[i].MemorySize);
            segments[i].Data.CopyTo(file, (int)segments[i].Offset);
        }

        if (pvhEntry is not null)
        {
            ProgramHeader(file, 64 + (segments.Length * 56), 4, (ulong)noteOffset, 0, 20, 20);
            Put32(file, noteOffset, 4);
            Put32(file, noteOffset + 4, 4);
            Put32(file, noteOffset + 8, 18);
            "Xen\0"u8.CopyTo(file.AsSpan(noteOffset + 12));
            Put32(file, noteOffset + 16, pvhEntry.Value);
        }

        return file;
    }

    public static byte[] Pattern(int length, int seed)
    {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++)
        {
            // Compressible, but not constant.
            bytes[i] = (byte)((i / 7 * seed) ^ (i >> 9));
        }

        return bytes;
    }

    public static byte[] Text(string text) => Encoding.ASCII.GetBytes(text);

    public static void Put16(byte[] file, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(offset), value);

    public static void Put32(byte[] file, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(offset), value);

    public static void Put64(byte[] file, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(offset), value);

    private static void ProgramHeader(byte[] file, int at, uint type, ulong offset, ulong physical, ulong fileSize, ulong memorySize)
    {
        Put32(file, at, type);
        Put64(file, at + 8, offset);
        Put64(file, at + 16, physical | 0xFFFF_FFFF_8000_0000);
        Put64(file, at + 24, physical);
        Put64(file, at + 32, fileSize);
        Put64(file, at + 40, memorySize);
    }
}
