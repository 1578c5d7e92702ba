using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Yadokari.X86.State;

namespace Yadokari.Translation;

/// <summary>The mode for which a block was translated: the processor state, outside the instruction bytes, that determines their meaning.</summary>
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

    /// <summary>CR4.SMAP with EFLAGS.AC at CPL below 3: the supervisor may access user pages.</summary>
    SupervisorAc = 8,

    /// <summary>EFLAGS.DF: string instructions decrement their addresses.</summary>
    Down = 16,

    /// <summary>x87 and SIMD instructions take #NM (CR0.TS): they are emulated.</summary>
    SimdTrap = 32,

    /// <summary>AVX instructions take #UD (no CR4.OSXSAVE, or XCR0 lacks the state).</summary>
    AvxTrap = 64,

    /// <summary>AVX-512 instructions take #UD.</summary>
    Avx512Trap = 128,

    /// <summary>At least one of CS, DS, ES, SS has a base other than zero.</summary>
    Based = 256,

    /// <summary>SS.B: the stack pointer is ESP (outside 64-bit mode).</summary>
    Stack32 = 512,

    /// <summary>Protected mode (CR0.PE), except virtual-8086 mode.</summary>
    Protected = 1024,

    /// <summary>Blocks of one instruction: EFLAGS.TF, single steps of a debugger, breakpoints.</summary>
    Single = 2048,

    /// <summary>SSE instructions take #UD (no CR4.OSFXSR); x87 and MMX do not.</summary>
    SseTrap = 4096,

    /// <summary>
    /// Outside 64-bit mode: DS, ES or SS does not allow reads and writes of all 4 GiB, so that accesses check limits; or CS is smaller than 4 GiB,
    /// so that branches do.
    /// </summary>
    Limited = 8192,

    /// <summary>x87 instructions take #NM, MMX and SSE instructions #UD (CR0.EM); AVX instructions do not.</summary>
    EmulationTrap = 16384,
}

