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

/// <summary>What code may do with memory.</summary>
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

/// <summary>What a <see cref="FlatMachine"/> is made of.</summary>
public sealed record FlatOptions
{
    /// <summary>Code runs at privilege level 3 rather than 0. Not in real mode.</summary>
    public bool User { get; init; }

    /// <summary>Bytes of memory to take pages from; none costs anything before it is used. 4 MiB to 64 GiB.</summary>
    public long Memory { get; init; } = 256 << 20;

    /// <summary>
    /// Exceptions and software interrupts end <see cref="FlatMachine.Run"/>. If false they go through the IDT that the code (or
    /// <see cref="FlatMachine.Registers"/>) set up.
    /// </summary>
    public bool CatchExceptions { get; init; } = true;
}

/// <summary>Why <see cref="FlatMachine.Run"/> came back.</summary>
public enum FlatStopReason
{
    /// <summary>HLT was executed; RIP is after it.</summary>
    Halt,

    /// <summary>An exception or a software interrupt; see <see cref="FlatStop.Vector"/>.</summary>
    Exception,

    /// <summary>OUT was executed and nobody else takes it: see <see cref="FlatStop.Writes"/>. RIP is after it, or at an OUTS that is not done.</summary>
    PortWrite,

    /// <summary>So many instructions were executed as were asked for.</summary>
    Budget,

    /// <summary>The caller's token was cancelled.</summary>
    Cancelled,

    /// <summary>A triple fault: exceptions are not caught and the guest could not take them.</summary>
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
    /// <summary>Of an exception: its vector; else -1.</summary>
    public int Vector { get; init; } = -1;

    /// <summary>Of an exception: what it would have pushed, or null.</summary>
    public uint? ErrorCode { get; init; }

    /// <summary>INT n, INT3, INT1 or INTO: RIP is after the instruction. Of a fault it is at the instruction.</summary>
    public bool Software { get; init; }

    /// <summary>Of a page fault: the linear address (CR2).</summary>
    public ulong Address { get; init; }

    /// <summary>Of OUT: what was written, in order.</summary>
    public IReadOnlyList<PortWrite> Writes { get; init; } = [];
}
