namespace Yadokari.X86;

/// <summary>Bits of CR0 (Intel SDM volume 3, 2.5).</summary>
public static class Cr0
{
    /// <summary>Protection enable.</summary>
    public const ulong PE = 1ul << 0;

    /// <summary>Monitor coprocessor.</summary>
    public const ulong MP = 1ul << 1;

    /// <summary>x87 emulation: x87 instructions raise #NM.</summary>
    public const ulong EM = 1ul << 2;

    /// <summary>Task switched: the next x87 or SIMD instruction raises #NM.</summary>
    public const ulong TS = 1ul << 3;

    /// <summary>Extension type; reads as one.</summary>
    public const ulong ET = 1ul << 4;

    /// <summary>Numeric errors by #MF.</summary>
    public const ulong NE = 1ul << 5;

    /// <summary>Write protect: supervisor writes honour read-only pages.</summary>
    public const ulong WP = 1ul << 16;

    /// <summary>Alignment mask: enables #AC.</summary>
    public const ulong AM = 1ul << 18;

    /// <summary>Not write-through.</summary>
    public const ulong NW = 1ul << 29;

    /// <summary>Cache disable.</summary>
    public const ulong CD = 1ul << 30;

    /// <summary>Paging.</summary>
    public const ulong PG = 1ul << 31;

    /// <summary>After reset: ET, NW, CD.</summary>
    public const ulong Reset = ET | NW | CD;

    /// <summary>Every bit that a write may carry; a set bit above 31 is #GP, others here unnamed are ignored.</summary>
    public const ulong Defined = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
}

/// <summary>Bits of CR4 (Intel SDM volume 3, 2.5).</summary>
public static class Cr4
{
    /// <summary>Virtual-8086 mode extensions.</summary>
    public const ulong VME = 1ul << 0;

    /// <summary>Protected-mode virtual interrupts.</summary>
    public const ulong PVI = 1ul << 1;

    /// <summary>RDTSC and RDTSCP only for CPL 0.</summary>
    public const ulong TSD = 1ul << 2;

    /// <summary>Debugging extensions: DR4 and DR5 are #UD.</summary>
    public const ulong DE = 1ul << 3;

    /// <summary>4 MiB pages in 32-bit paging.</summary>
    public const ulong PSE = 1ul << 4;

    /// <summary>Physical address extension.</summary>
    public const ulong PAE = 1ul << 5;

    /// <summary>Machine-check enable.</summary>
    public const ulong MCE = 1ul << 6;

    /// <summary>Global pages.</summary>
    public const ulong PGE = 1ul << 7;

    /// <summary>RDPMC for every CPL.</summary>
    public const ulong PCE = 1ul << 8;

    /// <summary>The system saves SSE state.</summary>
    public const ulong OSFXSR = 1ul << 9;

    /// <summary>The system handles #XM.</summary>
    public const ulong OSXMMEXCPT = 1ul << 10;

    /// <summary>User-mode instruction prevention.</summary>
    public const ulong UMIP = 1ul << 11;

    /// <summary>57-bit linear addresses.</summary>
    public const ulong LA57 = 1ul << 12;

    /// <summary>VMX enable.</summary>
    public const ulong VMXE = 1ul << 13;

    /// <summary>RDFSBASE and family.</summary>
    public const ulong FSGSBASE = 1ul << 16;

    /// <summary>Process-context identifiers.</summary>
    public const ulong PCIDE = 1ul << 17;

    /// <summary>XSAVE and extended states.</summary>
    public const ulong OSXSAVE = 1ul << 18;

    /// <summary>Supervisor-mode execution prevention.</summary>
    public const ulong SMEP = 1ul << 20;

    /// <summary>Supervisor-mode access prevention.</summary>
    public const ulong SMAP = 1ul << 21;

    /// <summary>Protection keys for user pages.</summary>
    public const ulong PKE = 1ul << 22;

    /// <summary>Control-flow enforcement.</summary>
    public const ulong CET = 1ul << 23;

    /// <summary>Protection keys for supervisor pages.</summary>
    public const ulong PKS = 1ul << 24;
}

/// <summary>Bits of IA32_EFER (Intel SDM volume 3, 2.2.1; AMD APM volume 2, 3.1.7).</summary>
public static class Efer
{
    /// <summary>SYSCALL enable.</summary>
    public const ulong SCE = 1ul << 0;

    /// <summary>Long mode enable.</summary>
    public const ulong LME = 1ul << 8;