/// <summary>
/// The state of a vCPU that translated code accesses, at the thread's gs base. Only the vCPU's own thread accesses it, except
/// <see cref="Pending"/>.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct VcpuState
{
    /// <summary>RAX RCX RDX RBX RSP RBP RSI RDI R8..R15. Valid while C# runs; translated code has most of them in host registers.</summary>
    public fixed ulong Gpr[16];

    /// <summary>Offset in CS of the next instruction. Valid while C# runs.</summary>
    public ulong Rip;

    /// <summary>Linear address of the page of the running code: the base of position-independent blocks.</summary>
    public ulong CodePage;

    /// <summary>Arithmetic flags in the format of LAHF and SETO in AX: AH = SF ZF 0 AF 0 PF 1 CF, AL = OF.</summary>
    public ulong FlagsAx;

    /// <summary>All other bits of RFLAGS (IF, DF, TF, IOPL, NT, RF, VM, AC, VIF, VIP, ID), and bit 1.</summary>
    public ulong SystemFlags;

    /// <summary>Not zero: translated code returns to C# at its next poll. The only field other threads write; at a multiple of 8.</summary>
    public int Pending;

    /// <summary>
    /// Not zero: an interrupt was pending at the last check in C#, and IF was clear. Translated code that sets IF tests this field and
    /// <see cref="Pending"/> with one access: they must be adjacent.
    /// </summary>
    public int InterruptWaiting;

    /// <summary>Not zero: a process that runs its program directly holds the guest's x87/SIMD state; C# must fetch it before it is used.</summary>
    public int ExtendedAway;

    /// <summary>Not zero: the guest's x87/SIMD state is in the host's registers rather than in <see cref="Xsave"/>.</summary>
    public int SimdLive;

    /// <summary>Guest RAX, while AX holds the arithmetic flags around an inserted check.</summary>
    public ulong SaveRax;

    /// <summary>Scratch of translated code.</summary>
    public ulong SaveRcx;

    /// <summary>Host stack pointer at the bottom of the return stack (<see cref="Code.Stubs"/>).</summary>
    public ulong HostRsp;

    /// <summary>Return address of the call by which translated code exited: the address of the <see cref="Code.Site"/>.</summary>
    public ulong ExitSite;

    /// <summary>The first scratch register at the exit: the address that missed, or the target of an indirect jump.</summary>
    public ulong ExitValue;

    /// <summary>Host address of the bounce buffer in use.</summary>
    public ulong BouncePointer;

    /// <summary>Number of the host signal that interrupted translated code; 0 if none.</summary>
    public ulong FaultSignal;

    /// <summary>Host instruction pointer at which <see cref="FaultSignal"/> arrived.</summary>
    public ulong FaultRip;

    /// <summary>Low bits of XSAVE's mask: the state components saved and restored for the guest.</summary>
    public ulong XsaveMask;

    /// <summary>MXCSR of the host's own code.</summary>
    public ulong HostMxcsr;

    /// <summary>EFER.LMA.</summary>
    public readonly bool LongMode => (Efer & 0x400) != 0;

    /// <summary>CR0.PE, except in virtual-8086 mode.</summary>
    public readonly bool ProtectedMode => (Cr0 & 1) != 0 && !Virtual8086;

    /// <summary>EFLAGS.VM.</summary>
    public readonly bool Virtual8086 => (SystemFlags & (1ul << 17)) != 0;

    /// <summary>Segment bases that translated code adds: ES CS SS DS FS GS.</summary>
    public fixed ulong SegmentBase[6];

    /// <summary>
    /// Outside 64-bit mode, the offset after the last readable byte of each segment. 0 if nothing is readable, or a comparison does not suffice
    /// (expand-down data).
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

    /// <summary>The current <see cref="AddressSpace.FetchEpoch"/>: a mapping of code that was checked in another epoch must be checked again.</summary>
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
    /// Not zero: translated code changed the privilege level by SYSCALL or SYSRET. The value is the new level plus one; CS and SS are flat, with
    /// the selectors in <see cref="Selectors"/>.
    /// </summary>
    public int FastCallLevel;

    /// <summary>Count of SYSCALL instructions, modulo 2^32.</summary>
    public uint SystemCalls;

    /// <summary>Count of runs of blocks of the pages given to <see cref="TranslatedCode.ReportRuns"/>, modulo 2^32.</summary>
    public uint ReportedRuns;

    /// <summary>Not zero: user code of the current address space is to run directly, so translated code exits on a return to it.</summary>
    public int DirectWanted;

    /// <summary>Host addresses found by a TLB check that several accesses of a block share.</summary>
    public fixed ulong SharedAddress[SharedAddresses];

    /// <summary>Number of shared checks that may be in use at one time.</summary>
    public const int SharedAddresses = 4;

    /// <summary>The quadword that the return address of the last indirect call overwrote.</summary>
    public ulong ReplacedTop;

    /// <summary>The last x87 instruction of translated code since C# read this field (<see cref="X87Pointers.Pack"/>), or 0.</summary>
    public uint X87Last;

    /// <summary>The segment of the last memory operand of the x87: 0 to 5 for ES CS SS DS FS GS.</summary>
    public int X87Segment;

    /// <summary>The linear page of <see cref="X87Last"/>.</summary>
    public ulong X87Page;

    /// <summary>Effective address of the last memory operand of the x87 since C# read this field, or <see cref="X87Pointers.NoOperand"/>.</summary>
    public ulong X87Operand;
}

/// <summary>Offsets from the gs base of <see cref="VcpuState"/> and the tables after it.</summary>
internal static unsafe class StateLayout
{
    /// <summary>XSAVE area, 64-byte aligned, standard format.</summary>
    public const int Xsave = 0x1000;

    /// <summary>Bytes reserved for the XSAVE area.</summary>
    public const int XsaveLength = 0x3000;

