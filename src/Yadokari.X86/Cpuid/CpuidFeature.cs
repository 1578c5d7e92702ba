namespace Yadokari.X86.Cpuid;

/// <summary>An output register of CPUID.</summary>
public enum CpuidRegister : byte
{
    /// <summary>EAX.</summary>
    Eax,

    /// <summary>EBX.</summary>
    Ebx,

    /// <summary>ECX.</summary>
    Ecx,

    /// <summary>EDX.</summary>
    Edx,
}

/// <summary>When a feature is shown to guests.</summary>
public enum CpuidPolicy : byte
{
    /// <summary>If the host has it: the host's processor implements it.</summary>
    Host,

    /// <summary>Always: it is emulated, regardless of the host.</summary>
    Always,

    /// <summary>Always, on a processor of AMD (or Hygon).</summary>
    Amd,

    /// <summary>Always, on a processor of Intel.</summary>
    Intel,
}

/// <summary>A feature bit that guests may see. Features without an entry are hidden.</summary>
/// <param name="Name">The manuals' short name.</param>
/// <param name="Leaf">The leaf: EAX of the query.</param>
/// <param name="Subleaf">The subleaf: ECX of the query.</param>
/// <param name="Register">The output register.</param>
/// <param name="Bit">The bit in it.</param>
/// <param name="Policy">When the feature is shown.</param>
/// <param name="Xcr0">Extended state that the host's operating system must have enabled too; 0 for none.</param>
public sealed record CpuidFeature(
    string Name, uint Leaf, uint Subleaf, CpuidRegister Register, int Bit, CpuidPolicy Policy, ulong Xcr0 = 0);

/// <summary>
/// The features that guests may see, a line each (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).
/// </summary>
/// <remarks>
/// <para>Hidden on purpose: virtualization (VMX, SVM), transactions, protection keys, shadow stacks and IBT, 57-bit addresses, MONITOR and
/// WAITPKG, AMX, user interrupts, SGX, ENQCMD and MOVDIR64B, PCONFIG, key locker, processor trace, LWP, TBM, MPX, performance monitoring,
/// RDPRU, SEV, XSAVES, machine-check extras.</para>
/// <para>About speculation: the translator replaces every indirect jump, call and return by its own lookup, and VERW and WRMSR by calls
/// into the monitor. The sequences that a guest kernel would use against branch mistraining (retpolines, return thunks, buffer clearing
/// by VERW) therefore have no effect on the real processor's speculation, only cost. So the bits that say "not needed" are shown where the
/// guest's own counter-measure could not work anyway (AUTOIBRS, BTC_NO, SRSO_NO, TSA_*_NO; IA32_ARCH_CAPABILITIES on Intel). They do
/// not claim that guest user code and guest kernel code are kept apart from each other's speculation by this monitor; what isolates
/// guests from the host and from each other is the host's own protection of processes. Speculative store bypass is not claimed: the
/// guest sees SSB_NO only where the host has it.</para>
/// </remarks>
public static class CpuidFeatures
{
    private const ulong Avx = 0x6;
    private const ulong Avx512 = 0xE6;

