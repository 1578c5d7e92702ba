namespace Yadokari.Conformance.Tests.Samples;

/// <summary>Where memory operands go.</summary>
public enum Placement
{
    /// <summary>Mostly inside writable pages, now and then at a page's end, across one, or where it faults.</summary>
    Mixed,

    /// <summary>Always at, across or beyond a page's end, or on a read-only or missing page.</summary>
    Edges,
}

/// <summary>Chooses linear addresses for memory operands.</summary>
public static class Placements
{
    /// <summary>An address for an operand of <paramref name="size"/> bytes.</summary>
    /// <param name="size">At least 1.</param>
    /// <param name="low">Whether it must be below 2 GiB.</param>
    public static ulong Choose(this Placement placement, Prng random, int size, bool low)
    {
        ulong page = Arena.Data;
        if (placement == Placement.Mixed && !random.OneIn(4))
        {
            // Inside a pair of writable pages, usually aligned.
            ulong start = !low && random.OneIn(4) ? Arena.High : page + 0x1000;
            int room = (2 * Arena.PageSize) - size;
            int offset = random.Below(room + 1);
            if (!random.OneIn(3) && size is 1 or 2 or 4 or 8 or 16 or 32 or 64)
            {
                offset &= -size;
            }
            else if (!random.OneIn(3))
            {
                offset &= -16;
            }

            return start + (ulong)offset;
        }

        int across = size > 1 ? 1 + random.Below(size - 1) : 0;
        return random.Below(12) switch
        {
            // Ends with a page: 2 to 3 (both mapped), 2 to nothing (high), 5 to nothing.
            0 => page + 0x2000 - (ulong)size,
            1 => (low ? page + 0x6000 : Arena.High + 0x2000) - (ulong)size,
            2 => page + 0x6000 - (ulong)size,

            // Crosses: writable to writable, writable to read-only, read-only to nothing, writable to nothing, nothing to writable.
            3 or 4 => page + 0x2000 - (ulong)across,
            5 => page + 0x3000 - (ulong)across,
            6 => page + 0x4000 - (ulong)across,
            7 => page + 0x6000 - (ulong)across,
            8 => page + 0x5000 - (ulong)across,

            // On a read-only page, on none, at no canonical address.
            9 => page + 0x3000 + (ulong)(random.Below(0x1000 - size) & -16),
            10 => page + 0x4000 + (ulong)(random.Below(0x1000 - size) & -16),
            _ => low || random.OneIn(2) ? page + 0x6000 - (ulong)across : random.Below(4) switch
            {
                // Where the canonical addresses end and begin again, and where all end.
                1 => 0x0000_8000_0000_0000 - (ulong)across,
                2 => 0xFFFF_8000_0000_0000 - (ulong)across,
                3 => 0UL - (ulong)across,
                _ => random.Next() | 0x0010_0000_0000_0000,
            },
        };
    }
}
