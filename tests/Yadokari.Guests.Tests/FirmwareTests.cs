namespace Yadokari.Guests.Tests;

/// <summary>Debian's SeaBIOS, and GRUB from images made by <c>grub-mkrescue</c>, as a PC starts.</summary>
public sealed class FirmwareTests
{
    private const string Bios = "/usr/share/seabios/bios.bin";

    [Theory]
    [InlineData("--cdrom", "", 1)]
    [InlineData("--disk", "", 2)]
    [InlineData("--disk", ",bus=ide", 1)]
    public void GrubStartsAKernel(string drive, string settings, int cpus)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        Assert.SkipUnless(File.Exists(Bios), $"SeaBIOS is not installed ({Bios}; Debian's package seabios).");
        var image = Guest.Had(Guest.Images.GrubImage);
        using var vm = Guest.Start("--firmware", Bios, drive, image + settings, "--memory", "256M", "--cpus", $"{cpus}");
        vm.Console.WaitFor("SeaBIOS");
        vm.Console.WaitFor("GRUB");
        vm.Console.WaitFor("guest: ready");
        vm.Console.WaitFor("# ");
        vm.Console.Send("echo $((6 * 7)) $(grep -c ^processor /proc/cpuinfo)");
        vm.Console.WaitFor($"42 {cpus}");
        vm.Console.Send("poweroff -f");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ADiskWhoseSectorIsNoProgramIsRefusedByTheMonitorOrTheFirmware(bool signed)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        Assert.SkipUnless(File.Exists(Bios), $"SeaBIOS is not installed ({Bios}; Debian's package seabios).");
        var image = Path.GetTempFileName();
        try
        {
            // INT 18h: this disk does not boot, try another.
            byte[] disk = new byte[1 << 20];
            (disk[0], disk[1], disk[510], disk[511]) = (0xCD, 0x18, 0x55, (byte)(signed ? 0xAA : 0));
            File.WriteAllBytes(image, disk);
            using var vm = Guest.Start("--firmware", Bios, "--disk", image, "--memory", "64M");
            if (signed)
            {
                vm.Console.WaitFor("No bootable device.");
                vm.Console.Send("\u0001x");
            }
            else
            {
                Assert.Equal(2, vm.Console.WaitForEnd());
            }
        }
        finally
        {
            File.Delete(image);
        }
    }
}
