using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;
using Yadokari.Core.Memory;
using Yadokari.Linux;

namespace Yadokari.Machines.Tests;

public sealed class FirmwareImageTests : IDisposable
{
    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [Theory]
    [InlineData(128)]
    [InlineData(256)]
    [InlineData(512)]
    public void It_ends_at_4_GiB_and_its_last_256_KiB_at_1_MiB_too(int kibibytes)
    {
        byte[] rom = Rom(kibibytes);
        FirmwareImage image = Open(rom);
        using GuestMemory memory = GuestRam.Create([(0, 4 << 20), (image.Start, (ulong)image.Length)]);
        image.CopyTo(memory);

        Assert.Equal(rom, memory.Bytes(0x1_0000_0000 - (ulong)rom.Length, rom.Length));
        byte[] low = rom[^Math.Min(rom.Length, 256 << 10)..];
        Assert.Equal(low, memory.Bytes(0x10_0000 - (ulong)low.Length, low.Length));
        Assert.Equal(new byte[16], memory.Bytes(0x10_0000 - (ulong)low.Length - 16, 16));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0x8_4000)]
    public void Uefi_firmware_is_refused_by_its_firmware_volume(int at)
    {
        byte[] rom = Rom(1024);
        "_FVH"u8.CopyTo(rom.AsSpan(at + 40));
        Refused(rom, "UEFI");
    }

    [Fact]
    public void Uefi_firmware_is_refused_by_the_table_at_its_reset_vector_and_before_its_size()
    {
        byte[] rom = Rom(1024 + 16);
        Convert.FromHexString("DE82B596B21FF745BAEAA366C55A082D").CopyTo(rom.AsSpan(rom.Length - 48));
        Refused(rom, "UEFI");
    }

    [Fact]
    public void Qboot_is_refused_by_its_name_and_size()
    {
        byte[] rom = Rom(64);
        "\0qboot\0"u8.CopyTo(rom.AsSpan(0x4000));
        Refused(rom, "qboot");
        Open([.. Rom(64), .. rom]);
    }

    [Theory]
    [InlineData(0x00)]
    [InlineData(0xFF)]
    public void A_file_without_code_at_the_reset_vector_is_refused(byte value)
    {
        byte[] rom = Rom(128);
        rom.AsSpan(rom.Length - 16).Fill(value);
        Refused(rom, "no code in its last 16 bytes");
    }

    [Fact]
    public void A_size_that_no_rom_has_is_refused() => Refused(Rom(100), "multiple of 64 KiB");

    private static byte[] Rom(int kibibytes) => [.. Enumerable.Range(0, kibibytes << 10).Select(i => (byte)((i >> 10) + i + 1))];

    private FirmwareImage Open(byte[] rom)
    {
        File.WriteAllBytes(_path, rom);
        return FirmwareImage.Open(_path);
    }

    private void Refused(byte[] rom, string reason)
    {
        var e = Assert.ThrowsAny<UserErrorException>(() => Open(rom));
        Assert.Contains(reason, e.Message);
        Assert.Contains(_path, e.Message);
        Assert.EndsWith(".", e.Message);
    }
}
