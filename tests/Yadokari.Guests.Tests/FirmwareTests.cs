namespace Yadokari.Guests.Tests;

/// <summary>Debian's SeaBIOS, and GRUB from images made by <c>grub-mkrescue</c>, as a PC starts.</summary>
public sealed class FirmwareTests
{
    private const string Bios = "/usr/share/seabios/bios.bin";

    [Theory]
    [InlineData("--cdrom", 1)]
    [InlineData("--disk", 2)]
    public void GrubStartsAKernel(string drive, int cpus)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        Assert.SkipUnless(File.Exists(Bios), $"SeaBIOS is not installed ({Bios}; Debian's package seabios).");
        var image = Guest.Had(Guest.Images.GrubImage);
        using var vm = Guest.Start("--firmware", Bios, drive, image, "--memory", "256M", "--cpus", $"{cpus}");
        vm.Console.WaitFor("SeaBIOS");
        vm.Console.WaitFor("GRUB");
        vm.Console.WaitFor("guest: ready");
        vm.Console.WaitFor("# ");
        vm.Console.Send("echo $((6 * 7)) $(grep -c ^processor /proc/cpuinfo)");
        vm.Console.WaitFor($"42 {cpus}");
        vm.Console.Send("poweroff -f");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Fact]
    public void ADiskThatDoesNotBootIsSaidSoByTheFirmware()
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        Assert.SkipUnless(File.Exists(Bios), $"SeaBIOS is not installed ({Bios}; Debian's package seabios).");
        var image = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(image, new byte[1 << 20]);
            using var vm = Guest.Start("--firmware", Bios, "--disk", image, "--memory", "64M");
            vm.Console.WaitFor("Boot failed: not a bootable disk");
            vm.Console.Send("\u0001x");
        }
        finally
        {
            File.Delete(image);
        }
    }
}
