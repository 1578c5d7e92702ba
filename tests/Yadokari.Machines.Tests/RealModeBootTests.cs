using System.Text;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;
using Yadokari.Core.Memory;

namespace Yadokari.Machines.Tests;

/// <summary>What is handed to a BIOS to start a bzImage: tests of guests see it started.</summary>
public sealed class RealModeBootTests
{
    private const int Contents = 0x100;
    private const int SetupSize = (SyntheticKernel.SetupSectors + 1) * 512;

    [Theory]
    [InlineData(0x0200)]
    [InlineData(0x0201)]
    [InlineData(0x0203)]
    [InlineData(0x0207)]
    [InlineData(0x020F)]
    public void The_option_rom_holds_the_real_mode_part_as_a_boot_loader_leaves_it(int version)
    {
        byte[] file = Kernel(version);
        using GuestMemory memory = TestMemory.OfMiB(32);
        using var initrd = new Initrd("i", SyntheticKernel.Pattern(10_000, 11));
        var boot = new RealModeBoot(KernelImage.Parse("k", file), memory, new BootParameters { CommandLine = "one two", Initrd = initrd });
        byte[] rom = boot.Rom;

        Assert.Equal((0x55, 0xAA, rom.Length / 512), (rom[0], rom[1], rom[2]));
        Assert.Equal(0, (byte)rom.Sum(b => b));
        int header = BitConverter.ToUInt16(rom, 0x1A);
        Assert.Equal("$PnP", Encoding.ASCII.GetString(rom, header, 4));
        Assert.Equal(0, (byte)rom.AsSpan(header, 32).ToArray().Sum(b => b));
        byte[] code = rom[Contents..(Contents + SetupSize)];
        bool old = version < 0x0202;
        Assert.Equal("one two\0", Encoding.ASCII.GetString(rom, Contents + SetupSize, 8));
        Assert.Equal(0xFF, code[0x210]);
        Assert.Equal(version >= 0x0201, (code[0x211] & 0x80) != 0);
        Assert.Equal(10_000u, BitConverter.ToUInt32(code, 0x21C));
        Assert.Equal(old ? 0xA33F : 0, BitConverter.ToUInt16(code, 0x20));
        Assert.Equal(old ? 0x9800 : 0, BitConverter.ToUInt16(code, 0x22));
        Assert.Equal(old ? 0u : 0x1_E000, BitConverter.ToUInt32(code, 0x228));
        Assert.Equal(version < 0x0201 ? 0 : old ? 0x9600 : 0xDE00, BitConverter.ToUInt16(code, 0x224));

        Assert.Equal("linux16", boot.Load(memory).Protocol);
        Assert.Equal(file[SetupSize..], memory.Bytes(0x10_0000, file.Length - SetupSize));
        uint image = BitConverter.ToUInt32(code, 0x218);
        Assert.Equal(SyntheticKernel.Pattern(10_000, 11), memory.Bytes(image, 10_000));
        Assert.True(image + 10_000 <= 28 << 20); // The rest is the firmware's.
    }

    [Fact]
    public void What_can_not_be_started_so_is_refused()
    {
        using GuestMemory memory = TestMemory.OfMiB(16);
        KernelImage elf = KernelImage.Parse("k", SyntheticKernel.Elf(SyntheticKernel.Preferred, null, (0x1000, SyntheticKernel.Preferred, [0xF4], 1)));
        KernelImage kernel = KernelImage.Parse("k", Kernel(0x0203));
        KernelImage large = KernelImage.Parse("k", Kernel(0x0201, sectors: 100));
        using var initrd = new Initrd("big.img", new byte[12 << 20]);
        Refused("is not a bzImage", elf, new BootParameters());
        Refused("takes 255 at most", kernel, new BootParameters { CommandLine = new string('x', 256) });
        Refused("'big.img' of 12 MiB does not fit", kernel, new BootParameters { Initrd = initrd });
        Refused("/modules", kernel, new BootParameters { Modules = [new BootModule(initrd, "m")] });
        Refused("real-mode part of", large, new BootParameters());

        void Refused(string reason, KernelImage kernel, BootParameters parameters) =>
            Assert.Contains(reason, Assert.ThrowsAny<UserErrorException>(() => new RealModeBoot(kernel, memory, parameters)).Message);
    }

    private static byte[] Kernel(int version, byte sectors = SyntheticKernel.SetupSectors)
    {
        byte[] file = SyntheticKernel.BzImage(SyntheticKernel.Pattern(100_000, 7), 0);
        SyntheticKernel.Put16(file, 0x206, (ushort)version);
        file[0x1F1] = sectors;
        return file;
    }
}
