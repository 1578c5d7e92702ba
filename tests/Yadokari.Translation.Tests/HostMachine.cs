using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation.Tests;

/// <summary>Machines whose processors are the host's.</summary>
internal static class HostMachine
{
    /// <summary>The processors that the host has, counting at the engine's frequency.</summary>
    public static CpuModel Model(IEngine engine, int vcpus = 1)
        => CpuModel.FromHost(new CpuidConfiguration(vcpus, (long)engine.ClockFrequency, (long)engine.ClockFrequency));

    /// <summary>Makes one.</summary>
    public static IVm Create(this IEngine engine, GuestMemory memory, int vcpus = 1) => engine.Create(new VmSpec(memory, Model(engine, vcpus), vcpus));
}
