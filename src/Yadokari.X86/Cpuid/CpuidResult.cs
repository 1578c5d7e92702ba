namespace Yadokari.X86.Cpuid;

/// <summary>The output registers of CPUID.</summary>
public readonly record struct CpuidResult(uint Eax, uint Ebx, uint Ecx, uint Edx)
{
    internal uint this[CpuidRegister register] => register switch
    {
        CpuidRegister.Eax => Eax,
        CpuidRegister.Ebx => Ebx,
        CpuidRegister.Ecx => Ecx,
        _ => Edx,
    };

    internal CpuidResult With(CpuidRegister register, int bit) => register switch
    {
        CpuidRegister.Eax => this with { Eax = Eax | (1u << bit) },
        CpuidRegister.Ebx => this with { Ebx = Ebx | (1u << bit) },
        CpuidRegister.Ecx => this with { Ecx = Ecx | (1u << bit) },
        _ => this with { Edx = Edx | (1u << bit) },
    };
}

/// <summary>The state of a vCPU that CPUID's results depend on.</summary>
/// <param name="ApicId">The vCPU's (x2)APIC ID.</param>
/// <param name="Xcr0">XCR0 now.</param>
/// <param name="Cr4">CR4 now.</param>
/// <param name="ApicEnabled">IA32_APIC_BASE.EN now.</param>
public readonly record struct CpuidContext(uint ApicId, ulong Xcr0, ulong Cr4, bool ApicEnabled = true);

/// <summary>The vendor of a processor.</summary>
public enum CpuVendor
{
    /// <summary>Intel, or a vendor of compatible processors.</summary>
    Intel,

    /// <summary>AMD, or Hygon.</summary>
    Amd,
}

/// <summary>Topology and clocks of a guest's processors.</summary>
/// <param name="Cpus">vCPUs, 1 to 32, each a core of one package; APIC IDs count from 0.</param>
/// <param name="TscHz">Frequency of the guest's time-stamp counter.</param>
/// <param name="ApicTimerHz">Frequency that the local APIC's timer counts at before its divider.</param>
public sealed record CpuidConfiguration(int Cpus, long TscHz, long ApicTimerHz);
