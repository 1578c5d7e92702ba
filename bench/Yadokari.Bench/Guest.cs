using System.Diagnostics;

namespace Yadokari.Bench;

/// <summary>A contender that boots a guest.</summary>
internal abstract class Guest(string name, GuestFiles files) : Contender(name)
{
    public sealed override Measurement? Run(Workload workload, int percent)
    {
        var end = workload == Workload.Boot ? "yado.end=poweroff" : $"yado.run={workload.Name} yado.scale={percent}";
        var initrd = workload == Workload.Boot ? files.MiniInitrd : files.BenchInitrd;
        return Run(workload, Command(files.Kernel, initrd, $"console=ttyS0 quiet {end}"));
    }

    /// <summary>The command that boots a guest with 512 MiB and one processor, its console on standard output.</summary>
    protected abstract ProcessStartInfo Command(string kernel, string initrd, string append);
}
