using Yadokari.X86.Paging;

namespace Yadokari.Translation;

/// <summary>Where code stands: translation of what is fetched.</summary>
internal sealed unsafe partial class Vcpu
{
    private const int FetchEntries = 1024;

    /// <summary>A translation for fetches, good as long as the epoch that it was made in (the one of global pages, or an address space's).</summary>
    private readonly record struct FetchEntry(ulong Tag, ulong Page, int Epoch, bool Global);

    private readonly FetchEntry[] _fetches = new FetchEntry[FetchEntries];
    private readonly PageFilter _globalFetches = new();
    private readonly Func<ulong, ulong> _probeFetch;
    private bool _fetchGlobal;
    private bool _secondFetchGlobal;

    /// <summary>Guest physical address of code, or a raised #PF or #GP. Tells whether the page is global in <see cref="_fetchGlobal"/>.</summary>
    internal bool TranslateFetch(ulong linear, out ulong gpa)
    {
        // Bit 0: the user's right to it; bit 1: the entry is in use.
        ulong tag = (linear & ~0xFFFul) | (Cpl == 3 ? 3u : 2u);
        ref FetchEntry entry = ref _fetches[(int)(linear >> 12) & (FetchEntries - 1)];
        if (entry.Tag == tag && entry.Epoch == FetchEpoch(entry.Global))
        {
            gpa = entry.Page | (linear & 0xFFF);
            _fetchGlobal = entry.Global;
            return true;
        }

        gpa = 0;
        if (LongMode && !IsCanonical(linear))
        {
            Raise(Vector.GeneralProtection, 0);
            return false;
        }

        PageWalkResult walk = PageWalk.Walk(_memory, Context(Cpl == 3, false), linear, AccessKind.Execute);
        if (!walk.Succeeded)
        {
            Cr2 = linear;
            Raise(Vector.PageFault, (uint)walk.Error);
            return false;
        }

        gpa = walk.PhysicalAddress;
        _fetchGlobal = walk.IsGlobal;
        if (walk.IsGlobal)
        {
            _globalFetches.Add(linear);
        }
        else
        {
            _space.NoteFetch(linear);
        }

        entry = new FetchEntry(tag, gpa & ~0xFFFul, FetchEpoch(walk.IsGlobal), walk.IsGlobal);
        return true;
    }

    private int FetchEpoch(bool global) => global ? State->GlobalFetchEpoch : State->FetchEpoch;

    /// <summary>Where code of a linear page stands now, without side effects; all ones if nowhere.</summary>
    private ulong ProbeFetch(ulong linear)
    {
        PageWalkResult walk = PageWalk.Probe(_memory, Context(false, false), linear, AccessKind.Execute);
        return walk.Succeeded ? walk.PhysicalAddress : ulong.MaxValue;
    }
}
