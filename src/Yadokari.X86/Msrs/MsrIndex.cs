#pragma warning disable CS1591 // The names are those of the manuals; MsrTable describes the registers.

namespace Yadokari.X86.Msrs;

/// <summary>Indices of model-specific registers (Intel SDM volume 4; AMD APM volume 2, appendix A, and the processors' PPRs).</summary>
public static class MsrIndex
{
    public const uint Tsc = 0x10;
    public const uint PlatformId = 0x17;
    public const uint ApicBase = 0x1B;
    public const uint EblCrPowerOn = 0x2A;
    public const uint FeatureControl = 0x3A;
    public const uint TscAdjust = 0x3B;
    public const uint SpecCtrl = 0x48;
    public const uint PredCmd = 0x49;
    public const uint MicrocodeUpdate = 0x79;
    public const uint BiosSignature = 0x8B;
    public const uint FsbFrequency = 0xCD;
    public const uint PlatformInfo = 0xCE;
    public const uint MtrrCap = 0xFE;
    public const uint ArchCapabilities = 0x10A;
    public const uint SysenterCs = 0x174;
    public const uint SysenterEsp = 0x175;
    public const uint SysenterEip = 0x176;
    public const uint McgCap = 0x179;
    public const uint McgStatus = 0x17A;
    public const uint MiscEnable = 0x1A0;
    public const uint DebugCtl = 0x1D9;
    public const uint LastBranchFrom = 0x1DB;
    public const uint LastBranchTo = 0x1DC;
    public const uint LastInterruptFrom = 0x1DD;
    public const uint LastInterruptTo = 0x1DE;
    public const uint MtrrPhysBase0 = 0x200;
    public const uint MtrrFix64K = 0x250;
    public const uint MtrrFix16K8 = 0x258;
    public const uint MtrrFix16KA = 0x259;
    public const uint MtrrFix4KC0 = 0x268;
    public const uint Pat = 0x277;
    public const uint MtrrDefType = 0x2FF;
    public const uint TscDeadline = 0x6E0;
    public const uint PvWallClock = 0x4B564D00;
    public const uint PvSystemTime = 0x4B564D01;
    public const uint X2ApicFirst = 0x800;
    public const uint X2ApicLast = 0x8FF;
    public const uint Efer = 0xC0000080;
    public const uint Star = 0xC0000081;
    public const uint Lstar = 0xC0000082;
    public const uint Cstar = 0xC0000083;
    public const uint Sfmask = 0xC0000084;
    public const uint FsBase = 0xC0000100;
    public const uint GsBase = 0xC0000101;
    public const uint KernelGsBase = 0xC0000102;
    public const uint TscAux = 0xC0000103;
    public const uint AmdPerfEvtSel0 = 0xC0010000;
    public const uint AmdPerfCtr0 = 0xC0010004;
    public const uint AmdSysCfg = 0xC0010010;
    public const uint AmdHwcr = 0xC0010015;
    public const uint AmdTopMem = 0xC001001A;
    public const uint AmdTopMem2 = 0xC001001D;
    public const uint AmdNbCfg = 0xC001001F;
    public const uint AmdPatchLoader = 0xC0010020;
    public const uint AmdIntPendingMessage = 0xC0010055;
    public const uint AmdMmioConfigBase = 0xC0010058;
    public const uint AmdVmCr = 0xC0010114;
    public const uint AmdOsvwLength = 0xC0010140;
    public const uint AmdOsvwStatus = 0xC0010141;
    public const uint AmdLsCfg = 0xC0011020;
    public const uint AmdIcCfg = 0xC0011021;
    public const uint AmdDcCfg = 0xC0011022;
    public const uint AmdTwCfg = 0xC0011023;
    public const uint AmdFpCfg = 0xC0011028;
    public const uint AmdDeCfg = 0xC0011029;
    public const uint AmdBuCfg2 = 0xC001102A;
    public const uint AmdLsCfg2 = 0xC001102D;
    public const uint AmdBpCfg = 0xC001102E;
}
