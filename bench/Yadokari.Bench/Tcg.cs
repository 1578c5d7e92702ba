using System.Diagnostics;
using Yadokari.Core;

namespace Yadokari.Bench;

/// <summary>QEMU with its translator.</summary>
internal sealed class Tcg(GuestFiles files) : Guest("TCG", files)
{
    private const string Program = "qemu-system-x86_64";

    /// <summary>Checks that QEMU is installed.</summary>
    /// <exception cref="UserErrorException">QEMU is not installed.</exception>
    public static void Prepare()
    {
        var folders = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        if (!folders.Any(static folder => File.Exists(Path.Combine(folder, Program))))
        {
            throw new UserErrorException(
                $"{Program} is not in PATH, and the comparison is with it; install it with: apt-get install --no-install-recommends qemu-system-x86");
        }
    }

    protected override ProcessStartInfo SystemCommand(SystemImage image, string append, int cpus) => new(
        Program,
        [
            "-accel", cpus > 1 ? "tcg,thread=multi" : "tcg", "-cpu", "max,la57=off", "-m", "1G", "-smp", $"{cpus}", "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio",
            "-drive", $"file={image.Disk},format=raw,if=virtio,snapshot=on", "-drive", $"file={image.Seed},format=raw,if=virtio,readonly=on",
            "-drive", $"file={image.Data},format=raw,if=virtio,readonly=on", "-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n",
            "-device", "virtio-rng-pci", "-kernel", image.Kernel, "-initrd", image.Initrd, "-append", append,
        ]);

    protected override ProcessStartInfo Command(string kernel, string initrd, string append) => new(
        Program,
        [
            "-accel", "tcg", "-cpu", "max,la57=off", "-m", "512M", "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio",
            "-kernel", kernel, "-initrd", initrd, "-append", append,
        ]);
}
