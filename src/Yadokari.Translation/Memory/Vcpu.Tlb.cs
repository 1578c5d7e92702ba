using System.Runtime.CompilerServices;
using Yadokari.X86.Paging;

namespace Yadokari.Translation;

/// <summary>Whose rights a translation has.</summary>
internal enum TlbKind : byte
{
    Supervisor,
    User,

    /// <summary>The supervisor while EFLAGS.AC opens user pages under SMAP.</summary>
    SupervisorAc,
}

/// <summary>What a linear address reaches.</summary>
internal enum Reach : byte
{
    /// <summary>RAM at the host address given.</summary>
    Ram,

    /// <summary>RAM that holds translated code, for a write: by <see cref="Vcpu.WriteCodePage"/>.</summary>
    CodePage,

    /// <summary>No RAM: a device, or nothing.</summary>
    Device,

    /// <summary>The access raised an exception.</summary>
    Fault,
}

/// <summary>The software TLB, whose hits are looked up by translated code itself.</summary>
internal sealed unsafe partial class Vcpu
{
    // Offsets of entries in use, so that a flush costs what was filled: those of global pages apart.
    private readonly List<int> _filled = [];
    private readonly List<int> _filledGlobal = [];
    private readonly List<int> _jumps = [];
    private PagingContext _paging;
    private PagingContext _userPaging;

    internal long TlbFills { get; private set; }

    internal long TlbFlushes { get; private set; }

    internal TlbKind CurrentTlb => Cpl == 3 ? TlbKind.User
        : (State->SystemFlags & (1ul << 18)) != 0 && (Cr4 & X86.Cr4.SMAP) != 0 ? TlbKind.SupervisorAc
        : TlbKind.Supervisor;

    /// <summary>Translates through the TLB, filling it. Raises #PF, or #GP for an address that is not canonical.</summary>
    internal Reach Translate(ulong linear, bool write, TlbKind kind, out byte* host, out ulong gpa)
    {
        int offset = EntryOffset(linear, write, kind);
        ulong* entry = (ulong*)(_window + offset);
        ulong distance = linear + entry[0];
        gpa = 0;
        if (distance < 4096)
        {
            host = (byte*)entry[1] + distance;
            return Reach.Ram;
        }

        host = null;
        bool user = kind == TlbKind.User;
        if (LongMode && (long)(linear << 16) >> 16 != (long)linear)
        {
            Raise(Vector.GeneralProtection, 0);
            return Reach.Fault;
        }

        AccessKind access = (write ? AccessKind.Write : AccessKind.Read) | (kind == TlbKind.Supervisor ? AccessKind.Implicit : 0);
        PageWalkResult walk = PageWalk.Walk(_memory, Context(user, kind == TlbKind.SupervisorAc), linear, access);
        if (!walk.Succeeded)
        {
            Cr2 = linear;
            Raise(Vector.PageFault, (uint)walk.Error);
            return Reach.Fault;
        }

        gpa = walk.PhysicalAddress;
        host = (byte*)_memory.HostAddress(gpa);
        if (host == null)
        {
            return Reach.Device;
        }

        bool code = _code.IsCode(gpa);
        if (write && code)
        {
            return Reach.CodePage;
        }

        Fill(offset, linear, host, walk.IsGlobal);

        // What may be read and written without more ado saves the other kind its miss. Never at the cost of another page's entry: an
        // instruction with two operands whose pages meet in one entry would drive each out by the other for ever.
        int twin = EntryOffset(linear, !write, kind);
        const PageRights Marked = PageRights.Readable | PageRights.Writable | PageRights.Dirty;
        if (((ulong*)(_window + twin))[1] == 0 && !code && (walk.Rights & Marked) == Marked)
        {
            Fill(twin, linear, host, walk.IsGlobal);
        }

        return Reach.Ram;
    }

    /// <summary>Guest physical address of code, or a raised #PF or #GP.</summary>
    internal bool TranslateFetch(ulong linear, out ulong gpa)
    {
        gpa = 0;
        if (LongMode && (long)(linear << 16) >> 16 != (long)linear)
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
        NoteFetch(linear);
        return true;
    }

    /// <summary>Writes RAM that holds translated code, dropping what no longer holds.</summary>
    internal void WriteCodePage(ulong gpa, ReadOnlySpan<byte> data)
    {
        _code.Written(gpa, data.Length);
        _memory.Write(gpa, data);
    }

    /// <summary>Forgets translations after the page tables changed: those of global pages too, or not.</summary>
    internal void FlushTlb(bool global)
    {
        TlbFlushes++;
        Direct?.Flushed();
        FlushList(_filled);
        if (global)
        {
            FlushList(_filledGlobal);
        }

        FlushJumps();
        _paging = default;
        _userPaging = default;
        _pagingStale = true;
        _code.CrossPage.Check(_probeFetch, global);
    }

    /// <summary>Forgets everything: the meaning of page tables changed.</summary>
    internal void FlushTlbAll() => FlushTlb(global: true);

