using System.Diagnostics;

namespace Yadokari.Bench;

/// <summary>A contender that boots a guest.</summary>
internal abstract class Guest(string name, GuestFiles files) : Contender(name)
{
    public sealed override Measurement? Run(Workload workload, int percent)
    {
        if (workload.IsSystem)
            return RunSystem(workload, files.System!, percent);
        var end = workload == Workload.Boot ? "yado.end=poweroff" : $"yado.run={workload.Name} yado.scale={percent}";
        var initrd = workload == Workload.Boot ? files.MiniInitrd : files.BenchInitrd;
        return Run(workload, Command(files.Kernel, initrd, $"console=ttyS0 quiet {end}"));
    }

    private Measurement RunSystem(Workload workload, SystemImage image, int percent)
    {
        using var peer = workload.IsNetwork ? NetworkPeer.Start() : null;
        var run = workload == Workload.Login ? "" : $" yado.run={workload.Name} yado.scale={percent} yado.port={peer?.Port}";
        return Run(workload, SystemCommand(image, $"root=LABEL=yadokari-root ro console=ttyS0 quiet mitigations=off{run}", workload.Cpus));
    }

    /// <summary>The command that boots a whole system with 1 GiB: its disk is left as it was, and the data's is only read.</summary>
    protected abstract ProcessStartInfo SystemCommand(SystemImage image, string append, int cpus);

    /// <summary>The command that boots a guest with 512 MiB and one processor, its console on standard output.</summary>
    protected abstract ProcessStartInfo Command(string kernel, string initrd, string append);
}