    /// <summary>Bounce buffer: two pages, so that an access may start at any offset of the first.</summary>
    public const int Bounce = 0x4000;

    /// <summary>Start of the software TLB.</summary>
    public const int Tlb = 0x10000;

    /// <summary>Entries of one TLB.</summary>
    public const int TlbEntries = 8192;

    /// <summary>Bytes of one TLB: entries of 16 bytes, negated page address then host page address.</summary>
    public const int TlbBytes = TlbEntries * 16;

    /// <summary>Read and write TLBs for the supervisor, the user, and the supervisor with AC.</summary>
    public const int TlbCount = 6;

    /// <summary>Start of the jump caches.</summary>
    public const int JumpCache = Tlb + TlbCount * TlbBytes;

    /// <summary>Entries of one jump cache.</summary>
    public const int JumpEntries = 16384;

    /// <summary>Bytes of one jump cache: entries of 16 bytes, linear address then host code.</summary>
    public const int JumpBytes = JumpEntries * 16;

    /// <summary>Jump caches: 64-bit supervisor and user, 32-bit supervisor and user.</summary>
    public const int JumpCaches = 4;

    private const CpuMode SimdTraps = CpuMode.SseTrap | CpuMode.AvxTrap | CpuMode.Avx512Trap | CpuMode.SimdTrap | CpuMode.EmulationTrap;

    /// <summary>Whether a mode is that of 32-bit code with flat segments, except FS and GS.</summary>
    public static bool IsFlat32(CpuMode mode)
        => (mode & (CpuMode.Code64 | CpuMode.Code32 | CpuMode.Stack32 | CpuMode.Based | CpuMode.Limited)) == (CpuMode.Code32 | CpuMode.Stack32);

    /// <summary>Offset of the jump cache for blocks of a mode; 0 if their jumps are not cached.</summary>
    public static int JumpCacheOf(CpuMode mode)
        => (mode & ~(SimdTraps | CpuMode.Protected)) switch
        {
            CpuMode.Code64 => JumpCache,
            CpuMode.Code64 | CpuMode.User => JumpCache + JumpBytes,
            CpuMode.Code32 | CpuMode.Stack32 => JumpCache + (2 * JumpBytes),
            CpuMode.Code32 | CpuMode.Stack32 | CpuMode.User => JumpCache + (3 * JumpBytes),
            _ => 0,
        };

    /// <summary>Bytes of the state and the tables of one address space.</summary>
    public const int Total = JumpCache + JumpCaches * JumpBytes;

    /// <summary>Bytes of the tables of one address space: TLBs and jump caches.</summary>
    public const int TableBytes = Total - Tlb;

    /// <summary>Number of address spaces (PCIDs) with tables.</summary>
    public const int AddressSpaces = 8;

    /// <summary>Offset of a field from the gs base.</summary>
    public static int Of(string field) => (int)Marshal.OffsetOf<VcpuState>(field);

    /// <summary>Offset of a general register's slot.</summary>
    public static int Gpr(int index) => index * 8;

    /// <summary>Offset of a segment's selector.</summary>
    public static int Selector(int index) => Of(nameof(VcpuState.Selectors)) + index * 4;

    /// <summary>Offset of one of <see cref="VcpuState.SharedAddress"/>.</summary>
    public static int SharedAddress(int index) => Of(nameof(VcpuState.SharedAddress)) + index * 8;

    /// <summary>Offset of a segment's <see cref="VcpuState.ReadEnd"/> or <see cref="VcpuState.WriteEnd"/>.</summary>
    public static int SegmentEnd(int index, bool write) => Of(write ? nameof(VcpuState.WriteEnd) : nameof(VcpuState.ReadEnd)) + index * 8;

    /// <summary>Offset of a segment's base.</summary>
    public static int SegmentBase(int index) => Of(nameof(VcpuState.SegmentBase)) + index * 8;
}
