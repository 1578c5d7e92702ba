using Yadokari.Core;
using Yadokari.Core.Engines;
using Yadokari.X86.Cpuid;
using Yadokari.X86.Msrs;

namespace Yadokari.X86;

/// <summary>The CPU model of an x86 guest: CPUID's leaves and the model-specific registers. Immutable; any thread.</summary>
public sealed class CpuModel : ICpuModel
{
    /// <summary>Creates a model from CPUID's leaves; the model-specific registers are those of the same vendor.</summary>
    public CpuModel(CpuidModel cpuid)
    {
        Cpuid = cpuid;
        Msrs = [.. MsrTable.For(cpuid.Vendor)];
    }

    /// <inheritdoc/>
    public string Architecture => "x86-64";

    /// <summary>CPUID's leaves.</summary>
    public CpuidModel Cpuid { get; }

    /// <summary>The model-specific registers, in ascending order.</summary>
    public IReadOnlyList<MsrDescription> Msrs { get; }

    /// <summary>The model of this host's processor.</summary>
    /// <exception cref="UserErrorException">The number of vCPUs is not 1 to 32.</exception>
    public static CpuModel FromHost(CpuidConfiguration configuration) => new(CpuidModel.FromHost(configuration));
}
