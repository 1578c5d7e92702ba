namespace Yadokari.Linux;

/// <summary>Processor features that the host's kernel enables for user code, from the auxiliary vector (getauxval(3)).</summary>
public static class HostFeatures
{
    // AT_HWCAP2 and HWCAP2_FSGSBASE of Linux (uapi/linux/auxvec.h, arch/x86/include/uapi/asm/hwcap2.h).
    private const ulong HardwareFlags = 26;
    private const ulong BasesFlag = 2;

    /// <summary>User code may use RDFSBASE, WRFSBASE, RDGSBASE and WRGSBASE, and the kernel preserves the bases when it switches threads.</summary>
    public static bool UserBases { get; } = (Libc.AuxiliaryValue(HardwareFlags) & BasesFlag) != 0;
}
