using Yadokari.Core.Files;

namespace Yadokari.Machines.Tests;

public sealed class ElfFileTests
{
    [Fact]
    public void The_hosts_own_programs_are_read()
    {
        Assert.True(ElfFile.TryRead(File.ReadAllBytes("/proc/self/exe"), out ElfFile file));
        Assert.True(file.Is64Bit && file.IsLittleEndian);
        Assert.Equal(62, file.Machine);
        Assert.True(file.TryReadSegments(out ElfSegment[] segments));
        ulong entry = file.Entry;
        ElfSegment code = segments.Single(s => s.Type == ElfFile.Load && entry - s.Virtual < s.MemorySize);
        Assert.Equal(ElfFile.ExecutableSegment, code.Flags & ElfFile.ExecutableSegment);
        Assert.Single(segments, s => s.Type == ElfFile.Dynamic);
        Assert.True(file.TryReadSections(out ElfSection[] sections));
        ElfSection text = sections.Single(s => s.Name == ".text");
        Assert.Equal(ElfFile.ExecutableSection, text.Flags & ElfFile.ExecutableSection);
        Assert.InRange(text.Address, code.Virtual, code.Virtual + code.FileSize);
        Assert.True(file.TryGetContents(text.Offset, text.Size, out ReadOnlySpan<byte> contents));
        Assert.Equal(text.Size, (ulong)contents.Length);
    }

    [Fact]
    public void A_file_of_32_bits_that_is_big_endian_is_read()
    {
        byte[] bytes = new byte[52 + 32 + 40];
        "\u007FELF\u0001\u0002\u0001"u8.CopyTo(bytes);
        (bytes[17], bytes[19], bytes[27]) = (2, 20, 0x34); // Executable, PowerPC, entry.
        (bytes[31], bytes[43], bytes[45]) = (52, 32, 1); // One program header after the file header.
        (bytes[35], bytes[47], bytes[49]) = (84, 40, 1); // One section header after that.
        (bytes[55], bytes[59], bytes[63], bytes[67], bytes[71], bytes[75], bytes[79]) = (1, 2, 3, 4, 5, 6, 7);
        (bytes[91], bytes[95], bytes[99], bytes[103], bytes[107]) = (1, 4, 8, 9, 10);
        Assert.True(ElfFile.TryRead(bytes, out ElfFile file));
        Assert.Equal((false, false, (ushort)2, (ushort)20, 0x34ul), (file.Is64Bit, file.IsLittleEndian, file.Type, file.Machine, file.Entry));
        Assert.True(file.TryReadSegments(out ElfSegment[] segments));
        Assert.Equal([new ElfSegment(Type: 1, Flags: 7, Offset: 2, FileSize: 5, Virtual: 3, Physical: 4, MemorySize: 6)], segments);
        Assert.True(file.TryReadSections(out ElfSection[] sections));
        Assert.Equal([new ElfSection("", 1, 4, 8, 9, 10)], sections);
    }

    [Fact]
    public void Nothing_is_read_outside_a_damaged_file()
    {
        byte[] whole = SyntheticKernel.Elf(0x100_0000, 0x100_0000, (0x1000, 0x100_0000, [0xC3], 1));
        for (int i = 0; i < 200; i++)
        {
            ReadAll(whole.AsSpan(0, i));
            foreach (byte value in (ReadOnlySpan<byte>)[0, 1, 0x7F, 0xFF])
            {
                byte[] damaged = [.. whole];
                damaged[i] = value;
                ReadAll(damaged);
            }
        }

        Assert.Equal(2, ReadAll(whole));

        static int ReadAll(ReadOnlySpan<byte> bytes)
        {
            if (!ElfFile.TryRead(bytes, out ElfFile file))
            {
                return 0;
            }

            file.TryReadSections(out _);
            file.TryReadSegments(out ElfSegment[] segments);
            return segments.Length;
        }
    }
}