    /// <summary>INVLPG: forgets one page, global or not.</summary>
    internal void FlushTlbPage(ulong linear)
    {
        Direct?.Flushed(linear & ~0xFFFul);
        for (TlbKind kind = TlbKind.Supervisor; kind <= TlbKind.SupervisorAc; kind++)
        {
            for (int write = 0; write < 2; write++)
            {
                int offset = EntryOffset(linear, write != 0, kind);
                ulong* entry = (ulong*)(_window + offset);
                if (linear + entry[0] < 4096)
                {
                    ClearEntry(offset);
                }
            }
        }

        if (HasFetched(linear))
        {
            FlushJumps();
        }

        _code.CrossPage.Check(_probeFetch, linear & ~0xFFFul);
    }

    /// <summary>The jump caches and the return stack: host code by linear address.</summary>
    internal void FlushJumps()
    {
        State->FetchEpoch++;
        Array.Clear(_fetched);
        foreach (int offset in _jumps)
        {
            *(ulong*)(_window + offset) = NoJump(offset);
        }

        _jumps.Clear();
    }

    private readonly Func<ulong, ulong> _probeFetch;
    private bool _fetchGlobal;

    // Pages that code was looked up in since the last flush, a bit each, several pages to a bit: flushing the translation of any other page
    // leaves what is known of code alone.
    private readonly ulong[] _fetched = new ulong[64];

    private void NoteFetch(ulong linear) => _fetched[(linear >> 18) & 63] |= 1ul << (int)((linear >> 12) & 63);

    private bool HasFetched(ulong linear) => (_fetched[(linear >> 18) & 63] & (1ul << (int)((linear >> 12) & 63))) != 0;

    /// <summary>Where code of a linear page stands now, without side effects; all ones if nowhere.</summary>
    private ulong ProbeFetch(ulong linear)
    {
        PageWalkResult walk = PageWalk.Probe(_memory, Context(false, false), linear, AccessKind.Execute);
        return walk.Succeeded ? walk.PhysicalAddress : ulong.MaxValue;
    }

    // An empty entry of a jump cache: an address that is looked for in another pair of entries, so that no target matches, canonical or not.
    private static ulong NoJump(int offset) => (ulong)(((offset - StateLayout.JumpCache) >> 4) & (StateLayout.JumpEntries - 1)) ^ 2;

    private bool _pagingStale = true;
    private bool _contextAc;

    /// <summary>How user code's addresses are translated now.</summary>
    internal ref readonly PagingContext UserPaging => ref Context(user: true, ac: false);

    private ref readonly PagingContext Context(bool user, bool ac)
    {
        if (_pagingStale || _contextAc != ac)
        {
            _paging = new PagingContext(Cr0, Cr3, Cr4, Efer, false, ac, PhysicalAddressBits);
            _userPaging = new PagingContext(Cr0, Cr3, Cr4, Efer, true, ac, PhysicalAddressBits);
            _pagingStale = false;
            _contextAc = ac;
        }

        return ref user ? ref _userPaging : ref _paging;
    }

    private static int EntryOffset(ulong linear, bool write, TlbKind kind)
        => StateLayout.Tlb + (((((int)kind * 2) + (write ? 1 : 0)) * StateLayout.TlbBytes) + ((int)((linear >> 12) & (StateLayout.TlbEntries - 1)) << 4));

    private void Fill(int offset, ulong linear, byte* host, bool global)
    {
        TlbFills++;
        ulong* entry = (ulong*)(_window + offset);
        entry[0] = 0 - (linear & ~0xFFFul);
        entry[1] = (ulong)host & ~0xFFFul;
        List<int> list = global ? _filledGlobal : _filled;
        if (list.Count > 4 * StateLayout.TlbEntries)
        {
            // The same entries filled over and over: start afresh rather than let the list grow.
            ulong address = entry[0];
            ulong page = entry[1];
            FlushList(list);
            (entry[0], entry[1]) = (address, page);
        }

        list.Add(offset);
    }

    private void FlushList(List<int> list)
    {
        foreach (int offset in list)
        {
            ClearEntry(offset);
        }

        list.Clear();
    }

    // An entry that no address can match: the negated address of a page that belongs to another entry.
    private void ClearEntry(int offset)
    {
        ulong* entry = (ulong*)(_window + offset);
        int index = ((offset - StateLayout.Tlb) >> 4) & (StateLayout.TlbEntries - 1);
        entry[0] = index == 0 ? unchecked(0 - 4096ul) : 0;
        entry[1] = 0;
    }

    private void ResetTables()
    {
        for (int kind = 0; kind < StateLayout.TlbCount; kind++)
        {
            ClearEntry(StateLayout.Tlb + (kind * StateLayout.TlbBytes));
        }

        for (int i = 0; i < StateLayout.JumpCaches * StateLayout.JumpEntries; i++)
        {
            *(ulong*)(_window + StateLayout.JumpCache + (i * 16)) = NoJump(StateLayout.JumpCache + (i * 16));
        }
    }

    /// <summary>A page holds code from now on: no write entry may reach it.</summary>
    private void DropWriteEntries(ulong gpa)
    {
        ulong host = (ulong)_memory.HostAddress(gpa);
        DropFrom(_filled);
        DropFrom(_filledGlobal);

        void DropFrom(List<int> list)
        {
            foreach (int offset in list)
            {
                if ((((offset - StateLayout.Tlb) / StateLayout.TlbBytes) & 1) != 0 && ((ulong*)(_window + offset))[1] == host)
                {
                    ClearEntry(offset);
                }
            }
        }
    }
}
