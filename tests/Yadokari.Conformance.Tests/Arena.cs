namespace Yadokari.Conformance.Tests;

/// <summary>What user-level code may do with a page of the arena.</summary>
[Flags]
public enum Access
{
    /// <summary>Read.</summary>
    Read = 1,

    /// <summary>Write.</summary>
    Write = 2,

    /// <summary>Fetch instructions.</summary>
    Execute = 4,
}

/// <summary>Pages next to each other with one protection.</summary>
/// <param name="Address">Linear address of the first.</param>
/// <param name="Pages">How many.</param>
/// <param name="Access">Protection.</param>
public sealed record ArenaRange(ulong Address, int Pages, Access Access)
{
    /// <summary>Bytes.</summary>
    public int Length => Pages * Arena.PageSize;

    /// <summary>The first address past the range.</summary>
    public ulong End => Address + (ulong)Length;
}

/// <summary>
/// The linear addresses that a test's code sees, the same under every subject: nothing else is mapped (natively, nothing else that a test
/// would hit but by design). The bytes of all ranges stand one after the other in <see cref="MachineImage.Memory"/>.
/// </summary>
public static class Arena
{
    /// <summary>Bytes of a page.</summary>
    public const int PageSize = 4096;

    /// <summary>Three pages to execute from and to write to, below 2 GiB so that 32-bit addresses reach them.</summary>
    public const ulong Code = 0x1000_0000;

    /// <summary>Bytes of <see cref="Code"/>.</summary>
    public const int CodeLength = 3 * PageSize;

    /// <summary>
    /// Eight page numbers, of which 0, 4 and 6 are not mapped, 1, 2 and 5 are writable, 3 and 7 read-only; nothing follows.
    /// </summary>
    public const ulong Data = 0x2000_0000;

    /// <summary>Two writable pages above 4 GiB, followed by nothing.</summary>
    public const ulong High = 0x1234_5678_9000;

    /// <summary>All ranges, in the order of their bytes in <see cref="MachineImage.Memory"/>.</summary>
    public static IReadOnlyList<ArenaRange> Ranges { get; } =
    [
        new(Code, 3, Access.Read | Access.Write | Access.Execute),
        new(Data + 0x1000, 2, Access.Read | Access.Write),
        new(Data + 0x3000, 1, Access.Read),
        new(Data + 0x5000, 1, Access.Read | Access.Write),
        new(Data + 0x7000, 1, Access.Read),
        new(High, 2, Access.Read | Access.Write),
    ];

    /// <summary>Bytes of all ranges.</summary>
    public static int Length { get; } = Ranges.Sum(r => r.Length);

    /// <summary>The index of a linear address in <see cref="MachineImage.Memory"/>, or -1 where it is not mapped.</summary>
    public static int Offset(ulong address)
    {
        int offset = 0;
        foreach (ArenaRange range in Ranges)
        {
            if (address >= range.Address && address < range.End)
            {
                return offset + (int)(address - range.Address);
            }

            offset += range.Length;
        }

        return -1;
    }

    /// <summary>The linear address of an index in <see cref="MachineImage.Memory"/>.</summary>
    public static ulong Address(int offset)
    {
        foreach (ArenaRange range in Ranges)
        {
            if (offset < range.Length)
            {
                return range.Address + (ulong)offset;
            }

            offset -= range.Length;
        }

        throw new ArgumentOutOfRangeException(nameof(offset));
    }
}
