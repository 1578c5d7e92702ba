namespace Yadokari;

/// <summary>The mode that flat code starts in.</summary>
public enum FlatMode
{
    /// <summary>Real mode: 16-bit code, linear addresses from 0 to 0x10FFEF, A20 on, no paging and so no rights.</summary>
    Real16,

    /// <summary>16-bit protected code: segments from 0 to 0xFFFF.</summary>
    Protected16,

    /// <summary>32-bit protected code over flat segments, with PAE paging.</summary>
    Protected32,

    /// <summary>32-bit code under long mode, as 64-bit systems run 32-bit programs.</summary>
    Compatibility32,

    /// <summary>64-bit code.</summary>
    Long64,
}

/// <summary>Access rights of memory.</summary>
[Flags]
public enum MemoryRights
{
    /// <summary>Reading, which mapped memory always allows.</summary>
    Read = 1,

    /// <summary>Writing.</summary>
    Write = 2,

    /// <summary>Executing.</summary>
    Execute = 4,

    /// <summary>All three.</summary>
    All = Read | Write | Execute,
}

/// <summary>Options of a <see cref="FlatMachine"/>.</summary>
public sealed record FlatOptions
{
    /// <summary>Code runs at privilege level 3 rather than 0. Not in real mode.</summary>
    public bool User { get; init; }

    /// <summary>Memory size in bytes, from 4 MiB to 64 GiB. Pages use host memory only after they are written.</summary>
    public long Memory { get; init; } = 256 << 20;

    /// <summary>
    /// Exceptions and software interrupts end <see cref="FlatMachine.Run"/>. If false they go through the IDT that the code (or
    /// <see cref="FlatMachine.Registers"/>) set up.
    /// </summary>
    public bool CatchExceptions { get; init; } = true;
}

/// <summary>Why <see cref="FlatMachine.Run"/> returned.</summary>
public enum FlatStopReason
{
    /// <summary>HLT was executed; RIP is after it.</summary>
    Halt,

    /// <summary>An exception or a software interrupt; see <see cref="FlatStop.Vector"/>.</summary>
    Exception,

    /// <summary>OUT was executed and no handler is set: see <see cref="FlatStop.Writes"/>. RIP is after it, or at an OUTS that is not complete.</summary>
    PortWrite,

    /// <summary>The budget of instructions is used up.</summary>
    Budget,

    /// <summary>The caller's token was cancelled.</summary>
    Cancelled,

    /// <summary>A triple fault: exceptions are not caught, and the guest's IDT could not deliver them.</summary>
    Shutdown,
}

/// <summary>A value that was written to an I/O port.</summary>
/// <param name="Port">Its number.</param>
/// <param name="Value">Zero-extended.</param>
/// <param name="Size">1, 2 or 4 bytes.</param>
public readonly record struct PortWrite(ushort Port, uint Value, int Size);

/// <summary>How a run ended.</summary>
public sealed record FlatStop(FlatStopReason Reason)
{
    /// <summary>For an exception: its vector; otherwise -1.</summary>
    public int Vector { get; init; } = -1;

    /// <summary>For an exception: its error code; null if it has none.</summary>
    public uint? ErrorCode { get; init; }

    /// <summary>The exception was raised by INT n, INT3, INT1 or INTO: RIP is after the instruction. For a fault RIP is at the instruction.</summary>
    public bool Software { get; init; }

    /// <summary>For a page fault: the linear address (CR2).</summary>
    public ulong Address { get; init; }

    /// <summary>For OUT: the writes, in order.</summary>
    public IReadOnlyList<PortWrite> Writes { get; init; } = [];
}
