using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.Translation.Code;

namespace Yadokari.Translation;

/// <summary>The rights for which a translation was checked.</summary>
internal enum TlbKind : byte
{
    Supervisor,
    User,

    /// <summary>The supervisor with SMAP while EFLAGS.AC permits access to user pages.</summary>
    SupervisorAc,
}

/// <summary>
/// A vCPU's caches of its page tables (SDM 3A 4.10): an <see cref="AddressSpace"/> for each recently used PCID, one of which is current; a cache of
/// fetch translations; and an index of the entries by which each page can be written. Page walks, faults and the coherence of code are handled by
/// the caller. Translated code probes the tables of the current space directly. On the vCPU's thread.
/// </summary>
internal sealed unsafe class Tlb : IDisposable
{
    private const int FetchEntries = 1024;

    /// <summary>A fetch translation, valid during the epoch in which it was made (of global pages, or of an address space).</summary>
    private readonly record struct FetchEntry(ulong Tag, ulong Page, int Epoch, bool Global);

    private readonly GuestMemory _memory;
    private readonly MemoryFile _file;
    private readonly List<AddressSpace> _spaces = [];
    private readonly WriteEntries _writeEntries;
    private readonly FetchEntry[] _fetches = new FetchEntry[FetchEntries];
    private readonly VcpuState* _state;

    // Global pages: their translations and code may be cached in any address space.
    private readonly PageFilter _globalPages = new();
    private readonly PageFilter _globalFetches = new();

    private AddressSpace _space;
    private AddressSpace? _entered;
    private int _lastEpoch;
    private long _spaceUses;

    /// <param name="memory">Guest memory.</param>
    public Tlb(GuestMemory memory)
    {
        _memory = memory;
        _file = new MemoryFile("yadokari-vcpu", StateLayout.Tlb + (StateLayout.AddressSpaces * (long)StateLayout.TableBytes));
        _writeEntries = new WriteEntries(memory, _spaces);
        _space = AddSpace();
        Window = _space.Window;
        _state = (VcpuState*)Window;
    }

    /// <summary>Address of the vCPU's state for C#, valid until <see cref="Dispose"/>. All address spaces share the state.</summary>
    public byte* Window { get; }

    /// <summary>Count of filled entries.</summary>
    public long Fills { get; private set; }

    /// <summary>Count of flushes of one or all address spaces.</summary>
    public long Flushes { get; private set; }

    /// <summary>The PCID of the current address space.</summary>
    public int Pcid => _space.Pcid;

    /// <summary>Finds a translation: the host address of the byte.</summary>
    public bool Find(ulong linear, bool write, TlbKind kind, out byte* host)
    {
        ulong* entry = _space.Entry(AddressSpace.EntryOffset(linear, write, kind));
        ulong distance = linear + entry[0];
        host = (byte*)entry[1] + distance;
        return distance < 4096;
    }

    /// <summary>Whether the entry for an address is empty.</summary>
    public bool IsFree(ulong linear, bool write, TlbKind kind) => _space.Entry(AddressSpace.EntryOffset(linear, write, kind))[1] == 0;

    /// <summary>Fills an entry of the current address space, replacing its content.</summary>
    /// <param name="linear">An address in the page.</param>
    /// <param name="write">Whether it is a write entry. Filling one marks the page as dirty.</param>
    /// <param name="kind">The rights that were checked.</param>
    /// <param name="gpa">The guest physical address, which must be RAM.</param>
    /// <param name="host">The host address of the same byte.</param>
    /// <param name="global">Whether the page is global.</param>
    public void Fill(ulong linear, bool write, TlbKind kind, ulong gpa, byte* host, bool global)
    {
        Fills++;
        if (global)
        {
            _globalPages.Add(linear);
        }

        int offset = AddressSpace.EntryOffset(linear, write, kind);
        _space.Fill(offset, linear, host, global);
        if (write)
        {
            _memory.Written(gpa, 1);
            _writeEntries.Add(gpa, host, _space, offset);
        }
    }

    /// <summary>Finds a fetch translation, and whether its page is global.</summary>
    public bool FindFetch(ulong linear, bool user, out ulong gpa, out bool global)
    {
        ref FetchEntry entry = ref FetchOf(linear);
        gpa = entry.Page | (linear & 0xFFF);
        global = entry.Global;
        return entry.Tag == FetchTag(linear, user) && entry.Epoch == FetchEpoch(global);
    }

    /// <summary>Adds a fetch translation.</summary>
    public void FillFetch(ulong linear, bool user, ulong gpa, bool global)
    {
        if (global)
        {
            _globalFetches.Add(linear);
        }
        else
        {
            _space.NoteFetch(linear);
        }

        FetchOf(linear) = new FetchEntry(FetchTag(linear, user), gpa & ~0xFFFul, FetchEpoch(global), global);
    }

