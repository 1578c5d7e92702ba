using System.Buffers.Binary;
using Iced.Intel;
using Xunit;
using Yadokari.Core;
using Yadokari.X86.Audit;
using Yadokari.X86.Sensitive;

namespace Yadokari.X86.Tests;

public sealed class SensitiveAuditTests
{
    // cli; mov ds,eax; nop; bad (06); cpuid; mov eax,ebx; hlt; cli
    private static readonly byte[] s_code = Convert.FromHexString("FA8ED890060FA289D8F4FA");

    /// <summary>A 64-bit ELF with one loaded executable segment and, if wanted, sections.</summary>
    private static byte[] Elf(bool sections, ushort machine = 62)
    {
        byte[] file = new byte[1024];
        Span<byte> f = file;
        "\u007FELF\u0002\u0001\u0001"u8.CopyTo(f);
        BinaryPrimitives.WriteUInt16LittleEndian(f[18..], machine);
        BinaryPrimitives.WriteUInt64LittleEndian(f[32..], 64);
        BinaryPrimitives.WriteUInt16LittleEndian(f[54..], 56);
        BinaryPrimitives.WriteUInt16LittleEndian(f[56..], 1);
        BinaryPrimitives.WriteUInt32LittleEndian(f[64..], 1);
        BinaryPrimitives.WriteUInt32LittleEndian(f[68..], 5);
        BinaryPrimitives.WriteUInt64LittleEndian(f[72..], 512);
        BinaryPrimitives.WriteUInt64LittleEndian(f[80..], 0x401000);
        BinaryPrimitives.WriteUInt64LittleEndian(f[96..], (ulong)s_code.Length);
        s_code.CopyTo(f[512..]);
        if (sections)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(f[40..], 640);
            BinaryPrimitives.WriteUInt16LittleEndian(f[58..], 64);
            BinaryPrimitives.WriteUInt16LittleEndian(f[60..], 3);
            BinaryPrimitives.WriteUInt16LittleEndian(f[62..], 2);
            "\0.text\0"u8.CopyTo(f[600..]);
            Section(f[(640 + 64)..], 1, 1, 6, 0x8000, 512, s_code.Length);
            Section(f[(640 + 128)..], 0, 3, 0, 0, 600, 7);
        }

        return file;

        static void Section(Span<byte> header, uint name, uint type, ulong flags, ulong address, ulong offset, int size)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(header, name);
            BinaryPrimitives.WriteUInt32LittleEndian(header[4..], type);
            BinaryPrimitives.WriteUInt64LittleEndian(header[8..], flags);
            BinaryPrimitives.WriteUInt64LittleEndian(header[16..], address);
            BinaryPrimitives.WriteUInt64LittleEndian(header[24..], offset);
            BinaryPrimitives.WriteUInt64LittleEndian(header[32..], (ulong)size);
        }
    }

    [Fact]
    public void Sections_are_swept_and_counted()
    {
        CodeSection section = Assert.Single(ElfCode.Read("a", Elf(sections: true)));
        Assert.Equal((".text", 0x8000ul, 64), (section.Name, section.Address, section.Bitness));
        var audit = new SensitiveAudit(keepAddresses: true);
        audit.Add(section);
        Assert.Equal((7L, 1L), (audit.Instructions, audit.Undecodable));
        Assert.Equal(3, audit.CountOf(SensitivityClass.Privileged));
        Assert.Equal(2, audit.CountOf(SensitivityClass.UnprivilegedSensitive));
        Assert.Equal(2, audit.CountOf(SensitivityClass.Innocuous));
        Assert.Equal((Mnemonic.Cli, 2L), (audit.Counts[0].Entry.Mnemonic, audit.Counts[0].Count));
        Assert.Equal([0x8000ul, 0x8001, 0x8005, 0x8009, 0x800A], audit.Findings.Select(f => f.Address));
    }

    [Fact]
    public void Without_sections_segments_serve()
    {
        CodeSection section = Assert.Single(ElfCode.Read("a", Elf(sections: false)));
        Assert.Equal(("segment 0", 0x401000ul, s_code.Length), (section.Name, section.Address, section.Bytes.Length));
    }

    [Fact]
    public void Filling_between_functions_is_not_counted()
    {
        // nop; int3; nop; ret; int3 x3; nop; int3; int3; call 0 (which may not return); int3; int3
        var audit = new SensitiveAudit();
        audit.Add(new CodeSection("a", 0, Convert.FromHexString("90CC90C3CCCCCC90CCCCE800000000CCCC"), 64));
        Assert.Equal((5L, 8L), (audit.Padding, audit.Instructions));
        Assert.Equal((Mnemonic.Int3, 3L), (audit.Counts[0].Entry.Mnemonic, audit.Counts[0].Count));
    }

    [Fact]
    public void Bad_files_are_named()
    {
        Assert.Contains("machine 183", Assert.Throws<UserErrorException>(() => ElfCode.Read("a", Elf(true, 183))).Message);
        Assert.Contains("'a' is truncated", Assert.Throws<UserErrorException>(() => ElfCode.Read("a", Elf(true).AsMemory(0, 700))).Message);
        Assert.Throws<UserErrorException>(() => ElfCode.Read("a", new byte[64]));
        Assert.Throws<UserErrorException>(() => ElfCode.Read("a", Array.Empty<byte>()));
    }

    [Fact]
    public void Any_damage_is_data_or_a_user_error()
    {
        byte[] whole = Elf(sections: true);
        for (int i = 4; i < whole.Length; i++)
        {
            byte[] damaged = (byte[])whole.Clone();
            damaged[i] ^= 0xFF;
            try
            {
                ElfCode.Read("a", damaged);
            }
            catch (UserErrorException)
            {
            }
        }

        Assert.Single(ElfCode.Read("a", whole));
    }
}
