using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.Translation.Code;

namespace Yadokari.Translation;

/// <summary>Whose rights a translation has.</summary>
internal enum TlbKind : byte
{
    Supervisor,
    User,

    /// <summary>The supervisor while EFLAGS.AC opens user pages under SMAP.</summary>
    SupervisorAc,
}

/// <summary>
/// What a vCPU has cached of its page tables (SDM 3A 4.10): an <see cref="AddressSpace"/> for each PCID used of late, of which one is
/// current; where code stands; and by which entries each page can be written. It holds what it is given until it is told to forget: walks,
/// faults and the coherence of code are its caller's. Translated code probes the tables of the current space itself. Of the vCPU's thread.
/// </summary>
internal sealed unsafe class Tlb : IDisposable
{
    private const int FetchEntries = 1024;

    /// <summary>A translation for fetches, good as long as the epoch that it was made in (the one of global pages, or an address space's).</summary>
    private readonly record struct FetchEntry(ulong Tag, ulong Page, int Epoch, bool Global);

    private readonly GuestMemory _memory;
    private readonly MemoryFile _file;
    private readonly List<AddressSpace> _spaces = [];
    private readonly WriteEntries _writeEntries;
    private readonly FetchEntry[] _fetches = new FetchEntry[FetchEntries];
    private readonly VcpuState* _state;

    // Of those pages, translations and code may be in any of the spaces.
    private readonly PageFilter _globalPages = new();
    private readonly PageFilter _globalFetches = new();

    private AddressSpace _space;
    private AddressSpace? _entered;
    private int _lastEpoch;
    private long _spaceUses;

    /// <param name="memory">The guest's memory.</param>
    public Tlb(GuestMemory memory)
    {
        _memory = memory;
        _file = new MemoryFile("yadokari-vcpu", StateLayout.Tlb + (StateLayout.AddressSpaces * (long)StateLayout.TableBytes));
        _writeEntries = new WriteEntries(memory, _spaces);
        _space = AddSpace();
        Window = _space.Window;
        _state = (VcpuState*)Window;
    }

    /// <summary>Where C# finds the vCPU's state, which all address spaces share, until <see cref="Dispose"/>.</summary>
    public byte* Window { get; }

    /// <summary>Translations entered so far.</summary>
    public long Fills { get; private set; }

    /// <summary>Times that a whole address space was flushed, or all at once.</summary>
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

    /// <summary>Whether the entry that an address would have holds no translation.</summary>
    public bool IsFree(ulong linear, bool write, TlbKind kind) => _space.Entry(AddressSpace.EntryOffset(linear, write, kind))[1] == 0;

    /// <summary>Enters a translation in the current address space, in place of what is there.</summary>
    /// <param name="linear">An address in the page.</param>
    /// <param name="write">To write, or to read. What can be written counts as written.</param>
    /// <param name="kind">Whose rights were checked.</param>
    /// <param name="gpa">The guest physical address: RAM.</param>
    /// <param name="host">The host's address of it.</param>
    /// <param name="global">The page is global.</param>
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

    /// <summary>Finds where code stands, and whether its page is global.</summary>
    public bool FindFetch(ulong linear, bool user, out ulong gpa, out bool global)
    {
        ref FetchEntry entry = ref FetchOf(linear);
        gpa = entry.Page | (linear & 0xFFF);
        global = entry.Global;
        return entry.Tag == FetchTag(linear, user) && entry.Epoch == FetchEpoch(global);
    }

    /// <summary>Enters where code stands.</summary>
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

    /// <summary>The epoch of global pages, or of the current address space: with another one, what was learnt of code's whereabouts must be looked at again.</summary>
    public int FetchEpoch(bool global) => global ? _state->GlobalFetchEpoch : _state->FetchEpoch;

    /// <summary>Enters where the code of a linear address is, for translated code to jump to.</summary>
    public void FillJump(ulong linear, Block block, bool global) => _space.FillJump(linear, block, global);

    /// <summary>Turns to the address space of a PCID: the one that there is, or else one that is free or not used for longest.</summary>
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

    /// <summary>Puts the current address space where translated code finds it: at the gs base of this thread.</summary>
    public void Enter()
    {
        if (_entered != _space)
        {
            ThreadGsBase.Set((nint)_space.Window);
            _entered = _space;
        }
    }

    /// <summary>The vCPU may be on another thread from now on, whose gs base is any.</summary>
    public void ForgetThread() => _entered = null;

    /// <summary>Forgets the translations of the current address space but for global pages.</summary>
    public void FlushCurrent() => Flush(_space);

    /// <summary>Forgets the translations of one PCID but for global pages.</summary>
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

    /// <summary>Forgets the translations of all PCIDs but for global pages.</summary>
    public void FlushPcids()
    {
        foreach (AddressSpace space in _spaces)
        {
            Flush(space);
        }
    }

    /// <summary>Forgets everything, global pages too.</summary>
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

    /// <summary>Forgets one page of the current PCID, and of all if it is global.</summary>
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

    /// <summary>Forgets one page of one PCID.</summary>
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
