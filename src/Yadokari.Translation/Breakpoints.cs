using Yadokari.X86;

namespace Yadokari.Translation;

/// <summary>The breakpoints in the guest's debug registers DR0 to DR3 and DR7 (SDM 3B 18.2). Hits are bits of DR6.</summary>
/// <param name="dr">DR0 to DR7.</param>
internal readonly struct Breakpoints(ulong[] dr)
{
    private const int Count = 4;

    private enum Kind
    {
        Execution,
        Writes,
        Ports,
        Accesses,
    }

    /// <summary>Whether DR7 enables a breakpoint, possibly of a type that CR4.DE disables.</summary>
    public bool AreEnabled => (dr[7] & DebugRegisters.Enables) != 0;

    /// <summary>Whether a breakpoint is enabled and can be hit.</summary>
    public bool HasAny(ulong cr4) => Has(Kind.Execution, cr4) || HasAccesses(cr4);

    /// <summary>Whether a breakpoint on data or ports is enabled.</summary>
    public bool HasAccesses(ulong cr4) => Has(Kind.Writes, cr4) || Has(Kind.Accesses, cr4) || Has(Kind.Ports, cr4);

    /// <summary>Execution breakpoints at a linear address.</summary>
    public ulong ExecutionHits(ulong linear)
    {
        ulong hits = 0;
        for (int i = 0; i < Count; i++)
        {
            hits |= IsEnabled(i) && KindOf(i) == Kind.Execution && dr[i] == linear ? 1ul << i : 0;
        }

        return hits;
    }

    /// <summary>Data breakpoints that an access hits.</summary>
    public ulong DataHits(ulong linear, ulong size, bool writes)
    {
        ulong hits = 0;
        for (int i = 0; i < Count; i++)
        {
            bool kind = KindOf(i) is Kind.Accesses || (writes && KindOf(i) == Kind.Writes);
            hits |= IsEnabled(i) && kind && Meets(i, linear, size) ? 1ul << i : 0;
        }

        return hits;
    }

    /// <summary>Port breakpoints that an access hits.</summary>
    public ulong PortHits(ulong port, ulong size, ulong cr4)
    {
        ulong hits = 0;
        for (int i = 0; i < Count; i++)
        {
            hits |= IsEnabled(i) && KindOf(i) == Kind.Ports && IsKind(Kind.Ports, cr4) && Meets(i, port, size) ? 1ul << i : 0;
        }

        return hits;
    }

    private bool Has(Kind kind, ulong cr4)
    {
        for (int i = 0; i < Count; i++)
        {
            if (IsEnabled(i) && KindOf(i) == kind && IsKind(kind, cr4))
            {
                return true;
            }
        }

        return false;
    }

    // Port breakpoints require CR4.DE.
    private static bool IsKind(Kind kind, ulong cr4) => kind != Kind.Ports || (cr4 & Cr4.DE) != 0;

    private bool IsEnabled(int i) => (dr[7] >> (2 * i) & 3) != 0;

    // The R/W field of DR7.
    private Kind KindOf(int i) => (Kind)((int)(dr[7] >> (16 + (4 * i))) & 3);

    // Whether an access overlaps the range of a breakpoint, whose address is aligned to its length.
    private bool Meets(int i, ulong address, ulong size)
    {
        ulong length = (dr[7] >> (18 + (4 * i)) & 3) switch { 0 => 1, 1 => 2, 2 => 8, _ => 4ul };
        ulong start = dr[i] & ~(length - 1);
        return address < start + length && start < address + size;
    }
}
