using Yadokari.X86.Paging;

namespace Yadokari.Translation;

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

/// <summary>Translation of linear addresses: by the TLB, and where that has none by the guest's page tables.</summary>
internal sealed unsafe partial class Vcpu
{
    private readonly Tlb _tlb;
    private readonly Func<ulong, ulong> _probeFetch;
    private bool _fetchGlobal;
    private bool _secondFetchGlobal;
    private PagingContext _paging;
    private PagingContext _userPaging;
    private bool _pagingStale = true;
    private bool _contextAc;
    private bool _a20 = true;

    internal long TlbFills => _tlb.Fills;

    internal long TlbFlushes => _tlb.Flushes;

    internal TlbKind CurrentTlb => Cpl == 3 ? TlbKind.User
        : (State->SystemFlags & (1ul << 18)) != 0 && (Cr4 & X86.Cr4.SMAP) != 0 ? TlbKind.SupervisorAc
        : TlbKind.Supervisor;

    /// <summary>Translates through the TLB, filling it. Raises #PF, or #GP for an address that is not canonical.</summary>
    internal Reach Translate(ulong linear, bool write, TlbKind kind, out byte* host, out ulong gpa)
    {
        gpa = 0;
        if (_tlb.Find(linear, write, kind, out host))
        {
            return Reach.Ram;
        }

        host = null;
        bool user = kind == TlbKind.User;
        if (LongMode && !IsCanonical(linear))
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

        bool code = IsCode(gpa);
        if (write && (code || !MayWrite(gpa)))
        {
            return Reach.CodePage;
        }

        _tlb.Fill(linear, write, kind, gpa, host, walk.IsGlobal);

        // What may be read and written without more ado saves the other kind its miss. Never at the cost of another page's entry: an
        // instruction with two operands whose pages meet in one entry would drive each out by the other for ever. Nor leave to write a page
        // that was only read, where it is noted which are written.
        const PageRights Marked = PageRights.Readable | PageRights.Writable | PageRights.Dirty;
        if (_tlb.IsFree(linear, !write, kind) && !code && (walk.Rights & Marked) == Marked
            && (write || (!_memory.DirtyPages.IsNoted && MayWrite(gpa))))
        {
            _tlb.Fill(linear, !write, kind, gpa, host, walk.IsGlobal);
        }

        return Reach.Ram;
    }

    /// <summary>Guest physical address of code, or a raised #PF or #GP. Tells whether the page is global in <see cref="_fetchGlobal"/>.</summary>
    internal bool TranslateFetch(ulong linear, out ulong gpa)
    {
        bool user = Cpl == 3;
        if (_tlb.FindFetch(linear, user, out gpa, out bool global))
        {
            _fetchGlobal = global;
            return true;
        }

        gpa = 0;
        if (LongMode && !IsCanonical(linear))
        {
            Raise(Vector.GeneralProtection, 0);
            return false;
        }

        PageWalkResult walk = PageWalk.Walk(_memory, Context(user, false), linear, AccessKind.Execute);
        if (!walk.Succeeded)
        {
            Cr2 = linear;
            Raise(Vector.PageFault, (uint)walk.Error);
            return false;
        }

        gpa = walk.PhysicalAddress;
        _fetchGlobal = walk.IsGlobal;
        _tlb.FillFetch(linear, user, gpa, walk.IsGlobal);
        return true;
    }

    /// <summary>Where code of a linear page stands now, without side effects; all ones if nowhere.</summary>
    private ulong ProbeFetch(ulong linear)
    {
        PageWalkResult walk = PageWalk.Probe(_memory, Context(false, false), linear, AccessKind.Execute);
        return walk.Succeeded ? walk.PhysicalAddress : ulong.MaxValue;
    }

    /// <summary>Writes RAM that holds translated code, dropping what no longer holds.</summary>
    internal void WriteCodePage(ulong gpa, ReadOnlySpan<byte> data)
    {
        _code.Written(gpa, data.Length);
        _memory.Write(gpa, data);
        _coherence.Written(this, gpa, data.Length);
    }

    /// <inheritdoc/>
    public void MemoryWritten(ulong gpa, ulong length)
    {
        _memory.Written(gpa, length);
        while (length > 0)
        {
            int piece = (int)Math.Min(length, 4096 - (gpa & 4095));
            _code.Written(gpa, piece);
            _coherence.Written(this, gpa, piece);
            gpa += (ulong)piece;
            length -= (ulong)piece;
        }
    }

