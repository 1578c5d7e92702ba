using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86;
using Yadokari.X86.Cpuid;

namespace Yadokari.Conformance.Tests.Engine;

/// <summary>Machines whose processors are the host's.</summary>
internal static class HostMachine
{
    /// <summary>Makes one of one vCPU.</summary>
    public static IVm Create(this IEngine engine, GuestMemory memory)
    {
        long hz = (long)engine.ClockFrequency;
        return engine.Create(new VmSpec(memory, CpuModel.FromHost(new CpuidConfiguration(1, hz, hz)), 1));
    }
}
