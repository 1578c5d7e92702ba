using Yadokari.Linux;
using Yadokari.Translation.Code;

namespace Yadokari.Translation;

/// <summary>
/// A vCPU's caches for one PCID (SDM 3A 4.10.1): the TLB and the jump caches that translated code probes. Each address space is a memory mapping that
/// starts with the same <see cref="VcpuState"/>, so that selecting another one changes only the gs base: no flush, no comparison of PCIDs in
/// translated code. Global pages have entries in each space that uses them. On the vCPU's thread.
/// </summary>
internal sealed unsafe class AddressSpace
{
    private const int TlbEntries = StateLayout.TlbCount * StateLayout.TlbEntries;
    private const int JumpEntries = StateLayout.JumpCaches * StateLayout.JumpEntries;

    private readonly EntrySet _filled = new(TlbEntries);
    private readonly EntrySet _filledGlobal = new(TlbEntries);
    private readonly EntrySet _jumps = new(JumpEntries);
    private readonly EntrySet _jumpsGlobal = new(JumpEntries);
    private readonly PageFilter _fetched = new();

    /// <param name="file">The vCPU's memory file: the state that all spaces share, then the tables of each.</param>
    /// <param name="number">Index of the space's tables in the file.</param>
    public AddressSpace(MemoryFile file, int number)
    {
        var window = (byte*)MemoryFile.Reserve(StateLayout.Total);
        file.Map(0, StateLayout.Tlb, executable: false, (nint)window);
        file.Map(StateLayout.Tlb + ((long)number * StateLayout.TableBytes), StateLayout.TableBytes, executable: false, (nint)window + StateLayout.Tlb);
        Window = window;
        Number = number;
        for (int kind = 0; kind < StateLayout.TlbCount; kind++)
        {
            ClearTranslation(kind * StateLayout.TlbEntries);
        }

        for (int cache = 0; cache < StateLayout.JumpCaches; cache++)
        {
            ClearJump(cache * StateLayout.JumpEntries);
            ClearJump((cache * StateLayout.JumpEntries) + 1);
        }
    }

    /// <summary>The gs base of translated code in this space.</summary>
    public byte* Window { get; }

    /// <summary>The PCID to which it is assigned.</summary>
    public int Pcid { get; set; }

    /// <summary>Sequence number of its last selection, to find the least recently used space.</summary>
    public long LastUse { get; set; }

    /// <summary>Changes when mappings of code in this space must be checked again.</summary>
    public int FetchEpoch { get; private set; }

    /// <summary>Offset from the window of an address's entry in one of the TLBs.</summary>
    public static int EntryOffset(ulong linear, bool write, TlbKind kind)
        => StateLayout.Tlb + (((((int)kind * 2) + (write ? 1 : 0)) * StateLayout.TlbBytes) + ((int)((linear >> 12) & (StateLayout.TlbEntries - 1)) << 4));

    /// <summary>The entry at an offset: the negated linear address of a page, then its host address; 0 if the entry is empty.</summary>
    public ulong* Entry(int offset) => (ulong*)(Window + offset);

    /// <summary>Index among the vCPU's address spaces.</summary>
    public int Number { get; }

    /// <summary>Whether the entry at an offset translates to the page of a host address.</summary>
    public bool Reaches(int offset, byte* host) => Entry(offset)[1] == ((ulong)host & ~0xFFFul);

    /// <summary>Clears the entry at an offset if it translates to the page of a host address.</summary>
    public void DropEntry(int offset, byte* host)
    {
        if (Reaches(offset, host))
        {
            ClearTranslation((offset - StateLayout.Tlb) >> 4);
        }
    }

    /// <summary>Fills a TLB entry.</summary>
    public void Fill(int offset, ulong linear, byte* host, bool global)
    {
        ulong* entry = Entry(offset);
        entry[0] = 0 - (linear & ~0xFFFul);
        entry[1] = (ulong)host & ~0xFFFul;
        (global ? _filledGlobal : _filled).Add((offset - StateLayout.Tlb) >> 4);
    }

