namespace Yadokari.Guests.Tests;

/// <summary>Debian's SeaBIOS, and GRUB from images made by <c>grub-mkrescue</c>, as a PC starts.</summary>
public sealed class FirmwareTests
{
    private const string Bios = "/usr/share/seabios/bios.bin";
    private const string LargeBios = "/usr/share/seabios/bios-256k.bin";
    private const string NetworkLoader = "/boot/ipxe.lkrn";
    private const string Memdisk = "/usr/lib/syslinux/memdisk";

    [Theory]
    [InlineData("--cdrom", "", 1)]
    [InlineData("--disk", "", 2)]
    [InlineData("--disk", ",bus=ide", 1)]
    public void Grub_starts_a_kernel(string drive, string settings, int cpus)
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
    public void A_disk_whose_sector_is_no_program_is_refused_by_the_monitor_or_the_firmware(bool signed)
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

    [Theory]
    [InlineData(Bios, 1)]
    [InlineData(LargeBios, 32)]
    public void A_disk_boots_and_finds_the_boards_multi_processor_tables(string bios, int cpus)
    {
        SkipUnlessThere(bios, "seabios");
        using var disk = new TemporaryFile(RealModePrograms.MpTablesDisk());
        using var vm = Guest.Start("--firmware", bios, "--disk", $"{disk.Path},format=raw", "--memory", "32M", "--cpus", $"{cpus}");
        vm.Console.WaitFor("YADOKARIYADO");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_old_kernel_is_started_by_its_real_mode_entry(bool named)
    {
        SkipUnlessThere(Bios, "seabios");
        using var kernel = new TemporaryFile(RealModePrograms.OldKernel("in protected mode\0"));
        using var initrd = new TemporaryFile("a RAM disk\0     "u8.ToArray());
        using var vm = Guest.Start(["--kernel", kernel.Path, "--initrd", initrd.Path, "--append", "one two", "--memory", "16M", .. named ? ["--firmware", Bios] : Array.Empty<string>()]);
        vm.Console.WaitFor("|one two|in protected mode|a RAM");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Fact]
    public void Ipxe_starts()
    {
        SkipUnlessThere(Bios, "seabios");
        SkipUnlessThere(NetworkLoader, "ipxe");
        using var vm = Guest.Start("--kernel", NetworkLoader, "--append", "echo started as ${platform} && shell", "--memory", "64M");
        vm.Console.WaitFor("started as pcbios");
    }

    [Fact]
    public void Memdisk_starts_a_floppy()
    {
        SkipUnlessThere(Bios, "seabios");
        SkipUnlessThere(Memdisk, "syslinux-common");
        using var floppy = new TemporaryFile([.. RealModePrograms.MpTablesDisk(), .. new byte[(1440 << 10) - (1 << 20)]]);
        using var vm = Guest.Start("--kernel", Memdisk, "--initrd", floppy.Path, "--memory", "64M");
        vm.Console.WaitFor("MEMDISK");
        vm.Console.WaitFor("YADOKARIYADO");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    private static void SkipUnlessThere(string file, string package)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        Assert.SkipUnless(File.Exists(file), $"{file} is not there: Debian's package {package} is not installed.");
    }

    private sealed class TemporaryFile : IDisposable
    {
        public TemporaryFile(byte[] bytes) => File.WriteAllBytes(Path, bytes);

        public string Path { get; } = System.IO.Path.GetTempFileName();

        public void Dispose() => File.Delete(Path);
    }
}
