namespace Yadokari.Guests.Tests;

/// <summary>Guests that show text on a VGA screen and are typed to at a PS/2 keyboard.</summary>
public sealed class ScreenTests
{
    private const string Bios = "/usr/share/seabios/bios.bin";

    [Theory]
    [InlineData(KernelFlavour.Generic)]
    [InlineData(KernelFlavour.I686)]
    public void A_kernels_console_is_the_screen(KernelFlavour flavour)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var kernel = Guest.Had(() => Guest.Images.Kernel(flavour));
        var initrd = Guest.Had(() => Guest.Images.MiniInitrd(flavour));
        using var vm = Guest.Start("--console", "vga", "--kernel", kernel, "--initrd", initrd, "--append", "console=tty0 quiet", "--memory", "512M");
        vm.Console.WaitFor("guest: ready");
        vm.Console.WaitFor("/ #");
        vm.Console.Send("stty size > /tmp/size; echo \"$((6 * 7)): {$(cat /tmp/size)}\"");
        vm.Console.WaitFor("42: {25 80}");
        vm.Console.Send("poweroff -f");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Fact]
    public void A_kernel_of_a_machine_without_a_screen_finds_none()
    {
        Assert.SkipWhen(Guest.OnQemu, "QEMU's machine has a screen.");
        using var vm = Guest.Boot(KernelFlavour.Cloud);
        vm.Console.WaitFor("colour dummy device");
        vm.Console.WaitFor("/ #");
        vm.Console.Send("echo \"$((6 * 7)): {$(cat /sys/class/tty/console/active)}\"");
        vm.Console.WaitFor("42: {ttyS0}");
        vm.Console.Send("poweroff -f");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Fact]
    public void Firmware_and_its_loader_show_on_the_screen()
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        Assert.SkipUnless(File.Exists(Bios), $"SeaBIOS is not installed ({Bios}; Debian's package seabios).");
        var image = Guest.Had(Guest.Images.GrubImage);
        using var vm = Guest.Start("--console", "vga", "--firmware", Bios, "--cdrom", image, "--memory", "256M");
        vm.Console.WaitFor("SeaBIOS");
        vm.Console.WaitFor("GRUB");
    }
}
