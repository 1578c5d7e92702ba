using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Yadokari.X86.State;

namespace Yadokari.Translation;

/// <summary>The mode a block was translated for: everything outside the bytes themselves that decides what they mean.</summary>
[Flags]
internal enum CpuMode : ushort
{
    None = 0,

    /// <summary>64-bit code. Without this and <see cref="Code32"/>: 16-bit code.</summary>
    Code64 = 1,

    /// <summary>CS.D: default operand and address size 32.</summary>
    Code32 = 2,

    /// <summary>CPL 3.</summary>
    User = 4,

    /// <summary>CR4.SMAP with EFLAGS.AC at CPL below 3: user pages are open to the supervisor.</summary>
    SupervisorAc = 8,

    /// <summary>EFLAGS.DF: string instructions run downwards.</summary>
    Down = 16,

    /// <summary>x87 and SIMD instructions take #NM (CR0.TS): they go through the emulator.</summary>
    SimdTrap = 32,

    /// <summary>AVX instructions take #UD (no CR4.OSXSAVE, or XCR0 lacks the state).</summary>
    AvxTrap = 64,

    /// <summary>AVX-512 instructions take #UD.</summary>
    Avx512Trap = 128,

    /// <summary>Some of CS, DS, ES, SS has a base that is not zero.</summary>
    Based = 256,

    /// <summary>SS.B: stack pointer is ESP (outside 64-bit mode).</summary>
    Stack32 = 512,

    /// <summary>Protected mode (CR0.PE); virtual-8086 counts as not.</summary>
    Protected = 1024,

    /// <summary>One instruction a block: EFLAGS.TF, a debugger's step, breakpoints.</summary>
    Single = 2048,

    /// <summary>SSE instructions take #UD (no CR4.OSFXSR); x87 and MMX do not.</summary>
    SseTrap = 4096,

    /// <summary>
    /// Some of DS, ES, SS is not all of 4 GiB to read and write, outside 64-bit mode: accesses look at limits. Or CS is not: then branches do.
    /// </summary>
    Limited = 8192,

    /// <summary>x87 instructions take #NM, MMX and SSE instructions #UD (CR0.EM); AVX instructions do not.</summary>
    EmulationTrap = 16384,
}