    /// <summary>Every feature that may be shown.</summary>
    public static IReadOnlyList<CpuidFeature> All { get; } =
    [
        .. In(1, 0, CpuidRegister.Ecx, CpuidPolicy.Host,
            ("SSE3", 0), ("PCLMULQDQ", 1), ("SSSE3", 9), ("CX16", 13), ("SSE4.1", 19), ("SSE4.2", 20), ("MOVBE", 22), ("POPCNT", 23),
            ("AESNI", 25), ("XSAVE", 26), ("RDRAND", 30)),
        .. In(1, 0, CpuidRegister.Ecx, CpuidPolicy.Host, Avx, ("FMA", 12), ("AVX", 28), ("F16C", 29)),
        .. In(1, 0, CpuidRegister.Ecx, CpuidPolicy.Always, ("PCID", 17), ("X2APIC", 21), ("TSC_DEADLINE", 24), ("HYPERVISOR", 31)),
        .. In(1, 0, CpuidRegister.Edx, CpuidPolicy.Host, ("CX8", 8), ("CMOV", 15), ("CLFSH", 19), ("MMX", 23), ("FXSR", 24), ("SSE", 25), ("SSE2", 26)),
        .. In(1, 0, CpuidRegister.Edx, CpuidPolicy.Always,
            ("FPU", 0), ("VME", 1), ("DE", 2), ("PSE", 3), ("TSC", 4), ("MSR", 5), ("PAE", 6), ("MCE", 7), ("APIC", 9), ("SEP", 11), ("MTRR", 12),
            ("PGE", 13), ("MCA", 14), ("PAT", 16), ("PSE36", 17)),
        .. In(6, 0, CpuidRegister.Eax, CpuidPolicy.Always, ("ARAT", 2)),

        .. In(7, 0, CpuidRegister.Ebx, CpuidPolicy.Host,
            ("BMI1", 3), ("FDP_EXCPTN_ONLY", 6), ("BMI2", 8), ("ERMS", 9), ("FPU_CSDS_DEPRECATED", 13), ("RDSEED", 18), ("ADX", 19),
            ("CLFLUSHOPT", 23), ("CLWB", 24), ("SHA", 29)),
        .. In(7, 0, CpuidRegister.Ebx, CpuidPolicy.Host, Avx, ("AVX2", 5)),
        .. In(7, 0, CpuidRegister.Ebx, CpuidPolicy.Host, Avx512,
            ("AVX512F", 16), ("AVX512DQ", 17), ("AVX512_IFMA", 21), ("AVX512CD", 28), ("AVX512BW", 30), ("AVX512VL", 31)),
        .. In(7, 0, CpuidRegister.Ebx, CpuidPolicy.Always, ("FSGSBASE", 0), ("TSC_ADJUST", 1), ("SMEP", 7), ("INVPCID", 10), ("SMAP", 20)),
        .. In(7, 0, CpuidRegister.Ecx, CpuidPolicy.Host, ("GFNI", 8), ("CLDEMOTE", 25), ("MOVDIRI", 27)),
        .. In(7, 0, CpuidRegister.Ecx, CpuidPolicy.Host, Avx, ("VAES", 9), ("VPCLMULQDQ", 10)),
        .. In(7, 0, CpuidRegister.Ecx, CpuidPolicy.Host, Avx512,
            ("AVX512_VBMI", 1), ("AVX512_VBMI2", 6), ("AVX512_VNNI", 11), ("AVX512_BITALG", 12), ("AVX512_VPOPCNTDQ", 14)),
        .. In(7, 0, CpuidRegister.Ecx, CpuidPolicy.Always, ("UMIP", 2), ("RDPID", 22)),
        .. In(7, 0, CpuidRegister.Edx, CpuidPolicy.Host, ("FSRM", 4), ("SERIALIZE", 14)),
        .. In(7, 0, CpuidRegister.Edx, CpuidPolicy.Host, Avx512, ("AVX512_VP2INTERSECT", 8), ("AVX512_FP16", 23)),
        .. In(7, 0, CpuidRegister.Edx, CpuidPolicy.Intel, ("SPEC_CTRL", 26), ("ARCH_CAPABILITIES", 29)),
        .. In(7, 1, CpuidRegister.Eax, CpuidPolicy.Host, ("RAO_INT", 3), ("CMPCCXADD", 7), ("FZRM", 10), ("FSRS", 11), ("FSRC", 12)),
        .. In(7, 1, CpuidRegister.Eax, CpuidPolicy.Host, Avx, ("SHA512", 0), ("SM3", 1), ("SM4", 2), ("AVX_VNNI", 4), ("AVX_IFMA", 23)),
        .. In(7, 1, CpuidRegister.Eax, CpuidPolicy.Host, Avx512, ("AVX512_BF16", 5)),
        .. In(7, 1, CpuidRegister.Edx, CpuidPolicy.Host, ("PREFETCHI", 14)),
        .. In(7, 1, CpuidRegister.Edx, CpuidPolicy.Host, Avx, ("AVX_VNNI_INT8", 4), ("AVX_NE_CONVERT", 5), ("AVX_VNNI_INT16", 10)),
        .. In(0xD, 1, CpuidRegister.Eax, CpuidPolicy.Host, ("XSAVEOPT", 0), ("XSAVEC", 1), ("XGETBV1", 2)),

        .. In(0x80000001, 0, CpuidRegister.Ecx, CpuidPolicy.Host,
            ("LAHF64", 0), ("LZCNT", 5), ("SSE4A", 6), ("MISALIGNSSE", 7), ("3DNOWPREFETCH", 8)),
        .. In(0x80000001, 0, CpuidRegister.Ecx, CpuidPolicy.Host, Avx, ("XOP", 11), ("FMA4", 16)),
        .. In(0x80000001, 0, CpuidRegister.Ecx, CpuidPolicy.Amd, ("TOPOEXT", 22)),
        .. In(0x80000001, 0, CpuidRegister.Edx, CpuidPolicy.Host, ("MMXEXT", 22), ("3DNOWEXT", 30), ("3DNOW", 31)),
        .. In(0x80000001, 0, CpuidRegister.Edx, CpuidPolicy.Always, ("SYSCALL", 11), ("NX", 20), ("PAGE1GB", 26), ("RDTSCP", 27), ("LM", 29)),
        .. In(0x80000007, 0, CpuidRegister.Edx, CpuidPolicy.Host, ("INVARIANT_TSC", 8)),
        .. In(0x80000008, 0, CpuidRegister.Ebx, CpuidPolicy.Host, ("CLZERO", 0), ("XSAVEERPTR", 2), ("WBNOINVD", 9), ("SSB_NO", 26)),
        .. In(0x80000008, 0, CpuidRegister.Ebx, CpuidPolicy.Amd, ("LMSLE_UNSUPPORTED", 20), ("BTC_NO", 29)),
        .. In(0x80000021, 0, CpuidRegister.Eax, CpuidPolicy.Host, ("NO_NESTED_DATA_BP", 0), ("LFENCE_RDTSC", 2), ("AMD_FSRS", 10), ("AMD_FSRC", 11)),
        .. In(0x80000021, 0, CpuidRegister.Eax, CpuidPolicy.Amd, ("NULL_SEL_CLR_BASE", 6), ("AUTOIBRS", 8), ("SRSO_NO", 29)),
        .. In(0x80000021, 0, CpuidRegister.Ecx, CpuidPolicy.Amd, ("TSA_SQ_NO", 1), ("TSA_L1_NO", 2)),
    ];

    private static IEnumerable<CpuidFeature> In(
        uint leaf, uint subleaf, CpuidRegister register, CpuidPolicy policy, params (string Name, int Bit)[] bits) =>
        In(leaf, subleaf, register, policy, 0, bits);

    private static IEnumerable<CpuidFeature> In(
        uint leaf, uint subleaf, CpuidRegister register, CpuidPolicy policy, ulong xcr0, params (string Name, int Bit)[] bits) =>
        bits.Select(b => new CpuidFeature(b.Name, leaf, subleaf, register, b.Bit, policy, xcr0));
}