    /// <summary>Whether writes to a page must ask: some vCPU has code there.</summary>
    internal bool IsCode(ulong gpa) => _coherence.IsCode(gpa);

    /// <summary>To be asked before a page is entered as one to write without asking: the answer may have changed since <see cref="IsCode"/>.</summary>
    internal bool MayWrite(ulong gpa) => _coherence.MayWrite(this, gpa);

    /// <summary>
    /// CR3 was written: turns to the address space of its PCID, which keeps its translations or loses those that are not global
    /// (SDM 3A 4.10.4.1).
    /// </summary>
    internal void LoadPageTables(ulong cr3, bool keep)
    {
        Cr3 = cr3;
        SelectSpace();
        if (!keep)
        {
            Direct?.FlushedSpace(_tlb.Pcid);
            _tlb.FlushCurrent();
        }

        Direct?.Turned();
        _code.CrossPage.Check(_probeFetch, global: false);
    }

    /// <summary>INVPCID of one PCID: forgets its translations but for global pages.</summary>
    internal void FlushPcid(int pcid)
    {
        Direct?.FlushedSpace(pcid);
        _tlb.FlushPcid(pcid);
        _code.CrossPage.Check(_probeFetch, global: false);
    }

    /// <summary>INVPCID of all PCIDs: forgets all translations but for global pages.</summary>
    internal void FlushPcids()
    {
        Direct?.Flushed();
        _tlb.FlushPcids();
        _code.CrossPage.Check(_probeFetch, global: false);
    }

    /// <summary>Forgets everything: global pages were to be flushed too, or the meaning of page tables changed.</summary>
    internal void FlushTlbAll()
    {
        Direct?.Flushed();
        _tlb.FlushAll();
        SelectSpace();
        Direct?.Turned();
        _code.CrossPage.Check(_probeFetch, global: true);
    }

    /// <summary>INVLPG: forgets one page of the current PCID, and of all if it is global.</summary>
    internal void FlushTlbPage(ulong linear)
    {
        Direct?.FlushedPage(CurrentPcid, linear & ~0xFFFul);
        _tlb.FlushPage(linear);
        _code.CrossPage.Check(_probeFetch, linear & ~0xFFFul);
    }

    /// <summary>INVPCID of one page of one PCID.</summary>
    internal void FlushTlbPage(ulong linear, int pcid)
    {
        Direct?.FlushedPage(pcid, linear & ~0xFFFul);
        _tlb.FlushPage(linear, pcid);
        _code.CrossPage.Check(_probeFetch, linear & ~0xFFFul);
    }

    /// <summary>The PCID in use: CR3's with CR4.PCIDE, else 0.</summary>
    internal int CurrentPcid => (Cr4 & X86.Cr4.PCIDE) != 0 ? (int)(Cr3 & 0xFFF) : 0;

    // The page tables or their meaning changed.
    private void SelectSpace()
    {
        _pagingStale = true;
        _tlb.Select(CurrentPcid);
    }

    /// <summary>How user code's addresses are translated now.</summary>
    internal ref readonly PagingContext UserPaging => ref Context(user: true, ac: false);

    private ref readonly PagingContext Context(bool user, bool ac)
    {
        if (_pagingStale || _contextAc != ac)
        {
            _paging = new PagingContext(Cr0, Cr3, Cr4, Efer, false, ac, PhysicalAddressBits) { WrapsAtMebibyte = !_a20 };
            _userPaging = new PagingContext(Cr0, Cr3, Cr4, Efer, true, ac, PhysicalAddressBits) { WrapsAtMebibyte = !_a20 };
            _pagingStale = false;
            _contextAc = ac;
        }

        return ref user ? ref _userPaging : ref _paging;
    }

    // A page holds code from now on: no vCPU's write entry may reach it.
    private void BecomesCode(ulong gpa)
    {
        StopWriting(gpa);
        _coherence.BecomesCode(this, gpa);
    }

    // No page is to be written without asking from now on.
    private void StopWriting()
    {
        Direct?.StopWriting();
        _tlb.DropWriteEntries();
    }

    private void StopWriting(ulong gpa)
    {
        Direct?.StopWriting(gpa);
        _tlb.DropWriteEntries(gpa);
        _coherence.StoppedWriting(this, gpa);
    }
}
