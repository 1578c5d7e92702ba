namespace Yadokari.X86.State;

/// <summary>
/// All of the architectural state of one x86-64 processor: the one exchange format between engines, debuggers and snapshots. What is not
/// here is the machine's: memory, the local APIC, and the clock that the time-stamp counter counts by (<see cref="Core.Engines.IGuestClock"/>),
/// from which it differs by IA32_TSC_ADJUST.
/// </summary>
public sealed partial class X86State
{
    /// <summary>RAX RCX RDX RBX RSP RBP RSI RDI R8 to R15: the order of their encoding.</summary>
    public ulong[] Gpr { get; } = new ulong[16];

    /// <summary>Instruction pointer: offset in CS.</summary>
    public ulong Rip { get; set; }

    /// <summary>RFLAGS; bit 1 always set.</summary>
    public ulong Rflags { get; set; } = 2;

    /// <summary>ES CS SS DS FS GS: the order of their encoding.</summary>
    public SegmentState[] Segments { get; } = new SegmentState[6];

    /// <summary>Task register.</summary>
    public SegmentState Tr { get; set; }

    /// <summary>Local descriptor table register.</summary>
    public SegmentState Ldtr { get; set; }

    /// <summary>Global descriptor table register.</summary>
    public TableState Gdtr { get; set; }

    /// <summary>Interrupt descriptor table register.</summary>
    public TableState Idtr { get; set; }

    /// <summary>Control register 0.</summary>
    public ulong Cr0 { get; set; }

    /// <summary>Page-fault linear address.</summary>
    public ulong Cr2 { get; set; }

    /// <summary>Page-table base and PCID.</summary>
    public ulong Cr3 { get; set; }

    /// <summary>Control register 4.</summary>
    public ulong Cr4 { get; set; }

    /// <summary>Extended state enabled by XSETBV.</summary>
    public ulong Xcr0 { get; set; } = 1;

    /// <summary>Extended feature enable register.</summary>
    public ulong Efer { get; set; }

    /// <summary>DR0 to DR3, unused, unused, DR6, DR7.</summary>
    public ulong[] Dr { get; } = new ulong[8];

    /// <summary>NMIs that wait to be taken: one more may wait than one whose handler runs, so 0 to 2.</summary>
    public int NmisPending { get; set; }

    /// <summary>An NMI's handler runs: another one waits until the next IRET (Intel SDM volume 3, 6.7.1).</summary>
    public bool NmiBlocked { get; set; }

    /// <summary>
    /// Interrupts and NMIs are held off until one more instruction has run: the last one was STI with interrupts disabled, or it loaded SS
    /// (Intel SDM volume 3, 6.8.3).
    /// </summary>
    public bool InterruptShadow { get; set; }

    /// <summary>
    /// Breakpoints, as B0 to B3 of DR6, that an instruction hit which loaded SS: #DB follows after the next one (Intel SDM volume 3, 6.8.3).
    /// </summary>
    public ulong PendingDebugExceptions { get; set; }

    /// <summary>
    /// An exception or interrupt that the processor took and is about to deliver, through the IDT, before it executes anything. Null where
    /// there is none.
    /// </summary>
    public PendingEvent? PendingEvent { get; set; }

    /// <summary>Address line 20 is open; while it is not, bit 20 of every physical address is 0.</summary>
    public bool A20 { get; set; } = true;

    /// <summary>Whether it executes instructions.</summary>
    public ActivityState Activity { get; set; }

    /// <summary>
    /// Model-specific registers that have no member of their own, by index: of those that engines know IA32_TSC_ADJUST, IA32_SYSENTER_CS, _ESP
    /// and _EIP, IA32_STAR, _LSTAR, _CSTAR and _FMASK, IA32_KERNEL_GS_BASE and IA32_TSC_AUX, and all of <see cref="Msrs.MsrKind.Stored"/>.
    /// </summary>
    public Dictionary<uint, ulong> Msrs { get; } = [];

    /// <summary>x87, SSE, AVX and AVX-512 state as an XSAVE area in the standard format (Intel SDM volume 1, 13.4).</summary>
    public byte[] Xsave { get; set; } = [];

    /// <summary>FCS, the selector of the last x87 instruction's code, for which the 64-bit format of <see cref="Xsave"/> has no place.</summary>
    public ushort X87CodeSelector { get; set; }

    /// <summary>FDS, the selector of the last x87 operand's segment, likewise.</summary>
    public ushort X87DataSelector { get; set; }

    /// <summary>Makes <paramref name="to"/> equal to this, with nothing shared.</summary>
    public void CopyTo(X86State to)
    {
        Gpr.CopyTo(to.Gpr, 0);
        to.Rip = Rip;
        to.Rflags = Rflags;
        Segments.CopyTo(to.Segments, 0);
        to.Tr = Tr;
        to.Ldtr = Ldtr;
        to.Gdtr = Gdtr;
        to.Idtr = Idtr;
        to.Cr0 = Cr0;
        to.Cr2 = Cr2;
        to.Cr3 = Cr3;
        to.Cr4 = Cr4;
        to.Xcr0 = Xcr0;
        to.Efer = Efer;
        Dr.CopyTo(to.Dr, 0);
        to.NmisPending = NmisPending;
        to.NmiBlocked = NmiBlocked;
        to.InterruptShadow = InterruptShadow;
        to.PendingDebugExceptions = PendingDebugExceptions;
        to.PendingEvent = PendingEvent;
        to.A20 = A20;
        to.Activity = Activity;
        to.Msrs.Clear();
        foreach ((uint index, ulong value) in Msrs)
        {
            to.Msrs[index] = value;
        }

        to.Xsave = [.. Xsave];
        to.X87CodeSelector = X87CodeSelector;
        to.X87DataSelector = X87DataSelector;
    }
}