/// <summary>
/// The vCPU as translated code sees it, at the thread's gs base. Only the vCPU's own thread touches it, but for <see cref="Pending"/>.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct VcpuState
{
    /// <summary>RAX RCX RDX RBX RSP RBP RSI RDI R8..R15. Valid while C# runs; while translated code runs most live in host registers.</summary>
    public fixed ulong Gpr[16];

    /// <summary>Offset in CS of the next instruction. Valid while C# runs.</summary>
    public ulong Rip;

    /// <summary>Linear address of the page that holds the code that runs: what translated code adds its offsets to.</summary>
    public ulong CodePage;

    /// <summary>Arithmetic flags as LAHF and SETO leave them in AX: AH = SF ZF 0 AF 0 PF 1 CF, AL = OF.</summary>
    public ulong FlagsAx;

    /// <summary>All other bits of RFLAGS (IF, DF, TF, IOPL, NT, RF, VM, AC, VIF, VIP, ID), and bit 1.</summary>
    public ulong SystemFlags;

    /// <summary>Not zero: translated code returns to C# at its next poll. The only field other threads write; at a multiple of 8.</summary>
    public int Pending;

    /// <summary>
    /// Not zero: an interrupt was there to take when C# last looked, and IF was clear. Translated code that sets IF asks for this and
    /// <see cref="Pending"/> at once: they stand side by side.
    /// </summary>
    public int InterruptWaiting;

    /// <summary>Not zero: the guest's x87/SIMD state is in a process that runs its program directly; C# is to fetch it before it is used.</summary>
    public int ExtendedAway;

    /// <summary>Not zero: the guest's x87/SIMD state is in the host's registers rather than in <see cref="Xsave"/>.</summary>
    public int SimdLive;

    /// <summary>Guest RAX, while AX holds the arithmetic flags around an inserted check.</summary>
    public ulong SaveRax;

    /// <summary>Scratch of translated code.</summary>
    public ulong SaveRcx;

    /// <summary>Host stack pointer where no call waits for its return: see <see cref="Code.Stubs"/>.</summary>
    public ulong HostRsp;

    /// <summary>Host address after the call by which translated code left: what follows is the site's number.</summary>
    public ulong ExitSite;

    /// <summary>The first scratch register at the exit: the address that missed, or the target of an indirect jump.</summary>
    public ulong ExitValue;

    /// <summary>Host address of the bounce buffer in use.</summary>
    public ulong BouncePointer;

    /// <summary>Number of the host signal that ended the last instruction, or 0; then its host instruction pointer.</summary>
    public ulong FaultSignal;

    /// <summary>Host instruction pointer at which <see cref="FaultSignal"/> arrived.</summary>
    public ulong FaultRip;

    /// <summary>Low bits of XSAVE's mask: the state components saved and restored for the guest.</summary>
    public ulong XsaveMask;

    /// <summary>MXCSR of the host's own code.</summary>
    public ulong HostMxcsr;

    /// <summary>EFER.LMA.</summary>
    public readonly bool LongMode => (Efer & 0x400) != 0;

    /// <summary>CR0.PE; virtual-8086 mode counts as not.</summary>
    public readonly bool ProtectedMode => (Cr0 & 1) != 0 && !Virtual8086;

    /// <summary>EFLAGS.VM.</summary>
    public readonly bool Virtual8086 => (SystemFlags & (1ul << 17)) != 0;

    /// <summary>Segment bases that translated code adds: ES CS SS DS FS GS.</summary>
    public fixed ulong SegmentBase[6];

    /// <summary>
    /// Outside 64-bit mode, the offset after the last byte of each segment that may be read. 0 where more than a comparison is needed
    /// (expand-down data), or nothing may.
    /// </summary>
    public fixed ulong ReadEnd[6];

    /// <summary>As <see cref="ReadEnd"/>, for writes.</summary>
    public fixed ulong WriteEnd[6];

    /// <summary>Difference between the guest's TSC and the host's.</summary>
    public ulong TscOffset;

    /// <summary>CR0.</summary>
    public ulong Cr0;

    /// <summary>CR2.</summary>
    public ulong Cr2;

    /// <summary>CR3.</summary>
    public ulong Cr3;

    /// <summary>CR4.</summary>
    public ulong Cr4;

    /// <summary>IA32_KERNEL_GS_BASE.</summary>
    public ulong KernelGsBase;

    /// <summary>IA32_TSC_AUX.</summary>
    public ulong TscAux;

    /// <summary>The current <see cref="AddressSpace.FetchEpoch"/>: with another one, what was learnt of code's whereabouts must be looked at again.</summary>
    public int FetchEpoch;

    /// <summary>As <see cref="FetchEpoch"/>, for code in global pages: changes only when those are flushed.</summary>
    public int GlobalFetchEpoch;

    /// <summary>Selectors of ES CS SS DS FS GS.</summary>
    public fixed uint Selectors[6];

    /// <summary>IA32_EFER.</summary>
    public ulong Efer;

    /// <summary>IA32_STAR.</summary>
    public ulong Star;

    /// <summary>IA32_LSTAR.</summary>
    public ulong Lstar;

    /// <summary>IA32_FMASK.</summary>
    public ulong Fmask;

    /// <summary>
    /// Not zero: translated code came to another level by SYSCALL or SYSRET. This is that level and one; CS and SS are flat, with the
    /// selectors above.
    /// </summary>
    public int FastCallLevel;

    /// <summary>SYSCALLs so far, modulo 2^32.</summary>
    public uint SystemCalls;

    /// <summary>Runs so far, modulo 2^32, of blocks of the pages that <see cref="TranslatedCode.ReportRuns"/> names.</summary>
    public uint ReportedRuns;

    /// <summary>Not zero: user code of the current address space is to run directly, so that a return to it is C#'s.</summary>
    public int DirectWanted;

    /// <summary>Host addresses that one check found for several accesses of a block.</summary>
    public fixed ulong SharedAddress[SharedAddresses];

    /// <summary>Of so many runs of accesses at a time.</summary>
    public const int SharedAddresses = 4;

    /// <summary>What stood on the stack where an indirect call put its return address.</summary>
    public ulong ReplacedTop;

    /// <summary>The last x87 instruction that translated code ran since C# looked (<see cref="X87Pointers.Pack"/>), or 0.</summary>
    public uint X87Last;

    /// <summary>The segment of its operand, or of that of one before it: 0 to 5 as ES CS SS DS FS GS.</summary>
    public int X87Segment;

    /// <summary>The linear page of <see cref="X87Last"/>.</summary>
    public ulong X87Page;

    /// <summary>Effective address of the last memory operand of the x87 since C# looked, or <see cref="X87Pointers.NoOperand"/>.</summary>
    public ulong X87Operand;
}

