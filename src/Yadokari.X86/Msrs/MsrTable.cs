using Yadokari.X86.Cpuid;

namespace Yadokari.X86.Msrs;

/// <summary>How accesses to a model-specific register are handled.</summary>
public enum MsrKind : byte
{
    /// <summary>Reads as its reset value; writing is #GP.</summary>
    Constant,

    /// <summary>Reads as its reset value; writes of allowed bits are accepted and have no effect.</summary>
    Ignored,

    /// <summary>Write-only: reading is #GP, writes of allowed bits have no effect.</summary>
    Command,

    /// <summary>Reads as the last written value; no other effect.</summary>
    Stored,

    /// <summary>Affects execution: the engine handles it.</summary>
    Engine,

    /// <summary>Belongs to the local APIC: the machine handles it, through <c>IX86VcpuHost</c>.</summary>
    Machine,
}

/// <summary>A model-specific register that guests may use. An access to one without an entry is #GP.</summary>
/// <param name="Index">ECX of RDMSR.</param>
/// <param name="Name">The manuals' name.</param>
/// <param name="Kind">How accesses are handled.</param>
/// <param name="Reset">The reset value; not used for registers of the engine and the machine.</param>
/// <param name="Writable">Bits that may be set by a write; setting another is #GP.</param>
/// <param name="Vendor">The vendor whose processors have it; null for all.</param>
public sealed record MsrDescription(
    uint Index, string Name, MsrKind Kind, ulong Reset = 0, ulong Writable = 0, CpuVendor? Vendor = null);

/// <summary>
/// The model-specific registers, a line each: those of CPUID's features, and those that operating systems read without querying CPUID. With these a
/// stock Linux boots on processors of both vendors without an unchecked MSR access.
/// </summary>
public static class MsrTable
{
    private const ulong All = ulong.MaxValue;

    // Memory types: everything write-back (DEF_TYPE with E set, fixed ranges off). Linux sets PAT up only where it sees MTRRs enabled.
    private const ulong WriteBackByDefault = 0x806;
    private const ulong EightVariableFixedAndWc = 0x508;
    private const ulong PatAtReset = 0x0007_0406_0007_0406;

    // RDCL_NO IBRS_ALL SKIP_L1DFL MDS_NO PSCHANGE_MC_NO TAA_NO SBDR_SSDP_NO FBSDP_NO PSDP_NO BHI_NO PBRSB_NO GDS_NO RFDS_NO ITS_NO.
    // See CpuidFeatures for what these do and do not claim.
    private const ulong ArchCapabilities =
        (1ul << 0) | (1ul << 1) | (1ul << 3) | (1ul << 5) | (1ul << 6) | (1ul << 8) | (1ul << 13) | (1ul << 14) | (1ul << 15)
        | (1ul << 20) | (1ul << 24) | (1ul << 26) | (1ul << 27) | (1ul << 62);