    /// <summary>The fetch epoch of global pages, or of the current address space: mappings of code checked in an earlier epoch must be checked again.</summary>
    public int FetchEpoch(bool global) => global ? _state->GlobalFetchEpoch : _state->FetchEpoch;

    /// <summary>Adds a block to the jump cache of the current address space.</summary>
    public void FillJump(ulong linear, Block block, bool global) => _space.FillJump(linear, block, global);

    /// <summary>Selects the address space of a PCID. If it has none, a free or the least recently used one is assigned to it.</summary>
    public void Select(int pcid)
    {
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
                Flush(found);
            }

            _space = found;
            _space.Pcid = pcid;
        }

        _space.LastUse = ++_spaceUses;
        _state->FetchEpoch = _space.FetchEpoch;
    }

    /// <summary>Sets the gs base of this thread to the current address space. Called before each entry into translated code.</summary>
    public void Enter()
    {
        if (_entered != _space)
        {
            ThreadGsBase.Set((nint)_space.Window);
            _entered = _space;
        }
    }

    /// <summary>Must be called when the vCPU may run on another thread, whose gs base is unknown.</summary>
    public void ForgetThread() => _entered = null;

    /// <summary>Flushes the current address space except global pages.</summary>
    public void FlushCurrent() => Flush(_space);

    /// <summary>Flushes one PCID except global pages.</summary>
    public void FlushPcid(int pcid)
    {
        foreach (AddressSpace space in _spaces)
        {
            if (space.Pcid == pcid)
            {
                Flush(space);
            }
        }
    }

    /// <summary>Flushes all PCIDs except global pages.</summary>
    public void FlushPcids()
    {
        foreach (AddressSpace space in _spaces)
        {
            Flush(space);
        }
    }

    /// <summary>Flushes everything, including global pages.</summary>
    public void FlushAll()
    {
        Flushes++;
        _globalPages.Clear();
        _globalFetches.Clear();
        foreach (AddressSpace space in _spaces)
        {
            space.FlushTranslations(global: true);
            ForgetCode(space, global: true);
        }
    }

    /// <summary>Flushes one page of the current PCID; a global page of all PCIDs.</summary>
    public void FlushPage(ulong linear)
    {
        bool code = _globalFetches.MayContain(linear);
        foreach (AddressSpace space in _spaces)
        {
            bool local = (space == _space || _globalPages.MayContain(linear)) && space.FlushPage(linear);
            if (local || code)
            {
                ForgetCode(space, global: code);
            }
        }
    }

    /// <summary>Flushes one page of one PCID.</summary>
    public void FlushPage(ulong linear, int pcid)
    {
        foreach (AddressSpace space in _spaces)
        {
            if (space.Pcid == pcid && space.FlushPage(linear))
            {
                ForgetCode(space, global: false);
            }
        }
    }

    /// <summary>Flushes the jump caches of all address spaces.</summary>
    public void FlushJumps()
    {
        foreach (AddressSpace space in _spaces)
        {
            space.FlushJumps(global: true);
        }
    }

    /// <summary>
    /// Drops all entries by which RAM can be written. The index of write entries keeps the dropped ones: dropping one twice does no harm.
    /// </summary>
    public void DropWriteEntries()
    {
        foreach (AddressSpace space in _spaces)
        {
            space.DropWriteEntries(null);
        }
    }

    /// <summary>Drops the entries by which one page of RAM can be written.</summary>
    public void DropWriteEntries(ulong gpa) => _writeEntries.Drop(gpa, (byte*)_memory.HostAddress(gpa));

    /// <summary>Unmaps the entries and the vCPU's state. May be called again.</summary>
    public void Dispose()
    {
        _writeEntries.Dispose();
        _file.Dispose();
    }

    // Bit 0: the page is accessible in user mode; bit 1: the entry is valid.
    private static ulong FetchTag(ulong linear, bool user) => (linear & ~0xFFFul) | (user ? 3u : 2u);

    private ref FetchEntry FetchOf(ulong linear) => ref _fetches[(int)(linear >> 12) & (FetchEntries - 1)];

    private AddressSpace AddSpace()
    {
        var space = new AddressSpace(_file, _spaces.Count);
        space.BeginEpoch(++_lastEpoch);
        _spaces.Add(space);
        return space;
    }

    private void Flush(AddressSpace space)
    {
        Flushes++;
        space.FlushTranslations(global: false);
        ForgetCode(space, global: false);
    }

    private void ForgetCode(AddressSpace space, bool global)
    {
        space.FlushJumps(global);
        _state->GlobalFetchEpoch += global ? 1 : 0;
        space.BeginEpoch(++_lastEpoch);
        if (space == _space)
        {
            _state->FetchEpoch = _lastEpoch;
        }
    }
}
