using System.Diagnostics;

namespace Yadokari.Guests.Tests;

public sealed class MemoryTests
{
    [Fact]
    public void What_the_guest_frees_goes_back_to_the_host()
    {
        Assert.SkipWhen(Guest.OnQemu, "The memory is yado's.");
        const long MiB = 1 << 20;
        var initrd = Guest.Had(Guest.Images.DiskInitrd);
        var kernel = Guest.Had(() => Guest.Images.Kernel(KernelFlavour.Cloud));
        using var vm = Guest.Start("--kernel", kernel, "--initrd", initrd, "--append", "console=ttyS0 quiet panic=-1", "--memory", "256M");
        vm.Console.WaitFor("# ");
        vm.Console.Send("for m in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_balloon; do insmod /disk/$m.ko; done");
        vm.Console.Send("dd if=/dev/zero of=/tmp/x bs=1M count=150 2>/dev/null; echo full $((6 * 7))");
        vm.Console.WaitFor("full 42");
        var full = vm.SharedMemory;
        Assert.True(full > 150 * MiB, $"{full}");
        vm.Console.Send("rm /tmp/x");
        var began = Stopwatch.GetTimestamp();
        while (vm.SharedMemory > full - (60 * MiB))
        {
            Assert.True(Stopwatch.GetElapsedTime(began) < TimeSpan.FromMinutes(3), $"{full} bytes when full, {vm.SharedMemory} three minutes after.");
            Thread.Sleep(200); // The host's kernel tells only who asks.
        }

        vm.Console.Send("poweroff -f");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }
}
