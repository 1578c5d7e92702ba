using Yadokari.Boards.Specs;
using Yadokari.Machines;

namespace Yadokari.Tests;

/// <summary>What the documentation shows and no example has: compiled, and not run.</summary>
internal static class Documented
{
    public static async Task<MachineEnd> Drive()
    {
        await using var machine = await VirtualMachine.StartAsync(new MachineSpec
        {
            Kernel = "vmlinuz",
            Initrd = "initrd.img",
            Memory = 512.Mebibytes(),
            Cpus = 2,
            Devices =
            [
                new DiskSpec("root.qcow2", Snapshot: true),
                new ShareSpec("/home/me/work", "/work", ReadOnly: true),
                new NetworkSpec(),
            ],
        });
        await machine.Console.WaitForAsync("login: ");
        await machine.Console.WriteLineAsync("root");

        await machine.PauseAsync();
        await machine.ResumeAsync();

        machine.PressPowerButton();
        MachineEnd end = await machine.Completion.WaitAsync(TimeSpan.FromMinutes(1));
        return end;
    }

    public static async Task Show(VirtualMachine machine, CancellationToken cancellation)
    {
        await machine.Console.CopyToAsync(Console.OpenStandardOutput(), cancellation);
    }
}
