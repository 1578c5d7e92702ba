using Yadokari.Core;
using Yadokari.Core.Engines;
using Yadokari.X86.Cpuid;
using Yadokari.X86.Msrs;

namespace Yadokari.X86;

/// <summary>The processors that an x86 guest sees: what CPUID says, and which model-specific registers there are. Immutable; any thread.</summary>
public sealed class CpuModel : ICpuModel
{
    /// <summary>Makes a model of what CPUID says; the model-specific registers are those of the same maker.</summary>
    public CpuModel(CpuidModel cpuid)
    {
        Cpuid = cpuid;
        Msrs = [.. MsrTable.For(cpuid.Vendor)];
    }

    /// <inheritdoc/>
    public string Architecture => "x86-64";

    /// <summary>What CPUID says.</summary>
    public CpuidModel Cpuid { get; }

    /// <summary>The model-specific registers, in ascending order.</summary>
    public IReadOnlyList<MsrDescription> Msrs { get; }

    /// <summary>The model of this host's processor.</summary>
    /// <exception cref="UserErrorException">The number of vCPUs is not 1 to 32.</exception>
    public static CpuModel FromHost(CpuidConfiguration configuration) => new(CpuidModel.FromHost(configuration));
}