    /// <summary>All registers.</summary>
    public static IReadOnlyList<MsrDescription> Entries { get; } =
    [
        new(0x0, "IA32_P5_MC_ADDR", MsrKind.Ignored, 0, All),
        new(0x1, "IA32_P5_MC_TYPE", MsrKind.Ignored, 0, All),
        new(MsrIndex.Tsc, "IA32_TIME_STAMP_COUNTER", MsrKind.Engine),
        new(MsrIndex.PlatformId, "IA32_PLATFORM_ID", MsrKind.Constant, Vendor: CpuVendor.Intel),
        new(MsrIndex.ApicBase, "IA32_APIC_BASE", MsrKind.Machine),
        new(MsrIndex.EblCrPowerOn, "EBL_CR_POWERON", MsrKind.Ignored, 0, All, CpuVendor.Intel),
        new(MsrIndex.FeatureControl, "IA32_FEATURE_CONTROL", MsrKind.Constant, 1, 0, CpuVendor.Intel),
        new(MsrIndex.TscAdjust, "IA32_TSC_ADJUST", MsrKind.Engine),
        new(MsrIndex.SpecCtrl, "IA32_SPEC_CTRL", MsrKind.Stored, 0, 3, CpuVendor.Intel),
        new(MsrIndex.PredCmd, "IA32_PRED_CMD", MsrKind.Command, 0, 1, CpuVendor.Intel),
        new(MsrIndex.MicrocodeUpdate, "IA32_BIOS_UPDT_TRIG", MsrKind.Command, 0, All, CpuVendor.Intel),
        new(MsrIndex.BiosSignature, "IA32_BIOS_SIGN_ID", MsrKind.Ignored, 1ul << 32, All, CpuVendor.Intel),
        new(MsrIndex.BiosSignature, "PATCH_LEVEL", MsrKind.Ignored, 0x0100_0065, All, CpuVendor.Amd),
        new(MsrIndex.FsbFrequency, "MSR_FSB_FREQ", MsrKind.Constant, 3, 0, CpuVendor.Intel),
        new(MsrIndex.PlatformInfo, "MSR_PLATFORM_INFO", MsrKind.Constant, 0, 0, CpuVendor.Intel),
        new(MsrIndex.MtrrCap, "IA32_MTRRCAP", MsrKind.Constant, EightVariableFixedAndWc),
        new(MsrIndex.ArchCapabilities, "IA32_ARCH_CAPABILITIES", MsrKind.Constant, ArchCapabilities, 0, CpuVendor.Intel),
        new(MsrIndex.SysenterCs, "IA32_SYSENTER_CS", MsrKind.Engine),
        new(MsrIndex.SysenterEsp, "IA32_SYSENTER_ESP", MsrKind.Engine),
        new(MsrIndex.SysenterEip, "IA32_SYSENTER_EIP", MsrKind.Engine),
        new(MsrIndex.McgCap, "IA32_MCG_CAP", MsrKind.Constant),
        new(MsrIndex.McgStatus, "IA32_MCG_STATUS", MsrKind.Stored, 0, 7),
        new(MsrIndex.MiscEnable, "IA32_MISC_ENABLE", MsrKind.Stored, 1 | (1 << 11) | (1 << 12), All),
        new(MsrIndex.DebugCtl, "IA32_DEBUGCTL", MsrKind.Ignored, 0, 3),
        new(MsrIndex.LastBranchFrom, "MSR_LASTBRANCH_FROM_IP", MsrKind.Constant),
        new(MsrIndex.LastBranchTo, "MSR_LASTBRANCH_TO_IP", MsrKind.Constant),
        new(MsrIndex.LastInterruptFrom, "MSR_LASTINT_FROM_IP", MsrKind.Constant),
        new(MsrIndex.LastInterruptTo, "MSR_LASTINT_TO_IP", MsrKind.Constant),
        .. Enumerable.Range(0, 16).Select(i => new MsrDescription(
            MsrIndex.MtrrPhysBase0 + (uint)i, (i & 1) == 0 ? $"IA32_MTRR_PHYSBASE{i / 2}" : $"IA32_MTRR_PHYSMASK{i / 2}", MsrKind.Stored, 0,
            (i & 1) == 0 ? 0x000F_FFFF_FFFF_F0FFul : 0x000F_FFFF_FFFF_F800ul)),
        new(MsrIndex.MtrrFix64K, "IA32_MTRR_FIX64K_00000", MsrKind.Stored, 0, All),
        new(MsrIndex.MtrrFix16K8, "IA32_MTRR_FIX16K_80000", MsrKind.Stored, 0, All),
        new(MsrIndex.MtrrFix16KA, "IA32_MTRR_FIX16K_A0000", MsrKind.Stored, 0, All),
        .. Enumerable.Range(0, 8).Select(i => new MsrDescription(
            MsrIndex.MtrrFix4KC0 + (uint)i, $"IA32_MTRR_FIX4K_{0xC0000 + (i * 0x8000):X5}", MsrKind.Stored, 0, All)),
        new(MsrIndex.Pat, "IA32_PAT", MsrKind.Stored, PatAtReset, All),
        new(MsrIndex.MtrrDefType, "IA32_MTRR_DEF_TYPE", MsrKind.Stored, WriteBackByDefault, 0xCFF),
        new(MsrIndex.TscDeadline, "IA32_TSC_DEADLINE", MsrKind.Machine),
        .. Enumerable.Range((int)MsrIndex.X2ApicFirst, 0x100).Select(i => new MsrDescription((uint)i, $"IA32_X2APIC_{i - 0x800:X2}", MsrKind.Machine)),
        new(MsrIndex.PvWallClock, "MSR_KVM_WALL_CLOCK_NEW", MsrKind.Machine),
        new(MsrIndex.PvSystemTime, "MSR_KVM_SYSTEM_TIME_NEW", MsrKind.Machine),
        new(MsrIndex.Efer, "IA32_EFER", MsrKind.Engine),
        new(MsrIndex.Star, "IA32_STAR", MsrKind.Engine),
        new(MsrIndex.Lstar, "IA32_LSTAR", MsrKind.Engine),
        new(MsrIndex.Cstar, "IA32_CSTAR", MsrKind.Engine),
        new(MsrIndex.Sfmask, "IA32_FMASK", MsrKind.Engine),
        new(MsrIndex.FsBase, "IA32_FS_BASE", MsrKind.Engine),
        new(MsrIndex.GsBase, "IA32_GS_BASE", MsrKind.Engine),
        new(MsrIndex.KernelGsBase, "IA32_KERNEL_GS_BASE", MsrKind.Engine),
        new(MsrIndex.TscAux, "IA32_TSC_AUX", MsrKind.Engine),

        // Four performance counters that every processor since the K7 has, without a CPUID bit. They do not count, so they do not store either: Linux tests one by
        // a write, and uses none if the value does not persist; it would use a counter that persists but does not count.
        .. Enumerable.Range(0, 4).Select(i => new MsrDescription(MsrIndex.AmdPerfEvtSel0 + (uint)i, $"PERF_LEGACY_CTL{i}", MsrKind.Ignored, 0, All, CpuVendor.Amd)),
        .. Enumerable.Range(0, 4).Select(i => new MsrDescription(MsrIndex.AmdPerfCtr0 + (uint)i, $"PERF_LEGACY_CTR{i}", MsrKind.Ignored, 0, All, CpuVendor.Amd)),
        new(MsrIndex.AmdSysCfg, "SYSCFG", MsrKind.Ignored, 0, All, CpuVendor.Amd),

        // TscFreqSel: the counter runs at the P0 frequency; Linux calls the firmware faulty without it.
        new(MsrIndex.AmdHwcr, "HWCR", MsrKind.Stored, 1 << 24, 0x0104_0158, CpuVendor.Amd),
        new(MsrIndex.AmdTopMem, "TOP_MEM", MsrKind.Ignored, 0, All, CpuVendor.Amd),
        new(MsrIndex.AmdTopMem2, "TOP_MEM2", MsrKind.Ignored, 0, All, CpuVendor.Amd),
        new(MsrIndex.AmdNbCfg, "NB_CFG1", MsrKind.Ignored, 0, All, CpuVendor.Amd),
        new(MsrIndex.AmdPatchLoader, "PATCH_LOADER", MsrKind.Command, 0, All, CpuVendor.Amd),
        new(MsrIndex.AmdIntPendingMessage, "INT_PENDING_MSG", MsrKind.Ignored, 0, All, CpuVendor.Amd),
        new(MsrIndex.AmdMmioConfigBase, "MMIO_CFG_BASE_ADDR", MsrKind.Ignored, 0, All, CpuVendor.Amd),

        // SVM disabled and locked.
        new(MsrIndex.AmdVmCr, "VM_CR", MsrKind.Constant, (1 << 3) | (1 << 4), 0, CpuVendor.Amd),
        new(MsrIndex.AmdOsvwLength, "OSVW_ID_LENGTH", MsrKind.Constant, 0, 0, CpuVendor.Amd),
        new(MsrIndex.AmdOsvwStatus, "OSVW_STATUS", MsrKind.Constant, 0, 0, CpuVendor.Amd),
        new(MsrIndex.AmdLsCfg, "LS_CFG", MsrKind.Stored, 0, All, CpuVendor.Amd),
        new(MsrIndex.AmdIcCfg, "IC_CFG", MsrKind.Stored, 0, All, CpuVendor.Amd),
        new(MsrIndex.AmdDcCfg, "DC_CFG", MsrKind.Stored, 0, All, CpuVendor.Amd),
        new(MsrIndex.AmdTwCfg, "TW_CFG", MsrKind.Stored, 0, All, CpuVendor.Amd),
        new(MsrIndex.AmdFpCfg, "FP_CFG", MsrKind.Stored, 0, All, CpuVendor.Amd),

        // LFENCE serializes, as it does on the host.
        new(MsrIndex.AmdDeCfg, "DE_CFG", MsrKind.Stored, 1 << 1, All, CpuVendor.Amd),
        new(MsrIndex.AmdBuCfg2, "BU_CFG2", MsrKind.Stored, 0, All, CpuVendor.Amd),
        new(MsrIndex.AmdLsCfg2, "LS_CFG2", MsrKind.Stored, 0, All, CpuVendor.Amd),
        new(MsrIndex.AmdBpCfg, "BP_CFG", MsrKind.Stored, 0, All, CpuVendor.Amd),
    ];

    /// <summary>The registers of one vendor's processors, in ascending order.</summary>
    public static IEnumerable<MsrDescription> For(CpuVendor vendor) =>
        Entries.Where(e => e.Vendor is null || e.Vendor == vendor).OrderBy(e => e.Index);

    /// <summary>The name of a register, or its index in hexadecimal.</summary>
    public static string NameOf(uint index) => Entries.FirstOrDefault(e => e.Index == index)?.Name ?? $"MSR {index:X}";
}
