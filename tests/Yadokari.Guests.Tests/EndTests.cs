namespace Yadokari.Guests.Tests;

/// <summary>How a machine ends, and the exit codes that README documents for it.</summary>
public sealed class EndTests
{
    private const int GuestPanic = 3;
    private const int TripleFault = 4;

    [Fact]
    public void Power_off_is_success()
    {
        using var vm = Guest.Boot(KernelFlavour.Cloud).With("quiet yado.end=poweroff");
        vm.Console.WaitFor("guest: poweroff");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Fact]
    public void Input_that_is_there_from_the_start_reaches_the_guest()
    {
        using var vm = Guest.Boot(KernelFlavour.Cloud).With("quiet");
        vm.Console.Send("poweroff -f");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Fact]
    public void Reboot_starts_the_machine_again()
    {
        using var vm = Guest.Boot(KernelFlavour.Cloud).With("quiet");
        vm.Console.WaitFor("guest: ready");
        vm.Console.WaitFor("# ");
        vm.Console.Send("reboot -f");
        vm.Console.WaitFor("guest: ready");
        vm.Console.WaitFor("# ");
        vm.Console.Send("poweroff -f");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Fact]
    public void Panic_has_an_exit_code_of_its_own()
    {
        Assert.SkipWhen(Guest.OnQemu, "QEMU's exit code does not tell of a panic.");
        using var vm = Guest.Boot(KernelFlavour.Cloud).With("panic=-1 yado.end=panic");
        vm.Console.WaitFor("Kernel panic - not syncing: sysrq triggered crash");
        Assert.Equal(GuestPanic, vm.Console.WaitForEnd());
    }

    [Fact]
    public void Triple_fault_has_an_exit_code_of_its_own()
    {
        Assert.SkipWhen(Guest.OnQemu, "QEMU's exit code does not tell of a triple fault.");
        // reboot=t makes the kernel restart by loading an empty interrupt table and raising an exception.
        using var vm = Guest.Boot(KernelFlavour.Cloud).With("reboot=t yado.end=reboot");
        vm.Console.WaitFor("guest: reboot");
        Assert.Equal(TripleFault, vm.Console.WaitForEnd());
    }
}
