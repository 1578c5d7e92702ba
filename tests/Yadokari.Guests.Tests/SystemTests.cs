namespace Yadokari.Guests.Tests;

/// <summary>Systems other than Linux with a shell: a hypervisor, a memory tester, an installer.</summary>
public sealed class SystemTests
{
    [Fact]
    public void Xen_runs_its_first_domain()
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var xen = Guest.Had(static () => Guest.Images.FileOf("xen-hypervisor-4.17-amd64", "./boot/xen-4.17-amd64.gz"));
        var kernel = Guest.Had(static () => Guest.Images.Kernel(KernelFlavour.Generic));
        var initrd = Guest.Had(static () => Guest.Images.MiniInitrd());
        using var vm = Guest.Start(
            "--kernel", xen, "--append", "com1=115200,8n1 console=com1 dom0_mem=512M noreboot", "--module", $"{kernel} console=hvc0", "--module", initrd, "--memory", "1G");
        vm.Console.WaitFor("(XEN) Xen version 4.17");
        vm.Console.WaitFor("guest: ready");
        vm.Console.WaitFor("# ");
        vm.Console.Send("echo $((6 * 7)) $(cat /sys/hypervisor/type)");
        vm.Console.WaitFor("42 xen");
        vm.Console.Send("poweroff -f");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    // A pass takes minutes, however little memory there is.
    [Fact(Explicit = true)]
    [Trait("length", "long")]
    public void Memtest_finds_no_error_in_a_pass()
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var memtest = Guest.Had(static () => Guest.Images.FileOf("memtest86+", "./boot/memtest86+x64.bin"));
        using var vm = Guest.Start("--kernel", memtest, "--append", "console=ttyS0,115200", "--memory", "64M");
        vm.Console.WaitFor("Pass:  1");
        Assert.DoesNotContain("Errors: 1", vm.Console.Text, StringComparison.Ordinal);
        vm.Console.WaitFor("Errors: 0");
        vm.Console.Send("\u0001x");
    }

    [Theory]
    [InlineData("amd64")]
    [InlineData("i386")]
    public void The_installer_asks_for_a_language(string architecture)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var package = $"debian-installer-12-netboot-{architecture}";
        var folder = $"./usr/lib/debian-installer/images/12/{architecture}/text/debian-installer/{architecture}";
        var kernel = Guest.Had(() => Guest.Images.FileOf(package, $"{folder}/linux"));
        var initrd = Guest.Had(() => Guest.Images.FileOf(package, $"{folder}/initrd.gz"));
        using var vm = Guest.Start("--kernel", kernel, "--initrd", initrd, "--append", "console=ttyS0 priority=high", "--memory", "1G");
        vm.Console.WaitFor("Select a language");
        vm.Console.WaitFor("Choose the language to be used for the installation process.");
        vm.Console.Send("\u0001x");
    }
}