/// <summary>Offsets of <see cref="VcpuState"/> and what follows it, from the gs base.</summary>
internal static unsafe class StateLayout
{
    /// <summary>XSAVE area, 64-byte aligned, standard format.</summary>
    public const int Xsave = 0x1000;

    /// <summary>Bytes kept for the XSAVE area.</summary>
    public const int XsaveLength = 0x3000;

    /// <summary>Bounce buffer: two pages, so that any alignment within a page can be had.</summary>
    public const int Bounce = 0x4000;

    /// <summary>Start of the software TLB.</summary>
    public const int Tlb = 0x10000;

    /// <summary>Entries of one TLB.</summary>
    public const int TlbEntries = 8192;

    /// <summary>Bytes of one TLB: entries of 16 bytes, negated page address then host page address.</summary>
    public const int TlbBytes = TlbEntries * 16;

    /// <summary>Read and write TLBs for the supervisor, the user, and the supervisor with AC.</summary>
    public const int TlbCount = 6;

    /// <summary>Start of the jump caches: one for the supervisor, one for the user.</summary>
    public const int JumpCache = Tlb + TlbCount * TlbBytes;

    /// <summary>Entries of one jump cache.</summary>
    public const int JumpEntries = 16384;

    /// <summary>Bytes of one jump cache: entries of 16 bytes, linear address then host code.</summary>
    public const int JumpBytes = JumpEntries * 16;

    /// <summary>Jump caches: 64-bit supervisor and user, 32-bit supervisor and user.</summary>
    public const int JumpCaches = 4;

    private const CpuMode SimdTraps = CpuMode.SseTrap | CpuMode.AvxTrap | CpuMode.Avx512Trap | CpuMode.SimdTrap | CpuMode.EmulationTrap;

    /// <summary>Whether a mode is that of 32-bit code all of whose segments, but for FS and GS, begin at 0 and end at 4 GiB.</summary>
    public static bool IsFlat32(CpuMode mode)
        => (mode & (CpuMode.Code64 | CpuMode.Code32 | CpuMode.Stack32 | CpuMode.Based | CpuMode.Limited)) == (CpuMode.Code32 | CpuMode.Stack32);

    /// <summary>Offset of the jump cache for blocks of a mode, or 0 where their jumps are not cached.</summary>
    public static int JumpCacheOf(CpuMode mode)
        => (mode & ~(SimdTraps | CpuMode.Protected)) switch
        {
            CpuMode.Code64 => JumpCache,
            CpuMode.Code64 | CpuMode.User => JumpCache + JumpBytes,
            CpuMode.Code32 | CpuMode.Stack32 => JumpCache + (2 * JumpBytes),
            CpuMode.Code32 | CpuMode.Stack32 | CpuMode.User => JumpCache + (3 * JumpBytes),
            _ => 0,
        };

    /// <summary>Bytes of everything, as one address space sees it.</summary>
    public const int Total = JumpCache + JumpCaches * JumpBytes;

    /// <summary>Bytes of what each address space has of its own: TLB and jump caches.</summary>
    public const int TableBytes = Total - Tlb;

    /// <summary>Address spaces kept at a time.</summary>
    public const int AddressSpaces = 8;

    /// <summary>Offset of a field from the gs base.</summary>
    public static int Of(string field) => (int)Marshal.OffsetOf<VcpuState>(field);

    /// <summary>Offset of a general register's slot.</summary>
    public static int Gpr(int index) => index * 8;

    /// <summary>Offset of a segment's selector.</summary>
    public static int Selector(int index) => Of(nameof(VcpuState.Selectors)) + index * 4;

    /// <summary>Offset of one of <see cref="VcpuState.SharedAddress"/>.</summary>
    public static int SharedAddress(int index) => Of(nameof(VcpuState.SharedAddress)) + index * 8;

    /// <summary>Offset of where a segment ends for reads or writes.</summary>
    public static int SegmentEnd(int index, bool write) => Of(write ? nameof(VcpuState.WriteEnd) : nameof(VcpuState.ReadEnd)) + index * 8;

    /// <summary>Offset of a segment's base.</summary>
    public static int SegmentBase(int index) => Of(nameof(VcpuState.SegmentBase)) + index * 8;
}
