using System.Runtime.CompilerServices;
using Yadokari.Linux;
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
    private readonly List<AddressSpace> _spaces = [];
    private readonly WriteEntries _writeEntries;
    private readonly PageFilter _globalPages = new();
    private AddressSpace _space;
    private AddressSpace? _entered;
    private int _lastEpoch;
    private long _spaceUses;
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
        int offset = AddressSpace.EntryOffset(linear, write, kind);
        ulong* entry = _space.Entry(offset);
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

        bool code = IsCode(gpa);
        if (write && (code || !MayWrite(gpa)))
        {
            return Reach.CodePage;
        }

        Fill(offset, linear, gpa, host, write, walk.IsGlobal);

        // What may be read and written without more ado saves the other kind its miss. Never at the cost of another page's entry: an
        // instruction with two operands whose pages meet in one entry would drive each out by the other for ever. Nor leave to write a page
        // that was only read, where it is noted which are written.
        int twin = AddressSpace.EntryOffset(linear, !write, kind);
        const PageRights Marked = PageRights.Readable | PageRights.Writable | PageRights.Dirty;
        if (_space.Entry(twin)[1] == 0 && !code && (walk.Rights & Marked) == Marked && (write || (!_memory.DirtyPages.IsEnabled && MayWrite(gpa))))
        {
            Fill(twin, linear, gpa, host, !write, walk.IsGlobal);
        }

        return Reach.Ram;
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
            Direct?.FlushedSpace(_space.Pcid);
            FlushSpace(_space);
        }

        Direct?.Turned();
        _code.CrossPage.Check(_probeFetch, global: false);
    }

    /// <summary>INVPCID of one PCID: forgets its translations but for global pages.</summary>
    internal void FlushPcid(int pcid)
    {
        Direct?.FlushedSpace(pcid);
        foreach (AddressSpace space in _spaces)
        {
            if (space.Pcid == pcid)
            {
                FlushSpace(space);
            }
        }

        _code.CrossPage.Check(_probeFetch, global: false);
    }

    /// <summary>INVPCID of all PCIDs: forgets all translations but for global pages.</summary>
    internal void FlushPcids()
    {
        Direct?.Flushed();
        foreach (AddressSpace space in _spaces)
        {
            FlushSpace(space);
        }

        _code.CrossPage.Check(_probeFetch, global: false);
    }

    /// <summary>Forgets everything: global pages were to be flushed too, or the meaning of page tables changed.</summary>
    internal void FlushTlbAll()
    {
        TlbFlushes++;
        Direct?.Flushed();
        _globalPages.Clear();
        _globalFetches.Clear();
        foreach (AddressSpace space in _spaces)
        {
            space.FlushTranslations(global: true);
            ForgetCode(space, global: true);
        }

        SelectSpace();
        Direct?.Turned();
        _code.CrossPage.Check(_probeFetch, global: true);
    }

    /// <summary>INVLPG: forgets one page of the current PCID, and of all if it is global.</summary>
    internal void FlushTlbPage(ulong linear)
    {
        Direct?.FlushedPage(CurrentPcid, linear & ~0xFFFul);
        bool code = _globalFetches.MayContain(linear);
        foreach (AddressSpace space in _spaces)
        {
            bool local = (space == _space || _globalPages.MayContain(linear)) && space.FlushPage(linear);
            if (local || code)
            {
                ForgetCode(space, global: code);
            }
        }

        _code.CrossPage.Check(_probeFetch, linear & ~0xFFFul);
    }

    /// <summary>INVPCID of one page of one PCID.</summary>
    internal void FlushTlbPage(ulong linear, int pcid)
    {
        Direct?.FlushedPage(pcid, linear & ~0xFFFul);
        foreach (AddressSpace space in _spaces)
        {
            if (space.Pcid == pcid && space.FlushPage(linear))
            {
                ForgetCode(space, global: false);
            }
        }

        _code.CrossPage.Check(_probeFetch, linear & ~0xFFFul);
    }

    /// <summary>All blocks died, or they are of another mode: jump caches keep host code by linear address.</summary>
    internal void FlushJumps()
    {
        foreach (AddressSpace space in _spaces)
        {
            space.FlushJumps(global: true);
        }
    }

    /// <summary>The PCID in use: CR3's with CR4.PCIDE, else 0.</summary>
    internal int CurrentPcid => (Cr4 & X86.Cr4.PCIDE) != 0 ? (int)(Cr3 & 0xFFF) : 0;

    // The page tables or their meaning changed: the address space is that of the PCID, or else the one not used for longest.
    private void SelectSpace()
    {
        _paging = default;
        _userPaging = default;
        _pagingStale = true;
        int pcid = CurrentPcid;
        if (_space.Pcid != pcid)
        {
            AddressSpace? found = null;
            AddressSpace oldest = _spaces[0];
            foreach (AddressSpace space in _spaces)
            {
                found = space.Pcid == pcid ? space : found;
                oldest = space.LastUse < oldest.LastUse ? space : oldest;
            }

            if (found == null && _spaces.Count < StateLayout.AddressSpaces)
            {
                found = AddSpace();
            }
            else if (found == null)
            {
                found = oldest;
                FlushSpace(found);
            }

            _space = found;
            _space.Pcid = pcid;
        }

        _space.LastUse = ++_spaceUses;
        State->FetchEpoch = _space.FetchEpoch;
    }

    private AddressSpace AddSpace()
    {
        var space = new AddressSpace(_file, _spaces.Count);
        space.BeginEpoch(++_lastEpoch);
        _spaces.Add(space);
        return space;
    }

    private void FlushSpace(AddressSpace space)
    {
        TlbFlushes++;
        space.FlushTranslations(global: false);
        ForgetCode(space, global: false);
    }

    private void ForgetCode(AddressSpace space, bool global)
    {
        space.FlushJumps(global);
        State->GlobalFetchEpoch += global ? 1 : 0;
        space.BeginEpoch(++_lastEpoch);
        if (space == _space)
        {
            State->FetchEpoch = _lastEpoch;
        }
    }

    // Translated code finds the current address space at the gs base.
    private void EnterSpace()
    {
        if (_entered != _space)
        {
            ThreadGsBase.Set((nint)_space.Window);
            _entered = _space;
        }
    }

    private bool _pagingStale = true;
    private bool _a20 = true;
    private bool _contextAc;

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

    private void Fill(int offset, ulong linear, ulong gpa, byte* host, bool write, bool global)
    {
        TlbFills++;
        if (global)
        {
            _globalPages.Add(linear);
        }

        _space.Fill(offset, linear, host, global);
        if (write)
        {
            _memory.Written(gpa, 1);
            _writeEntries.Add(gpa, host, _space, offset);
        }
    }

    // A page holds code from now on: no vCPU's write entry may reach it.
    private void BecomesCode(ulong gpa)
    {
        StopWriting(gpa);
        _coherence.BecomesCode(this, gpa);
    }

    // No page is to be written without asking from now on. Which are known to be stays: an entry that is gone leads nowhere.
    private void StopWriting()
    {
        Direct?.StopWriting();
        foreach (AddressSpace space in _spaces)
        {
            space.DropWriteEntries(null);
        }
    }

    private void StopWriting(ulong gpa)
    {
        Direct?.StopWriting(gpa);
        _writeEntries.Drop(gpa, (byte*)_memory.HostAddress(gpa));
        _coherence.StoppedWriting(this, gpa);
    }
}
