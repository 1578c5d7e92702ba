namespace Yadokari.Linux;

/// <summary>What the host's kernel lets user code do, from the auxiliary vector (getauxval(3)).</summary>
public static class HostFeatures
{
    // AT_HWCAP2 and HWCAP2_FSGSBASE of Linux (uapi/linux/auxvec.h, arch/x86/include/uapi/asm/hwcap2.h).
    private const ulong HardwareFlags = 26;
    private const ulong BasesFlag = 2;

    /// <summary>RDFSBASE, WRFSBASE and their like are for user code, and what they set is kept when another thread runs.</summary>
    public static bool UserBases { get; } = (Libc.AuxiliaryValue(HardwareFlags) & BasesFlag) != 0;
}
