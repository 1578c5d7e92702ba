using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;

namespace Yadokari.Machines.Tests;

public sealed class KernelImageTests
{
    public static TheoryData<string, byte[], string> BadFiles => new()
    {
        { "empty", [], "is empty" },
        { "text", SyntheticKernel.Text("#!/bin/sh\necho hello\n"), "is not a kernel" },
        { "one byte", [0x7F], "is not a kernel" },
        { "bzImage without its end", Good()[..^600], "is truncated" },
        { "bzImage without its header", Good()[..0x210], "is truncated" },
        { "zImage", With(Good(), f => (f[0x206], f[0x211]) = (0x02, 0)), "is a zImage" },
        { "arm64 Image", With(new byte[4096], f => "ARMd"u8.CopyTo(f.AsSpan(0x38))), "is for arm64" },
        { "RISC-V Image", With(new byte[4096], f => "RSC\u0005"u8.CopyTo(f.AsSpan(0x38))), "is for RISC-V" },
        { "gzipped file", [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0, 0xFF], "is truncated" },
        { "ELF for arm64", With(GoodElf(), f => f[18] = 183), "is for arm64" },
        { "ELF for s390, big-endian", With(GoodElf(), f => (f[5], f[18], f[19]) = (2, 0, 22)), "is for s390" },
        { "ELF of 32 bits", With(GoodElf(), f => (f[4], f[18]) = (1, 3)), "is a 32-bit kernel" },
        { "ELF without its end", GoodElf()[..^100], "is truncated" },
        { "ELF without its program headers", GoodElf()[..70], "is truncated" },
        { "ELF header of 10 bytes", GoodElf()[..10], "is truncated" },
        { "kernel module", With(GoodElf(), f => f[16] = 1), "kernel module" },
        { "program", SyntheticKernel.Elf(0x40_0000, null, (0x1000, 0, [0xC3], 1)), "is an ELF program" },
    };

    [Theory]
    [MemberData(nameof(BadFiles))]
    public void A_file_that_is_no_kernel_gets_one_clear_sentence(string what, byte[] file, string expected)
    {
        var e = Assert.ThrowsAny<UserErrorException>(() => KernelImage.Parse("some/file", file));
        Assert.True(e.Message.Contains(expected), $"{what}: {e.Message}");
        Assert.Contains("'some/file'", e.Message);
        Assert.EndsWith(".", e.Message);
        Assert.DoesNotContain('\n', e.Message);
    }

    [Fact]
    public void A_missing_kernel_and_a_directory_get_one_clear_sentence()
    {
        Assert.Contains("does not exist", Assert.ThrowsAny<UserErrorException>(() => KernelImage.Open("/no/such/file")).Message);
        Assert.Contains("is a directory", Assert.ThrowsAny<UserErrorException>(() => KernelImage.Open("/")).Message);
        Assert.Contains("does not exist", Assert.ThrowsAny<UserErrorException>(() => Initrd.Open("/no/such/file")).Message);
        Assert.Contains("is a directory", Assert.ThrowsAny<UserErrorException>(() => Initrd.Open("/")).Message);
        Assert.Contains("is empty", Assert.ThrowsAny<UserErrorException>(() => Initrd.Open("/dev/null")).Message);
    }

    [Theory]
    [InlineData(0x0200, true)]
    [InlineData(0x0203, true)]
    [InlineData(0x0207, true)]
    [InlineData(0x0208, false)]
    [InlineData(0x020B, false)]
    [InlineData(0x020F, false)]
    public void An_old_kernel_needs_a_bios_unless_it_holds_a_compressed_one(int version, bool expected)
    {
        byte[] file = With(Good(), f => SyntheticKernel.Put16(f, 0x206, (ushort)version));
        Assert.Equal(expected, KernelImage.Parse("k", file).NeedsBios);
        file[((SyntheticKernel.SetupSectors + 1) * 512) + SyntheticKernel.PayloadOffset]++;
        KernelImage other = KernelImage.Parse("k", file);
        Assert.Equal(version < 0x020C, other.NeedsBios);
        Assert.Equal(!other.NeedsBios, other.IsLinux);
    }

    [Fact]
    public void Any_byte_may_be_wrong_without_another_kind_of_exception()
    {
        var random = new Random(1);
        int loaded = 0;
        int refused = 0;
        for (int i = 0; i < 1000; i++)
        {
            byte[] file = i % 2 == 0 ? Good() : GoodElf();
            for (int j = 0; j < 4; j++)
            {
                file[random.Next(i % 2 == 0 ? 0x270 : 200) + (i % 2 == 0 && j > 0 ? 0x1F0 : 0)] = (byte)random.Next(256);
            }

            using var memory = TestMemory.OfMiB(24);
            try
            {
                BootLoader.Load(KernelImage.Parse("k", file), memory, new BootParameters(), new X86.State.X86State());
                loaded++;
            }
            catch (UserErrorException e)
            {
                Assert.NotEmpty(e.Message);
                refused++;
            }
        }

        // Some bytes mean nothing to a loader, others make it refuse the file: both were reached.
        Assert.InRange(loaded, 50, 950);
        Assert.Equal(1000, loaded + refused);
    }

    private static byte[] Good()
    {
        byte[] elf = GoodElf();
        return SyntheticKernel.BzImage(Lz4Writer.Pack(elf), elf.Length);
    }

    private static byte[] GoodElf() => SyntheticKernel.Elf(SyntheticKernel.Preferred, 0x100_0000, (0x1000, SyntheticKernel.Preferred, SyntheticKernel.Pattern(999, 3), 2000));

    private static byte[] With(byte[] file, Action<byte[]> change)
    {
        change(file);
        return file;
    }
}