    /// <summary>Begins a fetch epoch. Must be called after the jumps to non-global pages were flushed.</summary>
    public void BeginEpoch(int epoch)
    {
        FetchEpoch = epoch;
        _fetched.Clear();
    }

    /// <summary>Records that code was fetched from a page that is not global.</summary>
    public void NoteFetch(ulong linear) => _fetched.Add(linear);

    /// <summary>Adds a block to the jump cache.</summary>
    public void FillJump(ulong linear, Block block, bool global)
    {
        int cache = StateLayout.JumpCacheOf(block.Mode);
        if (cache == 0)
        {
            return;
        }

        int number = ((cache - StateLayout.JumpCache) >> 4) + (int)(linear & (StateLayout.JumpEntries - 1));
        ulong* entry = Jump(number);
        if (entry[1] != 0 && entry[0] != linear)
        {
            // Two entries for each address: the older block moves to the second.
            ulong* second = Jump(number ^ 1);
            second[0] = entry[0];
            second[1] = entry[1];
            (_jumps.Contains(number) ? _jumps : _jumpsGlobal).Add(number ^ 1);
        }

        entry[0] = linear;
        entry[1] = (ulong)block.AxEntry;
        (global ? _jumpsGlobal : _jumps).Add(number);
    }

    /// <summary>Flushes the TLB, with or without global pages.</summary>
    public void FlushTranslations(bool global)
    {
        Flush(_filled);
        if (global)
        {
            Flush(_filledGlobal);
        }

        void Flush(EntrySet set)
        {
            foreach (int entry in set)
            {
                ClearTranslation(entry);
            }

            set.Clear();
        }
    }

    /// <summary>Flushes the TLB entries of one page, global or not.</summary>
    /// <returns>Whether code may have been fetched from it while it was not global.</returns>
    public bool FlushPage(ulong linear)
    {
        for (TlbKind kind = TlbKind.Supervisor; kind <= TlbKind.SupervisorAc; kind++)
        {
            for (int write = 0; write < 2; write++)
            {
                int offset = EntryOffset(linear, write != 0, kind);
                if (linear + Entry(offset)[0] < 4096)
                {
                    ClearTranslation((offset - StateLayout.Tlb) >> 4);
                }
            }
        }

        return _fetched.MayContain(linear);
    }

    /// <summary>Flushes the jump caches, with or without global pages.</summary>
    public void FlushJumps(bool global)
    {
        Flush(_jumps);
        if (global)
        {
            Flush(_jumpsGlobal);
        }

        void Flush(EntrySet set)
        {
            foreach (int entry in set)
            {
                ClearJump(entry);
            }

            set.Clear();
        }
    }

    /// <summary>Drops the write entries of a page of RAM.</summary>
    /// <param name="host">The host address of the page; null for all pages.</param>
    public void DropWriteEntries(byte* host)
    {
        DropFrom(_filled);
        DropFrom(_filledGlobal);

        void DropFrom(EntrySet set)
        {
            foreach (int entry in set)
            {
                if (((entry / StateLayout.TlbEntries) & 1) == 0)
                {
                    continue;
                }

                if (host == null)
                {
                    ClearTranslation(entry);
                }
                else
                {
                    DropEntry(StateLayout.Tlb + (entry << 4), host);
                }
            }
        }
    }

    // Clears an entry: its tag is the address of a page with another index, so that no address matches.
    private void ClearTranslation(int number)
    {
        ulong* entry = Entry(StateLayout.Tlb + (number << 4));
        entry[0] = number % StateLayout.TlbEntries == 0 ? unchecked(0 - 4096ul) : 0;
        entry[1] = 0;
    }

    // Clears an entry: its tag is an address with another index, so that no target matches, canonical or not.
    private void ClearJump(int number)
    {
        ulong* entry = Jump(number);
        entry[0] = number % StateLayout.JumpEntries < 2 ? 2u : 0;
        entry[1] = 0;
    }

    private ulong* Jump(int number) => (ulong*)(Window + StateLayout.JumpCache + (number << 4));
}