    /// <summary>Long mode active; read-only.</summary>
    public const ulong LMA = 1ul << 10;

    /// <summary>No-execute enable.</summary>
    public const ulong NXE = 1ul << 11;

    /// <summary>SVM enable (AMD).</summary>
    public const ulong SVME = 1ul << 12;

    /// <summary>Long-mode segment limits (AMD).</summary>
    public const ulong LMSLE = 1ul << 13;

    /// <summary>Fast FXSAVE and FXRSTOR (AMD).</summary>
    public const ulong FFXSR = 1ul << 14;

    /// <summary>Translation cache extension (AMD).</summary>
    public const ulong TCE = 1ul << 15;

    /// <summary>Automatic IBRS (AMD).</summary>
    public const ulong AUTOIBRS = 1ul << 21;
}

/// <summary>Bits of RFLAGS (Intel SDM volume 1, 3.4.3).</summary>
public static class Rflags
{
    /// <summary>Carry.</summary>
    public const ulong CF = 1ul << 0;

    /// <summary>Bit 1, always one.</summary>
    public const ulong Fixed = 1ul << 1;

    /// <summary>Parity.</summary>
    public const ulong PF = 1ul << 2;

    /// <summary>Auxiliary carry.</summary>
    public const ulong AF = 1ul << 4;

    /// <summary>Zero.</summary>
    public const ulong ZF = 1ul << 6;

    /// <summary>Sign.</summary>
    public const ulong SF = 1ul << 7;

    /// <summary>Trap: single step.</summary>
    public const ulong TF = 1ul << 8;

    /// <summary>Interrupt enable.</summary>
    public const ulong IF = 1ul << 9;

    /// <summary>Direction.</summary>
    public const ulong DF = 1ul << 10;

    /// <summary>Overflow.</summary>
    public const ulong OF = 1ul << 11;

    /// <summary>I/O privilege level, two bits.</summary>
    public const ulong IOPL = 3ul << 12;

    /// <summary>Where <see cref="IOPL"/> begins.</summary>
    public const int IoplShift = 12;

    /// <summary>Nested task.</summary>
    public const ulong NT = 1ul << 14;

    /// <summary>Resume.</summary>
    public const ulong RF = 1ul << 16;

    /// <summary>Virtual-8086 mode.</summary>
    public const ulong VM = 1ul << 17;

    /// <summary>Alignment check, and access control under SMAP.</summary>
    public const ulong AC = 1ul << 18;

    /// <summary>Virtual interrupt flag.</summary>
    public const ulong VIF = 1ul << 19;

    /// <summary>Virtual interrupt pending.</summary>
    public const ulong VIP = 1ul << 20;

    /// <summary>CPUID may be used when this can be changed.</summary>
    public const ulong ID = 1ul << 21;

    /// <summary>CF PF AF ZF SF OF: what arithmetic changes.</summary>
    public const ulong Arithmetic = CF | PF | AF | ZF | SF | OF;

    /// <summary>Every bit that exists, without <see cref="Fixed"/>.</summary>
    public const ulong Defined =
        Arithmetic | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
}

/// <summary>Bits of DR6 and DR7 (Intel SDM volume 3, 18.2).</summary>
public static class DebugRegisters
{
    /// <summary>DR6: breakpoint conditions B0 to B3.</summary>
    public const ulong Breakpoints = 0xF;

    /// <summary>DR6: an access to a debug register was stopped.</summary>
    public const ulong BD = 1ul << 13;

    /// <summary>DR6: single step.</summary>
    public const ulong BS = 1ul << 14;

    /// <summary>DR6: task switch.</summary>
    public const ulong BT = 1ul << 15;

    /// <summary>DR6 bits that always read as one (bit 16, RTM, among them because TSX is hidden; bit 11 because bus-lock detection is).</summary>
    public const ulong Dr6Fixed = 0xFFFF0FF0;

    /// <summary>DR6 bits that may be written.</summary>
    public const ulong Dr6Writable = Breakpoints | BD | BS | BT;

    /// <summary>DR7: any breakpoint enabled.</summary>
    public const ulong Enables = 0xFF;

    /// <summary>DR7: general detect.</summary>
    public const ulong GD = 1ul << 13;

    /// <summary>DR7 bit 10, always one.</summary>
    public const ulong Dr7Fixed = 1ul << 10;

    /// <summary>DR7 bits that may be written.</summary>
    public const ulong Dr7Writable = 0xFFFF23FF;
}
